//! Runs one trial: sends what is due, reads what comes, records both.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::io;
use std::time::{Duration, Instant};

use fastrand::Rng;
use mio::Token;

use super::ask::message;
use super::connection::{Connection, Step};
use super::incoming::Incoming;
use super::pace::Pace;
use super::pool::{Job, Pool};
use super::wait::{Waiter, busy_time};
use super::window::Window;
use super::{Callers, HttpSubject};
use crate::clock::nanoseconds;
use crate::expect::{Expect, Expected};
use crate::measured::{Measured, Outcome};
use crate::numbers::{count, share};
use crate::prepare::Prepared;
use crate::progress::Progress;
use crate::subject::{Load, Trial};
use crate::{Address, Error};

/// The time between two looks at what takes too long.
const TICK: Duration = Duration::from_millis(100);
/// What is due at the end of an open load is still sent for as long as this, or as the bound.
const LAST_CHANCE: Duration = Duration::from_secs(1);
/// After so many failures and not one answer, there is no server.
const NO_SERVER: u64 = 100;

/// One trial under way.
pub(crate) struct Driver<'s> {
    address: &'s Address,
    callers: &'s Callers,
    requests: &'s [Prepared],
    expected: &'s mut [Option<Expected>],
    trial: &'s Trial,
    waiter: Waiter,
    pace: Pace,
    window: Window,
    pool: Pool,
    random: Rng,
    /// When which request's caller leaves.
    leaving: BinaryHeap<Reverse<(Instant, usize, u64)>>,
    query: Query,
    sent: u64,
    under_way: usize,
    answers: u64,
    failures: u64,
    measured: Measured,
    /// When there was last no connection for what was due.
    blocked: Instant,
    /// Where bytes are read to first.
    part: Vec<u8>,
}

/// What has happened to the samples of the query under way.
#[derive(Debug, Default)]
struct Query {
    wrong: Option<Outcome>,
    rows: usize,
}

impl<'s> Driver<'s> {
    pub(crate) fn new(subject: &'s mut HttpSubject, trial: &'s Trial) -> Result<Self, Error> {
        let callers = &subject.callers;
        let waiter = Waiter::new(callers.busy_poll).map_err(|error| unreachable(&subject.target.address, &error))?;
        let start = Instant::now();
        let window = Window::new(trial, start);
        // Who leaves needs a new connection each time; who stays keeps theirs.
        let most = match trial.load {
            Load::Closed { callers } => callers.saturating_mul(2),
            Load::Queries { samples } => samples.saturating_mul(2),
            Load::Open { .. } => callers.most_connections.max(1),
        };
        Ok(Self {
            address: &subject.target.address,
            callers,
            requests: &subject.requests,
            expected: &mut subject.expected,
            trial,
            waiter,
            pace: Pace::new(trial.load, trial.seed, start, window.to),
            window,
            pool: Pool::new(most),
            random: Rng::with_seed(!trial.seed),
            leaving: BinaryHeap::new(),
            query: Query::default(),
            sent: 0,
            under_way: 0,
            answers: 0,
            failures: 0,
            measured: Measured::new(trial.bound),
            blocked: start,
            part: vec![0; 64 << 10],
        })
    }

    /// Runs the trial to its end.
    pub(crate) fn run(mut self, progress: &Progress) -> Result<Measured, Error> {
        let address = self.address;
        let failed = |error: io::Error| unreachable(address, &error);
        let (began, busy) = (Instant::now(), busy_time());
        let whole = self.trial.length.warm_up + self.trial.length.duration;
        let (mut tick, mut ending, mut events) = (began + TICK, None, Vec::new());
        loop {
            let now = Instant::now();
            if ending.is_none() && self.is_over(now) {
                ending = Some(now + LAST_CHANCE.max(self.trial.bound.unwrap_or_default()));
            }
            // What was due in time is still sent; a closed load begins nothing more.
            let is_open = matches!(self.pace, Pace::Open { .. });
            let may_send = ending.is_none_or(|until| is_open && now < until && !self.measured.hopeless);
            let due = if may_send { self.send_due(now) } else { None };
            self.leave(now);
            if now >= tick {
                tick = now + TICK;
                self.give_up(now);
                progress.tick(now - began, whole, self.answers);
            }
            if ending.is_some() && self.under_way == 0 && due.is_none() {
                break;
            }
            let leaving = self.leaving.peek().map(|Reverse((at, ..))| *at);
            let until = [Some(tick), due, leaving].into_iter().flatten().min().unwrap_or(tick);
            self.waiter.wait(until.saturating_duration_since(Instant::now())).map_err(failed)?;
            self.waiter.events(&mut events);
            for (slot, readable) in events.drain(..) {
                self.advance(slot, readable);
            }
            if self.answers == 0 && self.failures >= NO_SERVER {
                return Err(self.no_server());
            }
        }
        self.finish();
        // One that asks without pause is always busy, and not because of its load.
        let busy = busy.zip(busy_time()).filter(|_| !self.callers.busy_poll);
        let busy = busy.map(|(before, after)| nanoseconds(after.saturating_sub(before)));
        self.measured.generator_busy = busy.map(|busy| share(busy, nanoseconds(began.elapsed())));
        Ok(self.measured)
    }

