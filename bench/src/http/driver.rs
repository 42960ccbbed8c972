//! Runs one trial: sends what is due, reads what comes, records both.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::io;
use std::time::{Duration, Instant};

use fastrand::Rng;
use mio::Token;

use super::ask::message;
use super::connection::{Connection, Step};
use super::pace::Pace;
use super::wait::{Waiter, busy_time};
use super::{Callers, HttpSubject};
use crate::Error;
use crate::expect::{Expect, Expected};
use crate::measured::{Measured, Outcome};
use crate::numbers::{count, real};
use crate::prepare::Prepared;
use crate::progress::Progress;
use crate::subject::{Load, Trial};
use crate::{Address, clock};

/// The time between two looks at what takes too long.
const TICK: Duration = Duration::from_millis(100);
/// What is due at the end of an open load is still sent for as long as this.
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
    random: Rng,
    slots: Vec<Slot>,
    /// Slots without a request: those with a connection, and those without.
    warm: Vec<usize>,
    cold: Vec<usize>,
    most_slots: usize,
    leaving: BinaryHeap<Reverse<(Instant, usize, u64)>>,
    window: Window,
    query: Query,
    sent: u64,
    under_way: usize,
    answers: u64,
    failures: u64,
    measured: Measured,
    part: Vec<u8>,
}

/// A place for a connection and the request on it.
#[derive(Debug, Default)]
struct Slot {
    connection: Option<Connection>,
    job: Option<Job>,
}

#[derive(Clone, Copy, Debug)]
struct Job {
    /// When it was due, from where its time counts.
    due: Instant,
    begun: Instant,
    request: usize,
    number: u64,
    leaves: bool,
    /// Whether it has been sent before, on a connection that the server had closed.
    again: bool,
    counts: bool,
}

/// What counts.
#[derive(Debug)]
struct Window {
    from: Instant,
    to: Instant,
    /// The requests that have been let in so far, and the most there may be.
    admitted: u64,
    most: u64,
    /// Requests count if they were due in the window; else if their answers came in it.
    by_due: bool,
    last: Instant,
}

/// The worst that happened to a sample of the query under way.
#[derive(Debug, Default)]
struct Query {
    worst: Option<Outcome>,
    rows: usize,
}

impl<'s> Driver<'s> {
    pub(crate) fn new(subject: &'s mut HttpSubject, trial: &'s Trial) -> Result<Self, Error> {
        let callers = &subject.callers;
        let waiter = Waiter::new(callers.busy_poll).map_err(|error| unreachable(&subject.target.address, &error))?;
        let start = Instant::now();
        let from = start + trial.length.warm_up;
        let to = from + trial.length.duration;
        let open = matches!(trial.load, Load::Open { .. });
        Ok(Self {
            address: &subject.target.address,
            callers,
            requests: &subject.requests,
            expected: &mut subject.expected,
            trial,
            waiter,
            pace: Pace::new(trial.load, trial.seed, start, to),
            random: Rng::with_seed(trial.seed ^ 0x006c_6561_7665),
            slots: Vec::new(),
            warm: Vec::new(),
            cold: Vec::new(),
            most_slots: match trial.load {
                // Who leaves needs a new connection each time; who stays keeps theirs.
                Load::Closed { callers } => callers * 2,
                Load::Queries { samples } => samples * 2,
                Load::Open { .. } => callers.most_connections.max(1),
            },
            leaving: BinaryHeap::new(),
            window: Window {
                from,
                to,
                admitted: 0,
                most: trial.most_samples(),
                by_due: open || trial.length.requests.is_some(),
                last: from,
            },
            query: Query::default(),
            sent: 0,
            under_way: 0,
            answers: 0,
            failures: 0,
            measured: Measured::new(trial.bound),
            part: vec![0; 64 << 10],
        })
    }

    /// Runs the trial to its end.
    pub(crate) fn run(mut self, progress: &Progress) -> Result<Measured, Error> {
        let address = self.address;
        let failed = |error: io::Error| unreachable(address, &error);
        let (began, busy) = (Instant::now(), busy_time());
        let whole = self.trial.length.warm_up + self.trial.length.duration;
        let (mut tick, mut ending) = (began + TICK, None);
        let mut events = Vec::new();
        loop {
            let now = Instant::now();
            if ending.is_none() && self.is_over(now) {
                let enough = LAST_CHANCE.max(self.trial.bound.unwrap_or_default());
                ending = Some(now + enough);
            }
            let may_send = match ending {
                None => true,
                // What was due in time is still sent; a closed load begins nothing more.
                Some(until) => matches!(self.pace, Pace::Open { .. }) && now < until && !self.measured.hopeless,
            };
            let due = if may_send { self.send_due(now).map_err(failed)? } else { None };
            self.leave(now);
            if now >= tick {
                tick = now + TICK;
                self.give_up(now)?;
                progress.tick(now - began, whole, self.answers);
            }
            if ending.is_some() && self.under_way == 0 && (due.is_none() || !may_send) {
                break;
            }
            let leaving = self.leaving.peek().map(|Reverse((at, ..))| *at);
            let until = [Some(tick), due, leaving].into_iter().flatten().min().unwrap_or(tick);
            self.waiter.wait(until.saturating_duration_since(Instant::now())).map_err(failed)?;
            self.waiter.events(&mut events);
            for (slot, readable) in events.drain(..) {
                self.advance(slot, readable)?;
            }
        }
        self.finish(busy.zip(busy_time()).map(|(before, after)| after - before), began);
        Ok(self.measured)
    }

