//! How long a request will have to wait.
//!
//! The forecast is the work that stands ahead, divided by the runs that can be under way at once, times a bias:
//!
//! `wait = (work of what waits + what is left of the runs under way) / parallel runs * bias`
//!
//! The work comes from the learned time of a row in a full run. The bias is how much longer than the same formula without
//! it nearly all runs have been answered lately: other models and other processes want the processors too. It is no
//! mean, since what is accepted is a promise: half of them would be broken.

use std::time::{Duration, Instant};

/// Which part of the runs may be answered later than the forecast: the bias settles where so many are.
const BROKEN: f64 = 0.02;
/// How much a run that is later than the forecast raises the bias.
const STEP: f64 = 0.1;
/// How much of a bias is forgotten by who comes while nothing is ahead.
const FORGOTTEN: f64 = 0.1;
/// The bias of who knows nothing yet.
const FIRST_BIAS: f64 = 1.25;
/// Whatever happened, a bias stays between these.
const BIAS: (f64, f64) = (0.8, 8.0);
/// Shorter waits say little of the bias.
const TELLING: f64 = 0.001;

/// The work that waits or is under way.
#[derive(Debug)]
pub(super) struct Backlog {
    waiting: usize,
    /// The work of what waits, in seconds of one run.
    work: f64,
    running: Vec<Running>,
    bias: f64,
}

/// One run under way.
#[derive(Debug)]
struct Running {
    run: u64,
    began: Instant,
    /// When it is expected to end.
    end: Instant,
    promise: Option<Promise>,
}

/// What the oldest request of a run was told.
#[derive(Clone, Copy, Debug)]
pub(super) struct Promise {
    /// When it came.
    pub(super) queued: Instant,
    /// The seconds to its answer, before the bias.
    pub(super) seconds: f64,
}

impl Default for Backlog {
    fn default() -> Self {
        Self { waiting: 0, work: 0.0, running: Vec::new(), bias: FIRST_BIAS }
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

    /// Whether nothing waits and nothing is under way.
    pub(super) fn is_quiet(&self) -> bool {
        self.waiting == 0 && self.running.is_empty()
    }

    /// Whether a run could begin at once.
    pub(super) fn is_free(&self, parallel: usize) -> bool {
        self.waiting == 0 && self.running.len() < parallel
    }

    /// A run begins that is expected to take so many seconds.
    pub(super) fn begin(&mut self, run: u64, now: Instant, seconds: f64, promise: Option<Promise>) {
        let takes = Duration::try_from_secs_f64(seconds).unwrap_or_default();
        self.running.push(Running { run, began: now, end: now.checked_add(takes).unwrap_or(now), promise });
    }

    /// When each run under way began, with its number.
    pub(super) fn under_way(&self) -> impl Iterator<Item = (u64, Instant)> {
        self.running.iter().map(|running| (running.run, running.began))
    }

    /// It has ended.
    pub(super) fn end(&mut self, run: u64, now: Instant) {
        if let Some(at) = self.running.iter().position(|running| running.run == run) {
            let ended = self.running.swap_remove(at);
            self.learn(ended.promise, now);
        }
    }

    /// The seconds that who comes now is expected to wait, without the bias; `shared` seconds of the work that waits
    /// are done in its own run.
    pub(super) fn wait(&self, now: Instant, shared: f64, parallel: usize) -> f64 {
        let left = |running: &Running| running.end.saturating_duration_since(now).as_secs_f64();
        let ahead = (self.work - shared).max(0.0) + self.running.iter().map(left).sum::<f64>();
        ahead / f64::from(u32::try_from(parallel.max(1)).unwrap_or(u32::MAX))
    }

    pub(super) const fn bias(&self) -> f64 {
        self.bias
    }

    /// Learns how long it took whom something was promised.
    pub(super) fn learn(&mut self, promise: Option<Promise>, now: Instant) {
        let Some(Promise { queued, seconds }) = promise.filter(|promise| promise.seconds >= TELLING) else { return };
        let late = now.saturating_duration_since(queued).as_secs_f64() > seconds * self.bias;
        let change = if late { STEP * (1.0 - BROKEN) } else { -STEP * BROKEN };
        self.bias = (self.bias * (1.0 + change)).clamp(BIAS.0, BIAS.1);
    }

    /// Someone came while nothing was ahead: whatever the bias came from may be over, and if nobody were taken any more
    /// it would never be found out.
    pub(super) fn forget(&mut self) {
        self.bias += FORGOTTEN * (FIRST_BIAS - self.bias);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wait_is_what_stands_ahead_over_the_runs_at_once() {
        let (mut backlog, now) = (Backlog::default(), Instant::now());
        assert_eq!(backlog.wait(now, 0.0, 2), 0.0);
        assert_eq!(backlog.under_way().count(), 0);
        backlog.add(0.3);
        backlog.add(0.1);
        backlog.begin(1, now, 0.5, None);
        assert!((backlog.wait(now, 0.0, 2) - 0.45).abs() < 1e-9);
        assert!((backlog.wait(now + Duration::from_millis(300), 0.0, 2) - 0.3).abs() < 1e-9);
        assert!(
            (backlog.wait(now + Duration::from_secs(9), 0.0, 2) - 0.2).abs() < 1e-9,
            "overdue runs count for nothing"
        );
        assert_eq!(backlog.under_way().collect::<Vec<_>>(), [(1, now)]);
        backlog.end(1, now);
        backlog.remove(0.1);
        backlog.remove(0.3);
        assert_eq!((backlog.wait(now, 0.0, 2), backlog.is_free(1)), (0.0, true));
    }

    #[test]
    fn the_bias_is_what_nearly_all_runs_keep_and_idleness_forgets_it() {
        let mut backlog = Backlog::default();
        let queued = Instant::now();
        let told = |seconds| Some(Promise { queued, seconds });
        // One in twenty takes three times as long, the others twice.
        for run in 0..10_000 {
            let took = Duration::from_millis(if run % 20 == 0 { 300 } else { 200 });
            backlog.learn(told(0.1), queued + took);
        }
        assert!((2.4..3.4).contains(&backlog.bias()), "{}", backlog.bias());
        let before = backlog.bias();
        backlog.learn(told(1e-6), queued + Duration::from_secs(9));
        backlog.learn(None, queued + Duration::from_secs(9));
        assert_eq!(backlog.bias(), before, "too short to tell");
        for _ in 0..100 {
            backlog.forget();
        }
        assert!((backlog.bias() - FIRST_BIAS).abs() < 0.01);
    }

    #[test]
    fn a_run_that_ends_late_raises_the_bias() {
        let (mut backlog, now) = (Backlog::default(), Instant::now());
        backlog.begin(1, now, 0.1, Some(Promise { queued: now, seconds: 0.1 }));
        backlog.end(1, now + Duration::from_millis(500));
        assert!(backlog.bias() > FIRST_BIAS);
        assert_eq!(backlog.running(), 0);
    }
}
