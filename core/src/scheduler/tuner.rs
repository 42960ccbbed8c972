//! How many rows to put in one run, learned from the runs themselves.
//!
//! Batching a small network multiplies its rows a second, a convolutional one's hardly change, and long sequences
//! lose; which it is depends on the model, the machine and the shape of the rows. So the time a row takes is kept by
//! batch size, and the cap climbs by doubling only while that time falls.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// A doubling must make a row this much cheaper to be kept.
const WORTH: f64 = 0.97;
/// Runs of a larger size that decide a trial.
const TRIAL_RUNS: u32 = 6;
/// Runs after which a failed trial is tried again; doubles with each failure.
const FIRST_RETRY: u32 = 500;
const LAST_RETRY: u32 = 64_000;
/// The weight of the newest run in a level's mean.
const NEWEST: f64 = 0.2;
/// More kinds of rows than this share one curve.
const MOST_CLASSES: usize = 64;

/// Learns the time of a row by batch size, for each size of row, and caps batches accordingly.
#[derive(Debug)]
pub(crate) struct Tuner {
    limit: usize,
    fixed: bool,
    curves: Mutex<HashMap<u32, Curve>>,
}

/// What the tuner starts from.
#[derive(Clone, Debug, Default)]
pub struct Tuning {
    /// Whether short runs are done on the caller's thread; `None`: where they prove to be short.
    pub inline: Option<bool>,
    /// Whether every batch may have the most rows, whatever the runs say.
    pub fixed: bool,
    /// Whether the model's owner says that its rows are independent.
    pub trusted: bool,
    /// The elements of a row in the trial runs below.
    pub row_elements: usize,
    /// Trial runs: their rows, in ascending powers of two from 1 on, and how long each took.
    pub trials: Vec<(usize, Duration)>,
}

/// What the runs have taught about rows of one size.
#[derive(Clone, Debug, PartialEq)]
pub struct Learned {
    /// Rows of fewer elements than this and at least half as many.
    pub row_elements: usize,
    /// By rows in a run, the seconds that each row takes.
    pub row_seconds: Vec<(usize, f64)>,
    /// The most rows put in one run now.
    pub max_rows: usize,
}

/// Rows of about the same number of elements are tuned together: long sequences want other batches than short ones.
pub(crate) fn class(row_elements: usize) -> u32 {
    usize::BITS - row_elements.leading_zeros()
}

#[derive(Clone, Debug, Default)]
struct Curve {
    /// What a row costs in a batch of `2^index` up to twice as many rows.
    levels: Vec<Level>,
    /// The largest level allowed.
    cap: usize,
    /// Whether the level above the cap is being tried.
    trying: bool,
    /// Runs until the next trial, and after how many the one after it comes.
    countdown: u32,
    retry: u32,
}

#[derive(Clone, Copy, Debug, Default)]
struct Level {
    row_seconds: f64,
    runs: u32,
}

impl Tuner {
    /// Never allows more than `limit` rows.
    pub(crate) fn new(limit: usize, tuning: &Tuning) -> Self {
        let tuner = Self { limit: limit.max(1), fixed: tuning.fixed, curves: Mutex::default() };
        tuner.learn(tuning.row_elements, &tuning.trials);
        tuner
    }

    /// Learns from trial runs, whose rows have so many elements.
    pub(crate) fn learn(&self, row_elements: usize, trials: &[(usize, Duration)]) {
        for &(rows, took) in trials {
            // One more starts the trial of this size, and one more ends it.
            for _ in 0..TRIAL_RUNS + 2 {
                self.observe(class(row_elements), rows, took);
            }
        }
    }

    /// The most rows to put in one run.
    pub(crate) fn cap(&self, class: u32) -> usize {
        if self.fixed {
            return self.limit;
        }
        self.lock().get(&class).map_or(1, Curve::rows).min(self.limit)
    }

    /// Learns from one run.
    pub(crate) fn observe(&self, class: u32, rows: usize, took: Duration) {
        let (Some(level), Ok(count)) = (rows.checked_ilog2(), u32::try_from(rows)) else { return };
        let top = usize::try_from(self.limit.ilog2()).unwrap_or(0);
        let mut curves = self.lock();
        if curves.len() >= MOST_CLASSES && !curves.contains_key(&class) {
            return;
        }
        let curve = curves.entry(class).or_default();
        curve.observe(usize::try_from(level).unwrap_or(0).min(top), took.as_secs_f64() / f64::from(count));
        curve.decide(top);
    }

    /// What a run of one row takes, as far as it is known.
    pub(crate) fn single(&self, class: u32) -> Option<Duration> {
        let curves = self.lock();
        let level = curves.get(&class)?.levels.first()?;
        (level.runs > 0).then(|| Duration::from_secs_f64(level.row_seconds))
    }

