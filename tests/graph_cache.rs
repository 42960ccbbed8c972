//! Optimised graphs that outlive the process: found again, found out, and done without.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::json;
use tempfile::TempDir;

use crate::binary::{Server, hedef, run};
use crate::models::Models;

const PATH: &str = "/v2/models/net/infer";

/// A network of convolutions and a matrix product whose weights are worth caching.
fn net() -> (Models, TempDir) {
    let models = Models::empty();
    models.make_as("net", "cnn", &["--mb", "4"]);
    (models, tempfile::tempdir().unwrap())
}

/// Starts, asks, and stops; returns the answer and the log.
fn scored(models: &Models, cache: &str) -> (String, String) {
    let server = Server::start(models.path(), &["--graph-cache", cache]);
    let pixels: Vec<_> = (0..2 * 3 * 16 * 16).map(|pixel| f64::from(pixel % 97) / 97.0).collect();
    let image = json!({ "name": "image", "datatype": "FP32", "shape": [2, 3, 16, 16], "data": pixels });
    let answer = server.client().post(PATH, json!({ "inputs": [image] }).to_string()).expect(200).json();
    let ended = server.stop();
    assert!(ended.status.success(), "{}", ended.log);
    (answer["outputs"].to_string(), ended.log)
}

fn graph(cache: &Path) -> PathBuf {
    let mut folders = fs::read_dir(cache).unwrap().map(|entry| entry.unwrap().path().join("graph.ort"));
    folders.find(|file| file.exists()).unwrap()
}

#[test]
fn the_second_start_maps_what_the_first_saved_and_answers_are_the_same_to_the_bit() {
    let (models, folder) = net();
    let cache = folder.path().join("graphs");
    let cache = cache.to_str().unwrap();
    let (plain, log) = scored(&models, "off");
    assert!(log.contains("the graph cache is off"), "{log}");
    let (saved, log) = scored(&models, cache);
    assert!(log.contains("saved to the graph cache"), "{log}");
    let (mapped, log) = scored(&models, cache);
    assert!(log.contains("mapped from the graph cache") && log.contains("ready after"), "{log}");
    assert_eq!((&saved, &mapped), (&plain, &plain));
}

#[test]
fn the_memory_of_a_model_is_told_by_kind() {
    let (models, folder) = net();
    for (cache, kind) in [(folder.path().join("graphs"), "mapped"), ("off".into(), "private")] {
        let server = Server::start(models.path(), &["--graph-cache", cache.to_str().unwrap()]);
        let metrics = server.client().get("/metrics").expect(200).text();
        let line = format!(r#"hedef_model_memory_bytes{{kind="{kind}",model="net",version="1"}} "#);
        let bytes: u64 = metrics.split_once(&line).unwrap().1.lines().next().unwrap().parse().unwrap();
        assert!((3_500_000..40_000_000).contains(&bytes), "{kind}: {bytes}");
    }
}

#[test]
fn a_graph_that_was_tampered_with_or_cut_off_is_found_out() {
    let (models, folder) = net();
    let cache = folder.path().join("graphs");
    let (right, _) = scored(&models, cache.to_str().unwrap());
    for damage in [flip as fn(&Path), cut] {
        damage(&graph(&cache));
        let (answer, log) = scored(&models, cache.to_str().unwrap());
        assert!(log.contains("the cached graph cannot be used"), "{log}");
        assert!(log.contains("saved to the graph cache"), "{log}");
        assert_eq!(answer, right);
    }
}

fn flip(graph: &Path) {
    let mut bytes = fs::read(graph).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0x40;
    fs::write(graph, bytes).unwrap();
}

fn cut(graph: &Path) {
    let bytes = fs::read(graph).unwrap();
    fs::write(graph, &bytes[..bytes.len() / 2]).unwrap();
}

#[test]
fn a_model_whose_weights_changed_has_another_graph() {
    let (models, folder) = net();
    let (cache, file) = (folder.path().join("graphs"), models.file("net", 1));
    let (before, _) = scored(&models, cache.to_str().unwrap());
    let facts = file.metadata().unwrap();
    let mut bytes = fs::read(&file).unwrap();
    // A byte of a weight; the size and the time of the file stay.
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0x01;
    fs::write(&file, bytes).unwrap();
    fs::File::options().write(true).open(&file).unwrap().set_modified(facts.modified().unwrap()).unwrap();
    let (after, log) = scored(&models, cache.to_str().unwrap());
    assert!(log.contains("saved to the graph cache"), "{log}");
    assert_ne!(before, after);
}

#[test]
fn without_a_place_to_write_models_load_from_their_own_files() {
    let (models, folder) = net();
    let file = folder.path().join("file");
    fs::write(&file, "").unwrap();
    let open = folder.path().join("open");
    fs::create_dir(&open).unwrap();
    fs::set_permissions(&open, std::os::unix::fs::PermissionsExt::from_mode(0o777)).unwrap();
    let (right, _) = scored(&models, "off");
    for (cache, reason) in [
        (file.join("graphs"), "Not a directory"),
        (PathBuf::from("/proc/graphs"), "/proc/graphs"),
        (open, "can be written by others"),
    ] {
        let (answer, log) = scored(&models, cache.to_str().unwrap());
        assert!(log.contains("goes without the graph cache") && log.contains(reason), "{reason}: {log}");
        assert_eq!(answer, right);
    }
}

#[test]
fn a_user_without_a_cache_folder_is_told_so() {
    let (models, _) = net();
    let library = run(&["runtime", "locate"], b"").stdout;
    let mut check = hedef(&["check", models.path().join("net").to_str().unwrap(), "--onnxruntime", library.trim()]);
    for name in ["HEDEF_GRAPH_CACHE", "XDG_CACHE_HOME", "HOME"] {
        check.env_remove(name);
    }
    let output = check.output().unwrap();
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && err.contains("no graph cache"), "{out}{err}");
    assert!(out.contains("the graph cache is off"), "{out}");
}

#[test]
fn a_disk_that_fills_up_costs_the_cache_and_nothing_else() {
    let (models, folder) = net();
    let cache = folder.path().join("graphs");
    let net = models.path().join("net");
    let check = hedef(&["check", net.to_str().unwrap(), "--graph-cache", cache.to_str().unwrap()]);
    // Files may have 1 MiB, and who writes more gets an error, as from a full disk.
    let mut limited = Command::new("sh");
    limited.args(["-c", "trap '' XFSZ; ulimit -f 2048; exec \"$@\"", "sh"]).arg(check.get_program());
    let output = limited.args(check.get_args()).output().unwrap();
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && out.contains("not cached"), "{out}{err}");
    assert_eq!(
        fs::read_dir(&cache).unwrap().filter(|entry| !entry.as_ref().unwrap().path().ends_with("hashes")).count(),
        0
    );
}

#[test]
fn two_servers_may_start_at_once_on_an_empty_cache() {
    let (models, folder) = net();
    let cache = folder.path().join("graphs");
    let answers = std::thread::scope(|scope| {
        let starts = [0, 1, 2].map(|_| scope.spawn(|| scored(&models, cache.to_str().unwrap()).0));
        starts.map(|start| start.join().unwrap())
    });
    assert!(answers.iter().all(|answer| *answer == answers[0]));
    let (answer, log) = scored(&models, cache.to_str().unwrap());
    assert!(log.contains("mapped from the graph cache"), "{log}");
    assert_eq!(answer, answers[0]);
}
