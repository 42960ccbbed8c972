//! The models on disk and their loaded state.

mod budget;
#[cfg(test)]
mod budget_tests;
mod layout;
mod loader;
mod memory;
mod opening;
mod quarantine;
#[cfg(test)]
mod quarantine_tests;
mod quota;
mod stuck;
#[cfg(test)]
mod tests;
mod trials;
mod wake;
mod watch;

use std::collections::{BTreeMap, HashMap};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;

pub use budget::{Budget, OverBudget};
pub use layout::{Found, Package, scan};
pub use loader::OnnxLoader;
pub use memory::{Loads, ModelMemory};
pub use quarantine::{Candidate, Quarantine, Refused, Trusted};
pub use quota::QuotaWatcher;
pub use stuck::RunWatcher;
pub use watch::{View, Watcher};

use self::budget::{EVICTED, Reserved};
use self::quarantine::Gate;
use self::wake::Waking;
use crate::host::release_free_memory;
use crate::metrics::Metrics;
use crate::model::{Parts, Retired};
use crate::settings::{Settings, VersionPolicy};
use crate::{Error, Model, ModelId, ModelName, ModelVersion};

/// How long an unload or reload waits for requests that are still under way on the old version.
const OLD_REQUESTS: Duration = Duration::from_secs(30);

/// Why a model that somebody unloaded is unavailable.
const UNLOADED: &str = "unloaded";

/// How many models are loaded at once at the start.
const PARALLEL_LOADS: usize = 4;

/// One version to load.
#[derive(Debug)]
pub struct Version<'a> {
    /// Its name and version.
    pub id: ModelId,
    /// The model file.
    pub file: &'a Path,
    /// The folder that paths in the settings start from.
    pub folder: &'a Path,
    /// The model's settings.
    pub settings: &'a Settings,
}

/// Makes a model's parts from its files.
pub trait Load: Send + Sync {
    /// Loads one version and runs it once. An error is a plain sentence without paths of this machine.
    fn load(&self, version: &Version<'_>) -> Result<Parts, String>;

    /// The bytes of memory that it is likely to take, before it is loaded.
    fn estimate(&self, version: &Version<'_>) -> u64 {
        version.file.metadata().map_or(0, |facts| facts.len())
    }
}

/// Changes to a model for one load.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Overrides {
    /// Replaces `batching.max_rows`; 0 turns batching off.
    pub max_batch_rows: Option<u32>,
    /// Replaces `instances`.
    pub instances: Option<u16>,
    /// Replaces `versions`.
    pub versions: Option<VersionPolicy>,
    /// Files that stand in for the model's folder: relative paths without `..`, and contents.
    pub files: Vec<(String, Vec<u8>)>,
}

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
struct Slot {
    state: State,
    reason: String,
    model: Option<Arc<Model>>,
}

#[derive(Clone, Debug, Default)]
struct Entry {
    slots: BTreeMap<ModelVersion, Slot>,
    /// The folder of files that came with a load; removed with the last entry that names it.
    uploaded: Option<Arc<tempfile::TempDir>>,
    /// What else came with a load; it holds until the next.
    overrides: Arc<Overrides>,
}

type Snapshot = HashMap<ModelName, Entry>;

/// When a load comes.
#[derive(Clone, Copy, Debug)]
struct Occasion {
    /// Whether the model is to be there from the start.
    at_start: bool,
    /// Whether versions that would push others out are left to their first request.
    postpone: bool,
}

impl Occasion {
    const START: Self = Self { at_start: true, postpone: true };
}

/// The models on disk and their loaded state. Looking a model up takes no lock.
pub struct Repository {
    roots: Vec<PathBuf>,
    loader: Box<dyn Load>,
    metrics: Metrics,
    budget: Option<Budget>,
    reserved: Reserved,
    quarantine: Option<Gate>,
    waking: Waking,
    snapshot: ArcSwap<Snapshot>,
    /// One lock for each model, so that a slow load holds up no other model.
    changing: Mutex<HashMap<ModelName, Arc<Mutex<()>>>>,
    retired: Arc<Retired>,
    started: AtomicBool,
    stopping: AtomicBool,
    /// Whether a run has been going on for too long.
    stuck: AtomicBool,
}

