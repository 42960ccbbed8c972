//! What makes updates: one at a time, step by step, each step in the journal before the next.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hedef_core::ModelName;
use hedef_core::repository::Repository;
use hedef_protocols::bundle::PublicKey;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use super::board::{Board, Entry, Order, Trouble};
use super::clock::Clock;
use super::inbox::{Found, Inbox};
use super::record::{Needless, Phase, Record};
use super::settings;
use super::store::Store;
use super::trial::Trials;
use super::wanted::Wanted;
use crate::metrics::Metrics;
use crate::steps::Step;

/// How often the folder for bundles is looked at, and how long a file there has to be the same.
const INBOX: Duration = Duration::from_secs(2);

/// The longest wait between two tries; the first is a second.
const LONGEST: Duration = Duration::from_secs(3600);

/// Makes updates.
pub struct Engine {
    pub(super) board: Arc<Board>,
    pub(super) store: Store,
    pub(super) trials: Trials,
    pub(super) clock: Arc<Clock>,
    pub(super) keys: Arc<Vec<PublicKey>>,
    /// Why there are no keys.
    pub(super) no_keys: String,
    pub(super) inbox: PathBuf,
    pub(super) settings: settings::Updates,
    pub(super) metrics: Metrics,
}

/// The models that updates change.
pub struct Models {
    /// Where they are served.
    pub repository: Arc<Repository>,
    /// The 22 of ONNX Runtime 1.22.
    pub runtime: u32,
    /// Told when those of the start are loaded.
    pub loaded: oneshot::Receiver<()>,
}

/// Why an update does not go on.
#[derive(Debug)]
pub(super) enum Stopped {
    /// The bundle is no good.
    Wrong(String),
    /// It may be better later; told as a failure or not.
    Later { error: String, failed: bool },
    /// Something else comes first.
    Interrupted,
}

impl Stopped {
    pub(super) fn disk(error: &std::io::Error) -> Self {
        let full = error.kind() == std::io::ErrorKind::StorageFull;
        let error = if full { "the disk is full".into() } else { format!("the disk cannot be used: {error}") };
        Self::Later { error, failed: true }
    }
}

/// What is to be done next.
enum Job {
    Advance(ModelName),
    RollBack(ModelName),
}

impl Engine {
    /// Works until `stop`. What is under way then goes on after the next start.
    pub async fn run(self, models: Models, stop: CancellationToken) {
        tokio::select! {
            biased;
            () = stop.cancelled() => (),
            () = self.work(models) => (),
        }
    }

    async fn work(self, models: Models) {
        let Models { repository, runtime, loaded } = models;
        // One that was dropped has loaded nothing, and the process ends.
        let _ = loaded.await;
        let maker = Maker { engine: self, repository, runtime };
        maker.recover().await;
        let mut inbox = Inbox::default();
        loop {
            let (job, wait) = maker.engine.next();
            match job {
                Some(Job::Advance(name)) => maker.advance(&name).await,
                Some(Job::RollBack(name)) => maker.roll_back(&name, "somebody asked for it".into(), false).await,
                None => {
                    inbox = maker.engine.look(inbox).await;
                    tokio::select! {
                        () = maker.engine.board.work.notified() => (),
                        () = tokio::time::sleep(wait.min(INBOX)) => (),
                    }
                }
            }
        }
    }

    /// What is to be done next, or how long nothing is.
    fn next(&self) -> (Option<Job>, Duration) {
        let mut entries = self.board.entries();
        let mut wait = LONGEST;
        let on_trial = entries.iter().find(|(_, entry)| matches!(entry.record.phase, Phase::Trial { .. }));
        if let Some((name, entry)) = on_trial
            && entry.order != Some(Order::RollBack)
        {
            // Nothing else is begun meanwhile.
            return match entry.waits() {
                None => (Some(Job::Advance(name.clone())), wait),
                Some(rest) => (None, rest),
            };
        }
        for (name, entry) in entries.iter_mut() {
            if entry.order == Some(Order::RollBack) {
                entry.order = None;
                return (Some(Job::RollBack(name.clone())), wait);
            }
        }
        for (name, entry) in entries.iter_mut() {
            if let Some(rest) = entry.waits() {
                wait = wait.min(rest);
                continue;
            }
            if entry.order.is_some() {
                return (Some(Job::Advance(name.clone())), wait);
            }
            let admitted = entry.wish().map(|wish| entry.record.admits(wish, entry.fresh));
            entry.fresh &= admitted != Some(Err(Needless::Here));
            // What is known to be no good is to be told to be.
            let begins = matches!(admitted, Some(Ok(()) | Err(Needless::Refused)));
            if entry.record.phase != Phase::Rest || begins {
                return (Some(Job::Advance(name.clone())), wait);
            }
        }
        (None, wait)
    }

