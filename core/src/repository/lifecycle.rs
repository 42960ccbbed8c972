//! Loading and unloading: a version is made beside the old one and swapped in when it can score.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::budget::Room;
use super::entry::{Slot, Snapshot, State, UNLOADED};
use super::{Candidate, Overrides, Package, Repository, Version, hold, layout, scan};
use crate::host::{at_length, release_free_memory};
use crate::settings::Settings;
use crate::{Error, Model, ModelId, ModelName};

/// How long an unload or reload waits for requests that are still under way on the old version.
const OLD_REQUESTS: Duration = Duration::from_secs(30);

/// When a load comes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Occasion {
    /// Whether the model is to be there from the start.
    at_start: bool,
    /// Whether versions that would push others out are left to their first request.
    postpone: bool,
}

impl Occasion {
    pub(super) const START: Self = Self { at_start: true, postpone: true };
}

impl Repository {
    /// Loads a model, or loads it anew and swaps it in: requests under way finish on the old version.
    ///
    /// Blocks. If a version cannot be loaded, the old one goes on and the first reason is returned.
    pub fn load(&self, name: &str, with: Overrides) -> Result<(), Error> {
        self.load_with(name, with, Occasion { at_start: false, postpone: false })
    }

    /// The same for a model that is to be there from the start.
    pub fn load_at_start(&self, name: &str) -> Result<(), Error> {
        self.load_with(name, Overrides::default(), Occasion { at_start: true, postpone: false })
    }

    pub(super) fn load_with(&self, name: &str, with: Overrides, occasion: Occasion) -> Result<(), Error> {
        let name = ModelName::new(name)?;
        let lock = self.lock_of(&name);
        let _changing = hold(&lock);
        let result = self.load_locked(&name, with, occasion);
        self.settle();
        result
    }

    fn load_locked(&self, name: &ModelName, mut with: Overrides, occasion: Occasion) -> Result<(), Error> {
        let refuse = |reason: String| {
            tracing::error!(model = %name, reason, "cannot load the model");
            self.note(name, &reason);
            Error::Load { model: name.to_string(), reason }
        };
        let (package, uploaded) = self.package(name, &with)?;
        let mut settings = match &package.settings {
            Some(file) => Settings::read(file).map_err(refuse)?,
            None => Settings::default(),
        };
        with.files.clear();
        let overrides = Arc::new(with.clone());
        with.apply(&mut settings);
        let available: Vec<_> = package.versions.keys().copied().collect();
        let wanted = settings.versions.pick(&available);
        if wanted.is_empty() {
            return Err(refuse(format!("no version is among those that model.toml asks for; there is {available:?}")));
        }
        let mut failure = None;
        for version in &wanted {
            let Some(file) = package.versions.get(version) else { continue };
            let id = ModelId { name: name.clone(), version: *version };
            let version = Version { id, file, folder: &package.folder, settings: &settings };
            let settings = package.settings.as_deref();
            let candidate = Candidate { version: &version, settings, overrides: &overrides };
            if occasion.postpone && self.is_crowded(&version) {
                self.postpone(&version.id);
                self.know(&version, occasion.at_start);
            } else if let Err(error) = self.load_version(&candidate, occasion.at_start) {
                failure = failure.or(Some(error));
            }
        }
        let before = self.snapshot.load().get(name).cloned().unwrap_or_default();
        self.change(name, |entry| {
            // Where a new version failed, those it was to replace go on.
            let kept = |slot: &Slot| failure.is_some() && slot.model.is_some();
            entry.slots.retain(|version, slot| wanted.contains(version) || kept(slot));
            entry.uploaded.clone_from(&uploaded);
            entry.overrides = Arc::clone(&overrides);
        });
        let now = self.snapshot.load().get(name).cloned().unwrap_or_default();
        for version in before.slots.keys().filter(|version| !now.slots.get(version).is_some_and(Slot::can_be_asked)) {
            let id = ModelId { name: name.clone(), version: *version };
            self.metrics.unloaded(&id);
        }
        failure.map_or(Ok(()), Err)
    }

    pub(super) fn load_version(&self, candidate: &Candidate<'_>, at_start: bool) -> Result<(), Error> {
        let version = candidate.version;
        let id = &version.id;
        let loading = Slot { state: State::Loading, reason: "being loaded".into(), model: None };
        self.change(&id.name, |entry| {
            entry.slots.entry(id.version).or_insert_with(|| loading.clone());
        });
        let started = Instant::now();
        let loaded = self.make(candidate, at_start);
        let took = started.elapsed();
        match loaded {
            Ok((model, _room)) => {
                self.announce(&model, took);
                let slot = Slot { state: State::Ready, reason: String::new(), model: Some(Arc::new(model)) };
                self.change(&id.name, |entry| {
                    entry.slots.insert(id.version, slot.clone());
                });
                self.push_out(slot.model.as_deref());
                self.know(version, at_start);
                self.metrics.ready(id, true);
                Ok(())
            }
            Err(error) => {
                let reason = match &error {
                    Error::Load { reason, .. } | Error::OverBudget { reason, .. } => reason.clone(),
                    other => other.to_string(),
                };
                tracing::error!(model = %id, reason, "cannot load the model");
                self.change(&id.name, |entry| {
                    if let Some(slot) = entry.slots.get_mut(&id.version) {
                        slot.fail(&reason);
                    }
                });
                self.metrics.loaded(id, "error", took);
                self.metrics.ready(id, self.model(id.name.as_str(), Some(&id.version.to_string())).is_ok());
                Err(error)
            }
        }
    }

