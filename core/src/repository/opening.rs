//! A model's session: from its own files, or from the optimised graph that an earlier start left.

use std::io;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::{OnnxLoader, Version};
use crate::backend::Backend;
use crate::backend::onnx::{ModelFacts, OnnxBackend, Placement, SessionOptions};
use crate::cache::{GraphCache, Identity, Key, Origin};
use crate::preflight::Inspection;
use crate::verdict::Verdict;

/// Models with fewer bytes of weights than this load in a few milliseconds anyway.
const SMALLEST: u64 = 1 << 20;

/// A session, and where it came from.
pub(super) struct Opened {
    pub(super) backend: OnnxBackend,
    pub(super) placement: Placement,
    /// Where its graph came from, for people.
    pub(super) graph: String,
    /// Its place in the cache, if it has one.
    pub(super) key: Option<Key>,
    /// What trials of it found earlier.
    pub(super) verdict: Option<Verdict>,
    /// The time spent on finding the graph in the cache.
    pub(super) looked_up: Duration,
}

/// What a session is opened with.
pub(super) struct Opening<'a> {
    pub(super) version: &'a Version<'a>,
    pub(super) inspection: &'a Inspection,
    pub(super) options: &'a SessionOptions,
    pub(super) facts: &'a ModelFacts,
}

impl OnnxLoader {
    /// Opens a session. A cache that fails costs time, never the model.
    pub(super) fn open(&self, opening: &Opening<'_>) -> Result<Opened, String> {
        let from_files = |graph: String| {
            let Opening { version, options, facts, .. } = *opening;
            let (backend, placement) = OnnxBackend::open(&self.runtime, version.file, options, facts)?;
            Ok(Opened { backend, placement, graph, key: None, verdict: None, looked_up: Duration::ZERO })
        };
        let Some(cache) = &self.graphs else { return from_files("not cached: the graph cache is off".into()) };
        let Some(placement) = self.runtime.surely_cpu(opening.options.device) else {
            return from_files("not cached: only graphs for the CPU are".into());
        };
        if opening.inspection.weight_bytes < SMALLEST {
            return from_files("not cached: its weights have less than 1 MiB".into());
        }
        match self.open_cached(opening, cache, placement) {
            Ok(opened) => Ok(opened),
            Err(reason) => {
                tracing::warn!(model = %opening.version.id, reason, "the model goes without the graph cache");
                from_files(format!("not cached: {reason}"))
            }
        }
    }

    fn open_cached(&self, opening: &Opening<'_>, cache: &GraphCache, placement: Placement) -> Result<Opened, String> {
        let started = Instant::now();
        let Opening { version, options, facts, .. } = *opening;
        let files = opening.files();
        let before = identities(&files).map_err(|error| error.to_string())?;
        let hash = |(name, path): &(String, PathBuf)| Ok((name.clone(), cache.hash(path)?));
        let hashes = files.iter().map(hash).collect::<io::Result<Vec<_>>>().map_err(|error| error.to_string())?;
        let key = Key::new(&Origin {
            files: &hashes,
            runtime: &self.runtime.build(),
            processor: &self.processor,
            provider: "cpu",
            optimisation: "all",
        });
        let found = cache.find(&key);
        let looked_up = started.elapsed();
        let opened = |backend, graph: &str, key, verdict| Opened {
            backend,
            placement: placement.clone(),
            graph: graph.into(),
            key,
            verdict,
            looked_up,
        };
        let complain = |reason: String| {
            tracing::warn!(model = %version.id, reason, "the cached graph cannot be used; it is made anew");
        };
        match found {
            Ok(Some(graph)) => match OnnxBackend::open_saved(&self.runtime, &graph.map, options, facts) {
                Ok(backend) => {
                    let verdict = graph.verdict.filter(Verdict::is_current);
                    return Ok(opened(backend, "mapped from the graph cache", Some(key), verdict));
                }
                Err(reason) => {
                    cache.remove(&key);
                    complain(reason);
                }
            },
            Ok(None) => {}
            Err(reason) => complain(reason),
        }

        let mut draft = cache.draft()?;
        let original = OnnxBackend::open_saving(&self.runtime, version.file, options, facts, &draft.graph())?;
        let saved = draft.map().and_then(|map| OnnxBackend::open_saved(&self.runtime, &map, options, facts));
        let saved = saved.and_then(|saved| {
            if saved.signature() != original.signature() {
                return Err("saved and opened again, it takes or gives something else".into());
            }
            if identities(&files).ok() != Some(before) {
                return Err("its files changed while it was loaded".into());
            }
            cache.keep(draft, &key, &version.id.to_string())?;
            Ok(saved)
        });
        match saved {
            Ok(saved) => Ok(opened(saved, "saved to the graph cache and mapped from there", Some(key), None)),
            Err(reason) => {
                tracing::warn!(model = %version.id, reason, "the model's graph cannot be cached");
                Ok(opened(original, &format!("not cached: {reason}"), None, None))
            }
        }
    }
}

impl Opening<'_> {
    /// The model's file and those of its weights, with their names.
    pub(super) fn files(&self) -> Vec<(String, PathBuf)> {
        let file = self.version.file;
        let beside = |path: &PathBuf| (path.to_string_lossy().into_owned(), file.with_file_name(path));
        let weights = self.inspection.external_files.iter().map(|weights| beside(&weights.path));
        // The model's own name does not count: copies of a model share their graph.
        [(String::new(), file.to_owned())].into_iter().chain(weights).collect()
    }
}

pub(super) fn identities(files: &[(String, PathBuf)]) -> io::Result<Vec<Identity>> {
    files.iter().map(|(_, path)| Identity::of(path)).collect()
}