    /// What has been learned, for rows of each size.
    pub(crate) fn learned(&self) -> Vec<Learned> {
        let curves = self.lock();
        let one = |(class, curve): (&u32, &Curve)| {
            let levels = curve.levels.iter().enumerate().filter(|(_, level)| level.runs > 0);
            let row_seconds = levels.map(|(index, level)| (1 << index, level.row_seconds)).collect();
            let max_rows = if self.fixed { self.limit } else { curve.rows().min(self.limit) };
            Learned { row_elements: 1_usize.checked_shl(*class).unwrap_or(usize::MAX), row_seconds, max_rows }
        };
        let mut all: Vec<_> = curves.iter().map(one).collect();
        all.sort_by_key(|learned| learned.row_elements);
        all
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<u32, Curve>> {
        self.curves.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Curve {
    fn rows(&self) -> usize {
        1 << (self.cap + usize::from(self.trying))
    }

    fn observe(&mut self, level: usize, row_seconds: f64) {
        if self.levels.len() <= level {
            self.levels.resize(level + 1, Level::default());
        }
        let Some(known) = self.levels.get_mut(level) else { return };
        known.row_seconds = match known.runs {
            0 => row_seconds,
            // The first runs of a size are slow for reasons of their own: the better of the early ones counts.
            1..=3 => known.row_seconds.min(row_seconds),
            // A run that was held up by something else must not count for more than a slow one.
            _ => known.row_seconds + NEWEST * (row_seconds.min(2.0 * known.row_seconds) - known.row_seconds),
        };
        known.runs = known.runs.saturating_add(1);
        self.countdown = self.countdown.saturating_sub(1);
    }

    fn decide(&mut self, top: usize) {
        let level = |index: usize| self.levels.get(index).copied().unwrap_or_default();
        let (current, next) = (level(self.cap), level(self.cap + 1));
        if self.cap > 0 {
            let below = level(self.cap - 1);
            if below.runs >= TRIAL_RUNS && current.runs >= TRIAL_RUNS && below.row_seconds < current.row_seconds * WORTH
            {
                self.cap -= 1;
                self.wait_longer();
                return;
            }
        }
        if self.trying && next.runs >= TRIAL_RUNS {
            self.trying = false;
            if next.row_seconds < current.row_seconds * WORTH {
                self.cap += 1;
                self.retry = 0;
            } else {
                self.wait_longer();
            }
        } else if !self.trying && self.cap < top && current.runs >= TRIAL_RUNS && self.countdown == 0 {
            self.trying = true;
            // What was known of the larger size may be long ago.
            if let Some(next) = self.levels.get_mut(self.cap + 1) {
                *next = Level::default();
            }
        }
    }

    fn wait_longer(&mut self) {
        self.trying = false;
        self.retry = (self.retry * 2).clamp(FIRST_RETRY, LAST_RETRY);
        self.countdown = self.retry;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs full batches on a model whose run takes `cost(rows)` microseconds; returns the cap it settles at.
    fn settle(limit: usize, runs: usize, cost: impl Fn(f64) -> f64) -> usize {
        let tuner = Tuner::new(limit, &Tuning::default());
        for _ in 0..runs {
            let rows = tuner.cap(1);
            let microseconds = cost(f64::from(u32::try_from(rows).unwrap()));
            tuner.observe(1, rows, Duration::from_secs_f64(microseconds / 1e6));
        }
        tuner.learned()[0].max_rows
    }

    #[test]
    fn the_cap_climbs_while_rows_get_cheaper() {
        assert_eq!(settle(32, 200, |rows| 100.0 + rows), 32);
    }

    #[test]
    fn the_cap_stays_at_one_where_batching_costs() {
        assert_eq!(settle(32, 200, |rows| 100.0 * rows * rows), 1);
        assert_eq!(settle(32, 200, |rows| 100.0 * rows), 1, "no gain is no reason");
    }

    #[test]
    fn the_cap_stops_where_rows_stop_getting_cheaper() {
        let cost = |rows: f64| if rows <= 8.0 { 100.0 + rows } else { 20.0 * rows };
        assert_eq!(settle(64, 300, cost), 8);
    }

    #[test]
    fn trial_runs_decide_before_the_first_request() {
        let trials = (0..6).map(|power| (1 << power, Duration::from_micros(100 + (1 << power)))).collect();
        let tuner = Tuner::new(32, &Tuning { row_elements: 4, trials, ..Tuning::default() });
        assert_eq!((tuner.cap(class(4)), tuner.single(class(4))), (32, Some(Duration::from_micros(101))));
    }

    #[test]
    fn the_cap_follows_a_machine_that_changes() {
        let tuner = Tuner::new(16, &Tuning::default());
        let run = |cost: &dyn Fn(f64) -> f64, runs: usize| {
            for _ in 0..runs {
                let rows = tuner.cap(1);
                let seconds = cost(f64::from(u32::try_from(rows).unwrap())) / 1e6;
                tuner.observe(1, rows, Duration::from_secs_f64(seconds));
            }
            tuner.learned()[0].max_rows
        };
        assert_eq!(run(&|rows| 100.0 * rows, 100), 1);
        assert_eq!(run(&|rows| 100.0 + rows, 5000), 16);
    }

    #[test]
    fn long_rows_and_short_ones_are_tuned_apart() {
        let tuner = Tuner::new(16, &Tuning::default());
        for _ in 0..100 {
            tuner.observe(class(16), tuner.cap(class(16)), Duration::from_micros(50));
            let rows = tuner.cap(class(4096));
            tuner.observe(class(4096), rows, Duration::from_millis(u64::try_from(rows * rows).unwrap()));
        }
        assert_eq!((tuner.cap(class(16)), tuner.cap(class(4096))), (16, 1));
    }
}
