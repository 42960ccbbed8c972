//! What updates keep on disk, below `updates` in the data folder.
//!
//! ```text
//! journal/iris.json        what is known of the model's updates: the one word on which version is served
//! journal/iris.old         what was known before the last change, should the disk lose the other
//! staging/<sha256>.part    a bundle that comes, and what its server calls it in <sha256>.tag
//! models/iris/7/           an unpacked bundle: a model package
//! ```
//!
//! A journal is written beside and renamed, and made safe with its folder before anything is done that it tells of.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use hedef_core::ModelName;
use hedef_core::repository::Package;
use hedef_protocols::bundle::{MANIFEST, Sha256};
use serde_json::Value;

use super::record::{Record, Release};
use crate::steps::{Step, Steps};

/// What a journal may have for its end while it is written.
const UNFINISHED: &str = "tmp";

/// The end of the one before.
const OLD: &str = "old";

/// The end of one that cannot be read.
const DAMAGED: &str = "damaged";

/// The folder of updates.
#[derive(Clone, Debug)]
pub(super) struct Store {
    root: PathBuf,
    pub(super) steps: Steps,
}

impl Store {
    /// Makes the folders that are not there. Where that cannot be done nothing is updated, but what is there is served.
    pub(super) fn open(root: PathBuf, steps: Steps) -> Self {
        let store = Self { root, steps };
        if let Err(error) = store.make_folders() {
            tracing::error!("the folder of updates cannot be used: {error}");
        }
        store
    }

    fn make_folders(&self) -> io::Result<()> {
        for folder in [self.journals(), self.staging(), self.models()] {
            fs::create_dir_all(&folder)?;
        }
        sync_folder(&self.root)?;
        self.root.parent().map_or(Ok(()), sync_folder)
    }

    /// One that is only looked into.
    pub(super) fn at(root: PathBuf) -> Self {
        Self { root, steps: Steps::default() }
    }

    fn journals(&self) -> PathBuf {
        self.root.join("journal")
    }

    pub(super) fn staging(&self) -> PathBuf {
        self.root.join("staging")
    }

    fn models(&self) -> PathBuf {
        self.root.join("models")
    }

    /// Where a bundle comes to.
    pub(super) fn part(&self, hash: &Sha256) -> PathBuf {
        self.staging().join(format!("{hash}.part"))
    }

    /// Where it is kept what a bundle's server calls it.
    pub(super) fn tag(&self, hash: &Sha256) -> PathBuf {
        self.staging().join(format!("{hash}.tag"))
    }

    /// Where a version of a model is, or is to be.
    pub(super) fn release(&self, name: &ModelName, version: u64) -> PathBuf {
        self.models().join(name.as_str()).join(version.to_string())
    }

    /// Where it is unpacked.
    pub(super) fn unfinished(&self, name: &ModelName, version: u64) -> PathBuf {
        self.models().join(name.as_str()).join(format!("{version}.{UNFINISHED}"))
    }

    /// A version of a model, if its files are there.
    pub(super) fn package(&self, name: &ModelName, version: u64) -> Option<Package> {
        let folder = self.release(name, version);
        let file = folder.join(version.to_string()).join("model.onnx");
        if !file.is_file() || !folder.join(MANIFEST).is_file() {
            return None;
        }
        let settings = Some(folder.join("model.toml")).filter(|file| file.is_file());
        Some(Package { name: name.clone(), folder, settings, versions: [(version, file)].into() })
    }

    /// Reads all journals. For one that cannot be read the one before counts, and without that one what is served is what the
    /// settings' folders hold.
    pub(super) fn records(&self) -> BTreeMap<ModelName, Record> {
        let mut records = BTreeMap::new();
        for path in entries(&self.journals()) {
            if path.extension().is_none_or(|ending| ending != "json") {
                continue;
            }
            let Some(name) = path.file_stem().and_then(|name| ModelName::new(&name.to_string_lossy()).ok()) else {
                continue;
            };
            let record = read(&path).or_else(|error| {
                tracing::error!(model = %name, "the journal of its updates cannot be read and is put aside: {error}");
                let before = read(&path.with_extension(OLD));
                let _ = fs::rename(&path, path.with_extension(DAMAGED));
                before
            });
            if let Ok(record) = record {
                records.insert(name, record);
            }
        }
        records
    }

