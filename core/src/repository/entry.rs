//! What is known of each model: its versions, and what became of each.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::Overrides;
use super::budget::EVICTED;
use crate::{Error, Model, ModelId, ModelName, ModelVersion};

/// Why a model that somebody unloaded is unavailable.
pub(super) const UNLOADED: &str = "unloaded";

/// What can be said of a model version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Being loaded for the first time.
    Loading,
    /// Can score.
    Ready,
    /// Cannot score.
    Unavailable,
}

/// One line of the index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IndexEntry {
    /// The model.
    pub name: ModelName,
    /// The version; none when the model was never loaded.
    pub version: Option<ModelVersion>,
    /// Its state.
    pub state: State,
    /// Why it is in that state, where that needs a reason.
    pub reason: String,
}

#[derive(Clone, Debug)]
pub(super) struct Slot {
    pub(super) state: State,
    pub(super) reason: String,
    pub(super) model: Option<Arc<Model>>,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Entry {
    pub(super) slots: BTreeMap<ModelVersion, Slot>,
    /// The folder of files that came with a load; removed with the last entry that names it.
    pub(super) uploaded: Option<Arc<tempfile::TempDir>>,
    /// What else came with a load; it holds until the next.
    pub(super) overrides: Arc<Overrides>,
}

pub(super) type Snapshot = HashMap<ModelName, Entry>;

impl Slot {
    /// Whether it can score, if need be after a load.
    pub(super) fn can_be_asked(&self) -> bool {
        self.model.is_some() || self.reason == EVICTED
    }

    pub(super) fn reason(&self) -> &str {
        if self.reason.is_empty() { "it is not loaded" } else { &self.reason }
    }

    pub(super) fn fail(&mut self, reason: &str) {
        if self.model.is_some() {
            self.reason = format!("still serving; the last reload failed: {reason}");
        } else {
            *self = Self { state: State::Unavailable, reason: reason.into(), model: None };
        }
    }
}

pub(super) fn evicted(name: &str, version: ModelVersion) -> Error {
    match ModelName::new(name) {
        Ok(name) => Error::Evicted { model: ModelId { name, version } },
        Err(error) => error.into(),
    }
}

pub(super) fn unknown_version(name: &str, version: &str, entry: &Entry) -> Error {
    let available: Vec<_> = entry.slots.keys().map(ToString::to_string).collect();
    let available = if available.is_empty() { "none".into() } else { available.join(", ") };
    match ModelName::new(name) {
        Ok(name) => Error::UnknownVersion { name, version: version.chars().take(32).collect(), available },
        Err(error) => error.into(),
    }
}
