//! One loaded version of a model.

use std::sync::mpsc;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use crate::backend::Backend;
use crate::metrics::Metrics;
pub use crate::repository::ModelMemory;
pub use crate::scheduler::Slots;
use crate::scheduler::queue::{Job, Queue, Refusal};
use crate::scheduler::tuner::Tuner;
use crate::scheduler::{Doubt, Shared};
pub use crate::scheduler::{Judged, Later, Learned, Trial, Tuning};
use crate::statistics::{Statistics, now_ns};
use crate::{Error, ModelId, Request, Response, Signature};

/// How a model was loaded and how it runs, for people.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Status {
    /// What the model does, in its owner's words.
    pub description: Option<String>,
    /// Where it runs: `cpu` or `cuda:0`.
    pub device: String,
    /// Why there.
    pub device_reason: String,
    /// Threads that each run the model.
    pub instances: usize,
    /// Threads that one run uses.
    pub threads: usize,
    /// The most rows in one run; 0 when requests never share a run.
    pub max_batch_rows: usize,
    /// Why requests do or do not share runs.
    pub batching_reason: String,
    /// The time from the start of loading to the end of the warm-up.
    pub load_time: Duration,
    /// What that time went into.
    pub stages: LoadStages,
    /// Where its optimised graph came from, or why it is not in the graph cache.
    pub graph: String,
    /// The memory it takes.
    pub memory: ModelMemory,
}

/// The stages of loading a model.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LoadStages {
    /// Reading what the file declares.
    pub inspect: Duration,
    /// Looking for its graph in the cache.
    pub look_up: Duration,
    /// Opening the session.
    pub session: Duration,
    /// The first run.
    pub first_run: Duration,
    /// Trial runs that could not wait, and measuring the memory.
    pub trials: Duration,
}

impl std::fmt::Display for LoadStages {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let ms = |stage: Duration| stage.as_secs_f64() * 1e3;
        write!(
            f,
            "inspect {:.1}, cache {:.1}, session {:.1}, first run {:.1}, trials {:.1} ms",
            ms(self.inspect),
            ms(self.look_up),
            ms(self.session),
            ms(self.first_run),
            ms(self.trials)
        )
    }
}

/// One loaded version of a model. Dropping the last handle drains its queue and unloads it.
#[derive(Debug)]
pub struct Model {
    shared: Arc<Shared>,
    status: Status,
    threads: Vec<JoinHandle<()>>,
    trials: Option<JoinHandle<()>>,
    loaded_ns: u64,
    retired: Arc<Retired>,
}

/// What a model is started from.
pub struct Parts {
    /// Its name and version.
    pub id: ModelId,
    /// What it takes and gives, the batch axis decided.
    pub signature: Signature,
    /// What runs it, for all instances.
    pub backend: Arc<dyn Backend>,
    /// How it was loaded.
    pub status: Status,
    /// How many requests may wait.
    pub queue_capacity: usize,
    /// How runs are tuned.
    pub tuning: Tuning,
    /// The threads that all models together may keep busy.
    pub slots: Arc<Slots>,
    /// What is left to be tried while the model serves.
    pub later: Option<Later>,
}

impl Model {
    /// Starts the instances.
    pub fn start(parts: Parts, metrics: &Metrics, retired: &Arc<Retired>) -> Result<Self, Error> {
        let max_batch_rows = parts.later.as_ref().map_or(parts.status.max_batch_rows, |later| later.max_batch_rows);
        let shared = Arc::new(Shared {
            metrics: metrics.model(&parts.id),
            id: parts.id,
            signature: parts.signature,
            settled: OnceLock::new(),
            queue: Queue::new(parts.queue_capacity),
            doubt: Doubt::new(parts.tuning.trusted),
            tuner: Tuner::new(max_batch_rows, &parts.tuning),
            inline: parts.tuning.inline,
            threads: parts.status.threads.max(1),
            slots: parts.slots,
            backend: parts.backend,
            statistics: Statistics::default(),
        });
        let mut model = Self {
            shared: Arc::clone(&shared),
            status: parts.status,
            threads: Vec::new(),
            trials: None,
            loaded_ns: now_ns(),
            retired: Arc::clone(retired),
        };
        let failed =
            |error| Error::Load { model: shared.id.to_string(), reason: format!("cannot start a thread: {error}") };
        for _ in 0..model.status.instances.max(1) {
            let own = Arc::clone(&shared);
            let spawned = thread::Builder::new().name("hedef-instance".into()).spawn(move || own.work());
            model.threads.push(spawned.map_err(failed)?);
        }
        if let Some(later) = parts.later {
            shared.doubt.leave_open();
            let (own, status) = (Arc::clone(&shared), model.status.clone());
            let spawned = thread::Builder::new().name("hedef-trials".into()).spawn(move || own.try_out(later, &status));
            model.trials = Some(spawned.map_err(failed)?);
        }
        shared.metrics.instances(model.running());
        Ok(model)
    }

