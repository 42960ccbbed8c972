//! A device, without the thread of its queue and without HTTP: in the runtime of the test, whose clock it follows.

use std::path::Path;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, mpsc as threads};
use std::time::{Duration, Instant};

use hedef_core::backend::onnx;
use hedef_core::host::{configure_malloc, memory_limit, processor};
use hedef_core::model::Slots;
use hedef_core::repository::{Loads, OnnxLoader, Repository};
use hedef_core::runtime::{Dirs, locate};
use hedef_edge::care::{LastEnd, Working};
use hedef_edge::config::{Acknowledge, Module as Link, Output, Settings};
use hedef_edge::iotedge::identity::{Identity, Signer};
use hedef_edge::iotedge::{self, Control, Module, Surroundings, Wishes};
use hedef_edge::message::Message;
use hedef_edge::metrics::Metrics;
use hedef_edge::queue::{LaneId, LaneSettings, Place, Queue, WhenFull};
use hedef_edge::relay::{Relay, Stop};
use hedef_edge::steps::Steps;
use hedef_edge::thermal::Parallel;
use hedef_edge::updates::{Models, Opened, Opening, Trials, Watching};
use hedef_edge::watchdog::Watchdog;
use hedef_edge::worker::{Bench, Worker};
use prometheus::{Encoder, Registry, TextEncoder};
use tokio::sync::{Notify, mpsc, oneshot, watch};
use tokio::task::{JoinSet, spawn_blocking, yield_now};
use tokio_util::sync::CancellationToken;

use crate::config;
use crate::hub::Hub;

/// The bytes of disk that the queue may take.
pub(crate) const CAPACITY: u64 = 256 << 10;

/// How long a token is good for; its connection is renewed after four fifths of that.
pub(crate) const TOKEN_LIFE_S: u64 = 3600;

const INPUT: LaneId = LaneId(0);
const OUTPUTS: [LaneId; 1] = [LaneId(1)];

/// A device at work.
pub(crate) struct Device {
    queue: Queue,
    registry: Registry,
    stop: Stop,
    tasks: JoinSet<()>,
    /// A loop that is stuck ends the process.
    _watchdog: Watchdog,
}

impl Device {
    /// Starts what a module is made of.
    pub(crate) fn start(folder: &Path, hub: &Hub, certificate: &Path) -> Self {
        configure_malloc();
        let mut tasks = JoinSet::new();
        let registry = Registry::new();
        let metrics = Metrics::new(&registry).unwrap();
        let watchdog = Watchdog::start(Duration::from_secs(300), None).unwrap();
        let working = Arc::new(Working::begin(folder).unwrap());
        let (queue, work) = Queue::prepare(place(folder, working), &metrics, watchdog.beat("queue"));
        tasks.spawn(work);
        let stop = Stop { intake: CancellationToken::new(), all: CancellationToken::new() };
        let settings = settings(hub, certificate);
        let changed = Arc::new(Notify::new());
        let trials = Trials::default();
        let (repository, runtime) = repository(&settings, trials.clone());
        let opening = Opening {
            settings: &settings.updates,
            data: folder,
            roots: &settings.models,
            last_end: LastEnd::Clean,
            steps: Steps::default(),
            trials,
            metrics: metrics.clone(),
            reports: Arc::clone(&changed),
        };
        let Opened { updates, engine, chosen } = opening.open();
        repository.choose(chosen);
        repository.load_all();
        let (loaded_sender, loaded) = oneshot::channel();
        loaded_sender.send(()).unwrap();
        let models = Models { repository: Arc::clone(&repository), runtime, loaded };
        tasks.spawn(engine.run(models, stop.intake.clone()));
        let (tell, tellings) = mpsc::channel(64);
        let (news_sender, news) = mpsc::channel(64);
        let (wishes_sender, wishes) = watch::channel(Wishes::default());
        let surroundings = Surroundings {
            repository: Arc::clone(&repository),
            queue: queue.clone(),
            updates,
            changed,
            wishes: wishes_sender,
            started: Instant::now(),
        };
        tasks.spawn(Control::new(surroundings, tell).run(news, stop.intake.clone()));
        let module = Module::new(Arc::new(identity(hub)), &settings, wishes, news_sender);
        let bench = Bench {
            repository,
            queue: queue.clone(),
            input: INPUT,
            outputs: OUTPUTS.to_vec(),
            parallel: Parallel::new(settings.queue.parallel),
            count: AtomicU64::new(0),
            care: None,
            metrics: metrics.clone(),
            beat: watchdog.beat("scoring"),
        };
        tasks.spawn(Worker { bench, source: Arc::new(module.clone()) }.run(stop.intake.clone()));
        let (metrics, beat) = (metrics.link("module"), watchdog.beat("connection"));
        let (own, stopping) = (queue.clone(), stop.clone());
        tasks.spawn(async move {
            let relay = Relay {
                queue: &own,
                input: INPUT,
                outputs: &OUTPUTS,
                acknowledge: Acknowledge::default(),
                due: None,
                largest: settings.module.max_packet_bytes,
                metrics: &metrics,
                stop: &stopping,
                beat: &beat,
            };
            iotedge::run(&settings.module, module, relay, tellings).await;
        });
        Self { queue, registry, stop, tasks, _watchdog: watchdog }
    }

