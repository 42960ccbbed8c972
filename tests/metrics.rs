//! What Prometheus scrapes: well-formed, and counting what was sent.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::process::{Command, Stdio};

use crate::binary::Server;
use crate::config;
use crate::http::Client;

const GOOD: &str = r#"{"inputs":[{"name":"features","shape":[2,4],"datatype":"FP32","data":[1,2,3,4,5,6,7,8]}]}"#;

fn scrape(client: &Client) -> String {
    let answer = client.get("/metrics").expect(200);
    assert!(answer.header("content-type").unwrap().starts_with("text/plain; version=0.0.4"));
    answer.text()
}

/// The value of a series; labels in any order. A series that is not there counts 0.
fn value(text: &str, name: &str, labels: &[(&str, &str)]) -> f64 {
    let labels: BTreeSet<_> = labels.iter().map(|(name, value)| format!("{name}=\"{value}\"")).collect();
    let found = text.lines().filter(|line| !line.starts_with('#')).find_map(|line| {
        let (series, value) = line.rsplit_once(' ')?;
        let (found, rest) = series.split_once('{').unwrap_or((series, "}"));
        let rest: BTreeSet<_> =
            rest.trim_end_matches('}').split(',').map(String::from).filter(|label| !label.is_empty()).collect();
        (found == name && rest == labels).then(|| value.parse().unwrap())
    });
    found.unwrap_or(0.0)
}

/// What `promtool` would say, in part: every sample belongs to a family that was declared, once, with a help text;
/// buckets of a histogram do not fall, and the last is the count.
fn check_format(text: &str) {
    let mut families = BTreeMap::new();
    let mut helped = BTreeSet::new();
    let mut seen = BTreeSet::new();
    for line in text.lines() {
        if let Some(help) = line.strip_prefix("# HELP ") {
            let (name, words) = help.split_once(' ').unwrap();
            assert!(!words.is_empty() && helped.insert(name), "{line}");
        } else if let Some(kind) = line.strip_prefix("# TYPE ") {
            let (name, kind) = kind.split_once(' ').unwrap();
            assert!(families.insert(name, kind).is_none() && helped.contains(name), "{line}");
            assert_eq!(kind == "counter", name.ends_with("_total"), "a counter, and no other, ends in _total: {line}");
        } else if !line.is_empty() {
            let (series, value) = line.rsplit_once(' ').unwrap();
            assert!(value.parse::<f64>().is_ok() && seen.insert(series), "{line}");
            let name = series.split('{').next().unwrap();
            let histogram = ["_bucket", "_sum", "_count"].iter().find_map(|end| families.get(name.strip_suffix(end)?));
            assert!(families.contains_key(name) || histogram == Some(&"histogram"), "no family is declared: {line}");
        }
    }
    let buckets = |line: &&str| line.contains("_bucket{");
    let mut last = ("", 0.0);
    for line in text.lines().filter(buckets) {
        let (series, value) = line.rsplit_once(' ').unwrap();
        let (family, value) = (series.split(",le=").next().unwrap(), value.parse::<f64>().unwrap());
        assert!(last.0 != family || value >= last.1, "buckets fall: {line}");
        last = (family, value);
    }
}

#[test]
fn the_metrics_pass_promtool() {
    let server = Server::samples();
    let client = server.client();
    client.post("/v2/models/iris/infer", GOOD).expect(200);
    client.post("/v2/models/iris/infer", "{").expect(400);
    client.post("/v2/models/nothing/infer", GOOD).expect(404);
    let text = scrape(&client);
    check_format(&text);
    // Outside CI, where the tool may be missing, the checks above are all there is.
    let Some(promtool) = config::program("promtool") else {
        assert!(!config::ci(), "promtool is not on the path: apt-get install prometheus");
        return;
    };
    let mut promtool = Command::new(promtool);
    let mut child = promtool
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    assert!(output.status.success() && said.is_empty(), "{}", String::from_utf8_lossy(&said));
}

