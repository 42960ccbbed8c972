//! Waiting for what another process does, and never for a guessed time.

use std::thread;
use std::time::{Duration, Instant};

/// Time for anything that a healthy process does; only a hang exceeds it.
const LIMIT: Duration = Duration::from_secs(120);

/// Asks again and again until `look` finds something; panics with `what` when nothing comes.
pub(crate) fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let started = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(started.elapsed() < LIMIT, "waited {} s in vain: {what}", LIMIT.as_secs());
        thread::sleep(Duration::from_millis(10));
    }
}