impl Repository {
    /// Makes a repository in which nothing is loaded yet.
    #[must_use]
    pub fn new(roots: Vec<PathBuf>, loader: Box<dyn Load>, metrics: Metrics) -> Self {
        let repository = Self {
            roots,
            loader,
            metrics,
            budget: None,
            quarantine: None,
            reserved: Reserved::default(),
            waking: Waking::default(),
            snapshot: ArcSwap::default(),
            changing: Mutex::default(),
            retired: Arc::default(),
            started: AtomicBool::new(false),
            stopping: AtomicBool::new(false),
            stuck: AtomicBool::new(false),
        };
        repository.refresh();
        repository
    }

    /// Keeps the models within a memory budget.
    #[must_use]
    pub fn with_budget(self, budget: Option<Budget>) -> Self {
        Self { budget, ..self }
    }

    /// Has models tried out elsewhere before they are loaded here, but for those that are trusted.
    #[must_use]
    pub fn with_quarantine(self, place: Box<dyn Quarantine>, trusted: Trusted) -> Self {
        Self { quarantine: Some(Gate::new(place, trusted)), ..self }
    }

    /// Looks on disk again, so that new models are in the index. Blocks.
    pub fn refresh(&self) -> Found {
        let found = scan(&self.roots);
        self.snapshot.rcu(|old| {
            let mut new = Snapshot::clone(old);
            new.retain(|name, entry| found.packages.contains_key(name) || !entry.slots.is_empty());
            for name in found.packages.keys() {
                new.entry(name.clone()).or_default();
            }
            new
        });
        found
    }

    /// Loads every model on disk. One that fails does not stop the others. Blocks.
    pub fn load_all(&self) {
        let found = self.refresh();
        for problem in &found.problems {
            tracing::warn!("{problem}");
        }
        let names = Mutex::new(found.packages.keys());
        let next = || hold(&names).next().filter(|_| !self.stopping.load(Ordering::Acquire));
        thread::scope(|scope| {
            for _ in 0..PARALLEL_LOADS.min(found.packages.len()) {
                scope.spawn(|| {
                    while let Some(name) = next() {
                        // The reason is in the log, the index and the metrics already.
                        let _ = self.load_with(name.as_str(), Overrides::default(), Occasion::START);
                    }
                });
            }
        });
        self.finish_start();
    }

    /// Makes [`Repository::load_all`] end after the models it is loading now.
    pub fn stop_loading(&self) {
        self.stopping.store(true, Ordering::Release);
        if let Some(gate) = &self.quarantine {
            gate.stop();
        }
    }

    /// Says that all models meant to be there from the start have been loaded, or have failed to.
    pub fn finish_start(&self) {
        self.started.store(true, Ordering::Release);
    }

