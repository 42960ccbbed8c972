//! The bounded queue of one model.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use super::backlog::Backlog;
use super::batch::{Batch, Former};
use super::curve::Forecast;
use super::idle::Idle;
use super::job::Job;
use super::lane::Lane;
use crate::story::Reason;

/// Why a job was not taken.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// This many are waiting already; a new one would wait so long.
    Full(usize, Duration),
    /// It would be answered after so long, which is too late.
    TooLate(Duration),
    /// Its deadline has passed.
    Expired,
    /// The model is being unloaded.
    Closed,
}

impl From<&Refusal> for Reason {
    fn from(refusal: &Refusal) -> Self {
        match refusal {
            Refusal::Full(..) => Self::Full,
            Refusal::TooLate(_) => Self::Late,
            Refusal::Expired => Self::Expired,
            Refusal::Closed => Self::Unloading,
        }
    }
}

/// What an instance finds when it has waited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Waited {
    /// Something waits.
    Work,
    /// Nothing waits and no run is under way.
    Quiet,
    /// The queue is closed and empty.
    Closed,
}

/// A bounded queue between callers and instances. Requests of different shapes wait in lanes of their own.
#[derive(Debug)]
pub(crate) struct Queue {
    state: Mutex<State>,
    capacity: usize,
}

/// Jobs by the order of their coming.
pub(super) type Jobs = BTreeMap<u64, Job>;

#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) lanes: HashMap<Lane, Jobs>,
    pub(super) backlog: Backlog,
    idle: Idle,
    next_number: u64,
    closed: bool,
}

impl Queue {
    pub(crate) fn new(capacity: usize) -> Self {
        Self { state: Mutex::default(), capacity }
    }

    /// Whether the model is being unloaded.
    pub(crate) fn is_closed(&self) -> bool {
        self.lock().closed
    }

    /// How many jobs wait.
    pub(crate) fn len(&self) -> usize {
        self.lock().backlog.waiting()
    }

    /// How many jobs can wait.
    pub(crate) const fn capacity(&self) -> usize {
        self.capacity
    }

    /// How long who comes now is expected to wait, where `parallel` runs can be under way at once.
    pub(crate) fn wait_ahead(&self, parallel: usize) -> Duration {
        let state = self.lock();
        let wait = state.backlog.wait(Instant::now(), 0.0, parallel) * state.backlog.bias();
        if state.backlog.is_free(parallel) { Duration::ZERO } else { duration(wait) }
    }

    /// A number that no other run has.
    pub(crate) fn number(&self) -> u64 {
        self.lock().number()
    }

    /// Whether nothing waits and new jobs are taken.
    pub(crate) fn is_idle(&self) -> bool {
        let state = self.lock();
        state.backlog.waiting() == 0 && !state.closed
    }

    /// Says whether a request of which nothing but its deadline is known yet, and that its rows take `least` seconds, would
    /// be taken.
    pub(crate) fn admits(&self, due: Option<Instant>, least: f64, parallel: usize) -> Result<(), Refusal> {
        self.lock().admit(self.capacity, due, (least, 0.0), parallel).map(drop)
    }

    /// Adds a job at the end of its lane, unless there is no place or no hope for it, and tells its number.
    ///
    /// `parallel` is how many runs can be under way at once.
    pub(crate) fn push(&self, lane: Lane, mut job: Job, forecast: &Forecast, parallel: usize) -> Result<u64, Refusal> {
        let mut state = self.lock();
        let ahead = state.lanes.get(&lane).map_or(0, BTreeMap::len);
        let rows = job.request.rows().max(1);
        // It shares a run with those of its lane that stand right before it, so it does not wait for their work.
        let mates = if forecast.cap > 0 { rows.saturating_mul(ahead) % forecast.cap } else { 0 };
        let run = forecast.run(rows.max(forecast.cap.min(mates + rows))).unwrap_or(0.0);
        let shared = if mates > 0 { forecast.share(mates) } else { 0.0 };
        job.promised = state.admit(self.capacity, job.due, (run, shared), parallel)?;
        if state.backlog.is_free(parallel) {
            state.backlog.forget();
        }
        job.cost = forecast.share(rows);
        state.backlog.add(job.cost);
        let number = state.next_number;
        state.next_number += 1;
        state.lanes.entry(lane).or_default().insert(number, job);
        Self::call(state);
        Ok(number)
    }

    /// Takes a job out again, if it still waits.
    pub(crate) fn remove(&self, lane: &Lane, number: u64) -> Option<Job> {
        let mut state = self.lock();
        let jobs = state.lanes.get_mut(lane)?;
        let job = jobs.remove(&number)?;
        if jobs.is_empty() {
            state.lanes.remove(lane);
        }
        state.backlog.remove(job.cost);
        Some(job)
    }

