//! When a session that keeps memory between runs gives back what it no longer needs.
//!
//! One large request among small ones would otherwise hold its memory until the model is unloaded.

use std::sync::Mutex;
use std::time::{Duration, Instant};

/// Giving memory back makes the next run fetch it again; this seldom, that costs nothing.
const INTERVAL: Duration = Duration::from_secs(10);

/// Remembers when memory was last given back.
#[derive(Debug)]
pub(super) struct Housekeeping(Mutex<Instant>);

impl Default for Housekeeping {
    fn default() -> Self {
        Self(Mutex::new(Instant::now()))
    }
}

impl Housekeeping {
    /// Whether the run that begins now is to give memory back at its end; true once in each interval.
    pub(super) fn is_due(&self) -> bool {
        self.is_due_at(Instant::now())
    }

    fn is_due_at(&self, now: Instant) -> bool {
        // Another thread asks at this moment: one of them is enough.
        let Ok(mut last) = self.0.try_lock() else { return false };
        let due = now.saturating_duration_since(*last) >= INTERVAL;
        if due {
            *last = now;
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_given_back_once_in_each_interval() {
        let housekeeping = Housekeeping::default();
        let begun = *housekeeping.0.lock().unwrap();
        let due = [0, 9, 10, 11, 19, 20].map(|seconds| housekeeping.is_due_at(begun + Duration::from_secs(seconds)));
        assert_eq!(due, [false, false, true, false, false, true]);
    }
}
