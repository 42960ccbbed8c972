//! Fetches the pinned wheel, checks it and puts the library in its place in one step.

use std::fmt::Write as _;
use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};
use tempfile::TempDir;

use super::error::RuntimeError;
use super::pinned::PinnedWheel;
use super::progress::Progress;
use super::python::Python;

/// What the names of temporary folders begin with.
const TEMPORARY: &str = ".fetching-";

/// Fetches the library of `wheel` into `folder`, which is made for it alone, and returns the library's path.
///
/// `folder` appears whole or not at all. Several processes may fetch at once: the later ones wait and find the
/// library of the first; where the file system has no locks each fetches, and all but one find it done.
///
/// # Errors
/// [`RuntimeError`], each of which says what to do.
pub fn fetch(
    wheel: &PinnedWheel,
    folder: &Path,
    python: &Python,
    mut progress: impl FnMut(Progress),
) -> Result<PathBuf, RuntimeError> {
    let library = folder.join(wheel.library_name());
    let parent = folder.parent().unwrap_or(folder);
    fs::create_dir_all(parent).map_err(RuntimeError::writing(parent))?;
    let _lock = lock(parent, &mut progress);
    if !library.is_file() {
        let staging = download(wheel, parent, python, &mut progress)?;
        publish(&staging.path().join("files"), folder, &library)?;
    }
    progress(Progress::Done);
    Ok(library)
}

/// Fetches the library of `wheel` into `folder` beside what is there, and returns the library's path.
///
/// Each file is renamed into place, the library last. Files of the same names are replaced.
///
/// # Errors
/// [`RuntimeError`], each of which says what to do.
pub(super) fn fetch_beside(
    wheel: &PinnedWheel,
    folder: &Path,
    python: &Python,
    mut progress: impl FnMut(Progress),
) -> Result<PathBuf, RuntimeError> {
    fs::create_dir_all(folder).map_err(RuntimeError::writing(folder))?;
    let staging = download(wheel, folder, python, &mut progress)?;
    for (_, name) in wheel.members() {
        let to = folder.join(&name);
        fs::rename(staging.path().join("files").join(&name), &to).map_err(RuntimeError::writing(&to))?;
    }
    progress(Progress::Done);
    Ok(folder.join(wheel.library_name()))
}

/// Waits for its turn in `folder`. The lock ends with the process that holds it, and the wait with the
/// stall limit of that process's fetch. Whoever has the lock is alone: temporary folders there are left-overs.
fn lock(folder: &Path, progress: &mut impl FnMut(Progress)) -> Option<File> {
    let file = File::create(folder.join(".lock")).ok()?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            progress(Progress::Waiting);
            file.lock().ok()?;
        }
        Err(TryLockError::Error(_)) => return None,
    }
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    for left in entries.filter(|entry| entry.file_name().to_string_lossy().starts_with(TEMPORARY)) {
        // What cannot be removed wastes space and misleads nobody.
        let _ = fs::remove_dir_all(left.path());
    }
    Some(file)
}

/// Downloads, checks and unpacks: the folder `files` of the returned temporary one holds what belongs in place.
fn download(
    wheel: &PinnedWheel,
    near: &Path,
    python: &Python,
    progress: &mut impl FnMut(Progress),
) -> Result<TempDir, RuntimeError> {
    progress(Progress::Started { package: wheel.package, target: wheel.target, bytes: wheel.bytes });
    let staging = tempfile::Builder::new().prefix(TEMPORARY).tempdir_in(near).map_err(RuntimeError::writing(near))?;
    python.download(wheel, staging.path(), || {
        let bytes = bytes_under(staging.path());
        progress(Progress::Downloaded { bytes });
        bytes
    })?;
    let file = downloaded(wheel, staging.path())?;
    verify(wheel, &file)?;
    let files = staging.path().join("files");
    unpack(wheel, &file, &files)?;
    Ok(staging)
}

fn bytes_under(folder: &Path) -> u64 {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let sizes = entries.map(|entry| match entry.metadata() {
        Ok(facts) if facts.is_dir() => bytes_under(&entry.path()),
        Ok(facts) => facts.len(),
        Err(_) => 0,
    });
    sizes.sum()
}

/// Finds the one wheel that pip put into `folder`.
fn downloaded(wheel: &PinnedWheel, folder: &Path) -> Result<PathBuf, RuntimeError> {
    let files = fs::read_dir(folder).map_err(RuntimeError::writing(folder))?;
    files
        .flatten()
        .map(|entry| entry.path())
        .find(|path| path.extension().is_some_and(|extension| extension == "whl"))
        .ok_or_else(|| RuntimeError::BadWheel {
            package: wheel.package,
            detail: "pip reported success and left no file".into(),
        })
}

/// Checks the wheel's hash once more: pip's check may be turned off in its settings, this one may not.
fn verify(wheel: &PinnedWheel, file: &Path) -> Result<(), RuntimeError> {
    let mut hash = Sha256::new();
    let mut reader = File::open(file).map_err(RuntimeError::writing(file))?;
    let mut buffer = vec![0; 1 << 16];
    loop {
        let count = io::Read::read(&mut reader, &mut buffer).map_err(RuntimeError::writing(file))?;
        if count == 0 {
            break;
        }
        hash.update(buffer.get(..count).unwrap_or_default());
    }
    let mut found = String::with_capacity(64);
    for byte in hash.finalize() {
        let _ = write!(found, "{byte:02x}");
    }
    if found == wheel.sha256 {
        Ok(())
    } else {
        Err(RuntimeError::WrongHash { package: wheel.package, expected: wheel.sha256.to_owned(), found })
    }
}

/// Takes the wanted members out of the wheel, each under its own name without folders.
fn unpack(wheel: &PinnedWheel, file: &Path, into: &Path) -> Result<(), RuntimeError> {
    let bad = |detail: String| RuntimeError::BadWheel { package: wheel.package, detail };
    fs::create_dir(into).map_err(RuntimeError::writing(into))?;
    let reader = File::open(file).map_err(RuntimeError::writing(file))?;
    let mut archive = zip::ZipArchive::new(reader).map_err(|error| bad(error.to_string()))?;
    for (member, name) in wheel.members() {
        let mut packed = archive.by_name(member).map_err(|error| bad(format!("`{member}`: {error}")))?;
        let to = into.join(name);
        let mut unpacked = File::create_new(&to).map_err(RuntimeError::writing(&to))?;
        io::copy(&mut packed, &mut unpacked).map_err(RuntimeError::writing(&to))?;
        // A rename may reach the disk before the bytes do: after a power cut an empty library would look whole.
        unpacked.sync_all().map_err(RuntimeError::writing(&to))?;
    }
    Ok(())
}

/// Renames `files` to `folder`. One that holds no library is no fetch of ours and makes way.
fn publish(files: &Path, folder: &Path, library: &Path) -> Result<(), RuntimeError> {
    let Err(refused) = fs::rename(files, folder) else { return Ok(()) };
    if library.is_file() {
        return Ok(());
    }
    if !folder.exists() {
        return Err(RuntimeError::writing(folder)(refused));
    }
    fs::remove_dir_all(folder).map_err(RuntimeError::writing(folder))?;
    fs::rename(files, folder).map_err(RuntimeError::writing(folder))
}

#[cfg(unix)]
#[cfg(test)]
#[path = "fetch_tests.rs"]
mod tests;
