//! `hedef-explain`: a request's own story, in whatever protocol it asks.

use std::thread;

use serde_json::{Value, json};

use crate::binary::Server;
use crate::http::Answer;
use crate::models::Models;
use crate::python;
use crate::wait::until;

const EXPLAIN: (&str, &str) = ("hedef-explain", "1");
const IRIS: &str = r#"{"inputs":[{"name":"features","shape":[1,4],"datatype":"FP32","data":[1,2,3,4]}]}"#;

fn story(answer: &Answer) -> Value {
    let text = answer.header("hedef-explain").unwrap_or_else(|| panic!("no story: {}", answer.text()));
    serde_json::from_str(text).unwrap()
}

/// What every story of a request that was run has.
#[track_caller]
fn check(story: &Value, model: &str) {
    assert_eq!((&story["model"], &story["version"], &story["outcome"]), (&json!(model), &json!(1), &json!("ok")));
    for stage in ["decode_us", "queue_us", "compute_us", "encode_us"] {
        assert!(story[stage].as_f64().is_some_and(|time| time >= 0.0), "{stage}: {story}");
    }
    assert!(story["compute_us"].as_f64().unwrap() > 0.0);
    assert!(["inline", "queued"].contains(&story["road"].as_str().unwrap()) && !story["road_why"].is_null(), "{story}");
    assert!(
        story["batch"]["rows"].as_u64() >= story["rows"].as_u64() && story["threads"].as_u64() >= Some(1),
        "{story}"
    );
    // A request that was run at once has no instance, and its run no number.
    let queued = story["road"] == "queued";
    assert_eq!([&story["instance"], &story["batch"]["id"]].map(Value::is_u64), [queued; 2], "{story}");
}

