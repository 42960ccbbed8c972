//! One loaded version of a model.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::backend::Backend;
use crate::metrics::Metrics;
pub use crate::padding::Padding;
pub use crate::scheduler::Slots;
use crate::scheduler::{Doubt, Queue, Refusal, Share, Shared, Tuner};
pub use crate::scheduler::{Learned, Report, Tuning};
use crate::settings::Profile;
use crate::statistics::Statistics;
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
    /// What its threads are for.
    pub profile: Profile,
    /// Threads that each run the model, at the start.
    pub instances: usize,
    /// Threads that one run uses.
    pub threads: usize,
    /// The most rows in one run; 0 when requests never share a run.
    pub max_batch_rows: usize,
    /// Why requests do or do not share runs.
    pub batching_reason: String,
    /// How requests of different lengths share runs, if they do.
    pub padding: Option<String>,
    /// The time from the start of loading to the end of the warm-up.
    pub load_time: Duration,
}

/// One loaded version of a model. Dropping the last handle drains its queue and unloads it.
#[derive(Debug)]
pub struct Model {
    shared: Arc<Shared>,
    status: Status,
    elastic: bool,
    threads: Mutex<Vec<JoinHandle<()>>>,
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

impl Parts {
    /// What callers and instances share.
    pub(crate) fn share(self, metrics: &Metrics) -> Shared {
        Shared {
            metrics: metrics.model(&self.id),
            id: self.id,
            signature: self.signature,
            queue: Queue::new(self.queue_capacity),
            doubt: Doubt::new(self.tuning.trusted),
            tuner: Tuner::new(self.status.max_batch_rows, &self.tuning),
            inline: self.tuning.inline,
            objective: self.tuning.objective,
            padding: self.tuning.padding,
            threads: self.status.threads.max(1),
            works_alone: self.status.threads == 1 && self.status.device == "cpu",
            instances: AtomicUsize::new(0),
            share: Share::new(&self.slots),
            backend: self.backend,
            statistics: Statistics::default(),
        }
    }
}

impl Model {
    /// Starts the instances.
    pub fn start(parts: Parts, metrics: &Metrics, retired: &Arc<Retired>) -> Result<Self, Error> {
        let (status, elastic) = (parts.status.clone(), parts.tuning.elastic);
        let shared = Arc::new(parts.share(metrics));
        let model = Self { shared, status, elastic, threads: Mutex::default(), retired: Arc::clone(retired) };
        model.grow(model.status.instances.max(1))?;
        Ok(model)
    }

    /// Starts instances until there are so many. Those that are too many stay and find no thread free.
    fn grow(&self, instances: usize) -> Result<(), Error> {
        let mut threads = self.threads();
        while threads.len() < instances {
            let own = Arc::clone(&self.shared);
            let spawned = thread::Builder::new().name("hedef-instance".into()).spawn(move || own.work());
            let failed = |error| {
                let reason = format!("cannot start a thread: {error}");
                Error::Load { model: self.shared.id.to_string(), reason }
            };
            threads.push(spawned.map_err(failed)?);
            self.shared.instances.store(threads.len(), Ordering::Relaxed);
            self.shared.metrics.instances(1);
        }
        Ok(())
    }

    /// Lets so many instances run where the model's owner left the number to the machine, whose processors have become
    /// more or fewer.
    pub(crate) fn follow(&self, processors: usize) {
        if self.elastic
            && let Err(error) = self.grow(processors)
        {
            tracing::warn!(model = %self.shared.id, "{error}");
        }
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

    /// How it runs now.
    #[must_use]
    pub fn report(&self) -> Report {
        self.shared.report()
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
        let (_ticket, answer) = self.shared.enqueue(request)?;
        answer.await.unwrap_or_else(|_| Err(self.shared.refused(&Refusal::Closed)))
    }

    /// Fails where a request that is due at `deadline` would be refused whatever it brings, so that nobody reads it for
    /// nothing.
    pub fn admits(&self, deadline: Option<Instant>) -> Result<(), Error> {
        self.shared.admits(deadline)
    }

    /// The list stays whole even if a thread died while it held the lock.
    fn threads(&self) -> MutexGuard<'_, Vec<JoinHandle<()>>> {
        self.threads.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Model {
    fn drop(&mut self) {
        self.shared.queue.close();
        let threads = std::mem::take(&mut *self.threads());
        self.shared.metrics.instances(-i64::try_from(threads.len()).unwrap_or(i64::MAX));
        self.retired.take(threads);
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
