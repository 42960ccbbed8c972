//! One loaded version of a model.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::backend::Backend;
use crate::host::usual_turns;
use crate::image::Plan;
use crate::metrics::{Metrics, StageMetrics};
pub use crate::padding::Padding;
pub use crate::repository::ModelMemory;
pub use crate::scheduler::Slots;
use crate::scheduler::{Doubt, Gather, Queue, Refusal, Share, Shared, Tuner};
pub use crate::scheduler::{Judged, Later, Learned, Report, Trial, Tuning};
use crate::settings::Profile;
use crate::statistics::{Statistics, now_ns};
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
    elastic: bool,
    image: Option<Plan>,
    threads: Mutex<Vec<JoinHandle<()>>>,
    /// Tries a model out that serves already.
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
    /// How it takes images, if it does.
    pub image: Option<Plan>,
}

impl Parts {
    /// What callers and instances share.
    pub(crate) fn share(self, later: Option<&Later>, metrics: &Metrics) -> Shared {
        let max_batch_rows = later.map_or(self.status.max_batch_rows, |later| later.max_batch_rows);
        Shared {
            metrics: metrics.model(&self.id),
            id: self.id,
            signature: self.signature,
            settled: OnceLock::new(),
            queue: Queue::new(self.queue_capacity),
            gather: Gather::default(),
            doubt: Doubt::new(self.tuning.trusted),
            tuner: Tuner::new(max_batch_rows, &self.tuning),
            inline: self.tuning.inline,
            objective: self.tuning.objective,
            padding: self.tuning.padding,
            threads: self.status.threads.max(1),
            prepared: self.tuning.prepared,
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
        let mut parts = parts;
        let later = parts.later.take();
        let image = parts.image.take();
        let shared = Arc::new(parts.share(later.as_ref(), metrics));
        retired.watch(&shared);
        let threads = Mutex::default();
        let (loaded_ns, retired) = (now_ns(), Arc::clone(retired));
        let mut model = Self { shared, status, elastic, image, threads, trials: None, loaded_ns, retired };
        model.grow(model.status.instances.max(1))?;
        if let Some(later) = later {
            model.shared.doubt.leave_open();
            let (own, status) = (Arc::clone(&model.shared), model.status.clone());
            model.trials = Some(model.spawn("hedef-trials", move || own.try_out(later, &status))?);
        }
        Ok(model)
    }

    /// Starts instances until there are so many. Those that are too many stay and find no thread free.
    fn grow(&self, instances: usize) -> Result<(), Error> {
        let mut threads = self.threads();
        while threads.len() < instances {
            let (own, instance) = (Arc::clone(&self.shared), threads.len());
            threads.push(self.spawn("hedef-instance", move || own.work(instance))?);
            self.shared.instances.store(threads.len(), Ordering::Relaxed);
            self.shared.metrics.instances(1);
        }
        Ok(())
    }

    fn spawn(&self, name: &str, work: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>, Error> {
        let failed = |error| {
            let reason = format!("cannot start a thread: {error}");
            Error::Load { model: self.shared.id.to_string(), reason }
        };
        let run = || {
            usual_turns();
            work();
        };
        thread::Builder::new().name(name.into()).spawn(run).map_err(failed)
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
        self.shared.signature()
    }

    /// How it takes images, if it does.
    #[must_use]
    pub fn image(&self) -> Option<&Plan> {
        self.image.as_ref()
    }

    /// What it has done since it was loaded.
    #[must_use]
    pub fn statistics(&self) -> &Statistics {
        &self.shared.statistics
    }

    /// Where the stages outside the core are observed.
    #[must_use]
    pub fn stages(&self) -> &Arc<StageMetrics> {
        self.shared.metrics.stages()
    }

    /// When it last answered somebody, or was loaded, in nanoseconds since 1970.
    pub(crate) fn last_used_ns(&self) -> u64 {
        self.statistics().snapshot().last_inference_ns.max(self.loaded_ns)
    }

    /// How it runs now.
    #[must_use]
    pub fn report(&self) -> Report {
        self.shared.report()
    }

    /// Tells the metrics how long a request that comes now is expected to wait.
    pub(crate) fn observe(&self) {
        let wait = self.shared.queue.wait_ahead(self.shared.parallel());
        self.shared.metrics.predicted_wait(wait);
    }

    /// How it was loaded and how it runs.
    #[must_use]
    pub fn status(&self) -> &Status {
        self.shared.settled.get().map_or(&self.status, |settled| &settled.status)
    }

    /// Runs `request` at once where its run is short, else queues it and waits for its answer. Dropping the future
    /// cancels the request.
    pub async fn infer(&self, request: Request) -> Result<Response, Error> {
        match self.at_once(request).await {
            Ok(answer) => answer,
            Err(request) => self.queued(request).await,
        }
    }

    /// Runs `request` at once, if its run is short and nothing stands in its way, together with others that are ready at the
    /// same moment; else gives it back, to be [`queued`](Self::queued). The future is soon done: no timer need watch it.
    pub fn at_once(&self, request: Request) -> impl Future<Output = Result<Result<Response, Error>, Request>> {
        self.shared.at_once(request)
    }

    /// Queues `request` and waits for its answer. Dropping the future cancels the request.
    pub async fn queued(&self, request: Request) -> Result<Response, Error> {
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
        self.retired.take(threads.into_iter().chain(self.trials.take()).collect());
    }
}

/// Owns the instance threads of models that nobody holds any more, until they are joined; and knows of every model
/// whose threads have not ended.
#[derive(Debug, Default)]
pub struct Retired {
    threads: Mutex<Vec<JoinHandle<()>>>,
    watched: Mutex<Vec<Weak<Shared>>>,
}

/// A run that has been going on for long.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct LongRun {
    pub(crate) model: ModelId,
    pub(crate) run: u64,
    pub(crate) began: Instant,
}

impl Retired {
    fn take(&self, threads: Vec<JoinHandle<()>>) {
        self.threads.lock().unwrap_or_else(PoisonError::into_inner).extend(threads);
    }

    fn watch(&self, shared: &Arc<Shared>) {
        let mut watched = self.watched.lock().unwrap_or_else(PoisonError::into_inner);
        watched.retain(|model| model.strong_count() > 0);
        watched.push(Arc::downgrade(shared));
    }

    /// The runs on instances that began before `then`, of models that nobody holds any more too.
    pub(crate) fn running_since(&self, then: Instant) -> Vec<LongRun> {
        let watched = self.watched.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let runs = |shared: Arc<Shared>| {
            let runs = shared.queue.running_since(then).into_iter();
            runs.map(|(run, began)| LongRun { model: shared.id.clone(), run, began }).collect::<Vec<_>>()
        };
        watched.iter().filter_map(Weak::upgrade).flat_map(runs).collect()
    }

    /// Waits, at most for `limit`, until the retired threads have ended, and says whether they all have.
    pub fn join(self: &Arc<Self>, limit: Duration) -> bool {
        let threads = std::mem::take(&mut *self.threads.lock().unwrap_or_else(PoisonError::into_inner));
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
