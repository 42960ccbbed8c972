//! Runs jobs, together or one by one, and answers them.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use smallvec::SmallVec;

use super::batch::Plan;
use super::curve::Took;
use super::job::Job;
use super::shared::Shared;
use super::ticket::Ride;
use crate::backend::{Joined, RunError, Stop};
use crate::host::thread_time;
use crate::request::Positions;
use crate::statistics::Stages;
use crate::story::{Run, Size, Story};
use crate::warm_up::agree;
use crate::{Error, Request, Response, Tensor, Timings};

/// The outputs of one run, and the positions they stand at in the signature.
pub(super) struct Outputs {
    pub(super) positions: Positions,
    pub(super) tensors: Vec<Tensor>,
}

/// The joined inputs of a run.
enum Inputs<'b> {
    /// In the scheduler's memory.
    Own,
    /// In the backend's, which runs them.
    Backends(Joined<'b>),
}

/// Why a run gave nothing.
pub(super) enum Ended {
    /// Nobody waited for it any more.
    Stopped,
    Failed(Error),
}

/// A run that is over.
struct Ran {
    plan: Plan,
    started: Instant,
    stages: Stages,
    rows: usize,
    padded: Option<usize>,
    failed: bool,
}

impl Ran {
    /// The run as its jobs see it, if any of them asks.
    fn told(&self, jobs: &[Job]) -> Option<Arc<Run>> {
        let mut asked = jobs.iter().filter_map(|job| job.request.asked()).peekable();
        asked.peek()?;
        Some(Arc::new(Run {
            number: Some(self.plan.run),
            rows: self.rows,
            requests: jobs.len(),
            size: self.plan.size,
            padded: self.padded,
            failed: self.failed,
            marks: asked.filter_map(|asked| asked.mark).collect(),
            told: AtomicBool::new(false),
        }))
    }

    /// Tells a job that asks for it how it was run on so many `threads`.
    fn tell(&self, job: &Job, run: Option<&Arc<Run>>, timings: Timings, threads: usize) {
        let (Some(run), Some(asked)) = (run, job.request.asked()) else { return };
        asked.told.tell(Story {
            road: asked.road,
            began: self.started,
            timings,
            instance: Some(self.plan.instance),
            threads,
            run: Arc::clone(run),
        });
    }
}

/// Measures a run on this thread.
struct Watch {
    started: Instant,
    worked: Option<Duration>,
}

impl Watch {
    /// `alone` says whether this thread does all the work of the run.
    fn start(alone: bool) -> Self {
        Self { started: Instant::now(), worked: alone.then(thread_time).flatten() }
    }

    fn read(&self) -> Took {
        let work = self.worked.and_then(|before| thread_time()?.checked_sub(before));
        Took { wall: self.started.elapsed(), work }
    }
}

impl Shared {
    /// Runs jobs whose callers all boarded `ride`. The inputs of a joined run have the memory of `spare`, and are it for the
    /// next one, if that follows at once.
    pub(super) fn run(&self, mut jobs: Vec<Job>, ride: &Arc<Ride>, plan: Plan, spare: &mut Vec<Tensor>) {
        match (jobs.pop(), jobs.is_empty()) {
            (Some(only), true) => {
                // It may have been large, and the next joined run be far away.
                spare.clear();
                self.run_and_look(only, ride, plan, |_| {});
            }
            (Some(last), false) => {
                jobs.push(last);
                self.run_together(jobs, ride, plan, spare);
            }
            (None, _) => {}
        }
    }

