//! Settings that stand in files and are read again while the server runs: keys and certificates.
//!
//! The files are compared, not listened to: file events do not cross network and container file systems. They are small,
//! so it is what they hold that is compared, not their times.

use std::convert::Infallible;
use std::fs::File;
use std::future::pending;
use std::io::Read;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::{ArcSwap, Guard};
use ring::digest::{Context, SHA256};
use tokio::sync::Notify;
use tokio::task::spawn_blocking;
use tokio::time::sleep;

/// No file of keys or certificates is larger.
const LARGEST: u64 = 16 << 20;

/// Why files cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what}: {reason}")]
pub struct FileError {
    what: &'static str,
    reason: String,
}

/// A value made of what files hold.
pub(crate) struct Live<T> {
    what: &'static str,
    files: Vec<PathBuf>,
    make: Box<Make<T>>,
    value: ArcSwap<T>,
    looks: Mutex<Looks>,
}

/// Makes the value of what the files hold, and of the value before.
type Make<T> = dyn Fn(&[Vec<u8>], Option<&T>) -> Result<T, String> + Send + Sync;

/// What the files were like: a hash of all they hold, or why they could not be read.
type Seen = Result<[u8; 32], String>;

/// What was seen.
struct Looks {
    /// At the last look.
    last: Seen,
    /// When a value was made last, or could not be.
    tried: Seen,
}

impl<T> Live<T> {
    /// Makes the first value. `what` names it in messages.
    pub(crate) fn open(
        what: &'static str,
        files: Vec<PathBuf>,
        make: impl Fn(&[Vec<u8>], Option<&T>) -> Result<T, String> + Send + Sync + 'static,
    ) -> Result<Self, FileError> {
        let failed = |reason| FileError { what, reason };
        let held = read(&files).map_err(failed)?;
        let value = make(&held, None).map_err(failed)?;
        let seen = Ok(hash(&held));
        let looks = Mutex::new(Looks { last: seen.clone(), tried: seen });
        Ok(Self { what, files, make: Box::new(make), value: ArcSwap::from_pointee(value), looks })
    }

    /// The value now, to keep.
    pub(crate) fn load_full(&self) -> Arc<T> {
        self.value.load_full()
    }

    /// The value now.
    pub(crate) fn load(&self) -> Guard<Arc<T>> {
        self.value.load()
    }
}

/// Something that follows its files.
pub(crate) trait Follow: Send + Sync {
    /// Looks at the files, and takes what is new and right: `at_once`, or else when two looks in a row saw it alike, since
    /// it may be half written. What is wrong is told once; the old value goes on.
    fn look(&self, at_once: bool);
}

impl<T: Send + Sync> Follow for Live<T> {
    fn look(&self, at_once: bool) {
        let held = read(&self.files);
        let seen = held.as_ref().map(|held| hash(held)).map_err(Clone::clone);
        let mut looks = self.looks.lock().unwrap_or_else(PoisonError::into_inner);
        let rests = looks.last == seen;
        looks.last.clone_from(&seen);
        if looks.tried == seen || !(rests || at_once) {
            return;
        }
        looks.tried = seen;
        match held.and_then(|held| (self.make)(&held, Some(&self.value.load()))) {
            Ok(value) => {
                self.value.store(Arc::new(value));
                tracing::info!("{}: read again", self.what);
            }
            Err(reason) => {
                tracing::error!(error.detail = reason, "{}: not read again, the old goes on: {reason}", self.what);
            }
        }
    }
}

/// Follows files every `interval`, and at once when `hurry` says so.
pub(crate) async fn follow(files: Vec<Arc<dyn Follow>>, interval: Duration, hurry: Arc<Notify>) -> Infallible {
    if files.is_empty() {
        return pending().await;
    }
    let files: Arc<[_]> = files.into();
    loop {
        let at_once = tokio::select! { () = sleep(interval) => false, () = hurry.notified() => true };
        let files = Arc::clone(&files);
        // A network file system may take its time.
        let looking = spawn_blocking(move || files.iter().for_each(|each| each.look(at_once)));
        if let Err(error) = looking.await {
            tracing::error!(error.detail = %error, "looking at the files of keys and certificates: {error}");
        }
    }
}

/// What the files hold, each whole.
fn read(files: &[PathBuf]) -> Result<Vec<Vec<u8>>, String> {
    let read = |path: &PathBuf| {
        let mut held = Vec::new();
        let read = File::open(path).and_then(|file| file.take(LARGEST).read_to_end(&mut held));
        read.map(|_| held).map_err(|error| format!("{} cannot be read: {error}", path.display()))
    };
    files.iter().map(read).collect()
}

fn hash(held: &[Vec<u8>]) -> [u8; 32] {
    let mut context = Context::new(&SHA256);
    for bytes in held {
        context.update(&u64::try_from(bytes.len()).unwrap_or(u64::MAX).to_le_bytes());
        context.update(bytes);
    }
    context.finish().as_ref().try_into().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn number(held: &[Vec<u8>], _: Option<&u32>) -> Result<u32, String> {
        std::str::from_utf8(&held[0]).unwrap().trim().parse().map_err(|_| "it is no number".into())
    }

    #[test]
    fn new_contents_are_taken_when_they_rest_and_wrong_ones_leave_the_old() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("number");
        fs::write(&file, "1").unwrap();
        let live = Live::open("the number", vec![file.clone()], number).unwrap();
        let after = |text: Option<&str>, at_once| {
            match text {
                Some(text) => fs::write(&file, text).unwrap(),
                None => fs::remove_file(&file).unwrap(),
            }
            live.look(at_once);
            **live.load()
        };
        assert_eq!([after(Some("2"), false), after(Some("2"), false)], [1, 2]);
        assert_eq!([after(Some("x"), true), after(None, true), after(Some("3"), true)], [2, 2, 3]);
        // What is written piece by piece is not taken before it rests.
        assert_eq!([after(Some("4"), false), after(Some("45"), false), after(Some("45"), false)], [3, 3, 45]);
        assert_eq!([after(Some("3"), false), after(Some("45"), false), after(Some("45"), false)], [45, 45, 45]);
    }

    #[test]
    fn a_wrong_file_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("number");
        let open = || Live::open("the number", vec![file.clone()], number).err().unwrap().to_string();
        assert!(open().contains("the number: ") && open().contains("cannot be read"), "{}", open());
        fs::write(&file, "x").unwrap();
        assert_eq!(open(), "the number: it is no number");
    }
}
