//! Opens the model in ONNX Runtime, without anything around it.

use std::path::{Path, PathBuf};

use hedef_core::backend::onnx::{ModelFacts, OnnxBackend, Runtime, SessionOptions};
use hedef_core::backend::{Backend, RunError};
use hedef_core::preflight::{explain, inspect};
use hedef_core::repository::scan;
use hedef_core::{Signature, Tensor};

use super::Layout;
use crate::Error;

/// A model's sessions: one for all threads that run it, or one for each.
#[derive(Debug)]
pub(crate) struct Sessions {
    all: Vec<OnnxBackend>,
    signature: Signature,
    instances: usize,
}

/// One thread's way into the model.
#[derive(Debug)]
pub(crate) struct Session<'s>(&'s OnnxBackend);

impl Sessions {
    /// Opens the model at `path`, a folder or a file; of several versions the highest.
    pub(crate) fn open(runtime: &Runtime, path: &Path, layout: &Layout) -> Result<Self, Error> {
        let failed = |reason: String| {
            let model = path.display().to_string();
            Error::Core(hedef_core::Error::Load { model, reason })
        };
        let file = model_file(path)?;
        let inspection = inspect(&file).map_err(|error| failed(error.to_string()))?;
        let facts = ModelFacts::of(&inspection);
        let options = SessionOptions {
            threads: layout.threads,
            arena: layout.arena,
            memory_pattern: Some(layout.arena),
            // Threads of one run that wait for one another spinning are the quicker ones.
            spin: layout.threads > 1,
            instances: layout.instances.max(1),
            ..SessionOptions::plain(layout.device)
        };
        let open = |_| {
            let opened = OnnxBackend::open(runtime, &file, &options, &facts);
            opened.map(|(backend, _)| backend).map_err(|error| failed(explain(&error)))
        };
        let instances = layout.instances.max(1);
        let all = (0..if layout.own_sessions { instances } else { 1 }).map(open).collect::<Result<Vec<_>, _>>()?;
        let signature =
            all.first().map(|first| first.signature().clone()).ok_or_else(|| failed("no session".into()))?;
        Ok(Self { all, signature, instances })
    }

    pub(crate) const fn signature(&self) -> &Signature {
        &self.signature
    }

    /// One for each thread.
    pub(crate) fn each(&self) -> impl Iterator<Item = Session<'_>> {
        self.all.iter().cycle().take(self.instances).map(Session)
    }
}

impl Session<'_> {
    /// Runs the model once.
    pub(crate) fn run(&self, inputs: &[&Tensor], outputs: &[usize]) -> Result<Vec<Tensor>, RunError> {
        self.0.run(inputs, outputs, None)
    }
}

fn model_file(path: &Path) -> Result<PathBuf, Error> {
    let found = scan(&[path.to_owned()]);
    if let Some(problem) = found.problems.first() {
        return Err(Error::Settings(problem.clone()));
    }
    let mut packages = found.packages.into_values();
    let file = match (packages.next(), packages.next()) {
        (Some(package), None) => package.versions.into_values().next_back(),
        _ => None,
    };
    let wrong = "expected one model: a folder with model.onnx or 1/model.onnx, or an .onnx file";
    file.ok_or_else(|| Error::Settings(format!("{}: {wrong}", path.display())))
}
