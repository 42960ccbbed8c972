//! How many rows to put in one run, learned from the runs themselves.
//!
//! Batching a small network multiplies its rows a second, a convolutional one's hardly change, and long sequences
//! lose; which it is depends on the model, the machine and the shape of the rows. So the time a row takes is kept by
//! batch size, and the cap goes where that time is least.

use std::collections::BTreeMap;
use std::iter::repeat;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::curve::{Curve, Forecast, Row, Took};
use crate::padding::Padding;

/// More kinds of rows than this share one curve.
const MOST_CLASSES: usize = 64;

/// Learns the time of a row by batch size, for each size of row, and caps batches accordingly.
#[derive(Debug)]
pub(crate) struct Tuner {
    limit: usize,
    fixed: bool,
    curves: Mutex<BTreeMap<u32, Curve>>,
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
    /// Whether there are as many instances as processors, however many those become.
    pub elastic: bool,
    /// Whether the device was prepared for runs of 1, 2, 4, … rows, and is slow in the first of any other size.
    pub prepared: bool,
    /// The time within which nearly all requests are to be answered.
    pub objective: Option<Duration>,
    /// How requests of different lengths are made as long as one another, if they may.
    pub padding: Option<Padding>,
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
    /// Why not more, in plain words.
    pub reason: String,
}