    /// Whether no further request is to be counted.
    fn is_over(&self, now: Instant) -> bool {
        let none_left = matches!(self.pace, Pace::Open { .. }) && self.pace.next().is_none();
        now >= self.window.to || self.window.is_full() || none_left || self.measured.hopeless
    }

    /// Sends what is due, and says when the next is; none while the next answer has to make room first, during which
    /// the time of what is due runs.
    fn send_due(&mut self, now: Instant) -> Option<Instant> {
        loop {
            if !self.pool.has_room() {
                self.blocked = now;
                return None;
            }
            if self.window.is_full() {
                return None;
            }
            let Some(due) = self.pace.take(now) else { return self.pace.next() };
            let request = usize::try_from(self.sent % count(self.requests.len()).max(1)).unwrap_or(0);
            let leaves = self.callers.leave > 0.0 && self.random.f64() < self.callers.leave;
            let counts = self.window.admit(due, leaves);
            if counts && due > self.blocked && matches!(self.pace, Pace::Open { .. }) {
                self.measured.late.saturating_record(nanoseconds(now.saturating_duration_since(due)));
            }
            let job = Job { due, begun: now, request, number: self.sent, leaves, again: false, counts };
            self.sent += 1;
            self.under_way += 1;
            let slot = self.pool.take(leaves);
            if leaves {
                let after = self.callers.leave_within.mul_f64(self.random.f64());
                self.leaving.push(Reverse((now + after, slot, job.number)));
            }
            self.begin(slot, job);
        }
    }

    /// Sends the request of `job`, connecting first where there is no connection.
    fn begin(&mut self, at: usize, job: Job) {
        let Some((slot, request)) = self.pool.slot(at).zip(self.requests.get(job.request)) else { return };
        slot.job = Some(job);
        if slot.connection.is_none() {
            match Connection::open(self.address, self.waiter.registry(), Token(at)) {
                Ok(connection) => slot.connection = Some(connection),
                Err(error) => return self.lost(at, "connection failed", error.to_string()),
            }
            self.measured.connections += 1;
        }
        let Some(connection) = &mut slot.connection else { return };
        if let Step::Gone(reason) = connection.send(&request.wire) {
            self.gone(at, reason);
        }
    }

    /// Something has happened to the connection of a slot.
    fn advance(&mut self, at: usize, readable: bool) {
        let Some((connection, job)) = self.pool.slot(at).map(|slot| (&mut slot.connection, slot.job)) else { return };
        match (connection, job) {
            (Some(connection), Some(job)) => {
                let wire = self.requests.get(job.request).map_or(&[][..], |request| &request.wire);
                match connection.advance(wire, readable, &mut self.part) {
                    Step::Waiting => {}
                    Step::Answered => self.answered(at, job),
                    Step::Gone(reason) => self.gone(at, reason),
                }
            }
            // The server has closed an idle connection, or says what nobody asked.
            (Some(_), None) if readable => self.pool.close(at),
            _ => {}
        }
    }

    fn answered(&mut self, at: usize, job: Job) {
        let now = Instant::now();
        self.answers += 1;
        let Some(slot) = self.pool.slot(at) else { return };
        let Some(connection) = slot.connection.take() else { return };
        let outcome = outcome(connection.answer(), &self.callers.expect, self.expected.get_mut(job.request));
        slot.connection = connection.reuse();
        // Who was going to leave has had an answer first, and goes all the same.
        if job.leaves { self.left(at, now) } else { self.end(at, job, outcome, now, false) }
    }

    fn gone(&mut self, at: usize, reason: String) {
        let Some(slot) = self.pool.slot(at) else { return };
        let stale = slot.connection.take().is_some_and(|connection| connection.was_stale());
        match slot.job {
            Some(job) if stale && !job.again => self.begin(at, Job { again: true, ..job }),
            _ => self.lost(at, "connection failed", reason),
        }
    }

