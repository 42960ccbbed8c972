//! The folder of a lane, as its files: what the queue asks of a disk.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use crate::steps::{Step, Steps};

/// The segment files of one lane, each known by a number. Writes only ever go to a file's end.
pub(super) trait Disk {
    /// The numbers of the files that are there, in ascending order.
    fn files(&self) -> io::Result<Vec<u64>>;
    /// The bytes of a file.
    fn length(&mut self, file: u64) -> io::Result<u64>;
    /// Makes an empty file whose name survives a power cut.
    fn create(&mut self, file: u64) -> io::Result<()>;
    /// Adds bytes to a file; on failure some of them may have been added.
    fn append(&mut self, file: u64, bytes: &[u8]) -> io::Result<()>;
    /// Cuts a file's end off.
    fn truncate(&mut self, file: u64, length: u64) -> io::Result<()>;
    /// Returns when what was written to a file survives a power cut.
    fn sync(&mut self, file: u64) -> io::Result<()>;
    /// Fills `bytes` from a place in a file; fails where the file ends before.
    fn read(&mut self, file: u64, at: u64, bytes: &mut [u8]) -> io::Result<()>;
    /// Removes a file.
    fn remove(&mut self, file: u64) -> io::Result<()>;
    /// Notes that a step was made.
    fn made(&self, _: Step) {}
}

/// A real folder.
#[derive(Debug)]
pub(super) struct Folder {
    path: PathBuf,
    steps: Steps,
    open: BTreeMap<u64, File>,
}

impl Folder {
    /// Opens a folder, and makes it where it is not there.
    pub(super) fn open(path: PathBuf, steps: Steps) -> io::Result<Self> {
        fs::create_dir_all(&path)?;
        if let Some(parent) = path.parent() {
            File::open(parent)?.sync_all()?;
        }
        Ok(Self { path, steps, open: BTreeMap::new() })
    }

    fn name(&self, file: u64) -> PathBuf {
        self.path.join(format!("{file:016}.segment"))
    }

    fn file(&mut self, file: u64) -> io::Result<&File> {
        if !self.open.contains_key(&file) {
            let opened = OpenOptions::new().read(true).append(true).open(self.name(file))?;
            self.open.insert(file, opened);
        }
        self.open.get(&file).ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

impl Disk for Folder {
    fn files(&self) -> io::Result<Vec<u64>> {
        let mut files = Vec::new();
        for entry in fs::read_dir(&self.path)? {
            let name = entry?.file_name();
            // What is not named so is not the queue's.
            let number = name.to_str().and_then(|name| name.strip_suffix(".segment")).filter(|name| name.len() == 16);
            files.extend(number.and_then(|number| number.parse::<u64>().ok()));
        }
        files.sort_unstable();
        Ok(files)
    }

    fn length(&mut self, file: u64) -> io::Result<u64> {
        Ok(self.file(file)?.metadata()?.len())
    }

    fn create(&mut self, file: u64) -> io::Result<()> {
        let made = OpenOptions::new().read(true).append(true).create_new(true).open(self.name(file))?;
        self.open.insert(file, made);
        File::open(&self.path)?.sync_all()
    }

    fn append(&mut self, file: u64, bytes: &[u8]) -> io::Result<()> {
        let steps = self.steps.clone();
        let mut file = self.file(file)?;
        let mut rest = bytes;
        // In one go but for the tests.
        if cfg!(debug_assertions) {
            let (half, other) = bytes.split_at(bytes.len() / 2);
            file.write_all(half)?;
            steps.made(Step::QueueHalfWritten);
            rest = other;
        }
        file.write_all(rest)
    }

    fn truncate(&mut self, file: u64, length: u64) -> io::Result<()> {
        self.file(file)?.set_len(length)
    }

    fn sync(&mut self, file: u64) -> io::Result<()> {
        self.file(file)?.sync_data()
    }

    fn read(&mut self, file: u64, at: u64, bytes: &mut [u8]) -> io::Result<()> {
        self.file(file)?.read_exact_at(bytes, at)
    }

    fn remove(&mut self, file: u64) -> io::Result<()> {
        self.open.remove(&file);
        match fs::remove_file(self.name(file)) {
            // Somebody else was faster.
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            done => done,
        }
    }

    fn made(&self, step: Step) {
        self.steps.made(step);
    }
}
