//! One thread that runs the model.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use hedef_core::Tensor;

use super::join;
use super::line::{Job, Line};
use super::open::Session;
use crate::inputs::Sample;
use crate::measured::{Measured, Outcome};
use crate::progress::Progress;
use crate::subject::{Load, Trial};

/// The time between two lines of progress.
const TICK: Duration = Duration::from_millis(100);

/// What the threads of a trial share.
pub(crate) struct Shared<'s> {
    pub(crate) trial: &'s Trial,
    pub(crate) line: &'s Line,
    pub(crate) samples: &'s [Sample],
    pub(crate) outputs: &'s [usize],
    /// The most rows of a run.
    pub(crate) batch: usize,
    /// Runs of a closed load that have been begun and count.
    pub(crate) admitted: AtomicU64,
    pub(crate) progress: &'s Progress,
}

/// What one thread found.
pub(crate) struct Found {
    pub(crate) measured: Measured,
    /// How often it ran the model for requests that count, and with how many rows.
    pub(crate) runs: u64,
    pub(crate) rows: usize,
}

/// Works until the trial is over.
pub(crate) fn work(shared: &Shared<'_>, session: &Session<'_>) -> Found {
    let mut found = Found { measured: Measured::new(shared.trial.bound), runs: 0, rows: 0 };
    crate::clock::wake_exactly();
    if matches!(shared.trial.load, Load::Closed { .. }) {
        shared.again_and_again(session, &mut found);
    } else {
        shared.as_due(session, &mut found);
    }
    found
}

impl Shared<'_> {
    /// A closed load: the next run begins when the last one ends.
    fn again_and_again(&self, session: &Session<'_>, found: &mut Found) {
        let most = self.trial.length.requests.unwrap_or(u64::MAX);
        let mut samples = self.samples.iter().map(|sample| (sample, sample.tensors.iter().collect::<Vec<_>>())).cycle();
        let mut begun = Instant::now();
        let mut tick = begun;
        let mut from = None;
        while let Some((sample, inputs)) = samples.next().filter(|_| begun < self.line.to) {
            let counts = begun >= self.line.from;
            if counts && most < u64::MAX && self.admitted.fetch_add(1, Ordering::Relaxed) >= most {
                break;
            }
            let outcome = self.outcome(session, &inputs);
            let now = Instant::now();
            if counts {
                found.runs += 1;
                found.rows += sample.rows;
                found.measured.record(outcome, now - begun, sample.rows);
                found.measured.elapsed = now - *from.get_or_insert(begun);
            }
            begun = now;
            if now >= tick {
                tick = now + TICK;
                self.tell(now, found);
            }
        }
    }

    /// Queries and open loads: all that is due, as far as it fits into one run.
    fn as_due(&self, session: &Session<'_>, found: &mut Found) {
        let rows = self.samples.first().map_or(1, |sample| sample.rows.max(1));
        let most = (self.batch / rows).max(1);
        let (mut jobs, mut tick) = (Vec::new(), self.line.start);
        loop {
            self.line.take(most, &mut jobs);
            if jobs.is_empty() {
                return;
            }
            let chosen = jobs.iter().filter_map(|job: &Job| self.samples.get(job.number % self.samples.len().max(1)));
            let chosen: Vec<_> = chosen.collect();
            let outcome = match (chosen.as_slice(), join(&chosen)) {
                ([only], _) => self.outcome(session, &only.tensors.iter().collect::<Vec<_>>()),
                (_, Some(joined)) => self.outcome(session, &joined.tensors.iter().collect::<Vec<_>>()),
                (_, None) => Outcome::Lost("run failed", "requests of different shapes".into()),
            };
            let now = Instant::now();
            self.ended(&jobs, &outcome, rows, now, found);
            if now >= tick {
                tick = now + TICK;
                self.tell(now, found);
            }
        }
    }

    fn ended(&self, jobs: &[Job], outcome: &Outcome, rows: usize, now: Instant, found: &mut Found) {
        let complete = self.line.ended(jobs.len(), now);
        let counting = jobs.iter().filter(|job| job.counts);
        if counting.clone().next().is_some() {
            found.runs += 1;
            found.rows += jobs.len() * rows;
        }
        let missed = found.measured.misses();
        match self.trial.load {
            // The thread that runs a query's last sample records the query.
            Load::Queries { samples } => {
                if let Some(job) = counting.clone().next_back().filter(|_| complete) {
                    found.measured.record(outcome.clone(), now - job.due, samples * rows);
                }
            }
            _ => counting.for_each(|job| found.measured.record(outcome.clone(), now - job.due, rows)),
        }
        self.line.missed(found.measured.misses() - missed);
    }

    fn outcome(&self, session: &Session<'_>, inputs: &[&Tensor]) -> Outcome {
        match session.run(inputs, self.outputs) {
            Ok(_) => Outcome::Right,
            Err(error) => Outcome::Lost("run failed", error.to_string()),
        }
    }

    fn tell(&self, now: Instant, found: &Found) {
        let whole = self.trial.length.warm_up + self.trial.length.duration;
        self.progress.tick(now.saturating_duration_since(self.line.start), whole, found.measured.requests());
    }
}
