//! A first-in-first-out queue in the segment files of one folder.
//!
//! Messages are numbered. They are added at the end, taken in their order, and done in any order; what is done is written
//! down as one number, below which all is done. A file goes when all of its messages are done.
//!
//! A file is made safe before the next one is begun. So a power cut can only tear the last one, and what is found after
//! it is a prefix of what was added.

use std::collections::{BTreeSet, VecDeque};
use std::io;

use super::disk::Disk;
use super::frame::{self, HEADER, Kind};
use super::segment::{self, Scan, Segment, size_of_frame};
use crate::steps::Step;

/// The bytes of the frame that a segment begins with.
pub(super) const BEGIN: usize = HEADER + 8;

/// A lane of the queue.
#[derive(Debug)]
pub(super) struct Lane<D> {
    disk: D,
    segments: VecDeque<Segment>,
    /// The bytes that a file may have, unless one message needs more.
    segment_bytes: u64,
    /// The number of the next file.
    next_file: u64,
    /// The first message that is not done.
    head: u64,
    /// The number that the next message gets.
    next: u64,
    /// Messages beyond the first that are done.
    done: BTreeSet<u64>,
    /// Where the next message is to be taken.
    reading: Place,
    /// Messages that could not be read again.
    damaged: u64,
}

/// A place in a file.
#[derive(Clone, Copy, Debug, Default)]
struct Place {
    file: u64,
    at: u64,
}

impl<D: Disk> Lane<D> {
    /// Finds what is there. Torn bytes at the end of the last file are cut off.
    pub(super) fn open(mut disk: D, segment_bytes: u64) -> io::Result<Self> {
        let files = disk.files()?;
        let mut segments: VecDeque<Segment> = VecDeque::new();
        let (mut head, mut next, mut damaged) = (0, 0, 0);
        for file in &files {
            match segment::scan(&mut disk, *file)? {
                Some(Scan { segment, done }) if segment.first >= next => {
                    if let Some(before) = segments.back() {
                        damaged += segment.first.saturating_sub(before.next);
                    }
                    head = head.max(done);
                    next = segment.next;
                    segments.push_back(segment);
                }
                // It was begun in vain.
                _ => disk.remove(*file)?,
            }
        }
        let next_file = files.last().map_or(0, |file| file + 1);
        if let Some(last) = segments.back_mut().filter(|last| last.torn) {
            disk.truncate(last.file, last.length)?;
            disk.made(Step::QueueEndCutOff);
            last.torn = false;
        }
        // What is done beyond the end was torn off.
        let mut lane = Self {
            disk,
            segments,
            segment_bytes,
            next_file,
            head: head.min(next),
            next,
            done: BTreeSet::new(),
            reading: Place::default(),
            damaged,
        };
        lane.advance();
        lane.reclaim()?;
        lane.rewind();
        Ok(lane)
    }

    /// Adds a message and returns its number. On failure nothing was added.
    pub(super) fn push(&mut self, body: &[u8]) -> io::Result<u64> {
        let number = self.next;
        let frame = frame::write(Kind::Message, number, body).ok_or(io::ErrorKind::FileTooLarge)?;
        self.append(&frame)?;
        self.disk.made(Step::QueueMessageWritten);
        self.next += 1;
        if let Some(last) = self.segments.back_mut() {
            last.next = self.next;
        }
        Ok(number)
    }

    /// The next message that was neither taken nor done.
    pub(super) fn take(&mut self) -> io::Result<Option<(u64, Vec<u8>)>> {
        loop {
            let Some(segment) = self.segments.iter().find(|segment| segment.file >= self.reading.file).copied() else {
                return Ok(None);
            };
            if segment.file > self.reading.file {
                self.reading = Place { file: segment.file, at: 0 };
            }
            let (file, at) = (segment.file, self.reading.at);
            if at >= segment.length {
                if self.segments.back().is_none_or(|last| last.file == file) {
                    return Ok(None);
                }
                self.reading = Place { file: file + 1, at: 0 };
                continue;
            }
            let Some(header) = segment::header(&mut self.disk, file, at, segment.length)? else {
                self.skip_damage(segment)?;
                continue;
            };
            let wanted = header.kind == Kind::Message && header.number >= self.head;
            if !wanted || self.done.contains(&header.number) {
                self.reading.at += size_of_frame(&header);
                continue;
            }
            match segment::frame(&mut self.disk, file, at, segment.length)? {
                Some((header, body)) => {
                    self.reading.at += size_of_frame(&header);
                    return Ok(Some((header.number, body)));
                }
                None => self.skip_damage(segment)?,
            }
        }
    }

    /// Starts anew with the first message that is not done.
    pub(super) fn rewind(&mut self) {
        self.reading = Place::default();
    }

    /// Notes that a message is done; whatever is not in the lane is left alone. If it cannot be written down, the message
    /// may come again after a restart.
    pub(super) fn finish(&mut self, number: u64) -> io::Result<()> {
        if number < self.head || number >= self.next || !self.done.insert(number) {
            return Ok(());
        }
        let before = self.head;
        self.advance();
        if self.head == before {
            return Ok(());
        }
        let noted = frame::write(Kind::Done, self.head, &[]).map_or(Ok(()), |frame| self.append(&frame));
        self.disk.made(Step::QueueDoneWritten);
        self.reclaim().and(noted)
    }

