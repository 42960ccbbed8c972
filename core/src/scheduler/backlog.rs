//! How long a request will have to wait.
//!
//! The forecast is the work that stands ahead, divided by the runs that can be under way at once, times a bias:
//!
//! `wait = (work of what waits + what is left of the runs under way) / parallel runs * bias`
//!
//! The work comes from the learned time of a row in a full run. The bias is how much longer requests have waited lately
//! than the same formula without it told: other models and other processes want the processors too.

use std::time::{Duration, Instant};

/// How much of the newest wait goes into the bias.
const NEWEST: f64 = 0.1;
/// Whatever happened, a bias stays between these.
const BIAS: (f64, f64) = (0.5, 8.0);
/// Shorter waits say little of the bias.
const TELLING: f64 = 0.001;
/// Forecasts are off by a quarter now and then: so much more time is asked for than they tell.
pub(super) const MARGIN: f64 = 1.25;

/// The work that waits or is under way.
#[derive(Debug)]
pub(super) struct Backlog {
    waiting: usize,
    /// The work of what waits, in seconds of one run.
    work: f64,
    /// When each run under way is expected to end.
    running: Vec<(u64, Instant)>,
    bias: f64,
}

impl Default for Backlog {
    fn default() -> Self {
        Self { waiting: 0, work: 0.0, running: Vec::new(), bias: 1.0 }
    }
}

impl Backlog {
    /// A job of that cost waits.
    pub(super) fn add(&mut self, cost: f64) {
        self.waiting += 1;
        self.work += cost;
    }

    /// It waits no more.
    pub(super) fn remove(&mut self, cost: f64) {
        self.waiting = self.waiting.saturating_sub(1);
        // Where nothing waits, rounding leaves nothing either.
        self.work = if self.waiting == 0 { 0.0 } else { (self.work - cost).max(0.0) };
    }

    /// How many jobs wait.
    pub(super) const fn waiting(&self) -> usize {
        self.waiting
    }

    /// How many runs are under way.
    pub(super) const fn running(&self) -> usize {
        self.running.len()
    }

    /// Whether a run could begin at once.
    pub(super) fn is_free(&self, parallel: usize) -> bool {
        self.waiting == 0 && self.running.len() < parallel
    }

    pub(super) fn begin(&mut self, run: u64, now: Instant, seconds: f64) {
        let takes = Duration::try_from_secs_f64(seconds).unwrap_or_default();
        self.running.push((run, now.checked_add(takes).unwrap_or(now)));
    }

    pub(super) fn end(&mut self, run: u64) {
        self.running.retain(|(other, _)| *other != run);
    }

    /// The seconds that who comes now is expected to wait, without the bias; `shared` seconds of the work that waits
    /// are done in its own run.
    pub(super) fn wait(&self, now: Instant, shared: f64, parallel: usize) -> f64 {
        let left = |(_, end): &(u64, Instant)| end.saturating_duration_since(now).as_secs_f64();
        let ahead = (self.work - shared).max(0.0) + self.running.iter().map(left).sum::<f64>();
        ahead / f64::from(u32::try_from(parallel.max(1)).unwrap_or(u32::MAX))
    }

    pub(super) const fn bias(&self) -> f64 {
        self.bias
    }

    /// Learns how long someone waited who was expected to wait `expected` seconds.
    pub(super) fn learn(&mut self, expected: f64, waited: Duration) {
        if expected >= TELLING {
            let ratio = (waited.as_secs_f64() / expected).clamp(BIAS.0, BIAS.1);
            self.bias += NEWEST * (ratio - self.bias);
        }
    }

    /// Someone came while nothing was ahead: whatever the bias came from may be over, and if nobody were taken any more
    /// it would never be found out.
    pub(super) fn forget(&mut self) {
        self.bias += NEWEST * (1.0 - self.bias);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wait_is_what_stands_ahead_over_the_runs_at_once() {
        let (mut backlog, now) = (Backlog::default(), Instant::now());
        assert_eq!(backlog.wait(now, 0.0, 2), 0.0);
        backlog.add(0.3);
        backlog.add(0.1);
        backlog.begin(1, now, 0.5);
        assert!((backlog.wait(now, 0.0, 2) - 0.45).abs() < 1e-9);
        assert!((backlog.wait(now + Duration::from_millis(300), 0.0, 2) - 0.3).abs() < 1e-9);
        assert!(
            (backlog.wait(now + Duration::from_secs(9), 0.0, 2) - 0.2).abs() < 1e-9,
            "overdue runs count for nothing"
        );
        backlog.end(1);
        backlog.remove(0.1);
        backlog.remove(0.3);
        assert_eq!((backlog.wait(now, 0.0, 2), backlog.is_free(1)), (0.0, true));
    }

    #[test]
    fn waits_that_turn_out_longer_are_expected_to_and_idleness_forgets_it() {
        let mut backlog = Backlog::default();
        for _ in 0..100 {
            backlog.learn(0.1, Duration::from_millis(300));
        }
        assert!((backlog.bias() - 3.0).abs() < 0.01);
        backlog.learn(1e-6, Duration::from_secs(9));
        assert!((backlog.bias() - 3.0).abs() < 0.01, "too short to tell");
        for _ in 0..100 {
            backlog.forget();
        }
        assert!((backlog.bias() - 1.0).abs() < 0.01);
    }
}
