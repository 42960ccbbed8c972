//! What is served: the new version on trial, the one before, or what the settings' folders hold.

use std::sync::Arc;

use hedef_core::repository::{Package, Prepared};
use hedef_core::{Error, ModelId, ModelName};
use tokio::task::spawn_blocking;

use super::board::Order;
use super::engine::{Maker, Stopped};
use super::maker::blocking;
use super::record::{Phase, Record};
use super::trial::Verdict;
use crate::steps::Step;

impl Maker {
    /// Looks after a version that is on trial, until it is decided.
    pub(super) async fn watch(&self, name: &ModelName) -> Result<(), Stopped> {
        let engine = &self.engine;
        let active = engine.board.with(name, |entry| entry.record.active.clone());
        let Some(active) = active else {
            self.roll_back(name, "its files are gone".into(), false).await;
            return Ok(());
        };
        // One that is there in another version is not: the roots hold that.
        let served = self.repository.model(name.as_str(), Some(&active.version.to_string()));
        if let Err(error) = served {
            // It could be loaded before, so the disk or the memory is to blame.
            self.roll_back(name, error.to_string(), false).await;
            return Ok(());
        }
        let id = ModelId { name: name.clone(), version: active.version };
        let watch = engine.trials.of(&id).unwrap_or_else(|| engine.trials.watch(id.clone(), engine.settings.terms()));
        watch.begin();
        let decision = watch.decision();
        tokio::pin!(decision);
        let verdict = loop {
            let ordered = engine.board.with(name, |entry| entry.order.take_if(|order| *order == Order::RollBack));
            if ordered.is_some() {
                self.roll_back(name, "somebody asked for it".into(), false).await;
                return Ok(());
            }
            tokio::select! {
                verdict = &mut decision => break verdict,
                () = engine.board.work.notified() => (),
            }
        };
        if let Verdict::Bad(reason) = verdict {
            self.roll_back(name, reason, true).await;
            return Ok(());
        }
        engine.store.steps.made(Step::TrialPassed);
        let record = engine.write(name, Step::Confirmed, Record::confirmed).await?;
        engine.trials.end(&id);
        engine.metrics.updated("active");
        self.sweep(name, &record).await;
        engine.store.steps.made(Step::OldRemoved);
        engine.show(name, record);
        tracing::info!(model = %name, version = active.version, "the new version of the model has proved itself");
        Ok(())
    }

    /// Goes back to the version of before: in the journal, and then in what is served. It is done even where the journal
    /// cannot be written.
    pub(super) async fn roll_back(&self, name: &ModelName, reason: String, blame: bool) {
        let engine = &self.engine;
        tracing::error!(model = %name, "the model goes back to the version of before: {reason}");
        let mut record = engine.board.with(name, |entry| entry.record.clone());
        let left = record.active.as_ref().map(|active| ModelId { name: name.clone(), version: active.version });
        record.roll_back(reason.clone(), blame);
        let written = engine.write(name, Step::RollbackNoted, |record| record.roll_back(reason, blame)).await;
        if let Err(Stopped::Later { error, .. }) = written {
            tracing::error!(model = %name, "that cannot be written down: {error}");
        }
        if let Some(left) = left {
            engine.trials.end(&left);
        }
        let served = self.serve(name, record.clone()).await;
        if served != record {
            self.note(name, &served).await;
        }
        let record = served;
        engine.store.steps.made(Step::RolledBack);
        engine.metrics.updated("rolledback");
        self.sweep(name, &record).await;
        engine.show(name, record);
    }

    /// Removes what is not needed any more.
    pub(super) async fn sweep(&self, name: &ModelName, record: &Record) {
        let store = self.engine.store.clone();
        let mut records = self.engine.board.records();
        records.insert(name.clone(), record.clone());
        let _ = spawn_blocking(move || store.sweep(&records)).await;
    }

    /// Loads a package beside what is served; where memory does not allow that, instead of it. Says which.
    pub(super) async fn load_beside(&self, package: Package) -> (Result<Prepared, Error>, bool) {
        let repository = Arc::clone(&self.repository);
        let name = package.name.clone();
        let loaded = spawn_blocking(move || match repository.prepare(package.clone()) {
            Err(Error::OverBudget { reason, .. }) if repository.model(package.name.as_str(), None).is_ok() => {
                tracing::warn!(model = %package.name, "the served version makes room for the new one: {reason}");
                let _ = repository.make_way(&package.name);
                (repository.prepare(package), true)
            }
            prepared => (prepared, false),
        });
        loaded.await.unwrap_or_else(|error| {
            (Err(Error::Load { model: name.to_string(), reason: format!("loading it failed: {error}") }), false)
        })
    }

    /// Looks after what is active and not on trial: where it cannot be loaded any more, what was before it is served.
    pub(super) async fn recover(&self) {
        for (name, record) in self.engine.board.records() {
            let Some(active) = record.active.as_ref().filter(|_| !matches!(record.phase, Phase::Trial { .. })) else {
                continue;
            };
            match self.repository.model(name.as_str(), Some(&active.version.to_string())) {
                Ok(_) | Err(Error::Evicted { .. }) => (),
                Err(_) => self.serve_again(&name, record).await,
            }
        }
    }

    /// Serves what is active once more, or what was before it.
    pub(super) async fn serve_again(&self, name: &ModelName, record: Record) {
        let served = self.serve(name, record.clone()).await;
        if served != record {
            self.note(name, &served).await;
            self.engine.metrics.updated("rolledback");
            self.sweep(name, &served).await;
            self.engine.show(name, served);
        }
    }

    /// Serves the active version of a record, or if that cannot be loaded, what was before it. Returns the record that is
    /// true then.
    async fn serve(&self, name: &ModelName, mut record: Record) -> Record {
        while let Some(active) = &record.active {
            let error = match self.engine.store.package(name, active.version) {
                None => "its files are gone".into(),
                Some(package) => match self.load_beside(package).await {
                    (Ok(prepared), _) => {
                        let repository = Arc::clone(&self.repository);
                        let _ = spawn_blocking(move || repository.publish(prepared)).await;
                        return record;
                    }
                    // Its files are as good as ever.
                    (Err(error @ Error::OverBudget { .. }), _) => {
                        tracing::error!(model = %name, version = active.version, "the version cannot be served: {error}");
                        return record;
                    }
                    (Err(error), _) => error.to_string(),
                },
            };
            tracing::error!(model = %name, version = active.version, "the version cannot be served any more: {error}");
            record.lost(error);
        }
        let (repository, own) = (Arc::clone(&self.repository), name.clone());
        if let Ok(Err(error)) = spawn_blocking(move || repository.unchoose(&own)).await {
            tracing::error!(model = %name, "there is nothing to go back to: {error}");
        }
        record
    }

    /// Writes a record down that is true already.
    async fn note(&self, name: &ModelName, record: &Record) {
        let (store, own, kept) = (self.engine.store.clone(), name.clone(), record.clone());
        if let Err(error) = blocking(move || store.keep(&own, &kept)).await {
            tracing::error!(model = %name, "that cannot be written down: {error}");
        }
    }
}
