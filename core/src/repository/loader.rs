//! From files to a model that has run once.

use std::fs;
use std::path::{Component, Path};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::memory::{Loads, ModelMemory};
use super::opening::{Opened, Opening};
use super::trials::{Trials, most_rows};
use super::{Load, Version};
use crate::backend::Backend;
use crate::backend::onnx::{ModelFacts, Runtime, SessionOptions};
use crate::cache::{GraphCache, Key};
use crate::image::Plan;
use crate::model::{Judged, LoadStages, Padding, Parts, Slots, Status, Tuning};
use crate::padding::prove;
use crate::preflight::{self, Inspection, Limits};
use crate::runtime::unreleased_opsets_allowed;
use crate::settings::{Profile, Settings};
use crate::verdict::Verdict;
use crate::warm_up::First;
use crate::{Device, Signature, warm_up};

const DEFAULT_QUEUE_CAPACITY: usize = 1024;
/// Models of so many bytes of weights keep memory between runs: fetching it anew for each took up to half of a
/// convolutional network's time. The runs of smaller ones are over before one could wait for another's lock.
const LARGE: u64 = 1 << 20;
/// Runs at once on a CUDA device: on an H200 four did 1.3 to 2.4 times the work of one, and eight up to a fifth more.
const CUDA_INSTANCES: usize = 4;

/// Loads models into ONNX Runtime.
#[derive(Debug)]
pub struct OnnxLoader {
    /// The loaded ONNX Runtime.
    pub runtime: Runtime,
    /// The processors that all models together may use, to be counted out to runs.
    pub slots: Arc<Slots>,
    /// The memory this process may use, in bytes.
    pub memory_limit: Option<u64>,
    /// What the processor can do.
    pub processor: String,
    /// Optimised graphs from earlier starts.
    pub graphs: Option<Arc<GraphCache>>,
    /// The loads under way.
    pub loads: Loads,
    /// Whether a model is loaded only when all is known of it. Otherwise trials of one whose runs take long go on
    /// while it serves.
    pub patient: bool,
}

