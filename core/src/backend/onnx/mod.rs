//! ONNX Runtime. The only folder that names `ort`, whose interface changes between releases.
//!
//! One session serves all threads: ONNX Runtime's Run may be called from many at once, and each further session would
//! hold the weights once more, in memory and in the caches. Only convolutions on CUDA need more than one (`shapes.rs`).

mod bound;
mod call;
mod cuda;
mod introspection;
mod mapped;
mod openvino;
mod outlets;
mod pinned;
mod pool;
mod session;
mod shapes;
mod strings;
mod values;
mod views;

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use ort::environment::Environment;
use ort::session::{RunOptions, Session};
use ort::value::Outlet;

use self::bound::Bound;
use self::call::Call;
use self::pinned::Pinned;
use self::shapes::Shapes;
use self::views::Value;
use super::{Backend, Joined, RunError, Stop};
use crate::cache::Map;
use crate::host::{Denormals, release_free_memory, switch_off_telemetry};
use crate::preflight::{DeclaredType, Inspection, Labels};
use crate::{Device, Error, Shape, Signature, Tensor, TensorSpec, settings};

/// ONNX Runtime itself, loaded. There is one in a process, for ever: releasing its environment crashes some
/// execution providers, so it lives in a static, which never does.
static ENVIRONMENT: OnceLock<Environment> = OnceLock::new();

/// Held while it is made.
static STARTING: Mutex<()> = Mutex::new(());

/// A loaded ONNX Runtime.
#[derive(Clone, Debug)]
pub struct Runtime {
    environment: Environment,
    library: PathBuf,
    minor_version: u32,
}

impl Runtime {
    /// Loads the library at `library`, an absolute path. Later calls return the runtime of the first.
    pub fn start(library: &Path) -> Result<Self, Error> {
        let failed = |reason: String| Error::Runtime(format!("{}: {reason}", library.display()));
        let _one_at_a_time = STARTING.lock().unwrap_or_else(PoisonError::into_inner);
        if ENVIRONMENT.get().is_none() {
            // Since 1.29 it writes a device id and reports home while the environment is made, before
            // `with_telemetry` can say no.
            switch_off_telemetry();
            let builder = ort::init_from(library).map_err(|error| failed(error.to_string()))?;
            let environment =
                builder.with_name("hedef").with_telemetry(false).build().map_err(|error| failed(error.to_string()))?;
            pool::register(&environment).map_err(|error| failed(error.to_string()))?;
            // Nobody else is here to set it.
            let _ = ENVIRONMENT.set(environment);
        }
        let environment = ENVIRONMENT.get().ok_or_else(|| failed("no environment".into()))?.clone();
        let minor_version = ort::util::probe(library).ok_or_else(|| failed("not an ONNX Runtime 1.x".into()))?;
        Ok(Self { environment, library: library.to_owned(), minor_version })
    }

    /// The 31 of version 1.31.1.
    #[must_use]
    pub const fn minor_version(&self) -> u32 {
        self.minor_version
    }

    /// Which build this is: the library's own description, and the size of its file.
    #[must_use]
    pub fn build(&self) -> String {
        let bytes = self.library.metadata().map_or(0, |facts| facts.len());
        format!("1.{}, {bytes} bytes, {}", self.minor_version, ort::info())
    }

    /// The CPU, where it is certain that a model for `device` runs there, and why.
    #[must_use]
    pub fn surely_cpu(&self, device: Device) -> Option<Placement> {
        session::surely_cpu(self, device)
    }

    /// Whether a library for CUDA lies beside ONNX Runtime's own.
    fn has_cuda(&self) -> bool {
        let names = ["libonnxruntime_providers_cuda.so", "onnxruntime_providers_cuda.dll"];
        names.iter().any(|name| self.library.with_file_name(name).exists())
    }
}

/// How to open a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionOptions {
    /// Where to run.
    pub device: Device,
    /// The threads one run uses.
    pub threads: usize,
    /// Whether the threads of one run wait for one another spinning, for a short while.
    pub spin: bool,
    /// Whether memory is kept between runs.
    pub arena: bool,
    /// Whether one block of memory is planned for a whole run; `None`: except on CUDA, whose device keeps memory anyway.
    /// There 128 callers of MiniLM were answered a tenth faster without it (measured with the arena off).
    pub memory_pattern: Option<bool>,
    /// What becomes of denormal numbers.
    pub denormals: Denormals,
    /// How many runs there are at once; OpenVINO divides its threads by it.
    pub instances: usize,
    /// What holds on CUDA devices only.
    pub cuda: settings::Cuda,
    /// What holds in OpenVINO only.
    pub openvino: settings::OpenVino,
}

