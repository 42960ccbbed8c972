//! Finds out whether runs of another size make a row cheaper.
//!
//! Runs of two sizes take turns, and only those that follow one another are compared, so that whatever else happens on
//! the machine meets both alike. Their means are: a short run is held up seldom but then for all of its time, a long
//! one often but for a part of it. How many pairs it takes depends on how far they agree.

/// Pairs of runs that decide a trial if they agree, and those that do in any case.
const PAIRS: (usize, usize) = (6, 24);
/// How many standard errors a difference has when it is believed at once, and when all pairs were compared.
const CERTAIN: f64 = 2.2;
const LIKELY: f64 = 1.0;
/// A size must make a row this much cheaper to be taken.
const WORTH: f64 = 0.98;
/// Runs that wait for one of the other size: as many as may be under way at once, and older ones are out of date.
const WAITING: usize = 4;
/// A trial is in vain after so many runs without a pair: there is not enough to do to fill its runs.
const PATIENCE: u32 = 64;
/// For how many of them a run counts that has neither size.
const NEITHER: u32 = 4;

/// The size in use against another one.
#[derive(Clone, Debug)]
pub(super) struct Trial {
    size: usize,
    other: usize,
    pairs: Vec<Pair>,
    /// What a row cost in the last runs of one size that none of the other has followed yet.
    waiting: Vec<f64>,
    /// Whether those are of the other size.
    others_wait: bool,
    /// Whether there has been a run of the other size; the first is slow for reasons of its own.
    begun: bool,
    /// Runs since the last pair.
    alone: u32,
}

/// What a row cost in two runs that followed one another.
#[derive(Clone, Copy, Debug)]
struct Pair {
    mine: f64,
    other: f64,
}

/// What a trial showed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Finding {
    /// The size that was in use, and what a row costs there.
    pub(super) size: (usize, f64),
    /// The size that was tried, and what a row costs there.
    pub(super) other: (usize, f64),
}

impl Trial {
    /// Tries `other` against `size`.
    pub(super) const fn new(size: usize, other: usize) -> Self {
        Self { size, other, pairs: Vec::new(), waiting: Vec::new(), others_wait: false, begun: false, alone: 0 }
    }

    /// The size that is tried.
    pub(super) const fn other(&self) -> usize {
        self.other
    }

    /// The size that the next run should have.
    pub(super) const fn turn(&self) -> usize {
        if self.others_wait && !self.waiting.is_empty() { self.size } else { self.other }
    }

    /// Learns that in a run of `size` a row cost so much.
    pub(super) fn observe(&mut self, size: usize, cost: f64) {
        let is_other = size == self.other;
        // Against a smaller size stands what runs are without it, which deadlines may keep from being full.
        let is_mine = size == self.size || (self.other < size && size < self.size);
        if !is_other && !is_mine {
            self.alone = self.alone.saturating_add(NEITHER);
            return;
        }
        self.alone = self.alone.saturating_add(1);
        if is_other && !self.begun {
            self.begun = true;
            return;
        }
        if self.others_wait == is_other || self.waiting.is_empty() {
            self.others_wait = is_other;
            if self.waiting.len() == WAITING {
                self.waiting.remove(0);
            }
            self.waiting.push(cost);
        } else if let Some(before) = self.waiting.pop() {
            let (mine, other) = if is_other { (before, cost) } else { (cost, before) };
            self.pairs.push(Pair { mine, other });
            self.alone = 0;
        }
    }

    /// Whether the other size is clearly better, once that is known.
    pub(super) fn is_better(&self) -> Option<bool> {
        if self.pairs.len() < PAIRS.0 {
            return None;
        }
        let worth = self.mean(|pair| pair.other - WORTH * pair.mine) < 0.0;
        // Relative to the pair: where the machine was busy for some of them, those must not count for more.
        let gain = self.errors(|pair| (pair.mine - pair.other) / (pair.mine + pair.other));
        let loss = self.errors(|pair| (pair.other - WORTH * pair.mine) / (pair.mine + pair.other));
        if worth && gain >= CERTAIN {
            return Some(true);
        }
        if loss >= CERTAIN {
            return Some(false);
        }
        (self.pairs.len() >= PAIRS.1).then_some(worth && gain >= LIKELY)
    }

