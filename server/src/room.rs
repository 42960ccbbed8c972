//! The memory that requests under way hold, all within one budget.
//!
//! What a body, its unpacked form and its tensors take is reserved before it is taken. The first part of it is free to
//! every request, so that small ones only look at a counter: a quarter of the budget is theirs, so that they are never
//! turned away for large ones. Who comes while the budget is taken is refused.

use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;

use crate::app::App;
use crate::error::ApiError;

/// What a request may take unasked; requests under way count for as much each.
pub(crate) const FREE: usize = 16 << 10;

/// What a stream of gRPC takes that is open and waits.
const STREAM: usize = 8 << 10;

/// Reservations are made in steps of so many bytes.
const STEP: usize = 64 << 10;

/// The memory that all requests under way may hold together.
#[derive(Debug)]
pub(crate) struct Budget {
    /// What requests may hold unasked.
    small: usize,
    /// What they may reserve.
    limit: usize,
    held: AtomicUsize,
    /// Streams that are open.
    streams: AtomicUsize,
}

impl Budget {
    pub(crate) const fn new(bytes: usize) -> Self {
        let small = bytes / 4;
        Self { small, limit: bytes - small, held: AtomicUsize::new(0), streams: AtomicUsize::new(0) }
    }

    /// The bytes reserved now.
    #[cfg(test)]
    pub(crate) fn held(&self) -> usize {
        self.held.load(Ordering::Relaxed)
    }

    /// A request among `under_way` begins; fails where those there are may already hold everything.
    pub(crate) fn enter(&self, under_way: i64) -> Result<Room<'_>, ApiError> {
        let unasked = usize::try_from(under_way).unwrap_or(0).saturating_sub(1).saturating_mul(FREE);
        if unasked > self.small {
            return Err(ApiError::NoMemory { limit: self.small });
        }
        Ok(Room { budget: self, asked: AtomicUsize::new(0), reserved: AtomicUsize::new(0) })
    }

    /// Opens a stream; fails where those there are hold half of what is there for small requests, which they may for ever.
    fn open(&self) -> Result<(), ApiError> {
        let limit = self.small / 2;
        let one_more = |streams: usize| Some(streams + 1).filter(|streams| streams * STREAM <= limit);
        let opened = self.streams.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more);
        opened.map(drop).map_err(|_| ApiError::NoMemory { limit })
    }

    fn close(&self) {
        self.streams.fetch_sub(1, Ordering::Relaxed);
    }

    /// Why a request that asked for so much does not get it.
    fn refusal(&self, asked: usize) -> ApiError {
        if asked.saturating_sub(FREE) > self.limit {
            ApiError::TooMuchMemory { needed: asked, limit: self.limit }
        } else {
            ApiError::NoMemory { limit: self.limit }
        }
    }

    fn reserve(&self, bytes: usize) -> bool {
        let add = |held: usize| held.checked_add(bytes).filter(|held| *held <= self.limit);
        self.held.fetch_update(Ordering::Relaxed, Ordering::Relaxed, add).is_ok()
    }

    fn force(&self, bytes: usize) {
        self.held.fetch_add(bytes, Ordering::Relaxed);
    }

    fn give_back(&self, bytes: usize) {
        self.held.fetch_sub(bytes, Ordering::Relaxed);
    }
}

/// What one request holds, given back when dropped. One thread at a time asks for more.
#[derive(Debug)]
pub(crate) struct Room<'a> {
    budget: &'a Budget,
    asked: AtomicUsize,
    reserved: AtomicUsize,
}

impl Room<'_> {
    /// Whether the request may take so many more bytes.
    pub(crate) fn take(&self, bytes: usize) -> bool {
        let asked = self.add(bytes);
        let reserved = self.reserved.load(Ordering::Relaxed);
        let more = asked.saturating_sub(FREE).saturating_sub(reserved);
        if more == 0 {
            return true;
        }
        // The last step may not fit where the bytes themselves do.
        let step = more.checked_next_multiple_of(STEP).unwrap_or(more);
        let Some(got) = [step, more].into_iter().find(|bytes| self.budget.reserve(*bytes)) else { return false };
        self.reserved.store(reserved + got, Ordering::Relaxed);
        true
    }

    /// The same, as a result.
    pub(crate) fn need(&self, bytes: usize) -> Result<(), ApiError> {
        if self.take(bytes) { Ok(()) } else { Err(self.refusal()) }
    }

    /// Why the last asking was in vain.
    pub(crate) fn refusal(&self) -> ApiError {
        self.budget.refusal(self.asked.load(Ordering::Relaxed))
    }

    /// The bytes asked for so far.
    pub(crate) fn asked(&self) -> usize {
        self.asked.load(Ordering::Relaxed)
    }

    /// Takes what cannot be refused any more.
    pub(crate) fn force(&self, bytes: usize) {
        let asked = self.add(bytes);
        let reserved = self.reserved.load(Ordering::Relaxed);
        let more = asked.saturating_sub(FREE).saturating_sub(reserved);
        if more > 0 {
            self.budget.force(more);
            self.reserved.store(reserved + more, Ordering::Relaxed);
        }
    }

    /// Holds no more than so many bytes from now on.
    pub(crate) fn shrink_to(&self, bytes: usize) {
        let asked = self.asked.load(Ordering::Relaxed).min(bytes);
        self.asked.store(asked, Ordering::Relaxed);
        let (reserved, needed) = (self.reserved.load(Ordering::Relaxed), asked.saturating_sub(FREE));
        if needed < reserved {
            self.reserved.store(needed, Ordering::Relaxed);
            self.budget.give_back(reserved - needed);
        }
    }

    fn add(&self, bytes: usize) -> usize {
        let asked = self.asked.load(Ordering::Relaxed).saturating_add(bytes);
        self.asked.store(asked, Ordering::Relaxed);
        asked
    }
}

