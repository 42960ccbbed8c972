//! How a caller who leaves is noticed: while its request waits, and while it is being run.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::backend::Stop;

/// Where one request is. The caller holds it in a ticket, the queue and the run in the job.
#[derive(Debug, Default)]
pub(crate) struct Place(Mutex<Whereabouts>);

#[derive(Debug, Default)]
enum Whereabouts {
    #[default]
    Waiting,
    Running(Arc<Ride>),
    Left,
}

/// One run, as far as its callers are concerned: it is ended when the last of them has left.
#[derive(Debug)]
pub(crate) struct Ride {
    /// Callers who still want it; before it starts, the scheduler too.
    wanted: AtomicUsize,
    over: AtomicBool,
    stop: Stop,
}

impl Place {
    /// Notes that the request is now run in `ride`; false when its caller has left.
    pub(crate) fn board(&self, ride: &Arc<Ride>) -> bool {
        let mut whereabouts = self.lock();
        if matches!(*whereabouts, Whereabouts::Left) {
            return false;
        }
        ride.wanted.fetch_add(1, Ordering::Relaxed);
        *whereabouts = Whereabouts::Running(Arc::clone(ride));
        true
    }

    /// Whether the caller has left.
    pub(crate) fn has_left(&self) -> bool {
        matches!(*self.lock(), Whereabouts::Left)
    }

    /// Notes that the caller has left, and says whether its request still waited.
    pub(crate) fn leave(&self) -> bool {
        match std::mem::replace(&mut *self.lock(), Whereabouts::Left) {
            Whereabouts::Waiting => true,
            Whereabouts::Running(ride) => {
                ride.lose_one();
                false
            }
            Whereabouts::Left => false,
        }
    }

    /// Each change is whole, even if a thread died while it held the lock.
    fn lock(&self) -> MutexGuard<'_, Whereabouts> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Ride {
    /// A run that nobody wants yet. It cannot be ended before [`Ride::start`]: those who board first may leave
    /// before the others are there.
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self { wanted: AtomicUsize::new(1), over: AtomicBool::new(false), stop: Stop::default() })
    }

    /// Everyone is there: from now on the run ends when all have left.
    pub(crate) fn start(&self) {
        self.lose_one();
    }

    /// What ends the run.
    pub(crate) fn stop(&self) -> &Stop {
        &self.stop
    }

    /// The run has ended: who leaves now ends nothing.
    pub(crate) fn arrive(&self) {
        self.over.store(true, Ordering::Relaxed);
    }

    fn lose_one(&self) {
        let last = self.wanted.fetch_sub(1, Ordering::AcqRel) == 1;
        if last && !self.over.load(Ordering::Relaxed) {
            self.stop.now();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_is_ended_when_the_last_of_its_callers_leaves() {
        let (ride, places) = (Ride::new(), [Place::default(), Place::default()]);
        assert!(places[0].board(&ride));
        places[0].leave();
        assert!(!ride.stop().is_stopped(), "the second is still to come");
        assert!(places[1].board(&ride));
        ride.start();
        assert!(!ride.stop().is_stopped());
        assert!(!places[1].leave());
        assert!(ride.stop().is_stopped());
    }

    #[test]
    fn who_left_does_not_board_and_who_leaves_afterwards_ends_nothing() {
        let (ride, place) = (Ride::new(), Place::default());
        assert!(place.leave() && !place.board(&ride));
        let stays = Place::default();
        assert!(stays.board(&ride));
        ride.start();
        ride.arrive();
        stays.leave();
        assert!(!ride.stop().is_stopped());
    }
}
