//! What runs of one class of rows cost, by their number of rows.

use std::time::Duration;

use super::search::Search;
use super::trial::{Finding, rows};

/// The weight of the newest run in a level's mean.
const NEWEST: f64 = 0.2;

/// A run that takes so many seconds gains next to nothing by more rows, and finding that out would cost seconds.
const LONG: f64 = 0.2;

/// The time of one run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Took {
    /// From its start to its end.
    pub(crate) wall: Duration,
    /// What the thread that ran it worked, where that is all the work there was. On a busy machine a run is held up
    /// by strangers, which says nothing of its size.
    pub(crate) work: Option<Duration>,
}

/// What the runs have taught about rows of one class.
#[derive(Clone, Debug, Default)]
pub(super) struct Curve {
    /// The time of a row in a run of `2^index` up to twice as many rows.
    levels: Vec<Level>,
    search: Search,
    last: Option<Finding>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Level {
    /// From start to end.
    row_seconds: f64,
    /// Of work.
    row_work: f64,
    runs: u32,
}

/// What runs are expected to take.
#[derive(Clone, Debug, Default)]
pub(crate) struct Forecast {
    /// The most rows in one run.
    pub(crate) cap: usize,
    /// The seconds and the work of a row by level; none where the level has never been seen.
    rows: Vec<Option<Row>>,
}

/// What a row takes in a run of some size, in seconds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Row {
    pub(crate) seconds: f64,
    /// The work of it, which is less where runs are held up.
    pub(crate) work: f64,
}

impl Forecast {
    pub(super) fn new(cap: usize, levels: impl Iterator<Item = Option<Row>>) -> Self {
        Self { cap, rows: levels.collect() }
    }

    /// What a run of so many rows takes, in seconds.
    pub(crate) fn run(&self, rows: usize) -> Option<f64> {
        Some(self.row(rows)?.seconds * f64::from(u32::try_from(rows.max(1)).unwrap_or(u32::MAX)))
    }

    /// What each row takes in a run of so many: as in the nearest size that is known.
    pub(crate) fn row(&self, rows: usize) -> Option<Row> {
        let level = usize::try_from(rows.max(1).ilog2()).unwrap_or(0);
        let below = self.rows.iter().take(level + 1).rev().find_map(|row| *row);
        below.or_else(|| self.rows.iter().skip(level + 1).find_map(|row| *row))
    }

    /// What so many rows add to the work of a full queue, in seconds.
    pub(crate) fn share(&self, rows: usize) -> f64 {
        let full = self.cap.max(1);
        let each = self.run(full).unwrap_or(0.0) / f64::from(u32::try_from(full).unwrap_or(u32::MAX));
        each * f64::from(u32::try_from(rows.max(1)).unwrap_or(u32::MAX))
    }
}

impl Curve {
    /// Starts from trial runs, the levels in ascending order.
    pub(super) fn from_trials(trials: impl Iterator<Item = (usize, f64)>) -> Self {
        let mut curve = Self::default();
        for (level, row_seconds) in trials {
            curve.note(level, row_seconds, row_seconds);
        }
        let least = curve.levels.iter().map(|level| level.row_seconds).fold(f64::INFINITY, f64::min);
        // The smallest that is about as good as the best.
        let size = curve.levels.iter().position(|level| level.row_seconds * 0.98 <= least).unwrap_or(0);
        curve.search = Search::from(curve.longest(size));
        curve
    }

    /// Learns from one run whose rows belong to `level`.
    pub(super) fn observe(&mut self, level: usize, rows: f64, took: Took, top: usize) {
        let cost = took.work.unwrap_or(took.wall).as_secs_f64() / rows;
        self.note(level, took.wall.as_secs_f64() / rows, cost);
        self.last = self.search.observe(level, cost, self.longest(top)).or(self.last);
    }

    /// The first level whose runs are long, at most `top`.
    fn longest(&self, top: usize) -> usize {
        let runs = self.levels.iter().enumerate().map(|(level, known)| known.row_work * rows(level));
        runs.take(top).position(|seconds| seconds >= LONG).unwrap_or(top)
    }

    fn note(&mut self, level: usize, row_seconds: f64, row_work: f64) {
        if self.levels.len() <= level {
            self.levels.resize(level + 1, Level::default());
        }
        let Some(known) = self.levels.get_mut(level) else { return };
        known.row_seconds = mean(known.row_seconds, row_seconds, known.runs);
        known.row_work = mean(known.row_work, row_work, known.runs);
        known.runs = known.runs.saturating_add(1);
    }

    /// The level that the next run should have.
    pub(super) const fn turn(&self) -> usize {
        self.search.turn()
    }

    /// The level found best so far.
    pub(super) const fn best(&self) -> usize {
        self.search.best()
    }

    /// What the last trial showed.
    pub(super) const fn last(&self) -> Option<Finding> {
        self.last
    }

    /// What a row takes by level, none where it has never been seen.
    pub(super) fn levels(&self) -> impl Iterator<Item = Option<Row>> {
        let row = |level: &Level| Row { seconds: level.row_seconds, work: level.row_work };
        self.levels.iter().map(move |level| (level.runs > 0).then(|| row(level)))
    }
}

/// A mean of `runs` runs, with one more.
fn mean(known: f64, new: f64, runs: u32) -> f64 {
    match runs {
        0 => new,
        // The first runs of a size are slow for reasons of their own: the better of the early ones counts.
        1..=3 => known.min(new),
        // A run that was held up by something else must not count for more than a slow one.
        _ => known + NEWEST * (new.min(2.0 * known) - known),
    }
}
