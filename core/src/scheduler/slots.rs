//! The threads that all models together may keep busy, and whose turn it is.
//!
//! Threads are shared fairly by time: each model's clock advances by the time that its runs hold threads, and of the
//! models that wait the one whose clock is furthest behind is served first. So neither long runs nor many instances
//! let one model starve another.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Counts threads out and in.
#[derive(Debug)]
pub struct Slots {
    state: Mutex<State>,
    all: AtomicUsize,
    /// What short runs took, in nanoseconds.
    short: AtomicU64,
}

#[derive(Debug, Default)]
struct State {
    all: usize,
    busy: usize,
    waiting: Vec<Waiter>,
    shares: HashMap<u64, Clock>,
    /// Where the clock stood of whom was served last: who comes anew starts from there.
    now: f64,
    next_id: u64,
    used: Used,
}

/// The time that threads were held, but for short runs.
#[derive(Debug, Default)]
struct Used {
    /// How many are held now, and up to when their time is counted.
    held: usize,
    until: Option<Instant>,
    total: Duration,
}

/// The time that one model has had, in seconds of one thread.
#[derive(Clone, Copy, Debug, Default)]
struct Clock {
    at: f64,
    /// What its last run took, charged when the next one begins: several may begin before the first has ended.
    last: f64,
}

#[derive(Debug)]
struct Waiter {
    id: u64,
    share: u64,
    threads: usize,
    served: Arc<Condvar>,
}

/// One model's claim to threads.
#[derive(Debug)]
pub(crate) struct Share {
    slots: Arc<Slots>,
    id: u64,
}

/// Some threads, given back when dropped.
#[derive(Debug)]
pub(crate) struct Held<'a> {
    slots: &'a Slots,
    threads: usize,
    /// Whose clock they are charged to, what was charged, and since when they are held.
    charged: Option<(u64, f64, Instant)>,
}

impl Slots {
    /// Makes `all` threads available, at least one.
    #[must_use]
    pub fn new(all: usize) -> Self {
        let all = all.max(1);
        Self {
            state: Mutex::new(State { all, ..State::default() }),
            all: AtomicUsize::new(all),
            short: AtomicU64::new(0),
        }
    }

    /// How many threads there are.
    #[must_use]
    pub fn all(&self) -> usize {
        self.all.load(Ordering::Relaxed)
    }

    /// Makes `all` threads available from now on, at least one. Runs under way keep theirs.
    pub fn resize(&self, all: usize) {
        let mut state = self.lock();
        state.all = all.max(1);
        self.all.store(state.all, Ordering::Relaxed);
        state.serve(None);
    }

    /// The time of threads that runs have used so far, those under way included.
    pub(crate) fn used(&self, now: Instant) -> Duration {
        let short = Duration::from_nanos(self.short.load(Ordering::Relaxed));
        let mut state = self.lock();
        state.used.count(now);
        state.used.total + short
    }