    /// Whether the start is over and a model can score, or there is none that was asked to.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        let snapshot = self.snapshot.load();
        let wanted = |slot: &&Slot| slot.reason != UNLOADED;
        let mut slots = snapshot.values().flat_map(|entry| entry.slots.values()).filter(wanted).peekable();
        self.started.load(Ordering::Acquire) && (slots.peek().is_none() || slots.any(Slot::can_be_asked))
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
        models.sort_by(|a, b| a.id().cmp(b.id()));
        models
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
        index.sort_by(|a, b| (&a.name, a.version).cmp(&(&b.name, b.version)));
        index
    }

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

    fn load_with(&self, name: &str, with: Overrides, occasion: Occasion) -> Result<(), Error> {
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
            self.metrics.ready(&id, false);
            self.metrics.memory(&id, ModelMemory::default());
        }
        failure.map_or(Ok(()), Err)
    }

    fn load_version(&self, candidate: &Candidate<'_>, at_start: bool) -> Result<(), Error> {
        let version = candidate.version;
        let id = &version.id;
        let loading = Slot { state: State::Loading, reason: "being loaded".into(), model: None };
        self.change(&id.name, |entry| {
            entry.slots.entry(id.version).or_insert_with(|| loading.clone());
        });
        let started = Instant::now();
        // A model that makes the loader panic is one more model that cannot be loaded.
        let load = || {
            self.try_out(candidate, at_start)?;
            let room = self.admit(version)?;
            let parts = catch_unwind(AssertUnwindSafe(|| self.loader.load(version)))
                .unwrap_or_else(|_| Err("loading it panicked".into()))
                .map_err(|reason| Error::Load { model: id.to_string(), reason })?;
            let model = Model::start(parts, &self.metrics, &self.retired)?;
            self.accommodate(&model)?;
            Ok((model, room))
        };
        let loaded: Result<_, Error> = load();
        let took = started.elapsed();
        match loaded {
            Ok((model, _room)) => {
                let status = model.status();
                tracing::info!(
                    model = %id, device = status.device, device.reason = status.device_reason, instances = status.instances,
                    threads = status.threads, batch.rows = status.max_batch_rows, batch.reason = status.batching_reason,
                    graph = status.graph, memory.mapped = status.memory.mapped, memory.private = status.memory.private,
                    milliseconds = took.as_millis(), stages = %status.stages, "model is ready"
                );
                self.metrics.memory(id, status.memory);
                let slot = Slot { state: State::Ready, reason: String::new(), model: Some(Arc::new(model)) };
                self.change(&id.name, |entry| {
                    entry.slots.insert(id.version, slot.clone());
                });
                self.know(version, at_start);
                self.metrics.loaded(id, "ok", took);
                self.metrics.ready(id, true);
                Ok(())
            }
            Err(error) => {
                let reason = match &error {
                    Error::Load { reason, .. } => reason.clone(),
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
            self.metrics.ready(&id, false);
            self.metrics.memory(&id, ModelMemory::default());
        }
        tracing::info!(model = %name, "model is unloaded");
        self.settle();
        Ok(())
    }

    /// Forgets a model whose files are gone. Blocks.
    pub(crate) fn forget(&self, name: &ModelName) -> Result<(), Error> {
        self.unload(name.as_str())?;
        self.snapshot.rcu(|old| {
            let mut new = Snapshot::clone(old);
            new.remove(name);
            new
        });
        Ok(())
    }

    /// Unloads everything: waits, at most for `limit`, until queued requests are answered. Blocks.
    pub fn close(&self, limit: Duration) -> bool {
        self.snapshot.store(Arc::default());
        self.waking.join();
        self.snapshot.store(Arc::default());
        self.retired.join(limit)
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

    fn change(&self, name: &ModelName, change: impl Fn(&mut Entry)) {
        self.snapshot.rcu(|old| {
            let mut new = Snapshot::clone(old);
            change(new.entry(name.clone()).or_default());
            new
        });
    }

    fn lock_of(&self, name: &ModelName) -> Arc<Mutex<()>> {
        let mut all = hold(&self.changing);
        // Locks that nobody holds are not kept: names come from callers.
        all.retain(|_, lock| Arc::strong_count(lock) > 1);
        Arc::clone(all.entry(name.clone()).or_default())
    }

    /// Waits for the old version's threads and gives memory back.
    fn settle(&self) {
        if !self.retired.join(OLD_REQUESTS) {
            tracing::warn!("requests on an old version are still under way; its memory is freed when they end");
        }
        release_free_memory();
    }
}

impl Slot {
    /// Whether it can score, if need be after a load.
    fn can_be_asked(&self) -> bool {
        self.model.is_some() || self.reason == EVICTED
    }

    fn reason(&self) -> &str {
        if self.reason.is_empty() { "it is not loaded" } else { &self.reason }
    }

    fn fail(&mut self, reason: &str) {
        if self.model.is_some() {
            self.reason = format!("still serving; the last reload failed: {reason}");
        } else {
            *self = Self { state: State::Unavailable, reason: reason.into(), model: None };
        }
    }
}

impl Overrides {
    /// Changes `settings`.
    pub fn apply(&self, settings: &mut Settings) {
        match self.max_batch_rows {
            Some(0) => settings.batching.enabled = Some(false),
            Some(rows) => settings.batching.max_rows = Some(rows),
            None => {}
        }
        settings.instances = self.instances.or(settings.instances);
        if let Some(versions) = &self.versions {
            settings.versions.clone_from(versions);
        }
    }
}

fn evicted(name: &str, version: ModelVersion) -> Error {
    match ModelName::new(name) {
        Ok(name) => Error::Evicted { model: ModelId { name, version } },
        Err(error) => error.into(),
    }
}

fn unknown_version(name: &str, version: &str, entry: &Entry) -> Error {
    let available: Vec<_> = entry.slots.keys().map(ToString::to_string).collect();
    let available = if available.is_empty() { "none".into() } else { available.join(", ") };
    match ModelName::new(name) {
        Ok(name) => Error::UnknownVersion { name, version: version.chars().take(32).collect(), available },
        Err(error) => error.into(),
    }
}

/// A thread that died while it held the lock has left nothing half done: the snapshot is swapped whole.
fn hold<T>(lock: &Mutex<T>) -> MutexGuard<'_, T> {
    lock.lock().unwrap_or_else(PoisonError::into_inner)
}
