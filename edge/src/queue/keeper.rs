//! The thread that owns the files.

use std::fs;
use std::io;
use std::path::Path;
use std::time::{Duration, Instant as Moment};

use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until};

use super::arrivals::Arrivals;
use super::disk::Folder;
use super::lane::Lane;
use super::store::{LaneSettings, PushError, Store};
use super::{Call, DISK_PAUSE, LaneId, LaneState, Place, Taken};
use crate::metrics::{LaneMetrics, Metrics};
use crate::steps::Step;
use crate::watchdog::Beat;

/// The shortest time between two commits.
const COMMIT_INTERVAL: Duration = Duration::from_secs(1);

/// What the thread has.
pub(super) struct Keeper {
    pub(super) place: Place,
    /// None as long as the folder cannot be used.
    pub(super) store: Option<Store<Folder>>,
    pub(super) pushed: watch::Sender<()>,
    pub(super) finished: watch::Sender<()>,
    pub(super) committed: watch::Sender<Vec<u64>>,
    /// What went wrong with the last thing that was done with the disk, which is told once.
    pub(super) trouble: watch::Sender<Option<String>>,
    pub(super) beat: Beat,
    pub(super) metrics: Metrics,
    /// For each lane.
    pub(super) lanes: Vec<LaneMetrics>,
    /// For each lane whose messages may become too old.
    pub(super) arrivals: Vec<Option<Arrivals>>,
}

impl Keeper {
    pub(super) async fn run(mut self, mut calls: mpsc::Receiver<Call>) {
        let mut last_commit: Option<Instant> = None;
        let mut again = Instant::now() + DISK_PAUSE;
        loop {
            self.beat.turn();
            let due = last_commit.map_or_else(Instant::now, |last| last + COMMIT_INTERVAL);
            tokio::select! {
                biased;
                () = sleep_until(due), if self.store.as_ref().is_some_and(Store::is_dirty) => {
                    self.commit();
                    last_commit = Some(Instant::now());
                }
                () = sleep_until(again), if self.store.is_none() => {
                    self.open();
                    again = Instant::now() + DISK_PAUSE;
                }
                call = calls.recv() => match call {
                    Some(call) => {
                        self.answer(call);
                        self.observe();
                    }
                    None => break,
                },
                () = self.beat.pause() => (),
            }
        }
        self.commit();
    }

    /// Opens the files. What is in them can be taken from then on.
    pub(super) fn open(&mut self) {
        let Place { working, folder, lanes, capacity, steps } = &self.place;
        let opened = working.hold().and_then(|()| {
            let disk = |lane: &LaneSettings| Folder::open(folder.join(&lane.name), steps.clone());
            let disks = lanes.iter().map(|lane| Ok((lane.clone(), disk(lane)?)));
            Store::open(disks.collect::<io::Result<_>>()?, *capacity)
        });
        self.note(opened.as_ref().map(drop).map_err(|error| format!("the queue cannot be opened: {error}")));
        if let Ok(store) = opened {
            tell_of_others(&self.place.folder, &self.place.lanes);
            self.store = Some(store);
            self.observe();
            self.pushed.send_replace(());
            self.finished.send_replace(());
        }
    }

    fn observe(&mut self) {
        let Some(store) = &mut self.store else { return };
        for ((_, dropped, lane), metrics) in store.lanes().zip(&self.lanes) {
            metrics.observe(lane.messages(), lane.bytes(), dropped, lane.damaged());
        }
    }

