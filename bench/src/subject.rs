//! What is put under load, and how.

use std::time::Duration;

use crate::Error;
use crate::measured::Measured;
use crate::progress::Progress;

/// How requests come.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Load {
    /// So many callers, each of whom sends the next request when the answer to the last is there.
    Closed {
        /// The callers.
        callers: usize,
    },
    /// Queries of so many samples at once; the next one comes when all answers are there. A query's time is that
    /// of its last answer.
    Queries {
        /// The samples of a query.
        samples: usize,
    },
    /// Requests that come at random, so many a second, however long the answers take.
    Open {
        /// Requests a second.
        rate: f64,
    },
}

/// How long a trial goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Length {
    /// The time that is measured.
    pub duration: Duration,
    /// Ends it earlier, after so many requests, or so many queries.
    pub requests: Option<u64>,
    /// The time before that, which is not measured.
    pub warm_up: Duration,
}

/// One measurement.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Trial {
    /// How requests come.
    pub load: Load,
    /// How long.
    pub length: Length,
    /// A right answer that takes longer than this counts as missed.
    pub bound: Option<Duration>,
    /// Ends the trial when this share of its requests is missed: nothing can save it any more.
    pub hopeless: Option<f64>,
    /// Decides the moments of an open load.
    pub seed: u64,
}

impl Trial {
    /// The requests that an open load is going to send, about.
    pub(crate) fn expected(&self) -> Option<u64> {
        let Load::Open { rate } = self.load else { return None };
        let all = crate::numbers::whole(rate * self.length.duration.as_secs_f64()).max(1);
        Some(self.length.requests.map_or(all, |requests| requests.min(all)))
    }

    /// The samples that a trial ends after.
    pub(crate) fn most_samples(&self) -> u64 {
        let each = if let Load::Queries { samples } = self.load { crate::numbers::count(samples) } else { 1 };
        self.length.requests.map_or(u64::MAX, |requests| requests.saturating_mul(each))
    }

    /// How many requests may be missed before the trial is given up.
    pub(crate) fn forgiven(&self) -> Option<u64> {
        let expected = crate::numbers::real(self.expected()?);
        Some(crate::numbers::whole(expected * self.hopeless?))
    }
}

/// What can be put under load.
pub trait Subject {
    /// Runs one trial.
    fn run(&mut self, trial: &Trial, progress: &Progress) -> Result<Measured, Error>;

    /// What it is, for the report.
    fn describe(&self) -> serde_json::Value;

    /// As many callers as keep all of it busy.
    fn saturating_callers(&self) -> usize;

    /// The rows of one request of an open load.
    fn rows_a_request(&self) -> usize;
}
