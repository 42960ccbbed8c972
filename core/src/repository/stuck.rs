//! Notices runs that do not come back.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::Repository;
use crate::model::LongRun;

/// Looks at the runs under way again and again, on a thread of its own, until dropped.
///
/// A run that nobody waits for any more is asked to end, and one that does so late has only been slow; one that does
/// not is stuck in a kernel of ONNX Runtime, holds its threads for ever, and only a new process helps. Short runs on
/// network threads are not looked at.
#[derive(Debug)]
pub struct RunWatcher {
    stop: Option<mpsc::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl RunWatcher {
    /// Starts to look every `interval` for runs in `repository` that have been going on for longer than `limit`.
    pub fn start(repository: Arc<Repository>, limit: Duration, interval: Duration) -> std::io::Result<Self> {
        let (stop, stopped) = mpsc::channel();
        let watch = move || {
            let mut told = HashSet::new();
            while stopped.recv_timeout(interval) == Err(RecvTimeoutError::Timeout) {
                look(&repository, limit, &mut told);
            }
        };
        let thread = thread::Builder::new().name("hedef-runs".into()).spawn(watch)?;
        Ok(Self { stop: Some(stop), thread: Some(thread) })
    }
}

impl Drop for RunWatcher {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // One that panicked has nothing left to do.
            let _ = thread.join();
        }
    }
}

/// Looks once. `told` are the stuck runs of the look before.
fn look(repository: &Repository, limit: Duration, told: &mut HashSet<LongRun>) {
    let now = Instant::now();
    let stuck: HashSet<_> = match now.checked_sub(limit) {
        Some(then) => repository.retired.running_since(then).into_iter().collect(),
        None => HashSet::new(),
    };
    for run in stuck.difference(told) {
        let seconds = now.saturating_duration_since(run.began).as_secs();
        tracing::error!(
            model = %run.model, seconds,
            "a run of this model has not come back for {seconds} s: the server says that it is not live until it does"
        );
    }
    for run in told.difference(&stuck) {
        let seconds = now.saturating_duration_since(run.began).as_secs();
        tracing::warn!(model = %run.model, seconds, "the run that seemed stuck has come back after {seconds} s");
    }
    repository.metrics.stuck(stuck.len());
    repository.stuck.store(!stuck.is_empty(), Ordering::Release);
    *told = stuck;
}

impl Repository {
    /// Whether no run has been stuck for too long, as far as a [`RunWatcher`] knows.
    #[must_use]
    pub fn is_live(&self) -> bool {
        !self.stuck.load(Ordering::Acquire)
    }
}
