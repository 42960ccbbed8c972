//! A disk in memory, whose power can be cut and which can be full.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io;
use std::rc::Rc;

use super::disk::Disk;

#[derive(Clone, Debug, Default)]
struct Stored {
    bytes: Vec<u8>,
    /// So many of them survive a power cut.
    safe: usize,
}

/// What the disk holds, and what its future is.
#[derive(Debug, Default)]
pub(super) struct Platter {
    files: BTreeMap<u64, Stored>,
    /// The steps left until the process is killed.
    pub(super) steps: Option<usize>,
    /// The bytes that fit.
    pub(super) capacity: Option<usize>,
    pub(super) syncs: usize,
}

impl Platter {
    /// Cuts the power: of what was not made safe, `keep` says how many bytes of each file are there, of how many.
    pub(super) fn cut(&mut self, mut keep: impl FnMut(usize) -> usize) {
        for stored in self.files.values_mut() {
            let unsafe_bytes = stored.bytes.len() - stored.safe;
            stored.bytes.truncate(stored.safe + keep(unsafe_bytes).min(unsafe_bytes));
            stored.safe = stored.bytes.len();
        }
        self.steps = None;
    }

    pub(super) fn used(&self) -> usize {
        self.files.values().map(|stored| stored.bytes.len()).sum()
    }

    pub(super) fn last(&mut self) -> Option<&mut Vec<u8>> {
        self.files.values_mut().next_back().map(|stored| &mut stored.bytes)
    }

    pub(super) fn first(&mut self) -> Option<&mut Vec<u8>> {
        self.files.values_mut().next().map(|stored| &mut stored.bytes)
    }

    fn step(&mut self) -> io::Result<()> {
        match &mut self.steps {
            Some(0) => Err(io::Error::other("killed")),
            Some(steps) => {
                *steps -= 1;
                Ok(())
            }
            None => Ok(()),
        }
    }

    fn file(&mut self, file: u64) -> io::Result<&mut Stored> {
        self.files.get_mut(&file).ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

/// A handle to such a disk.
#[derive(Clone, Debug, Default)]
pub(super) struct Memory(pub(super) Rc<RefCell<Platter>>);

impl Disk for Memory {
    fn files(&self) -> io::Result<Vec<u64>> {
        Ok(self.0.borrow().files.keys().copied().collect())
    }

    fn length(&mut self, file: u64) -> io::Result<u64> {
        Ok(self.0.borrow_mut().file(file)?.bytes.len() as u64)
    }

    fn create(&mut self, file: u64) -> io::Result<()> {
        let mut platter = self.0.borrow_mut();
        platter.step()?;
        assert!(platter.files.insert(file, Stored::default()).is_none(), "file {file} is made twice");
        Ok(())
    }

    fn append(&mut self, file: u64, bytes: &[u8]) -> io::Result<()> {
        let mut platter = self.0.borrow_mut();
        // A kill in the middle of it.
        let killed = platter.step();
        let room = platter.capacity.map_or(usize::MAX, |capacity| capacity.saturating_sub(platter.used()));
        let written = if killed.is_err() { bytes.len() / 2 } else { bytes.len().min(room) };
        platter.file(file)?.bytes.extend_from_slice(&bytes[..written]);
        killed?;
        if written < bytes.len() { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
    }

    fn truncate(&mut self, file: u64, length: u64) -> io::Result<()> {
        let mut platter = self.0.borrow_mut();
        platter.step()?;
        let stored = platter.file(file)?;
        stored.bytes.truncate(usize::try_from(length).unwrap());
        stored.safe = stored.safe.min(stored.bytes.len());
        Ok(())
    }

    fn sync(&mut self, file: u64) -> io::Result<()> {
        let mut platter = self.0.borrow_mut();
        platter.step()?;
        platter.syncs += 1;
        let stored = platter.file(file)?;
        stored.safe = stored.bytes.len();
        Ok(())
    }

    fn read(&mut self, file: u64, at: u64, bytes: &mut [u8]) -> io::Result<()> {
        let mut platter = self.0.borrow_mut();
        let at = usize::try_from(at).unwrap();
        let found = platter.file(file)?.bytes.get(at..at + bytes.len()).ok_or(io::ErrorKind::UnexpectedEof)?;
        bytes.copy_from_slice(found);
        Ok(())
    }

    fn remove(&mut self, file: u64) -> io::Result<()> {
        let mut platter = self.0.borrow_mut();
        platter.step()?;
        platter.files.remove(&file);
        Ok(())
    }
}
