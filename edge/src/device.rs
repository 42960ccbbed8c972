//! The device, put together: models, queue, HTTP and connections, from the start to the clean stop.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::thread;
use std::time::{Duration, Instant};

use hedef_core::backend::onnx;
use hedef_core::host::{Cpus, configure_malloc, memory_limit, processor};
use hedef_core::model::Slots;
use hedef_core::repository::{Budget, Loads, OnnxLoader, OverBudget, QuotaWatcher, Repository, RunWatcher};
use hedef_core::runtime::{Dirs, locate};
use hedef_server::{AzureSettings, Config, Drain, Server};
use prometheus::Registry;
use tokio::sync::{Notify, mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant as Moment, sleep, timeout_at};
use tokio_util::sync::CancellationToken;

use crate::broker::{self, Routes};
use crate::care::{LastEnd, Working};
use crate::config::{Acknowledge, Output, Settings};
use crate::iotedge::identity::Identity;
use crate::iotedge::{self, Control, Surroundings, Wishes};
use crate::metrics::{LinkMetrics, Metrics};
use crate::queue::{LaneId, LaneSettings, Place, Queue, WhenFull};
use crate::relay::{Relay, Stop};
use crate::steps::Steps;
use crate::thermal::Parallel;
use crate::updates::{Engine, Models, Opened, Opening, Trials, Updates, Watching};
use crate::watchdog::{Beat, Watchdog};
use crate::worker::{Bench, Worker};

/// How often the processors that this process may use are counted again.
const QUOTA_INTERVAL: Duration = Duration::from_secs(30);

/// A run that takes longer is beyond help.
const STUCK_AFTER: Duration = Duration::from_secs(120);

/// How often the runs under way are looked at.
const STUCK_INTERVAL: Duration = Duration::from_secs(5);

/// How often it is asked whether a run is stuck.
const WATCH_INTERVAL: Duration = Duration::from_secs(10);

/// How long the parts of a stop may take, counted from its begin. Containers are killed after ten seconds.
const LAST_SCORES: Duration = Duration::from_secs(3);
const LAST_WORDS: Duration = Duration::from_millis(6500);
const LAST_REQUESTS: Duration = Duration::from_secs(7);
const LAST_BYTES: Duration = Duration::from_millis(7800);

/// The part of the queue that what came by one connection may fill: a quarter.
const INPUT_SHARE: u64 = 4;

/// What may wait to be told about twin and methods, each way.
const TELLINGS: usize = 64;

