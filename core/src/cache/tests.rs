//! Graphs that are kept, found again, damaged and let go; their bytes are texts here.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::thread;

use super::*;

struct House {
    root: tempfile::TempDir,
    cache: GraphCache,
}

fn house(most_bytes: u64) -> House {
    let root = tempfile::tempdir().unwrap();
    let cache = GraphCache::new(root.path().join("a/graphs"), most_bytes);
    House { root, cache }
}

fn key(name: &str) -> Key {
    let files = [("model.onnx".to_owned(), name.to_owned())];
    Key::new(&Origin { files: &files, runtime: "1", processor: "p", provider: "cpu", optimisation: "all" })
}

fn keep(cache: &GraphCache, name: &str, text: &str) -> Result<(), String> {
    let mut draft = cache.draft()?;
    fs::write(draft.graph(), text).unwrap();
    draft.map()?;
    cache.keep(draft, &key(name), name)
}

fn found(cache: &GraphCache, name: &str) -> Result<Option<String>, String> {
    let graph = cache.find(&key(name))?;
    Ok(graph.map(|graph| String::from_utf8(graph.map.bytes().to_vec()).unwrap()))
}

impl House {
    fn file(&self, name: &str, file: &str) -> PathBuf {
        self.cache.folder.join(key(name).as_str()).join(file)
    }

    fn names(&self) -> usize {
        fs::read_dir(&self.cache.folder).map_or(0, Iterator::count)
    }
}

#[test]
fn a_graph_is_found_again_with_what_was_noted_of_it() {
    let house = house(100);
    assert_eq!(found(&house.cache, "m"), Ok(None));
    assert!(!house.root.path().join("a").exists(), "nothing is made before it is needed");
    keep(&house.cache, "m", "graph").unwrap();
    assert_eq!(found(&house.cache, "m"), Ok(Some("graph".into())));
    assert_eq!(found(&house.cache, "n"), Ok(None));
    assert_eq!(house.cache.find(&key("m")).unwrap().unwrap().verdict, None);
    let verdict = Verdict::example();
    house.cache.note(&key("m"), &verdict).unwrap();
    let again = GraphCache::new(house.cache.folder.clone(), 100);
    assert_eq!(again.find(&key("m")).unwrap().unwrap().verdict, Some(verdict));
    for (file, mode) in [("", 0o700), (GRAPH, 0o600), (MANIFEST, 0o600)] {
        let found = house.file("m", file).metadata().unwrap().permissions().mode() & 0o777;
        assert_eq!(found, mode, "{file}");
    }
}

/// Damages a graph that was kept, and returns why it is not found after that; it must be gone then.
fn damaged(damage: impl Fn(&Path, &Path)) -> String {
    let house = house(100);
    keep(&house.cache, "m", "graph").unwrap();
    damage(&house.file("m", GRAPH), &house.file("m", MANIFEST));
    let reason = found(&house.cache, "m").unwrap_err();
    assert_eq!((found(&house.cache, "m"), house.names()), (Ok(None), 0), "{reason}");
    keep(&house.cache, "m", "graph").unwrap();
    assert_eq!(found(&house.cache, "m"), Ok(Some("graph".into())));
    reason
}

#[test]
fn a_graph_that_was_tampered_with_is_found_out_and_removed() {
    let edit = |from: &'static str, to: &'static str| {
        move |_: &Path, manifest: &Path| {
            let text = fs::read_to_string(manifest).unwrap();
            assert!(text.contains(from), "{text}");
            fs::write(manifest, text.replace(from, to)).unwrap();
        }
    };
    assert!(damaged(|graph, _| fs::write(graph, "gripe").unwrap()).contains("not those that were written"));
    assert!(damaged(|graph, _| fs::write(graph, "gra").unwrap()).contains("3 bytes, expected 5"));
    assert!(damaged(|graph, _| fs::write(graph, "").unwrap()).contains("0 bytes"));
    damaged(|graph, _| fs::remove_file(graph).unwrap());
    damaged(|_, manifest| fs::remove_file(manifest).unwrap());
    assert!(damaged(|_, manifest| fs::write(manifest, "key = 1").unwrap()).contains("its manifest"));
    assert!(damaged(edit("bytes = 5", "bytes = 4")).contains("expected 4"));
    damaged(edit("key = \"", "key = \"0"));
    damaged(edit("bytes = 5", "bytes = 5\nmore = 1"));
}

#[test]
fn a_graph_that_others_could_have_written_is_not_used() {
    let open = |path: &Path| fs::set_permissions(path, fs::Permissions::from_mode(0o666)).unwrap();
    assert!(damaged(|graph, _| open(graph)).contains("can be written by others"));
    assert!(damaged(|_, manifest| open(manifest)).contains("can be written by others"));
    let linked = damaged(|graph, _| {
        fs::rename(graph, graph.with_extension("real")).unwrap();
        std::os::unix::fs::symlink(graph.with_extension("real"), graph).unwrap();
    });
    assert!(linked.contains("symbolic"), "{linked}");
}

