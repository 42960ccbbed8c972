//! Models that are loaded because somebody asks for them.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};

use tokio::sync::watch;

use super::budget::EVICTED;
use super::{Candidate, Repository, Version, hold, scan};
use crate::host::usual_turns;
use crate::settings::Settings;
use crate::{Error, Model, ModelId};

/// How often a request waits for its model, should it be pushed out again each time.
const TRIES: usize = 3;

/// How a load ended; `None` while it is under way.
type Ending = watch::Receiver<Option<Result<(), Error>>>;

/// The loads that requests wait for.
#[derive(Debug, Default)]
pub(super) struct Waking(Mutex<Loads>);

#[derive(Debug, Default)]
struct Loads {
    under_way: HashMap<ModelId, Ending>,
    threads: Vec<JoinHandle<()>>,
}

impl Waking {
    /// Waits for the loads under way.
    pub(super) fn join(&self) {
        let threads = std::mem::take(&mut hold(&self.0).threads);
        for thread in threads {
            // One that panicked has told its callers by being gone.
            let _ = thread.join();
        }
    }
}

impl Repository {
    /// The model of that name, loaded first if it was unloaded to stay within the memory budget.
    ///
    /// All who ask for the same model wait for the same load. Dropping the future does not stop it.
    pub async fn awake(self: &Arc<Self>, name: &str, version: Option<&str>) -> Result<Arc<Model>, Error> {
        for _ in 0..TRIES {
            let Err(Error::Evicted { model }) = self.model(name, version) else { break };
            let mut ending = self.wake(&model)?;
            let gone = |_| Error::NotReady { model: model.to_string(), reason: "loading it failed".into() };
            let ended = ending.wait_for(Option::is_some).await.map_err(gone)?.clone();
            ended.unwrap_or(Ok(()))?;
        }
        self.model(name, version)
    }

    /// Begins to load a model, unless that is under way.
    fn wake(self: &Arc<Self>, id: &ModelId) -> Result<Ending, Error> {
        let mut loads = hold(&self.waking.0);
        if let Some(ending) = loads.under_way.get(id) {
            return Ok(ending.clone());
        }
        let (end, ending) = watch::channel(None);
        let (own, repository) = (id.clone(), Arc::clone(self));
        let load = move || {
            usual_turns();
            let result = repository.load_asleep(&own);
            hold(&repository.waking.0).under_way.remove(&own);
            // Nobody may be waiting any more.
            let _ = end.send(Some(result));
        };
        let thread = thread::Builder::new().name("hedef-wake".into()).spawn(load);
        let failed = |error| Error::Load { model: id.to_string(), reason: format!("cannot start a thread: {error}") };
        loads.threads.retain(|thread| !thread.is_finished());
        loads.threads.push(thread.map_err(failed)?);
        loads.under_way.insert(id.clone(), ending.clone());
        Ok(ending)
    }

    /// Loads a version that was pushed out, as it was loaded before.
    fn load_asleep(&self, id: &ModelId) -> Result<(), Error> {
        let lock = self.lock_of(&id.name);
        let _changing = hold(&lock);
        let Some(entry) = self.snapshot.load().get(&id.name).cloned() else { return Ok(()) };
        // Somebody may have loaded or unloaded it meanwhile.
        if entry.slots.get(&id.version).is_none_or(|slot| slot.reason != EVICTED) {
            return Ok(());
        }
        let failed = |reason: String| Error::Load { model: id.to_string(), reason };
        let package = match &entry.uploaded {
            Some(folder) => scan(&[folder.path().join(id.name.as_str())]).packages.remove(&id.name),
            None => self.look().packages.remove(&id.name),
        };
        let package = package.ok_or_else(|| failed("its files are gone".into()))?;
        let file = package.versions.get(&id.version).ok_or_else(|| failed("its files are gone".into()))?;
        let settings = package.settings.as_deref().map_or_else(|| Ok(Settings::default()), Settings::read);
        let mut settings = settings.map_err(failed)?;
        entry.overrides.apply(&mut settings);
        let version = Version { id: id.clone(), file, folder: &package.folder, settings: &settings };
        self.metrics.woken(id);
        let settings = package.settings.as_deref();
        let loaded = self.load_version(&Candidate { version: &version, settings, overrides: &entry.overrides }, false);
        self.settle();
        loaded
    }
}
