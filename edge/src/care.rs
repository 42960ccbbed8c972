//! Care after a crash: a message that ends the process each time it is scored must not do so for ever.
//!
//! After an end that was none of its own will the device scores some messages one by one, and writes down which one is under
//! way. One that was under way at so many ends in a row is not scored any more.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

/// A message under way at so many ends in a row is taken for their cause.
const STRIKES: u32 = 3;

/// The messages that are scored one by one after a crash: more than were under way at it.
const WITH_CARE: usize = 64;

/// Where Linux tells the id of this boot.
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// How the process before ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LastEnd {
    /// By its own will.
    Clean,
    /// It crashed, or was killed.
    Crash,
    /// With the whole machine, which has been started anew since.
    PowerCut,
}

/// The sign that the device works, with the id of the boot in it; it is there at the start where the last end was not clean.
/// While it works it is locked, so that no other process works in the same folder.
#[derive(Debug)]
pub struct Working {
    file: PathBuf,
    boot: String,
    last_end: LastEnd,
    /// Locked until the end, however it comes. None as long as the folder cannot be written.
    sign: Mutex<Option<File>>,
}

impl Working {
    /// Begins to work in a folder. Fails where another process does, and there only: where the folder cannot be written it is
    /// not held yet.
    pub fn begin(folder: &Path) -> io::Result<Self> {
        let file = folder.join("working");
        // Without ids to compare, the process is to blame.
        let boot = fs::read_to_string(BOOT_ID).unwrap_or_default();
        let last_end = match fs::read_to_string(&file) {
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
                LastEnd::Clean
            }
            Ok(before) if !before.is_empty() && !boot.is_empty() && before != boot => LastEnd::PowerCut,
            _ => LastEnd::Crash,
        };
        let working = Self { file, boot, last_end, sign: Mutex::new(None) };
        match working.hold() {
            Err(error) if error.kind() == io::ErrorKind::ResourceBusy => Err(error),
            _ => Ok(working),
        }
    }

    /// Takes hold of the folder, if that is not done yet.
    pub fn hold(&self) -> io::Result<()> {
        let mut held = self.sign.lock().unwrap_or_else(PoisonError::into_inner);
        if held.is_some() {
            return Ok(());
        }
        let folder = self.file.parent().ok_or(io::ErrorKind::NotFound)?;
        fs::create_dir_all(folder)?;
        let mut sign = OpenOptions::new().write(true).create(true).truncate(false).open(&self.file)?;
        match sign.try_lock() {
            Err(TryLockError::WouldBlock) => {
                return Err(io::Error::new(io::ErrorKind::ResourceBusy, "another process works with it"));
            }
            Err(TryLockError::Error(error)) if error.kind() != io::ErrorKind::Unsupported => return Err(error),
            _ => (),
        }
        // A power cut finds it there, unless the disk is full: then it counts as a crash.
        let written = sign.set_len(0).and_then(|()| sign.write_all(self.boot.as_bytes()));
        let synced = written.and_then(|()| sign.sync_all()).and_then(|()| File::open(folder)?.sync_all());
        if let Err(error) = synced {
            tracing::warn!("it cannot be written down that the device works: {error}");
        }
        *held = Some(sign);
        Ok(())
    }

    /// The care that the messages of a lane are to be scored with: none after a clean stop.
    #[must_use]
    pub fn care(&self, lane: &str) -> Option<Care> {
        let file = self.file.with_file_name(format!("under-way-{lane}"));
        if self.last_end == LastEnd::Clean {
            let _ = fs::remove_file(file);
            return None;
        }
        let known = fs::read_to_string(&file).unwrap_or_default();
        let known = known.split_once(' ').and_then(|(number, ends)| Some((number.parse().ok()?, ends.parse().ok()?)));
        Some(Care { file, known, left: WITH_CARE })
    }

    /// How the process before ended.
    #[must_use]
    pub const fn last_end(&self) -> LastEnd {
        self.last_end
    }

    /// Ends cleanly.
    pub fn end(&self) {
        if self.sign.lock().unwrap_or_else(PoisonError::into_inner).is_some() {
            let _ = fs::remove_file(&self.file);
        }
    }
}

