//! Follows the files of a repository.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, SystemTime};

use super::{Overrides, Package, Repository};
use crate::{Error, ModelName};

/// Files of one model beyond this many are not followed.
const MOST_FILES: usize = 4096;

/// What can be seen of a model's files without reading them.
type Fingerprint = BTreeMap<PathBuf, (u64, Option<SystemTime>)>;

/// Looks at the roots again and again, on a thread of its own, until dropped.
///
/// It compares what it sees instead of listening for events, which network and container file systems do not send.
/// Files count as complete when two looks in a row saw them alike.
#[derive(Debug)]
pub struct Watcher {
    stop: Option<mpsc::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Watcher {
    /// Starts to follow the roots of `repository` every `interval`. `view` was taken before its models were loaded.
    pub fn start(repository: Arc<Repository>, mut view: View, interval: Duration) -> std::io::Result<Self> {
        let (stop, stopped) = mpsc::channel();
        let follow = move || {
            while stopped.recv_timeout(interval) == Err(RecvTimeoutError::Timeout) {
                view.follow(&repository);
            }
        };
        let thread = thread::Builder::new().name("hedef-watch".into()).spawn(follow)?;
        Ok(Self { stop: Some(stop), thread: Some(thread) })
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // A watcher that panicked has nothing left to do.
            let _ = thread.join();
        }
    }
}

/// What the last look saw, and what was loaded.
#[derive(Debug, Default)]
pub struct View {
    seen: HashMap<ModelName, Fingerprint>,
    loaded: HashMap<ModelName, Fingerprint>,
    only_loaded: bool,
}

impl View {
    /// What is there before it is loaded, so that what changes meanwhile is noticed. With `only_loaded`, models that
    /// nobody has loaded are left alone.
    #[must_use]
    pub fn before_loading(repository: &Repository, only_loaded: bool) -> Self {
        let mut view = Self { only_loaded, ..Self::default() };
        let _nothing = view.look(repository);
        view.loaded = view.seen.clone();
        view
    }

    /// Looks, and returns what the look before saw; `None` when a root could not be read.
    fn look(&mut self, repository: &Repository) -> Option<HashMap<ModelName, Fingerprint>> {
        let found = repository.refresh();
        if found.incomplete {
            return None;
        }
        let packages = found.packages;
        let now = packages.into_iter().map(|(name, package)| (name, fingerprint(&package))).collect();
        Some(std::mem::replace(&mut self.seen, now))
    }

    /// Looks once, and loads or forgets what changed and has come to rest.
    pub(crate) fn follow(&mut self, repository: &Repository) {
        // A root that cannot be read now, such as a network mount that hiccups, is no reason to unload its models.
        let Some(before) = self.look(repository) else { return };
        for (name, now) in &self.seen {
            let rests = before.get(name) == Some(now) && self.loaded.get(name) != Some(now);
            if rests && (!self.only_loaded || is_loaded(repository, name)) {
                tracing::info!(model = %name, "the model's files changed");
                // A failure is in the log and the index; the files have to change again before another try.
                let _ = repository.load(name.as_str(), Overrides::default());
                self.loaded.insert(name.clone(), now.clone());
            }
        }
        let gone = |name: &&ModelName| !before.contains_key(*name) && !self.seen.contains_key(*name);
        let gone: Vec<_> = self.loaded.keys().filter(gone).cloned().collect();
        for name in gone {
            tracing::info!(model = %name, "the model's files are gone");
            self.loaded.remove(&name);
            // Someone may have unloaded it already.
            let _ = repository.forget(&name);
        }
    }
}

/// Whether somebody loaded it, be it that it made room for others since.
fn is_loaded(repository: &Repository, name: &ModelName) -> bool {
    matches!(repository.model(name.as_str(), None), Ok(_) | Err(Error::Evicted { .. }))
}

fn fingerprint(package: &Package) -> Fingerprint {
    let mut all = Fingerprint::new();
    let bare =
        package.versions.values().any(|file| file.parent() == Some(&package.folder) && !file.ends_with("model.onnx"));
    if bare {
        for file in package.versions.values().chain(&package.settings) {
            note(file, &mut all);
        }
    } else {
        walk(&package.folder, &mut all);
        // Versions may be linked folders, which the walk passes by.
        package.versions.values().for_each(|file| note(file, &mut all));
    }
    all
}

fn walk(folder: &Path, all: &mut Fingerprint) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for path in entries.flatten().map(|entry| entry.path()) {
        if all.len() >= MOST_FILES {
            return;
        }
        let is_link = path.is_symlink();
        if path.is_dir() && !is_link {
            walk(&path, all);
        } else {
            note(&path, all);
        }
    }
}

fn note(file: &Path, all: &mut Fingerprint) {
    if let Ok(facts) = fs::metadata(file) {
        all.insert(file.to_owned(), (facts.len(), facts.modified().ok()));
    }
}