#[test]
fn a_folder_that_others_can_write_is_not_used() {
    let house = house(100);
    keep(&house.cache, "m", "graph").unwrap();
    fs::set_permissions(&house.cache.folder, fs::Permissions::from_mode(0o777)).unwrap();
    assert!(found(&house.cache, "m").unwrap_err().contains("can be written by others"));
    assert!(keep(&house.cache, "n", "graph").unwrap_err().contains("can be written by others"));
}

#[test]
fn a_copied_cache_is_checked_once_and_used() {
    let house = house(100);
    keep(&house.cache, "m", "graph").unwrap();
    let graph = house.file("m", GRAPH);
    fs::rename(&graph, graph.with_extension("old")).unwrap();
    fs::copy(graph.with_extension("old"), &graph).unwrap();
    let before = Manifest::read(&house.file("m", MANIFEST)).unwrap();
    assert_eq!(found(&house.cache, "m"), Ok(Some("graph".into())));
    let after = Manifest::read(&house.file("m", MANIFEST)).unwrap();
    assert_ne!(before.identity, after.identity);
    assert_eq!(after.identity, Identity::of(&graph).unwrap().0);
}

#[test]
fn graphs_not_wanted_for_the_longest_time_go_first() {
    let house = house(12);
    for name in ["a", "b"] {
        keep(&house.cache, name, "graph").unwrap();
    }
    let times = |name: &str, seconds: u64| {
        let at = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        File::open(house.file(name, MANIFEST)).unwrap().set_modified(at).unwrap();
    };
    times("a", 10);
    times("b", 20);
    // Being wanted makes it new.
    found(&house.cache, "a").unwrap();
    keep(&house.cache, "c", "graph").unwrap();
    assert_eq!(found(&house.cache, "b"), Ok(None));
    for name in ["a", "c"] {
        assert_eq!(found(&house.cache, name), Ok(Some("graph".into())), "{name}");
    }
    assert!(keep(&house.cache, "d", "more than twelve").unwrap_err().contains("the cache holds 12"));
    assert_eq!(house.names(), 2, "no draft is left");
}

#[test]
fn what_somebody_has_mapped_stays_mapped_when_it_goes() {
    let house = house(100);
    keep(&house.cache, "m", "graph").unwrap();
    let graph = house.cache.find(&key("m")).unwrap().unwrap();
    house.cache.remove(&key("m"));
    assert_eq!((found(&house.cache, "m"), house.names()), (Ok(None), 0));
    assert_eq!(graph.map.bytes(), b"graph");
}

#[test]
fn many_may_keep_find_and_remove_the_same_graph_at_once() {
    let house = house(100);
    thread::scope(|scope| {
        for worker in 0..8 {
            let cache = &house.cache;
            scope.spawn(move || {
                for turn in 0..40 {
                    keep(cache, "m", "graph").unwrap();
                    // Removed between two looks, it may be half gone; it is never wrong.
                    let found = found(cache, "m");
                    assert!(!matches!(&found, Ok(Some(text)) if text != "graph"), "{found:?}");
                    if (turn + worker) % 7 == 0 {
                        cache.remove(&key("m"));
                    }
                }
            });
        }
    });
    keep(&house.cache, "m", "graph").unwrap();
    // Of one that was written to while it was removed, a draft may be left, which goes when it is old.
    let entries = super::folder::entries(&house.cache.folder).into_iter().filter(|entry| entry.is_dir()).count();
    assert_eq!((found(&house.cache, "m"), entries), (Ok(Some("graph".into())), 1));
}

#[test]
fn a_cache_that_cannot_be_written_to_says_why_and_leaves_nothing() {
    let root = tempfile::tempdir().unwrap();
    fs::write(root.path().join("file"), "").unwrap();
    let cache = GraphCache::new(root.path().join("file/graphs"), 100);
    assert!(keep(&cache, "m", "graph").unwrap_err().contains("file/graphs"));
    assert_eq!(found(&cache, "m"), Ok(None));
    // As when the disk is full: nothing was written.
    let house = house(100);
    let mut draft = house.cache.draft().unwrap();
    draft.map().unwrap_err();
    assert!(house.cache.keep(draft, &key("m"), "m").is_err());
    assert_eq!(house.names(), 0);
}

#[test]
fn drafts_of_processes_that_died_are_removed_in_time() {
    let house = house(100);
    fs::create_dir_all(&house.cache.folder).unwrap();
    fs::set_permissions(&house.cache.folder, fs::Permissions::from_mode(0o700)).unwrap();
    for (name, age) in [(".draft-old", ABANDONED * 2), (".draft-new", Duration::ZERO)] {
        let path = house.cache.folder.join(name);
        fs::create_dir(&path).unwrap();
        File::open(path).unwrap().set_modified(SystemTime::now() - age).unwrap();
    }
    keep(&house.cache, "m", "graph").unwrap();
    assert_eq!(house.names(), 2);
    assert!(house.cache.folder.join(".draft-new").exists());
}
