//! An app over models that need no runtime, for the tests of this crate.

use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use axum::body::Body;
use hedef_core::backend::{Backend, RunError, Stop};
use hedef_core::metrics::Metrics as CoreMetrics;
use hedef_core::model::{Parts as ModelParts, Slots, Status, Tuning};
use hedef_core::repository::{Load, Repository, Version};
use hedef_core::{DataType, Dim, Signature, Tensor, TensorSpec};
use http::Request;
use http_body_util::BodyExt;
use prometheus::Registry;

use crate::access::Access;
use crate::app::{App, Parts};
use crate::config::{Config, Drain, Settings};
use crate::lifecycle::Lifecycle;
use crate::metrics::Metrics;
use crate::middleware::answer::Answered;
use crate::middleware::{Flood, Site};
use crate::room::Budget;
use crate::router;
use crate::traces::{Exporter, Traces};

/// Opens once; runs of the model `gated` wait for it.
#[derive(Debug, Default)]
pub(crate) struct Gate {
    state: Mutex<GateState>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct GateState {
    open: bool,
    reached: bool,
}

impl Gate {
    pub(crate) fn open(&self) {
        self.state.lock().unwrap().open = true;
        self.changed.notify_all();
    }

    /// Waits until a run has come to the gate.
    pub(crate) fn wait_until_reached(&self) {
        drop(self.changed.wait_while(self.state.lock().unwrap(), |state| !state.reached).unwrap());
    }

    fn pass(&self) {
        let mut state = self.state.lock().unwrap();
        state.reached = true;
        self.changed.notify_all();
        drop(self.changed.wait_while(state, |state| !state.open).unwrap());
    }
}

/// An app, and what keeps it alive.
pub(crate) struct House {
    pub(crate) app: App,
    pub(crate) gate: Arc<Gate>,
    _root: tempfile::TempDir,
    /// What would send the spans of what was traced.
    pub(crate) exporter: Option<Exporter>,
}

/// An app that serves `double` (versions 1 and 3), `gated`, and `failing`; `broken` cannot be loaded.
pub(crate) fn house(change: impl FnOnce(&mut Settings)) -> House {
    house_of(&["double/1", "double/3", "gated/1", "failing/1", "broken/1"], change)
}

/// An app that serves these models.
pub(crate) fn house_of(models: &[&str], change: impl FnOnce(&mut Settings)) -> House {
    let root = tempfile::tempdir().unwrap();
    for model in models {
        let folder = root.path().join(model);
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("model.onnx"), b"fake").unwrap();
        std::fs::write(folder.join("../model.toml"), b"versions = \"all\"\n").unwrap();
    }
    let gate = Arc::new(Gate::default());
    let registry = Registry::new();
    let loader = Box::new(Fakes(Arc::clone(&gate)));
    let repository = Repository::new(vec![root.path().into()], loader, CoreMetrics::new(&registry).unwrap());
    repository.load_all();
    let drain = Drain { lame_duck: Duration::ZERO, linger: Duration::from_millis(50), grace: Duration::from_secs(10) };
    let mut settings = Settings { listen: "127.0.0.1:0".parse().unwrap(), drain, ..Settings::default() };
    change(&mut settings);
    let config = Config::new(settings).unwrap();
    let metrics = Metrics::new(registry).unwrap();
    let traces = config.traces.as_ref().map(|traces| Traces::new(traces, &metrics).unwrap());
    let (traces, exporter) = traces.unzip();
    let app = App::from(Parts {
        access: Access::open(&config.credentials, config.admin).unwrap(),
        memory: Budget::new(config.caps.request_memory),
        config,
        repository: Arc::new(repository),
        metrics,
        traces,
        lifecycle: Lifecycle::default(),
        refusals: Flood::new(1),
        failures: Flood::new(100),
    });
    House { app, gate, _root: root, exporter }
}

impl House {
    pub(crate) fn site(&self) -> Site {
        router::new(self.app.clone())
    }

    /// Sends one request through the whole stack.
    pub(crate) async fn send(&self, request: Request<impl Into<Body>>) -> Answer {
        Answer::read(self.site().answer(request.map(Into::into)).await).await
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.send(Request::get(path).body(Body::empty()).unwrap()).await
    }

    pub(crate) async fn post(&self, path: &str, body: impl Into<Body>) -> Answer {
        self.send(Request::post(path).body(body).unwrap()).await
    }
}

/// An answer, read whole.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: http::HeaderMap,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) async fn read(answered: Answered) -> Self {
        let (parts, body) = answered.whole().into_parts();
        let body = body.collect().await.unwrap().to_bytes().to_vec();
        Self { status: parts.status.as_u16(), headers: parts.headers, body }
    }

    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {:?}", self.text()))
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }
}

struct Fakes(Arc<Gate>);

impl Load for Fakes {
    fn load(&self, version: &Version<'_>) -> Result<ModelParts, String> {
        let behaviour = match version.id.name.as_str() {
            "gated" => Behaviour::Gated(Arc::clone(&self.0)),
            "failing" => Behaviour::Failing,
            "broken" => return Err("it is not an ONNX file".into()),
            _ => Behaviour::Doubling,
        };
        let queue_capacity = if matches!(behaviour, Behaviour::Gated(_)) { 2 } else { 64 };
        let spec = |name| TensorSpec::new(name, DataType::Fp32, Some(vec![Dim::Free, Dim::Fixed(2)]));
        let signature = Signature { inputs: vec![spec("x")], outputs: vec![spec("y")], batch_axis: true };
        let backend = Fake { signature: signature.clone(), behaviour };
        Ok(ModelParts {
            id: version.id.clone(),
            signature,
            backend: Arc::new(backend),
            status: Status { max_batch_rows: 8, instances: 1, threads: 1, device: "cpu".into(), ..Status::default() },
            queue_capacity,
            tuning: Tuning { fixed: true, ..Tuning::default() },
            slots: Arc::new(Slots::new(4)),
            later: None,
            image: None,
        })
    }
}

#[derive(Debug)]
enum Behaviour {
    Doubling,
    Gated(Arc<Gate>),
    Failing,
}

#[derive(Debug)]
struct Fake {
    signature: Signature,
    behaviour: Behaviour,
}

impl Backend for Fake {
    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn run(&self, inputs: &[&Tensor], outputs: &[usize], _: Option<&Stop>) -> Result<Vec<Tensor>, RunError> {
        match &self.behaviour {
            Behaviour::Doubling => {}
            Behaviour::Gated(gate) => gate.pass(),
            Behaviour::Failing => return Err(RunError::Runtime("the secret reason".into())),
        }
        let doubled = |tensor: &&Tensor| {
            let elements = tensor.elements::<f32>().unwrap().iter().map(|x| x * 2.0).collect();
            Tensor::from_elements(tensor.shape().clone(), elements).unwrap()
        };
        Ok(outputs.iter().map(|_| doubled(&inputs[0])).collect())
    }
}