#[test]
fn a_request_that_asks_is_told_its_story_in_every_protocol() {
    let server = Server::samples();
    let client = server.client();
    let ask = |path: &str, headers: &[(&str, &str)], body: &[u8]| {
        client.post_with(path, &[headers, &[EXPLAIN]].concat(), body).expect(200)
    };
    check(&story(&ask("/v2/models/iris/infer", &[], IRIS.as_bytes())), "iris");
    check(&story(&ask("/v1/models/iris:predict", &[], br#"{"instances":[[1,2,3,4]]}"#)), "iris");
    check(&story(&ask("/score", &[("azureml-model-deployment", "iris")], br#"{"data":[[1,2,3,4]]}"#)), "iris");

    let head = json!({
        "inputs": [{ "name": "features", "datatype": "FP32", "shape": [1, 4], "parameters": { "binary_data_size": 16 } }],
        "parameters": { "binary_data_output": true },
    })
    .to_string();
    let body = [head.as_bytes(), &[1.0_f32, 2.0, 3.0, 4.0].map(f32::to_le_bytes).concat()].concat();
    let length = head.len().to_string();
    check(&story(&ask("/v2/models/iris/infer", &[("inference-header-content-length", &length)], &body)), "iris");

    let url = server.address.to_string();
    let told = python::script("grpc_headers.py", &["iris", "--url", &url, "hedef-explain=1"]);
    let told: Value = serde_json::from_str(&told).unwrap();
    check(&serde_json::from_str(told["hedef-explain"].as_str().unwrap()).unwrap(), "iris");

    assert_eq!(client.post("/v2/models/iris/infer", IRIS).expect(200).header("hedef-explain"), None, "nobody asked");
    assert_eq!(
        client.post_with("/v2/models/iris/infer", &[("hedef-explain", "0")], IRIS).header("hedef-explain"),
        None
    );
}

#[test]
fn each_request_of_a_stream_is_told_its_story_with_its_answer() {
    let server = Server::samples();
    let url = server.address.to_string();
    let ask = |model: &str, metadata: &[&str]| -> Value {
        let arguments = [&[model, "--url", &url, "--stream"], metadata].concat();
        serde_json::from_str(&python::script("grpc_headers.py", &arguments)).unwrap()
    };
    let stories = |told: &Value| -> Vec<Value> {
        let parameters = told["parameters"].as_array().unwrap().iter();
        let stories =
            parameters.map(|one| one["hedef-explain"].as_str().map(|text| serde_json::from_str(text).unwrap()));
        stories.flatten().collect()
    };
    let told = ask("iris", &["hedef-explain=1"]);
    assert_eq!((&told["code"], &told["errors"]), (&json!("OK"), &json!(["", ""])));
    assert_eq!(stories(&told).len(), 2);
    stories(&told).iter().for_each(|story| check(story, "iris"));
    let refused = ask("nothing", &["hedef-explain=1"]);
    assert_eq!((&refused["code"], stories(&refused)), (&json!("OK"), vec![json!({ "outcome": "not_found" }); 2]));
    let ended = ask("nothing", &["hedef-explain=1", "triton_grpc_error=true"]);
    let last = (&ended["code"], &ended["hedef-explain"]);
    assert_eq!(last, (&json!("NOT_FOUND"), &json!(r#"{"outcome":"not_found"}"#)));
    assert!(stories(&ask("iris", &[])).is_empty(), "nobody asked");
}

#[test]
fn a_refused_request_is_told_what_is_known() {
    let server = Server::samples();
    let ask = |path: &str, body: &str| story(&server.client().post_with(path, &[EXPLAIN], body));
    let wrong = ask("/v2/models/iris/infer", "{");
    assert_eq!(wrong, json!({ "model": "iris", "version": 1, "outcome": "invalid_argument" }));
    assert_eq!(ask("/v2/models/nothing/infer", IRIS), json!({ "outcome": "not_found" }));
}

#[test]
fn who_shared_a_run_is_told_with_how_many_and_why() {
    let models = Models::empty();
    models.make("slow");
    models.settings("slow", "instances = 1\nthreads = 1\ninline = false\n[batching]\nenabled = true\nmax_rows = 4\n");
    let server = Server::start(models.path(), &[]);
    let body = r#"{"inputs":[{"name":"x","shape":[1,4],"datatype":"FP32","data":[1,2,3,4]}]}"#;
    let ask = || story(&server.client().post_with("/v2/models/slow/infer", &[EXPLAIN], body).expect(200));
    let stories = until("requests to share a run", || {
        let asked: Vec<Value> = thread::scope(|scope| {
            let threads: Vec<_> = (0..9).map(|_| scope.spawn(ask)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        asked.iter().any(|story| story["batch"]["why"] == "cap of 4 rows").then_some(asked)
    });
    for story in &stories {
        check(story, "slow");
        assert_eq!((&story["road"], &story["road_why"]), (&json!("queued"), &json!("inline = false in model.toml")));
        let mates = stories.iter().filter(|other| other["batch"]["id"] == story["batch"]["id"]).count();
        assert_eq!(story["batch"]["requests"], json!(mates), "{story}");
        assert_eq!((&story["batch"]["rows"], &story["instance"]), (&json!(mates), &json!(0)));
        let why = story["batch"]["why"].as_str().unwrap();
        let right: &[&str] = match mates {
            1 => &["nothing else waited that could join"],
            4 => &["cap of 4 rows", "an idle instance took all that had queued"],
            _ => &["an idle instance took all that had queued"],
        };
        assert!(right.contains(&why), "{story}");
    }
}

#[test]
fn what_a_request_was_padded_to_is_told() {
    let models = Models::empty();
    models.make("rowwise");
    let padding = "[batching.padding]\naxis = 1\ninputs = { x = 0 }\noutputs = [\"y\"]\n";
    models.settings(
        "rowwise",
        &format!("instances = 1\nthreads = 1\ninline = false\n[batching]\nmax_rows = 8\n{padding}"),
    );
    let server = Server::start(models.path(), &[]);
    let ask = |width: usize| {
        let data = vec![1; width];
        let body = json!({ "inputs": [{ "name": "x", "shape": [1, width], "datatype": "FP32", "data": data }] });
        let answer = server.client().post_with("/v2/models/rowwise/infer", &[EXPLAIN], body.to_string()).expect(200);
        let y = &answer.json()["outputs"][0];
        assert_eq!((&y["name"], &y["shape"]), (&json!("y"), &json!([1, width])), "it is cut back");
        (width as u64, story(&answer))
    };
    assert_eq!(ask(20).1["padded"], Value::Null, "a lone request is not");
    // Lengths of the same quarter of an octave.
    let widths = [17, 18, 19, 20];
    let stories = until("requests to share a run", || {
        let asked: Vec<_> = thread::scope(|scope| {
            let threads: Vec<_> = (0..12).map(|at| scope.spawn(move || ask(widths[at % 4]))).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        asked.iter().any(|(_, story)| !story["padded"].is_null()).then_some(asked)
    });
    for (_, story) in &stories {
        check(story, "rowwise");
        let mates = stories.iter().filter(|(_, other)| other["batch"]["id"] == story["batch"]["id"]);
        let widths: Vec<_> = mates.map(|(width, _)| *width).collect();
        let longest = *widths.iter().max().unwrap();
        let differ = widths.iter().any(|width| *width != longest);
        // Runs that are verified one by one have the number of the run that they were.
        let joined = story["batch"]["requests"] == json!(widths.len());
        let expected = if differ && joined { json!(longest) } else { Value::Null };
        assert_eq!(story["padded"], expected, "{widths:?}: {story}");
    }
}
