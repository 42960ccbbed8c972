//! When the requests of an open load are due.

use std::time::Duration;

use fastrand::Rng;

use crate::clock::seconds;

/// The moments of a Poisson process: whoever comes does not know when others come, as real callers do not.
#[derive(Clone, Debug)]
pub(crate) struct Arrivals {
    rate: f64,
    random: Rng,
    /// Seconds since the start.
    next: f64,
}

impl Arrivals {
    /// So many a second on average; the same moments for the same seed.
    pub(crate) fn new(rate: f64, seed: u64) -> Self {
        let mut arrivals = Self { rate, random: Rng::with_seed(seed), next: 0.0 };
        arrivals.step();
        arrivals
    }

    /// When the next one is due, from the start on.
    pub(crate) fn next(&self) -> Duration {
        seconds(self.next)
    }

    /// Goes on to the one after.
    pub(crate) fn step(&mut self) {
        // 1 - x lies in (0, 1], whose logarithm is finite.
        self.next += -(1.0 - self.random.f64()).ln() / self.rate;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gaps(rate: f64, seed: u64, count: usize) -> Vec<f64> {
        let mut arrivals = Arrivals::new(rate, seed);
        let mut before = 0.0;
        let mut gap = || {
            let next = arrivals.next().as_secs_f64();
            arrivals.step();
            let gap = next - before;
            before = next;
            gap
        };
        (0..count).map(|_| gap()).collect()
    }

    #[test]
    fn gaps_have_the_mean_and_the_spread_of_an_exponential_distribution() {
        let gaps = gaps(200.0, 7, 100_000);
        let mean = gaps.iter().sum::<f64>() / 100_000.0;
        let variance = gaps.iter().map(|gap| (gap - mean).powi(2)).sum::<f64>() / 100_000.0;
        assert!((mean * 200.0 - 1.0).abs() < 0.02, "{mean}");
        assert!((variance.sqrt() * 200.0 - 1.0).abs() < 0.03, "{variance}");
        // An exponential gap is longer than its mean in 1/e of all cases.
        let longer = gaps.iter().filter(|gap| **gap > mean).count();
        assert!((36_000..37_600).contains(&longer), "{longer}");
    }

    #[test]
    fn a_seed_decides_the_moments() {
        assert_eq!(gaps(50.0, 1, 20), gaps(50.0, 1, 20));
        assert_ne!(gaps(50.0, 1, 20), gaps(50.0, 2, 20));
    }
}
