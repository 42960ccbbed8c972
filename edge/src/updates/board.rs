//! What is wanted, what is asked for and what is told of updates: between those who want them and the one who makes them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use hedef_core::ModelName;
use hedef_protocols::bundle::model_name;
use serde_json::{Map, Value, json};
use tokio::sync::Notify;

use super::pace::Pace;
use super::record::{Needless, Phase, Record};
use super::wanted::Wanted;

/// What somebody asks for at once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Order {
    /// A version, whatever is wanted otherwise.
    Take(Wanted),
    /// What is wanted, whatever became of it before.
    Again,
    /// The version of before.
    RollBack,
}

/// What is known of one model.
#[derive(Debug, Default)]
pub(super) struct Entry {
    pub(super) record: Record,
    /// What the settings want.
    pub(super) usual: Option<Wanted>,
    /// What the twin wants, which comes first.
    pub(super) desired: Option<Wanted>,
    /// Whether the wish changed since it was last looked at.
    pub(super) fresh: bool,
    pub(super) order: Option<Order>,
    /// Whether what is on its way was ordered, so that other wishes wait.
    pub(super) ordered: bool,
    /// How often the bundle came with other bytes than were said.
    pub(super) wrong: u32,
    /// How much of a bundle is here, in percent.
    pub(super) progress: Option<u8>,
    /// Why it does not go on.
    pub(super) trouble: Option<Trouble>,
}

/// Why an update does not go on for now.
#[derive(Clone, Debug)]
pub(super) struct Trouble {
    pub(super) error: String,
    /// Whether it is told as a failure.
    pub(super) failed: bool,
    /// When it is tried again.
    pub(super) again: Instant,
    /// How often it was tried in a row.
    pub(super) tries: u32,
}

impl Entry {
    pub(super) fn wish(&self) -> Option<&Wanted> {
        self.desired.as_ref().or(self.usual.as_ref())
    }

    /// How long nothing is tried with it.
    pub(super) fn waits(&self) -> Option<Duration> {
        let rest = self.trouble.as_ref()?.again.saturating_duration_since(Instant::now());
        (!rest.is_zero()).then_some(rest)
    }

    fn state(&self) -> Map<String, Value> {
        let failed = self.trouble.as_ref().is_some_and(|trouble| trouble.failed);
        let error = self.trouble.as_ref().map(|trouble| &trouble.error).or(self.record.error.as_ref());
        let mut state = Map::new();
        let mut put = |name: &str, value: Option<Value>| drop(value.map(|value| state.insert(name.into(), value)));
        put("state", Some(if failed { "failed" } else { self.record.state() }.into()));
        put("active", self.record.active.as_ref().map(|active| active.version.into()));
        put("previous", self.record.previous.as_ref().map(|previous| previous.version.into()));
        put("lastGood", self.record.last_good.map(Value::from));
        put("progress", self.progress.filter(|_| self.record.wanted().is_some()).map(Value::from));
        put("error", error.map(|error| error.chars().take(500).collect::<String>().into()));
        state
    }
}

/// Where all of that stands.
#[derive(Debug, Default)]
pub(super) struct Board {
    entries: Mutex<BTreeMap<ModelName, Entry>>,
    pace: Mutex<Pace>,
    inbox: Mutex<Option<String>>,
    /// Told when there is something to do.
    pub(super) work: Notify,
    /// Told when there is something to tell.
    reports: Arc<Notify>,
    /// Whether a twin was followed since the start.
    followed: AtomicBool,
    plain_http: bool,
    usual_pace: Pace,
    /// The models that are there without any update.
    shipped: BTreeSet<ModelName>,
}

impl Board {
    pub(super) fn new(reports: Arc<Notify>, plain_http: bool, pace: Pace, shipped: BTreeSet<ModelName>) -> Self {
        Self { reports, plain_http, pace: Mutex::new(pace), usual_pace: pace, shipped, ..Self::default() }
    }

