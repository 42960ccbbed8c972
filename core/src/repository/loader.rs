//! From files to a model that has run once.

use std::fs;
use std::path::{Component, Path};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{Load, Version};
use crate::backend::Backend;
use crate::backend::onnx::{ModelFacts, OnnxBackend, Placement, Runtime, SessionOptions};
use crate::model::{Padding, Parts, Slots, Status, Tuning};
use crate::padding::prove;
use crate::preflight::{self, DeclaredType, Inspection, Labels, Limits};
use crate::runtime::unreleased_opsets_allowed;
use crate::settings::{Profile, Settings};
use crate::{Device, Signature, warm_up};

const DEFAULT_QUEUE_CAPACITY: usize = 1024;
const DEFAULT_MAX_ROWS: usize = 64;

/// Loads models into ONNX Runtime.
#[derive(Debug)]
pub struct OnnxLoader {
    /// The loaded ONNX Runtime.
    pub runtime: Runtime,
    /// The processors that all models together may use, to be counted out to runs.
    pub slots: Arc<Slots>,
    /// The memory this process may use, in bytes.
    pub memory_limit: Option<u64>,
}

impl Load for OnnxLoader {
    fn load(&self, version: &Version<'_>) -> Result<Parts, String> {
        let started = Instant::now();
        let settings = version.settings;
        let inspection = preflight::check(version.file, &self.limits()).map_err(|error| error.to_string())?;
        let facts = facts(&inspection);
        let options = self.options(settings);
        let opened = OnnxBackend::open(&self.runtime, version.file, &options, &facts);
        let (backend, placement) = opened.map_err(|error| preflight::explain(&error))?;
        let warmed = warm_up::run(&backend, &settings.warm_up)?;
        if let Some(complaint) = &warmed.complaint {
            let complaint = preflight::explain(complaint);
            tracing::warn!(model = %version.id, complaint, "the model does not run on generated inputs; give some in model.toml under [warm_up]");
        }
        let (batch_axis, batching_reason) = batching(settings, backend.signature(), warmed.independent_rows.clone());
        let mut signature = backend.signature().clone();
        signature.batch_axis = batch_axis;
        add_labels(&mut signature, settings, version.folder)?;

        let max_rows = if batch_axis { settings.batching.max_rows.map_or(DEFAULT_MAX_ROWS, wide) } else { 0 };
        let timed = warmed.guess.map(|guess| warm_up::time_runs(&backend, guess, max_rows));
        let (row_elements, trials) = timed.unwrap_or_default();
        let fixed = settings.batching.max_rows.is_some();
        let trusted = settings.batching.enabled == Some(true);
        let elastic = settings.instances.is_none() && settings.profile == Profile::Throughput;
        let elastic = elastic && !matches!(placement.device, Device::Cuda(_));
        let objective = settings.batching.objective_p99_ms.map(|ms| Duration::from_millis(ms.get().into()));
        let inline = settings.inline;
        let padding = padding(settings, &backend, warmed.guess, batch_axis)?;
        let padding_reason = match (&settings.batching.padding, &padding) {
            (Some(_), None) => Some("unused, since requests do not share runs".into()),
            (Some(padding), Some(_)) => {
                Some(format!("along axis {}: padded answers were the same at load", padding.axis))
            }
            (None, _) => None,
        };
        let tuning = Tuning { inline, fixed, trusted, elastic, objective, padding, row_elements, trials };

        let instances = self.instances(settings, &placement);
        let status = Status {
            description: settings.description.clone(),
            device: placement.device.to_string(),
            device_reason: placement.reason,
            profile: settings.profile,
            instances,
            threads: options.threads,
            max_batch_rows: max_rows,
            batching_reason,
            padding: padding_reason,
            load_time: started.elapsed(),
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
        })
    }
}

impl OnnxLoader {
    fn limits(&self) -> Limits {
        let limits = Limits::of_runtime(self.runtime.minor_version(), self.memory_limit);
        if unreleased_opsets_allowed() { Limits { opset: None, ml_opset: None, ..limits } } else { limits }
    }

    /// Instances of one thread score more a second than one instance of many, which answers one request sooner.
    fn options(&self, settings: &Settings) -> SessionOptions {
        let cpus = self.slots.all();
        let default = match settings.profile {
            Profile::Throughput => cpus,
            Profile::Latency => 1,
        };
        let share = (cpus / settings.instances.map_or(default, usize::from).max(1)).max(1);
        SessionOptions {
            device: settings.device,
            threads: settings.threads.map_or(share, usize::from).max(1),
            arena: settings.memory.arena,
            memory_pattern: settings.memory.pattern,
            spin: settings.profile == Profile::Latency,
            denormals: settings.denormals,
        }
    }

    fn instances(&self, settings: &Settings, placement: &Placement) -> usize {
        let default = match (placement.device, settings.profile) {
            // A session runs serially on its device's stream.
            (Device::Cuda(_), _) | (_, Profile::Latency) => 1,
            (Device::Cpu | Device::Auto, Profile::Throughput) => self.slots.all(),
        };
        settings.instances.map_or(default, usize::from).max(1)
    }
}

/// What ONNX Runtime does not tell of the model, from its file.
fn facts(inspection: &Inspection) -> ModelFacts {
    let texts = |labels: &Labels| match labels {
        Labels::Int64(numbers) => numbers.iter().map(ToString::to_string).collect(),
        Labels::Strings(texts) => texts.clone(),
    };
    let zipmaps = inspection.zipmaps.iter().map(|zipmap| (zipmap.output.clone(), texts(&zipmap.labels)));
    let all = inspection.inputs.iter().chain(&inspection.outputs);
    let unranked = all.filter(|value| !matches!(value.r#type, DeclaredType::Tensor { shape: Some(_), .. }));
    ModelFacts { zipmap_labels: zipmaps.collect(), unranked: unranked.map(|value| value.name.clone()).collect() }
}

/// Whether axis 0 is the batch axis, and why.
fn batching(settings: &Settings, signature: &Signature, independent_rows: Result<(), String>) -> (bool, String) {
    match (settings.batching.enabled, independent_rows) {
        (Some(false), _) => (false, "off in model.toml".into()),
        (Some(true), _) if signature.could_batch() => (true, "on in model.toml".into()),
        (_, Ok(())) => (true, "a trial showed that rows do not influence one another".into()),
        (_, Err(reason)) => (false, reason),
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
        if file.components().any(|part| !matches!(part, Component::Normal(_) | Component::CurDir)) {
            return Err(wrong(format!("{} is not inside the model's folder", file.display())));
        }
        let text =
            fs::read_to_string(folder.join(file)).map_err(|error| wrong(format!("{}: {error}", file.display())))?;
        let labels: Vec<String> = text.lines().map(String::from).collect();
        let Some(spec) = signature.outputs.get_mut(at) else { continue };
        let last = spec.dims.as_ref().and_then(|dims| dims.last()).filter(|dim| !dim.is_free()).map(crate::Dim::wire);
        if last.is_some_and(|size| i64::try_from(labels.len()) != Ok(size)) {
            return Err(wrong(format!("{} has {} lines, the output is {spec}", file.display(), labels.len())));
        }
        spec.labels = Some(Arc::from(labels));
    }
    Ok(())
}

/// Settings are small numbers; memory sizes are not smaller.
fn wide(number: u32) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}