impl Drop for Room<'_> {
    fn drop(&mut self) {
        let reserved = *self.reserved.get_mut();
        if reserved > 0 {
            self.budget.give_back(reserved);
        }
    }
}

/// Bytes of an answer, which count until the last of them is written.
pub(crate) struct Held {
    bytes: Bytes,
    app: App,
}

impl Held {
    /// Counts `bytes` where they are many.
    pub(crate) fn count(bytes: Bytes, app: &App) -> Bytes {
        if bytes.len() <= FREE {
            return bytes;
        }
        app.memory.force(bytes.len());
        Bytes::from_owner(Self { bytes, app: app.clone() })
    }
}

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.app.memory.give_back(self.bytes.len());
    }
}

/// What one message of a call holds, given back when dropped.
pub(crate) struct Reserved {
    app: App,
    bytes: usize,
}

impl Reserved {
    /// Reserves what a message of `bytes` takes.
    pub(crate) fn of(app: &App, bytes: usize) -> Result<Self, ApiError> {
        app.memory.enter(app.metrics.in_flight.get())?;
        let mut reserved = Self { app: app.clone(), bytes: 0 };
        if reserved.more(bytes) { Ok(reserved) } else { Err(app.memory.refusal(bytes)) }
    }

    /// Whether the message may take so many more bytes.
    pub(crate) fn more(&mut self, bytes: usize) -> bool {
        let more = bytes.saturating_sub(FREE);
        let granted = more == 0 || self.app.memory.reserve(more);
        self.bytes += if granted { more } else { 0 };
        granted
    }

    /// Why the last asking was in vain.
    pub(crate) fn refusal(&self) -> ApiError {
        self.app.memory.refusal(self.bytes)
    }

    /// Holds on as long as `bytes` do.
    pub(crate) fn keep_with(self, bytes: Bytes) -> Bytes {
        if self.bytes == 0 { bytes } else { Bytes::from_owner(Kept { bytes, _reserved: self }) }
    }
}

impl Drop for Reserved {
    fn drop(&mut self) {
        self.app.memory.give_back(self.bytes);
    }
}

/// The place of a stream that may stay open as long as its client wants, given back when dropped.
pub(crate) struct Open(App);

impl Open {
    /// Takes a place for another stream.
    pub(crate) fn stream(app: &App) -> Result<Self, ApiError> {
        app.memory.open().map(|()| Self(app.clone()))
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.memory.close();
    }
}

/// Bytes with what was reserved for them.
struct Kept {
    bytes: Bytes,
    _reserved: Reserved,
}

impl AsRef<[u8]> for Kept {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_requests_reserve_nothing_and_large_ones_what_is_beyond() {
        let budget = Budget::new(8 * STEP);
        let room = budget.enter(1).unwrap();
        assert!(room.take(FREE / 2) && room.take(FREE / 2));
        assert_eq!(budget.held(), 0);
        assert!(room.take(1) && room.take(STEP - 1));
        assert_eq!(budget.held(), STEP, "a step buys many");
        assert!(room.take(1));
        assert_eq!(budget.held(), 2 * STEP);
        room.shrink_to(FREE + 7);
        assert_eq!(budget.held(), 7);
        drop(room);
        assert_eq!(budget.held(), 0);
    }

    #[test]
    fn who_asks_for_more_than_is_left_is_refused_and_told_whether_to_come_again() {
        let budget = Budget::new(4 * STEP);
        assert_eq!((budget.limit, budget.small), (3 * STEP, STEP));
        let (first, second) = (budget.enter(1).unwrap(), budget.enter(2).unwrap());
        assert!(first.take(FREE + 2 * STEP + 1));
        assert!(matches!(second.need(FREE + STEP), Err(ApiError::NoMemory { .. })));
        drop((first, second));
        let third = budget.enter(1).unwrap();
        assert!(third.take(FREE + 3 * STEP), "all of it is for whoever is alone");
        assert!(matches!(third.need(1), Err(ApiError::TooMuchMemory { .. })));
        assert!(third.need(0).is_err(), "a refusal stays one");
        drop(third);
        assert_eq!(budget.held(), 0);
    }

    #[test]
    fn streams_that_stay_open_leave_half_to_others() {
        let budget = Budget::new(16 * FREE);
        for _ in 0..4 {
            budget.open().unwrap();
        }
        assert!(matches!(budget.open(), Err(ApiError::NoMemory { limit }) if limit == 2 * FREE));
        assert!(budget.enter(5).is_ok());
        budget.close();
        assert!(budget.open().is_ok() && budget.open().is_err());
    }

    #[test]
    fn many_small_requests_count_too() {
        let budget = Budget::new(16 * FREE);
        assert!(budget.enter(5).is_ok());
        assert!(matches!(budget.enter(6), Err(ApiError::NoMemory { .. })));
        let room = budget.enter(1).unwrap();
        room.force(20 * FREE);
        assert_eq!(budget.held(), 19 * FREE, "an answer that is there is not refused");
        let other = budget.enter(5).unwrap();
        assert!(other.take(FREE), "small ones go on");
        assert!(matches!(other.need(1), Err(ApiError::NoMemory { .. })));
        drop((room, other));
        assert_eq!(budget.held(), 0);
    }
}
