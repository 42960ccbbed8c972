//! What a model's files hold, known by their hash.
//!
//! Hashing 100 MB takes longer than mapping the graph made of them, so a hash is kept beside the identity of the file
//! it was taken of: where it lies, and everything that the system changes when somebody writes to it.

use std::fs::{File, Metadata};
use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use sha2::{Digest, Sha256};

use super::folder;

/// Times of files are this coarse at worst: a file written to so short a time ago may be written to again and keep
/// its times.
const RACY: Duration = Duration::from_secs(2);

/// The hashes kept; the oldest go.
const MOST: usize = 1000;

/// Which bytes a path leads to, without reading them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Identity(pub(super) String);

impl Identity {
    /// The identity of the file at `path` now.
    pub(crate) fn of(path: &Path) -> io::Result<Self> {
        Ok(Self::from(&path.metadata()?))
    }
}

#[cfg(unix)]
impl From<&Metadata> for Identity {
    fn from(facts: &Metadata) -> Self {
        use std::os::unix::fs::MetadataExt;
        let (modified, changed) = ((facts.mtime(), facts.mtime_nsec()), (facts.ctime(), facts.ctime_nsec()));
        Self(format!(
            "{}:{}:{}:{}.{:09}:{}.{:09}",
            facts.dev(),
            facts.ino(),
            facts.len(),
            modified.0,
            modified.1,
            changed.0,
            changed.1
        ))
    }
}

#[cfg(not(unix))]
impl From<&Metadata> for Identity {
    fn from(facts: &Metadata) -> Self {
        Self(format!("{}:{:?}", facts.len(), facts.modified().ok()))
    }
}

/// The SHA-256 of what can be read, in hexadecimal digits.
pub(super) fn hash(mut bytes: impl Read) -> io::Result<String> {
    let mut hash = Sha256::new();
    let mut block = vec![0; 1 << 18];
    loop {
        let read = bytes.read(&mut block)?;
        if read == 0 {
            return Ok(hex(&hash.finalize()));
        }
        hash.update(block.get(..read).unwrap_or_default());
    }
}

/// The SHA-256 of some bytes, in hexadecimal digits.
pub(super) fn hash_of(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The hashes of files seen before, one small file for each.
#[derive(Debug)]
pub(super) struct Hashes {
    folder: PathBuf,
}

impl Hashes {
    /// Keeps them in `folder`, which is made when the first is kept.
    pub(super) fn new(folder: PathBuf) -> Self {
        Self { folder }
    }

    /// The hash of the file at `path`: as kept if the file is the same, else taken now and kept.
    pub(super) fn of(&self, path: &Path) -> io::Result<String> {
        let path = path.canonicalize()?;
        let identity = Identity::of(&path)?;
        let own = self.folder.join(hash_of(path.as_os_str().as_encoded_bytes()));
        if let Some(kept) = read(&own, &identity) {
            return Ok(kept);
        }
        let found = hash(BufReader::new(File::open(&path)?))?;
        let rests = Identity::of(&path)? == identity && path.metadata().is_ok_and(|facts| has_come_to_rest(&facts));
        if rests && folder::make(&self.folder).is_ok() {
            // Without it, the next start hashes once more.
            let _ = folder::write(&own, format!("{} {found}\n", identity.0).as_bytes());
        }
        Ok(found)
    }

    /// Lets the oldest go where there are too many.
    pub(super) fn trim(&self) {
        let mut all: Vec<_> = folder::entries(&self.folder)
            .into_iter()
            .filter_map(|path| Some((path.metadata().ok()?.modified().ok()?, path)))
            .collect();
        all.sort_unstable();
        for (_, path) in all.iter().take(all.len().saturating_sub(MOST)) {
            let _ = std::fs::remove_file(path);
        }
    }
}

fn read(kept: &Path, identity: &Identity) -> Option<String> {
    let mut text = String::new();
    folder::open(kept).ok()?.0.take(4096).read_to_string(&mut text).ok()?;
    let hash = text.strip_suffix('\n')?.strip_prefix(&identity.0)?.strip_prefix(' ')?;
    (hash.len() == 64 && hash.bytes().all(|byte| byte.is_ascii_hexdigit())).then(|| hash.to_owned())
}

fn has_come_to_rest(facts: &Metadata) -> bool {
    facts.modified().ok().and_then(|at| SystemTime::now().duration_since(at).ok()).is_some_and(|age| age > RACY)
}

#[cfg(test)]
#[cfg(unix)]
mod tests {
    use super::*;

    /// A file that has been at rest for a minute, and hashes that know it.
    fn known(text: &str) -> (tempfile::TempDir, Hashes, PathBuf, String) {
        let root = tempfile::tempdir().unwrap();
        let hashes = Hashes::new(root.path().join("hashes"));
        let file = root.path().join("file");
        std::fs::write(&file, text).unwrap();
        age(&file);
        let first = hashes.of(&file).unwrap();
        (root, hashes, file, first)
    }

    fn age(file: &Path) {
        let minute_ago = SystemTime::now() - Duration::from_secs(60);
        File::options().write(true).open(file).unwrap().set_modified(minute_ago).unwrap();
    }

    /// What is kept of `file`, replaced by a hash that no file has.
    fn plant(hashes: &Hashes, file: &Path) {
        let kept = folder::entries(&hashes.folder).pop().unwrap();
        let planted = format!("{} {}\n", Identity::of(file).unwrap().0, "0".repeat(64));
        folder::write(&kept, planted.as_bytes()).unwrap();
    }

    #[test]
    fn a_file_that_is_the_same_is_not_read_again() {
        let (_root, hashes, file, first) = known("text");
        assert_eq!(first, hash_of(b"text"));
        plant(&hashes, &file);
        assert_eq!(hashes.of(&file).unwrap(), "0".repeat(64));
    }

    #[test]
    fn a_file_that_was_written_to_is_read_again_though_size_and_time_are_the_same() {
        let (_root, hashes, file, _) = known("text");
        plant(&hashes, &file);
        let before = file.metadata().unwrap().modified().unwrap();
        std::fs::write(&file, "next").unwrap();
        File::options().write(true).open(&file).unwrap().set_modified(before).unwrap();
        assert_eq!(hashes.of(&file).unwrap(), hash_of(b"next"));
    }

    #[test]
    fn a_hash_is_not_kept_of_a_file_that_may_still_be_written_to() {
        let root = tempfile::tempdir().unwrap();
        let hashes = Hashes::new(root.path().join("hashes"));
        std::fs::write(root.path().join("file"), "text").unwrap();
        hashes.of(&root.path().join("file")).unwrap();
        assert!(folder::entries(&hashes.folder).is_empty());
    }

    #[test]
    fn nonsense_in_place_of_a_hash_is_no_hash() {
        let (_root, hashes, file, first) = known("text");
        let kept = folder::entries(&hashes.folder).pop().unwrap();
        for text in ["", "x", &format!("{} zz\n", Identity::of(&file).unwrap().0)] {
            folder::write(&kept, text.as_bytes()).unwrap();
            assert_eq!(hashes.of(&file).unwrap(), first);
        }
    }

    #[test]
    fn the_oldest_hashes_go() {
        let (_root, hashes, ..) = known("text");
        for number in 0..MOST {
            std::fs::write(hashes.folder.join(number.to_string()), "").unwrap();
        }
        hashes.trim();
        assert_eq!(folder::entries(&hashes.folder).len(), MOST);
    }
}
