//! The steps of one update, each from a journal to the next.

use std::fs;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hedef_core::host::at_length;
use hedef_core::repository::{Package, Prepared};
use hedef_core::{ModelId, ModelName};
use hedef_protocols::bundle::{MANIFEST, Manifest};
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use super::board::Order;
use super::engine::{Maker, Stopped};
use super::fetch::{Fetch, NotHere, open};
use super::part::Part;
use super::record::{Needless, Phase, Record};
use super::store::remove;
use super::trial::Trials;
use super::unpack::{Fit, NotUnpacked};
use super::wanted::{Place, Wanted};
use crate::selftest;
use crate::steps::Step;

/// What stays free beside a bundle and what it unpacks to.
const SPARE: u64 = 1 << 20;

/// How long the unloading of a version that failed is waited for.
const UNLOADING: Duration = Duration::from_secs(30);

/// How often a bundle may come with other bytes than were said.
const MOST_WRONG: u32 = 3;

/// How often progress is told.
const TELL: Duration = Duration::from_secs(5);

impl Maker {
    /// Does what is next for a model, until nothing is or it has to wait.
    pub(super) async fn advance(&self, name: &ModelName) {
        loop {
            let phase = self.engine.board.with(name, |entry| entry.record.phase.clone());
            let went = match phase {
                Phase::Rest => match self.begin(name).await {
                    Ok(true) => Ok(()),
                    Ok(false) => return,
                    Err(stopped) => Err(stopped),
                },
                Phase::Downloading { wanted } => self.download(name, &wanted).await,
                Phase::Verifying { wanted, .. } => self.verify(name, &wanted).await,
                Phase::Testing { wanted, .. } => self.test(name, &wanted).await,
                Phase::Trial { .. } => self.watch(name).await,
            };
            match went {
                Ok(()) => (),
                Err(Stopped::Interrupted) => return,
                Err(Stopped::Later { error, failed }) => return self.engine.wait(name, error, failed),
                Err(Stopped::Wrong(error)) => {
                    if let Err(Stopped::Later { error, failed }) = self.fail(name, error).await {
                        return self.engine.wait(name, error, failed);
                    }
                }
            }
        }
    }

    /// Begins what is wanted. `false`: nothing is.
    async fn begin(&self, name: &ModelName) -> Result<bool, Stopped> {
        let engine = &self.engine;
        let (wanted, again, wish) = engine.board.with(name, |entry| {
            let order = entry.order.take_if(|order| *order != Order::RollBack);
            entry.wrong = 0;
            entry.ordered = matches!(order, Some(Order::Take(_)));
            let fresh = std::mem::take(&mut entry.fresh);
            match order {
                Some(Order::Take(wanted)) => (Some(wanted), true, false),
                order => (entry.wish().cloned(), fresh || order == Some(Order::Again), true),
            }
        });
        let Some(wanted) = wanted else { return Ok(false) };
        if !engine.no_keys.is_empty() {
            engine.wait(name, engine.no_keys.clone(), true);
            return Ok(false);
        }
        let admitted = engine.board.with(name, |entry| entry.record.admits(&wanted, again));
        match admitted {
            Err(Needless::Here | Needless::Declined) => Ok(false),
            Err(Needless::Refused) => {
                let error =
                    format!("this bundle of version {} failed in use here and is not taken again", wanted.version);
                engine.keep(name, Step::Begun, |record| record.declines(&wanted, error)).await?;
                Ok(false)
            }
            Ok(()) => {
                tracing::info!(model = %name, version = wanted.version, "an update of the model begins");
                engine.keep(name, Step::Begun, |record| record.begin(wanted, wish)).await?;
                Ok(true)
            }
        }
    }

    async fn download(&self, name: &ModelName, wanted: &Wanted) -> Result<(), Stopped> {
        let engine = &self.engine;
        engine.board.with(name, |entry| {
            // It was asked to go on with this.
            entry.order.take_if(|order| *order == Order::Again);
        });
        if let Some(wish) = engine.moved(name, wanted) {
            return engine.keep(name, Step::Begun, |record| record.moved(wish)).await;
        }
        let pace = engine.board.pace();
        let changed = async {
            let moved = || engine.moved(name, wanted).is_some() || engine.board.pace() != pace;
            let same = || !moved() && !engine.dropped(name, wanted);
            while same() && !engine.minds_changed(name, wanted) {
                engine.board.work.notified().await;
            }
        };
        let brought = tokio::select! {
            biased;
            () = changed => Err(Stopped::Interrupted),
            brought = self.bring(name, wanted) => brought,
        };
        if let Err(Stopped::Interrupted) = brought {
            if !engine.minds_changed(name, wanted) {
                if engine.dropped(name, wanted) {
                    engine.keep(name, Step::Begun, Record::dropped).await?;
                }
                return Ok(());
            }
            let mine = engine.board.with(name, |entry| entry.order != Some(Order::RollBack));
            if mine && engine.board.entries().values().all(|entry| entry.order != Some(Order::RollBack)) {
                engine.keep(name, Step::Begun, Record::abandoned).await?;
            }
            return Err(Stopped::Interrupted);
        }
        brought?;
        engine.keep(name, Step::Downloaded, Record::downloaded).await
    }