    /// Refuses new jobs. Those that wait are still handed out.
    pub(crate) fn close(&self) {
        let mut state = self.lock();
        state.closed = true;
        state.idle.wake_all();
    }

    /// Waits until something waits, or until nothing was to be done for `patience`.
    pub(crate) fn wait(&self, patience: Option<Duration>) -> Waited {
        let mut state = self.lock();
        let found = loop {
            if state.backlog.waiting() > 0 {
                break Waited::Work;
            }
            if state.closed {
                break Waited::Closed;
            }
            state.idle.enter();
            drop(state);
            let slept_through = sleep(patience);
            state = self.lock();
            if slept_through && state.backlog.is_quiet() {
                break Waited::Quiet;
            }
        };
        state.idle.leave();
        found
    }

    /// Has an idle instance come, if there is one.
    fn call(mut state: MutexGuard<'_, State>) {
        let sleeper = state.idle.next();
        drop(state);
        if let Some(sleeper) = sleeper {
            sleeper.unpark();
        }
    }

    /// Takes the next batch, which may be empty. Its run is under way until [`Queue::ended`].
    pub(crate) fn take(&self, former: &Former<'_>) -> Batch {
        let mut state = self.lock();
        let batch = former.form(&mut state);
        if state.backlog.waiting() > 0 {
            Self::call(state);
        }
        batch
    }

    /// The runs that began before `then`: their numbers, and when.
    pub(crate) fn running_since(&self, then: Instant) -> Vec<(u64, Instant)> {
        self.lock().backlog.under_way().filter(|(_, began)| *began < then).collect()
    }

    /// Notes that the run of a batch has ended.
    pub(crate) fn ended(&self, run: u64) {
        let now = Instant::now();
        self.lock().backlog.end(run, now);
    }

    /// How many instances sleep.
    #[cfg(test)]
    pub(crate) fn asleep(&self) -> usize {
        self.lock().idle.asleep()
    }

    /// The state stays whole even if a thread died while it held the lock.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// A number that no other run has.
    pub(super) const fn number(&mut self) -> u64 {
        self.next_number += 1;
        self.next_number - 1
    }

    /// Whether a job that is `due` has a place and can be answered in time, where its run takes `run` seconds, of which
    /// `shared` are work of others that waits already. Tells how soon it is expected to be answered, before the bias.
    ///
    /// While nothing is ahead everything is taken: a forecast that is wrong must not lock everyone out, and only runs
    /// can put it right.
    fn admit(
        &self,
        capacity: usize,
        due: Option<Instant>,
        (run, shared): (f64, f64),
        parallel: usize,
    ) -> Result<f64, Refusal> {
        if self.closed {
            return Err(Refusal::Closed);
        }
        let now = Instant::now();
        if due.is_some_and(|due| due <= now) {
            return Err(Refusal::Expired);
        }
        if self.backlog.is_free(parallel) {
            return Ok(run);
        }
        let plain = self.backlog.wait(now, shared, parallel) + run;
        let answered = plain * self.backlog.bias();
        if self.backlog.waiting() >= capacity {
            return Err(Refusal::Full(self.backlog.waiting(), duration(answered)));
        }
        let left = due.map(|due| due.saturating_duration_since(now).as_secs_f64());
        if left.is_some_and(|left| answered > left) {
            return Err(Refusal::TooLate(duration(answered)));
        }
        Ok(plain)
    }
}

/// Sleeps until this thread is woken, or for `patience`, and says whether it slept so long.
fn sleep(patience: Option<Duration>) -> bool {
    let Some(patience) = patience else {
        thread::park();
        return false;
    };
    let since = Instant::now();
    thread::park_timeout(patience);
    since.elapsed() >= patience
}

fn duration(seconds: f64) -> Duration {
    Duration::try_from_secs_f64(seconds).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scheduler::backlog::Promise;

    #[test]
    fn who_only_asks_leaves_the_forecast_as_it_is() {
        let queue = Queue::new(1);
        let bias = || queue.lock().backlog.bias();
        let before = bias();
        let queued = Instant::now();
        let promise = Promise { queued, seconds: 1.0 };
        queue.lock().backlog.learn(Some(promise), queued + Duration::from_secs(9));
        let learned = bias();
        assert!(learned > before);
        assert_eq!(queue.admits(None, 0.0, 1), Ok(()));
        assert_eq!(bias(), learned);
    }
}
