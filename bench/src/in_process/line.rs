//! What is due, for all threads that run the model.
//!
//! There is no queue: what is due follows from the clock. The thread that holds the lock sleeps until the next request
//! is due and takes it; the others, behind the lock, are the next to do so. So a request finds an idle thread awake.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crate::arrivals::Arrivals;
use crate::clock::nanoseconds;
use crate::subject::{Load, Trial};

/// What is due at the end is still run for as long as this, or as the bound.
const LAST_CHANCE: Duration = Duration::from_secs(1);
/// No thread waits for longer without looking whether all is over.
const LOOK: Duration = Duration::from_millis(100);

/// Hands out what is due.
#[derive(Debug)]
pub(crate) struct Line {
    state: Mutex<State>,
    /// A query has been answered whole.
    answered: Condvar,
    pub(crate) start: Instant,
    /// What is due before does not count.
    pub(crate) from: Instant,
    /// Nothing is due from here on.
    pub(crate) to: Instant,
    until: Instant,
    open: bool,
    most: u64,
    forgiven: Option<u64>,
    misses: AtomicU64,
    hopeless: AtomicBool,
    /// When the last request that counts ended, in nanoseconds after the start.
    last: AtomicU64,
}

#[derive(Debug)]
struct State {
    source: Source,
    admitted: u64,
    number: usize,
}

#[derive(Debug)]
enum Source {
    /// Each thread goes on by itself.
    Closed,
    Queries {
        samples: usize,
        unsent: usize,
        unanswered: usize,
        began: Instant,
    },
    Open(Arrivals),
}

/// A request to run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Job {
    /// When it was due, from where its time counts.
    pub(crate) due: Instant,
    /// Whether it is recorded.
    pub(crate) counts: bool,
    pub(crate) number: usize,
}

impl Line {
    pub(crate) fn new(trial: &Trial, start: Instant) -> Self {
        let from = start + trial.length.warm_up;
        let to = from + trial.length.duration;
        let source = match trial.load {
            Load::Closed { .. } => Source::Closed,
            Load::Queries { samples } => Source::Queries { samples, unsent: samples, unanswered: 0, began: start },
            Load::Open { rate } => Source::Open(Arrivals::new(rate, trial.seed)),
        };
        Self {
            state: Mutex::new(State { source, admitted: 0, number: 0 }),
            answered: Condvar::new(),
            start,
            from,
            to,
            until: to + LAST_CHANCE.max(trial.bound.unwrap_or_default()),
            open: matches!(trial.load, Load::Open { .. }),
            most: trial.most_samples(),
            forgiven: trial.forgiven(),
            misses: AtomicU64::new(0),
            hopeless: AtomicBool::new(false),
            last: AtomicU64::new(0),
        }
    }

    /// Waits for the next requests and takes as many as are due, at most `most`; none when the trial is over.
    pub(crate) fn take(&self, most: usize, jobs: &mut Vec<Job>) {
        jobs.clear();
        let mut state = self.lock();
        while !self.is_hopeless() && state.admitted < self.most {
            let now = Instant::now();
            let (due, next) = state.due(self, now, most.max(1));
            for due in due {
                let counts = due >= self.from && state.admitted < self.most;
                state.admitted += u64::from(counts);
                state.number += 1;
                jobs.push(Job { due, counts, number: state.number });
            }
            match next {
                _ if !jobs.is_empty() => return,
                Next::Over => return,
                Next::At(next) => thread::sleep(next.saturating_duration_since(Instant::now())),
                Next::AfterAnswer => {
                    state = self.answered.wait_timeout(state, LOOK).unwrap_or_else(PoisonError::into_inner).0;
                }
            }
        }
    }

    /// So many requests have been run by `now`; says whether a query is complete with them.
    pub(crate) fn ended(&self, requests: usize, now: Instant) -> bool {
        self.last.fetch_max(nanoseconds(now.saturating_duration_since(self.start)), Ordering::Relaxed);
        if self.open {
            // The lock may be held by a thread that sleeps.
            return false;
        }
        let mut state = self.lock();
        let Source::Queries { samples, unsent, unanswered, .. } = &mut state.source else { return false };
        *unanswered = unanswered.saturating_sub(requests);
        let complete = *unanswered == 0 && *unsent == 0;
        if complete {
            *unsent = *samples;
            self.answered.notify_all();
        }
        complete
    }

    /// So many requests missed their bound.
    pub(crate) fn missed(&self, requests: u64) {
        let misses = self.misses.fetch_add(requests, Ordering::Relaxed) + requests;
        if self.forgiven.is_some_and(|forgiven| misses > forgiven) {
            self.hopeless.store(true, Ordering::Relaxed);
        }
    }

    pub(crate) fn is_hopeless(&self) -> bool {
        self.hopeless.load(Ordering::Relaxed)
    }

    /// Requests that were due and never run.
    pub(crate) fn never_sent(&self) -> u64 {
        let mut state = self.lock();
        let left = self.most - state.admitted.min(self.most);
        let Source::Open(arrivals) = &mut state.source else { return 0 };
        let mut unsent = 0;
        while !self.is_hopeless() && unsent < left && self.start + arrivals.next() < self.to {
            arrivals.step();
            unsent += 1;
        }
        unsent
    }

    /// The time that was measured.
    pub(crate) fn elapsed(&self) -> Duration {
        let last = self.start + Duration::from_nanos(self.last.load(Ordering::Relaxed));
        let whole = self.open && self.most == u64::MAX && !self.is_hopeless();
        let end = if whole { last.max(self.to) } else { last };
        end.saturating_duration_since(self.from)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// When to look again.
enum Next {
    At(Instant),
    AfterAnswer,
    Over,
}

impl State {
    /// The moments at which requests were due by `now`, at most `most`, and when the next is.
    fn due(&mut self, line: &Line, now: Instant, most: usize) -> (Vec<Instant>, Next) {
        match &mut self.source {
            Source::Closed => (Vec::new(), Next::Over),
            Source::Queries { samples, unsent, unanswered, began } => {
                let whole = *unsent == *samples;
                if *unsent == 0 || (whole && *unanswered > 0) {
                    return (Vec::new(), if now < line.to { Next::AfterAnswer } else { Next::Over });
                }
                if whole && now >= line.to {
                    return (Vec::new(), Next::Over);
                }
                *began = if whole { now } else { *began };
                let taken = most.min(*unsent);
                *unsent -= taken;
                *unanswered += taken;
                (vec![*began; taken], Next::AfterAnswer)
            }
            Source::Open(arrivals) => {
                let mut due = Vec::new();
                let mut next = line.start + arrivals.next();
                if now >= line.until {
                    return (due, Next::Over);
                }
                while due.len() < most && next <= now && next < line.to {
                    due.push(next);
                    arrivals.step();
                    next = line.start + arrivals.next();
                }
                (due, if next < line.to { Next::At(next) } else { Next::Over })
            }
        }
    }
}
