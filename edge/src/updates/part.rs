//! A bundle that comes: a file that grows, is hashed as it does, and never becomes larger than was said.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::Path;

use hedef_protocols::bundle::{Hasher, Sha256};

/// So many bytes at most get lost in a power cut.
const SYNC_EVERY: u64 = 4 << 20;

/// The file, opened at its end.
#[derive(Debug)]
pub(super) struct Part {
    file: File,
    hasher: Hasher,
    length: u64,
    size: u64,
    unsynced: u64,
}

/// Why bytes were not taken.
#[derive(Debug)]
pub(super) enum NotTaken {
    /// They are more than was said.
    TooMany,
    /// The disk does not take them.
    Disk(io::Error),
}

impl Part {
    /// Opens a file that is to have `size` bytes; what is in it already is hashed. Blocks.
    pub(super) fn open(path: &Path, size: u64) -> io::Result<Self> {
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
        let mut part = Self { file, hasher: Hasher::default(), length: 0, size, unsynced: 0 };
        let mut chunk = vec![0; 64 << 10];
        loop {
            let read = part.file.read(&mut chunk)?;
            if read == 0 {
                return Ok(part);
            }
            part.hasher.update(chunk.get(..read).unwrap_or_default());
            part.length += read as u64;
            if part.length > size {
                part.start_over()?;
                return Ok(part);
            }
        }
    }

    /// The bytes that are here.
    pub(super) const fn length(&self) -> u64 {
        self.length
    }

    /// The bytes that are to be here.
    pub(super) const fn size(&self) -> u64 {
        self.size
    }

    /// Forgets what came.
    pub(super) fn start_over(&mut self) -> io::Result<()> {
        self.file.set_len(0)?;
        self.file.seek(SeekFrom::Start(0))?;
        self.hasher = Hasher::default();
        self.length = 0;
        Ok(())
    }

    /// Adds bytes. Blocks.
    pub(super) fn append(&mut self, bytes: &[u8]) -> Result<(), NotTaken> {
        let length = bytes.len() as u64;
        if self.length.saturating_add(length) > self.size {
            return Err(NotTaken::TooMany);
        }
        if let Err(error) = self.file.write_all(bytes) {
            // Some of them may have been written.
            let _ = self.file.set_len(self.length).and_then(|()| self.file.seek(SeekFrom::Start(self.length)));
            return Err(NotTaken::Disk(error));
        }
        self.hasher.update(bytes);
        self.length += length;
        self.unsynced += length;
        if self.unsynced >= SYNC_EVERY {
            self.file.sync_data().map_err(NotTaken::Disk)?;
            self.unsynced = 0;
        }
        Ok(())
    }

    /// The hash of what is here, which survives a power cut then. Blocks.
    pub(super) fn finish(&self) -> io::Result<Sha256> {
        self.file.sync_all()?;
        Ok(self.hasher.clone().finish())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_goes_on_where_it_ended_and_takes_no_more_than_was_said() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.part");
        let mut part = Part::open(&path, 6).unwrap();
        part.append(b"abc").unwrap();
        drop(part);
        let mut part = Part::open(&path, 6).unwrap();
        assert_eq!(part.length(), 3);
        assert!(matches!(part.append(b"defg"), Err(NotTaken::TooMany)));
        part.append(b"def").unwrap();
        assert_eq!(part.finish().unwrap(), Sha256::of(b"abcdef"));
        part.start_over().unwrap();
        part.append(b"xy").unwrap();
        assert_eq!((part.finish().unwrap(), part.length()), (Sha256::of(b"xy"), 2));
        // One that cannot be of this bundle.
        assert_eq!(Part::open(&path, 1).unwrap().length(), 0);
    }

    #[test]
    fn a_full_disk_is_told_and_nothing_of_it_counts() {
        let Ok(file) = OpenOptions::new().write(true).open("/dev/full") else { return };
        let mut part = Part { file, hasher: Hasher::default(), length: 0, size: 9, unsynced: 0 };
        let Err(NotTaken::Disk(error)) = part.append(b"abc") else { panic!() };
        assert_eq!((error.kind(), part.length()), (io::ErrorKind::StorageFull, 0));
    }
}
