//! Which requests count.

use std::time::{Duration, Instant};

use crate::subject::{Load, Trial};

/// The time that is measured, and what counts in it.
#[derive(Debug)]
pub(crate) struct Window {
    pub(crate) from: Instant,
    pub(crate) to: Instant,
    /// The requests that have been let in so far, and the most there may be.
    admitted: u64,
    most: u64,
    open: bool,
    /// When the last request that counts ended.
    last: Instant,
}

impl Window {
    pub(crate) fn new(trial: &Trial, start: Instant) -> Self {
        let from = start + trial.length.warm_up;
        Self {
            from,
            to: from + trial.length.duration,
            admitted: 0,
            most: trial.most_samples(),
            open: matches!(trial.load, Load::Open { .. }),
            last: from,
        }
    }

    /// Whether so many requests have been let in that no further one counts.
    pub(crate) const fn is_full(&self) -> bool {
        self.admitted >= self.most
    }

    /// Lets a request in that is due at this moment, and says whether it counts for that.
    pub(crate) fn admit(&mut self, due: Instant, leaves: bool) -> bool {
        let counts = self.by_due() && due >= self.from;
        self.admitted += u64::from(counts && !leaves);
        counts
    }

    /// Whether a request that ended at `now` is recorded. Of a closed load without a number of requests those count
    /// that end in time, so that its rate is not blurred at the edges; else all that were let in.
    pub(crate) fn records(&mut self, let_in: bool, now: Instant) -> bool {
        let counts = if self.by_due() { let_in } else { now >= self.from && now <= self.to };
        if counts {
            self.last = self.last.max(now);
        }
        counts
    }

    /// How many of so many further requests, which were due and never sent, count.
    pub(crate) fn missing(&self, unsent: u64) -> u64 {
        unsent.min(self.most.saturating_sub(self.admitted))
    }

    /// The time that was measured; `hopeless` where it ended early.
    pub(crate) fn elapsed(&self, hopeless: bool) -> Duration {
        let end = match (self.open, self.most < u64::MAX || hopeless) {
            (_, true) => self.last,
            (true, false) => self.last.max(self.to),
            (false, false) => self.to,
        };
        end.saturating_duration_since(self.from)
    }

    const fn by_due(&self) -> bool {
        self.open || self.most < u64::MAX
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::subject::Length;

    const SECOND: Duration = Duration::from_secs(1);

    fn window(load: Load, requests: Option<u64>) -> (Window, Instant) {
        let length = Length { duration: SECOND * 2, requests, warm_up: SECOND };
        let start = Instant::now();
        (Window::new(&Trial { load, length, bound: None, hopeless: None, seed: 0 }, start), start)
    }

    #[test]
    fn answers_of_a_closed_load_count_while_it_is_measured() {
        let (mut window, start) = window(Load::Closed { callers: 1 }, None);
        assert!(!window.records(false, start + SECOND / 2));
        assert!(window.records(false, start + SECOND * 2));
        assert!(!window.records(false, start + SECOND * 4));
        assert_eq!(window.elapsed(false), SECOND * 2);
    }

    #[test]
    fn requests_of_an_open_load_count_that_were_due_while_it_is_measured_however_late_they_end() {
        let (mut window, start) = window(Load::Open { rate: 1.0 }, None);
        assert!(!window.admit(start + SECOND / 2, false));
        assert!(window.admit(start + SECOND * 2, false));
        assert!(window.records(true, start + SECOND * 9));
        assert_eq!(window.elapsed(false), SECOND * 8, "the time it took to answer them all");
    }

    #[test]
    fn a_number_of_requests_is_kept_whoever_leaves() {
        let (mut window, start) = window(Load::Closed { callers: 1 }, Some(2));
        let due = start + SECOND;
        assert!(window.admit(due, false) && window.admit(due, true) && !window.is_full());
        assert!(window.admit(due, false) && window.is_full());
        assert_eq!(window.missing(5), 0);
    }
}
