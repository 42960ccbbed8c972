//! One segment file: what stands in it, found out by reading it.

use std::io;

use super::disk::Disk;
use super::frame::{HEADER, Header, Kind};

/// A file of a lane, and the messages in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Segment {
    /// The file's number.
    pub(super) file: u64,
    /// The number of its first message.
    pub(super) first: u64,
    /// The number after its last message.
    pub(super) next: u64,
    /// The bytes of the frames in it.
    pub(super) length: u64,
    /// Whether something in it would not survive a power cut.
    pub(super) dirty: bool,
    /// Whether it may have torn bytes at its end, so that nothing can be added.
    pub(super) torn: bool,
}

/// What was found in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Scan {
    pub(super) segment: Segment,
    /// All messages below that number are done.
    pub(super) done: u64,
}

/// Reads a file up to the first bytes that are no frame, or not the next one. `None` where it does not even begin.
pub(super) fn scan(disk: &mut impl Disk, file: u64) -> io::Result<Option<Scan>> {
    let size = disk.length(file)?;
    let mut found: Option<Scan> = None;
    let mut at = 0;
    while let Some((header, body)) = frame(disk, file, at, size)? {
        match (&mut found, header.kind) {
            (None, Kind::Begin) => {
                let Some(done) = body.first_chunk::<8>().map(|bytes| u64::from_le_bytes(*bytes)) else { break };
                let (first, next) = (header.number, header.number);
                let segment = Segment { file, first, next, length: 0, dirty: false, torn: false };
                found = Some(Scan { segment, done });
            }
            (Some(scan), Kind::Message) if header.number == scan.segment.next => scan.segment.next += 1,
            (Some(scan), Kind::Done) => scan.done = scan.done.max(header.number),
            _ => break,
        }
        at += size_of_frame(&header);
    }
    Ok(found.map(|scan| Scan { segment: Segment { length: at, torn: at < size, ..scan.segment }, ..scan }))
}

/// The whole frame at a place of a file of `size` bytes, if one stands there.
pub(super) fn frame(disk: &mut impl Disk, file: u64, at: u64, size: u64) -> io::Result<Option<(Header, Vec<u8>)>> {
    let Some(header) = header(disk, file, at, size)? else { return Ok(None) };
    let mut bytes = vec![0; header.length()];
    if !read(disk, file, at, &mut bytes)? || !header.fits(&bytes) {
        return Ok(None);
    }
    bytes.drain(..HEADER);
    Ok(Some((header, bytes)))
}

/// The start of a frame, if one can stand there.
pub(super) fn header(disk: &mut impl Disk, file: u64, at: u64, size: u64) -> io::Result<Option<Header>> {
    let mut bytes = [0; HEADER];
    if size.saturating_sub(at) < bytes.len() as u64 {
        return Ok(None);
    }
    if !read(disk, file, at, &mut bytes)? {
        return Ok(None);
    }
    Ok(Header::read(&bytes).filter(|header| size_of_frame(header) <= size - at))
}

/// Fills `bytes` from a file. `false` where what was there is lost, which asking again does not change.
fn read(disk: &mut impl Disk, file: u64, at: u64, bytes: &mut [u8]) -> io::Result<bool> {
    /// A bad place on the medium, as Linux tells it.
    const EIO: i32 = 5;
    match disk.read(file, at, bytes) {
        Ok(()) => Ok(true),
        Err(error)
            if error.raw_os_error() == Some(EIO)
                || matches!(error.kind(), io::ErrorKind::UnexpectedEof | io::ErrorKind::NotFound) =>
        {
            tracing::error!("a file of the queue is damaged: {error}");
            Ok(false)
        }
        Err(error) => Err(error),
    }
}

/// The bytes of a frame, as places in files are counted.
pub(super) const fn size_of_frame(header: &Header) -> u64 {
    // The sum may be more than a `usize` of 32 bits holds.
    HEADER as u64 + header.body as u64
}