    /// Runs the jobs in one go. If that fails, each is run by itself, so that none pays for another's input.
    fn run_together(&self, jobs: Vec<Job>, ride: &Ride, plan: Plan, spare: &mut Vec<Tensor>) {
        let watch = Watch::start(self.works_alone);
        let filled = self.filled(&jobs);
        let Some(inputs) = self.joined(&jobs, filled, spare) else { return self.run_each(jobs, plan) };
        let run = Instant::now();
        let requests: Vec<_> = jobs.iter().map(|job| &job.request).collect();
        let span = jobs.first().map(|job| job.span.clone().entered());
        let outputs = self.outputs(&requests, Some(ride), |positions, stop| match inputs {
            Inputs::Own => self.backend.run(&spare.iter().collect::<Vec<_>>(), positions, stop),
            Inputs::Backends(run) => run(positions, stop),
        });
        drop(span);
        ride.arrive();
        let ran = Instant::now();
        let rows = jobs.iter().map(|job| job.request.rows()).sum();
        match outputs {
            Ok(outputs) => {
                let Some(slices) = self.slices(&requests, &outputs, filled) else {
                    self.warn_of_rows(rows);
                    return self.run_each(jobs, plan);
                };
                self.learn(&jobs, rows, &watch);
                if self.doubt.arises() {
                    return self.verify(jobs, plan, &outputs.positions, &slices);
                }
                let stages = Stages { input: run - watch.started, infer: ran - run, output: ran.elapsed() };
                let run = Ran { plan, started: watch.started, stages, rows, padded: filled, failed: false };
                self.answer(jobs, &run, &outputs.positions, slices);
            }
            Err(Ended::Stopped) => self.stopped(plan.expected, &watch),
            Err(Ended::Failed(_)) => self.run_each(jobs, plan),
        }
    }

    /// As long as what the inputs are made, where they differ in length.
    fn filled(&self, jobs: &[Job]) -> Option<usize> {
        let padding = self.padding.as_ref()?;
        let mut lengths = jobs.iter().map(|job| padding.length(job.request.inputs()));
        let first = lengths.next()??;
        let (mut longest, mut differ) = (first, false);
        for length in lengths {
            longest = longest.max(length?);
            differ |= length != Some(first);
        }
        differ.then_some(longest)
    }