    /// Brings a bundle and looks whether it is the right one.
    async fn bring(&self, name: &ModelName, wanted: &Wanted) -> Result<(), Stopped> {
        let engine = &self.engine;
        let place = Place::parse(&wanted.url, engine.settings.allow_http).map_err(Stopped::Wrong)?;
        let (path, size) = (engine.store.part(&wanted.sha256), wanted.size);
        let opened = blocking(move || Part::open(&path, size)).await;
        let mut part = opened.map_err(|error| Stopped::disk(&error))?;
        let free = engine.store.free().map_err(|error| Stopped::disk(&error))?;
        // The bundle, and what it unpacks to.
        let needed = size.saturating_mul(2).saturating_sub(part.length()).saturating_add(SPARE);
        if needed > free {
            let error = format!("the disk is full: {needed} bytes are needed, {free} are free");
            return Err(Stopped::Later { error, failed: true });
        }
        open(engine.board.pace()).await;
        let told = std::sync::Mutex::new(Instant::now());
        let progress = |here: u64| {
            let percent = u8::try_from(here.saturating_mul(100) / size.max(1)).unwrap_or(100);
            engine.board.with(name, |entry| entry.progress = Some(percent));
            let mut told = told.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            if told.elapsed() >= TELL {
                *told = Instant::now();
                engine.board.report();
            }
        };
        progress(part.length());
        let fetch = Fetch {
            clock: &engine.clock,
            pace: engine.board.pace(),
            plain_http: engine.settings.allow_http,
            ca_file: engine.settings.ca_file.as_deref(),
            tag: engine.store.tag(&wanted.sha256),
            steps: &engine.store.steps,
            progress: &progress,
        };
        let before = part.length();
        let brought = fetch.bring(place, &mut part).await;
        if let Err(error) = brought {
            if part.length() > before {
                // It gets on, so there is no reason to wait for ever longer.
                engine.board.with(name, |entry| entry.trouble = None);
            }
            return Err(match error {
                NotHere::Size { .. } => self.wrong_bytes(name, wanted, error.to_string()),
                NotHere::Full | NotHere::Disk(_) => Stopped::Later { error: error.to_string(), failed: true },
                error => Stopped::Later { error: error.to_string(), failed: false },
            });
        }
        let found = blocking(move || part.finish()).await.map_err(|error| Stopped::disk(&error))?;
        engine.store.steps.made(Step::AllBytes);
        if found != wanted.sha256 {
            let error = format!("expected a bundle with SHA-256 {}, found {found}", wanted.sha256);
            return Err(self.wrong_bytes(name, wanted, error));
        }
        Ok(())
    }

    /// The bytes were not those that were said: what is here is of no use. It may have been an accident, but not each time.
    fn wrong_bytes(&self, name: &ModelName, wanted: &Wanted, error: String) -> Stopped {
        remove(&self.engine.store.part(&wanted.sha256));
        remove(&self.engine.store.tag(&wanted.sha256));
        let times = self.engine.board.with(name, |entry| {
            entry.wrong += 1;
            entry.wrong
        });
        if times >= MOST_WRONG { Stopped::Wrong(error) } else { Stopped::Later { error, failed: false } }
    }

    async fn verify(&self, name: &ModelName, wanted: &Wanted) -> Result<(), Stopped> {
        let engine = &self.engine;
        let (store, keys, runtime) = (engine.store.clone(), Arc::clone(&engine.keys), self.runtime);
        let (record, now) = (engine.board.with(name, |entry| entry.record.clone()), engine.clock.trusted());
        let (own, one) = (name.clone(), wanted.clone());
        let unpacked = spawn_blocking(move || {
            let fit = Fit { name: &own, wanted: &one, record: &record, keys: &keys, now, runtime };
            let unpacked = at_length(|| fit.unpack(&store.part(&one.sha256), &store));
            if unpacked.is_err() {
                remove(&store.unfinished(&own, one.version));
            }
            unpacked
        });
        let unpacked = unpacked.await.map_err(|error| Stopped::Wrong(format!("verifying it failed: {error}")))?;
        let manifest = match unpacked {
            Ok(manifest) => manifest,
            Err(error) if error.is_of_part() => {
                // The disk has lost it.
                engine.keep(name, Step::Begun, |record| record.begin(wanted.clone(), false)).await?;
                return Err(self.wrong_bytes(name, wanted, error.to_string()));
            }
            Err(NotUnpacked::Disk(error)) => return Err(Stopped::disk(&error)),
            Err(error) => return Err(Stopped::Wrong(error.to_string())),
        };
        let downgrade = manifest.allow_downgrade;
        engine.keep(name, Step::Verified, |record| record.verified(downgrade)).await?;
        remove(&engine.store.part(&wanted.sha256));
        remove(&engine.store.tag(&wanted.sha256));
        Ok(())
    }

