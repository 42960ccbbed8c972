//! How many connections are open, and who is let in when they are many.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// So many more connections than the limit are let in for a short while, for health and metrics: those who look
/// after the server have to see that it lives.
pub(super) const SPARE: usize = 64;

/// The door of one port.
#[derive(Clone, Debug)]
pub(super) struct Door {
    open: Arc<AtomicUsize>,
    limit: usize,
}

/// One connection inside; dropping it is leaving.
#[derive(Debug)]
pub(super) struct Pass {
    open: Arc<AtomicUsize>,
    /// Whether it is one of those beyond the limit.
    pub(super) spare: bool,
}

impl Door {
    pub(super) fn new(limit: usize) -> Self {
        Self { open: Arc::default(), limit }
    }

    /// Lets one more in, if there is a place.
    pub(super) fn enter(&self) -> Option<Pass> {
        let before = self.open.fetch_add(1, Ordering::Relaxed);
        // Dropped at once where there is no place.
        let pass = Pass { open: Arc::clone(&self.open), spare: before >= self.limit };
        (before < self.limit.saturating_add(SPARE)).then_some(pass)
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        self.open.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_few_more_than_the_limit_are_let_in_and_places_come_free() {
        let door = Door::new(2);
        let mut inside: Vec<_> = (0..2 + SPARE).map(|_| door.enter().unwrap()).collect();
        let spare: Vec<_> = inside.iter().map(|pass| pass.spare).collect();
        assert_eq!((spare[..2].contains(&true), spare[2..].contains(&false)), (false, false));
        assert!(door.enter().is_none() && door.enter().is_none());
        inside.truncate(1);
        assert!(!door.enter().unwrap().spare);
        assert_eq!(door.open.load(Ordering::Relaxed), 1);
    }
}
