//! The threads that all models together may keep busy.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// Counts threads out and in. Who waits is served in the order of coming, so a slow model cannot starve another.
#[derive(Debug)]
pub struct Slots {
    state: Mutex<State>,
    freed: Condvar,
    all: usize,
}

#[derive(Debug)]
struct State {
    free: usize,
    waiting: VecDeque<u64>,
    next_ticket: u64,
}

/// Some threads, given back when dropped.
#[derive(Debug)]
pub(crate) struct Held<'a> {
    slots: &'a Slots,
    threads: usize,
}

impl Slots {
    /// Makes `all` threads available, at least one.
    #[must_use]
    pub fn new(all: usize) -> Self {
        let all = all.max(1);
        let state = State { free: all, waiting: VecDeque::new(), next_ticket: 0 };
        Self { state: Mutex::new(state), freed: Condvar::new(), all }
    }

    /// Waits for `threads` threads; a run that wants more than there are gets all of them.
    pub(crate) fn take(&self, threads: usize) -> Held<'_> {
        let threads = threads.clamp(1, self.all);
        let mut state = self.lock();
        let ticket = state.next_ticket;
        state.next_ticket += 1;
        state.waiting.push_back(ticket);
        while state.waiting.front() != Some(&ticket) || state.free < threads {
            state = self.freed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.waiting.pop_front();
        state.free -= threads;
        // The next in line may fit too.
        self.freed.notify_all();
        Held { slots: self, threads }
    }

    /// Takes one thread if it is free and nobody waits.
    pub(crate) fn try_take_one(&self) -> Option<Held<'_>> {
        let mut state = self.lock();
        if state.free == 0 || !state.waiting.is_empty() {
            return None;
        }
        state.free -= 1;
        Some(Held { slots: self, threads: 1 })
    }

    /// Counts stay right even if a thread died while it held the lock.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        let waiting = {
            let mut state = self.slots.lock();
            state.free += self.threads;
            !state.waiting.is_empty()
        };
        if waiting {
            self.slots.freed.notify_all();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[test]
    fn never_more_threads_than_there_are() {
        let slots = Arc::new(Slots::new(3));
        let busy = Arc::new(AtomicUsize::new(0));
        let workers: Vec<_> = (1..=6)
            .map(|id| {
                let (slots, busy) = (Arc::clone(&slots), Arc::clone(&busy));
                std::thread::spawn(move || {
                    for _ in 0..200 {
                        let threads = id % 3 + 1;
                        let held = slots.take(threads);
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
        assert_eq!(slots.lock().free, 3);
    }

    #[test]
    fn a_run_that_wants_too_many_gets_all() {
        let slots = Slots::new(2);
        let held = slots.take(16);
        assert!(slots.try_take_one().is_none());
        drop(held);
        assert!(slots.try_take_one().is_some());
    }
}
