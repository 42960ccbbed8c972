//! Looks for the library on this machine.

use std::path::{Path, PathBuf};

use super::config::Dirs;
use super::error::RuntimeError;
use super::package::Package;
use super::pinned::{host_target, library_names, pinned};

/// The folder beside ONNX Runtime's library for the plug-in for OpenVINO, which brings many files.
pub(super) const OPENVINO_FOLDER: &str = "openvino";

/// A library that is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Located {
    /// The library's file.
    pub path: PathBuf,
    /// How it was found.
    pub source: Source,
}

/// Where a library came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// A person named it.
    Explicit,
    /// It lies beside the executable.
    BesideExecutable,
    /// An earlier start fetched it into the user's cache.
    Cache,
    /// It was fetched just now.
    Fetched,
}

impl std::fmt::Display for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Explicit => "as asked for",
            Self::BesideExecutable => "beside the executable",
            Self::Cache => "from the cache",
            Self::Fetched => "fetched now",
        })
    }
}

/// Looks for the library: where a person named it (a file, or a folder that holds it), then beside the
/// executable, then in the user's cache. `None`: it has to be fetched.
///
/// # Errors
/// [`RuntimeError::ExplicitMissing`] where `explicit` holds no library: another one is never taken instead.
pub fn locate(explicit: Option<&Path>, dirs: &Dirs) -> Result<Option<Located>, RuntimeError> {
    if let Some(explicit) = explicit {
        let path = if explicit.is_file() { Some(explicit.to_path_buf()) } else { library_in(explicit) };
        let path = path.ok_or_else(|| RuntimeError::ExplicitMissing { path: explicit.to_path_buf() })?;
        return Ok(Some(Located { path, source: Source::Explicit }));
    }
    let beside =
        dirs.executable.as_deref().and_then(library_in).map(|path| Located { path, source: Source::BesideExecutable });
    Ok(beside.or_else(|| in_cache(dirs)))
}

fn library_in(folder: &Path) -> Option<PathBuf> {
    library_names().iter().map(|name| folder.join(name)).find(|path| path.is_file())
}

/// The one with CUDA comes first: it is there only because somebody asked for it.
fn in_cache(dirs: &Dirs) -> Option<Located> {
    let path =
        [Package::Cuda, Package::OnnxRuntime, Package::Small].into_iter().find_map(|package| cached(package, dirs))?;
    Some(Located { path, source: Source::Cache })
}

fn cached(package: Package, dirs: &Dirs) -> Option<PathBuf> {
    let wheel = pinned(package, host_target()).ok()?;
    Some(super::cache_folder(dirs, wheel).ok()?.join(wheel.library_name())).filter(|path| path.is_file())
}

/// Looks for the plug-in for OpenVINO: beside ONNX Runtime's library at `runtime`, in the folder `openvino` there, and
/// in the user's cache.
#[must_use]
pub fn locate_openvino(runtime: &Path, dirs: &Dirs) -> Option<PathBuf> {
    let name = if cfg!(windows) {
        "onnxruntime_providers_openvino_plugin.dll"
    } else {
        "libonnxruntime_providers_openvino_plugin.so"
    };
    let beside = [runtime.with_file_name(name), runtime.with_file_name(OPENVINO_FOLDER).join(name)];
    beside.into_iter().find(|path| path.is_file()).or_else(|| cached(Package::OpenVino, dirs))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    /// A machine with a library beside the executable and one in the cache.
    fn machine() -> (tempfile::TempDir, Dirs, PathBuf, PathBuf) {
        let root = tempfile::tempdir().unwrap();
        let dirs = Dirs { executable: Some(root.path().join("bin")), cache: Some(root.path().join("cache")) };
        let wheel = pinned(Package::OnnxRuntime, host_target()).unwrap();
        let beside = root.path().join("bin").join(wheel.library_name());
        let cached = root.path().join("cache/hedef/onnxruntime").join(wheel.folder_name()).join(wheel.library_name());
        for file in [&beside, &cached] {
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, "library").unwrap();
        }
        (root, dirs, beside, cached)
    }

    #[test]
    fn the_named_library_comes_first_then_the_executables_then_the_cache() {
        let (root, dirs, beside, cached) = machine();
        let own = root.path().join("own.so");
        fs::write(&own, "library").unwrap();
        let found = |explicit| locate(explicit, &dirs).unwrap();
        assert_eq!(found(Some(own.as_path())), Some(Located { path: own.clone(), source: Source::Explicit }));
        assert_eq!(found(None), Some(Located { path: beside.clone(), source: Source::BesideExecutable }));
        fs::remove_file(&beside).unwrap();
        assert_eq!(found(None), Some(Located { path: cached.clone(), source: Source::Cache }));
        fs::remove_file(&cached).unwrap();
        assert_eq!(found(None), None);
    }

    #[test]
    fn the_library_with_cuda_is_taken_before_the_other_one_of_the_cache() {
        let (root, dirs, beside, _) = machine();
        fs::remove_file(beside).unwrap();
        let wheel = pinned(Package::Cuda, host_target()).unwrap();
        let path = root.path().join("cache/hedef/onnxruntime").join(wheel.folder_name()).join(wheel.library_name());
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, "library").unwrap();
        assert_eq!(locate(None, &dirs).unwrap(), Some(Located { path, source: Source::Cache }));
    }

    #[test]
    fn the_plug_in_is_looked_for_beside_the_library_and_in_the_cache() {
        let (root, dirs, beside, _) = machine();
        assert_eq!(locate_openvino(&beside, &dirs), None);
        let wheel = pinned(Package::OpenVino, host_target()).unwrap();
        let cached = root.path().join("cache/hedef/onnxruntime").join(wheel.folder_name());
        for folder in [cached, root.path().join("bin/openvino"), root.path().join("bin")] {
            fs::create_dir_all(&folder).unwrap();
            fs::write(folder.join(wheel.library_name()), "plug-in").unwrap();
            assert_eq!(locate_openvino(&beside, &dirs), Some(folder.join(wheel.library_name())));
        }
    }

    #[test]
    fn a_folder_may_be_named() {
        let (root, dirs, beside, _) = machine();
        let located = locate(Some(&root.path().join("bin")), &dirs).unwrap().unwrap();
        assert_eq!(located, Located { path: beside, source: Source::Explicit });
    }

    #[test]
    fn a_named_library_that_is_missing_is_an_error_though_others_are_there() {
        let (_root, dirs, ..) = machine();
        let error = locate(Some(Path::new("/nowhere/lib.so")), &dirs).unwrap_err().to_string();
        assert!(error.contains("`/nowhere/lib.so`") && error.contains("--onnxruntime"), "{error}");
    }

    #[test]
    fn a_machine_without_folders_has_no_library() {
        assert_eq!(locate(None, &Dirs::default()).unwrap(), None);
    }
}
