//! One loaded model: what its callers and its instances share, and the two roads of a request.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use super::batch::Former;
use super::curve::Forecast;
use super::doubt::Doubt;
use super::gather::Gather;
use super::job::{Job, Ticket};
use super::lane::Lane;
use super::later::Settled;
use super::queue::{Queue, Refusal, Waited};
use super::slots::Share;
use super::ticket::Place;
use super::tuner::{Tuner, class};
use crate::backend::Backend;
use crate::metrics::ModelMetrics;
use crate::padding::Padding;
use crate::statistics::Statistics;
use crate::story::Reason;
use crate::{Error, ModelId, Request, Response, Signature, Tensor};

/// A run that is expected to take less than this costs a network thread less than handing it to another thread.
pub(crate) const INLINE: Duration = Duration::from_micros(150);

/// A model that nobody has asked for so long gives back what its runs have left.
const REST: Duration = Duration::from_secs(5);

/// One loaded model: what its callers and its instances share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) id: ModelId,
    /// What the model takes and gives; [`Shared::signature`] may have come to know more.
    pub(crate) signature: Signature,
    /// What trials of a model that serves already have shown.
    pub(crate) settled: OnceLock<Settled>,
    pub(crate) queue: Queue,
    pub(crate) gather: Gather,
    pub(crate) tuner: Tuner,
    pub(crate) doubt: Doubt,
    /// Whether short runs are done on the caller's thread; `None`: where the tuner finds them short.
    pub(crate) inline: Option<bool>,
    pub(crate) objective: Option<Duration>,
    pub(crate) padding: Option<Padding>,
    /// Threads that one run uses.
    pub(crate) threads: usize,
    /// Whether a run's work is all done by the thread that calls.
    pub(crate) works_alone: bool,
    /// Whether runs have 1, 2, 4, … rows where that can be.
    pub(crate) prepared: bool,
    pub(crate) instances: AtomicUsize,
    pub(crate) share: Share,
    pub(crate) statistics: Statistics,
    pub(crate) metrics: ModelMetrics,
    pub(crate) backend: Arc<dyn Backend>,
}

impl Shared {
    /// What the model takes and gives, as far as trials have shown.
    pub(crate) fn signature(&self) -> &Signature {
        self.settled.get().map_or(&self.signature, |settled| &settled.signature)
    }

    /// Runs batches on this thread, which is that instance, until the queue is closed and empty.
    pub(crate) fn work(&self, instance: usize) {
        // Loading ran it, too.
        let mut ran = true;
        let mut spare = Vec::new();
        loop {
            let found = self.queue.wait(ran.then_some(REST));
            match found {
                Waited::Work => self.run_next_in(instance, &mut spare),
                Waited::Quiet => {
                    spare = Vec::new();
                    self.backend.rest();
                }
                Waited::Closed => return,
            }
            ran = found == Waited::Work;
        }
    }

    /// The same as [`Shared::run_next_in`], in new memory.
    #[cfg(test)]
    pub(crate) fn run_next(&self, instance: usize) {
        self.run_next_in(instance, &mut Vec::new());
    }

    /// Runs the next batch, if something still waits when it is its turn. Inputs are joined in the memory of `spare`.
    pub(crate) fn run_next_in(&self, instance: usize, spare: &mut Vec<Tensor>) {
        // Threads first, so that who waits for them can still be joined, leave or expire.
        let _threads = self.share.take(self.threads);
        let threads_for = self.share.slots().free() / self.threads;
        let instances = self.instances.load(Ordering::Relaxed);
        let forecast = |class| self.forecast(class);
        let batch =
            self.queue.take(&Former { forecast: &forecast, threads_for, instances, instance, prepared: self.prepared });
        self.metrics.queue_depth(self.queue.len());
        for job in batch.left {
            self.forget(&job);
        }
        for job in batch.late {
            self.turn_away(job);
        }
        if !batch.jobs.is_empty() {
            let _busy = self.metrics.busy();
            self.run(batch.jobs, &batch.ride, batch.plan, spare);
            self.queue.ended(batch.plan.run);
        }
    }