    /// Its name and version.
    #[must_use]
    pub fn id(&self) -> &ModelId {
        &self.shared.id
    }

    /// What it takes and gives.
    #[must_use]
    pub fn signature(&self) -> &Signature {
        self.shared.settled.get().map_or(&self.shared.signature, |settled| &settled.signature)
    }

    /// What it has done since it was loaded.
    #[must_use]
    pub fn statistics(&self) -> &Statistics {
        &self.shared.statistics
    }

    /// When it last answered somebody, or was loaded, in nanoseconds since 1970.
    pub(crate) fn last_used_ns(&self) -> u64 {
        self.statistics().snapshot().last_inference_ns.max(self.loaded_ns)
    }

    /// What its runs have taught about batches, for rows of each size.
    #[must_use]
    pub fn learned(&self) -> Vec<Learned> {
        self.shared.tuner.learned()
    }

    /// How it was loaded and how it runs.
    #[must_use]
    pub fn status(&self) -> &Status {
        self.shared.settled.get().map_or(&self.status, |settled| &settled.status)
    }

    /// Runs `request` at once where its run is short, else queues it and waits for its answer. Dropping the future
    /// cancels the request.
    pub async fn infer(&self, request: Request) -> Result<Response, Error> {
        let request = match self.shared.run_at_once(request) {
            Ok(answer) => return answer,
            Err(request) => request,
        };
        let (reply, answer) = oneshot::channel();
        let job = Job { request, reply, queued: Instant::now(), span: tracing::Span::current() };
        self.shared.queue.push(job).map_err(|refusal| self.refused(&refusal))?;
        self.shared.metrics.queue_depth(self.shared.queue.len());
        answer.await.unwrap_or_else(|_| Err(self.refused(&Refusal::Closed)))
    }

    fn refused(&self, refusal: &Refusal) -> Error {
        let model = self.shared.id.clone();
        let error = match *refusal {
            Refusal::Full(waiting) => Error::Overloaded { model, waiting },
            Refusal::Closed => Error::Unloading { model },
        };
        self.shared.metrics.failed(Duration::ZERO, error.kind());
        self.shared.statistics.failed(Duration::ZERO);
        error
    }

    fn running(&self) -> i64 {
        i64::try_from(self.threads.len()).unwrap_or(i64::MAX)
    }
}

impl Drop for Model {
    fn drop(&mut self) {
        self.shared.queue.close();
        self.shared.metrics.instances(-self.running());
        self.retired.take(self.threads.drain(..).chain(self.trials.take()).collect());
    }
}

/// Owns the instance threads of models that nobody holds any more, until they are joined.
#[derive(Debug, Default)]
pub struct Retired(Mutex<Vec<JoinHandle<()>>>);

impl Retired {
    fn take(&self, threads: Vec<JoinHandle<()>>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend(threads);
    }

    /// Waits, at most for `limit`, until the retired threads have ended, and says whether they all have.
    pub fn join(self: &Arc<Self>, limit: Duration) -> bool {
        let threads = std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        if threads.is_empty() {
            return true;
        }
        let (ended, wait) = mpsc::channel();
        let left = Arc::clone(self);
        // Joining has no time limit of its own, so another thread does it.
        let joiner = thread::spawn(move || {
            for thread in threads {
                // A thread that panicked has already answered its caller.
                let _ = thread.join();
            }
            let _ = ended.send(());
        });
        let all = wait.recv_timeout(limit).is_ok();
        if !all {
            left.take(vec![joiner]);
        }
        all
    }
}
