//! What trial runs said of a model, in a form that outlives the process.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::warm_up::{Guess, Outcome};

/// The trials of a model are some fifteen runs. Where one takes longer than this, the model does not wait for them.
pub(crate) const SHORT: Duration = Duration::from_millis(2);

/// What trial runs said of a model. It holds for the model's graph on this kind of processor, whatever its settings.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Verdict {
    /// The version of Hedef that made the trials: another may try otherwise.
    by: String,
    /// Why requests cannot share runs; absent where they can.
    dependence: Option<String>,
    /// The inputs that ran.
    guess: Guess,
    /// The elements of a row in the trial runs.
    row_elements: usize,
    /// Trial runs: their rows, and the nanoseconds each took.
    trials: Vec<(usize, u64)>,
}

impl Verdict {
    /// Keeps what a warm-up and trial runs found; `None` where generated inputs did not run.
    pub(crate) fn new(outcome: &Outcome, row_elements: usize, trials: &[(usize, Duration)]) -> Option<Self> {
        let nanoseconds = |took: &Duration| u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        Some(Self {
            by: env!("CARGO_PKG_VERSION").into(),
            dependence: outcome.independent_rows.clone().err(),
            guess: outcome.guess?,
            row_elements,
            trials: trials.iter().map(|(rows, took)| (*rows, nanoseconds(took))).collect(),
        })
    }

    /// Whether this version of Hedef made it.
    pub(crate) fn is_current(&self) -> bool {
        self.by == env!("CARGO_PKG_VERSION")
    }

    /// The inputs that ran.
    pub(crate) fn guess(&self) -> Guess {
        self.guess
    }

    /// Whether a run is so slow that even one would hold up the start.
    pub(crate) fn is_of_slow_runs(&self) -> bool {
        self.trials.first().is_some_and(|(_, nanoseconds)| Duration::from_nanos(*nanoseconds) > SHORT)
    }

    /// What the warm-up found.
    pub(crate) fn outcome(&self) -> Outcome {
        Outcome {
            complaint: None,
            independent_rows: self.dependence.clone().map_or(Ok(()), Err),
            guess: Some(self.guess),
        }
    }

    /// The trial runs: the elements of a row, and rows and time of each.
    pub(crate) fn trials(&self) -> (usize, Vec<(usize, Duration)>) {
        let each = |(rows, nanoseconds): &(usize, u64)| (*rows, Duration::from_nanos(*nanoseconds));
        (self.row_elements, self.trials.iter().map(each).collect())
    }

    #[cfg(test)]
    pub(crate) fn example() -> Self {
        let guess = Guess::default();
        let outcome = Outcome { complaint: None, independent_rows: Err("rows mix".into()), guess: Some(guess) };
        Self::new(&outcome, 12, &[(1, Duration::from_micros(5)), (2, Duration::from_micros(7))]).unwrap()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_verdict_says_later_what_was_found() {
        let verdict: Verdict = toml::from_str(&toml::to_string(&Verdict::example()).unwrap()).unwrap();
        assert!(verdict.is_current());
        assert_eq!(verdict.outcome().independent_rows, Err("rows mix".into()));
        assert_eq!(verdict.trials(), (12, vec![(1, Duration::from_micros(5)), (2, Duration::from_micros(7))]));
    }
}
