//! Optimised graphs, kept on disk between starts.
//!
//! Optimising a graph costs far more than reading the result: a ResNet-50 takes 130 ms from its ONNX file and 10 ms
//! from the file that ONNX Runtime saves of its session, which is mapped rather than read, weights included.
//!
//! Each graph is a folder named by its key (`Key`) that holds `graph.ort` and `manifest.toml`. It is made under
//! another name and renamed when whole, so that two processes may do so at once: the first one wins. What is in it is
//! trusted as far as only this user can write there, and is checked against its manifest before it is used.

mod content;
mod folder;
mod key;
mod manifest;
mod map;
#[cfg(test)]
#[cfg(unix)]
mod tests;

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use self::content::Hashes;
pub(crate) use self::content::Identity;
pub(crate) use self::key::{Key, Origin};
use self::manifest::Manifest;
pub(crate) use self::map::Map;
use crate::verdict::Verdict;

const GRAPH: &str = "graph.ort";
const MANIFEST: &str = "manifest.toml";

/// A draft older than this was left by a process that died.
const ABANDONED: Duration = Duration::from_secs(3600);

/// Optimised graphs on disk. Nothing is made before the first graph is.
#[derive(Debug)]
pub struct GraphCache {
    folder: PathBuf,
    most_bytes: u64,
    hashes: Hashes,
}

/// A graph that was found, or just made.
#[derive(Debug)]
pub(crate) struct Graph {
    /// Its bytes.
    pub(crate) map: Arc<Map>,
    /// What trial runs of it found earlier.
    pub(crate) verdict: Option<Verdict>,
}

/// A graph that is being written. Dropped, it is removed.
#[derive(Debug)]
pub(crate) struct Draft {
    folder: tempfile::TempDir,
    map: Option<Arc<Map>>,
}

impl GraphCache {
    /// A cache in `folder` that holds at most `most_bytes` of graphs.
    #[must_use]
    pub fn new(folder: PathBuf, most_bytes: u64) -> Self {
        let hashes = Hashes::new(folder.join("hashes"));
        Self { folder, most_bytes, hashes }
    }

    /// The SHA-256 of a file of a model, taken now or known from earlier.
    pub(crate) fn hash(&self, file: &Path) -> io::Result<String> {
        self.hashes.of(file)
    }

    /// The graph of that key, checked. An error says why the one that is there cannot be used; it is removed then.
    pub(crate) fn find(&self, key: &Key) -> Result<Option<Graph>, String> {
        let entry = self.entry(key);
        if entry.symlink_metadata().is_err() {
            return Ok(None);
        }
        folder::check(&self.folder)?;
        match read(&entry, key) {
            Ok(graph) => {
                // The time of the manifest tells when the graph was last wanted. A cache that cannot be written to
                // does not let graphs go either.
                let now = || File::open(entry.join(MANIFEST))?.set_modified(SystemTime::now());
                let _ = now();
                Ok(Some(graph))
            }
            Err(reason) => {
                self.remove(key);
                Err(reason)
            }
        }
    }

    /// Begins to write a graph.
    pub(crate) fn draft(&self) -> Result<Draft, String> {
        folder::make(&self.folder)?;
        Ok(Draft { folder: folder::draft(&self.folder).map_err(told)?, map: None })
    }

    /// Keeps a draft whose graph was opened, under `key`. The graph made of `model` becomes everybody's.
    pub(crate) fn keep(&self, draft: Draft, key: &Key, model: &str) -> Result<(), String> {
        let map = draft.map.as_ref().ok_or("nothing was written")?;
        let bytes = u64::try_from(map.bytes().len()).unwrap_or(u64::MAX);
        if bytes > self.most_bytes {
            return Err(format!("its graph has {bytes} bytes, the cache holds {}", self.most_bytes));
        }
        let identity = Identity::of(&draft.graph()).map_err(told)?;
        let manifest = Manifest {
            key: key.as_str().into(),
            model: model.into(),
            bytes,
            sha256: content::hash_of(map.bytes()),
            identity: identity.0,
            verdict: None,
        };
        manifest.write(&draft.folder.path().join(MANIFEST)).map_err(told)?;
        let entry = self.entry(key);
        match fs::rename(draft.folder.path(), &entry) {
            // Its folder has another name now: there is nothing left to remove.
            Ok(()) => drop(draft.folder.keep()),
            // Another process was faster; what it kept is the same, even if somebody has removed it since.
            Err(error) if matches!(error.kind(), io::ErrorKind::DirectoryNotEmpty | io::ErrorKind::AlreadyExists) => {}
            Err(error) => return Err(told(error)),
        }
        self.trim(&entry);
        Ok(())
    }