/// Rows of about the same number of elements are tuned together: long sequences want other batches than short ones.
pub(crate) fn class(row_elements: usize) -> u32 {
    usize::BITS - row_elements.leading_zeros()
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
        if !trials.is_empty() {
            let row = |&(rows, took): &(usize, Duration)| (self.level(rows), took.as_secs_f64() / count(rows));
            let curve = Curve::from_trials(trials.iter().map(row));
            self.lock().insert(class(row_elements), curve);
        }
    }

    /// The most rows to put in one run, and what runs are expected to take.
    pub(crate) fn forecast(&self, class: u32) -> Forecast {
        let curves = self.lock();
        let curve = curves.get(&class);
        let cap = if self.fixed { self.limit } else { curve.map_or(1, |curve| self.rows(curve.turn())) };
        Forecast::new(cap, curve.into_iter().flat_map(Curve::levels))
    }

    /// Learns from one run.
    pub(crate) fn observe(&self, class: u32, rows: usize, took: Took) {
        if rows == 0 {
            return;
        }
        let mut curves = self.lock();
        if curves.len() >= MOST_CLASSES && !curves.contains_key(&class) {
            return;
        }
        curves.entry(class).or_default().observe(self.level(rows), count(rows), took, self.level(self.limit));
    }

    /// What a run of one row takes, as far as it is known, and the most rows to put in a run that is to take no longer than
    /// `limit`.
    pub(crate) fn short(&self, class: u32, limit: Duration) -> Option<(Duration, usize)> {
        let curves = self.lock();
        let curve = curves.get(&class)?;
        let single = curve.levels().next()??.seconds;
        let top = if self.fixed { self.level(self.limit) } else { curve.turn() };
        let (mut each, mut most) = (single, 1);
        for (level, row) in curve.levels().map(Some).chain(repeat(None)).enumerate().take(top + 1) {
            each = row.flatten().map_or(each, |row: Row| row.seconds);
            let rows = self.rows(level);
            if each * count(rows) > limit.as_secs_f64() {
                break;
            }
            most = rows;
        }
        Some((Duration::from_secs_f64(single), most))
    }

    /// The seconds that a row adds to the work of a full queue whatever its size: 0 where nothing is known.
    pub(crate) fn least(&self) -> f64 {
        let curves = self.lock();
        let rows = curves.values().flat_map(|curve| curve.levels().flatten());
        rows.map(|row| row.seconds).reduce(f64::min).unwrap_or(0.0)
    }

    /// What has been learned, for rows of each size.
    pub(crate) fn learned(&self) -> Vec<Learned> {
        let curves = self.lock();
        let one = |(class, curve): (&u32, &Curve)| {
            let levels = curve.levels().enumerate();
            let row_seconds = levels.filter_map(|(index, row)| Some((self.rows(index), row?.seconds))).collect();
            let max_rows = if self.fixed { self.limit } else { self.rows(curve.best()) };
            let row_elements = 1_usize.checked_shl(*class).unwrap_or(usize::MAX);
            Learned { row_elements, row_seconds, max_rows, reason: self.reason(curve) }
        };
        let mut all: Vec<_> = curves.iter().map(one).collect();
        all.sort_unstable_by_key(|learned| learned.row_elements);
        all
    }

    fn reason(&self, curve: &Curve) -> String {
        let micros = |(size, seconds): (usize, f64)| format!("{} in runs of {}", micros(seconds), self.rows(size));
        match curve.last() {
            _ if self.limit == 1 => "requests never share a run".into(),
            _ if self.fixed => "given in model.toml".into(),
            Some(found) => {
                format!("the last trial found that a row costs {}, {}", micros(found.size), micros(found.other))
            }
            None if curve.best() == self.level(self.limit) => {
                "the most allowed: the trial at load found it best".into()
            }
            None => "of the sizes tried at load the best; requests have not filled larger runs yet".into(),
        }
    }

    /// The level of a run with so many rows.
    fn level(&self, rows: usize) -> usize {
        let level = |rows: usize| usize::try_from(rows.max(1).ilog2()).unwrap_or(0);
        level(rows).min(level(self.limit))
    }

    /// The most rows of a level; of the last one, all that are allowed.
    fn rows(&self, level: usize) -> usize {
        if level >= self.level(self.limit) { self.limit } else { 1 << level }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<u32, Curve>> {
        self.curves.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn count(rows: usize) -> f64 {
    f64::from(u32::try_from(rows).unwrap_or(u32::MAX))
}

fn micros(seconds: f64) -> String {
    format!("{:.1} µs", seconds * 1e6)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn took(microseconds: u64) -> Took {
        Took { wall: Duration::from_micros(microseconds), work: None }
    }

    /// Runs full batches on a model whose run takes `cost(rows)` microseconds; returns the cap it settles at.
    fn settle(tuner: &Tuner, class: u32, runs: usize, cost: impl Fn(u64) -> u64) -> usize {
        for _ in 0..runs {
            let rows = tuner.forecast(class).cap;
            tuner.observe(class, rows, took(cost(u64::try_from(rows).unwrap())));
        }
        let row_elements = 1 << class;
        tuner.learned().iter().find(|learned| learned.row_elements == row_elements).unwrap().max_rows
    }

    #[test]
    fn the_cap_goes_where_a_row_is_cheapest() {
        let tuner = |limit| Tuner::new(limit, &Tuning::default());
        assert_eq!(settle(&tuner(32), 1, 300, |rows| 1000 + rows), 32);
        assert_eq!(settle(&tuner(24), 1, 300, |rows| 1000 + rows), 24);
        assert_eq!(settle(&tuner(32), 1, 300, |rows| 100 * rows * rows), 1);
        assert_eq!(settle(&tuner(64), 1, 300, |rows| if rows <= 8 { 1000 + rows } else { 200 * rows }), 8);
    }

    #[test]
    fn trial_runs_decide_before_the_first_request() {
        let trials = (0..6).map(|power| (1 << power, Duration::from_micros(100 + (1 << power)))).collect();
        let tuner = Tuner::new(32, &Tuning { row_elements: 4, trials, ..Tuning::default() });
        assert_eq!(tuner.forecast(class(4)).cap, 32);
        assert_eq!(tuner.short(class(4), Duration::from_micros(110)), Some((Duration::from_micros(101), 8)));
    }

    #[test]
    fn work_decides_and_not_what_held_runs_up() {
        let tuner = Tuner::new(16, &Tuning::default());
        for run in 0..300 {
            let rows = tuner.forecast(1).cap;
            let work = Duration::from_micros(100 + u64::try_from(rows).unwrap());
            // Every other run is held up for long, the larger the longer.
            let wall = if run % 2 == 0 { work } else { work * u32::try_from(rows * 2).unwrap() };
            tuner.observe(1, rows, Took { wall, work: Some(work) });
        }
        assert_eq!(tuner.learned()[0].max_rows, 16);
    }

    #[test]
    fn long_runs_are_not_made_longer_to_see_what_that_gains() {
        let tuner = Tuner::new(64, &Tuning::default());
        let mut most = 0;
        for _ in 0..2000 {
            let rows = tuner.forecast(1).cap;
            most = most.max(rows);
            tuner.observe(1, rows, took(55_000 * u64::try_from(rows).unwrap() + 10_000));
        }
        assert_eq!((most, tuner.learned()[0].max_rows), (4, 4));
        let trials = (0..6).map(|power| (1 << power, Duration::from_millis((55 << power) + 10))).collect();
        let tuner = Tuner::new(64, &Tuning { row_elements: 4, trials, ..Tuning::default() });
        assert_eq!(tuner.forecast(class(4)).cap, 4);
    }

    #[test]
    fn long_rows_and_short_ones_are_tuned_apart() {
        let tuner = Tuner::new(16, &Tuning::default());
        settle(&tuner, class(16), 300, |_| 50);
        settle(&tuner, class(4096), 300, |rows| 1000 * rows * rows);
        assert_eq!((tuner.forecast(class(16)).cap, tuner.forecast(class(4096)).cap), (16, 1));
    }

    #[test]
    fn a_forecast_takes_the_nearest_size_that_is_known() {
        let trials = vec![(1, Duration::from_millis(10)), (2, Duration::from_millis(16))];
        let tuner = Tuner::new(16, &Tuning { row_elements: 4, trials, ..Tuning::default() });
        let forecast = tuner.forecast(class(4));
        let run = |rows| forecast.run(rows).map(|seconds| (seconds * 1000.0).round());
        assert_eq!([run(1), run(2), run(3), run(10)], [Some(10.0), Some(16.0), Some(24.0), Some(80.0)]);
        assert_eq!((forecast.share(4) * 1000.0).round(), 32.0);
        assert_eq!(((tuner.least() * 1000.0).round(), Tuner::new(16, &Tuning::default()).least()), (8.0, 0.0));
        assert_eq!(tuner.forecast(class(400)).run(1), None);
    }
}
