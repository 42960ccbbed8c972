//! Where requests meet whose runs are short: those that are ready on the network threads at the same moment share a run.
//!
//! Nobody waits for company that may come. The first of them lets the tasks that are ready already go before it, which
//! have read a request each where there are many callers, and runs what it finds then. Where it finds nothing again and
//! again, as with one caller, it seldom looks.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use tokio::sync::oneshot;

use super::at_once::turned;
use crate::story::Road;
use crate::{Error, Request, Response};

/// So many groups may form at once, of requests of different shapes.
const MOST_GROUPS: usize = 8;

/// At most so many requests are run without a look for company.
const LONGEST_REST: u32 = 64;

/// What came of a request that was not queued: its answer, or the request where it has to be queued after all.
pub(crate) type Outcome = Result<Result<Response, Error>, Request>;

/// How who waits is told.
pub(super) type Reply = oneshot::Sender<Outcome>;

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
    /// The first is that of the request that runs the group.
    seats: Vec<Seat>,
}

/// One request in a group.
#[derive(Debug)]
pub(super) struct Seat {
    pub(super) request: Request,
    pub(super) came: Instant,
    /// Who waits for it; `None` where that is who runs the group.
    pub(super) reply: Option<Reply>,
}

/// How a request goes on.
#[derive(Debug)]
pub(super) enum Entered<'g> {
    /// Nobody is there: it is run by itself.
    Alone(Request),
    /// It is the first of a group, which it runs when others had their turn.
    First(Turn<'g>),
    /// Another one runs it.
    Joined(oneshot::Receiver<Outcome>),
}

/// The duty to run a group.
#[derive(Debug)]
pub(super) struct Turn<'g> {
    gather: &'g Gather,
    /// The group's, as long as it forms.
    number: Option<u64>,
}

impl Gather {
    /// Takes a request in, where a run may have up to `most` rows.
    pub(super) fn enter(&self, request: Request, most: usize) -> Entered<'_> {
        let rows = request.rows();
        if rows == 0 || rows >= most {
            return Entered::Alone(request);
        }
        let mut state = self.lock();
        if let Some(group) = state.groups.iter_mut().find(|group| group.takes(&request, most)) {
            let (reply, answer) = oneshot::channel();
            group.rows += rows;
            group.seats.push(Seat { request, came: Instant::now(), reply: Some(reply) });
            return Entered::Joined(answer);
        }
        if state.rest > 0 || state.groups.len() >= MOST_GROUPS {
            state.rest = state.rest.saturating_sub(1);
            return Entered::Alone(request);
        }
        let number = state.next;
        state.next += 1;
        let seats = vec![Seat { request, came: Instant::now(), reply: None }];
        state.groups.push(Group { number, rows, seats });
        Entered::First(Turn { gather: self, number: Some(number) })
    }

    /// Takes a group out, which nobody joins any more.
    fn take(&self, number: u64) -> Vec<Seat> {
        let mut state = self.lock();
        let Some(at) = state.groups.iter().position(|group| group.number == number) else { return vec![] };
        let group = state.groups.swap_remove(at);
        let is_company = group.seats.len() > 1;
        state.last_rest = if is_company { 0 } else { (2 * state.last_rest).clamp(1, LONGEST_REST) };
        state.rest = state.last_rest;
        group.seats
    }

    /// The state stays whole even if a thread died while it held the lock.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Group {
    fn takes(&self, request: &Request, most: usize) -> bool {
        let is_alike = |first: &Seat| {
            let shapes = first.request.inputs().iter().zip(request.inputs()).map(|(a, b)| (a.shape(), b.shape()));
            shapes.into_iter().all(|(a, b)| a.rank() == b.rank() && a.row() == b.row())
        };
        self.rows + request.rows() <= most && self.seats.first().is_some_and(is_alike)
    }
}

impl Seat {
    /// Whether nobody waits for it any more.
    pub(super) fn has_left(&self) -> bool {
        self.reply.as_ref().is_some_and(Reply::is_closed)
    }
}

impl Turn<'_> {
    /// Takes all that have joined.
    pub(super) fn take(&mut self) -> Vec<Seat> {
        self.number.take().map(|number| self.gather.take(number)).unwrap_or_default()
    }
}

impl Drop for Turn<'_> {
    /// Whoever was to run the group has left: those who joined it see to themselves.
    fn drop(&mut self) {
        for Seat { request, reply, .. } in self.take() {
            if let Some(reply) = reply {
                drop(reply.send(Err(turned(request, Road::Left))));
            }
        }
    }
}
