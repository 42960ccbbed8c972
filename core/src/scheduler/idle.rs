//! Which of a model's idle instances goes to work when something comes: the one that fell asleep last. What it needs is
//! still in the processor's caches, and a lone caller does not go round all of them.

use std::thread::{self, Thread};

/// The instances that have nothing to do, the one that fell asleep last on top.
#[derive(Debug, Default)]
pub(super) struct Idle(Vec<Thread>);

impl Idle {
    /// This thread is about to sleep. One that woke for nothing keeps its place.
    pub(super) fn enter(&mut self) {
        let own = thread::current();
        if !self.0.iter().any(|sleeper| sleeper.id() == own.id()) {
            self.0.push(own);
        }
    }

    /// This thread sleeps no more.
    pub(super) fn leave(&mut self) {
        if !self.0.is_empty() {
            let own = thread::current().id();
            self.0.retain(|sleeper| sleeper.id() != own);
        }
    }

    /// The one to be woken. It sleeps no more, though it may not know yet.
    pub(super) fn next(&mut self) -> Option<Thread> {
        self.0.pop()
    }

    /// Wakes all of them.
    pub(super) fn wake_all(&mut self) {
        self.0.drain(..).for_each(|sleeper| sleeper.unpark());
    }

    /// How many sleep.
    #[cfg(test)]
    pub(super) const fn asleep(&self) -> usize {
        self.0.len()
    }
}
