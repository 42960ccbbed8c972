//! Checks the files beside a model that hold its weights.
//!
//! ONNX Runtime checks the same when it loads the model, and says so with the server's absolute paths.

use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};

use super::error::PreflightError;
use super::inspection::ExternalFile;
use super::proto::{ModelProto, TensorProto};
use super::walk::{Part, visit_parts};
use super::weights;

/// Checks the external data of `model`, read from `path` and called `file` in errors: each file is there, inside
/// the model's folder, and long enough. Returns the files.
pub(super) fn check(path: &Path, file: &str, model: &ModelProto) -> Result<Vec<ExternalFile>, PreflightError> {
    let mut folder = None;
    let mut sizes: BTreeMap<String, u64> = BTreeMap::new();
    visit_parts(model, &mut |part| match part {
        Part::Weight(tensor) if weights::is_external(tensor) => {
            let folder = folder.get_or_insert_with(|| Folder::of(path));
            check_weight(&Subject { file, tensor }, folder, &mut sizes)
        }
        _ => Ok(()),
    })?;
    Ok(sizes.into_iter().map(|(path, bytes)| ExternalFile { path: path.into(), bytes }).collect())
}

/// Where a model's data may lie.
struct Folder {
    path: PathBuf,
    /// The folder itself and, where the model's file is a link, the folder it leads to: both really.
    allowed: Vec<PathBuf>,
}

impl Folder {
    fn of(model: &Path) -> Self {
        let path = model.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let real_model = model.canonicalize().ok();
        let target = real_model.as_deref().and_then(Path::parent).map(Path::to_path_buf);
        Self { path: path.to_path_buf(), allowed: path.canonicalize().into_iter().chain(target).collect() }
    }
}

/// The weight that an error is about.
struct Subject<'a> {
    file: &'a str,
    tensor: &'a TensorProto,
}

impl Subject<'_> {
    fn malformed(&self, detail: &'static str) -> PreflightError {
        PreflightError::ExternalMalformed { file: self.file.to_owned(), tensor: self.tensor.name.clone(), detail }
    }

    fn outside(&self, detail: &'static str) -> PreflightError {
        PreflightError::ExternalOutside { file: self.file.to_owned(), tensor: self.tensor.name.clone(), detail }
    }

    fn bad(&self, detail: &'static str) -> PreflightError {
        let detail = detail.to_owned();
        PreflightError::BadWeight { file: self.file.to_owned(), tensor: self.tensor.name.clone(), detail }
    }

    /// The text under `key` of the tensor's reference.
    fn entry(&self, key: &str) -> Option<&[u8]> {
        self.tensor.external_data.iter().find(|entry| entry.key == key.as_bytes()).map(|entry| entry.value.as_slice())
    }

    /// The number under `key`.
    fn number(&self, key: &str, malformed: &'static str) -> Result<Option<u64>, PreflightError> {
        let Some(text) = self.entry(key) else { return Ok(None) };
        let number = std::str::from_utf8(text).ok().and_then(|text| text.parse().ok());
        number.map(Some).ok_or_else(|| self.malformed(malformed))
    }

    fn location(&self) -> Result<&str, PreflightError> {
        let location = self.entry("location").unwrap_or_default();
        let location = std::str::from_utf8(location).map_err(|_| self.malformed("its location is not UTF-8"))?;
        if location.is_empty() { Err(self.malformed("it has no location")) } else { Ok(location) }
    }
}

fn check_weight(
    subject: &Subject<'_>,
    folder: &Folder,
    sizes: &mut BTreeMap<String, u64>,
) -> Result<(), PreflightError> {
    let location = subject.location()?;
    let found = match sizes.get(location) {
        Some(&size) => size,
        None => {
            let size = size_of(subject, folder, location)?;
            *sizes.entry(location.to_owned()).or_insert(size)
        }
    };
    let start = subject.number("offset", "its offset is no number")?.unwrap_or(0);
    let length = subject.number("length", "its length is no number")?;
    let length = weights::bytes(subject.tensor).map_err(|detail| subject.bad(detail))?.or(length).unwrap_or(0);
    let end = start.checked_add(length).ok_or_else(|| subject.malformed("its offset is beyond any file"))?;
    if end > found {
        let (file, tensor) = (subject.file.to_owned(), subject.tensor.name.clone());
        return Err(PreflightError::ExternalShort { file, tensor, location: location.to_owned(), start, end, found });
    }
    Ok(())
}

/// The size of the file at `location`, which must lie inside the folder after all links and `..` are followed.
fn size_of(subject: &Subject<'_>, folder: &Folder, location: &str) -> Result<u64, PreflightError> {
    let relative = Path::new(location);
    let mut depth = 0usize;
    for component in relative.components() {
        match component {
            Component::Prefix(_) | Component::RootDir => return Err(subject.outside("by an absolute path")),
            Component::ParentDir => {
                depth = depth.checked_sub(1).ok_or_else(|| subject.outside("by a path with `..`"))?;
            }
            Component::Normal(_) => depth += 1,
            Component::CurDir => {}
        }
    }
    let missing = || PreflightError::ExternalMissing {
        file: subject.file.to_owned(),
        tensor: subject.tensor.name.clone(),
        location: location.to_owned(),
    };
    let real = folder.path.join(relative).canonicalize().map_err(|_| missing())?;
    if !folder.allowed.iter().any(|allowed| real.starts_with(allowed)) {
        return Err(subject.outside("through a symbolic link"));
    }
    real.metadata().ok().filter(std::fs::Metadata::is_file).map(|facts| facts.len()).ok_or_else(missing)
}

#[cfg(test)]
#[path = "external_tests.rs"]
mod tests;
