//! What can go wrong on the way to the library, and what a person does about it.

use std::io;
use std::path::{Path, PathBuf};

use super::package::Package;
use super::pinned::VERSION;

/// Why ONNX Runtime's library is not there.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RuntimeError {
    /// The path that a person named holds no library.
    #[error(
        "there is no ONNX Runtime library at `{}` (from --onnxruntime or ORT_DYLIB_PATH): correct the path, or leave it out and version {VERSION} is fetched",
        path.display()
    )]
    ExplicitMissing {
        /// The path as it was given.
        path: PathBuf,
    },
    /// No wheel is pinned for the target.
    #[error(
        "no {package} is pinned for the target `{target}` (pinned: {supported}); for ONNX Runtime itself give your own library, version 1.24 or newer, with --onnxruntime PATH"
    )]
    UnsupportedTarget {
        /// What was to be fetched.
        package: Package,
        /// The target asked for.
        target: String,
        /// The targets there are, separated by commas.
        supported: String,
    },
    /// None of the Python commands exists.
    #[error(
        "fetching {package} needs Python, and none of {tried} is there: install python3 and pip, or {}", package.way_out(library)
    )]
    NoPython {
        /// What was to be fetched.
        package: Package,
        /// The commands that were tried.
        tried: String,
        /// The library's file name.
        library: &'static str,
    },
    /// A Python is there, and its pip is not.
    #[error(
        "fetching {package} needs pip, and `{python}` has none: install it (Debian: apt install python3-pip), or {}", package.way_out(library)
    )]
    NoPip {
        /// What was to be fetched.
        package: Package,
        /// The command that has no pip.
        python: String,
        /// The library's file name.
        library: &'static str,
    },
    /// Pip ran and failed.
    #[error(
        "pip could not fetch {package} (check the network, and the package index that `pip config list` shows; or {}). It said: {said}", package.way_out(library)
    )]
    Pip {
        /// What was to be fetched.
        package: Package,
        /// The last lines of pip's errors.
        said: String,
        /// The library's file name.
        library: &'static str,
    },
    /// Pip sent nothing for a long time.
    #[error(
        "pip fetched nothing of {package} for {seconds} s and was stopped: check the network or the proxy and start again"
    )]
    Stalled {
        /// What was to be fetched.
        package: Package,
        /// How long nothing came.
        seconds: u64,
    },
    /// The index served other bytes than the pinned ones.
    #[error(
        "the package index served {package} with a wrong hash (expected sha256 {expected}, got {found}): nothing was installed; find out why this index or mirror differs"
    )]
    WrongHash {
        /// What was to be fetched.
        package: Package,
        /// The pinned hash.
        expected: String,
        /// The hash found, where it is known.
        found: String,
    },
    /// The fetched wheel lacks a file.
    #[error("the wheel of {package} cannot be unpacked: {detail}")]
    BadWheel {
        /// What was to be fetched.
        package: Package,
        /// What is wrong with it.
        detail: String,
    },
    /// There is no cache folder.
    #[error(
        "there is no cache folder to put ONNX Runtime into: set HOME or XDG_CACHE_HOME (Windows: LOCALAPPDATA), or pass --onnxruntime PATH"
    )]
    NoCache,
    /// The disk is full.
    #[error("no space is left on the disk of `{}`: fetching ONNX Runtime takes about 80 MB there, its OpenVINO plug-in 160 MB, the one with CUDA 600 MB", path.display())]
    NoSpace {
        /// Where the space ran out.
        path: PathBuf,
    },
    /// The folder cannot be written.
    #[error("cannot write ONNX Runtime to `{}`: {source} (make the folder writable, or set XDG_CACHE_HOME, or pass --onnxruntime PATH)", path.display())]
    Write {
        /// What was being written.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
}

impl RuntimeError {
    /// Names the place in an error of the file system.
    pub(super) fn writing(path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_path_buf();
        move |source| match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::NoSpace { path },
            _ => Self::Write { path, source },
        }
    }
}
