//! Model repositories for tests: sample models, and odd ones made by `tests/python/make_model.py`.

use std::fs;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::{config, python};

/// A folder of models that is removed in the end.
#[derive(Debug)]
pub(crate) struct Models {
    folder: TempDir,
}

impl Models {
    pub(crate) fn empty() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    /// Copies of sample models.
    pub(crate) fn samples(names: &[&str]) -> Self {
        let models = Self::empty();
        for name in names {
            copy(&config::samples().join(name), &models.path().join(name));
        }
        models
    }

    /// Adds a model of that kind under the name of the kind, and returns its file.
    pub(crate) fn make(&self, kind: &str) -> PathBuf {
        self.make_as(kind, kind, &[])
    }

    /// Adds version 1 of model `name`.
    pub(crate) fn make_as(&self, name: &str, kind: &str, options: &[&str]) -> PathBuf {
        let file = self.file(name, 1);
        let mut arguments = vec![kind, file.to_str().unwrap()];
        arguments.extend(options);
        python::script("make_model.py", &arguments);
        file
    }

    /// Writes `model.toml` of a model that is there.
    pub(crate) fn settings(&self, name: &str, text: &str) {
        fs::write(self.path().join(name).join("model.toml"), text).unwrap();
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Where a version's file lies, or would.
    pub(crate) fn file(&self, name: &str, version: u32) -> PathBuf {
        self.path().join(name).join(version.to_string()).join("model.onnx")
    }
}

/// A sample model's file.
pub(crate) fn sample(name: &str) -> PathBuf {
    config::samples().join(name).join("1/model.onnx")
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &to);
        } else {
            fs::copy(entry.path(), to).unwrap();
        }
    }
}