    /// Whether there is not enough to do for runs of both sizes.
    pub(super) const fn is_in_vain(&self) -> bool {
        self.alone >= PATIENCE
    }

    /// What a row cost in runs of both sizes.
    pub(super) fn finding(&self) -> Finding {
        let (mine, other) = (self.mean(|pair| pair.mine), self.mean(|pair| pair.other));
        Finding { size: (self.size, mine), other: (self.other, other) }
    }

    /// How much longer the runs of the other size took than their rows would have in the size in use, in runs of that.
    pub(super) fn lost(&self) -> f64 {
        let mine = self.mean(|pair| pair.mine);
        let more = self.pairs.iter().map(|pair| pair.other / mine - 1.0).sum::<f64>();
        (more * rows(self.other) / rows(self.size)).max(0.0)
    }

    fn mean(&self, of: impl Fn(&Pair) -> f64) -> f64 {
        self.pairs.iter().map(of).sum::<f64>() / f64::from(u32::try_from(self.pairs.len()).unwrap_or(u32::MAX))
    }

    /// How many standard errors a mean is above zero; never more than the root of the number of pairs.
    fn errors(&self, of: impl Fn(&Pair) -> f64) -> f64 {
        let squares = self.pairs.iter().map(|pair| of(pair).powi(2)).sum::<f64>();
        if squares > 0.0 { self.pairs.iter().map(of).sum::<f64>() / squares.sqrt() } else { 0.0 }
    }
}

/// The least rows in a run of a size.
pub(super) fn rows(size: usize) -> f64 {
    2.0_f64.powi(i32::try_from(size).unwrap_or(i32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Gives a trial of four times the rows such runs, by turns.
    fn compare(mut runs: impl Iterator<Item = (f64, f64)>) -> (Option<bool>, usize) {
        let mut trial = Trial::new(0, 2);
        trial.observe(2, 9.0);
        while trial.is_better().is_none() {
            let Some((mine, other)) = runs.next() else { return (None, trial.pairs.len()) };
            assert_eq!(trial.turn(), 2);
            trial.observe(2, other);
            assert_eq!(trial.turn(), 0);
            trial.observe(0, mine);
        }
        (trial.is_better(), trial.pairs.len())
    }

    #[test]
    fn pairs_that_agree_decide_at_once_and_others_take_longer() {
        assert_eq!(compare([(1.0, 0.9)].into_iter().cycle()), (Some(true), 6));
        assert_eq!(compare([(1.0, 1.0)].into_iter().cycle()), (Some(false), 6));
        assert_eq!(compare([(1.0, 0.9), (0.9, 1.0)].into_iter().cycle()), (Some(false), 24));
        assert_eq!(compare([(1.0, 0.8), (0.9, 1.0)].into_iter().cycle()), (Some(true), 24));
        assert_eq!(compare([(1.0, 0.9)].into_iter().cycle().take(5)).0, None);
    }

    #[test]
    fn what_is_far_apart_in_time_is_not_compared() {
        let mut trial = Trial::new(0, 2);
        // While the machine is busy there are no runs of the other size, and then there are.
        for _ in 0..WAITING * 4 {
            trial.observe(0, 3.0);
        }
        for _ in 0..40 {
            trial.observe(2, 1.2);
            trial.observe(0, 1.0);
        }
        assert_eq!(trial.is_better(), Some(false));
        assert!(trial.pairs.iter().filter(|pair| pair.mine > 2.0).count() <= WAITING);
    }

    #[test]
    fn a_size_that_runs_never_get_is_given_up() {
        let runs = |size| {
            let (mut trial, mut runs) = (Trial::new(3, 4), 0);
            while !trial.is_in_vain() {
                trial.observe(size, 1.0);
                runs += 1;
            }
            runs
        };
        assert_eq!((runs(3), runs(1)), (64, 16));
        let mut smaller = Trial::new(3, 1);
        for size in [1, 2, 3, 1, 2, 1, 3, 1] {
            smaller.observe(size, 1.0);
        }
        assert_eq!(smaller.pairs.len(), 3, "what deadlines cut short stands against the smaller size, too");
    }
}
