//! ONNX Runtime and what a model is loaded with.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use hedef_core::backend::onnx;
use hedef_core::cache::GraphCache;
use hedef_core::host::{Cpus, configure_malloc, memory_limit, processor};
use hedef_core::metrics::Metrics;
use hedef_core::model::Slots;
use hedef_core::repository::{Loads, OnnxLoader, Repository};
use hedef_core::runtime::{Dirs, FetchProgress, Located, ensure};
use prometheus::Registry;

use crate::arguments::Engine;

/// Finds ONNX Runtime, or fetches it where there is none.
pub(crate) fn locate(engine: &Engine) -> anyhow::Result<Located> {
    let mut progress = FetchProgress::default();
    Ok(ensure(engine.onnxruntime.as_deref(), &Dirs::from_process(), |step| progress.show(step))?)
}

/// Where the time before the first model went.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Started {
    /// Measuring the machine and finding ONNX Runtime.
    pub(crate) found: Duration,
    /// Starting ONNX Runtime.
    pub(crate) runtime: Duration,
}

/// Starts ONNX Runtime and measures the machine. A `patient` loader makes all trials before a model is ready.
pub(crate) fn loader(engine: &Engine, patient: bool) -> anyhow::Result<(OnnxLoader, Started)> {
    let begun = Instant::now();
    configure_malloc();
    let root = Path::new("/");
    let cpus = Cpus::measure(root);
    tracing::info!(threads = cpus.threads, "threads for models: {}", cpus.reason);
    let located = locate(engine)?;
    tracing::info!(path = %located.path.display(), "ONNX Runtime found {}", located.source);
    let found = Instant::now();
    let runtime = onnx::Runtime::start(&located.path)?;
    let slots = Arc::new(Slots::new(cpus.threads.get()));
    let started = Started { found: found - begun, runtime: found.elapsed() };
    let loader = OnnxLoader {
        runtime,
        slots,
        memory_limit: memory_limit(root),
        processor: processor(root),
        graphs: graphs(engine).map(Arc::new),
        loads: Loads::default(),
        patient,
    };
    Ok((loader, started))
}

/// The cache of optimised graphs, unless it is off or has no place.
fn graphs(engine: &Engine) -> Option<GraphCache> {
    let folder = match &engine.graph_cache {
        Some(off) if off.as_os_str() == "off" => return None,
        Some(folder) => folder.clone(),
        None => match Dirs::from_process().cache {
            Some(cache) => cache.join("hedef").join("graphs"),
            None => {
                tracing::warn!("no graph cache: this user has no cache folder; --graph-cache names one");
                return None;
            }
        },
    };
    Some(GraphCache::new(folder, u64::from(engine.graph_cache_mib) << 20))
}

/// How long a command waits until its model is unloaded.
const UNLOADING: Duration = Duration::from_secs(30);

/// A repository of one model, which is unloaded with it: a session on a GPU that goes while the process ends, on a thread
/// of its own, may take it down.
pub(crate) struct OneModel {
    pub(crate) repository: Repository,
    pub(crate) name: String,
}

impl Drop for OneModel {
    fn drop(&mut self) {
        self.repository.close(UNLOADING);
    }
}

/// The one model at `path`, loaded; `patient`: with all that can be known of it.
pub(crate) fn one_model(engine: &Engine, path: &Path, patient: bool) -> anyhow::Result<OneModel> {
    let found = hedef_core::repository::scan(&[path.to_owned()]);
    if let Some(problem) = found.problems.first() {
        anyhow::bail!("{problem}");
    }
    let mut names = found.packages.keys();
    let (Some(name), None) = (names.next(), names.next()) else {
        anyhow::bail!(
            "{}: expected one model: a folder with model.onnx or 1/model.onnx, or an .onnx file",
            path.display()
        );
    };
    let metrics = Metrics::new(&Registry::new()).context("metrics")?;
    let repository = Repository::new(vec![path.to_owned()], Box::new(loader(engine, patient)?.0), metrics);
    repository.load(name.as_str(), hedef_core::repository::Overrides::default())?;
    Ok(OneModel { repository, name: name.to_string() })
}