    /// Queues a request. Its answer comes through the receiver; dropping the ticket is leaving.
    pub(crate) fn enqueue(
        self: &Arc<Self>,
        request: Request,
    ) -> Result<(Ticket, oneshot::Receiver<Result<Response, Error>>), Error> {
        let (reply, answer) = oneshot::channel();
        let (place, queued) = (Arc::<Place>::default(), Instant::now());
        let class = class(request.row_elements());
        let job = Job {
            due: self.due(request.deadline(), queued),
            request,
            reply,
            queued,
            span: tracing::Span::current(),
            place: Arc::clone(&place),
            class,
            cost: 0.0,
            promised: 0.0,
        };
        let (lane, asked) = (self.lane(&job.request), job.request.asked().cloned());
        let pushed = self.queue.push(lane.clone(), job, &self.forecast(class), self.parallel());
        let number = pushed.map_err(|refusal| {
            if let Some(asked) = asked {
                asked.turned_away(queued, Duration::ZERO, (&refusal).into());
            }
            self.refused(&refusal)
        })?;
        self.metrics.queue_depth(self.queue.len());
        Ok((Ticket { shared: Arc::clone(self), place, lane, number }, answer))
    }

    /// Fails where a request with that deadline would be refused whatever it brings.
    pub(crate) fn admits(&self, deadline: Option<Instant>) -> Result<(), Error> {
        let (due, least) = (self.due(deadline, Instant::now()), self.tuner.least());
        match self.queue.admits(due, least, self.parallel()) {
            // A short run does not wait for those under way.
            Err(Refusal::TooLate(_) | Refusal::Full(..)) if self.may_pass_by(least) => Ok(()),
            admitted => admitted.map_err(|refusal| self.refused(&refusal)),
        }
    }

    /// Whether a run could be done at once, where rows take `least` seconds or more.
    fn may_pass_by(&self, least: f64) -> bool {
        let short = least > 0.0 && least <= INLINE.as_secs_f64();
        self.threads == 1 && self.inline.unwrap_or(short) && self.queue.is_idle() && self.share.slots().free() > 0
    }

    /// How many runs can be under way at once.
    pub(crate) fn parallel(&self) -> usize {
        let instances = self.instances.load(Ordering::Relaxed);
        instances.min(self.share.slots().all() / self.threads).max(1)
    }

    /// The most rows to put in one run, and what runs of that class are expected to take.
    pub(crate) fn forecast(&self, class: u32) -> Forecast {
        let mut forecast = self.tuner.forecast(class);
        if self.doubt.is_justified() {
            forecast.cap = 1;
        }
        forecast
    }

    fn due(&self, deadline: Option<Instant>, now: Instant) -> Option<Instant> {
        let objective = self.objective.and_then(|objective| now.checked_add(objective));
        deadline.into_iter().chain(objective).min()
    }

    fn lane(&self, request: &Request) -> Lane {
        match &self.padding {
            _ if !self.signature().batch_axis => Lane::only(),
            Some(padding) => Lane::of(request, |axis, size| padding.measure(request, axis, size)),
            None => Lane::of(request, |_, size| size),
        }
    }

    /// Takes note of a request that nobody waits for any more and that was not run.
    pub(crate) fn forget(&self, job: &Job) {
        self.metrics.queue_depth(self.queue.len());
        let now = Instant::now();
        let expired = job.has_expired(now);
        job.turned_away(now, if expired { Reason::Expired } else { Reason::Left });
        self.metrics.not_run(expired, job.cost);
    }

    /// Answers a request that cannot be answered in time.
    fn turn_away(&self, job: Job) {
        let now = Instant::now();
        if job.has_expired(now) {
            job.turned_away(now, Reason::Expired);
            self.metrics.not_run(true, job.cost);
            let error = Error::DeadlineExceeded { model: self.id.clone() };
            self.fail(job, error);
        } else {
            job.turned_away(now, Reason::Late);
            self.metrics.refused("late");
            let error = Error::TooBusy { model: self.id.clone(), wait: job.queued.elapsed() };
            self.fail(job, error);
        }
    }

    /// The error of a request that was not queued.
    pub(crate) fn refused(&self, refusal: &Refusal) -> Error {
        let model = self.id.clone();
        let error = match *refusal {
            Refusal::Full(waiting, wait) => Error::Overloaded { model, waiting, wait },
            Refusal::TooLate(wait) => Error::TooBusy { model, wait },
            Refusal::Expired => Error::DeadlineExceeded { model },
            Refusal::Closed => Error::Unloading { model },
        };
        match refusal {
            Refusal::Full(..) => self.metrics.refused("full"),
            Refusal::TooLate(_) => self.metrics.refused("late"),
            Refusal::Expired => self.metrics.not_run(true, 0.0),
            Refusal::Closed => {}
        }
        self.metrics.failed(Duration::ZERO, error.kind());
        self.statistics.failed(Duration::ZERO);
        error
    }
}
