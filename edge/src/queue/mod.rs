//! What was accepted and what is to be sent, on disk: bounded, and safe from a crash.
//!
//! A thread of its own owns the files. A message that was pushed survives the end of the process, however it comes; a
//! power cut too once it was committed, which happens at most once a second (and once more for each file that is full, of
//! 2 MiB at most). What was taken and not finished comes again after a restart.

mod arrivals;
mod disk;
mod frame;
mod keeper;
mod lane;
#[cfg(test)]
mod lane_tests;
#[cfg(test)]
mod memory;
mod segment;
mod store;
#[cfg(test)]
mod store_tests;
#[cfg(test)]
mod tests;

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant as Moment};

use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::timeout;

use self::arrivals::Arrivals;
use self::keeper::Keeper;
pub use self::store::{LaneSettings, PushError, WhenFull};
use crate::care::Working;
use crate::metrics::Metrics;
use crate::steps::Steps;
use crate::watchdog::Beat;

/// How long to wait after the disk failed.
const DISK_PAUSE: Duration = Duration::from_secs(5);

/// How many calls may wait for the thread.
const WAITING: usize = 64;

/// One of the lanes that the queue was opened with, by its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct LaneId(pub usize);

/// Where a queue is, and what it holds.
#[derive(Clone, Debug)]
pub struct Place {
    /// What is held before anything is opened.
    pub working: Arc<Working>,
    /// It has a folder for each lane.
    pub folder: PathBuf,
    /// The lanes.
    pub lanes: Vec<LaneSettings>,
    /// The bytes that all lanes together take at most.
    pub capacity: u64,
    /// What follows its steps.
    pub steps: Steps,
}

/// A message that was taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Taken {
    /// Where it was.
    pub lane: LaneId,
    /// Its number there.
    pub number: u64,
    /// What was pushed.
    pub body: Vec<u8>,
    /// When it is too old to be scored; none where its lane knows no age.
    pub due: Option<Moment>,
}

/// How a lane is doing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LaneState {
    /// Its name.
    pub name: String,
    /// The messages that are not finished.
    pub messages: u64,
    /// The bytes of its files.
    pub bytes: u64,
    /// The messages that were given up or refused for want of room, since the start.
    pub dropped: u64,
    /// The messages that could not be read again, since the start.
    pub damaged: u64,
}

/// A handle to the queue. Cheap to clone; the thread ends when the last one is gone.
#[derive(Clone, Debug)]
pub struct Queue {
    calls: mpsc::Sender<Call>,
    /// Changes when something was pushed.
    pushed: watch::Receiver<()>,
    /// Changes when something was finished.
    finished: watch::Receiver<()>,
    /// For each lane the number below which all is safe from a power cut.
    committed: watch::Receiver<Vec<u64>>,
    /// What is wrong with the disk.
    trouble: watch::Receiver<Option<String>>,
}

enum Call {
    /// The last says whether a message without room is lost.
    Push(LaneId, Vec<u8>, bool, oneshot::Sender<Result<u64, PushError>>),
    Take(Vec<LaneId>, oneshot::Sender<Option<Taken>>),
    Finish(LaneId, u64),
    Rewind(LaneId, oneshot::Sender<()>),
    States(oneshot::Sender<Vec<LaneState>>),
}

