//! Follows the processors that this process may use: a container's quota can change while it runs.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use super::Repository;
use crate::host::Cpus;
use crate::model::Slots;

/// Measures the processors again and again, on a thread of its own, until dropped.
#[derive(Debug)]
pub struct QuotaWatcher {
    stop: Option<mpsc::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl QuotaWatcher {
    /// Starts to measure the machine at `root` (`/` but for tests) every `interval`, and to let the models of
    /// `repository` have the processors of `slots` that it finds.
    pub fn start(
        repository: Arc<Repository>,
        slots: Arc<Slots>,
        root: PathBuf,
        interval: Duration,
    ) -> std::io::Result<Self> {
        let (stop, stopped) = mpsc::channel();
        let follow = move || {
            while stopped.recv_timeout(interval) == Err(RecvTimeoutError::Timeout) {
                follow(&repository, &slots, &Cpus::measure(&root));
            }
        };
        let thread = thread::Builder::new().name("hedef-quota".into()).spawn(follow)?;
        Ok(Self { stop: Some(stop), thread: Some(thread) })
    }
}

impl Drop for QuotaWatcher {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // One that panicked has nothing left to do.
            let _ = thread.join();
        }
    }
}

/// Applies what was measured.
pub(super) fn follow(repository: &Repository, slots: &Slots, cpus: &Cpus) {
    let threads = NonZeroUsize::get(cpus.threads);
    if threads != slots.all() {
        tracing::info!(threads, before = slots.all(), "threads for models have changed: {}", cpus.reason);
        slots.resize(threads);
    }
    // Those that were being loaded when it changed too.
    for model in repository.models() {
        model.follow(threads);
    }
}
