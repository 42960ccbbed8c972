//! Models that harm whoever loads them: each is refused with its reason, and the server goes on.

use std::fs;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustix::process::{Signal, kill_process};
use serde_json::json;

use crate::binary::Server;
use crate::http::Answer;
use crate::models::Models;
use crate::wait::until;

const BODY: &str = r#"{"inputs":[{"name":"features","shape":[1,4],"datatype":"FP32","data":[5.1,3.5,1.4,0.2]}]}"#;

/// Serves the sample `iris` alone.
fn iris(flags: &[&str]) -> (Models, Server) {
    let models = Models::samples(&["iris"]);
    let server = Server::start(models.path(), flags);
    (models, server)
}

/// A model of that kind as it is sent with a load request.
fn made(kind: &str) -> Vec<u8> {
    let models = Models::empty();
    fs::read(models.make(kind)).unwrap()
}

fn upload(server: &Server, name: &str, file: &[u8]) -> Answer {
    let parameters = json!({ "config": "{}", "file:1/model.onnx": STANDARD.encode(file) });
    let body = json!({ "parameters": parameters }).to_string();
    server.client().post(&format!("/v2/repository/models/{name}/load"), body)
}

/// Does `work` while others are served, each of whom has to be answered.
fn while_others_are_served<T>(server: &Server, work: impl FnOnce() -> T) -> T {
    let (done, answered) = (AtomicBool::new(false), AtomicUsize::new(0));
    thread::scope(|scope| {
        let others = scope.spawn(|| {
            let client = server.client();
            while !done.load(Ordering::Relaxed) {
                let answer = client.post("/v2/models/iris/infer", BODY).expect(200);
                assert!(answer.text().contains("setosa"));
                client.get("/v2/health/live").expect(200);
                answered.fetch_add(1, Ordering::Relaxed);
            }
        });
        until("the first answer", || (answered.load(Ordering::Relaxed) > 0 || others.is_finished()).then_some(()));
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work));
        done.store(true, Ordering::Relaxed);
        others.join().unwrap();
        result.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

/// Asserts that the model is refused for that reason: in the answer, in the index, in the log and in the metrics.
#[track_caller]
fn refused(server: &Server, name: &str, answer: &Answer, outcome: &str, words: &str) {
    let message = answer.json()["error"].as_str().unwrap().to_string();
    assert!(answer.status == 400 && message.contains(words), "{}: {message}", answer.status);
    let index = server.client().post("/v2/repository/index", "").json();
    let line = index.as_array().unwrap().iter().find(|line| line["name"] == name).unwrap().clone();
    assert_eq!(line["state"], "UNAVAILABLE");
    assert!(line["reason"].as_str().unwrap().contains(words), "{line}");
    // The log comes through a pipe, by a way of its own.
    until("the reason in the log", || {
        server.log().lines().any(|line| line.contains("cannot load the model") && line.contains(words)).then_some(())
    });
    let metrics = server.client().get("/metrics").text();
    for series in [
        format!(r#"hedef_model_trials_total{{model="{name}",outcome="{outcome}",version="1"}} 1"#),
        format!(r#"hedef_model_loads_total{{model="{name}",outcome="error",version="1"}} 1"#),
    ] {
        assert!(metrics.contains(&series), "{series}: {metrics}");
    }
    server.client().post("/v2/models/iris/infer", BODY).expect(200);
}

#[test]
fn a_model_that_takes_all_memory_is_refused() {
    let (_models, server) = iris(&["--quarantine-memory-mib", "600"]);
    let bomb = made("memory_bomb");
    assert!(bomb.len() < 10_000);
    let before = server.resident_kb();
    let answer = while_others_are_served(&server, || upload(&server, "bomb", &bomb));
    refused(&server, "bomb", &answer, "too_large", "loading it took more than 600 MiB of memory");
    assert!(server.resident_kb() < before + 100_000, "{} kB after {before}", server.resident_kb());
    let answer = upload(&server, "larger", &made("too_large"));
    refused(&server, "larger", &answer, "refused", "its first run fails: there is not enough memory");
}

#[test]
fn a_model_that_never_ends_is_refused() {
    let (_models, server) = iris(&["--quarantine-timeout-s", "2"]);
    let answer = while_others_are_served(&server, || upload(&server, "endless", &made("endless")));
    refused(&server, "endless", &answer, "too_slow", "loading it took more than 2 s");
    until("the process to be gone", || server.children().is_empty().then_some(()));
}

#[test]
fn a_model_whose_load_crashes_is_refused_and_the_server_lives() {
    let (_models, server) = iris(&[]);
    let endless = made("endless");
    for (name, signal, words) in [
        ("segfault", Signal::SEGV, "signal 11 (SIGSEGV)"),
        ("abort", Signal::ABORT, "signal 6 (SIGABRT)"),
        ("killed", Signal::KILL, "signal 9 (SIGKILL): the system may have been out of memory"),
    ] {
        let answer = while_others_are_served(&server, || {
            thread::scope(|scope| {
                let load = scope.spawn(|| upload(&server, name, &endless));
                let process = until("the process that loads it", || server.children().first().copied());
                // Rust's own handler takes the first SIGSEGV, which is to come again if it was meant.
                until("its end", || {
                    let _ = kill_process(process, signal);
                    load.is_finished().then_some(())
                });
                load.join().unwrap()
            })
        });
        refused(&server, name, &answer, "crashed", words);
    }
}

#[test]
fn files_that_are_broken_or_reach_out_of_their_package_are_refused() {
    let (_models, server) = iris(&[]);
    let answer = while_others_are_served(&server, || upload(&server, "truncated", &made("truncated")));
    refused(&server, "truncated", &answer, "refused", "truncated");
    let answer = upload(&server, "outside", &made("external_outside"));
    refused(&server, "outside", &answer, "refused", "outside its own folder (by a path with `..`)");
}

#[test]
fn a_good_model_passes_and_is_not_tried_again_until_it_changes() {
    let (models, server) = iris(&[]);
    let tried = |name: &str| {
        let series = format!(r#"hedef_model_trials_total{{model="{name}",outcome="ok",version="1"}} "#);
        let metrics = server.client().get("/metrics").text();
        metrics.lines().find_map(|line| line.strip_prefix(&series)?.parse::<u32>().ok()).unwrap_or(0)
    };
    let load = |name: &str, body: &str| {
        server.client().post(&format!("/v2/repository/models/{name}/load"), body).expect(200);
    };
    load("iris", "");
    assert_eq!(tried("iris"), 0, "it was there at the start");
    let file = models.file("iris", 1);
    let content = fs::read(&file).unwrap();
    fs::write(&file, &content).unwrap();
    load("iris", "");
    load("iris", "");
    assert_eq!(tried("iris"), 1, "somebody wrote to it");
    load("iris", r#"{"parameters":{"config":"{\"max_batch_size\":2}"}}"#);
    assert_eq!(tried("iris"), 2, "its settings changed");
    upload(&server, "other", &content).expect(200);
    assert_eq!(tried("other"), 1);
    server.client().post("/v2/models/other/infer", BODY).expect(200);
}

#[test]
fn what_the_watcher_finds_is_tried_and_what_is_there_at_the_start_only_if_asked() {
    let models = Models::samples(&["iris"]);
    models.make("endless");
    let flags = ["--quarantine", "always", "--quarantine-timeout-s", "2", "--watch", "--watch-interval-ms", "50"];
    let server = Server::start(models.path(), &flags);
    let reason = |name: &str| {
        let index = server.client().post("/v2/repository/index", "").json();
        let line = index.as_array()?.iter().find(|line| line["name"] == name)?.clone();
        Some(line["reason"].as_str()?.to_string())
    };
    assert!(reason("endless").unwrap().contains("took more than 2 s"));
    server.client().post("/v2/models/iris/infer", BODY).expect(200);
    while_others_are_served(&server, || {
        models.make_as("late", "endless", &[]);
        until("the watcher's verdict", || reason("late").filter(|reason| reason.contains("took more than 2 s")));
    });
}

#[test]
fn a_stop_does_not_wait_for_a_trial() {
    let (_models, server) = iris(&[]);
    thread::scope(|scope| {
        let load = scope.spawn(|| upload(&server, "endless", &made("endless")));
        until("the process that loads it", || server.children().first().copied());
        server.signal(Signal::TERM);
        let answer = load.join().unwrap();
        assert!(answer.text().contains("the server is being stopped"), "{}", answer.text());
    });
    assert!(server.ended().status.success());
}

#[test]
fn a_run_that_does_not_come_back_turns_liveness_off_until_it_does() {
    let models = Models::empty();
    models.make("patient");
    models.settings("patient", "instances = 1\nthreads = 1\ninline = false\n");
    let server = Server::start(models.path(), &["--stuck-run-s", "1"]);
    server.client().get("/v2/health/live").expect(200);
    let body = r#"{"inputs":[{"name":"x","shape":[1,4],"datatype":"FP32","data":[1e12,0,0,0]}]}"#;
    let mut wire = server.wire();
    wire.send(format!(
        "POST /v2/models/patient/infer HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    ));
    until("the run to be noticed", || (server.client().get("/v2/health/live").status == 503).then_some(()));
    assert!(server.log().contains("a run of this model has not come back for "), "{}", server.log());
    assert!(server.client().get("/metrics").text().contains("hedef_stuck_runs 1"));
    // Its caller leaves, so it is ended.
    drop(wire);
    until("it to come back", || (server.client().get("/v2/health/live").status == 200).then_some(()));
    assert!(server.log().contains("has come back after"));
}