impl Queue {
    /// Opens the queue and starts its thread. Where the folder cannot be used it is tried again every few seconds: until then
    /// nothing is taken in, so that nothing is acknowledged which would be lost.
    pub fn open(place: Place, metrics: &Metrics, beat: Beat) -> io::Result<(Self, JoinHandle<()>)> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
        let (queue, work) = Self::prepare(place, metrics, beat);
        let thread = thread::Builder::new().name("hedef-queue".into()).spawn(move || runtime.block_on(work))?;
        Ok((queue, thread))
    }

    /// The same without a thread: what is returned beside the queue does its work, and blocks while it reads and writes. It is
    /// done when the last handle is gone.
    pub fn prepare(place: Place, metrics: &Metrics, beat: Beat) -> (Self, impl Future<Output = ()> + Send + use<>) {
        let (calls, receiver) = mpsc::channel(WAITING);
        let (pushed_sender, pushed) = watch::channel(());
        let (finished_sender, finished) = watch::channel(());
        let (committed_sender, committed) = watch::channel(vec![0; place.lanes.len()]);
        let (trouble_sender, trouble) = watch::channel(None);
        let mut keeper = Keeper {
            store: None,
            pushed: pushed_sender,
            finished: finished_sender,
            committed: committed_sender,
            trouble: trouble_sender,
            beat,
            lanes: place.lanes.iter().map(|lane| metrics.lane(&lane.name)).collect(),
            arrivals: place.lanes.iter().map(|lane| lane.max_age.map(Arrivals::new)).collect(),
            metrics: metrics.clone(),
            place,
        };
        keeper.open();
        (Self { calls, pushed, finished, committed, trouble }, keeper.run(receiver))
    }

    /// What went wrong with the last thing that was done with the disk; none where all went well.
    #[must_use]
    pub fn trouble(&self) -> Option<String> {
        self.trouble.borrow().clone()
    }

    /// [`Queue::trouble`], to wait for its changes.
    #[must_use]
    pub fn troubles(&self) -> watch::Receiver<Option<String>> {
        self.trouble.clone()
    }

    /// Adds a message, and returns its number when it would survive the end of the process. While the disk fails it is
    /// tried again; what finds no room in the queue is lost, and counted.
    pub async fn push(&self, lane: LaneId, body: Vec<u8>) -> Result<u64, PushError> {
        let mut finished = self.finished.clone();
        loop {
            finished.mark_unchanged();
            match self.try_push(lane, body.clone(), true).await {
                Err(PushError::Disk(_)) => {
                    let _ = timeout(DISK_PAUSE, finished.changed()).await;
                }
                pushed => return pushed,
            }
        }
    }

    async fn try_push(&self, lane: LaneId, body: Vec<u8>, lost: bool) -> Result<u64, PushError> {
        let (reply, answer) = oneshot::channel();
        self.calls.send(Call::Push(lane, body, lost, reply)).await.map_err(|_| PushError::Closed)?;
        answer.await.unwrap_or(Err(PushError::Closed))
    }

    /// The same, but waits for room, in the queue or on the disk. Fails only where the message can never fit, and when
    /// the queue is closed.
    pub async fn push_patiently(&self, lane: LaneId, body: Vec<u8>) -> Result<u64, PushError> {
        let mut finished = self.finished.clone();
        loop {
            finished.mark_unchanged();
            match self.try_push(lane, body.clone(), false).await {
                Err(PushError::Full) => finished.changed().await.map_err(|_| PushError::Closed)?,
                // What others leave on the disk is told by nobody.
                Err(PushError::Disk(_)) => {
                    let _ = timeout(DISK_PAUSE, finished.changed()).await;
                }
                pushed => return pushed,
            }
        }
    }

    /// Waits until a message would survive a power cut.
    pub async fn committed(&self, lane: LaneId, number: u64) -> Result<(), PushError> {
        let safe = |committed: &Vec<u64>| committed.get(lane.0).is_some_and(|below| number < *below);
        self.committed.clone().wait_for(safe).await.map(drop).map_err(|_| PushError::Closed)
    }

    /// Waits for a message in one of these lanes, of which the first that has one gives it. `None`: the queue is closed.
    pub async fn take(&self, lanes: &[LaneId]) -> Option<Taken> {
        let mut pushed = self.pushed.clone();
        loop {
            pushed.mark_unchanged();
            if let Some(taken) = self.try_take(lanes).await {
                return Some(taken);
            }
            pushed.changed().await.ok()?;
        }
    }

    /// The message that [`Queue::take`] would return at once.
    pub async fn try_take(&self, lanes: &[LaneId]) -> Option<Taken> {
        let (reply, answer) = oneshot::channel();
        self.calls.send(Call::Take(lanes.to_vec(), reply)).await.ok()?;
        answer.await.ok().flatten()
    }

    /// Says that a message that was taken is not needed any more.
    pub async fn finish(&self, lane: LaneId, number: u64) {
        let _ = self.calls.send(Call::Finish(lane, number)).await;
    }

    /// Makes what was taken and not finished come again.
    pub async fn rewind(&self, lane: LaneId) {
        let (reply, answer) = oneshot::channel();
        if self.calls.send(Call::Rewind(lane, reply)).await.is_ok() {
            let _ = answer.await;
        }
    }

    /// How all lanes are doing, in their order.
    pub async fn states(&self) -> Vec<LaneState> {
        let (reply, answer) = oneshot::channel();
        match self.calls.send(Call::States(reply)).await {
            Ok(()) => answer.await.unwrap_or_default(),
            Err(_) => Vec::new(),
        }
    }
}