/// Why there is no device.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say what the fields are")]
pub enum StartError {
    #[error(transparent)]
    Model(#[from] hedef_core::Error),
    #[error(transparent)]
    Runtime(#[from] hedef_core::runtime::RuntimeError),
    #[error("ONNX Runtime is not here: set HEDEF_ONNXRUNTIME to its library, or put it beside the executable")]
    NoRuntime,
    #[error("settings: {0}")]
    Config(#[from] hedef_server::InvalidConfig),
    #[error(transparent)]
    Server(#[from] hedef_server::StartError),
    #[error("the metrics cannot be declared: {0}")]
    Metrics(#[from] prometheus::Error),
    #[error("the data in {folder}: {source}")]
    Data { folder: String, source: std::io::Error },
    #[error("{0}")]
    Io(#[from] std::io::Error),
}

/// A device whose ports are taken.
pub struct Device {
    settings: Settings,
    repository: Arc<Repository>,
    queue: Queue,
    queue_thread: thread::JoinHandle<()>,
    broker: Option<Lanes>,
    module: Option<(Arc<Identity>, Lanes)>,
    metrics: Metrics,
    working: Arc<Working>,
    updates: (Updates, Engine),
    /// Told when there is something to tell of models.
    changed: Arc<Notify>,
    /// The 22 of ONNX Runtime 1.22.
    runtime: u32,
    server: Server,
    watchers: (RunWatcher, QuotaWatcher),
    watchdog: Watchdog,
}

/// The lanes of one connection.
#[derive(Clone, Debug)]
struct Lanes {
    input: LaneId,
    outputs: Vec<LaneId>,
}

impl Lanes {
    /// Adds the lanes of the connection `name` to `all`.
    fn add(name: &str, settings: &Settings, all: &mut Vec<LaneSettings>) -> Self {
        let first = all.len();
        // What came is never given up: who sends it keeps it until there is room. It leaves room for its answers.
        let when_full = WhenFull::DropNew;
        let max_age = settings.queue.max_age_ms.map(Duration::from_millis);
        all.push(LaneSettings { name: format!("{name}-input"), priority: 0, when_full, share: INPUT_SHARE, max_age });
        all.extend(settings.outputs.iter().map(|output| LaneSettings {
            name: format!("{name}-output-{}", output.name),
            priority: output.priority,
            when_full: output.when_full,
            share: 1,
            max_age: None,
        }));
        Self { input: LaneId(first), outputs: (first + 1..all.len()).map(LaneId).collect() }
    }

    /// The lanes of answers, the important first.
    fn in_order(&self, outputs: &[Output]) -> Vec<LaneId> {
        let mut lanes: Vec<_> =
            outputs.iter().map(|output| output.priority).zip(self.outputs.iter().copied()).collect();
        lanes.sort_unstable_by_key(|(priority, lane)| (*priority, lane.0));
        lanes.into_iter().map(|(_, lane)| lane).collect()
    }
}

impl Device {
    /// Opens the queue, starts ONNX Runtime and takes the ports. No model is loaded yet.
    pub async fn start(settings: Settings) -> Result<Self, StartError> {
        let failed = |source| StartError::Data { folder: settings.data.display().to_string(), source };
        let working = Arc::new(Working::begin(&settings.data).map_err(failed)?);
        let sign = Arc::clone(&working);
        Self::assemble(settings, working).await.inspect_err(|_| {
            // Nothing worked yet, so this is no crash.
            if sign.last_end() == LastEnd::Clean {
                sign.end();
            }
        })
    }

    async fn assemble(settings: Settings, working: Arc<Working>) -> Result<Self, StartError> {
        let registry = Registry::new();
        let metrics = Metrics::new(&registry)?;
        let mut lanes = Vec::new();
        let broker = settings.broker.is_some().then(|| Lanes::add("broker", &settings, &mut lanes));
        let module =
            settings.identity.clone().map(|identity| (Arc::new(identity), Lanes::add("module", &settings, &mut lanes)));
        let folder = settings.data.join("queue");
        let capacity = u64::from(settings.queue.capacity_mib) << 20;
        let changed = Arc::new(Notify::new());
        let watchdog = Watchdog::start(Duration::from_secs(settings.watchdog_s), settings.stalled.clone())?;
        let steps = Steps::ending_at(settings.end_at.clone());
        let place = Place { working: Arc::clone(&working), folder, lanes, capacity, steps: steps.clone() };
        let (queue, queue_thread) = Queue::open(place, &metrics, watchdog.beat("queue"))?;
        let core_metrics = hedef_core::metrics::Metrics::new(&registry)?;
        let (loader, slots) = loader(&settings)?;
        let budget =
            settings.memory_budget_mib.map(|mib| Budget { bytes: u64::from(mib) << 20, over: OverBudget::Refuse });
        let runtime = loader.runtime.minor_version();
        let trials = Trials::default();
        let loader = Box::new(Watching { inner: loader, trials: trials.clone() });
        let repository = Repository::new(settings.models.clone(), loader, core_metrics);
        let repository = Arc::new(repository.with_budget(budget));
        let watchers = (
            RunWatcher::start(Arc::clone(&repository), STUCK_AFTER, STUCK_INTERVAL)?,
            QuotaWatcher::start(Arc::clone(&repository), slots, "/".into(), QUOTA_INTERVAL)?,
        );
        let config = Config::new(server_settings(&settings))?;
        let server = Server::bind(config, Arc::clone(&repository), registry).await?;
        let opening = Opening {
            settings: &settings.updates,
            data: &settings.data,
            roots: &settings.models,
            last_end: working.last_end(),
            steps,
            trials,
            metrics: metrics.clone(),
            reports: Arc::clone(&changed),
        };
        let Opened { updates, engine, chosen } = opening.open();
        repository.choose(chosen);
        let updates = (updates, engine);
        Ok(Self {
            settings,
            repository,
            queue,
            queue_thread,
            broker,
            module,
            metrics,
            working,
            updates,
            changed,
            runtime,
            server,
            watchers,
            watchdog,
        })
    }

    /// The addresses that HTTP is spoken on, and what for.
    pub fn addresses(&self) -> impl Iterator<Item = (std::net::SocketAddr, Option<&'static str>)> {
        self.server.addresses()
    }

    /// Loads the models and works until `stop`. Returns whether everything that was begun was finished.
    pub async fn run(self, stop: impl Future<Output = ()>) -> bool {
        let Self {
            settings,
            repository,
            queue,
            queue_thread,
            broker,
            module,
            metrics,
            working,
            server,
            watchers,
            watchdog,
            ..
        } = self;
        let (changed, (updates, engine)) = (self.changed, self.updates);
        let stopping = Stop { intake: CancellationToken::new(), all: CancellationToken::new() };
        let (loaded_sender, loaded) = oneshot::channel();
        // What waits in the queue is not to be told that its model is unknown.
        let known = Arc::clone(&repository);
        let _ = tokio::task::spawn_blocking(move || known.refresh()).await;
        let loading = {
            let (repository, changed) = (Arc::clone(&repository), Arc::clone(&changed));
            tokio::task::spawn_blocking(move || {
                repository.load_all();
                changed.notify_one();
                // On the way to the end nobody waits for it.
                let _ = loaded_sender.send(());
            })
        };
        let http = tokio::spawn(server.serve(stopping.intake.clone().cancelled_owned()));
        let (mut workers, mut connections) = (JoinSet::new(), JoinSet::new());
        let models = Models { repository: Arc::clone(&repository), runtime: self.runtime, loaded };
        workers.spawn(engine.run(models, stopping.intake.clone()));
        let parallel = Parallel::new(settings.queue.parallel);
        metrics.heat(None, parallel.get());
        if let Some(thermal) = settings.thermal.clone() {
            workers.spawn(thermal.follow(parallel.clone(), metrics.clone(), stopping.intake.clone()));
        }
        let worker = |lanes: &Lanes, name| Bench {
            repository: Arc::clone(&repository),
            queue: queue.clone(),
            input: lanes.input,
            outputs: lanes.outputs.clone(),
            parallel: parallel.clone(),
            count: AtomicU64::new(0),
            care: working.care(name),
            metrics: metrics.clone(),
            beat: watchdog.beat(&format!("{name}-scoring")),
        };
        if let (Some(lanes), Some(broker)) = (broker, settings.broker.clone()) {
            let routes = Routes::new(&broker, &settings);
            workers.spawn(
                Worker { bench: worker(&lanes, "broker"), source: Arc::new(routes.clone()) }
                    .run(stopping.intake.clone()),
            );
            let ends = Ends::new(
                &settings,
                &lanes,
                broker.max_packet_bytes,
                metrics.link("broker"),
                watchdog.beat("broker-connection"),
            );
            let (queue, stop) = (queue.clone(), stopping.clone());
            connections.spawn(async move { broker::run(&broker, routes, ends.relay(&queue, &stop)).await });
        }
        if let Some((identity, lanes)) = module {
            let (tell, tellings) = mpsc::channel(TELLINGS);
            let (news_sender, news) = mpsc::channel(TELLINGS);
            let (wishes_sender, wishes) = watch::channel(Wishes::default());
            let surroundings = Surroundings {
                repository: Arc::clone(&repository),
                queue: queue.clone(),
                updates,
                changed,
                wishes: wishes_sender,
                started: Instant::now(),
            };
            let own = settings.module.clone();
            let module = iotedge::Module::new(identity, &settings, wishes, news_sender);
            workers.spawn(
                Worker { bench: worker(&lanes, "module"), source: Arc::new(module.clone()) }
                    .run(stopping.intake.clone()),
            );
            workers.spawn(Control::new(surroundings, tell).run(news, stopping.intake.clone()));
            let ends = Ends::new(
                &settings,
                &lanes,
                own.max_packet_bytes,
                metrics.link("module"),
                watchdog.beat("module-connection"),
            );
            let (queue, stop) = (queue.clone(), stopping.clone());
            connections.spawn(async move { iotedge::run(&own, module, ends.relay(&queue, &stop), tellings).await });
        }
        let network = watchdog.beat("network");
        let well = tokio::select! {
            () = stop => true,
            reason = fault(&repository, &network, &mut workers, &mut connections) => {
                tracing::error!("{reason}: the process has to be replaced");
                false
            }
        };
        drop(network);
        tracing::info!("stopping: nothing is taken in any more, what was begun is finished");
        let begun = Moment::now();
        repository.stop_loading();
        stopping.intake.cancel();
        let scored = join(workers, begun + LAST_SCORES).await;
        stopping.all.cancel();
        let said = join(connections, begun + LAST_WORDS).await;
        let answered =
            timeout_at(begun + LAST_REQUESTS, http).await.is_ok_and(|http| http.is_ok_and(|http| http.abandoned == 0));
        drop(queue);
        let last = async {
            let loaded = loading.await.is_ok();
            drop(watchers);
            let closed = tokio::task::spawn_blocking(move || repository.close(Duration::from_secs(1))).await;
            // The last commit.
            let committed = tokio::task::spawn_blocking(move || queue_thread.join().is_ok()).await;
            loaded && closed.unwrap_or(false) && committed.unwrap_or(false)
        };
        let closed = timeout_at(begun + LAST_BYTES, last).await.unwrap_or(false);
        if well {
            working.end();
        }
        well && scored && said && answered && closed
    }
}

/// Ready with the reason when the device is beyond help: nobody but who starts it anew can help then.
async fn fault(
    repository: &Repository,
    beat: &Beat,
    workers: &mut JoinSet<()>,
    connections: &mut JoinSet<()>,
) -> &'static str {
    let stuck = async {
        while repository.is_live() {
            beat.during(sleep(WATCH_INTERVAL)).await;
        }
    };
    tokio::select! {
        () = stuck => "a run of a model does not come to an end",
        Some(_) = workers.join_next() => "messages are not scored, or models not updated, any more",
        Some(_) = connections.join_next() => "a connection is not kept any more",
    }
}

/// What a connection is between.
struct Ends {
    input: LaneId,
    outputs: Vec<LaneId>,
    acknowledge: Acknowledge,
    largest: usize,
    metrics: LinkMetrics,
    beat: Beat,
}

impl Ends {
    fn new(settings: &Settings, lanes: &Lanes, largest: usize, metrics: LinkMetrics, beat: Beat) -> Self {
        let acknowledge = settings.queue.acknowledge;
        Self { input: lanes.input, outputs: lanes.in_order(&settings.outputs), acknowledge, largest, metrics, beat }
    }

    const fn relay<'r>(&'r self, queue: &'r Queue, stop: &'r Stop) -> Relay<'r> {
        Relay {
            queue,
            input: self.input,
            outputs: self.outputs.as_slice(),
            acknowledge: self.acknowledge,
            due: None,
            largest: self.largest,
            metrics: &self.metrics,
            stop,
            beat: &self.beat,
        }
    }
}

/// Waits for tasks, and gives those up that take longer.
async fn join(mut tasks: JoinSet<()>, limit: Moment) -> bool {
    let all = async {
        let mut well = true;
        while let Some(ended) = tasks.join_next().await {
            well &= ended.is_ok();
        }
        well
    };
    timeout_at(limit, all).await.unwrap_or(false)
}

/// Finds and starts ONNX Runtime.
pub(crate) fn loader(settings: &Settings) -> Result<(OnnxLoader, Arc<Slots>), StartError> {
    configure_malloc();
    let root = Path::new("/");
    let cpus = Cpus::measure(root);
    tracing::info!(threads = cpus.threads, "threads for models: {}", cpus.reason);
    let located = locate(settings.onnxruntime.as_deref(), &Dirs::from_process())?.ok_or(StartError::NoRuntime)?;
    tracing::info!(path = %located.path.display(), "ONNX Runtime found {}", located.source);
    let runtime = onnx::Runtime::start(&located.path)?;
    let slots = Arc::new(Slots::new(cpus.threads.get()));
    let loader = OnnxLoader {
        runtime,
        slots: Arc::clone(&slots),
        memory_limit: memory_limit(root),
        processor: processor(root),
        graphs: None,
        loads: Loads::default(),
        patient: false,
    };
    Ok((loader, slots))
}

fn server_settings(settings: &Settings) -> hedef_server::Settings {
    hedef_server::Settings {
        listen: settings.http.listen,
        metrics_listen: Some(settings.http.metrics_listen),
        azure: AzureSettings { score_model: settings.model.clone(), ..AzureSettings::default() },
        // Nobody balances load between devices, so nobody has to notice.
        drain: Drain { lame_duck: Duration::ZERO, linger: Duration::from_millis(100), grace: Duration::from_secs(5) },
        ..hedef_server::Settings::default()
    }
}
