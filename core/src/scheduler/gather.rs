//! Where requests meet whose runs are short: those that are ready on the network threads at the same moment share a run.
//!
//! Nobody waits for company that may come. Each goes behind the tasks that are ready already, which read a request each
//! where there are many callers; whose turn comes first then runs all that are there. Where a request finds nobody again
//! and again, as with one caller, it seldom looks.

use std::pin::Pin;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Instant;

use tokio::sync::oneshot;

use crate::{Error, Request, Response};

/// So many groups may form at once, of requests of different shapes.
const MOST_GROUPS: usize = 8;

/// At most so many requests are run without a look for company.
const LONGEST_REST: u32 = 64;

/// What came of a request that was not queued: its answer, or the request where it has to be queued after all.
pub(crate) type Outcome = Result<Result<Response, Error>, Request>;

/// The groups that form.
#[derive(Debug, Default)]
pub(crate) struct Gather(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    groups: Vec<Group>,
    next: u64,
    /// So many requests are run before the next look for company, and so many were before the last one.
    rest: u32,
    last_rest: u32,
}

#[derive(Debug)]
struct Group {
    number: u64,
    rows: usize,
    /// The most rows that all of its requests bear.
    most: usize,
    seats: Vec<Seat>,
}

/// One request in a group.
#[derive(Debug)]
pub(super) struct Seat {
    pub(super) request: Request,
    pub(super) came: Instant,
    pub(super) reply: oneshot::Sender<Outcome>,
}

/// How a request goes on.
#[derive(Debug)]
pub(super) enum Entered<'g> {
    /// It is run by itself.
    Alone(Request),
    /// It belongs to a group.
    Seated(Seated<'g>),
}

/// The hold of a request's future on its place in a group.
#[derive(Debug)]
pub(super) struct Seated<'g> {
    gather: &'g Gather,
    number: u64,
    answer: oneshot::Receiver<Outcome>,
    /// Whether it has come to its end.
    over: bool,
}

impl Gather {
    /// Takes a request in, where a run may have up to `most` rows.
    pub(super) fn enter(&self, request: Request, most: usize) -> Entered<'_> {
        let rows = request.rows();
        if rows == 0 || rows >= most {
            return Entered::Alone(request);
        }
        let mut state = self.lock();
        let at = state.groups.iter().position(|group| group.takes(&request, most));
        if at.is_none() && (state.rest > 0 || state.groups.len() >= MOST_GROUPS) {
            state.rest = state.rest.saturating_sub(1);
            return Entered::Alone(request);
        }
        let (reply, answer) = oneshot::channel();
        let seat = Seat { request, came: Instant::now(), reply };
        let number = if let Some(group) = at.and_then(|at| state.groups.get_mut(at)) {
            (group.rows, group.most) = (group.rows + rows, group.most.min(most));
            group.seats.push(seat);
            group.number
        } else {
            let number = state.next;
            state.next += 1;
            state.groups.push(Group { number, rows, most, seats: vec![seat] });
            number
        };
        Entered::Seated(Seated { gather: self, number, answer, over: false })
    }

    /// Takes a group out, which nobody joins any more; `None` where another one has.
    fn take(&self, number: u64) -> Option<Vec<Seat>> {
        let mut state = self.lock();
        let at = state.groups.iter().position(|group| group.number == number)?;
        let group = state.groups.swap_remove(at);
        let is_company = group.seats.len() > 1;
        state.last_rest = if is_company { 0 } else { (2 * state.last_rest).clamp(1, LONGEST_REST) };
        state.rest = state.last_rest;
        Some(group.seats)
    }

    /// Takes a group out that nobody waits for any more.
    fn clear(&self, number: u64) -> Vec<Seat> {
        let is_over = |group: &mut Group| group.number == number && group.seats.iter().all(Seat::has_left);
        self.lock().groups.extract_if(.., is_over).flat_map(|group| group.seats).collect()
    }

    /// How many groups form.
    #[cfg(test)]
    pub(super) fn forming(&self) -> usize {
        self.lock().groups.len()
    }

    /// The state stays whole even if a thread died while it held the lock.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Group {
    fn takes(&self, request: &Request, most: usize) -> bool {
        let is_alike = |first: &Seat| {
            let mut shapes = first.request.inputs().iter().zip(request.inputs()).map(|(a, b)| (a.shape(), b.shape()));
            shapes.all(|(a, b)| a.rank() == b.rank() && a.row() == b.row())
        };
        self.rows + request.rows() <= self.most.min(most) && self.seats.first().is_some_and(is_alike)
    }
}

impl Seat {
    /// Whether nobody waits for it any more.
    pub(super) fn has_left(&self) -> bool {
        self.reply.is_closed()
    }

    /// Whether its time is over.
    pub(super) fn has_expired(&self, now: Instant) -> bool {
        self.request.deadline().is_some_and(|deadline| deadline <= now)
    }
}

impl Seated<'_> {
    /// Has `run` run the group if nobody has, and awaits the answer; `None` where whoever ran it gave none.
    pub(super) fn poll(&mut self, context: &mut Context<'_>, run: impl FnOnce(Vec<Seat>)) -> Poll<Option<Outcome>> {
        let mut answer = Pin::new(&mut self.answer).poll(context);
        if answer.is_pending()
            && let Some(seats) = self.gather.take(self.number)
        {
            run(seats);
            answer = Pin::new(&mut self.answer).poll(context);
        }
        self.over = answer.is_ready();
        answer.map(Result::ok)
    }

    /// Leaves; whoever is left runs the group. Gives the requests of one that nobody is left of.
    pub(super) fn leave(&mut self) -> Vec<Seat> {
        if self.over {
            return vec![];
        }
        self.answer.close();
        self.gather.clear(self.number)
    }
}
