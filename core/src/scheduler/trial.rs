//! Finds how many rows a run should have, by trying.
//!
//! Runs of two sizes take turns, so that whatever else happens on the machine meets both alike, and their medians are
//! compared. A size is left only for one that makes a row clearly cheaper. Two doublings are tried where one gains
//! nothing: a convolutional network often gains at four rows what it does not gain at two.

/// Runs of each size that decide a trial, after the first of the other size, which is slow for reasons of its own.
const RUNS: usize = 6;
/// A size must make a row this much cheaper to be taken.
const WORTH: f64 = 0.98;
/// A trial is given up after so many runs: there is not enough to do to fill its runs.
const PATIENCE: u32 = 100;
/// Runs after which trials begin again once none helped; doubles each time.
const FIRST_REST: u32 = 500;
const LAST_REST: u32 = 64_000;

/// The search for the cheapest size of runs, as the power of two of their rows.
#[derive(Clone, Debug, Default)]
pub(super) struct Search {
    size: usize,
    trial: Option<Trial>,
    /// Which of [`Search::candidates`] is tried next.
    next: usize,
    /// Runs until the next trial, and how many the last rest had.
    rest: u32,
    last_rest: u32,
}

#[derive(Clone, Debug)]
struct Trial {
    other: usize,
    costs: [Vec<f64>; 2],
    runs: u32,
}

/// What a trial showed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Finding {
    /// The size that was in use, and what a row costs there.
    pub(super) size: (usize, f64),
    /// The size that was tried, and what a row costs there.
    pub(super) other: (usize, f64),
}

impl Search {
    /// Starts from a size.
    pub(super) fn from(size: usize) -> Self {
        Self { size, ..Self::default() }
    }

    /// The size that the next run should have.
    pub(super) const fn turn(&self) -> usize {
        match &self.trial {
            Some(trial) if trial.costs[1].len() <= trial.costs[0].len() => trial.other,
            _ => self.size,
        }
    }

    /// The size found best so far.
    pub(super) const fn best(&self) -> usize {
        self.size
    }

    /// Learns that in a run of `size` a row cost so much; `top` is the largest size there is.
    pub(super) fn observe(&mut self, size: usize, cost: f64, top: usize) -> Option<Finding> {
        self.rest = self.rest.saturating_sub(1);
        let Some(trial) = &mut self.trial else {
            // Without full runs there is no need for larger ones.
            if self.rest == 0 && size >= self.size {
                self.begin(top);
            }
            return None;
        };
        trial.runs += 1;
        if size == self.size {
            trial.costs[0].push(cost);
        } else if size == trial.other {
            trial.costs[1].push(cost);
        }
        let enough = trial.costs[0].len() >= RUNS && trial.costs[1].len() > RUNS;
        if !enough {
            if trial.runs >= PATIENCE {
                self.trial = None;
                self.take_a_rest();
            }
            return None;
        }
        let (mine, other) = (median(&trial.costs[0]), median(trial.costs[1].get(1..).unwrap_or_default()));
        let finding = Finding { size: (self.size, mine), other: (trial.other, other) };
        if other < mine * WORTH {
            self.size = trial.other;
            self.next = 0;
            self.last_rest = 0;
        } else {
            self.next += 1;
        }
        self.trial = None;
        self.begin(top);
        Some(finding)
    }

    /// Larger ones first, then smaller ones, at last runs of one row: a model is never slower for sharing runs.
    fn candidates(&self) -> [Option<usize>; 5] {
        let size = self.size;
        [Some(size + 1), Some(size + 2), size.checked_sub(1), size.checked_sub(2), (size > 2).then_some(0)]
    }

    fn begin(&mut self, top: usize) {
        let candidates = self.candidates();
        while let Some(candidate) = candidates.get(self.next) {
            if let Some(other) = candidate.filter(|other| *other <= top) {
                self.trial = Some(Trial { other, costs: [Vec::new(), Vec::new()], runs: 0 });
                return;
            }
            self.next += 1;
        }
        self.take_a_rest();
    }

    fn take_a_rest(&mut self) {
        self.next = 0;
        self.last_rest = (self.last_rest * 2).clamp(FIRST_REST, LAST_REST);
        self.rest = self.last_rest;
    }
}

/// The lower one of the two in the middle: what holds runs up makes them longer, never shorter.
fn median(costs: &[f64]) -> f64 {
    let mut sorted = costs.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    sorted.get(sorted.len().saturating_sub(1) / 2).copied().unwrap_or(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Lets full runs happen on a model of which a row costs `cost(size)`; returns the size it settles at and the
    /// share of its runs that had other sizes.
    fn settle(top: usize, runs: u32, mut cost: impl FnMut(usize) -> f64) -> (usize, f64) {
        let (mut search, mut sizes) = (Search::default(), Vec::new());
        for _ in 0..runs {
            let size = search.turn();
            sizes.push(size);
            search.observe(size, cost(size), top);
        }
        let others = sizes.iter().filter(|size| **size != search.best()).count();
        (search.best(), f64::from(u32::try_from(others).unwrap()) / f64::from(runs))
    }

    #[test]
    fn it_climbs_while_rows_get_cheaper_and_stops_where_they_do_not() {
        assert_eq!(settle(6, 300, |size| 1.0 / f64::from(1_u32 << size)).0, 6);
        assert_eq!(settle(6, 300, |size| f64::from(1_u32 << size)).0, 0);
        assert_eq!(settle(6, 300, |_| 1.0).0, 0, "no gain is no reason");
        assert_eq!(settle(6, 300, |size| [9.0, 5.0, 3.0, 2.0, 2.5, 3.0, 4.0][size]).0, 3);
    }

    #[test]
    fn it_looks_beyond_a_doubling_that_gains_nothing() {
        assert_eq!(settle(6, 300, |size| [1.0, 0.99, 0.93, 0.93, 0.93, 0.93, 0.93][size]).0, 2);
    }

    #[test]
    fn noise_that_meets_all_runs_alike_misleads_nobody() {
        let mut seed = 7_u64;
        let mut noise = move || {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            // A third of the runs take up to twice as long.
            let draw = f64::from(u32::try_from(seed >> 32).unwrap()) / f64::from(u32::MAX);
            if draw < 0.33 { 1.0 + 3.0 * draw } else { 1.0 + 0.02 * draw }
        };
        for _ in 0..50 {
            let costly = settle(6, 400, |size| (1.0 + 0.25 * f64::from(u32::try_from(size).unwrap())) * noise()).0;
            assert!(costly <= 1, "{costly}");
            let cheap = settle(6, 400, |size| (1.0 - 0.1 * f64::from(u32::try_from(size).unwrap())) * noise()).0;
            assert!(cheap >= 5, "{cheap}");
        }
    }

    #[test]
    fn it_follows_a_machine_that_changes_and_otherwise_tries_seldom() {
        let mut search = Search::default();
        let mut run = |cost: &dyn Fn(f64) -> f64, runs: u32| {
            for _ in 0..runs {
                let size = search.turn();
                search.observe(size, cost(f64::from(1_u32 << size)), 4);
            }
            search.best()
        };
        assert_eq!(run(&|_| 1.0, 100), 0);
        assert_eq!(run(&|rows| 1.0 + 1.0 / rows, 2000), 4);
        assert_eq!(run(&|rows| rows, 4000), 0);
        assert!(settle(6, 20_000, |_| 1.0).1 < 0.02);
    }

    #[test]
    fn without_full_runs_nothing_is_tried() {
        let mut search = Search::from(3);
        for _ in 0..1000 {
            search.observe(1, 1.0, 6);
        }
        assert_eq!(search.turn(), 3);
    }
}
