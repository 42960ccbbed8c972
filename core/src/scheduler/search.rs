//! Finds how many rows a run should have, by trying.
//!
//! A size is left only for one that a trial shows to make a row clearly cheaper. Two doublings are tried where one
//! gains nothing: a convolutional network often gains at four rows what it does not gain at two. A machine that was
//! busy for some time may have misled the trials of that time, so after each change they begin again soon, and rest
//! for longer and longer while none helps.

use super::trial::{Finding, Trial};

/// Runs after which trials begin again once none helped; doubles each time.
const FIRST_REST: f64 = 64.0;
const LAST_REST: f64 = 8_000.0;
/// A rest is at least so many times as long as what the trials before it lost.
const REST_FOR_LOSS: f64 = 48.0;

/// The search for the cheapest size of runs, as the power of two of their rows.
#[derive(Clone, Debug, Default)]
pub(super) struct Search {
    size: usize,
    trial: Option<Trial>,
    /// Which of [`Search::candidates`] is tried next.
    next: usize,
    /// Whether the last change was to a larger size.
    climbing: bool,
    /// Whether there was enough to do for a run of this size since the last rest began.
    full: bool,
    /// What the trials since the last change or rest lost, in runs of this size.
    lost: f64,
    /// Runs until the next trial, and how many the last rest had.
    rest: f64,
    last_rest: f64,
}

impl Search {
    /// Starts from a size.
    pub(super) fn from(size: usize) -> Self {
        Self { size, climbing: true, ..Self::default() }
    }

    /// The size that the next run should have.
    pub(super) const fn turn(&self) -> usize {
        match &self.trial {
            Some(trial) => trial.turn(),
            None => self.size,
        }
    }

    /// The size found best so far.
    pub(super) const fn best(&self) -> usize {
        self.size
    }

    /// Learns that in a run of `size` a row cost so much; `top` is the largest size there is.
    pub(super) fn observe(&mut self, size: usize, cost: f64, top: usize) -> Option<Finding> {
        self.full |= size >= self.size;
        self.rest -= 1.0;
        let Some(trial) = &mut self.trial else {
            // Single requests have nothing to do with the size of runs.
            if self.rest <= 0.0 && (size > 0 || self.full) {
                self.begin(top);
            }
            return None;
        };
        trial.observe(size, cost);
        let better = trial.is_better();
        let finding = better.map(|_| trial.finding());
        match better {
            Some(true) => {
                self.climbing = trial.other() > self.size;
                self.size = trial.other();
                (self.next, self.lost, self.last_rest) = (0, 0.0, 0.0);
            }
            Some(false) => self.lost += trial.lost(),
            None if trial.is_in_vain() => {}
            None => return None,
        }
        if better != Some(true) {
            self.next += 1;
        }
        self.begin(top);
        finding
    }

    /// Sizes on the way that was good last and those on the other, at last runs of one row: a model is never slower
    /// for sharing runs.
    fn candidates(&self) -> [Option<usize>; 5] {
        let size = self.size;
        let (up, up_twice) = (Some(size + 1), Some(size + 2));
        let (down, down_twice, single) = (size.checked_sub(1), size.checked_sub(2), (size > 2).then_some(0));
        if self.climbing { [up, up_twice, down, down_twice, single] } else { [down, down_twice, single, up, up_twice] }
    }

    /// Begins the next trial, or a rest.
    fn begin(&mut self, top: usize) {
        self.trial = None;
        let candidates = self.candidates();
        while let Some(candidate) = candidates.get(self.next) {
            // Without full runs there is no need for larger ones.
            let fits = |other: &usize| *other < self.size || (self.full && *other <= top);
            if let Some(other) = candidate.filter(fits) {
                self.trial = Some(Trial::new(self.size, other));
                return;
            }
            self.next += 1;
        }
        self.take_a_rest();
    }

    fn take_a_rest(&mut self) {
        self.last_rest = (self.last_rest * 2.0).max(self.lost * REST_FOR_LOSS).clamp(FIRST_REST, LAST_REST);
        self.rest = self.last_rest;
        (self.next, self.lost, self.climbing, self.full) = (0, 0.0, false, false);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scheduler::trial::rows;

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
    fn without_full_runs_nothing_larger_is_tried_and_for_single_requests_nothing_at_all() {
        let mut search = Search::from(3);
        for run in 0..1000 {
            search.observe(run % 3, 1.0, 6);
            assert!(search.turn() <= 3);
        }
        assert_eq!(search.best(), 3);
        let mut search = Search::from(3);
        for _ in 0..1000 {
            search.observe(0, 1.0, 6);
            assert_eq!(search.turn(), 3);
        }
    }

    #[test]
    fn it_comes_down_where_deadlines_keep_runs_from_being_full() {
        let mut search = Search::from(4);
        for run in 0..400 {
            let size = search.turn().min(1 + run % 3);
            search.observe(size, 1.0 + 0.1 * rows(size), 6);
        }
        assert_eq!(search.best(), 0);
    }

    #[test]
    fn a_rest_is_long_where_trials_are_dear_and_short_after_a_change() {
        let rest = |cost: &dyn Fn(usize) -> f64| {
            let mut search = Search::default();
            while search.rest <= 0.0 {
                let size = search.turn();
                search.observe(size, cost(size), 4);
            }
            search.rest
        };
        assert_eq!(rest(&|_| 1.0), FIRST_REST);
        // Six runs of each: the double cost for two rows, and the fourfold for four.
        assert_eq!(rest(&rows), (6.0 * 2.0 + 6.0 * 3.0 * 4.0) * REST_FOR_LOSS);
    }
}
