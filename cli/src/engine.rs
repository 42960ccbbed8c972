//! ONNX Runtime and what a model is loaded with.

use std::path::Path;
use std::sync::Arc;

use anyhow::Context;
use hedef_core::backend::onnx;
use hedef_core::host::{Cpus, configure_malloc, memory_limit};
use hedef_core::metrics::Metrics;
use hedef_core::model::Slots;
use hedef_core::repository::{OnnxLoader, Repository};
use hedef_core::runtime::{Dirs, FetchProgress, Located, ensure};
use prometheus::Registry;

use crate::arguments::Engine;

/// Finds ONNX Runtime, or fetches it where there is none.
pub(crate) fn locate(engine: &Engine) -> anyhow::Result<Located> {
    let mut progress = FetchProgress::default();
    Ok(ensure(engine.onnxruntime.as_deref(), &Dirs::from_process(), |step| progress.show(step))?)
}

/// Starts ONNX Runtime and measures the machine.
pub(crate) fn loader(engine: &Engine) -> anyhow::Result<OnnxLoader> {
    configure_malloc();
    let root = Path::new("/");
    let cpus = Cpus::measure(root);
    tracing::info!(threads = cpus.threads, "threads for models: {}", cpus.reason);
    let located = locate(engine)?;
    tracing::info!(path = %located.path.display(), "ONNX Runtime found {}", located.source);
    let runtime = onnx::Runtime::start(&located.path)?;
    let slots = Arc::new(Slots::new(cpus.threads.get()));
    Ok(OnnxLoader { runtime, slots, memory_limit: memory_limit(root) })
}

/// A repository of the one model at `path`, loaded.
pub(crate) fn one_model(engine: &Engine, path: &Path) -> anyhow::Result<(Repository, String)> {
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
    let repository = Repository::new(vec![path.to_owned()], Box::new(loader(engine)?), metrics);
    repository.load(name.as_str(), hedef_core::repository::Overrides::default())?;
    Ok((repository, name.to_string()))
}
