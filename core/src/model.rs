//! One loaded version of a model.

use std::sync::mpsc;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use crate::backend::Backend;
use crate::metrics::Metrics;
pub use crate::scheduler::Slots;
use crate::scheduler::queue::{Job, Queue, Refusal};
use crate::scheduler::tuner::Tuner;
use crate::scheduler::{Doubt, Shared};
pub use crate::scheduler::{Learned, Tuning};
use crate::statistics::Statistics;
use crate::{Error, ModelId, Request, Response, Signature};

/// How a model was loaded and how it runs, for people.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Status {
    /// What the model does, in its owner's words.
    pub description: Option<String>,
    /// Where it runs: `cpu`, `cuda:0` or `openvino`.
    pub device: String,
    /// Why there, what it computes in where that is not told by the model, and how many nodes run elsewhere.
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
}

/// One loaded version of a model. Dropping the last handle drains its queue and unloads it.
#[derive(Debug)]
pub struct Model {
    shared: Arc<Shared>,
    status: Status,
    threads: Vec<JoinHandle<()>>,
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
}

impl Model {
    /// Starts the instances.
    pub fn start(parts: Parts, metrics: &Metrics, retired: &Arc<Retired>) -> Result<Self, Error> {
        let shared = Arc::new(Shared {
            metrics: metrics.model(&parts.id),
            id: parts.id,
            signature: parts.signature,
            queue: Queue::new(parts.queue_capacity),
            doubt: Doubt::new(parts.tuning.trusted),
            tuner: Tuner::new(parts.status.max_batch_rows, &parts.tuning),
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
            retired: Arc::clone(retired),
        };
        for _ in 0..model.status.instances.max(1) {
            let own = Arc::clone(&shared);
            let spawned = thread::Builder::new().name("hedef-instance".into()).spawn(move || own.work());
            let failed =
                |error| Error::Load { model: shared.id.to_string(), reason: format!("cannot start a thread: {error}") };
            model.threads.push(spawned.map_err(failed)?);
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
        &self.shared.signature
    }

    /// What it has done since it was loaded.
    #[must_use]
    pub fn statistics(&self) -> &Statistics {
        &self.shared.statistics
    }

    /// What its runs have taught about batches, for rows of each size.
    #[must_use]
    pub fn learned(&self) -> Vec<Learned> {
        self.shared.tuner.learned()
    }

    /// How it was loaded and how it runs.
    #[must_use]
    pub fn status(&self) -> &Status {
        &self.status
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
        self.retired.take(std::mem::take(&mut self.threads));
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