    /// Keeps what is known of a model's updates; returns when it survives a power cut.
    pub(super) fn keep(&self, name: &ModelName, record: &Record) -> io::Result<()> {
        let file = self.journals().join(format!("{name}.json"));
        let unfinished = file.with_extension(UNFINISHED);
        let text = serde_json::to_vec(record).map_err(io::Error::other)?;
        // They could not be made at the start.
        if !self.journals().is_dir() {
            self.make_folders()?;
        }
        // A URL may carry what lets its holder in.
        let mut writing = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&unfinished)?;
        writing.write_all(&text)?;
        writing.sync_all()?;
        self.steps.made(Step::JournalHalfWritten);
        // Not every file system can, and it is not needed as long as all goes well.
        let old = file.with_extension(OLD);
        let _ = fs::remove_file(&old);
        let _ = fs::hard_link(&file, &old);
        fs::rename(&unfinished, &file)?;
        sync_folder(&self.journals())
    }

    /// Removes what no record speaks of. What cannot be removed is tried again the next time.
    pub(super) fn sweep(&self, records: &BTreeMap<ModelName, Record>) {
        let wanted = |name: &str| {
            let hash = name.split('.').next().unwrap_or_default();
            records.values().filter_map(Record::wanted).any(|wanted| wanted.sha256.to_string() == hash)
        };
        for path in entries(&self.staging()) {
            if !wanted(&file_name(&path)) {
                remove(&path);
            }
        }
        for folder in entries(&self.models()) {
            let name = file_name(&folder);
            let record = records.iter().find(|(known, _)| known.as_str() == name).map(|(_, record)| record);
            let is_gone = |ending| is_gone(&self.journals().join(format!("{name}.{ending}")));
            if record.is_none() && !["json", DAMAGED].into_iter().all(is_gone) {
                // It may be all that is left of the model.
                continue;
            }
            for path in entries(&folder) {
                if !record.is_some_and(|record| is_kept(record, &file_name(&path))) {
                    remove(&path);
                }
            }
            // Only if nothing is left in it.
            let _ = fs::remove_dir(&folder);
        }
    }

    /// The bytes that may be written here.
    pub(super) fn free(&self) -> io::Result<u64> {
        let facts = rustix::fs::statvfs(&self.root)?;
        Ok(facts.f_bavail.saturating_mul(facts.f_frsize))
    }
}

/// Reads a journal. Of one by a later version of this program counts what is understood: which versions are here.
fn read(path: &Path) -> io::Result<Record> {
    let text = fs::read(path)?;
    serde_json::from_slice(&text).or_else(|error| {
        let mut known: serde_json::Map<_, _> = serde_json::from_slice(&text)?;
        for (key, value) in [("phase", "rest".into()), ("outcome", Value::Null), ("error", Value::Null)] {
            known.insert(key.into(), value);
        }
        serde_json::from_value(known.into()).map_err(|_| io::Error::other(error))
    })
}

/// Whether the folder of that name is that of a version which a record speaks of.
fn is_kept(record: &Record, folder: &str) -> bool {
    let releases = record.active.iter().chain(&record.previous).map(|release: &Release| release.version);
    releases.chain(record.wanted().map(|wanted| wanted.version)).any(|version| version.to_string() == folder)
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()).collect()
}

/// Whether it is known that there is no such file.
fn is_gone(path: &Path) -> bool {
    fs::symlink_metadata(path).is_err_and(|error| error.kind() == io::ErrorKind::NotFound)
}

fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// Removes a file, or a folder with all that is in it.
pub(super) fn remove(path: &Path) {
    let removed = match fs::symlink_metadata(path) {
        Ok(facts) if facts.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(_) => return,
    };
    if let Err(error) = removed {
        tracing::warn!(path = %path.display(), "what is not needed any more cannot be removed: {error}");
    }
}

/// Returns when the names in a folder survive a power cut.
pub(super) fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::super::wanted::Wanted;
    use super::*;

    #[test]
    fn journals_are_kept_and_for_a_damaged_one_the_one_before_counts() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path().join("updates"), Steps::default());
        let [a, b, c] = ["a", "b", "c"].map(|name| ModelName::new(name).unwrap());
        let at = |highest| Record { highest, ..Record::default() };
        for name in [&a, &b, &c] {
            store.keep(name, &at(3)).unwrap();
        }
        store.keep(&b, &at(4)).unwrap();
        store.keep(&b, &at(5)).unwrap();
        for name in ["b", "c"] {
            fs::write(store.journals().join(format!("{name}.json")), "{\"active\"").unwrap();
        }
        fs::write(store.journals().join("a.tmp"), "half").unwrap();
        // Its models are not removed for that.
        fs::create_dir_all(store.release(&c, 1)).unwrap();
        let records = store.records();
        assert_eq!(records, BTreeMap::from([(a, at(3)), (b.clone(), at(4))]));
        store.sweep(&records);
        assert!(store.journals().join("b.damaged").is_file() && store.release(&c, 1).is_dir());
        // A folder where a journal is expected is one that cannot be read, too.
        fs::create_dir(store.journals().join("d.json")).unwrap();
        store.keep(&b, &at(6)).unwrap();
        assert_eq!(store.records().get(&b), Some(&at(6)));
        assert_eq!(Store::at(folder.path().join("nowhere")).records(), BTreeMap::new());
    }

    #[test]
    fn of_a_later_journal_counts_what_is_understood() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path().join("updates"), Steps::default());
        let name = ModelName::new("m").unwrap();
        let release = |version| Some(Release { version, sha256: Sha256::of(b"x") });
        let record = Record { active: release(7), previous: release(6), highest: 8, ..Record::default() };
        let mut text = serde_json::to_value(&record).unwrap();
        text["phase"] = serde_json::json!({ "canary": { "part": 0.1 } });
        text["outcome"] = "postponed".into();
        text["region"] = "north".into();
        fs::write(store.journals().join("m.json"), text.to_string()).unwrap();
        assert_eq!(store.records(), BTreeMap::from([(name, record)]));
    }

    #[test]
    fn what_no_record_speaks_of_is_removed() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path().join("updates"), Steps::default());
        let name = ModelName::new("m").unwrap();
        let hash = Sha256::of(b"x");
        let mut record = Record { active: Some(Release { version: 7, sha256: hash }), ..Record::default() };
        record.begin(Wanted { version: 8, url: "https://h/".into(), sha256: hash, size: 1 }, true);
        for version in [6, 7, 8] {
            fs::create_dir_all(store.release(&name, version).join("x")).unwrap();
        }
        fs::create_dir_all(store.unfinished(&name, 8)).unwrap();
        fs::create_dir_all(store.release(&ModelName::new("gone").unwrap(), 1)).unwrap();
        fs::write(store.part(&hash), "x").unwrap();
        fs::write(store.part(&Sha256::of(b"y")), "y").unwrap();
        store.sweep(&BTreeMap::from([(name.clone(), record)]));
        let mut left: Vec<_> = entries(&store.models().join("m")).iter().map(|path| file_name(path)).collect();
        left.sort();
        assert_eq!((left, entries(&store.models()).len()), (vec!["7".to_owned(), "8".into()], 1));
        assert_eq!(entries(&store.staging()), [store.part(&hash)]);
        assert!(store.free().unwrap() > 0);
    }
}