    /// Loads the new version beside the old one, asks it what it has to know, and has it served on trial.
    async fn test(&self, name: &ModelName, wanted: &Wanted) -> Result<(), Stopped> {
        let engine = &self.engine;
        let gone = || Stopped::Wrong("its files are gone".into());
        let package = engine.store.package(name, wanted.version).ok_or_else(gone)?;
        let id = ModelId { name: name.clone(), version: wanted.version };
        let watch = engine.trials.watch(id.clone(), engine.settings.terms());
        let trial = EndsTrial { trials: &engine.trials, id: Some(id) };
        let (prepared, alone) = self.load_beside(package.clone()).await;
        let tested = match prepared {
            Ok(prepared) => {
                engine.store.steps.made(Step::Loaded);
                match self.ask(&prepared, &package).await {
                    Ok(()) => Ok(prepared),
                    Err(error) => {
                        // It waits for its threads, of which one may have no end.
                        let _ = timeout(UNLOADING, spawn_blocking(move || drop(prepared))).await;
                        Err(Stopped::Wrong(error))
                    }
                }
            }
            Err(error) => Err(Stopped::Wrong(error.to_string())),
        };
        let kept = match tested {
            Ok(prepared) => {
                engine.store.steps.made(Step::Tested);
                engine.write(name, Step::TrialNoted, Record::passed).await.map(|record| (prepared, record))
            }
            Err(stopped) => Err(stopped),
        };
        let (prepared, record) = match kept {
            Ok(kept) => kept,
            Err(stopped) => {
                drop(trial);
                if alone {
                    let record = engine.board.with(name, |entry| entry.record.clone());
                    self.serve_again(name, record).await;
                }
                return Err(stopped);
            }
        };
        trial.goes_on();
        watch.begin();
        let repository = Arc::clone(&self.repository);
        let steps = engine.store.steps.clone();
        let _ = spawn_blocking(move || {
            repository.publish(prepared);
            steps.made(Step::Published);
        })
        .await;
        engine.show(name, record);
        tracing::info!(model = %name, version = wanted.version, "the new version of the model is served, on trial");
        Ok(())
    }

    /// Asks a model the golden requests of its package.
    async fn ask(&self, prepared: &Prepared, package: &Package) -> Result<(), String> {
        let text = fs::read(package.folder.join(MANIFEST)).map_err(|error| format!("its manifest: {error}"))?;
        let manifest = Manifest::parse(&text).map_err(|error| error.to_string())?;
        let asked = selftest::try_model(prepared.model(), &package.folder, &manifest.golden);
        let limit = self.engine.settings.selftest_s;
        let asked = timeout(Duration::from_secs(limit), asked).await;
        let right = asked.map_err(|_| format!("its golden requests were not answered within {limit} s"))?;
        right.map_err(|difference| format!("a golden request was answered wrong: {difference}"))
    }

    /// Ends an update that changed nothing.
    async fn fail(&self, name: &ModelName, error: String) -> Result<(), Stopped> {
        tracing::error!(model = %name, "the update of the model failed: {error}");
        let record = self.engine.write(name, Step::RollbackNoted, |record| record.failed(error, false)).await?;
        self.engine.metrics.updated("failed");
        self.sweep(name, &record).await;
        self.engine.show(name, record);
        Ok(())
    }
}

/// Ends a trial that does not come to be.
struct EndsTrial<'t> {
    trials: &'t Trials,
    id: Option<ModelId>,
}

impl EndsTrial<'_> {
    fn goes_on(mut self) {
        self.id = None;
    }
}

impl Drop for EndsTrial<'_> {
    fn drop(&mut self) {
        if let Some(id) = &self.id {
            self.trials.end(id);
        }
    }
}

pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> std::io::Result<T> + Send + 'static,
) -> std::io::Result<T> {
    spawn_blocking(work).await.unwrap_or_else(|error| Err(std::io::Error::other(error)))
}
