//! What the tests read from their surroundings.

use std::path::{Path, PathBuf};

/// The checkout.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

/// The program of that name; Debian keeps servers apart.
pub(crate) fn program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    let folders = std::env::split_paths(&path).chain([PathBuf::from("/usr/sbin"), PathBuf::from("/usr/local/sbin")]);
    folders.map(|folder| folder.join(name)).find(|file| file.is_file())
}

/// Whether this is the run that has to prove everything.
pub(crate) fn ci() -> bool {
    std::env::var("CI").is_ok_and(|value| value == "true" || value == "1")
}

/// As many messages as a day has seconds, where `HEDEF_EDGE_DAY` is set; else enough to fill a small queue several times.
pub(crate) fn messages_of_a_day() -> usize {
    if std::env::var_os("HEDEF_EDGE_DAY").is_some() { 86_400 } else { 1600 }
}