    /// Whether no further request is to be counted.
    fn is_over(&self, now: Instant) -> bool {
        let all_admitted = self.window.admitted >= self.window.most;
        let none_left = matches!(self.pace, Pace::Open { .. }) && self.pace.next().is_none();
        now >= self.window.to || all_admitted || none_left || self.measured.hopeless
    }

    /// Sends what is due, and says when the next is.
    fn send_due(&mut self, now: Instant) -> io::Result<Option<Instant>> {
        loop {
            if self.window.admitted >= self.window.most {
                return Ok(None);
            }
            if self.warm.is_empty() && self.cold.is_empty() && self.slots.len() >= self.most_slots {
                // The next answer makes room; until then what is due waits, and its time runs.
                return Ok(None);
            }
            let Some(due) = self.pace.take(now) else { return Ok(self.pace.next()) };
            let request = usize::try_from(self.sent % count(self.requests.len()).max(1)).unwrap_or(0);
            let leaves = self.callers.leave > 0.0 && self.random.f64() < self.callers.leave;
            let counts = self.window.by_due && due >= self.window.from;
            self.window.admitted += u64::from(counts && !leaves);
            let job = Job { due, begun: now, request, number: self.sent, leaves, again: false, counts };
            self.sent += 1;
            self.under_way += 1;
            if leaves {
                let after = self.callers.leave_within.mul_f64(self.random.f64());
                let slot = self.take_slot(true);
                self.leaving.push(Reverse((now + after, slot, job.number)));
                self.begin(slot, job);
            } else {
                let slot = self.take_slot(false);
                self.begin(slot, job);
            }
        }
    }

    /// A slot without a request. Who leaves takes a connection from nobody who stays.
    fn take_slot(&mut self, leaves: bool) -> usize {
        let free = if leaves {
            self.cold.pop().or_else(|| self.warm.pop())
        } else {
            self.warm.pop().or_else(|| self.cold.pop())
        };
        free.unwrap_or_else(|| {
            self.slots.push(Slot::default());
            self.slots.len() - 1
        })
    }