    /// Makes a model that nobody knows of yet, with the room that it was admitted to.
    pub(super) fn make(&self, candidate: &Candidate<'_>, at_start: bool) -> Result<(Model, Option<Room>), Error> {
        // Threads and processes that are started here have its turns.
        at_length(|| self.make_at_length(candidate, at_start))
    }

    fn make_at_length(&self, candidate: &Candidate<'_>, at_start: bool) -> Result<(Model, Option<Room>), Error> {
        let version = candidate.version;
        self.try_out(candidate, at_start)?;
        let room = self.admit(version)?;
        // A model that makes the loader panic is one more model that cannot be loaded.
        let parts = catch_unwind(AssertUnwindSafe(|| self.loader.load(version)))
            .unwrap_or_else(|_| Err("loading it panicked".into()))
            .map_err(|reason| Error::Load { model: version.id.to_string(), reason })?;
        let model = Model::start(parts, &self.metrics, &self.retired)?;
        self.accommodate(&model)?;
        Ok((model, room))
    }

    /// Says that a model can score.
    pub(super) fn announce(&self, model: &Model, took: Duration) {
        let (id, status) = (model.id(), model.status());
        tracing::info!(
            model = %id, device = status.device, device.reason = status.device_reason, instances = status.instances,
            threads = status.threads, batch.rows = status.max_batch_rows, batch.reason = status.batching_reason,
            graph = status.graph, memory.mapped = status.memory.mapped, memory.private = status.memory.private,
            milliseconds = took.as_millis(), stages = %status.stages, "model is ready"
        );
        self.metrics.memory(id, status.memory);
        self.metrics.loaded(id, "ok", took);
    }

    /// The model's files: those that came with the load, else those on disk.
    fn package(&self, name: &ModelName, with: &Overrides) -> Result<(Package, Option<Arc<tempfile::TempDir>>), Error> {
        let failed = |reason: String| Error::Load { model: name.to_string(), reason };
        if with.files.is_empty() {
            let package = self.refresh().packages.remove(name);
            return package
                .map(|package| (package, None))
                .ok_or_else(|| Error::UnknownModel { name: name.to_string() });
        }
        let root = tempfile::tempdir().map_err(|error| failed(format!("cannot keep the files: {error}")))?;
        layout::write(&root.path().join(name.as_str()), &with.files).map_err(failed)?;
        let package = scan(&[root.path().join(name.as_str())]).packages.remove(name);
        let package = package.ok_or_else(|| failed("the files hold no model: expected `1/model.onnx`".into()))?;
        Ok((package, Some(Arc::new(root))))
    }

    /// Unloads all versions of a model; requests under way finish. Blocks.
    pub fn unload(&self, name: &str) -> Result<(), Error> {
        let name = ModelName::new(name)?;
        let lock = self.lock_of(&name);
        let _changing = hold(&lock);
        if !self.snapshot.load().contains_key(&name) {
            return Err(Error::UnknownModel { name: name.to_string() });
        }
        self.change(&name, |entry| {
            for slot in entry.slots.values_mut() {
                *slot = Slot { state: State::Unavailable, reason: UNLOADED.into(), model: None };
            }
            entry.uploaded = None;
        });
        for (version, _) in self.snapshot.load().get(&name).iter().flat_map(|entry| &entry.slots) {
            let id = ModelId { name: name.clone(), version: *version };
            self.metrics.unloaded(&id);
        }
        tracing::info!(model = %name, "model is unloaded");
        self.settle();
        Ok(())
    }

    /// Forgets a model whose files are gone. Blocks.
    pub(super) fn forget(&self, name: &ModelName) -> Result<(), Error> {
        self.unload(name.as_str())?;
        self.snapshot.rcu(|old| {
            let mut new = Snapshot::clone(old);
            new.remove(name);
            new
        });
        Ok(())
    }

    /// Notes why a model cannot be loaded where no version can carry the reason.
    fn note(&self, name: &ModelName, reason: &str) {
        self.change(name, |entry| match entry.slots.values_mut().next_back() {
            Some(slot) => slot.fail(reason),
            None => {
                let slot = Slot { state: State::Unavailable, reason: reason.into(), model: None };
                entry.slots.insert(1, slot);
            }
        });
    }

    /// Waits for the old version's threads and gives memory back.
    pub(super) fn settle(&self) {
        if !self.retired.join(OLD_REQUESTS) {
            tracing::warn!("requests on an old version are still under way; its memory is freed when they end");
        }
        release_free_memory();
    }
}
