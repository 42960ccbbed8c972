//! Gets ONNX Runtime's shared library onto this machine without a manual step.
//!
//! The library is looked for where a person named it, beside the executable and in the user's cache; else the
//! pinned wheel is fetched through pip, checked against its hash, unpacked and moved into the cache in one step.

mod config;
mod error;
mod fetch;
mod locate;
mod package;
mod pinned;
mod progress;
mod python;
mod wheels;

use std::path::{Path, PathBuf};

pub use config::{Dirs, unreleased_opsets_allowed};
pub use error::RuntimeError;
pub use fetch::fetch;
use locate::OPENVINO_FOLDER;
pub use locate::{Located, Source, locate, locate_openvino};
pub use package::Package;
pub use pinned::{PinnedWheel, SMALL_VERSION, VERSION, host_target, pinned};
pub use progress::{FetchProgress, Progress};
pub use python::Python;

/// Finds the library for this machine, and fetches it into the user's cache where it is not found.
///
/// # Errors
/// [`RuntimeError`], each of which says what to do.
pub fn ensure(explicit: Option<&Path>, dirs: &Dirs, progress: impl FnMut(Progress)) -> Result<Located, RuntimeError> {
    if let Some(located) = locate(explicit, dirs)? {
        return Ok(located);
    }
    let wheel = pinned(Package::for_cpu(host_target()), host_target())?;
    let folder = cache_folder(dirs, wheel)?;
    fetch::fetch(wheel, &folder, &Python::search(), progress)?;
    Ok(Located { path: folder.join(wheel.library_name()), source: Source::Fetched })
}

/// Fetches the library of `package` for `target`, a Rust target triple, and returns its path.
///
/// With `folder` its files are put there beside whatever else it holds, those of a plug-in into a folder of their own
/// in it; otherwise into the user's cache.
///
/// # Errors
/// [`RuntimeError`], each of which says what to do.
pub fn fetch_for(
    package: Package,
    target: &str,
    folder: Option<&Path>,
    dirs: &Dirs,
    progress: impl FnMut(Progress),
) -> Result<PathBuf, RuntimeError> {
    let wheel = pinned(package, target)?;
    if let Some(folder) = folder {
        let own = folder.join(OPENVINO_FOLDER);
        let folder = if package == Package::OpenVino { &own } else { folder };
        return fetch::fetch_beside(wheel, folder, &Python::search(), progress);
    }
    let folder = cache_folder(dirs, wheel)?;
    fetch::fetch(wheel, &folder, &Python::search(), progress)
}

/// The folder of the user's cache that holds the files of `wheel` and nothing else.
fn cache_folder(dirs: &Dirs, wheel: &PinnedWheel) -> Result<PathBuf, RuntimeError> {
    let cache = dirs.cache.as_deref().ok_or(RuntimeError::NoCache)?;
    Ok(cache.join("hedef").join("onnxruntime").join(wheel.folder_name()))
}