#[test]
fn the_histograms_count_the_requests_sent_by_outcome() {
    let server = Server::samples();
    let client = server.client();
    let request = |text: &str, model: &str, version: &str, protocol: &str, outcome: &str| {
        let labels = [("model", model), ("version", version), ("protocol", protocol), ("outcome", outcome)];
        value(text, "hedef_request_duration_seconds_count", &labels)
    };
    for _ in 0..37 {
        client.post("/v2/models/iris/infer", GOOD).expect(200);
    }
    for _ in 0..5 {
        client.post("/v2/models/iris/infer", "not json").expect(400);
        client.post("/v1/models/iris:predict", r#"{"instances":[[1,2,3,4]]}"#).expect(200);
    }
    for at in 0..7 {
        client.post(&format!("/v2/models/made-up-{at}/infer"), GOOD).expect(404);
    }
    client.post_with("/score", &[("azureml-model-deployment", "iris")], r#"{"data":[[1,2,3,4]]}"#).expect(200);
    let text = scrape(&client);
    assert_eq!(request(&text, "iris", "1", "v2", "ok"), 37.0);
    assert_eq!(request(&text, "iris", "1", "v2", "invalid_argument"), 5.0);
    assert_eq!(request(&text, "iris", "1", "v1", "ok"), 5.0);
    assert_eq!(request(&text, "iris", "1", "azure", "ok"), 1.0);
    assert_eq!(request(&text, "unknown", "unknown", "v2", "not_found"), 7.0);
    assert!(!text.contains("made-up"), "names from callers must not become labels");
    let total: f64 = text
        .lines()
        .filter(|line| line.starts_with("hedef_request_duration_seconds_count"))
        .map(|line| line.rsplit_once(' ').unwrap().1.parse::<f64>().unwrap())
        .sum();
    assert_eq!(total, 37.0 + 10.0 + 7.0 + 1.0);
    let iris = [("model", "iris"), ("version", "1")];
    let ok = [iris[0], iris[1], ("outcome", "ok")];
    for histogram in ["hedef_queue_duration_seconds_count", "hedef_compute_duration_seconds_count"] {
        assert_eq!(value(&text, histogram, &ok), 43.0, "{histogram}");
    }
    for histogram in ["hedef_decode_duration_seconds", "hedef_encode_duration_seconds"] {
        assert_eq!(value(&text, &format!("{histogram}_count"), &iris), 43.0, "{histogram}");
        assert!(value(&text, &format!("{histogram}_sum"), &iris) > 0.0, "{histogram}");
    }
    assert_eq!(value(&text, "hedef_rows_total", &iris), 37.0 * 2.0 + 5.0 + 1.0);
    assert_eq!(value(&text, "hedef_batches_total", &iris), 43.0);
    assert_eq!(value(&text, "hedef_batch_rows_count", &iris), 43.0);
    assert_eq!(value(&text, "hedef_batch_rows_sum", &iris), 80.0);
}

#[test]
fn gauges_tell_what_is_ready_and_what_waits() {
    let server = Server::samples();
    let client = server.client();
    let iris = [("model", "iris"), ("version", "1")];
    let text = scrape(&client);
    assert_eq!(value(&text, "hedef_model_ready", &iris), 1.0);
    assert_eq!(value(&text, "hedef_queue_depth", &iris), 0.0);
    assert_eq!(value(&text, "hedef_instances_busy", &iris), 0.0);
    assert!(value(&text, "hedef_instances", &iris) >= 1.0);
    assert!(value(&text, "hedef_model_load_duration_seconds", &iris) > 0.0);
    assert_eq!(value(&text, "hedef_model_loads_total", &[iris[0], iris[1], ("outcome", "ok")]), 1.0);
    assert!(value(&text, "process_resident_memory_bytes", &[]) > 1e6);
    assert!(value(&text, "hedef_uptime_seconds", &[]) > 0.0);
    assert_eq!(value(&text, "hedef_build_info", &[("version", env!("CARGO_PKG_VERSION"))]), 1.0);
    client.post("/v2/repository/models/iris/unload", "").expect(200);
    assert_eq!(value(&scrape(&client), "hedef_model_ready", &iris), 0.0);
}
