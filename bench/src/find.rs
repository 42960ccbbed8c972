//! The highest rate that holds.

use crate::Error;

/// Two rates nearer than this are one.
const CLOSE: f64 = 1.03;
/// The first step up or down.
const STEP: f64 = 1.25;
/// A rate this small against the first guess counts as none.
const NOTHING: f64 = 0.01;

/// Searches for the highest rate that `holds` says yes to, from a guess on: doubling back and forth, then halving the
/// rest, then once more for longer (`holds` is told so), going down where that fails. 0 where nothing holds.
pub(crate) fn highest_rate(guess: f64, mut holds: impl FnMut(f64, bool) -> Result<bool, Error>) -> Result<f64, Error> {
    let (mut low, mut high) = (0.0, f64::INFINITY);
    let (mut rate, mut step) = (guess, STEP);
    while high / low > CLOSE && rate > guess * NOTHING {
        if holds(rate, false)? {
            low = rate;
        } else {
            high = rate;
        }
        rate = match (low > 0.0, high.is_finite()) {
            (true, true) => f64::midpoint(low, high),
            (true, false) => rate * step,
            _ => rate / step,
        };
        step = (step * step).min(4.0);
    }
    while low > guess * NOTHING {
        if holds(low, true)? {
            return Ok(low);
        }
        low /= CLOSE;
    }
    Ok(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The rate found for something that holds up to `limit`, and how many trials it took.
    fn find(guess: f64, limit: f64) -> (f64, usize) {
        let mut trials = 0;
        let found = highest_rate(guess, |rate, _| {
            trials += 1;
            Ok(rate <= limit)
        });
        (found.unwrap(), trials)
    }

    #[test]
    fn the_limit_is_found_from_near_and_far() {
        for guess in [100.0, 137.0, 140.0, 20.0, 900.0] {
            let (rate, trials) = find(guess, 137.0);
            assert!((137.0 / CLOSE..=137.0).contains(&rate), "{guess}: {rate}");
            assert!(trials <= 14, "{guess}: {trials} trials");
        }
    }

    #[test]
    fn where_nothing_holds_the_rate_is_zero() {
        assert_eq!(find(100.0, 0.0).0, 0.0);
    }

    #[test]
    fn a_rate_that_held_by_luck_is_not_confirmed() {
        let found = highest_rate(100.0, |rate, long| Ok(rate <= if long { 90.0 } else { 100.0 })).unwrap();
        assert!(found <= 90.0 && found > 84.0, "{found}");
    }
}