    pub(super) fn entries(&self) -> MutexGuard<'_, BTreeMap<ModelName, Entry>> {
        hold(&self.entries)
    }

    /// Looks at, or changes, what is known of a model.
    pub(super) fn with<T>(&self, name: &ModelName, change: impl FnOnce(&mut Entry) -> T) -> T {
        change(self.entries().entry(name.clone()).or_default())
    }

    pub(super) fn records(&self) -> BTreeMap<ModelName, Record> {
        let mut records = BTreeMap::new();
        records.extend(self.entries().iter().map(|(name, entry)| (name.clone(), entry.record.clone())));
        records
    }

    /// Whether it is known what the twin wants, if anything.
    pub(super) fn follows(&self) -> bool {
        self.followed.load(Ordering::Relaxed)
    }

    pub(super) fn pace(&self) -> Pace {
        *hold(&self.pace)
    }

    pub(super) fn told_of_inbox(&self, what: String) {
        *hold(&self.inbox) = Some(what);
    }

    /// There is something to tell.
    pub(super) fn report(&self) {
        self.reports.notify_one();
    }
}

fn hold<T>(lock: &Mutex<T>) -> MutexGuard<'_, T> {
    lock.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Why something that was asked for is not done.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotDone {
    /// It makes no sense.
    #[error("{0}")]
    Wrong(String),
    /// There is no such model.
    #[error("{0}")]
    Unknown(String),
    /// Not now.
    #[error("{0}")]
    Busy(String),
}

/// Updates, as those see them who want them.
#[derive(Clone, Debug, Default)]
pub struct Updates {
    pub(super) board: Arc<Board>,
}

impl Updates {
    /// Follows the desired properties `models` and `updates` of a twin. Fails with what is wrong with them; what is right is
    /// followed all the same.
    pub fn follow(&self, desired: &Map<String, Value>) -> Result<(), String> {
        let mut wrong = None;
        let mut wanted = BTreeMap::new();
        match desired.get("models") {
            None => (),
            Some(Value::Object(models)) => {
                for (name, value) in models {
                    match self.read(name, value) {
                        Ok((name, one)) => drop(wanted.insert(name, one)),
                        Err(error) => drop(wrong.get_or_insert(format!("`models.{name}`: {error}"))),
                    }
                }
            }
            Some(other) => wrong = Some(format!("`models`: expected an object, found {other}")),
        }
        match desired.get("updates").map(|pace| serde_json::from_value::<Pace>(pace.clone())) {
            None => *hold(&self.board.pace) = self.board.usual_pace,
            Some(Ok(pace)) => match pace.check() {
                Ok(()) => *hold(&self.board.pace) = pace,
                Err(error) => drop(wrong.get_or_insert(format!("`updates`: {error}"))),
            },
            Some(Err(error)) => drop(wrong.get_or_insert(format!("`updates`: {error}"))),
        }
        // The first twin after a start is no change, only news.
        let before = self.board.followed.swap(true, Ordering::Relaxed);
        {
            let mut entries = self.board.entries();
            for (name, entry) in entries.iter_mut() {
                let new = wanted.remove(name);
                if entry.desired != new {
                    entry.trouble = None;
                    entry.fresh = before;
                    entry.desired = new;
                }
            }
            for (name, new) in wanted {
                entries.entry(name).or_default().desired = Some(new);
            }
        }
        self.board.work.notify_one();
        wrong.map_or(Ok(()), Err)
    }

    fn read(&self, name: &str, value: &Value) -> Result<(ModelName, Wanted), String> {
        let name = model_name(name).map_err(|error| error.to_string())?;
        let wanted: Wanted = serde_json::from_value(value.clone()).map_err(|error| error.to_string())?;
        wanted.check(self.board.plain_http)?;
        Ok((name, wanted))
    }

