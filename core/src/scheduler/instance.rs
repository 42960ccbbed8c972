//! Runs batches on the backend of one model: on threads of its own, or at once on a caller's thread.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use super::doubt::Doubt;
use super::later::Settled;
use super::queue::{Job, Queue, waited};
use super::slots::Slots;
use super::tuner::{Tuner, class};
use crate::backend::{Backend, RunError};
use crate::metrics::ModelMetrics;
use crate::statistics::{Stages, Statistics};
use crate::warm_up::agree;
use crate::{Error, ModelId, Request, Response, Signature, Tensor, Timings};

/// A run that is expected to take less than this costs a network thread less than handing it to another thread.
const INLINE: Duration = Duration::from_micros(150);

/// More elements, or bytes of texts, than this are never run on a network thread.
const MOST_INLINE: usize = 1 << 16;

/// One loaded model: what its instances share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) id: ModelId,
    /// What the model takes and gives; [`Shared::settled`] may have come to know more.
    pub(crate) signature: Signature,
    /// What trials of a model that serves already have shown.
    pub(crate) settled: OnceLock<Settled>,
    pub(crate) queue: Queue,
    pub(crate) tuner: Tuner,
    pub(crate) doubt: Doubt,
    /// Whether short runs are done on the caller's thread; `None`: where the tuner finds them short.
    pub(crate) inline: Option<bool>,
    pub(crate) threads: usize,
    pub(crate) slots: Arc<Slots>,
    pub(crate) statistics: Statistics,
    pub(crate) metrics: ModelMetrics,
    pub(crate) backend: Arc<dyn Backend>,
}

/// The outputs of one run, and the positions they stand at in the signature.
struct Outputs {
    positions: Vec<usize>,
    tensors: Vec<Tensor>,
}

impl Shared {
    /// Runs batches on this thread until the queue is closed and empty.
    pub(crate) fn work(&self) {
        while let Some(batch) = self.queue.next(|first| self.most_rows(first)) {
            self.metrics.queue_depth(self.queue.len());
            self.drop_leavers(batch.cancelled, batch.expired);
            if batch.jobs.is_empty() {
                continue;
            }
            let _slots = self.slots.take(self.threads);
            let _busy = self.metrics.busy();
            self.run(batch.jobs);
        }
    }

    /// Runs `request` now, on this thread, if its run is short and nothing stands in its way.
    pub(crate) fn run_at_once(&self, request: Request) -> Result<Result<Response, Error>, Request> {
        if !self.is_short(&request) || !self.queue.is_idle() {
            return Err(request);
        }
        let Some(_slot) = self.slots.try_take_one() else { return Err(request) };
        let _busy = self.metrics.busy();
        let started = Instant::now();
        let outputs = self.outputs(&request.inputs().iter().collect::<Vec<_>>(), &[&request]);
        let stages = Stages { infer: started.elapsed(), ..Stages::default() };
        Ok(match outputs {
            Ok(outputs) => {
                let rows = request.rows();
                let compute = self.count(&request, rows, &[Duration::ZERO], stages);
                let timings = Timings { queue: Duration::ZERO, compute, batch_rows: rows };
                Ok(self.response(&request, &outputs.positions, outputs.tensors, timings))
            }
            Err(error) => {
                self.statistics.failed(started.elapsed());
                self.metrics.failed(started.elapsed(), error.kind());
                Err(error)
            }
        })
    }

    fn most_rows(&self, first: &Request) -> usize {
        if self.doubt.is_justified() { 1 } else { self.tuner.cap(class(first.row_elements())) }
    }

    fn is_short(&self, request: &Request) -> bool {
        // The learned time is that of rows of about this size; far larger requests are not read off it.
        if self.threads != 1 || request.row_elements().saturating_mul(request.rows()) > MOST_INLINE {
            return false;
        }
        self.inline.unwrap_or_else(|| {
            let rows = u32::try_from(request.rows()).unwrap_or(u32::MAX);
            let single = self.tuner.single(class(request.row_elements()));
            single.and_then(|single| single.checked_mul(rows)).is_some_and(|run| run <= INLINE)
        })
    }