    /// Takes note of a run that held one thread of [`Slots::try_take_one`].
    pub(crate) fn was_short(&self, took: Duration) {
        self.short.fetch_add(u64::try_from(took.as_nanos()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// How many threads are free.
    pub(crate) fn free(&self) -> usize {
        let state = self.lock();
        state.all.saturating_sub(state.busy)
    }

    /// Takes one thread if it is free and nobody waits. It is held for microseconds, so nobody's clock is charged.
    pub(crate) fn try_take_one(&self) -> Option<Held<'_>> {
        let mut state = self.lock();
        if state.busy >= state.all || !state.waiting.is_empty() {
            return None;
        }
        state.busy += 1;
        Some(Held { slots: self, threads: 1, charged: None })
    }

    /// Counts stay right even if a thread died while it held the lock.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Share {
    pub(crate) fn new(slots: &Arc<Slots>) -> Self {
        let id = slots.lock().join();
        Self { slots: Arc::clone(slots), id }
    }

    pub(crate) fn slots(&self) -> &Slots {
        &self.slots
    }

    /// Waits for `threads` threads; a run that wants more than there are gets all of them.
    pub(crate) fn take(&self, threads: usize) -> Held<'_> {
        let mut state = self.slots.lock();
        let threads = threads.clamp(1, state.all);
        let waiter = state.wait(self.id, threads);
        let (id, served) = (waiter.id, Arc::clone(&waiter.served));
        state.serve(Some(id));
        while state.waiting.iter().any(|waiter| waiter.id == id) {
            state = served.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        let charged = state.shares.get(&self.id).map_or(0.0, |clock| clock.last);
        let now = Instant::now();
        state.used.count(now);
        state.used.held += threads;
        Held { slots: &self.slots, threads, charged: Some((self.id, charged, now)) }
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.slots.lock().shares.remove(&self.id);
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        let mut state = self.slots.lock();
        if let Some((share, charged, since)) = self.charged {
            let now = Instant::now();
            state.used.count(now);
            state.used.held -= self.threads;
            state.charge(share, charged, self.threads, now.saturating_duration_since(since));
        }
        state.give_back(self.threads);
    }
}

impl State {
    fn id(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id
    }

    fn join(&mut self) -> u64 {
        let id = self.id();
        self.shares.insert(id, Clock { at: self.now, last: 0.0 });
        id
    }

    /// Stands in line. A model that had nothing to do does not get the time back that it did not use.
    fn wait(&mut self, share: u64, threads: usize) -> Waiter {
        let idle = self.waiting.iter().all(|waiter| waiter.share != share);
        if let Some(clock) = self.shares.get_mut(&share).filter(|_| idle) {
            clock.at = clock.at.max(self.now);
        }
        let waiter = Waiter { id: self.id(), share, threads, served: Arc::default() };
        self.waiting.push(waiter.clone());
        waiter
    }

    /// Hands threads out as long as the next in line finds enough of them. Who asks for that itself need not be woken, which
    /// is a call of the system even where nobody sleeps.
    fn serve(&mut self, awake: Option<u64>) {
        while let Some((at, clock)) = self.next() {
            let Some(waiter) = self.waiting.get(at) else { return };
            // More threads than there are left after a resize: all of them are enough.
            let threads = waiter.threads;
            if self.busy > 0 && self.busy + threads > self.all {
                return;
            }
            let waiter = self.waiting.remove(at);
            self.busy += threads;
            self.now = self.now.max(clock.at);
            if let Some(clock) = self.shares.get_mut(&waiter.share) {
                clock.at += clock.last * seconds(threads, Duration::from_secs(1));
            }
            if awake != Some(waiter.id) {
                waiter.served.notify_one();
            }
        }
    }

    /// Who is next: of the models that wait the one with the least time, of its instances the first.
    fn next(&self) -> Option<(usize, Clock)> {
        let clock = |waiter: &Waiter| self.shares.get(&waiter.share).copied().unwrap_or_default();
        let all = self.waiting.iter().enumerate().map(|(at, waiter)| (at, clock(waiter)));
        all.min_by(|(_, a), (_, b)| a.at.total_cmp(&b.at))
    }

    fn charge(&mut self, share: u64, charged: f64, threads: usize, held: Duration) {
        if let Some(clock) = self.shares.get_mut(&share) {
            clock.at += seconds(threads, held) - charged * seconds(threads, Duration::from_secs(1));
            clock.last = held.as_secs_f64();
        }
    }

    fn give_back(&mut self, threads: usize) {
        self.busy -= threads;
        self.serve(None);
    }
}

impl Used {
    /// Counts the time up to `now`.
    fn count(&mut self, now: Instant) {
        let passed = self.until.map_or(Duration::ZERO, |until| now.saturating_duration_since(until));
        self.total += Duration::from_secs_f64(seconds(self.held, passed));
        self.until = Some(now);
    }
}

impl Clone for Waiter {
    fn clone(&self) -> Self {
        Self { id: self.id, share: self.share, threads: self.threads, served: Arc::clone(&self.served) }
    }
}

fn seconds(threads: usize, held: Duration) -> f64 {
    f64::from(u32::try_from(threads).unwrap_or(u32::MAX)) * held.as_secs_f64()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn never_more_threads_than_there_are() {
        let slots = Arc::new(Slots::new(3));
        let busy = Arc::new(AtomicUsize::new(0));
        let workers: Vec<_> = (1..=6)
            .map(|id| {
                let (share, busy) = (Share::new(&slots), Arc::clone(&busy));
                std::thread::spawn(move || {
                    for _ in 0..200 {
                        let threads = id % 3 + 1;
                        let held = share.take(threads);
                        assert!(busy.fetch_add(threads, Ordering::SeqCst) + threads <= 3);
                        busy.fetch_sub(threads, Ordering::SeqCst);
                        drop(held);
                    }
                })
            })
            .collect();
        for worker in workers {
            worker.join().unwrap();
        }
        assert_eq!((slots.free(), slots.lock().shares.len()), (3, 0));
    }

    #[test]
    fn a_run_that_wants_too_many_gets_all() {
        let slots = Arc::new(Slots::new(2));
        let share = Share::new(&slots);
        let held = share.take(16);
        assert!(slots.try_take_one().is_none());
        drop(held);
        assert!(slots.try_take_one().is_some());
    }

    #[test]
    fn threads_can_become_more_and_fewer_while_runs_hold_them() {
        let slots = Arc::new(Slots::new(1));
        let share = Share::new(&slots);
        let first = share.take(1);
        slots.resize(3);
        let second = share.take(2);
        slots.resize(1);
        assert_eq!((slots.all(), slots.free()), (1, 0));
        drop(first);
        assert!(slots.try_take_one().is_none(), "two are still held where one is allowed");
        drop(second);
        assert!(slots.try_take_one().is_some());
    }

    /// Lets two models wait all the time, `instances` of each, for runs of so many milliseconds on `threads` threads;
    /// returns the runs each had. No clock is read: time passes as the runs say.
    fn contend(threads: usize, instances: [usize; 2], milliseconds: [u64; 2], total: u64) -> [u64; 2] {
        let mut state = State { all: threads, ..State::default() };
        let shares = [state.join(), state.join()];
        for (share, instances) in shares.into_iter().zip(instances) {
            for _ in 0..instances {
                state.wait(share, 1);
            }
        }
        let (mut time, mut runs, mut under_way) = (0, [0, 0], Vec::<(u64, usize, f64)>::new());
        while time < total {
            let before: Vec<_> = state.waiting.iter().map(|waiter| waiter.share).collect();
            state.serve(None);
            for (at, share) in shares.into_iter().enumerate() {
                let waiting = |all: &[u64]| all.iter().filter(|waiting| **waiting == share).count();
                let now: Vec<_> = state.waiting.iter().map(|waiter| waiter.share).collect();
                for _ in 0..waiting(&before) - waiting(&now) {
                    under_way.push((time + milliseconds[at], at, state.shares[&share].last));
                }
            }
            under_way.sort_by_key(|run| run.0);
            let (end, at, charged) = under_way.remove(0);
            time = end;
            runs[at] += 1;
            state.charge(shares[at], charged, 1, Duration::from_millis(milliseconds[at]));
            state.busy -= 1;
            state.wait(shares[at], 1);
        }
        runs
    }

    #[test]
    fn a_slow_model_with_many_instances_does_not_starve_a_fast_one() {
        for threads in [1, 2, 3] {
            let [slow, fast] = contend(threads, [8, threads], [50, 1], 60_000);
            let (slow, fast) = (slow * 50, fast);
            assert!(fast * 10 >= slow * 9 && slow * 10 >= fast * 9, "{threads}: {slow} ms and {fast} ms");
        }
    }

    #[test]
    fn a_model_that_was_idle_is_served_next_but_gets_no_time_back() {
        let mut state = State { all: 1, ..State::default() };
        let (busy, idle) = (state.join(), state.join());
        for _ in 0..1000 {
            state.wait(busy, 1);
            state.serve(None);
            state.charge(busy, state.shares[&busy].last, 1, Duration::from_secs(1));
            state.busy -= 1;
        }
        let (behind, ahead) = (state.shares[&idle].at, state.shares[&busy].at);
        assert!(ahead - behind > 900.0);
        state.wait(idle, 1);
        assert!(ahead - state.shares[&idle].at < 3.0);
        state.wait(busy, 1);
        state.serve(None);
        assert_eq!(state.waiting.iter().map(|waiter| waiter.share).collect::<Vec<_>>(), [busy]);
    }

    #[test]
    fn the_time_of_threads_is_counted_while_they_are_held() {
        let slots = Arc::new(Slots::new(4));
        let share = Share::new(&slots);
        let held = share.take(3);
        let since = held.charged.unwrap().2;
        assert_eq!(slots.used(since + Duration::from_secs(2)), Duration::from_secs(6));
        slots.was_short(Duration::from_micros(5));
        assert_eq!(slots.used(since + Duration::from_secs(4)), Duration::from_micros(12_000_005));
        drop(held);
        let used = slots.used(Instant::now());
        assert_eq!(slots.used(Instant::now() + Duration::from_secs(9)), used);
    }
}