    /// Looks whether there are bundles in the folder for them.
    async fn look(&self, mut inbox: Inbox) -> Inbox {
        let (folder, keys) = (self.inbox.clone(), Arc::clone(&self.keys));
        let looked = tokio::task::spawn_blocking(move || {
            let found = inbox.look(&folder, &keys);
            (inbox, found)
        });
        let Ok((mut inbox, found)) = looked.await else { return Inbox::default() };
        for Found { path, new, bundle } in found {
            let shown = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let (name, wanted) = match bundle {
                Ok(bundle) => bundle,
                Err(error) => {
                    let error = if self.no_keys.is_empty() { error } else { self.no_keys.clone() };
                    tracing::error!("{shown} is not taken: {error}");
                    self.board.told_of_inbox(format!("{shown} is not taken: {error}"));
                    if self.no_keys.is_empty() {
                        inbox.done(&path, false);
                    }
                    continue;
                }
            };
            let version = wanted.version;
            let begun = self.board.with(&name, |entry| {
                let admitted = entry.record.admits(&wanted, new);
                if admitted.is_ok() && entry.order.is_none() && entry.record.wanted() != Some(&wanted) {
                    entry.order = Some(Order::Take(wanted));
                    // What waits for a better disk does not do so anew at each look.
                    entry.trouble.take_if(|_| new);
                    self.board.work.notify_one();
                }
                admitted
            });
            match begun {
                Ok(()) if new => {
                    tracing::info!(model = %name, version, "{shown} is taken");
                    self.board.told_of_inbox(format!("{shown} is taken"));
                }
                Ok(()) => (),
                Err(Needless::Here) => inbox.done(&path, true),
                Err(Needless::Refused | Needless::Declined) => {
                    self.board.told_of_inbox(format!("{shown} was not good"));
                    inbox.done(&path, false);
                }
            }
        }
        inbox
    }

    /// Changes a record: on disk first, then the step is made, and then it is told.
    pub(super) async fn keep(
        &self,
        name: &ModelName,
        step: Step,
        change: impl FnOnce(&mut Record),
    ) -> Result<(), Stopped> {
        let record = self.write(name, step, change).await?;
        self.show(name, record);
        Ok(())
    }

    /// Changes a record on disk alone, for a change that is to be told when it is made. Then the step is made.
    pub(super) async fn write(
        &self,
        name: &ModelName,
        step: Step,
        change: impl FnOnce(&mut Record),
    ) -> Result<Record, Stopped> {
        let mut record = self.board.with(name, |entry| entry.record.clone());
        change(&mut record);
        let (store, own, kept) = (self.store.clone(), name.clone(), record.clone());
        let written = tokio::task::spawn_blocking(move || {
            store.keep(&own, &kept)?;
            store.steps.made(step);
            Ok(())
        });
        let written = written.await.unwrap_or_else(|error| Err(std::io::Error::other(error)));
        written.map_err(|error| Stopped::disk(&error))?;
        Ok(record)
    }

    /// Takes a record over, and has it told.
    pub(super) fn show(&self, name: &ModelName, record: Record) {
        self.board.with(name, |entry| {
            entry.trouble = None;
            entry.record = record;
        });
        self.board.report();
    }