impl Load for OnnxLoader {
    fn load(&self, version: &Version<'_>) -> Result<Parts, String> {
        let started = Instant::now();
        let growth = self.loads.begin();
        let settings = version.settings;
        let inspection = preflight::check(version.file, &self.limits()).map_err(|error| error.to_string())?;
        let facts = ModelFacts::of(&inspection);
        let options = self.options(settings, &inspection);
        let inspected = Instant::now();
        let opening = Opening { version, inspection: &inspection, options: &options, facts: &facts };
        let Opened { mut backend, placement, graph, key, verdict, looked_up } =
            self.open_each_size(&opening).map_err(|error| preflight::explain(&error))?;
        let mapped = backend.mapped_bytes();
        let opened = Instant::now();
        let first = match &verdict {
            // A graph that has run on this ONNX Runtime and this kind of processor will run again.
            Some(verdict) if verdict.is_of_slow_runs() && settings.warm_up.is_empty() => {
                First::earlier(verdict.guess())
            }
            known => {
                let run = |backend: &_| warm_up::first(backend, &settings.warm_up, known.as_ref().map(Verdict::guess));
                let first = run(&backend)?;
                // Its further sessions may have taken the device's memory.
                let full = first.complaint.as_deref().is_some_and(preflight::is_out_of_memory);
                if full && backend.keep_one() { run(&backend)? } else { first }
            }
        };
        if let Some(complaint) = &first.complaint {
            if preflight::is_out_of_memory(complaint) {
                return Err(format!("its first run fails: {}", preflight::explain(complaint)));
            }
            let complaint = preflight::explain(complaint);
            tracing::warn!(model = %version.id, complaint, "the model does not run on generated inputs; give some in model.toml under [warm_up]");
        }
        let ran = Instant::now();
        let mut signature = backend.signature().clone();
        add_labels(&mut signature, settings, version.folder)?;
        let image =
            image(settings, &signature, &inspection, version.folder).map_err(|reason| format!("image: {reason}"))?;
        let each_size = matches!(placement.device, Device::Cuda(_));
        let guess = if settings.batching.padding.is_some() { warm_up::guess(&backend, &first) } else { None };
        let trials = Trials { settings: settings.clone(), first, verdict, note: self.note(key), each_size };
        // What the owner declares of padding is checked before anybody relies on it.
        let padded = settings.batching.padding.is_some();
        let (judged, later) = if self.patient || each_size || padded || trials.are_short() {
            (trials.make(&backend), None)
        } else if let Some(certain) = trials.certain(&signature) {
            (certain, None)
        } else {
            let reason = "not tried yet: until then requests run one by one".into();
            (Judged { reason, ..Judged::default() }, Some(trials.later()))
        };
        signature.batch_axis = judged.batch_axis;
        let max_batch_rows = if judged.batch_axis { most_rows(settings) } else { 0 };
        let elastic = settings.instances.is_none() && settings.profile == Profile::Throughput;
        let padding = padding(settings, &backend, guess, judged.batch_axis)?;
        let padding_reason = match (&settings.batching.padding, &padding) {
            (Some(_), None) => Some("unused, since requests do not share runs".into()),
            (Some(padding), Some(_)) => {
                Some(format!("along axis {}: padded answers were the same at load", padding.axis))
            }
            (None, _) => None,
        };
        let tuning = Tuning {
            inline: settings.inline,
            fixed: settings.batching.max_rows.is_some(),
            trusted: settings.batching.enabled == Some(true),
            elastic: elastic && !each_size,
            prepared: each_size,
            objective: settings.batching.objective_p99_ms.map(|ms| Duration::from_millis(ms.get().into())),
            padding,
            row_elements: judged.row_elements,
            trials: judged.trials,
        };
        let own_weights = if mapped > 0 { 0 } else { inspection.weight_bytes };
        // Memory that others gave back meanwhile hides some of the growth.
        // What CUDA itself takes of this process, hundreds of MiB with the first model that tries it, is no model's own.
        let tried_cuda = matches!(settings.device, Device::Auto | Device::Cuda(_))
            && self.runtime.surely_cpu(settings.device).is_none();
        let grown = if tried_cuda { 0 } else { growth.bytes().unwrap_or(0) };
        let private = grown.max(own_weights);
        let stages = LoadStages {
            inspect: inspected - started,
            look_up: looked_up,
            session: (opened - inspected).saturating_sub(looked_up),
            first_run: ran - opened,
            trials: ran.elapsed(),
        };

        let instances = self.instances(settings, placement.device);
        let status = Status {
            description: settings.description.clone(),
            device: placement.device.to_string(),
            device_reason: placement.reason,
            profile: settings.profile,
            instances,
            threads: options.threads,
            max_batch_rows,
            batching_reason: judged.reason,
            padding: padding_reason,
            load_time: started.elapsed(),
            stages,
            graph,
            memory: ModelMemory { mapped, private },
        };
        let queue_capacity = settings.queue_capacity.map_or(DEFAULT_QUEUE_CAPACITY, wide);
        Ok(Parts {
            id: version.id.clone(),
            signature,
            backend: Arc::new(backend),
            status,
            queue_capacity,
            tuning,
            slots: Arc::clone(&self.slots),
            later,
            image,
        })
    }

    fn estimate(&self, version: &Version<'_>) -> u64 {
        // What is wrong with a model is told when it is loaded.
        preflight::inspect(version.file).map_or(0, |inspection| inspection.weight_bytes)
    }
}

impl OnnxLoader {
    /// Keeps a verdict on the graph under `key`, if it has a place in the cache.
    fn note(&self, key: Option<Key>) -> Option<(Arc<GraphCache>, Key)> {
        self.graphs.clone().zip(key)
    }

    fn limits(&self) -> Limits {
        let limits = Limits::of_runtime(self.runtime.minor_version(), self.memory_limit);
        if unreleased_opsets_allowed() { Limits { opset: None, ml_opset: None, ..limits } } else { limits }
    }

