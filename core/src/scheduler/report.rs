//! What can be told of a model that runs.

use std::sync::atomic::Ordering;
use std::time::Duration;

use super::shared::{INLINE, Shared};
use super::tuner::Learned;

/// How a model runs now, for people.
#[derive(Clone, Debug, PartialEq)]
pub struct Report {
    /// Whether short requests run at once, on the thread that read them.
    pub inline: bool,
    /// Why so.
    pub inline_reason: String,
    /// Threads that each run the model.
    pub instances: usize,
    /// Runs that can be under way at once, as far as threads go.
    pub parallel: usize,
    /// Requests that wait.
    pub waiting: usize,
    /// Requests that can wait.
    pub capacity: usize,
    /// How long a request that comes now is expected to wait.
    pub wait: Duration,
    /// The time within which nearly all requests are to be answered.
    pub objective: Option<Duration>,
    /// Whether rows were found to influence one another, so that requests run one by one.
    pub mixes_rows: bool,
    /// What runs have taught, for rows of each size.
    pub learned: Vec<Learned>,
}

impl Shared {
    /// How the model runs now.
    pub(crate) fn report(&self) -> Report {
        let learned = self.tuner.learned();
        let (inline, inline_reason) = self.road(&learned);
        Report {
            inline,
            inline_reason,
            instances: self.instances.load(Ordering::Relaxed),
            parallel: self.parallel(),
            waiting: self.queue.len(),
            capacity: self.queue.capacity(),
            wait: self.queue.wait_ahead(self.parallel()),
            objective: self.objective,
            mixes_rows: self.doubt.is_shown(),
            learned,
        }
    }

    /// Which road requests take, and why.
    fn road(&self, learned: &[Learned]) -> (bool, String) {
        if self.threads != 1 {
            return (false, format!("a run uses {} threads", self.threads));
        }
        if let Some(inline) = self.inline {
            return (inline, format!("inline = {inline} in model.toml"));
        }
        let singles = learned.iter().filter_map(|learned| learned.row_seconds.first());
        let Some(least) = singles.filter(|(rows, _)| *rows == 1).map(|(_, seconds)| *seconds).min_by(f64::total_cmp)
        else {
            return (false, "no run of one row has been timed".into());
        };
        let inline = least <= INLINE.as_secs_f64();
        let than = if inline { "no more" } else { "more" };
        (inline, format!("a run of one row takes {:.1} µs, {than} than {} µs", least * 1e6, INLINE.as_micros()))
    }
}
