//! The commands that end by themselves, and a server whose models are not all right.

use serde_json::Value;

use crate::binary::{Server, hedef, run};
use crate::config;
use crate::models::{Models, sample};

#[test]
fn check_says_what_a_model_takes_and_gives() {
    let said = run(&["check", config::samples().join("iris").to_str().unwrap()], b"");
    assert_eq!(said.code, Some(0), "{}", said.stderr);
    for expected in
        ["iris/1: can be served", "features FP32 [-1,4]", "labels: setosa, versicolor, virginica", "batching"]
    {
        assert!(said.stdout.contains(expected), "{expected}: {}", said.stdout);
    }
}

#[test]
fn check_says_in_plain_words_why_a_model_cannot_be_served() {
    let models = Models::empty();
    for (kind, expected) in [
        ("not_onnx", "no ONNX model"),
        ("truncated", "truncated"),
        ("ir_future", "IR version"),
        ("opset_future", "opset"),
        ("unknown_op", "operator"),
        ("external_missing", "missing"),
        ("external_outside", "outside"),
        ("sequence_output", "which Hedef cannot carry"),
        ("huge", "memory"),
        ("locale", "localedef -i xx_XX"),
    ] {
        let file = models.make(kind);
        let said = run(&["check", file.parent().unwrap().parent().unwrap().to_str().unwrap()], b"");
        let text = said.stderr.to_lowercase();
        assert_eq!(said.code, Some(65), "{kind}: {}{}", said.stdout, said.stderr);
        assert!(text.contains(&expected.to_lowercase()), "{kind} lacks `{expected}`: {text}");
        let folder = models.path().to_str().unwrap().to_lowercase();
        assert!(!text.contains(&folder), "{kind} tells a path: {text}");
    }
}

#[test]
fn check_says_whether_requests_may_share_runs_and_why_not() {
    let models = Models::empty();
    let said = |kind: &str| {
        let file = models.make(kind);
        run(&["check", file.parent().unwrap().parent().unwrap().to_str().unwrap()], b"").stdout
    };
    let (apart, together) = (said("mean_over_batch"), said("rank8"));
    assert!(apart.contains("batching off: the rows of output `y` depend on one another"), "{apart}");
    assert!(together.contains("batching on axis 0"), "{together}");
    assert!(said("external").contains("can be served"), "weights beside the model are its own");
}

#[test]
fn settings_that_cannot_be_are_told_with_their_key() {
    for (settings, expected) in [
        ("devise = \"cpu\"", "devise"),
        ("device = \"tpu\"", "tpu"),
        ("instances = -1", "instances"),
        ("[labels]\nprobabilities = \"nowhere.txt\"", "nowhere.txt"),
        ("[labels]\nnothing = \"labels.txt\"", "nothing"),
    ] {
        let models = Models::samples(&["digits"]);
        models.settings("digits", settings);
        let said = run(&["check", models.path().join("digits").to_str().unwrap()], b"");
        assert!(said.code == Some(65) && said.stderr.contains(expected), "{settings}: {:?} {}", said.code, said.stderr);
    }
}

#[test]
fn a_device_that_is_asked_for_and_not_there_is_an_error_not_a_silent_fall_back() {
    let models = Models::samples(&["iris"]);
    models.settings("iris", "device = \"cuda:7\"");
    let said = run(&["check", models.path().join("iris").to_str().unwrap()], b"");
    let text = said.stderr.to_lowercase();
    assert!(said.code != Some(0) && text.contains("cuda"), "{:?} {}", said.code, said.stderr);
}

