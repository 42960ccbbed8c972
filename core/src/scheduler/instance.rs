//! A thread that owns one backend and runs batches until its model is unloaded.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Instant;

use super::queue::{Batch, Job, Queue, waited};
use crate::backend::{Backend, RunError};
use crate::metrics::ModelMetrics;
use crate::statistics::{Stages, Statistics};
use crate::{Error, ModelId, Response, Signature, Tensor, Timings};

/// What all instances of one loaded model share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) id: ModelId,
    pub(crate) signature: Signature,
    pub(crate) queue: Queue,
    pub(crate) max_rows: usize,
    pub(crate) statistics: Statistics,
    pub(crate) metrics: ModelMetrics,
}

/// One instance: a backend and the model it belongs to.
pub(crate) struct Instance {
    backend: Box<dyn Backend>,
    shared: Arc<Shared>,
}

/// The outputs of one run, and the positions they stand at in the signature.
struct Outputs {
    positions: Vec<usize>,
    tensors: Vec<Tensor>,
}

impl Instance {
    pub(crate) fn new(backend: Box<dyn Backend>, shared: Arc<Shared>) -> Self {
        Self { backend, shared }
    }

    /// Runs batches until the queue is closed and empty.
    pub(crate) fn work(mut self) {
        while let Some(batch) = self.shared.queue.next(self.shared.max_rows) {
            self.shared.metrics.queue_depth(self.shared.queue.len());
            self.run(batch);
        }
    }

    fn run(&mut self, batch: Batch) {
        self.shared.metrics.cancelled(batch.cancelled);
        for job in batch.expired {
            let error = Error::DeadlineExceeded { model: self.shared.id.clone() };
            self.fail(job, error);
        }
        if batch.jobs.is_empty() {
            return;
        }
        let shared = Arc::clone(&self.shared);
        let _busy = shared.metrics.busy();
        match batch.jobs.len() {
            1 => self.run_each(batch.jobs),
            _ => self.run_together(batch.jobs),
        }
    }

    /// Runs the jobs in one go. If that fails, each is run by itself, so that none pays for another's input.
    fn run_together(&mut self, jobs: Vec<Job>) {
        let started = Instant::now();
        let Some(inputs) = joined(&jobs) else { return self.run_each(jobs) };
        let run = Instant::now();
        let outputs = self.outputs(&inputs.iter().collect::<Vec<_>>(), &jobs);
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
                self.answer(jobs, started, stages, rows, &outputs.positions, slices);
            }
            Ok(_) => {
                tracing::warn!(model = %self.shared.id, rows, "a batch did not come back with its rows; its requests run one by one");
                self.run_each(jobs);
            }
            Err(_) => self.run_each(jobs),
        }
    }

    fn run_each(&mut self, jobs: Vec<Job>) {
        for job in jobs {
            let started = Instant::now();
            let outputs = self.outputs(&job.request.inputs().iter().collect::<Vec<_>>(), std::slice::from_ref(&job));
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

    /// Runs the model for every output that any of the jobs asks for.
    fn outputs(&mut self, inputs: &[&Tensor], jobs: &[Job]) -> Result<Outputs, Error> {
        let mut positions: Vec<usize> = jobs.iter().flat_map(|job| job.request.outputs().iter().copied()).collect();
        positions.sort_unstable();
        positions.dedup();
        let _span = jobs.first().map(|job| job.span.clone().entered());
        let run = catch_unwind(AssertUnwindSafe(|| self.backend.run(inputs, &positions)));
        let failed = |reason| Error::Failed { model: self.shared.id.to_string(), reason };
        match run {
            Ok(Ok(tensors)) if tensors.len() == positions.len() => Ok(Outputs { positions, tensors }),
            Ok(Ok(tensors)) => {
                Err(failed(format!("it gave {} outputs where {} were asked for", tensors.len(), positions.len())))
            }
            Ok(Err(RunError::Inputs(reason))) => Err(Error::Rejected { model: self.shared.id.to_string(), reason }),
            Ok(Err(RunError::Runtime(reason))) => Err(failed(reason)),
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
        let shared = &self.shared;
        let queued: Vec<_> = jobs.iter().map(|job| waited(job.queued, started)).collect();
        let compute = stages.input + stages.infer + stages.output;
        shared.statistics.ran(rows, &queued, stages);
        shared.metrics.ran(rows, &queued, compute);
        for ((job, tensors), queue) in jobs.into_iter().zip(slices).zip(queued) {
            let timings = Timings { queue, compute, batch_rows: rows };
            let outputs = self.named(&job, positions, tensors);
            // A caller who has left needs no answer.
            let _ = job.reply.send(Ok(Response { model: shared.id.clone(), outputs, timings }));
        }
    }

    /// The outputs this job asked for, in its order.
    fn named(&self, job: &Job, positions: &[usize], tensors: Vec<Tensor>) -> Vec<(Arc<str>, Tensor)> {
        let mut by_position: Vec<Option<Tensor>> = tensors.into_iter().map(Some).collect();
        let pick = |position: &usize| {
            let at = positions.binary_search(position).ok()?;
            let spec = self.shared.signature.outputs.get(*position)?;
            Some((Arc::clone(&spec.name), by_position.get_mut(at)?.take()?))
        };
        job.request.outputs().iter().filter_map(pick).collect()
    }

    fn fail(&self, job: Job, error: Error) {
        let waiting = job.queued.elapsed();
        self.shared.statistics.failed(waiting);
        self.shared.metrics.failed(waiting, error.kind());
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
