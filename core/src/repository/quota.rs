//! Follows the processors that this process may use, since a container's quota can change while it runs, and how much of
//! them it uses.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::Repository;
use crate::host::{Cpus, process_time};
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
            let mut usage = Usage::now(&slots);
            repository.metrics.utilization(slots.all(), 0.0);
            while stopped.recv_timeout(interval) == Err(RecvTimeoutError::Timeout) {
                let used = usage.of(&Usage::now(&slots), slots.all());
                usage = Usage::now(&slots);
                follow(&repository, &slots, &Cpus::measure(&root));
                repository.metrics.utilization(slots.all(), used);
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

/// What has been used so far.
struct Usage {
    at: Instant,
    /// By runs: the time of threads.
    runs: Duration,
    /// By all there is in this process: the time of processors.
    process: Duration,
}

impl Usage {
    fn now(slots: &Slots) -> Self {
        let at = Instant::now();
        Self { at, runs: slots.used(at), process: process_time().unwrap_or_default() }
    }

    /// Which share of `threads` was used up to `now`, from 0 to 1: by runs, or else by the whole process. Runs on an
    /// accelerator hold threads and leave processors idle; small models need less than what goes on around them.
    fn of(&self, now: &Self, threads: usize) -> f64 {
        let passed = now.at.saturating_duration_since(self.at).as_secs_f64();
        let all = passed * f64::from(u32::try_from(threads).unwrap_or(u32::MAX));
        let used = now.runs.saturating_sub(self.runs).max(now.process.saturating_sub(self.process));
        (used.as_secs_f64() / all.max(f64::MIN_POSITIVE)).clamp(0.0, 1.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn usage_is_a_share_of_what_there_is() {
        let at = Instant::now();
        let usage = |seconds, runs, process| Usage {
            at: at + Duration::from_secs(seconds),
            runs: Duration::from_secs(runs),
            process: Duration::from_secs(process),
        };
        let used = |runs, process| usage(0, 1, 1).of(&usage(5, runs, process), 2);
        assert_eq!([used(1, 1), used(6, 1), used(2, 11), used(1, 99)], [0.0, 0.5, 1.0, 1.0]);
        assert_eq!(usage(0, 1, 1).of(&usage(0, 1, 1), 2), 0.0);
    }
}