/// What is known of the messages under way at the last ends.
#[derive(Debug)]
pub struct Care {
    file: PathBuf,
    /// The message that was under way, and at how many ends in a row.
    known: Option<(u64, u32)>,
    left: usize,
}

impl Care {
    /// Writes down that a message is under way now. `false`: it is not to be scored. Blocks.
    pub fn admits(&mut self, number: u64) -> bool {
        let ends = self.known.filter(|(known, _)| *known == number).map_or(0, |(_, ends)| ends);
        if ends >= STRIKES {
            return false;
        }
        // Should the process end now, it was one more.
        if let Err(error) = fs::write(&self.file, format!("{number} {}", ends + 1)) {
            tracing::warn!("it cannot be written down which message is under way: {error}");
        }
        true
    }

    /// Notes that a message came to its end. `false`: care is not needed any more. Blocks.
    pub fn ended_well(&mut self) -> bool {
        self.left = self.left.saturating_sub(1);
        if self.left == 0 {
            let _ = fs::remove_file(&self.file);
        }
        self.left > 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_under_way_at_three_ends_in_a_row_is_not_scored_again() {
        let folder = tempfile::tempdir().unwrap();
        // The first crash, with several messages under way.
        drop(Working::begin(folder.path()).unwrap());
        for _ in 0..STRIKES {
            let mut care = Working::begin(folder.path()).unwrap().care("in").unwrap();
            assert!(care.admits(6));
            assert!(care.ended_well());
            assert!(care.admits(7));
        }
        let working = Working::begin(folder.path()).unwrap();
        let mut care = working.care("in").unwrap();
        assert!(!care.admits(7) && care.ended_well() && care.admits(8));
        assert!(working.care("other").unwrap().admits(7));
        working.end();
        let working = Working::begin(folder.path()).unwrap();
        assert!(working.care("in").is_none());
    }

    #[test]
    fn an_end_with_the_whole_machine_is_told_from_a_crash() {
        let folder = tempfile::tempdir().unwrap();
        let begin = || Working::begin(folder.path()).unwrap();
        let working = begin();
        assert_eq!(working.last_end(), LastEnd::Clean);
        drop(working);
        assert_eq!(begin().last_end(), LastEnd::Crash);
        fs::write(folder.path().join("working"), "another boot\n").unwrap();
        assert_eq!(begin().last_end(), LastEnd::PowerCut);
        assert_eq!(begin().last_end(), LastEnd::Crash);
        // As versions before left it.
        fs::write(folder.path().join("working"), "").unwrap();
        let working = begin();
        assert_eq!(working.last_end(), LastEnd::Crash);
        assert!(Working::begin(folder.path()).is_err());
        working.end();
        drop(working);
        assert_eq!(begin().last_end(), LastEnd::Clean);
    }

    #[test]
    fn a_folder_that_cannot_be_written_is_held_once_it_can_be() {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("data");
        fs::write(&data, "in the way").unwrap();
        let working = Working::begin(&data).unwrap();
        assert_eq!(working.last_end(), LastEnd::Clean);
        assert!(working.hold().is_err());
        working.end();
        fs::remove_file(&data).unwrap();
        working.hold().unwrap();
        assert!(Working::begin(&data).is_err(), "it is held");
        working.end();
        assert!(!data.join("working").exists());
    }

    #[test]
    fn two_processes_do_not_work_in_one_folder() {
        let folder = tempfile::tempdir().unwrap();
        let working = Working::begin(folder.path()).unwrap();
        let error = Working::begin(folder.path()).unwrap_err();
        assert!(error.to_string().contains("another process"), "{error}");
        drop(working);
        assert!(Working::begin(folder.path()).is_ok());
    }

    #[test]
    fn care_ends_after_some_messages() {
        let folder = tempfile::tempdir().unwrap();
        drop(Working::begin(folder.path()).unwrap());
        let working = Working::begin(folder.path()).unwrap();
        let mut care = working.care("in").unwrap();
        let well = (0..).take_while(|number| care.admits(*number) && care.ended_well()).count();
        assert_eq!(well, WITH_CARE - 1);
        assert!(!folder.path().join("under-way-in").exists());
    }
}
