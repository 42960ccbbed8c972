//! Finding models: no lock is taken.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::Repository;
use super::entry::{IndexEntry, Slot, State, UNLOADED, evicted, unknown_version};
use crate::{Error, Model, ModelVersion};

impl Repository {
    /// Whether the start is over and a model can score, or there is none that was asked to.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        let snapshot = self.snapshot.load();
        let wanted = |slot: &&Slot| slot.reason != UNLOADED;
        let mut slots = snapshot.values().flat_map(|entry| entry.slots.values()).filter(wanted).peekable();
        self.has_started() && (slots.peek().is_none() || slots.any(Slot::can_be_asked))
    }

    /// Whether all models meant to be there from the start have been loaded, or have failed to.
    #[must_use]
    pub fn has_started(&self) -> bool {
        self.started.load(Ordering::Acquire)
    }

    /// The model of that name: the version asked for, or the highest that is ready. One that was unloaded to stay
    /// within the memory budget is an error of its own: [`Repository::awake`] loads it.
    pub fn model(&self, name: &str, version: Option<&str>) -> Result<Arc<Model>, Error> {
        let snapshot = self.snapshot.load();
        let entry = snapshot.get(name).ok_or_else(|| Error::UnknownModel { name: name.chars().take(128).collect() })?;
        let not_ready = |reason: &str| Error::NotReady { model: name.into(), reason: reason.into() };
        let Some(version) = version else {
            let mut ready = entry.slots.iter().rev().filter(|(_, slot)| slot.can_be_asked());
            let reason = || entry.slots.values().next_back().map_or("it is not loaded", Slot::reason);
            let (version, slot) = ready.next().ok_or_else(|| not_ready(reason()))?;
            return slot.model.clone().ok_or_else(|| evicted(name, *version));
        };
        let slot = version.parse().ok().and_then(|version: ModelVersion| entry.slots.get(&version));
        let slot = slot.ok_or_else(|| unknown_version(name, version, entry))?;
        let missing = || match version.parse() {
            Ok(version) if slot.can_be_asked() => evicted(name, version),
            _ => not_ready(slot.reason()),
        };
        slot.model.clone().ok_or_else(missing)
    }

    /// The versions of a model that are ready, in ascending order.
    pub fn versions(&self, name: &str) -> Result<Vec<ModelVersion>, Error> {
        let snapshot = self.snapshot.load();
        let entry = snapshot.get(name).ok_or_else(|| Error::UnknownModel { name: name.chars().take(128).collect() })?;
        Ok(entry.slots.iter().filter(|(_, slot)| slot.can_be_asked()).map(|(version, _)| *version).collect())
    }

    /// Every model that is ready, by name and version.
    #[must_use]
    pub fn models(&self) -> Vec<Arc<Model>> {
        let snapshot = self.snapshot.load();
        let mut models: Vec<_> =
            snapshot.values().flat_map(|entry| entry.slots.values()).filter_map(|slot| slot.model.clone()).collect();
        models.sort_unstable_by(|a, b| a.id().cmp(b.id()));
        models
    }

    /// Tells the metrics what nobody tells them as it changes. Meant to be called before they are read.
    pub fn observe(&self) {
        for model in self.models() {
            model.observe();
        }
    }

    /// Every model known, by name and version.
    #[must_use]
    pub fn index(&self) -> Vec<IndexEntry> {
        let snapshot = self.snapshot.load();
        let mut index = Vec::new();
        for (name, entry) in snapshot.iter() {
            if entry.slots.is_empty() {
                let reason = "not loaded".into();
                index.push(IndexEntry { name: name.clone(), version: None, state: State::Unavailable, reason });
            }
            for (version, slot) in &entry.slots {
                let (state, reason) = (slot.state, slot.reason.clone());
                index.push(IndexEntry { name: name.clone(), version: Some(*version), state, reason });
            }
        }
        index.sort_unstable_by(|a, b| (&a.name, a.version).cmp(&(&b.name, b.version)));
        index
    }
}