#[test]
fn one_model_that_cannot_load_does_not_stop_the_others() {
    let models = Models::samples(&["iris"]);
    models.make("truncated");
    let server = Server::start(models.path(), &[]);
    let client = server.client();
    client.get("/v2/health/ready").expect(200);
    client.get("/v2/models/truncated/ready").expect(503);
    let index = client.post("/v2/repository/index", "").expect(200).json();
    let line = |name: &str| index.as_array().unwrap().iter().find(|line| line["name"] == name).unwrap().clone();
    assert_eq!(line("iris")["state"], "READY");
    assert_eq!(line("truncated")["state"], "UNAVAILABLE");
    let reason = line("truncated")["reason"].as_str().unwrap().to_string();
    assert!(reason.contains("truncated"), "{reason}");
    assert!(server.log().contains(&reason));
    let metrics = client.get("/metrics").expect(200).text();
    assert!(metrics.contains(r#"hedef_model_ready{model="truncated",version="1"} 0"#));
    assert!(metrics.contains(r#"hedef_model_loads_total{model="truncated",outcome="error",version="1"} 1"#));
    server.stop();
}

fn score(arguments: &[&str], input: &[u8]) -> Value {
    let said = run(&[&["score"], arguments].concat(), input);
    assert_eq!(said.code, Some(0), "{}", said.stderr);
    serde_json::from_str(&said.stdout).unwrap()
}

#[test]
fn score_takes_json_csv_and_numpy() {
    let iris = config::samples().join("iris");
    let iris = iris.to_str().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let json = score(&[iris, "--input", "-"], b"[[5.1,3.5,1.4,0.2],[6.3,3.3,6.0,2.5]]");
    assert_eq!((&json[0]["label"], &json[1]["label"]), (&"setosa".into(), &"virginica".into()));
    let csv = folder.path().join("rows.csv");
    std::fs::write(&csv, "a,b,c,d\n5.1,3.5,1.4,0.2\n6.3,3.3,6.0,2.5\n").unwrap();
    assert_eq!(score(&[iris, "--input", csv.to_str().unwrap()], b""), json);
    let mut npy = b"\x93NUMPY\x01\x00\x76\x00".to_vec();
    let header = "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 4), }";
    npy.extend(format!("{header:<117}\n").bytes());
    npy.extend([5.1_f32, 3.5, 1.4, 0.2, 6.3, 3.3, 6.0, 2.5].iter().flat_map(|x| x.to_le_bytes()));
    assert_eq!(score(&[iris, "--input", "-", "--format", "npy"], &npy), json);
}

#[test]
fn score_says_what_is_wrong_and_exits_accordingly() {
    let iris = sample("iris");
    let iris = iris.to_str().unwrap();
    let wrong = run(&["score", iris, "--input", "-"], b"[[1,2,3]]");
    assert_eq!(wrong.code, Some(65));
    assert!(wrong.stderr.contains("input `features`: expected FP32 [-1,4], got FP32 [1,3]"), "{}", wrong.stderr);
    let missing = run(&["score", iris, "--input", "nowhere.json"], b"");
    assert_eq!(missing.code, Some(1));
    assert!(missing.stderr.contains("nowhere.json"), "{}", missing.stderr);
}

#[test]
fn a_runtime_that_is_not_there_is_an_error_that_says_what_to_do() {
    let said = run(&["check", sample("iris").to_str().unwrap(), "--onnxruntime", "/nowhere/libonnxruntime.so"], b"");
    assert_ne!(said.code, Some(0));
    assert!(said.stderr.contains("/nowhere/libonnxruntime.so"), "{}", said.stderr);
}

#[test]
fn completions_are_printed() {
    assert!(run(&["completions", "bash"], b"").stdout.contains("complete"));
}

#[test]
fn onnx_runtime_leaves_no_telemetry_behind() {
    let iris = sample("iris");
    let iris = iris.to_str().unwrap();
    assert_eq!(run(&["check", iris], b"").code, Some(0));
    let library = run(&["runtime", "locate"], b"").stdout;
    let home = tempfile::tempdir().unwrap();
    let mut check = hedef(&["check", iris, "--onnxruntime", library.trim()]);
    let status = check.env("XDG_CACHE_HOME", home.path()).env("HOME", home.path()).output().unwrap().status;
    assert!(status.success());
    // It would keep a device id and the events to be sent there.
    assert_eq!(std::fs::read_dir(home.path()).unwrap().count(), 0);
}