    /// Makes room by giving up the oldest file, and returns how many messages were lost. `None` where there are none.
    pub(super) fn drop_oldest(&mut self) -> io::Result<Option<u64>> {
        if self.messages() == 0 {
            return Ok(None);
        }
        if self.segments.len() == 1 {
            self.rotate()?;
        }
        let Some(oldest) = self.segments.front().copied() else { return Ok(None) };
        let undone = (oldest.first.max(self.head)..oldest.next).filter(|number| !self.done.contains(number)).count();
        self.disk.remove(oldest.file)?;
        self.disk.made(Step::QueueOldestRemoved);
        self.segments.pop_front();
        self.head = self.head.max(oldest.next);
        self.advance();
        Ok(Some(undone as u64))
    }

    /// Makes all of it safe from a power cut, and returns the number below which all messages are.
    pub(super) fn commit(&mut self) -> io::Result<u64> {
        for segment in self.segments.iter_mut().filter(|segment| segment.dirty) {
            self.disk.sync(segment.file)?;
            self.disk.made(Step::QueueFileSafe);
            segment.dirty = false;
        }
        Ok(self.next)
    }

    /// Whether something would not survive a power cut.
    pub(super) fn is_dirty(&self) -> bool {
        self.segments.iter().any(|segment| segment.dirty)
    }

    /// The bytes on disk.
    pub(super) fn bytes(&self) -> u64 {
        self.segments.iter().map(|segment| segment.length).sum()
    }

    /// The messages that are not done.
    pub(super) fn messages(&self) -> u64 {
        let in_segment = |segment: &Segment| segment.next.saturating_sub(segment.first.max(self.head));
        self.segments.iter().map(in_segment).sum::<u64>().saturating_sub(self.done.len() as u64)
    }

    /// The messages that could not be read again.
    pub(super) const fn damaged(&self) -> u64 {
        self.damaged
    }

    /// Adds a frame to the last file, or to a new one.
    fn append(&mut self, frame: &[u8]) -> io::Result<()> {
        let length = frame.len() as u64;
        let full =
            |last: &Segment| last.torn || (last.length > BEGIN as u64 && last.length + length > self.segment_bytes);
        if self.segments.back().is_none_or(full) {
            self.rotate()?;
        }
        let Some(last) = self.segments.back_mut() else { return Err(io::ErrorKind::NotFound.into()) };
        if let Err(error) = self.disk.append(last.file, frame) {
            // What was written of it would be taken for damage; where it stays, nothing may follow it.
            last.torn = self.disk.truncate(last.file, last.length).is_err();
            return Err(error);
        }
        last.length += length;
        last.dirty = true;
        Ok(())
    }

    /// Makes the last file safe and begins a new one.
    fn rotate(&mut self) -> io::Result<()> {
        self.commit()?;
        let file = self.next_file;
        // Whatever becomes of it, its name is taken.
        self.next_file += 1;
        self.disk.create(file)?;
        self.disk.made(Step::QueueFileMade);
        let begin =
            frame::write(Kind::Begin, self.next, &self.head.to_le_bytes()).ok_or(io::ErrorKind::FileTooLarge)?;
        if let Err(error) = self.disk.append(file, &begin) {
            let _ = self.disk.remove(file);
            return Err(error);
        }
        self.disk.made(Step::QueueFileBegun);
        let length = begin.len() as u64;
        let (first, next) = (self.next, self.next);
        self.segments.push_back(Segment { file, first, next, length, dirty: true, torn: false });
        self.reclaim()
    }

    /// Moves the head over what is done, and over numbers that no file has.
    fn advance(&mut self) {
        loop {
            let missing = self.segments.iter().find(|segment| segment.next > self.head);
            let first = missing.map_or(self.next, |segment| segment.first);
            self.head = self.head.max(first);
            if !self.done.remove(&self.head) {
                break;
            }
            self.head += 1;
        }
        self.done = self.done.split_off(&self.head);
    }

    /// Removes files of which all is done, but for the last.
    fn reclaim(&mut self) -> io::Result<()> {
        while self.segments.len() > 1 && self.segments.front().is_some_and(|front| front.next <= self.head) {
            if let Some(front) = self.segments.pop_front() {
                self.disk.remove(front.file)?;
                self.disk.made(Step::QueueFileRemoved);
            }
        }
        Ok(())
    }

    /// Gives up what is left of a file that cannot be read.
    fn skip_damage(&mut self, segment: Segment) -> io::Result<()> {
        let mut lost = BTreeSet::new();
        lost.extend(segment.first.max(self.head)..segment.next);
        let mut at = 0;
        // What comes before the damage may be under way.
        while at < self.reading.at {
            let Some(header) = segment::header(&mut self.disk, segment.file, at, segment.length)? else { break };
            if header.kind == Kind::Message {
                lost.remove(&header.number);
            }
            at += size_of_frame(&header);
        }
        self.reading.at = segment.length;
        for number in lost {
            self.damaged += u64::from(!self.done.contains(&number));
            self.finish(number)?;
        }
        Ok(())
    }
}