    fn lost(&mut self, at: usize, what: &'static str, message: String) {
        self.failures += 1;
        self.pool.close(at);
        let Some(job) = self.pool.job(at) else { return };
        let now = Instant::now();
        if job.leaves { self.left(at, now) } else { self.end(at, job, Outcome::Lost(what, message), now, true) }
    }

    /// Callers whose moment has come close their connections.
    fn leave(&mut self, now: Instant) {
        while let Some(Reverse((_, slot, number))) = self.leaving.peek().copied().filter(|Reverse((at, ..))| *at <= now)
        {
            self.leaving.pop();
            if self.pool.job(slot).is_some_and(|job| job.number == number) {
                self.left(slot, now);
            }
        }
    }

    fn left(&mut self, at: usize, now: Instant) {
        self.measured.left += u64::from(now >= self.window.from && now <= self.window.to);
        self.pool.close(at);
        self.pool.free(at);
        self.under_way -= 1;
        self.pace.ended(now, false);
    }

    /// A request has ended and is recorded, if it counts.
    fn end(&mut self, at: usize, job: Job, outcome: Outcome, now: Instant, failed: bool) {
        self.pool.free(at);
        self.under_way -= 1;
        let rows = self.requests.get(job.request).map_or(0, |request| request.rows);
        let complete = self.pace.ended(now, failed);
        let Some((outcome, rows)) = self.whole(outcome, rows, complete) else { return };
        if self.window.records(job.counts, now) {
            self.measured.record(outcome, now.saturating_duration_since(job.due), rows);
            let forgiven = self.trial.forgiven();
            self.measured.hopeless |= forgiven.is_some_and(|forgiven| self.measured.misses() > forgiven);
        }
    }

    /// What there is to record: of a query nothing until it is complete, and then the first thing that went wrong.
    fn whole(&mut self, outcome: Outcome, rows: usize, complete: bool) -> Option<(Outcome, usize)> {
        if !matches!(self.pace, Pace::Queries { .. }) {
            return Some((outcome, rows));
        }
        self.query.rows += rows;
        if outcome != Outcome::Right {
            self.query.wrong.get_or_insert(outcome);
        }
        let query = complete.then(|| std::mem::take(&mut self.query))?;
        Some((query.wrong.unwrap_or(Outcome::Right), query.rows))
    }

    /// Ends what has waited for too long.
    fn give_up(&mut self, now: Instant) {
        let Some(limit) = now.checked_sub(self.callers.give_up) else { return };
        for at in self.pool.sent_before(limit) {
            self.lost(at, "no answer in time", format!("within {:?}", self.callers.give_up));
        }
    }

    /// Counts what was due and never sent, and closes the books.
    fn finish(&mut self) {
        let mut unsent = 0;
        let is_open = matches!(self.pace, Pace::Open { .. });
        while is_open && !self.measured.hopeless && self.window.missing(unsent + 1) > unsent {
            let Some(due) = self.pace.take(self.window.to) else { break };
            unsent += u64::from(due >= self.window.from);
        }
        self.measured.never_sent(unsent);
        self.measured.elapsed = self.window.elapsed(self.measured.hopeless);
    }

    fn no_server(&self) -> Error {
        let said = self.measured.complaints().into_iter().map(|(what, _, message)| format!("{what}: {message}"));
        let reason = format!("not one answer: {}", said.collect::<Vec<_>>().join("; "));
        Error::Unreachable { address: self.address.to_string(), reason }
    }
}

fn outcome(answer: &Incoming, expect: &Expect, expected: Option<&mut Option<Expected>>) -> Outcome {
    let (status, body, json_length) = (answer.status(), answer.body(), answer.json_length());
    if status != 200 {
        return Outcome::Status(status, message(body));
    }
    match expected {
        Some(Some(expected)) => expected.difference(body, json_length).map_or(Outcome::Right, Outcome::Wrong),
        Some(first) if *expect == Expect::First => match Expected::read(body, json_length) {
            Ok(answer) => {
                *first = Some(answer);
                Outcome::Right
            }
            Err(reason) => Outcome::Wrong(reason),
        },
        _ => Outcome::Right,
    }
}

fn unreachable(address: &Address, error: &io::Error) -> Error {
    Error::Unreachable { address: address.to_string(), reason: error.to_string() }
}
