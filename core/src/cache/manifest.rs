//! What is known of one cached graph, beside it in a file of its own.

use std::io::{self, Read};
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::folder;
use crate::settings::parse;
use crate::verdict::Verdict;

/// A manifest is small; a longer one was not written by us.
const LONGEST: u64 = 1 << 20;

/// What was noted when the graph was written.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Manifest {
    /// The graph's key, so that entries cannot change places.
    pub(super) key: String,
    /// The model it was made of, for people.
    pub(super) model: String,
    /// The bytes of the graph's file.
    pub(super) bytes: u64,
    /// The SHA-256 of them.
    pub(super) sha256: String,
    /// The identity of the file when its hash was taken: another one means that it has to be taken again.
    pub(super) identity: String,
    /// What trial runs found.
    pub(super) verdict: Option<Verdict>,
}

impl Manifest {
    pub(super) fn read(path: &Path) -> io::Result<Self> {
        let mut text = String::new();
        folder::open(path)?.0.take(LONGEST).read_to_string(&mut text)?;
        parse(&text).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
    }

    pub(super) fn write(&self, path: &Path) -> io::Result<()> {
        folder::write(path, toml::to_string(self).map_err(io::Error::other)?.as_bytes())
    }
}
