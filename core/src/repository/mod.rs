//! The models on disk and their loaded state.

mod budget;
#[cfg(test)]
mod budget_tests;
mod chosen;
#[cfg(test)]
mod chosen_tests;
mod each_size;
mod entry;
mod layout;
mod lifecycle;
mod loader;
mod lookup;
mod memory;
mod opening;
mod overrides;
mod quarantine;
#[cfg(test)]
mod quarantine_tests;
mod quicker;
mod quota;
mod stuck;
#[cfg(test)]
mod tests;
mod trials;
mod wake;
mod watch;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use arc_swap::ArcSwap;

pub use budget::{Budget, OverBudget};
pub use chosen::Prepared;
pub use entry::{IndexEntry, State};
pub use layout::{Found, Package, scan};
pub use loader::OnnxLoader;
pub use memory::{Loads, ModelMemory};
pub use overrides::Overrides;
pub use quarantine::{Candidate, Quarantine, Refused, Trusted};
pub use quota::QuotaWatcher;
pub use stuck::RunWatcher;
pub use watch::{View, Watcher};

use self::budget::Reserved;
use self::entry::{Entry, Slot, Snapshot};
use self::lifecycle::Occasion;
use self::quarantine::Gate;
use self::wake::Waking;
use crate::host::usual_turns;
use crate::metrics::Metrics;
use crate::model::{Parts, Retired};
use crate::settings::Settings;
use crate::{ModelId, ModelName};

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

/// The models on disk and their loaded state. Looking a model up takes no lock.
pub struct Repository {
    roots: Vec<PathBuf>,
    chosen: Mutex<HashMap<ModelName, Package>>,
    loader: Box<dyn Load>,
    metrics: Metrics,
    budget: Option<Budget>,
    reserved: Arc<Reserved>,
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
            chosen: Mutex::default(),
            loader,
            metrics,
            budget: None,
            quarantine: None,
            reserved: Arc::default(),
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
        let found = self.look();
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
                    usual_turns();
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

    /// Unloads everything: waits, at most for `limit`, until queued requests are answered. Blocks.
    pub fn close(&self, limit: Duration) -> bool {
        self.snapshot.store(Arc::default());
        self.waking.join();
        self.snapshot.store(Arc::default());
        self.retired.join(limit)
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
}

/// A thread that died while it held the lock has left nothing half done: the snapshot is swapped whole.
fn hold<T>(lock: &Mutex<T>) -> MutexGuard<'_, T> {
    lock.lock().unwrap_or_else(PoisonError::into_inner)
}
