//! What the tests read from their surroundings.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// Whether this is the run that has to prove everything.
pub(crate) fn ci() -> bool {
    std::env::var("CI").is_ok_and(|value| value == "true" || value == "1")
}

/// Whether the long forms of tests run: in CI, and where `HEDEF_TESTS_FULL=1` asks for them.
pub(crate) fn full() -> bool {
    ci() || std::env::var("HEDEF_TESTS_FULL").is_ok_and(|value| value == "1")
}

/// How often a stop under load is repeated, each time after seconds of load ([`seconds`]): `HEDEF_TESTS_ROUNDS=10`.
pub(crate) fn rounds() -> Option<usize> {
    std::env::var("HEDEF_TESTS_ROUNDS").ok()?.parse().ok()
}

/// How long the load lasts before a stop: `HEDEF_TESTS_SECONDS=30`, else three where stops are repeated.
pub(crate) fn seconds() -> u64 {
    let asked = std::env::var("HEDEF_TESTS_SECONDS").ok().and_then(|value| value.parse().ok());
    asked.unwrap_or(if rounds().is_some() { 3 } else { 0 })
}

/// The command that is tested: `HEDEF_TESTS_COMMAND`, else the one that cargo built.
pub(crate) fn command() -> OsString {
    std::env::var_os("HEDEF_TESTS_COMMAND").unwrap_or_else(|| env!("CARGO_BIN_EXE_hedef").into())
}

/// Whether documents that are made from the code are to be written anew.
pub(crate) fn bless() -> bool {
    std::env::var("HEDEF_BLESS").is_ok_and(|value| value == "1")
}

/// The program of that name on the path.
pub(crate) fn program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(name)).find(|file| file.is_file())
}

/// The checkout.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

/// The sample models.
pub(crate) fn samples() -> PathBuf {
    root().join("models")
}

/// Where cargo builds.
pub(crate) fn target() -> &'static Path {
    Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap()
}
