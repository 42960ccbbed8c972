//! The lanes of the queue, held together within one limit of bytes.

use std::io;
use std::time::Duration;

use super::disk::Disk;
use super::frame::HEADER;
use super::lane::{BEGIN, Lane};

/// What happens to a lane when the queue is full.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum WhenFull {
    /// Its oldest messages give way.
    #[default]
    DropOldest,
    /// It keeps what it has, and new messages for it are refused.
    DropNew,
}

/// How a lane is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LaneSettings {
    /// The name of its folder.
    pub name: String,
    /// Lanes give way to those of a lower number, and are delivered after them.
    pub priority: u8,
    /// What happens when the queue is full.
    pub when_full: WhenFull,
    /// The part of the queue that it may fill, as a divisor: 2 is a half.
    pub share: u64,
    /// How long its messages may wait before they are told to be too old; none where they never are.
    pub max_age: Option<Duration>,
}

/// Why a message was not added.
#[derive(Debug, thiserror::Error)]
pub enum PushError {
    /// There is no room for it.
    #[error("the queue is full")]
    Full,
    /// It can never fit.
    #[error("the message has {found} bytes, and the queue takes {limit} at most")]
    TooLarge {
        /// Its bytes.
        found: usize,
        /// The most that a message may have.
        limit: usize,
    },
    /// The disk failed.
    #[error("the queue cannot be written: {0}")]
    Disk(#[from] io::Error),
    /// The queue has been closed.
    #[error("the queue is closed")]
    Closed,
}

/// The lanes in the order of their priority.
#[derive(Debug)]
pub(super) struct Store<D> {
    lanes: Vec<Kept<D>>,
    /// The bytes that messages may take. The rest up to the limit is for notes of what is done, which are written however
    /// full it is, and are less than what they free.
    capacity: u64,
}

#[derive(Debug)]
struct Kept<D> {
    settings: LaneSettings,
    lane: Lane<D>,
    dropped: u64,
}

impl<D: Disk> Store<D> {
    /// Opens every lane on its disk.
    pub(super) fn open(lanes: Vec<(LaneSettings, D)>, capacity: u64) -> io::Result<Self> {
        let segment_bytes = (capacity / 32).clamp(4 << 10, 2 << 20);
        let open = |(settings, disk)| Ok(Kept { settings, lane: Lane::open(disk, segment_bytes)?, dropped: 0 });
        let lanes = lanes.into_iter().map(open).collect::<io::Result<_>>()?;
        Ok(Self { lanes, capacity: capacity - capacity / 16 })
    }

    /// Adds a message to a lane; others give way as their settings say.
    pub(super) fn push(&mut self, lane: usize, body: &[u8]) -> Result<u64, PushError> {
        let needed = (body.len() + HEADER + BEGIN) as u64;
        let kept = self.lanes.get(lane).ok_or(io::ErrorKind::NotFound).map_err(io::Error::from)?;
        let share = self.capacity / kept.settings.share.max(1);
        if needed > share {
            let limit = usize::try_from(share).unwrap_or(usize::MAX).saturating_sub(HEADER + BEGIN);
            return Err(PushError::TooLarge { found: body.len(), limit });
        }
        if kept.lane.bytes() + needed > share && kept.settings.when_full == WhenFull::DropNew {
            return Err(PushError::Full);
        }
        while self.bytes() + needed > self.capacity {
            if !self.make_room(lane)? {
                return Err(PushError::Full);
            }
        }
        loop {
            match self.lane(lane)?.push(body) {
                // The disk is full before the queue is.
                Err(error) if matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded) => {
                    if !self.make_room(lane).unwrap_or(false) {
                        return Err(error.into());
                    }
                }
                added => return Ok(added?),
            }
        }
    }

    pub(super) fn lane(&mut self, lane: usize) -> io::Result<&mut Lane<D>> {
        self.lanes.get_mut(lane).map(|kept| &mut kept.lane).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    /// Every lane's name, the messages that it dropped since the start, and itself.
    pub(super) fn lanes(&self) -> impl Iterator<Item = (&str, u64, &Lane<D>)> {
        self.lanes.iter().map(|kept| (kept.settings.name.as_str(), kept.dropped, &kept.lane))
    }

    /// Makes everything safe from a power cut, and returns the number for each lane below which it is.
    pub(super) fn commit(&mut self) -> io::Result<Vec<u64>> {
        self.lanes.iter_mut().map(|kept| kept.lane.commit()).collect()
    }

    pub(super) fn is_dirty(&self) -> bool {
        self.lanes.iter().any(|kept| kept.lane.is_dirty())
    }

    pub(super) fn bytes(&self) -> u64 {
        self.lanes.iter().map(|kept| kept.lane.bytes()).sum()
    }

    /// Counts a message that found no room.
    pub(super) fn count_refused(&mut self, lane: usize) {
        if let Some(kept) = self.lanes.get_mut(lane) {
            kept.dropped += 1;
        }
    }

    /// Drops the oldest messages of the lane that gives way to `lane`: of the least important, the one with the most bytes.
    fn make_room(&mut self, lane: usize) -> io::Result<bool> {
        let Some(priority) = self.lanes.get(lane).map(|kept| kept.settings.priority) else { return Ok(false) };
        let gives_way = |kept: &&mut Kept<D>| {
            kept.settings.when_full == WhenFull::DropOldest
                && kept.settings.priority >= priority
                && kept.lane.messages() > 0
        };
        let victims = self.lanes.iter_mut().filter(gives_way);
        let Some(victim) = victims.max_by_key(|kept| (kept.settings.priority, kept.lane.bytes())) else {
            return Ok(false);
        };
        let dropped = victim.lane.drop_oldest()?;
        victim.dropped += dropped.unwrap_or(0);
        Ok(dropped.is_some())
    }
}