impl SessionOptions {
    /// Runs of one thread that keep nothing, with the device's own defaults.
    #[must_use]
    pub fn plain(device: Device) -> Self {
        Self {
            device,
            threads: 1,
            spin: false,
            arena: false,
            memory_pattern: Some(false),
            denormals: Denormals::default(),
            instances: 1,
            cuda: settings::Cuda::default(),
            openvino: settings::OpenVino::default(),
        }
    }
}

/// What the model file says that ONNX Runtime does not tell.
#[derive(Clone, Debug, Default)]
pub struct ModelFacts {
    /// The class labels of each `ZipMap` output.
    pub zipmap_labels: HashMap<String, Vec<String>>,
    /// The inputs and outputs whose number of dimensions the file leaves open; ONNX Runtime tells a scalar of them.
    pub unranked: HashSet<String>,
}

impl ModelFacts {
    /// Takes them from the model's file.
    #[must_use]
    pub fn of(inspection: &Inspection) -> Self {
        let texts = |labels: &Labels| match labels {
            Labels::Int64(numbers) => numbers.iter().map(ToString::to_string).collect(),
            Labels::Strings(texts) => texts.clone(),
        };
        let zipmaps = inspection.zipmaps.iter().map(|zipmap| (zipmap.output.clone(), texts(&zipmap.labels)));
        let all = inspection.inputs.iter().chain(&inspection.outputs);
        let unranked = all.filter(|value| !matches!(value.r#type, DeclaredType::Tensor { shape: Some(_), .. }));
        Self { zipmap_labels: zipmaps.collect(), unranked: unranked.map(|value| value.name.clone()).collect() }
    }
}

/// Where a session runs, and why there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placement {
    /// The device; never [`Device::Auto`].
    pub device: Device,
    /// The reason in plain words.
    pub reason: String,
}

/// A model in ONNX Runtime.
#[derive(Debug)]
pub struct OnnxBackend {
    first: Lane,
    /// Further sessions of the same model, and what each of all runs; most models have none.
    more: Option<(Vec<Lane>, Shapes)>,
    /// Whether memory is kept between runs.
    keeps_memory: bool,
    signature: Signature,
    /// What the session reads its graph and weights from. It stands below the session, so that it is dropped later.
    graph: Option<Arc<Map>>,
    /// The last to go.
    _leaving: Leaving,
}

/// One session.
#[derive(Debug)]
struct Lane {
    /// Where inputs and outputs go through memory that the device reads and writes by itself. It goes before the
    /// session does.
    pinned: Option<Pinned>,
    call: Call,
}

/// Gives back what the session had in the pool once it is gone.
#[derive(Debug)]
struct Leaving;

impl Drop for Leaving {
    fn drop(&mut self) {
        pool::purge();
    }
}

impl OnnxBackend {
    /// Opens the model at `path`.
    pub fn open(
        runtime: &Runtime,
        path: &Path,
        options: &SessionOptions,
        facts: &ModelFacts,
    ) -> Result<(Self, Placement), String> {
        let (session, placement) = session::place(runtime, path, options)?;
        let pinned = pinned(&session, placement.device);
        Ok((Self::of(&session, pinned, options, facts)?, placement))
    }

    /// Opens the same model again until it has so many sessions, each of which then keeps to a shape. Ends early where
    /// the device has no room for one more.
    pub(crate) fn open_more(
        &mut self,
        runtime: &Runtime,
        path: &Path,
        options: &SessionOptions,
        device: Device,
        sessions: usize,
    ) {
        let options = SessionOptions { device, ..options.clone() };
        let lane = || {
            let (session, placement) = session::place(runtime, path, &options)?;
            let pinned = pinned(&session, placement.device);
            Ok::<_, String>(Lane { pinned, call: Call::new(&session, options.denormals)? })
        };
        let mut more = Vec::new();
        while more.len() + 1 < sessions {
            match lane() {
                Ok(lane) => more.push(lane),
                Err(reason) => {
                    // What it took may be what a run needs.
                    more.pop();
                    tracing::warn!(sessions = more.len() + 1, reason, "no further session can be opened");
                    break;
                }
            }
        }
        if !more.is_empty() {
            let shapes = Shapes::new(more.len() + 1);
            self.more = Some((more, shapes));
        }
    }

