//! A file seen as a buffer through a small window, so that skipped weights are never read.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};

use prost::bytes::Buf;

/// How much of the file is held at a time.
const SIZE: usize = 1 << 16;

/// The rest of a file as a [`Buf`]; skipping bytes moves the window without reading them.
pub(super) struct Window {
    file: File,
    /// Bytes from the window's start to the end of the file.
    ahead: u64,
    bytes: Vec<u8>,
    at: usize,
    failure: Option<io::Error>,
}

impl Window {
    /// Opens a window at the start of `file`, which holds `length` bytes.
    pub(super) fn new(mut file: File, length: u64) -> io::Result<Self> {
        file.rewind()?;
        let mut window = Self { file, ahead: length, bytes: Vec::new(), at: 0, failure: None };
        window.fill();
        Ok(window)
    }

    /// The bytes in the window that are not consumed yet.
    pub(super) fn peek(&self) -> &[u8] {
        self.bytes.get(self.at..).unwrap_or_default()
    }

    /// Ends the reading: the file, or the first failure to read it.
    pub(super) fn finish(self) -> io::Result<File> {
        self.failure.map_or(Ok(self.file), Err)
    }

    /// Reads a windowful at the file's position. A [`Buf`] can report no failure: it goes on with zeros, which no
    /// message contains as a tag, and [`Self::finish`] reports it.
    fn fill(&mut self) {
        let wanted = usize::try_from(self.ahead).unwrap_or(SIZE).min(SIZE);
        self.at = 0;
        self.bytes.clear();
        self.bytes.resize(wanted, 0);
        if let Err(error) = self.file.read_exact(&mut self.bytes) {
            self.failure.get_or_insert(error);
        }
    }
}

impl Buf for Window {
    fn remaining(&self) -> usize {
        usize::try_from(self.ahead).unwrap_or(usize::MAX) - self.at
    }

    fn chunk(&self) -> &[u8] {
        self.peek()
    }

    fn advance(&mut self, count: usize) {
        let left = self.bytes.len() - self.at;
        if count < left {
            self.at += count;
            return;
        }
        let beyond = i64::try_from(count - left).unwrap_or(i64::MAX);
        let passed = u64::try_from(self.at.saturating_add(count)).unwrap_or(u64::MAX);
        self.ahead = self.ahead.saturating_sub(passed);
        if let Err(error) = self.file.seek(SeekFrom::Current(beyond)) {
            self.failure.get_or_insert(error);
        }
        self.fill();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn reading_and_skipping_give_the_bytes_of_the_file() {
        let content: Vec<u8> = (0..=250u8).cycle().take(3 * SIZE + 17).collect();
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&content).unwrap();
        let mut window = Window::new(file, content.len() as u64).unwrap();
        let mut rest = content.as_slice();
        for step in [1, 5, SIZE - 7, 1, SIZE + 3, SIZE - 1, 4] {
            assert_eq!((window.remaining(), window.chunk()[0]), (rest.len(), rest[0]));
            window.advance(step);
            rest.advance(step);
        }
        assert_eq!(window.copy_to_bytes(window.remaining()), rest);
        assert!(!window.has_remaining() && window.chunk().is_empty());
        window.finish().unwrap();
    }

    #[test]
    fn a_file_that_shrank_is_a_failure_and_not_a_hang() {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(b"abc").unwrap();
        let mut window = Window::new(file, 100_000).unwrap();
        window.advance(100_000);
        assert!(!window.has_remaining());
        assert!(window.finish().is_err());
    }
}
