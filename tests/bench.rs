//! `hedef bench` against the server and against the bare runtime: every request is answered. How fast is not the
//! tests' business.

use serde_json::Value;

use crate::binary::{Server, run};
use crate::config;

/// Runs it with `--json -`, which has to succeed, and gives what it wrote.
#[track_caller]
fn bench(arguments: &[&str]) -> Value {
    let said = run(&[&["bench", "--warm-up", "0s", "--json", "-"], arguments].concat(), b"");
    assert_eq!(said.code, Some(0), "{arguments:?}: {}", said.stderr);
    serde_json::from_str(&said.stdout).unwrap()
}

/// So many requests were made, and each had a right answer.
#[track_caller]
fn all_right(report: &Value, requests: u64, rows: u64) {
    let measured = &report["measured"];
    assert_eq!((&measured["requests"], &measured["right"]), (&requests.into(), &requests.into()), "{report:#}");
    assert_eq!((&measured["errors"], &measured["rows"]), (&0.into(), &rows.into()), "{report:#}");
    for quantile in ["mean", "p50", "p90", "p95", "p99", "p99.9", "max"] {
        assert!(measured["latency_us"][quantile].as_f64().unwrap() > 0.0, "{report:#}");
    }
}

#[test]
fn a_server_is_measured_under_closed_and_open_loads_and_mlperf_s_scenarios() {
    let server = Server::samples();
    let url = format!("http://{}", server.address);
    let at = |model: &str, arguments: &[&str]| bench(&[&[url.as_str(), model], arguments].concat());
    let closed = at("iris", &["--requests", "200", "--connections", "4", "--expect", "first", "--batch", "3"]);
    all_right(&closed, 200, 600);
    assert_eq!((&closed["plan"], &closed["subject"]["rows"]), (&"closed".into(), &3.into()));
    all_right(&at("language", &["--requests", "50", "--format", "binary", "--expect", "first"]), 50, 50);
    let open = at("digits", &["--requests", "50", "--rate", "500", "--busy-poll"]);
    all_right(&open, 50, 50);
    assert_eq!(open["trials"][0]["trial"]["load"]["open"]["rate"], 500.0);
    let single = at("iris", &["--scenario", "single-stream", "--requests", "20"]);
    all_right(&single, 20, 20);
    assert!(single["result"]["latency_p90_us"].as_f64().unwrap() > 0.0);
    all_right(&at("iris", &["--scenario", "multi-stream", "--requests", "5"]), 5, 40);
    // A bound that every answer keeps; else the machine's mood would decide.
    let bound = ["--scenario", "server", "--rate", "200", "--p99", "1m", "--requests", "40"];
    assert_eq!(at("iris", &bound)["result"]["valid"], true);
    let leaving = at("iris", &["--leave", "0.5", "--requests", "40"]);
    all_right(&leaving, 40, 40);
    assert!(leaving["measured"]["left_early"].as_u64().unwrap() > 0);
    server.stop();
}

#[test]
fn own_requests_are_sent_and_their_answers_held_against_own_ones() {
    let server = Server::samples();
    let url = format!("http://{}", server.address);
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let body =
        |row: &str| format!(r#"{{"inputs":[{{"name":"features","datatype":"FP32","shape":[1,4],"data":{row}}}]}}"#);
    let answer = |label: &str| {
        format!(r#"{{"outputs":[{{"name":"label","shape":[1],"datatype":"BYTES","data":["{label}"]}}]}}"#)
    };
    let requests = file("requests.jsonl", &format!("{}\n{}\n", body("[5.1,3.5,1.4,0.2]"), body("[6.3,3.3,6.0,2.5]")));
    let right = file("right.json", &format!("[{},{}]", answer("setosa"), answer("virginica")));
    let wrong = file("wrong.json", &answer("setosa"));
    let arguments = [url.as_str(), "iris", "--requests", "10", "--input", &requests, "--connections", "2", "--expect"];
    for format in ["json", "binary"] {
        all_right(&bench(&[&arguments[..], &[&right, "--format", format]].concat()), 10, 10);
    }
    let said = run(&[&["bench", "--warm-up", "0s"], &arguments[..], &[&wrong]].concat(), b"");
    assert_eq!(said.code, Some(1), "{}", said.stdout);
    assert!(said.stdout.contains("5 times wrong answer: output `label` has other values"), "{}", said.stdout);
    assert!(said.stderr.contains("5 requests were not answered rightly"), "{}", said.stderr);
    let unknown = run(&["bench", &url, "nothing"], b"");
    assert_eq!(unknown.code, Some(66), "{}", unknown.stderr);
    server.stop();
}

#[test]
fn the_bare_runtime_is_measured_under_the_same_loads() {
    let model = config::samples().join("digits");
    let at = |arguments: &[&str]| bench(&[&["--in-process", model.to_str().unwrap()], arguments].concat());
    let closed = at(&["--requests", "40", "--batch", "4", "--instances", "2"]);
    all_right(&closed, 40, 160);
    assert_eq!(closed["subject"]["instances"], 2);
    all_right(&at(&["--requests", "40", "--rate", "400", "--batch", "8", "--own-sessions", "--arena"]), 40, 40);
    all_right(&at(&["--requests", "5", "--scenario", "multi-stream", "--batch", "4"]), 5, 40);
    let swept = at(&["--sweep", "--requests", "2", "--duration", "60s"]);
    let points = swept["points"].as_array().unwrap();
    assert!(points.iter().any(|point| point["layout"]["batch"] == 64), "{swept:#}");
    assert!(points.iter().all(|point| point["measured"]["errors"] == 0), "{swept:#}");
    assert!(swept["best"]["rows_per_second"].as_f64().unwrap() > 0.0);
}