    /// Sends the request of `job`, connecting first where there is no connection.
    fn begin(&mut self, at: usize, job: Job) {
        let Some((slot, request)) = self.slots.get_mut(at).zip(self.requests.get(job.request)) else { return };
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
    fn advance(&mut self, at: usize, readable: bool) -> Result<(), Error> {
        let Some(slot) = self.slots.get_mut(at) else { return Ok(()) };
        let Some(connection) = &mut slot.connection else { return Ok(()) };
        let Some(job) = slot.job else {
            // The server has closed an idle connection, or says what nobody asked.
            if readable {
                slot.connection = None;
                self.warm.retain(|warm| *warm != at);
                self.cold.push(at);
            }
            return Ok(());
        };
        let wire = self.requests.get(job.request).map_or(&[][..], |request| &request.wire);
        match connection.advance(wire, readable, &mut self.part) {
            Step::Waiting => {}
            Step::Answered => self.answered(at, job),
            Step::Gone(reason) => self.gone(at, reason),
        }
        if self.answers == 0 && self.failures >= NO_SERVER {
            let reason = self.measured.complaints().into_iter().map(|(what, _, message)| format!("{what}: {message}"));
            let reason = reason.collect::<Vec<_>>().join("; ");
            return Err(Error::Unreachable { address: self.address.to_string(), reason });
        }
        Ok(())
    }

    fn answered(&mut self, at: usize, job: Job) {
        let now = Instant::now();
        let Some(slot) = self.slots.get_mut(at) else { return };
        let Some(connection) = slot.connection.take() else { return };
        let outcome = outcome(connection.answer(), &self.callers.expect, self.expected.get_mut(job.request));
        // Who was going to leave has had an answer first, and is gone all the same.
        slot.connection = if job.leaves { None } else { connection.reuse() };
        self.answers += 1;
        if job.leaves { self.left(at, now) } else { self.end(at, job, outcome, now, false) }
    }

    fn gone(&mut self, at: usize, reason: String) {
        let Some(slot) = self.slots.get_mut(at) else { return };
        let stale = slot.connection.take().is_some_and(|connection| connection.was_stale());
        match slot.job {
            Some(job) if stale && !job.again => self.begin(at, Job { again: true, ..job }),
            _ => self.lost(at, "connection failed", reason),
        }
    }

    fn lost(&mut self, at: usize, what: &'static str, message: String) {
        self.failures += 1;
        let Some(slot) = self.slots.get_mut(at) else { return };
        slot.connection = None;
        let Some(job) = slot.job else { return };
        let now = Instant::now();
        if job.leaves { self.left(at, now) } else { self.end(at, job, Outcome::Lost(what, message), now, true) }
    }

    /// Callers whose moment has come close their connections.
    fn leave(&mut self, now: Instant) {
        while let Some(Reverse((_, slot, number))) = self.leaving.peek().copied().filter(|Reverse((at, ..))| *at <= now)
        {
            self.leaving.pop();
            if self.slots.get(slot).and_then(|slot| slot.job).is_some_and(|job| job.number == number) {
                self.left(slot, now);
            }
        }
    }

    fn left(&mut self, at: usize, now: Instant) {
        self.measured.left += u64::from(now >= self.window.from);
        if let Some(slot) = self.slots.get_mut(at) {
            slot.connection = None;
        }
        self.free(at);
        self.pace.ended(now, false);
    }

    /// A request has ended and is recorded, if it counts.
    fn end(&mut self, at: usize, job: Job, outcome: Outcome, now: Instant, failed: bool) {
        self.free(at);
        let rows = self.requests.get(job.request).map_or(0, |request| request.rows);
        let is_query = matches!(self.pace, Pace::Queries { .. });
        let complete = self.pace.ended(now, failed);
        let (outcome, rows) = if is_query {
            self.query.rows += rows;
            if outcome != Outcome::Right {
                self.query.worst.get_or_insert(outcome);
            }
            if !complete {
                return;
            }
            let query = std::mem::take(&mut self.query);
            (query.worst.unwrap_or(Outcome::Right), query.rows)
        } else {
            (outcome, rows)
        };
        let in_window = now >= self.window.from && now <= self.window.to;
        if if self.window.by_due { job.counts } else { in_window } {
            self.window.last = self.window.last.max(now);
            self.measured.record(outcome, now.saturating_duration_since(job.due), rows);
            let forgiven = self.trial.forgiven();
            self.measured.hopeless |= forgiven.is_some_and(|forgiven| self.measured.misses() > forgiven);
        }
    }

    fn free(&mut self, at: usize) {
        self.under_way -= 1;
        let Some(slot) = self.slots.get_mut(at) else { return };
        slot.job = None;
        if slot.connection.is_some() { self.warm.push(at) } else { self.cold.push(at) }
    }

    /// Ends what has waited for too long.
    fn give_up(&mut self, now: Instant) -> Result<(), Error> {
        for at in 0..self.slots.len() {
            let job = self.slots.get(at).and_then(|slot| slot.job);
            if job.is_some_and(|job| now.saturating_duration_since(job.begun) > self.callers.give_up) {
                self.lost(at, "no answer in time", format!("within {:?}", self.callers.give_up));
            }
        }
        Ok(())
    }

    fn finish(&mut self, busy: Option<Duration>, began: Instant) {
        let (from, to) = (self.window.from, self.window.to);
        let mut unsent = 0;
        if !self.measured.hopeless {
            while let Some(due) = self.pace.take(to) {
                let counts = matches!(self.pace, Pace::Open { .. }) && due >= from;
                if !counts || self.window.admitted + unsent >= self.window.most {
                    break;
                }
                unsent += 1;
            }
        }
        self.measured.never_sent(unsent);
        let end = match self.trial.load {
            Load::Open { .. } if self.window.most == u64::MAX && !self.measured.hopeless => self.window.last.max(to),
            _ if self.window.by_due || self.measured.hopeless => self.window.last,
            _ => to,
        };
        self.measured.elapsed = end.saturating_duration_since(from);
        let all = real(clock::nanoseconds(began.elapsed())).max(1.0);
        // One that asks without pause is always busy, and not because of its load.
        self.measured.generator_busy =
            busy.filter(|_| !self.callers.busy_poll).map(|busy| real(clock::nanoseconds(busy)) / all);
    }
}

fn outcome(answer: &super::incoming::Incoming, expect: &Expect, expected: Option<&mut Option<Expected>>) -> Outcome {
    let (status, body) = (answer.status(), answer.body());
    if status != 200 {
        return Outcome::Status(status, message(body));
    }
    if *expect == Expect::Anything {
        return Outcome::Right;
    }
    match expected {
        Some(Some(expected)) => expected.difference(body, answer.json_length()).map_or(Outcome::Right, Outcome::Wrong),
        Some(first) => match Expected::read(body, answer.json_length()) {
            Ok(answer) => {
                *first = Some(answer);
                Outcome::Right
            }
            Err(reason) => Outcome::Wrong(reason),
        },
        None => Outcome::Right,
    }
}

fn unreachable(address: &Address, error: &io::Error) -> Error {
    Error::Unreachable { address: address.to_string(), reason: error.to_string() }
}
