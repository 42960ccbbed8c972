//! What one loaded model has done since it was loaded, counted the way the statistics extension tells it.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// How often something happened and how long it took in all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// How often.
    pub count: u64,
    /// The sum of the durations in nanoseconds.
    pub nanoseconds: u64,
}

impl Tally {
    fn add(&mut self, count: u64, each: Duration) {
        self.count = self.count.saturating_add(count);
        let sum = nanoseconds(each).saturating_mul(count);
        self.nanoseconds = self.nanoseconds.saturating_add(sum);
    }
}

/// The three stages of one run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stages {
    /// Joining the inputs of the batch.
    pub input: Duration,
    /// The run itself.
    pub infer: Duration,
    /// Taking the outputs apart.
    pub output: Duration,
}

/// Sums of the three stages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StageTallies {
    /// Joining the inputs of the batch.
    pub input: Tally,
    /// The run itself.
    pub infer: Tally,
    /// Taking the outputs apart.
    pub output: Tally,
}

impl StageTallies {
    fn add(&mut self, count: u64, each: Stages) {
        self.input.add(count, each.input);
        self.infer.add(count, each.infer);
        self.output.add(count, each.output);
    }
}

/// Everything counted, at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// When the last run ended, in nanoseconds since 1970; 0 before the first.
    pub last_inference_ns: u64,
    /// Rows answered.
    pub rows: u64,
    /// Runs.
    pub executions: u64,
    /// Requests answered, with their time from queueing to answer.
    pub success: Tally,
    /// Requests that failed, with their time from queueing to failure.
    pub failure: Tally,
    /// The waiting time of requests that were run.
    pub queue: Tally,
    /// The stages, counted once for each request.
    pub stages: StageTallies,
    /// Runs by their number of rows.
    pub batches: BTreeMap<u64, StageTallies>,
}

/// The counters of one loaded model.
#[derive(Debug, Default)]
pub struct Statistics(Mutex<Snapshot>);

impl Statistics {
    /// Everything counted so far.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        self.lock().clone()
    }

    /// Counts one run that answered requests which had waited for `queued`.
    pub(crate) fn ran(&self, rows: usize, queued: &[Duration], stages: Stages) {
        let mut all = self.lock();
        all.last_inference_ns = now_ns();
        let rows = u64::try_from(rows).unwrap_or(u64::MAX);
        all.rows = all.rows.saturating_add(rows);
        all.executions = all.executions.saturating_add(1);
        all.batches.entry(rows).or_default().add(1, stages);
        for &waited in queued {
            all.queue.add(1, waited);
            all.stages.add(1, stages);
            all.success.add(1, waited + stages.input + stages.infer + stages.output);
        }
    }

    /// Counts one request that got no answer `after` it was queued.
    pub(crate) fn failed(&self, after: Duration) {
        self.lock().failure.add(1, after);
    }

    /// Counters stay right even if a thread died while it held the lock.
    fn lock(&self) -> MutexGuard<'_, Snapshot> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The time since 1970 in nanoseconds. It tells which of two models was asked last, so that it has to be fine.
pub(crate) fn now_ns() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, nanoseconds)
}

fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_runs_and_requests_are_three_counts() {
        let statistics = Statistics::default();
        let ms = Duration::from_millis;
        let stages = Stages { input: ms(1), infer: ms(2), output: ms(3) };
        statistics.ran(5, &[ms(10), ms(20)], stages);
        let all = statistics.snapshot();
        assert_eq!((all.rows, all.executions, all.success.count), (5, 1, 2));
        assert_eq!(all.queue.nanoseconds, 30_000_000);
        assert_eq!(all.success.nanoseconds, 42_000_000);
        assert_eq!(all.batches[&5].infer, Tally { count: 1, nanoseconds: 2_000_000 });
    }
}