    fn answer(&mut self, call: Call) {
        match call {
            Call::Push(lane, body, lost, reply) => {
                let _ = reply.send(self.push(lane, &body, lost));
            }
            Call::Take(lanes, reply) => {
                let _ = reply.send(self.take(&lanes));
            }
            Call::Finish(lane, number) => {
                if let Some(store) = &mut self.store {
                    let finished = store.lane(lane.0).and_then(|lane| lane.finish(number));
                    self.note(finished.map_err(|error| format!("the queue cannot be written: {error}")));
                }
                self.finished.send_replace(());
            }
            Call::Rewind(lane, reply) => {
                if let Some(Ok(lane)) = self.store.as_mut().map(|store| store.lane(lane.0)) {
                    lane.rewind();
                }
                let _ = reply.send(());
            }
            Call::States(reply) => {
                let _ = reply.send(self.states());
            }
        }
    }

    fn push(&mut self, lane: LaneId, body: &[u8], lost: bool) -> Result<u64, PushError> {
        let Some(store) = &mut self.store else {
            let reason = self.trouble.borrow().clone().unwrap_or_default();
            return Err(PushError::Disk(io::Error::other(reason)));
        };
        let pushed = store.push(lane.0, body);
        if lost && matches!(pushed, Err(PushError::Full)) {
            store.count_refused(lane.0);
        }
        if let (Ok(number), Some(Some(arrivals))) = (&pushed, self.arrivals.get_mut(lane.0)) {
            arrivals.note(*number, Moment::now());
        }
        if let Some(metrics) = self.lanes.get(lane.0).filter(|_| pushed.is_ok()) {
            metrics.wrote(body.len());
        }
        if !matches!(pushed, Err(PushError::Full | PushError::TooLarge { .. })) {
            self.note(pushed.as_ref().map(drop).map_err(ToString::to_string));
        }
        // Who knows of it may rely on it that those who wait do too.
        if pushed.is_ok() {
            self.pushed.send_replace(());
        }
        pushed
    }

    fn take(&mut self, lanes: &[LaneId]) -> Option<Taken> {
        let store = self.store.as_mut()?;
        lanes.iter().find_map(|lane| {
            let taken = store.lane(lane.0).and_then(Lane::take).unwrap_or_else(|error| {
                tracing::error!("the queue cannot be read: {error}");
                None
            });
            let (number, body) = taken?;
            let arrivals = self.arrivals.get_mut(lane.0).and_then(Option::as_mut);
            let due = arrivals.map(|arrivals| arrivals.due(number, Moment::now()));
            Some(Taken { lane: *lane, number, body, due })
        })
    }

    fn states(&mut self) -> Vec<LaneState> {
        let state = |(name, dropped, lane): (&str, u64, &Lane<Folder>)| LaneState {
            name: name.into(),
            messages: lane.messages(),
            bytes: lane.bytes(),
            dropped,
            damaged: lane.damaged(),
        };
        self.store.as_mut().map(|store| store.lanes().map(state).collect()).unwrap_or_default()
    }

    fn commit(&mut self) {
        let Some(store) = &mut self.store else { return };
        let committed = store.commit();
        self.note(committed.as_ref().map(drop).map_err(|error| format!("the queue cannot be made safe: {error}")));
        if let Ok(committed) = committed {
            self.place.steps.made(Step::QueueAllSafe);
            self.committed.send_replace(committed);
        }
    }

    /// Tells when the disk begins to fail, and when it does not any more.
    fn note(&self, done: Result<(), String>) {
        let trouble = done.err();
        let failed = self.trouble.borrow().is_some();
        match &trouble {
            Some(error) if !failed => tracing::error!("{error}: no message is taken in until it can be"),
            None if failed => tracing::info!("the queue can be written again"),
            _ => (),
        }
        if failed || trouble.is_some() {
            self.trouble.send_replace(trouble.clone());
        }
        self.metrics.writable(trouble.is_none());
    }
}

/// Tells the log of folders whose lane is not in the settings any more: what waits there is not delivered.
fn tell_of_others(folder: &Path, lanes: &[LaneSettings]) {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    for name in names.filter(|name| lanes.iter().all(|lane| lane.name != *name)) {
        tracing::warn!("the queue has `{name}` from other settings: what waits there is kept, and not delivered");
    }
}
