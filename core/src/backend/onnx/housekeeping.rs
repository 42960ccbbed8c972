//! When a session that keeps memory between runs gives back what it no longer needs.
//!
//! One large request among small ones would otherwise hold its memory until the model is unloaded.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::arena::Arena;

/// Giving memory back makes the next run fetch it again; this seldom, that costs nothing.
const INTERVAL: Duration = Duration::from_secs(10);

/// A session's arena, and when it last gave memory back.
#[derive(Debug)]
pub(super) struct Housekeeping(Mutex<(Arena, Instant)>);

impl Housekeeping {
    pub(super) fn of(arena: Arena) -> Self {
        Self(Mutex::new((arena, Instant::now())))
    }

    /// Gives back what no run is using, once in each interval. Call it after a run.
    pub(super) fn after_run(&self) {
        // Another thread is at it at this moment: one of them is enough.
        let Ok(mut held) = self.0.try_lock() else { return };
        let (arena, last) = &mut *held;
        let now = Instant::now();
        if is_due(*last, now) {
            *last = now;
            shrink(arena);
        }
    }

    /// Gives back what no run is using.
    pub(super) fn rest(&self) {
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        held.1 = Instant::now();
        shrink(&held.0);
    }
}

fn shrink(arena: &Arena) {
    if let Err(error) = arena.shrink() {
        tracing::debug!(error.detail = %error, "the arena could not be made smaller");
    }
}

fn is_due(last: Instant, now: Instant) -> bool {
    now.saturating_duration_since(last) >= INTERVAL
}