    fn drop_leavers(&self, cancelled: usize, expired: Vec<Job>) {
        self.metrics.cancelled(cancelled);
        for job in expired {
            self.fail(job, Error::DeadlineExceeded { model: self.id.clone() });
        }
    }

    fn run(&self, jobs: Vec<Job>) {
        match jobs.len() {
            1 => self.run_each(jobs),
            _ => self.run_together(jobs),
        }
    }

    /// Runs the jobs in one go. If that fails, each is run by itself, so that none pays for another's input.
    fn run_together(&self, jobs: Vec<Job>) {
        let started = Instant::now();
        let Some(inputs) = joined(&jobs) else { return self.run_each(jobs) };
        let run = Instant::now();
        let requests: Vec<_> = jobs.iter().map(|job| &job.request).collect();
        let span = jobs.first().map(|job| job.span.clone().entered());
        let outputs = self.outputs(&inputs.iter().collect::<Vec<_>>(), &requests);
        drop(span);
        let ran = Instant::now();
        let rows = jobs.iter().map(|job| job.request.rows()).sum();
        match outputs {
            Ok(outputs) if outputs.tensors.iter().all(|tensor| tensor.shape().rows() == Some(rows)) => {
                let mut first = 0;
                let mut slices = Vec::with_capacity(jobs.len());
                for job in &jobs {
                    let count = job.request.rows();
                    slices.push(outputs.tensors.iter().map(|tensor| tensor.rows(first, count)).collect());
                    first += count;
                }
                let stages = Stages { input: run - started, infer: ran - run, output: ran.elapsed() };
                if self.doubt.arises() {
                    return self.verify(jobs, &outputs.positions, &slices);
                }
                self.answer(jobs, started, stages, rows, &outputs.positions, slices);
            }
            Ok(_) => {
                tracing::warn!(model = %self.id, rows, "a batch did not come back with its rows; its requests run one by one");
                self.run_each(jobs);
            }
            Err(_) => self.run_each(jobs),
        }
    }

    /// Answers the jobs one by one, and holds what they would have got together against it: the trial at load had only
    /// made-up rows.
    fn verify(&self, jobs: Vec<Job>, positions: &[usize], together: &[Vec<Tensor>]) {
        for (job, together) in jobs.into_iter().zip(together) {
            let started = Instant::now();
            let inputs: Vec<_> = job.request.inputs().iter().collect();
            match self.outputs(&inputs, &[&job.request]) {
                Ok(alone) => {
                    let whole =
                        |position: &usize| positions.binary_search(position).ok().and_then(|at| together.get(at));
                    let same =
                        |(position, alone): (&usize, &Tensor)| whole(position).is_some_and(|other| agree(alone, other));
                    if !alone.positions.iter().zip(&alone.tensors).all(same) && self.doubt.confirm() {
                        tracing::error!(
                            model = %self.id,
                            "rows of this model influence one another: its requests run one by one from now on; \
                             set `batching.enabled = false` in model.toml, or look at what the model does along axis 0"
                        );
                    }
                    let stages = Stages { infer: started.elapsed(), ..Stages::default() };
                    let rows = job.request.rows();
                    self.answer(vec![job], started, stages, rows, &alone.positions, vec![alone.tensors]);
                }
                Err(error) => self.fail(job, error),
            }
        }
    }

    fn run_each(&self, jobs: Vec<Job>) {
        for job in jobs {
            let started = Instant::now();
            let span = job.span.clone().entered();
            let inputs: Vec<_> = job.request.inputs().iter().collect();
            let outputs = self.outputs(&inputs, &[&job.request]);
            drop(span);
            let stages = Stages { infer: started.elapsed(), ..Stages::default() };
            match outputs {
                Ok(outputs) => {
                    let rows = job.request.rows();
                    self.answer(vec![job], started, stages, rows, &outputs.positions, vec![outputs.tensors]);
                }
                Err(error) => self.fail(job, error),
            }
        }
    }

