//! The connections, and the requests on them.

use std::time::Instant;

use super::connection::Connection;

/// Places for connections, as many as have been needed at once.
#[derive(Debug)]
pub(crate) struct Pool {
    slots: Vec<Slot>,
    /// Slots without a request: those with a connection, and those without.
    warm: Vec<usize>,
    cold: Vec<usize>,
    most: usize,
}

/// A place for a connection and the request on it.
#[derive(Debug, Default)]
pub(crate) struct Slot {
    pub(crate) connection: Option<Connection>,
    pub(crate) job: Option<Job>,
}

/// A request under way.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Job {
    /// When it was due, from where its time counts.
    pub(crate) due: Instant,
    /// When it was sent.
    pub(crate) begun: Instant,
    /// Which request it is.
    pub(crate) request: usize,
    /// The how many-th of all.
    pub(crate) number: u64,
    /// Whether its caller leaves before the answer.
    pub(crate) leaves: bool,
    /// Whether it has been sent before, on a connection that the server had closed.
    pub(crate) again: bool,
    /// Whether it was due while requests count.
    pub(crate) counts: bool,
}

impl Pool {
    /// Room for so many requests at once.
    pub(crate) const fn new(most: usize) -> Self {
        Self { slots: Vec::new(), warm: Vec::new(), cold: Vec::new(), most }
    }

    /// Whether there is a place for another request.
    pub(crate) fn has_room(&self) -> bool {
        !self.warm.is_empty() || !self.cold.is_empty() || self.slots.len() < self.most
    }

    /// A place without a request. Who is going to leave takes a connection from nobody who stays.
    pub(crate) fn take(&mut self, leaves: bool) -> usize {
        let free = if leaves {
            self.cold.pop().or_else(|| self.warm.pop())
        } else {
            self.warm.pop().or_else(|| self.cold.pop())
        };
        free.unwrap_or_else(|| {
            self.slots.push(Slot::default());
            self.slots.len() - 1
        })
    }

    pub(crate) fn slot(&mut self, at: usize) -> Option<&mut Slot> {
        self.slots.get_mut(at)
    }

    pub(crate) fn job(&self, at: usize) -> Option<Job> {
        self.slots.get(at).and_then(|slot| slot.job)
    }

    /// Closes the connection there, if there is one.
    pub(crate) fn close(&mut self, at: usize) {
        let Some(slot) = self.slots.get_mut(at) else { return };
        slot.connection = None;
        if slot.job.is_none() {
            self.warm.retain(|warm| *warm != at);
            if !self.cold.contains(&at) {
                self.cold.push(at);
            }
        }
    }

    /// The request there has ended.
    pub(crate) fn free(&mut self, at: usize) {
        let Some(slot) = self.slots.get_mut(at) else { return };
        slot.job = None;
        if slot.connection.is_some() { self.warm.push(at) } else { self.cold.push(at) }
    }

    /// The places whose request was sent before `moment`.
    pub(crate) fn sent_before(&self, moment: Instant) -> Vec<usize> {
        let old = |slot: &Slot| slot.job.is_some_and(|job| job.begun < moment);
        self.slots.iter().enumerate().filter(|(_, slot)| old(slot)).map(|(at, _)| at).collect()
    }
}
