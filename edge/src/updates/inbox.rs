//! The folder for bundles that come by hand, such as from a USB stick.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use hedef_core::ModelName;
use hedef_protocols::bundle::{Bundle, BundleError, Hasher, PublicKey};

use super::wanted::Wanted;

/// What can be seen of a file without reading it.
type Look = (u64, Option<SystemTime>);

/// For so many looks a file that is too short is waited for.
const PATIENCE: u32 = 30;

/// What is known of the files that were there.
#[derive(Debug, Default)]
pub(super) struct Inbox {
    seen: HashMap<PathBuf, (Look, Known)>,
}

#[derive(Clone, Debug)]
enum Known {
    /// It may still be growing, for so many looks it was the same.
    New(u32),
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
        paths.sort_unstable();
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
                None => (Known::New(0), None),
                Some(Known::New(looks)) => match read(&path, keys) {
                    Ok((name, wanted)) => {
                        let bundle = Ok((name.clone(), wanted.clone()));
                        (Known::Bundle(name, wanted), Some(Found { path: path.clone(), new: true, bundle }))
                    }
                    // Who copies it may have halted.
                    Err(Wrong::Short(_)) if looks < PATIENCE => (Known::New(looks + 1), None),
                    Err(Wrong::Short(error) | Wrong::Other(error)) => {
                        (Known::Done, Some(Found { path: path.clone(), new: true, bundle: Err(error) }))
                    }
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

/// Why a file is no bundle.
#[derive(Debug)]
enum Wrong {
    /// It ends too early.
    Short(String),
    Other(String),
}

/// What a file holds: the signed manifest says it, and only that is looked at here.
fn read(path: &Path, keys: &[PublicKey]) -> Result<(ModelName, Wanted), Wrong> {
    let text = |error: io::Error| Wrong::Other(format!("it cannot be read: {error}"));
    let file = File::open(path).map_err(text)?;
    let bundle = Bundle::open(BufReader::new(file), keys).map_err(|error| match error {
        BundleError::Truncated { .. } => Wrong::Short(error.to_string()),
        error => Wrong::Other(error.to_string()),
    })?;
    let (name, version) = (bundle.manifest().name.clone(), bundle.manifest().version);
    let mut file = File::open(path).map_err(text)?;
    let found = file.metadata().map_err(text)?.len();
    if found < bundle.size() {
        return Err(Wrong::Short(format!("expected {} bytes, found {found}", bundle.size())));
    }
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
    let url = path.to_str().map(|path| format!("file://{path}"));
    let url = url.ok_or_else(|| Wrong::Other("its name is no text".into()))?;
    Ok((name, Wanted { version, url, sha256: hasher.finish(), size }))
}

#[cfg(test)]
mod tests {
    use hedef_protocols::bundle::{BundleWriter, File as Listed, Manifest, SecretKey, Sha256};

    use super::*;

    fn bundle(key: &SecretKey) -> Vec<u8> {
        let content = [7; 3000];
        let manifest = Manifest {
            name: ModelName::new("m").unwrap(),
            version: 7,
            min_runtime: None,
            expires: None,
            allow_downgrade: false,
            golden: vec![],
            files: vec![Listed { path: "7/model.onnx".into(), size: 3000, sha256: Sha256::of(&content) }],
        };
        let mut out = Vec::new();
        let mut writer = BundleWriter::begin(&mut out, &manifest, key).unwrap();
        writer.file(content.as_slice()).unwrap();
        writer.finish().unwrap();
        out
    }

    #[test]
    fn a_file_that_is_still_being_copied_is_waited_for_and_what_is_no_file_is_not_opened() {
        let (folder, key) = (tempfile::tempdir().unwrap(), SecretKey::generate().unwrap());
        let (all, keys) = (bundle(&key), [key.public()]);
        let path = folder.path().join("a.bundle");
        fs::create_dir(folder.path().join("folder.bundle")).unwrap();
        std::os::unix::fs::symlink("/dev/zero", folder.path().join("link.bundle")).unwrap();
        let mut inbox = Inbox::default();
        for part in [0, 100, 2000, all.len() - 1] {
            fs::write(&path, &all[..part]).unwrap();
            for _ in 0..5 {
                assert!(inbox.look(folder.path(), &keys).is_empty(), "{part}");
            }
        }
        fs::write(&path, &all).unwrap();
        assert!(inbox.look(folder.path(), &keys).is_empty());
        let found = inbox.look(folder.path(), &keys);
        let [Found { new: true, bundle: Ok((_, wanted)), .. }] = found.as_slice() else { panic!("{found:?}") };
        assert_eq!((wanted.version, wanted.size, wanted.sha256), (7, all.len() as u64, Sha256::of(&all)));
        // One that does not grow any more is no good.
        fs::write(&path, &all[..100]).unwrap();
        let told = (0..100).flat_map(|_| inbox.look(folder.path(), &keys)).collect::<Vec<_>>();
        assert!(matches!(told.as_slice(), [Found { bundle: Err(_), .. }]), "{told:?}");
    }
}