    /// Runs the model for every output that any of the requests asks for.
    fn outputs(&self, inputs: &[&Tensor], requests: &[&Request]) -> Result<Outputs, Error> {
        let mut positions: Vec<usize> = requests.iter().flat_map(|request| request.outputs().iter().copied()).collect();
        positions.sort_unstable();
        positions.dedup();
        let run = catch_unwind(AssertUnwindSafe(|| self.backend.run(inputs, &positions, None)));
        let failed = |reason| Error::Failed { model: self.id.to_string(), reason };
        match run {
            Ok(Ok(tensors)) if tensors.len() == positions.len() => Ok(Outputs { positions, tensors }),
            Ok(Ok(tensors)) => {
                Err(failed(format!("it gave {} outputs where {} were asked for", tensors.len(), positions.len())))
            }
            Ok(Err(RunError::Inputs(reason))) => Err(Error::Rejected { model: self.id.to_string(), reason }),
            Ok(Err(error @ (RunError::Runtime(_) | RunError::Stopped))) => Err(failed(error.to_string())),
            Err(_) => Err(failed("the backend panicked".into())),
        }
    }

    /// Counts one run and answers its jobs. `slices` holds, for each job, its rows of the outputs at `positions`.
    fn answer(
        &self,
        jobs: Vec<Job>,
        started: Instant,
        stages: Stages,
        rows: usize,
        positions: &[usize],
        slices: Vec<Vec<Tensor>>,
    ) {
        let queued: Vec<_> = jobs.iter().map(|job| waited(job.queued, started)).collect();
        let Some(first) = jobs.first() else { return };
        let compute = self.count(&first.request, rows, &queued, stages);
        for ((job, tensors), queue) in jobs.into_iter().zip(slices).zip(queued) {
            let timings = Timings { queue, compute, batch_rows: rows };
            let response = self.response(&job.request, positions, tensors, timings);
            // A caller who has left needs no answer.
            let _ = job.reply.send(Ok(response));
        }
    }

    /// Counts one run that answered requests which had waited for `queued`, and tells how long it took.
    fn count(&self, first: &Request, rows: usize, queued: &[Duration], stages: Stages) -> Duration {
        let compute = stages.input + stages.infer + stages.output;
        self.tuner.observe(class(first.row_elements()), rows, compute);
        self.statistics.ran(rows, queued, stages);
        self.metrics.ran(rows, queued, compute);
        compute
    }

    /// The outputs that `request` asked for, in its order.
    fn response(&self, request: &Request, positions: &[usize], tensors: Vec<Tensor>, timings: Timings) -> Response {
        let mut by_position: Vec<Option<Tensor>> = tensors.into_iter().map(Some).collect();
        let pick = |position: &usize| {
            let at = positions.binary_search(position).ok()?;
            let spec = self.signature.outputs.get(*position)?;
            Some((Arc::clone(&spec.name), by_position.get_mut(at)?.take()?))
        };
        let outputs = request.outputs().iter().filter_map(pick).collect();
        Response { model: self.id.clone(), outputs, timings }
    }

    fn fail(&self, job: Job, error: Error) {
        let waiting = job.queued.elapsed();
        self.statistics.failed(waiting);
        self.metrics.failed(waiting, error.kind());
        let _ = job.reply.send(Err(error));
    }
}

/// The jobs' inputs, one tensor for each declared input.
fn joined(jobs: &[Job]) -> Option<Vec<Tensor>> {
    let inputs = jobs.first()?.request.inputs().len();
    let column = |at: usize| -> Option<Tensor> {
        let parts: Option<Vec<_>> = jobs.iter().map(|job| job.request.inputs().get(at)).collect();
        Tensor::concat(&parts?)
    };
    (0..inputs).map(column).collect()
}