    /// Takes the version that the arguments name, or without one what is wanted, once more. `known`: the model is there
    /// without any update. Returns what is told at once; what becomes of it is told by [`Updates::states`].
    pub fn activate(&self, arguments: &Map<String, Value>, known: impl Fn(&str) -> bool) -> Result<Value, NotDone> {
        let name = model(arguments)?;
        let named = ["version", "url", "sha256", "size"].iter().any(|key| arguments.contains_key(*key));
        let mut taken = None;
        if named {
            let (_, wanted) = self.read(name.as_str(), &Value::Object(arguments.clone())).map_err(NotDone::Wrong)?;
            taken = Some(wanted);
        }
        let mut entries = self.board.entries();
        if taken.is_none() && !entries.contains_key(&name) && !known(name.as_str()) {
            return Err(NotDone::Unknown(format!("no model is named `{name}`")));
        }
        if entries.values().any(is_busy) {
            return Err(NotDone::Busy("another update is under way: try again later".into()));
        }
        let entry = entries.entry(name.clone()).or_default();
        let wanted = taken.as_ref().or_else(|| entry.record.wanted()).or_else(|| entry.wish());
        let Some(wanted) = wanted.cloned() else {
            return Err(NotDone::Busy(format!("no other version of model `{name}` is wanted")));
        };
        match entry.record.admits(&wanted, true) {
            Err(Needless::Refused) => {
                let version = wanted.version;
                return Err(NotDone::Busy(format!(
                    "this bundle of version {version} failed in use here and is not taken again"
                )));
            }
            Err(Needless::Here | Needless::Declined) => {
                return Ok(json!({ "model": name.as_str(), "version": wanted.version, "state": entry.record.state() }));
            }
            Ok(()) => (),
        }
        entry.order = Some(if taken.is_some() { Order::Take(wanted.clone()) } else { Order::Again });
        entry.trouble = None;
        self.board.work.notify_one();
        Ok(json!({ "model": name.as_str(), "version": wanted.version, "state": "downloading" }))
    }

    /// Goes back to the version of before, which a trial may have it done.
    pub fn roll_back(&self, arguments: &Map<String, Value>, known: impl Fn(&str) -> bool) -> Result<Value, NotDone> {
        let name = model(arguments)?;
        let mut entries = self.board.entries();
        if !entries.contains_key(&name) && !known(name.as_str()) {
            return Err(NotDone::Unknown(format!("no model is named `{name}`")));
        }
        // What waits for a better disk does not keep from going back.
        let loading = |entry: &Entry| {
            entry.trouble.is_none() && matches!(entry.record.phase, Phase::Verifying { .. } | Phase::Testing { .. })
        };
        if entries.values().any(|entry| loading(entry) || entry.order.is_some()) {
            return Err(NotDone::Busy("another update is under way: try again later".into()));
        }
        let none = || NotDone::Busy(format!("model `{name}` has no version to go back to"));
        let entry = entries.get_mut(&name).filter(|entry| entry.record.active.is_some()).ok_or_else(none)?;
        let on_trial = matches!(entry.record.phase, Phase::Trial { .. });
        if entry.record.previous.is_none() && !on_trial && !self.board.shipped.contains(&name) {
            return Err(none());
        }
        entry.order = Some(Order::RollBack);
        self.board.work.notify_one();
        let previous = entry.record.previous.as_ref().map(|previous| previous.version);
        Ok(json!({ "model": name.as_str(), "version": previous, "state": "rolledback" }))
    }

    /// What is to be told of each model that updates have to do with: `state`, and where there is something to tell
    /// `active`, `previous`, `lastGood`, `progress` in percent and `error`.
    #[must_use]
    pub fn states(&self) -> Vec<(ModelName, Map<String, Value>)> {
        let entries = self.board.entries();
        let touched =
            |entry: &&Entry| entry.record != Record::default() || entry.trouble.is_some() || entry.order.is_some();
        let told = entries.iter().filter(|(_, entry)| touched(entry));
        told.map(|(name, entry)| (name.clone(), entry.state())).collect()
    }

    /// What became of the last file that was found in the folder for bundles.
    #[must_use]
    pub fn inbox(&self) -> Option<String> {
        hold(&self.board.inbox).clone()
    }
}

fn model(arguments: &Map<String, Value>) -> Result<ModelName, NotDone> {
    match arguments.get("model") {
        Some(Value::String(name)) => model_name(name).map_err(|error| NotDone::Wrong(format!("`model`: {error}"))),
        other => {
            let found = other.map_or_else(|| "nothing".into(), Value::to_string);
            Err(NotDone::Wrong(format!("`model`: expected a name, found {found}")))
        }
    }
}

/// Whether something goes on that another update would disturb.
fn is_busy(entry: &Entry) -> bool {
    entry.order.is_some()
        || match entry.record.phase {
            Phase::Rest => false,
            Phase::Downloading { .. } => entry.trouble.is_none(),
            Phase::Verifying { .. } | Phase::Testing { .. } | Phase::Trial { .. } => true,
        }
}
