use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Ends one run early, from another thread.
#[derive(Default)]
pub struct Stop(Mutex<State>);

#[derive(Default)]
struct State {
    stopped: bool,
    terminate: Option<Box<dyn Fn() + Send>>,
}

impl Stop {
    /// Ends the run, or keeps it from starting. The run may take a while to notice.
    pub fn now(&self) {
        let mut state = self.lock();
        state.stopped = true;
        if let Some(terminate) = &state.terminate {
            terminate();
        }
    }

    /// Whether the run was told to end.
    #[must_use]
    pub fn is_stopped(&self) -> bool {
        self.lock().stopped
    }

    /// Says how to end a run that begins now; false where it must not begin.
    pub(crate) fn arm(&self, terminate: impl Fn() + Send + 'static) -> bool {
        let mut state = self.lock();
        state.terminate = Some(Box::new(terminate));
        !state.stopped
    }

    /// The flag stays right even if a thread died while it held the lock.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Stop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Stop({})", self.is_stopped())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[test]
    fn a_run_under_way_is_ended_and_one_that_was_stopped_before_does_not_begin() {
        let ended = Arc::new(AtomicUsize::new(0));
        let count = || {
            let ended = Arc::clone(&ended);
            move || {
                ended.fetch_add(1, Ordering::Relaxed);
            }
        };
        let stop = Stop::default();
        assert!(stop.arm(count()));
        assert!(!stop.is_stopped());
        stop.now();
        assert_eq!((stop.is_stopped(), ended.load(Ordering::Relaxed)), (true, 1));
        assert!(!stop.arm(count()));
    }
}
