//! Where the library may be on this machine: the one place here that reads the process's surroundings.

use std::env;
use std::path::PathBuf;

/// The folders in which the library is looked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Dirs {
    /// The folder of the executable.
    pub executable: Option<PathBuf>,
    /// The user's cache folder.
    pub cache: Option<PathBuf>,
}

impl Dirs {
    /// Reads them from the process: its executable and its environment.
    #[must_use]
    pub fn from_process() -> Self {
        let executable =
            env::current_exe().ok().and_then(|file| Some(file.canonicalize().ok()?.parent()?.to_path_buf()));
        Self { executable, cache: cache() }
    }
}

/// Whether ONNX Runtime is told to load models of operator sets that were not released when it was built:
/// it reads this variable itself.
#[must_use]
pub fn unreleased_opsets_allowed() -> bool {
    env::var_os("ALLOW_RELEASED_ONNX_OPSET_ONLY").is_some_and(|value| value == "0")
}

/// The user's cache folder by the custom of each system; an empty or relative setting counts as none, as the
/// XDG base directory specification asks.
fn cache() -> Option<PathBuf> {
    let folder = |name: &str| env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    if cfg!(windows) {
        folder("LOCALAPPDATA")
    } else if cfg!(target_os = "macos") {
        folder("HOME").map(|home| home.join("Library").join("Caches"))
    } else {
        folder("XDG_CACHE_HOME").or_else(|| folder("HOME").map(|home| home.join(".cache")))
    }
}
