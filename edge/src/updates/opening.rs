//! The start: what the journals say is brought in order before any model is loaded.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use hedef_core::repository::{Package, scan};
use hedef_core::{ModelId, ModelName};
use tokio::sync::Notify;

use super::board::{Board, Updates};
use super::engine::Engine;
use super::record::{Phase, Record, Release};
use super::settings;
use super::store::Store;
use super::trial::Trials;
use crate::care::LastEnd;
use crate::metrics::Metrics;
use crate::steps::Steps;

/// What updates are opened with.
pub struct Opening<'o> {
    /// The settings of updates.
    pub settings: &'o settings::Updates,
    /// The folder for what has to survive a restart.
    pub data: &'o Path,
    /// The folders of the models that are there without any update.
    pub roots: &'o [PathBuf],
    /// How the process before ended.
    pub last_end: LastEnd,
    /// What follows its steps.
    pub steps: Steps,
    /// Where the models on trial are watched.
    pub trials: Trials,
    /// What is counted.
    pub metrics: Metrics,
    /// Told when there is something to tell.
    pub reports: Arc<Notify>,
}

/// Updates, opened.
pub struct Opened {
    /// Those who want something turn to this.
    pub updates: Updates,
    /// What makes it so.
    pub engine: Engine,
    /// The packages that are to be served above those of the settings' folders.
    pub chosen: Vec<Package>,
}

impl Opening<'_> {
    /// Reads the journals, counts starts of what is on trial and rolls back what ended the process too often. To be called
    /// when nothing but models is left to be begun: a start that fails before tells nothing of them. Blocks.
    #[must_use]
    pub fn open(self) -> Opened {
        let settings = self.settings;
        let store = Store::open(self.data.join("updates"), self.steps);
        let mut records = store.records();
        for (name, record) in &mut records {
            if let Some(outcome) = restore(name, record, self.last_end, &store) {
                self.metrics.updated(outcome);
            }
        }
        store.sweep(&records);
        let (trials, mut chosen) = (self.trials, Vec::new());
        for (name, record) in &records {
            let Some(active) = &record.active else { continue };
            chosen.extend(store.package(name, active.version));
            if matches!(record.phase, Phase::Trial { .. }) {
                trials.watch(ModelId { name: name.clone(), version: active.version }, settings.terms());
            }
        }
        let mut shipped = BTreeSet::new();
        shipped.extend(scan(self.roots).packages.into_keys());
        let board = Board::new(self.reports, settings.allow_http, settings.pace(), shipped);
        fill(&board, records, settings);
        let board = Arc::new(board);
        let (keys, no_keys) = match settings.keys() {
            Ok(keys) if keys.is_empty() => {
                (keys, "no public key is trusted: name one in `updates.trusted_keys`".into())
            }
            Ok(keys) => (keys, String::new()),
            Err(error) => {
                tracing::error!("no update is taken: {error}");
                (Vec::new(), error)
            }
        };
        let engine = Engine {
            board: Arc::clone(&board),
            store,
            trials,
            clock: Arc::default(),
            keys: Arc::new(keys),
            no_keys,
            inbox: settings.inbox.clone().unwrap_or_else(|| self.data.join("inbox")),
            settings: settings.clone(),
            metrics: self.metrics,
        };
        Opened { updates: Updates { board }, engine, chosen }
    }
}

/// The packages that updates brought into a folder of data, which are served above those of the settings' folders. Blocks.
#[must_use]
pub fn served(data: &Path) -> Vec<Package> {
    let store = Store::at(data.join("updates"));
    let records = store.records();
    records.iter().filter_map(|(name, record)| store.package(name, record.active.as_ref()?.version)).collect()
}

fn fill(board: &Board, records: BTreeMap<ModelName, Record>, settings: &settings::Updates) {
    for (name, record) in records {
        board.with(&name, |entry| entry.record = record);
    }
    for (name, wanted) in settings.wanted() {
        board.with(&name, |entry| entry.usual = Some(wanted));
    }
}

/// Brings a record in order after a restart. Returns how an update ended by that, if one did.
fn restore(name: &ModelName, record: &mut Record, last_end: LastEnd, store: &Store) -> Option<&'static str> {
    let before = record.clone();
    let mut outcome = None;
    if record.restarted(last_end) {
        outcome = Some(record.state());
    }
    let is_there = |release: &Release| store.package(name, release.version).is_some();
    while record.active.as_ref().is_some_and(|active| !is_there(active)) {
        record.lost("its files are gone".into());
        outcome = Some(record.state());
    }
    if let Phase::Testing { wanted, .. } = &record.phase
        && store.package(name, wanted.version).is_none()
    {
        record.begin(wanted.clone(), false);
    }
    if *record != before
        && let Err(error) = store.keep(name, record)
    {
        tracing::error!(model = %name, "the journal of its updates cannot be written: {error}");
        // Where starts cannot be counted, what might end each of them is not tried.
        let error = format!("the journal cannot be written: {error}");
        match record.phase {
            Phase::Trial { .. } => record.roll_back(error, false),
            Phase::Verifying { .. } | Phase::Testing { .. } => record.failed(error, false),
            Phase::Rest | Phase::Downloading { .. } => (),
        }
        outcome = Some(record.state());
    }
    if outcome.is_some() {
        tracing::error!(model = %name, state = record.state(), "the update of the model was given up: {}", record.error.as_deref().unwrap_or_default());
    }
    outcome
}

#[cfg(test)]
mod tests {
    use hedef_protocols::bundle::Sha256;

    use super::super::wanted::Wanted;
    use super::*;

    #[test]
    fn where_starts_cannot_be_counted_nothing_is_tried() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path().join("updates"), Steps::default());
        let name = ModelName::new("m").unwrap();
        let wanted = Wanted { version: 2, url: "https://h/".into(), sha256: Sha256::of(b"x"), size: 1 };
        let mut record = Record::default();
        record.begin(wanted, true);
        record.downloaded();
        std::fs::remove_dir(folder.path().join("updates/journal")).unwrap();
        std::fs::write(folder.path().join("updates/journal"), "in the way").unwrap();
        let mut again = record.clone();
        assert_eq!(restore(&name, &mut again, LastEnd::Clean, &store), None);
        assert_eq!(again, record, "a clean stop counts for nothing");
        assert_eq!(restore(&name, &mut again, LastEnd::Crash, &store), Some("failed"));
        assert_eq!(again.phase, Phase::Rest);
    }
}