    /// Instances of one thread score more a second than one instance of many, which answers one request sooner.
    fn options(&self, settings: &Settings, inspection: &Inspection) -> SessionOptions {
        let cpus = self.slots.all();
        let default = match settings.profile {
            Profile::Throughput => cpus,
            Profile::Latency => 1,
        };
        let share = (cpus / settings.instances.map_or(default, usize::from).max(1)).max(1);
        let large = inspection.weight_bytes >= LARGE;
        SessionOptions {
            device: settings.device,
            threads: settings.threads.map_or(share, usize::from).max(1),
            arena: settings.memory.arena.unwrap_or(large),
            memory_pattern: settings.memory.pattern.or((!large).then_some(false)),
            spin: settings.profile == Profile::Latency,
            denormals: settings.denormals,
            instances: self.instances(settings, settings.device),
            cuda: settings.cuda,
            openvino: settings.openvino,
        }
    }

    fn instances(&self, settings: &Settings, device: Device) -> usize {
        let default = match (device, settings.profile) {
            (_, Profile::Latency) => 1,
            // While a run waits for the device, others bring and fetch what they need.
            (Device::Cuda(_), Profile::Throughput) => self.slots.all().min(CUDA_INSTANCES),
            (Device::Cpu | Device::OpenVino | Device::Auto, Profile::Throughput) => self.slots.all(),
        };
        settings.instances.map_or(default, usize::from).max(1)
    }
}

/// The padding of the settings, tried out.
fn padding(
    settings: &Settings,
    backend: &dyn Backend,
    guess: Option<warm_up::Guess>,
    batch_axis: bool,
) -> Result<Option<Padding>, String> {
    let Some(wanted) = settings.batching.padding.as_ref().filter(|_| batch_axis) else { return Ok(None) };
    let padding = Padding::new(wanted, backend.signature(), warm_up::element)?;
    let guess = guess.ok_or("batching.padding cannot be checked: the model does not run on generated inputs")?;
    prove(&padding, backend, guess)?;
    Ok(Some(padding))
}

/// Reads the labels files that the settings name.
fn add_labels(signature: &mut Signature, settings: &Settings, folder: &Path) -> Result<(), String> {
    for (output, file) in &settings.labels {
        let wrong = |reason: String| format!("labels.{output}: {reason}");
        let at = signature.output(output).ok_or_else(|| wrong("the model has no such output".into()))?;
        let labels = read_labels(folder, file).map_err(wrong)?;
        let Some(spec) = signature.outputs.get_mut(at) else { continue };
        let last = spec.dims.as_ref().and_then(|dims| dims.last()).filter(|dim| !dim.is_free()).map(crate::Dim::wire);
        if last.is_some_and(|size| i64::try_from(labels.len()) != Ok(size)) {
            return Err(wrong(format!("{} has {} lines, the output is {spec}", file.display(), labels.len())));
        }
        spec.labels = Some(Arc::from(labels));
    }
    Ok(())
}

/// Reads a file inside the model's folder, a label a line.
fn read_labels(folder: &Path, file: &Path) -> Result<Vec<String>, String> {
    if file.components().any(|part| !matches!(part, Component::Normal(_) | Component::CurDir)) {
        return Err(format!("{} is not inside the model's folder", file.display()));
    }
    let unreadable = |error: std::io::Error| format!("{}: {error}", file.display());
    let real = folder.join(file).canonicalize().map_err(unreadable)?;
    if !folder.canonicalize().is_ok_and(|folder| real.starts_with(folder)) {
        return Err(format!("{} leads out of the model's folder", file.display()));
    }
    let text = fs::read_to_string(real).map_err(unreadable)?;
    Ok(text.lines().map(String::from).collect())
}

/// How the model takes images, where its settings say that it does.
fn image(
    settings: &Settings,
    signature: &Signature,
    inspection: &Inspection,
    folder: &Path,
) -> Result<Option<Plan>, String> {
    let Some(image) = &settings.image else { return Ok(None) };
    let labels = image.labels.as_ref().map(|file| read_labels(folder, file)).transpose();
    let labels = labels.map_err(|reason| format!("labels: {reason}"))?;
    Plan::new(image, signature, &inspection.metadata, labels.map(Arc::from)).map(Some)
}

/// Settings are small numbers; memory sizes are not smaller.
pub(super) fn wide(number: u32) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}