    /// Notes why an update does not go on for now.
    pub(super) fn wait(&self, name: &ModelName, error: String, failed: bool) {
        tracing::warn!(model = %name, "the update of the model does not go on for now: {error}");
        self.board.with(name, |entry| {
            let tries = entry.trouble.as_ref().map_or(0, |trouble| trouble.tries);
            let longest = Duration::from_secs(1 << tries.min(12)).min(LONGEST);
            // Not all devices are to come at once.
            let again = Instant::now() + longest.mul_f64(1.0 - fastrand::f64() / 2.0);
            entry.trouble = Some(Trouble { error, failed, again, tries: tries + 1 });
        });
        self.board.report();
    }

    /// The wish for the bundle that is on its way, where it has changed: it may be somewhere else by now.
    pub(super) fn moved(&self, name: &ModelName, wanted: &Wanted) -> Option<Wanted> {
        let same = |wish: &&Wanted| wish.sha256 == wanted.sha256 && *wish != wanted;
        self.board.with(name, |entry| entry.wish().filter(|_| !entry.ordered).filter(same).cloned())
    }

    /// Whether what is on its way was a wish that the twin has no more, nor has another.
    pub(super) fn dropped(&self, name: &ModelName, wanted: &Wanted) -> bool {
        let was_wish = |entry: &Entry| !entry.ordered && entry.record.settled == Some(wanted.sha256);
        self.board.follows() && self.board.with(name, |entry| was_wish(entry) && entry.wish().is_none())
    }

    /// Whether something else is wanted than what is on its way.
    pub(super) fn minds_changed(&self, name: &ModelName, wanted: &Wanted) -> bool {
        let entries = self.board.entries();
        let other = |entry: &Entry| {
            entry.order.is_some()
                || (!entry.ordered
                    && entry.wish().is_some_and(|wish| {
                        wish.sha256 != wanted.sha256 && entry.record.admits(wish, entry.fresh).is_ok()
                    }))
        };
        entries.values().any(|entry| entry.order == Some(Order::RollBack)) || entries.get(name).is_some_and(other)
    }
}

/// An engine at work.
pub(super) struct Maker {
    pub(super) engine: Engine,
    pub(super) repository: Arc<Repository>,
    pub(super) runtime: u32,
}

#[cfg(test)]
mod tests {
    use hedef_protocols::bundle::Sha256;

    use super::super::{Opened, Opening, Trials};
    use super::*;
    use crate::care::LastEnd;
    use crate::steps::Steps;

    fn engine(data: &std::path::Path) -> Engine {
        let opening = Opening {
            settings: &settings::Updates::default(),
            data,
            roots: &[],
            last_end: LastEnd::Clean,
            steps: Steps::default(),
            trials: Trials::default(),
            metrics: Metrics::new(&prometheus::Registry::new()).unwrap(),
            reports: Arc::default(),
        };
        let Opened { engine, .. } = opening.open();
        engine
    }

    #[test]
    fn what_cannot_go_on_rests_in_every_phase_but_going_back_does_not_wait() {
        let folder = tempfile::tempdir().unwrap();
        let engine = engine(folder.path());
        let name = ModelName::new("m").unwrap();
        let wanted = |version: u64| Wanted {
            version,
            url: "https://h/".into(),
            sha256: Sha256::of(&version.to_le_bytes()),
            size: 1,
        };
        let changes: [fn(&mut Record); 4] =
            [|_| (), Record::downloaded, |record| record.verified(false), Record::passed];
        let mut record = Record::default();
        record.begin(wanted(1), true);
        for change in changes {
            change(&mut record);
            engine.board.with(&name, |entry| entry.record = record.clone());
            assert!(matches!(engine.next().0, Some(Job::Advance(_))), "{record:?}");
            engine.wait(&name, "the disk is full".into(), true);
            let (job, rest) = engine.next();
            assert!(job.is_none() && rest <= Duration::from_secs(2), "{record:?}");
            // What else was asked for meanwhile does not hurry it.
            engine.board.with(&name, |entry| entry.order = Some(Order::Take(wanted(2))));
            assert!(engine.next().0.is_none(), "{record:?}");
            engine.board.with(&name, |entry| (entry.order, entry.trouble) = (None, None));
        }
        engine.wait(&name, "the disk is full".into(), true);
        engine.board.with(&name, |entry| entry.order = Some(Order::RollBack));
        assert!(matches!(engine.next().0, Some(Job::RollBack(_))));
    }
}