    /// Notes what trial runs of a graph found, so that the next start need not make them.
    pub(crate) fn note(&self, key: &Key, verdict: &Verdict) -> io::Result<()> {
        let file = self.entry(key).join(MANIFEST);
        let mut manifest = Manifest::read(&file)?;
        manifest.verdict = Some(verdict.clone());
        manifest.write(&file)
    }

    /// Removes a graph. Whoever has it mapped keeps it.
    pub(crate) fn remove(&self, key: &Key) {
        discard(&self.folder, &self.entry(key));
    }

    fn entry(&self, key: &Key) -> PathBuf {
        self.folder.join(key.as_str())
    }

    /// Lets graphs go, the one not wanted for the longest time first, until the rest fit; `newest` stays.
    fn trim(&self, newest: &Path) {
        self.hashes.trim();
        remove_abandoned(&self.folder);
        let facts = |entry: PathBuf| {
            let wanted = entry.join(MANIFEST).metadata().ok()?.modified().ok()?;
            Some((wanted, entry.join(GRAPH).metadata().ok()?.len(), entry))
        };
        let mut all: Vec<_> = folder::entries(&self.folder).into_iter().filter_map(facts).collect();
        all.sort_unstable();
        let mut total = all.iter().fold(0_u64, |total, (_, bytes, _)| total.saturating_add(*bytes));
        for (_, bytes, entry) in all.iter().filter(|(_, _, entry)| entry != newest) {
            if total <= self.most_bytes {
                return;
            }
            discard(&self.folder, entry);
            total = total.saturating_sub(*bytes);
        }
    }
}

impl Draft {
    /// Where the graph is to be written.
    pub(crate) fn graph(&self) -> PathBuf {
        self.folder.path().join(GRAPH)
    }

    /// Maps what was written.
    pub(crate) fn map(&mut self) -> Result<Arc<Map>, String> {
        let path = self.graph();
        folder::close_to_others(&path).map_err(told)?;
        let (file, _) = folder::open(&path).map_err(told)?;
        let map = Arc::new(Map::of(&file).map_err(told)?);
        self.map = Some(Arc::clone(&map));
        Ok(map)
    }
}

/// Opens an entry and holds it against its manifest.
fn read(entry: &Path, key: &Key) -> Result<Graph, String> {
    folder::check(entry)?;
    let mut manifest = Manifest::read(&entry.join(MANIFEST)).map_err(|error| format!("its manifest: {error}"))?;
    let (file, facts) = folder::open(&entry.join(GRAPH)).map_err(told)?;
    if manifest.key != key.as_str() {
        return Err("its manifest is that of another graph".into());
    }
    if facts.len() != manifest.bytes {
        return Err(format!("it has {} bytes, expected {}", facts.len(), manifest.bytes));
    }
    let map = Map::of(&file).map_err(told)?;
    let identity = Identity::from(&facts);
    if manifest.identity != identity.0 {
        // Somebody wrote to it, or the folder was copied.
        if content::hash_of(map.bytes()) != manifest.sha256 {
            return Err("its bytes are not those that were written".into());
        }
        manifest.identity = identity.0;
        // In a cache that cannot be written to, the hash is taken each time.
        let _ = manifest.write(&entry.join(MANIFEST));
    }
    Ok(Graph { map: Arc::new(map), verdict: manifest.verdict })
}

/// Removes an entry at once for whoever looks for it, then from the disk.
fn discard(folder: &Path, entry: &Path) {
    let Ok(away) = folder::draft(folder) else { return };
    // Where the rename fails the entry stays, and another process may be removing it just now.
    let _ = fs::rename(entry, away.path().join("gone"));
}

fn remove_abandoned(folder: &Path) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let age = entry.metadata().ok().and_then(|facts| facts.modified().ok()?.elapsed().ok());
        let is_draft = entry.file_name().to_string_lossy().starts_with(folder::DRAFT);
        if is_draft && age.is_some_and(|age| age > ABANDONED) {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

fn told(error: io::Error) -> String {
    error.to_string()
}