    /// Joins the jobs' inputs: where the backend would not, in the memory of `spare`, where they are then.
    fn joined(&self, jobs: &[Job], filled: Option<usize>, spare: &mut Vec<Tensor>) -> Option<Inputs<'_>> {
        let all = 0..jobs.first()?.request.inputs().len();
        let padded = match (filled, &self.padding) {
            (Some(length), Some(padding)) => {
                let part = |job: &Job, at| padding.fill(at, job.request.inputs().get(at)?, length);
                let column = |at| jobs.iter().map(|job| part(job, at)).collect();
                Some(all.clone().map(column).collect::<Option<Vec<Vec<Tensor>>>>()?)
            }
            _ => None,
        };
        let column = |at: usize| -> Option<Vec<&Tensor>> {
            match &padded {
                Some(padded) => Some(padded.get(at)?.iter().collect()),
                None => jobs.iter().map(|job| job.request.inputs().get(at)).collect(),
            }
        };
        let columns = all.map(column).collect::<Option<Vec<_>>>()?;
        if let Some(run) = self.backend.join(&columns) {
            return Some(Inputs::Backends(run));
        }
        let mut last = std::mem::take(spare).into_iter();
        let joined = columns.iter().map(|parts| Tensor::concat_in(parts, last.next())).collect::<Option<Vec<_>>>();
        *spare = joined?;
        Some(Inputs::Own)
    }

    /// Says that a run of so many rows gave others.
    pub(super) fn warn_of_rows(&self, rows: usize) {
        tracing::warn!(model = %self.id, rows, "a batch did not come back with its rows; its requests run one by one");
    }

    /// What each request gets of the outputs of all. `None` where they do not have the rows of all, or not their length.
    pub(super) fn slices(
        &self,
        requests: &[&Request],
        outputs: &Outputs,
        filled: Option<usize>,
    ) -> Option<Vec<Vec<Tensor>>> {
        let all = requests.iter().map(|request| request.rows()).sum();
        if !outputs.tensors.iter().all(|tensor| tensor.shape().rows() == Some(all)) {
            return None;
        }
        let mut first = 0;
        let slice = |request: &&Request| -> Option<Vec<Tensor>> {
            let rows = request.rows();
            let own = outputs.tensors.iter().map(|tensor| tensor.rows(first, rows));
            let own = match (filled, &self.padding) {
                (Some(filled), Some(padding)) => {
                    let length = padding.length(request.inputs())?;
                    let cut = |(tensor, at): (Tensor, &usize)| padding.cut(*at, tensor, filled, length);
                    own.zip(&outputs.positions).map(cut).collect()
                }
                _ => Some(own.collect()),
            };
            first += rows;
            own
        };
        requests.iter().map(slice).collect()
    }

    /// Answers the jobs one by one, and holds what they would have got together against it: the trial at load had only
    /// made-up rows.
    fn verify(&self, jobs: Vec<Job>, plan: Plan, positions: &[usize], together: &[Vec<Tensor>]) {
        for (job, together) in jobs.into_iter().zip(together) {
            self.run_alone(job, plan, |alone| self.compare(alone, positions, together));
        }
    }

    /// Holds what a request got by itself against what it would have got of the outputs at `positions` of a run of many.
    pub(super) fn compare(&self, alone: &Outputs, positions: &[usize], together: &[Tensor]) {
        let same = |(position, alone): (&usize, &Tensor)| {
            let other = positions.binary_search(position).ok().and_then(|at| together.get(at));
            other.is_some_and(|other| agree(alone, other))
        };
        if !alone.positions.iter().zip(&alone.tensors).all(same) && self.doubt.confirm() {
            tracing::error!(
                model = %self.id,
                "rows of this model influence one another: its requests run one by one from now on; \
                 set `batching.enabled = false` in model.toml, or look at what the model does along axis 0"
            );
        }
    }

    fn run_each(&self, jobs: Vec<Job>, plan: Plan) {
        for job in jobs {
            self.run_alone(job, plan, |_| {});
        }
    }

    /// Runs a job that was part of a run, by itself, if its caller is still there.
    fn run_alone(&self, job: Job, plan: Plan, look: impl FnOnce(&Outputs)) {
        let ride = Ride::new();
        if !job.place.board(&ride) {
            return self.forget(&job);
        }
        ride.start();
        let expected = self.forecast(job.class).run(job.request.rows()).unwrap_or(0.0);
        self.run_and_look(job, &ride, Plan { expected, size: Size::OneByOne, ..plan }, look);
    }

    fn run_and_look(&self, job: Job, ride: &Ride, plan: Plan, look: impl FnOnce(&Outputs)) {
        let watch = Watch::start(self.works_alone);
        let span = job.span.clone().entered();
        let inputs: SmallVec<[_; 4]> = job.request.inputs().iter().collect();
        let outputs =
            self.outputs(&[&job.request], Some(ride), |positions, stop| self.backend.run(&inputs, positions, stop));
        drop((inputs, span));
        ride.arrive();
        match outputs {
            Ok(outputs) => {
                let rows = job.request.rows();
                let jobs = vec![job];
                let took = self.learn(&jobs, rows, &watch);
                look(&outputs);
                let stages = Stages { infer: took.wall, ..Stages::default() };
                let run = Ran { plan, started: watch.started, stages, rows, padded: None, failed: false };
                self.answer(jobs, &run, &outputs.positions, vec![outputs.tensors]);
            }
            Err(Ended::Stopped) => self.stopped(plan.expected, &watch),
            Err(ended) => {
                let error = self.error(ended);
                self.tell_failure(&job, plan, &watch);
                self.fail(job, error);
            }
        }
    }

    /// Tells a job whose run failed how it was run, if it asks for that.
    fn tell_failure(&self, job: &Job, plan: Plan, watch: &Watch) {
        if job.request.asked().is_none() {
            return;
        }
        let (rows, compute) = (job.request.rows(), watch.started.elapsed());
        let stages = Stages { infer: compute, ..Stages::default() };
        let ran = Ran { plan, started: watch.started, stages, rows, padded: None, failed: true };
        let queue = watch.started.saturating_duration_since(job.queued);
        let timings = Timings { came: Some(job.queued), queue, compute, batch_rows: rows };
        ran.tell(job, ran.told(std::slice::from_ref(job)).as_ref(), timings, self.threads);
    }

    /// Has `run` run the model for every output that any of the requests asks for.
    pub(super) fn outputs(
        &self,
        requests: &[&Request],
        ride: Option<&Ride>,
        run: impl FnOnce(&[usize], Option<&Stop>) -> Result<Vec<Tensor>, RunError>,
    ) -> Result<Outputs, Ended> {
        let mut positions: Positions = requests.iter().flat_map(|request| request.outputs().iter().copied()).collect();
        positions.sort_unstable();
        positions.dedup();
        let run = catch_unwind(AssertUnwindSafe(|| run(&positions, ride.map(Ride::stop))));
        let failed = |reason| Ended::Failed(Error::Failed { model: self.id.to_string(), reason });
        match run {
            Ok(Ok(tensors)) if tensors.len() == positions.len() => Ok(Outputs { positions, tensors }),
            Ok(Ok(tensors)) => {
                Err(failed(format!("it gave {} outputs where {} were asked for", tensors.len(), positions.len())))
            }
            Ok(Err(RunError::Inputs(reason))) => {
                Err(Ended::Failed(Error::Rejected { model: self.id.to_string(), reason }))
            }
            Ok(Err(error @ RunError::Runtime(_))) => Err(failed(error.to_string())),
            Ok(Err(RunError::Stopped)) => Err(Ended::Stopped),
            Err(_) => Err(failed("the backend panicked".into())),
        }
    }

    /// The error of a run that gave nothing.
    pub(super) fn error(&self, ended: Ended) -> Error {
        match ended {
            Ended::Failed(error) => error,
            Ended::Stopped => Error::Failed { model: self.id.to_string(), reason: RunError::Stopped.to_string() },
        }
    }

    /// Counts a run that was ended since nobody waited for it any more.
    fn stopped(&self, expected: f64, watch: &Watch) {
        self.metrics.stopped(expected - watch.started.elapsed().as_secs_f64());
    }

    fn learn(&self, jobs: &[Job], rows: usize, watch: &Watch) -> Took {
        let took = watch.read();
        if let Some(first) = jobs.first() {
            self.tuner.observe(first.class, rows, took);
        }
        took
    }

    /// Counts one run and answers its jobs. `slices` holds, for each job, its rows of the outputs at `positions`.
    fn answer(&self, jobs: Vec<Job>, ran: &Ran, positions: &[usize], slices: Vec<Vec<Tensor>>) {
        let queued: Vec<_> = jobs.iter().map(|job| ran.started.saturating_duration_since(job.queued)).collect();
        let compute = self.count(ran.rows, &queued, ran.stages);
        let run = ran.told(&jobs);
        for ((job, tensors), queue) in jobs.into_iter().zip(slices).zip(queued) {
            let timings = Timings { came: Some(job.queued), queue, compute, batch_rows: ran.rows };
            let response = self.response(&job.request, positions, tensors, timings);
            ran.tell(&job, run.as_ref(), timings, self.threads);
            // A caller who has left needs no answer.
            let _ = job.reply.send(Ok(response));
        }
    }

    /// Counts one run that answered requests which had waited for `queued`, and tells how long it took.
    pub(super) fn count(&self, rows: usize, queued: &[Duration], stages: Stages) -> Duration {
        let compute = stages.input + stages.infer + stages.output;
        self.statistics.ran(rows, queued, stages);
        self.metrics.ran(rows, queued, compute);
        compute
    }

    /// The outputs that `request` asked for, in its order.
    pub(super) fn response(
        &self,
        request: &Request,
        positions: &[usize],
        tensors: Vec<Tensor>,
        timings: Timings,
    ) -> Response {
        let mut by_position: Vec<Option<Tensor>> = tensors.into_iter().map(Some).collect();
        let pick = |position: &usize| {
            let at = positions.binary_search(position).ok()?;
            let spec = self.signature.outputs.get(*position)?;
            Some((Arc::clone(&spec.name), by_position.get_mut(at)?.take()?))
        };
        let outputs = request.outputs().iter().filter_map(pick).collect();
        Response { model: self.id.clone(), outputs, timings }
    }

    pub(super) fn fail(&self, job: Job, error: Error) {
        let waiting = job.queued.elapsed();
        self.statistics.failed(waiting);
        self.metrics.failed(waiting, error.kind());
        let _ = job.reply.send(Err(error));
    }
}
