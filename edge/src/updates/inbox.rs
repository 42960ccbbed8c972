//! The folder for bundles that come by hand, such as from a USB stick.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use hedef_core::ModelName;
use hedef_protocols::bundle::{Bundle, Hasher, PublicKey};

use super::wanted::Wanted;

/// What can be seen of a file without reading it.
type Look = (u64, Option<SystemTime>);

/// What is known of the files that were there.
#[derive(Debug, Default)]
pub(super) struct Inbox {
    seen: HashMap<PathBuf, (Look, Known)>,
}

#[derive(Clone, Debug)]
enum Known {
    /// It may still be growing.
    New,
    /// It is a bundle of that.
    Bundle(ModelName, Wanted),
    /// It is none, or stays where it is.
    Done,
}

/// A file that came to rest.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) path: PathBuf,
    /// Whether this is the first time that it is told.
    pub(super) new: bool,
    pub(super) bundle: Result<(ModelName, Wanted), String>,
}

impl Inbox {
    /// Looks for files that end with `.bundle` and were the same at the last look. Blocks.
    pub(super) fn look(&mut self, folder: &Path, keys: &[PublicKey]) -> Vec<Found> {
        let entries = fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
        let mut paths: Vec<_> =
            entries.filter(|path| path.extension().is_some_and(|ending| ending == "bundle")).collect();
        paths.sort();
        self.seen.retain(|path, _| paths.binary_search(path).is_ok());
        let mut found = Vec::new();
        for path in paths {
            let Ok(facts) = fs::symlink_metadata(&path) else { continue };
            if !facts.is_file() {
                continue;
            }
            let look = (facts.len(), facts.modified().ok());
            let known = self.seen.get(&path).filter(|(before, _)| *before == look).map(|(_, known)| known.clone());
            let (known, told) = match known {
                None => (Known::New, None),
                Some(Known::New) => match read(&path, keys) {
                    Ok((name, wanted)) => {
                        let bundle = Ok((name.clone(), wanted.clone()));
                        (Known::Bundle(name, wanted), Some(Found { path: path.clone(), new: true, bundle }))
                    }
                    Err(error) => (Known::Done, Some(Found { path: path.clone(), new: true, bundle: Err(error) })),
                },
                Some(Known::Bundle(name, wanted)) => {
                    let bundle = Ok((name.clone(), wanted.clone()));
                    (Known::Bundle(name, wanted), Some(Found { path: path.clone(), new: false, bundle }))
                }
                Some(Known::Done) => (Known::Done, None),
            };
            found.extend(told);
            self.seen.insert(path, (look, known));
        }
        found
    }

    /// Takes a file away that was taken, or puts it aside. Where it cannot be it is not looked at again.
    pub(super) fn done(&mut self, path: &Path, taken: bool) {
        let moved = if taken { fs::remove_file(path) } else { fs::rename(path, path.with_extension("refused")) };
        if moved.is_err()
            && let Some((_, known)) = self.seen.get_mut(path)
        {
            *known = Known::Done;
        }
    }
}

/// What a file holds: the signed manifest says it, and only that is looked at here.
fn read(path: &Path, keys: &[PublicKey]) -> Result<(ModelName, Wanted), String> {
    let text = |error: io::Error| format!("it cannot be read: {error}");
    let file = File::open(path).map_err(text)?;
    let bundle = Bundle::open(BufReader::new(file), keys).map_err(|error| error.to_string())?;
    let (name, version) = (bundle.manifest().name.clone(), bundle.manifest().version);
    let mut file = File::open(path).map_err(text)?;
    let (mut hasher, mut chunk, mut size) = (Hasher::default(), vec![0; 64 << 10], 0);
    loop {
        match file.read(&mut chunk).map_err(text)? {
            0 => break,
            read => {
                hasher.update(chunk.get(..read).unwrap_or_default());
                size += read as u64;
            }
        }
    }
    let path = fs::canonicalize(path).map_err(text)?;
    let url = path.to_str().map(|path| format!("file://{path}")).ok_or("its name is no text")?;
    Ok((name, Wanted { version, url, sha256: hasher.finish(), size }))
}