    /// Takes a message in, waits until it is scored, while the clock stands still, and then until it is safe.
    pub(crate) async fn take_in(&self, number: usize) {
        let (moving, still) = threads::channel::<()>();
        // The clock does not move while a thread is under way.
        let standing = spawn_blocking(move || still.recv());
        let properties = vec![("$.mid".into(), number.to_string()), ("$.ct".into(), "application/json".into())];
        let body = br#"{"data": [[5.1, 3.5, 1.4, 0.2]]}"#.to_vec();
        let message = Message { place: "input1".into(), properties, body };
        let place = self.queue.push_patiently(INPUT, message.encode().unwrap()).await.unwrap();
        while self.waiting(INPUT).await.0 > 0 {
            yield_now().await;
        }
        drop(moving);
        standing.await.unwrap().unwrap_err();
        self.queue.committed(INPUT, place).await.unwrap();
    }

    /// The answers that wait, and those that had to give way.
    pub(crate) async fn answers(&self) -> (usize, usize) {
        self.waiting(OUTPUTS[0]).await
    }

    async fn waiting(&self, lane: LaneId) -> (usize, usize) {
        let states = self.queue.states().await;
        let state = states.get(lane.0).unwrap();
        assert_eq!(state.damaged, 0);
        (state.messages.try_into().unwrap(), state.dropped.try_into().unwrap())
    }

    /// How many connections, and tries, ended in that way.
    pub(crate) fn ended(&self, outcome: &str) -> usize {
        let mut text = Vec::new();
        TextEncoder::new().encode(&self.registry.gather(), &mut text).unwrap();
        let text = String::from_utf8(text).unwrap();
        let mut lines = text.lines().filter(|line| line.starts_with("hedef_edge_connections_total{"));
        let found = lines.find(|line| line.contains(&format!("=\"{outcome}\"")));
        found.map_or(0, |line| line.rsplit_once(' ').unwrap().1.parse().unwrap())
    }

    /// Ends it in good order.
    pub(crate) async fn stop(self) {
        let Self { queue, stop, mut tasks, .. } = self;
        stop.intake.cancel();
        stop.all.cancel();
        drop(queue);
        while let Some(ended) = tasks.join_next().await {
            ended.unwrap();
        }
    }
}

fn place(folder: &Path, working: Arc<Working>) -> Place {
    let lane = |name: &str, when_full, share| {
        let name = name.into();
        LaneSettings { name, priority: 0, when_full, share, max_age: None }
    };
    let lanes = vec![lane("input", WhenFull::DropNew, 4), lane("output", WhenFull::DropOldest, 1)];
    Place { working, folder: folder.join("queue"), lanes, capacity: CAPACITY, steps: Steps::default() }
}

fn settings(hub: &Hub, certificate: &Path) -> Settings {
    let module = Link {
        port: hub.address.port(),
        websocket_port: 0,
        ca_file: Some(certificate.into()),
        token_life_s: TOKEN_LIFE_S,
        ..Link::default()
    };
    let models = vec![config::root().join("models/iris")];
    Settings { models, module, outputs: vec![Output::default()], ..Settings::default() }
}

fn identity(hub: &Hub) -> Identity {
    Identity {
        hub: "testhub.azure-devices.net".into(),
        device: "edge1".into(),
        module: "mod1".into(),
        gateway: hub.address.ip().to_string(),
        signer: Signer::Key(b"the module's key".to_vec()),
    }
}

/// The models, and the version of ONNX Runtime.
fn repository(settings: &Settings, trials: Trials) -> (Arc<Repository>, u32) {
    let root = Path::new("/");
    let located = locate(None, &Dirs::from_process()).unwrap().unwrap();
    let runtime = onnx::Runtime::start(&located.path).unwrap();
    let version = runtime.minor_version();
    let loader = OnnxLoader {
        runtime,
        slots: Arc::new(Slots::new(1)),
        memory_limit: memory_limit(root),
        processor: processor(root),
        graphs: None,
        loads: Loads::default(),
        patient: false,
    };
    let metrics = hedef_core::metrics::Metrics::new(&Registry::new()).unwrap();
    let loader = Box::new(Watching { inner: loader, trials });
    (Arc::new(Repository::new(settings.models.clone(), loader, metrics)), version)
}