    /// Lets go of all sessions but one; `false` if it has no others.
    pub(crate) fn keep_one(&mut self) -> bool {
        self.more.take().is_some()
    }

    /// The session that inputs of these shapes go to.
    fn lane<'s>(&self, inputs: impl Iterator<Item = &'s Shape> + Clone) -> &Lane {
        let Some((more, shapes)) = &self.more else { return &self.first };
        let further = shapes.session_for(inputs).checked_sub(1).and_then(|at| more.get(at));
        further.unwrap_or(&self.first)
    }

    /// The session's runs through memory that its device reads and writes, where there is such memory.
    fn bound<'b>(&'b self, lane: &'b Lane) -> Option<Bound<'b>> {
        let pinned = lane.pinned.as_ref()?;
        Some(Bound { signature: &self.signature, call: &lane.call, pinned })
    }

    fn of(
        session: &Session,
        pinned: Option<Pinned>,
        options: &SessionOptions,
        facts: &ModelFacts,
    ) -> Result<Self, String> {
        let spec = |outlet: &Outlet| outlets::spec(outlet, facts);
        let inputs = session.inputs().iter().map(spec).collect::<Result<Vec<_>, _>>();
        let outputs = session.outputs().iter().map(spec).collect::<Result<Vec<_>, _>>();
        let signature = Signature {
            inputs: inputs.map_err(|reason| format!("input {reason}"))?,
            outputs: outputs.map_err(|reason| format!("output {reason}"))?,
            batch_axis: false,
        };
        if let Some(labelled) = signature.inputs.iter().find(|spec| spec.labels.is_some()) {
            return Err(format!("input `{}` is a sequence of maps, which Hedef does not take", labelled.name));
        }
        let call = Call::new(session, options.denormals)?;
        let first = Lane { pinned, call };
        Ok(Self { first, more: None, keeps_memory: options.arena, signature, graph: None, _leaving: Leaving })
    }
}

impl Backend for OnnxBackend {
    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn run(&self, inputs: &[&Tensor], outputs: &[usize], stop: Option<&Stop>) -> Result<Vec<Tensor>, RunError> {
        let lane = self.lane(inputs.iter().map(|tensor| tensor.shape()));
        if let Some(bound) = self.bound(lane) {
            return bound.run(inputs, outputs, stop);
        }
        let options = stop.map(stoppable).transpose()?;
        let found = lane.call.run(inputs, outputs, options.as_deref()).map_err(|error| refusal(error, stop))?;
        if self.keeps_memory {
            pool::tidy();
        }
        let specs = outputs.iter().filter_map(|position| self.signature.outputs.get(*position));
        let tensor = |(spec, value): (_, Option<Value>)| value.ok_or_else(|| missing(spec))?.tensor(spec);
        specs.zip(found).map(tensor).collect()
    }

    fn join<'b>(&'b self, columns: &[Vec<&Tensor>]) -> Option<Joined<'b>> {
        self.bound(&self.first)?;
        let shapes = columns.iter().map(|parts| Tensor::joined_shape(parts)).collect::<Option<Vec<_>>>()?;
        self.bound(self.lane(shapes.iter()))?.join(columns, &shapes)
    }

    fn rest(&self) {
        if self.keeps_memory {
            pool::purge();
            release_free_memory();
        }
    }
}

/// Memory that the device reads and writes by itself, for a session there.
fn pinned(session: &Session, device: Device) -> Option<Pinned> {
    match device {
        Device::Cuda(number) => cuda::pinned(session, number),
        Device::Auto | Device::Cpu | Device::OpenVino => None,
    }
}

/// Why a run that `stop` could end failed.
fn refusal(error: ort::Error, stop: Option<&Stop>) -> RunError {
    if stop.is_some_and(Stop::is_stopped) { RunError::Stopped } else { values::refusal(error) }
}

fn missing(spec: &TensorSpec) -> RunError {
    RunError::Runtime(format!("output `{}` is missing", spec.name))
}

/// Options for a run that `stop` can end.
fn stoppable(stop: &Stop) -> Result<Arc<RunOptions>, RunError> {
    let options = Arc::new(RunOptions::new().map_err(values::refusal)?);
    let own = Arc::clone(&options);
    // A run that cannot be told to end goes on to its end.
    if stop.arm(move || drop(own.terminate())) { Ok(options) } else { Err(RunError::Stopped) }
}

#[cfg(test)]
mod tests;
