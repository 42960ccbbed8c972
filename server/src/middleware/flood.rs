//! Keeps an overload out of the log: thousands of refusals a second have one line in each second.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// How long one line stands for all that are like it.
const INTERVAL: Duration = Duration::from_secs(1);

/// Lets one line through in each interval and counts the others.
#[derive(Debug)]
pub(crate) struct Flood {
    began: Instant,
    /// When the next line may come, in milliseconds from the beginning.
    next: AtomicU64,
    held: AtomicU64,
}

impl Default for Flood {
    fn default() -> Self {
        Self { began: Instant::now(), next: AtomicU64::new(0), held: AtomicU64::new(0) }
    }
}

impl Flood {
    /// How many lines were held back since the last one, where this one is let through.
    pub(super) fn pass(&self) -> Option<u64> {
        self.pass_at(milliseconds(self.began.elapsed()))
    }

    fn pass_at(&self, now: u64) -> Option<u64> {
        let next = self.next.load(Ordering::Relaxed);
        let after = now.saturating_add(milliseconds(INTERVAL));
        let mine = now >= next && self.next.compare_exchange(next, after, Ordering::Relaxed, Ordering::Relaxed).is_ok();
        if mine {
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
        let flood = Flood::default();
        let passed = [5, 5, 6, 1004, 1005, 1006, 9000, 9001].map(|now| flood.pass_at(now));
        assert_eq!(passed, [Some(0), None, None, None, Some(3), None, Some(1), None]);
    }
}
