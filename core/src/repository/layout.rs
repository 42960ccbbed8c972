//! Where models lie on disk.
//!
//! A root is a repository of models, one model's folder, or one ONNX file. In a repository a model is
//! `iris.onnx`, `iris/model.onnx` or `iris/3/model.onnx`; a number that is not there is version 1.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use crate::{ModelName, ModelVersion};

const MODEL_FILE: &str = "model.onnx";
const SETTINGS_FILE: &str = "model.toml";

/// One model on disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Package {
    /// Its name.
    pub name: ModelName,
    /// The folder that paths in its settings start from.
    pub folder: PathBuf,
    /// Its `model.toml`, if there is one.
    pub settings: Option<PathBuf>,
    /// The model file of each version.
    pub versions: BTreeMap<ModelVersion, PathBuf>,
}

/// What the roots hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// The models by name.
    pub packages: BTreeMap<ModelName, Package>,
    /// What looked like a model but is none, and why.
    pub problems: Vec<String>,
    /// Whether a root could not be read: what is not here may be there all the same.
    pub incomplete: bool,
}

/// Looks for models in `roots`. Where two roots hold a model of the same name, the first counts.
#[must_use]
pub fn scan(roots: &[PathBuf]) -> Found {
    let mut found = Found::default();
    for root in roots {
        match packages(root) {
            Ok(packages) => packages.into_iter().for_each(|package| found.add(package)),
            Err(problem) => {
                found.problems.push(problem);
                found.incomplete = true;
            }
        }
    }
    found
}

impl Found {
    fn add(&mut self, package: Result<Package, String>) {
        match package {
            Err(problem) => self.problems.push(problem),
            Ok(package) => {
                if let Some(first) = self.packages.get(&package.name) {
                    let (name, second) = (&package.name, package.folder.display());
                    let problem =
                        format!("model `{name}` is in {} and in {second}: the first counts", first.folder.display());
                    self.problems.push(problem);
                } else {
                    self.packages.insert(package.name.clone(), package);
                }
            }
        }
    }
}

fn packages(root: &Path) -> Result<Vec<Result<Package, String>>, String> {
    // So that a root such as `.` has a name.
    let root = root.canonicalize().map_err(|error| format!("root {}: {error}", root.display()))?;
    if root.is_file() {
        return if is_onnx(&root) {
            Ok(vec![bare(&root)])
        } else {
            Err(format!("root {}: expected a folder or an .onnx file", root.display()))
        };
    }
    if let Some(package) = folder(&root) {
        return Ok(vec![package]);
    }
    let mut entries: Vec<_> = fs::read_dir(&root)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| format!("root {}: {error}", root.display()))?
        .into_iter()
        .map(|entry| entry.path())
        .collect();
    entries.sort_unstable();
    let visible = |path: &&PathBuf| !path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
    Ok(entries.iter().filter(visible).filter_map(|path| package(path)).collect())
}

fn package(path: &Path) -> Option<Result<Package, String>> {
    if path.is_dir() {
        folder(path)
    } else if is_onnx(path) {
        Some(bare(path))
    } else {
        None
    }
}

fn is_onnx(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "onnx") && path.is_file()
}

/// `iris.onnx`
fn bare(file: &Path) -> Result<Package, String> {
    let name = name(file.file_stem())?;
    let folder = file.parent().unwrap_or(Path::new("")).to_owned();
    let settings = Some(file.with_extension("toml")).filter(|file| file.is_file());
    Ok(Package { name, folder, settings, versions: [(1, file.to_owned())].into() })
}

/// `iris/model.onnx` or `iris/3/model.onnx`; `None` when the folder is no model's.
fn folder(folder: &Path) -> Option<Result<Package, String>> {
    let mut versions = BTreeMap::new();
    let file = folder.join(MODEL_FILE);
    if file.is_file() {
        versions.insert(1, file);
    } else {
        for entry in fs::read_dir(folder).ok()?.flatten() {
            let file = entry.path().join(MODEL_FILE);
            if let Some(version) = version(&entry.file_name())
                && file.is_file()
            {
                versions.insert(version, file);
            }
        }
    }
    if versions.is_empty() {
        return None;
    }
    let settings = Some(folder.join(SETTINGS_FILE)).filter(|file| file.is_file());
    Some(name(folder.file_name()).map(|name| Package { name, folder: folder.to_owned(), settings, versions }))
}

fn version(folder: &std::ffi::OsStr) -> Option<ModelVersion> {
    let text = folder.to_str()?;
    // `007` would be a second way to write 7.
    let version: ModelVersion = text.parse().ok().filter(|version| *version > 0)?;
    (version.to_string() == text).then_some(version)
}

fn name(text: Option<&std::ffi::OsStr>) -> Result<ModelName, String> {
    ModelName::new(&text.unwrap_or_default().to_string_lossy()).map_err(|error| error.to_string())
}

/// Writes files that came with a load below `folder`. Paths that would leave it are refused.
pub(super) fn write(folder: &Path, files: &[(String, Vec<u8>)]) -> Result<(), String> {
    for (path, content) in files {
        let inside = Path::new(path).components().all(|part| matches!(part, std::path::Component::Normal(_)));
        if !inside || path.is_empty() {
            return Err(format!("file `{path}`: expected a path inside the model's folder"));
        }
        let file = folder.join(path);
        let parent = file.parent().unwrap_or(folder);
        let written = fs::create_dir_all(parent).and_then(|()| fs::write(&file, content));
        written.map_err(|error| format!("file `{path}`: {error}"))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lay(files: &[&str]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for file in files {
            let path = root.path().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "").unwrap();
        }
        root
    }

    fn versions(found: &Found, name: &str) -> Vec<ModelVersion> {
        found.packages[name].versions.keys().copied().collect()
    }

    #[test]
    fn the_three_layouts_are_models() {
        let root = lay(&[
            "bare.onnx",
            "bare.toml",
            "flat/model.onnx",
            "deep/3/model.onnx",
            "deep/12/model.onnx",
            "deep/model.toml",
        ]);
        let found = scan(&[root.path().into()]);
        assert_eq!(found.packages.len(), 3);
        assert_eq!(versions(&found, "bare"), [1]);
        assert!(found.packages["bare"].settings.is_some());
        assert_eq!(versions(&found, "flat"), [1]);
        assert_eq!(versions(&found, "deep"), [3, 12]);
        assert!(found.packages["deep"].settings.is_some());
    }

    #[test]
    fn a_root_may_be_one_model() {
        let root = lay(&["iris/2/model.onnx", "digits.onnx"]);
        let found = scan(&[root.path().join("iris"), root.path().join("digits.onnx")]);
        assert_eq!(versions(&found, "iris"), [2]);
        assert_eq!(versions(&found, "digits"), [1]);
    }

    #[test]
    fn what_is_no_model_is_passed_over_or_told() {
        let root = lay(&[
            "README.md",
            "notes/x.txt",
            ".hidden/model.onnx",
            "a b/model.onnx",
            "x/0/model.onnx",
            "x/07/model.onnx",
        ]);
        let found = scan(&[root.path().into(), root.path().join("missing")]);
        assert!(found.packages.is_empty());
        assert_eq!(found.problems.len(), 2, "{:?}", found.problems);
    }

    #[test]
    fn of_two_models_with_one_name_the_first_counts() {
        let (first, second) = (lay(&["m/1/model.onnx"]), lay(&["m/2/model.onnx"]));
        let found = scan(&[first.path().into(), second.path().into()]);
        assert_eq!(versions(&found, "m"), [1]);
        assert_eq!(found.problems.len(), 1);
    }
}
