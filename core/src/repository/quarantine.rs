//! Models that arrive while the server works are loaded elsewhere first, where a crash, a hang or a hunger for memory
//! harms nobody.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Mutex;

use super::{Overrides, Repository, Version, hold};
use crate::cache::Identity;
use crate::settings::Settings;
use crate::{Error, ModelId, preflight};

/// A place to load models in for a try.
pub trait Quarantine: Send + Sync {
    /// Loads one version there, as it would be loaded here, and lets it go again.
    fn try_out(&self, candidate: &Candidate<'_>) -> Result<(), Refused>;

    /// Gives up what is being tried, now and from now on: the server stops.
    fn stop(&self);
}

/// A version that is to be tried.
#[derive(Clone, Copy, Debug)]
pub struct Candidate<'a> {
    /// The version with its settings, overrides included.
    pub version: &'a Version<'a>,
    /// Its `model.toml`, without the overrides.
    pub settings: Option<&'a Path>,
    /// What came with the load.
    pub overrides: &'a Overrides,
}

/// Why a version did not pass.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// A plain sentence without paths of this machine.
    pub reason: String,
    /// The same in one word, for the metrics: one of [`Refused::OUTCOMES`].
    pub outcome: &'static str,
}

impl Refused {
    /// It cannot be loaded; its load ended the process; it took too long, or too much memory; it was not tried.
    pub const OUTCOMES: [&'static str; 5] = ["refused", "crashed", "too_slow", "too_large", "failed"];
}

/// Which models are loaded without a try.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trusted {
    /// Those that are there when the server starts.
    AtStart,
    /// None.
    Never,
}

/// Where models are tried, and what is known of them.
pub(super) struct Gate {
    place: Box<dyn Quarantine>,
    trusted: Trusted,
    /// What was loaded here last: it is not tried again as long as it is the same.
    known: Mutex<HashMap<ModelId, Traits>>,
}

/// What a load depends on: the settings, and which bytes the model's files are.
type Traits = (Settings, Vec<(String, Identity)>);

impl Gate {
    pub(super) fn new(place: Box<dyn Quarantine>, trusted: Trusted) -> Self {
        Self { place, trusted, known: Mutex::default() }
    }

    pub(super) fn stop(&self) {
        self.place.stop();
    }
}

/// The model's file, and with `weights` those that it keeps weights in. `None` where one cannot be looked at.
fn traits(version: &Version<'_>, weights: bool) -> Option<Traits> {
    let mut files = vec![(String::new(), Identity::of(version.file).ok()?)];
    if weights {
        // A file that cannot be read names no others, and its load will say why.
        let inspected = preflight::inspect(version.file).map(|inspection| inspection.external_files);
        for weights in inspected.unwrap_or_default() {
            let path = version.file.with_file_name(&weights.path);
            files.push((weights.path.to_string_lossy().into_owned(), Identity::of(&path).ok()?));
        }
    }
    Some((version.settings.clone(), files))
}

impl Repository {
    /// Tries a version out before it is loaded here, unless it is trusted or known.
    pub(super) fn try_out(&self, candidate: &Candidate<'_>, at_start: bool) -> Result<(), Error> {
        let Some(gate) = &self.quarantine else { return Ok(()) };
        let id = &candidate.version.id;
        if at_start && gate.trusted == Trusted::AtStart {
            return Ok(());
        }
        let now = traits(candidate.version, true);
        if now.is_some() && hold(&gate.known).get(id) == now.as_ref() {
            return Ok(());
        }
        tracing::debug!(model = %id, "the model is tried in a process of its own");
        let tried = gate.place.try_out(candidate);
        self.metrics.tried(id, tried.as_ref().map_or_else(|refused| refused.outcome, |()| "ok"));
        tried.map_err(|refused| Error::Load { model: id.to_string(), reason: refused.reason })?;
        // What was tried has to be what is loaded now.
        if now.is_some() && now != traits(candidate.version, true) {
            let reason = "its files changed while it was tried: load it again".into();
            return Err(Error::Load { model: id.to_string(), reason });
        }
        Ok(())
    }

    /// Takes note of what is loaded, or will be without having been tried. At the start the file is not read for it:
    /// should it name others, it is tried when it is next loaded.
    pub(super) fn know(&self, version: &Version<'_>, at_start: bool) {
        let Some(gate) = &self.quarantine else { return };
        if let Some(traits) = traits(version, !at_start) {
            hold(&gate.known).insert(version.id.clone(), traits);
        }
    }
}
