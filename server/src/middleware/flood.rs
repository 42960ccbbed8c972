//! Keeps a flood out of the log: of thousands of lines a second that are alike a few are written, and say so.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// The time in which so many lines come through.
const INTERVAL: Duration = Duration::from_secs(1);

/// Lets some lines through in each interval and counts the others.
#[derive(Debug)]
pub(crate) struct Flood {
    /// How many lines come through.
    most: u64,
    began: Instant,
    /// When the next interval begins, in milliseconds from the beginning.
    next: AtomicU64,
    /// How many came through in this one.
    passed: AtomicU64,
    held: AtomicU64,
}

impl Flood {
    /// Lets `most` lines through in a second.
    pub(crate) fn new(most: u64) -> Self {
        let [next, passed, held] = [0; 3].map(AtomicU64::new);
        Self { most, began: Instant::now(), next, passed, held }
    }

    /// How many lines were held back since the last one, where this one is let through.
    pub(super) fn pass(&self) -> Option<u64> {
        self.pass_at(milliseconds(self.began.elapsed()))
    }

    fn pass_at(&self, now: u64) -> Option<u64> {
        let next = self.next.load(Ordering::Relaxed);
        let after = now.saturating_add(milliseconds(INTERVAL));
        if now >= next && self.next.compare_exchange(next, after, Ordering::Relaxed, Ordering::Relaxed).is_ok() {
            self.passed.store(0, Ordering::Relaxed);
        }
        if self.passed.fetch_add(1, Ordering::Relaxed) < self.most {
            return Some(self.held.swap(0, Ordering::Relaxed));
        }
        self.held.fetch_add(1, Ordering::Relaxed);
        None
    }
}

fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_in_a_second_counts_those_before_it() {
        let flood = Flood::new(1);
        let passed = [5, 5, 6, 1004, 1005, 1006, 9000, 9001].map(|now| flood.pass_at(now));
        assert_eq!(passed, [Some(0), None, None, None, Some(3), None, Some(1), None]);
    }

    #[test]
    fn some_lines_in_a_second_come_through() {
        let flood = Flood::new(3);
        let passed = [0, 1, 2, 3, 4, 1000, 1001, 1002, 1003, 2500].map(|now| flood.pass_at(now));
        let expected = [Some(0), Some(0), Some(0), None, None, Some(2), Some(0), Some(0), None, Some(1)];
        assert_eq!(passed, expected);
    }
}
