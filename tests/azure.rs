//! Azure Machine Learning's scoring contract.

use serde_json::{Value, json};
use ureq::http::Method;

use crate::binary::{Server, hedef};
use crate::config;
use crate::http::{Answer, Client};
use crate::numbers::difference;
use crate::python;

const FLOWER: &str = r#"{"input_data":[[5.1,3.5,1.4,0.2]]}"#;

/// Serves the sample models, of which `/score` means iris.
fn iris(flags: &[&str]) -> Server {
    Server::start(&config::samples(), &[&["--score-model", "iris"], flags].concat())
}

/// The rows that two flowers get.
fn expected() -> Value {
    json!([
        { "label": "setosa", "probabilities": { "setosa": 0.97770464, "versicolor": 0.022294607, "virginica": 7.5249636e-7 } },
        { "label": "versicolor", "probabilities": { "setosa": 0.00790816219, "versicolor": 0.68404835, "virginica": 0.308043488 } },
    ])
}

#[test]
fn every_body_shape_gets_the_same_rows() {
    let server = iris(&[]);
    let client = server.client();
    let rows = json!([[5.1, 3.5, 1.4, 0.2], [6.7, 3.1, 4.7, 1.5]]);
    let v2 = json!([{ "name": "features", "shape": [2, 4], "datatype": "FP32", "data": rows }]);
    for body in [
        json!({ "input_data": { "columns": [0, 1, 2, 3], "index": [0, 1], "data": rows } }),
        json!({ "input_data": rows }),
        json!({ "input_data": [{ "features": rows[0] }, { "features": rows[1] }] }),
        json!({ "input_data": { "features": rows } }),
        json!({ "data": rows }),
        json!({ "data": rows, "method": "predict" }),
        json!({ "Inputs": { "data": rows }, "GlobalParameters": 1.0 }),
        json!({ "inputs": v2 }),
        json!({ "instances": rows }),
        rows,
    ] {
        let answer = client.post("/score", body.to_string());
        assert_eq!(answer.status, 200, "{body}: {}", answer.text());
        assert_eq!(difference(&expected(), &answer.json(), [1e-4, 1e-6]), None, "{body}");
    }
    let query = client.get("/score?features=[[5.1,3.5,1.4,0.2],[6.7,3.1,4.7,1.5]]").expect(200).json();
    assert_eq!(difference(&expected(), &query, [1e-4, 1e-6]), None);
}

#[test]
fn ids_answer_one_another_in_all_four_cases() {
    let server = iris(&[]);
    let client = server.client();
    let ids = |answer: &Answer| {
        ["x-ms-client-request-id", "x-ms-request-id", "x-request-id"]
            .map(|name| answer.header(name).unwrap().to_string())
    };
    let ask = |headers: &[(&str, &str)]| ids(&client.post_with("/score", headers, FLOWER).expect(200));
    let [client_id, ms_id, id] = ask(&[]);
    assert!(!id.is_empty() && client_id == id && ms_id == id);
    assert_eq!(ask(&[("x-request-id", "r")]), ["r", "r", "r"]);
    assert_eq!(ask(&[("x-ms-client-request-id", "c"), ("x-request-id", "r")]), ["c", "c", "r"]);
    assert_eq!(ask(&[("x-ms-request-id", "m"), ("x-request-id", "r")]), ["m", "m", "r"]);
    let both = [("x-ms-client-request-id", "c"), ("x-ms-request-id", "m"), ("x-request-id", "r")];
    assert_eq!(ask(&both), ["c", "m", "r"]);
    // A refusal has them too.
    let refused = client.post_with("/score", &both, "no json").expect(400);
    assert_eq!(ids(&refused), ["c", "m", "r"]);
    assert!(refused.json()["message"].as_str().unwrap().contains("JSON"));
    let long = "x".repeat(101);
    for name in ["x-ms-client-request-id", "x-ms-request-id", "x-request-id"] {
        let refused = server.client().post_with("/score", &[(name, &long)], FLOWER).expect(431).json();
        assert!(refused["message"].as_str().unwrap().contains(name), "{refused}");
    }
}

#[test]
fn answers_say_how_the_run_went() {
    let server = iris(&[]);
    let client = server.client();
    let answer = client.post_with("/score", &[("traceid", "t-1")], FLOWER).expect(200);
    assert_eq!((answer.header("x-ms-run-function-failed"), answer.header("traceid")), (Some("False"), Some("t-1")));
    assert!(answer.header("x-ms-run-fn-exec-ms").unwrap().parse::<f64>().unwrap() > 0.0);
    assert_eq!(answer.header("content-type"), Some("application/json"));
    let root = client.get("/").expect(200);
    assert_eq!((root.text().as_str(), root.header("content-type")), ("Healthy", Some("text/plain; charset=utf-8")));
}

#[test]
fn refusals_speak_in_azure_s_error_body() {
    let server = iris(&[]);
    let client = server.client();
    let message = |answer: Answer| answer.json()["message"].as_str().unwrap().to_string();
    let short = message(client.post("/score", r#"{"data":[[1,2,3]]}"#).expect(400));
    assert!(short.contains("`features`") && short.contains("example"), "{short}");
    assert!(message(client.post("/score", r#"{"what":[[1,2,3,4]]}"#).expect(400)).contains("`input_data`"));
    let media = message(client.post_with("/score", &[("content-type", "text/csv")], "1,2,3,4").expect(415));
    assert!(media.contains("text/csv"), "{media}");
    let method = client.send(Method::DELETE, "/score", &[], b"").unwrap().expect(405);
    assert!(method.header("allow").unwrap().contains("POST") && !message(method).is_empty());
    assert!(message(client.get("/swagger.json?version=9").expect(404)).contains('9'));
}

#[test]
fn among_several_models_score_says_how_to_name_one() {
    let server = Server::samples();
    let client = server.client();
    let refused = client.post("/score", FLOWER).expect(400).json();
    let message = refused["message"].as_str().unwrap();
    for words in ["--score-model", "azureml-model-deployment", "`diabetes`, `digits`, `iris`, `language`"] {
        assert!(message.contains(words), "{message}");
    }
    let pinned = client.post_with("/score", &[("azureml-model-deployment", "iris")], FLOWER).expect(200).json();
    assert_eq!(pinned[0]["label"], "setosa");
    client.post_with("/score", &[("azureml-model-deployment", "nothing")], FLOWER).expect(404);
}

#[test]
fn an_only_model_needs_no_name_and_a_prefix_moves_the_paths() {
    let iris = config::samples().join("iris");
    let server = Server::start(&iris, &["--score-path-prefix", "/api/flowers"]);
    let client = server.client();
    assert_eq!(client.post("/api/flowers/score", FLOWER).expect(200).json()[0]["label"], "setosa");
    client.get("/api/flowers/swagger.json").expect(200);
    client.post("/score", FLOWER).expect(404);
}

#[test]
fn a_score_model_that_is_no_name_is_refused_at_the_start() {
    let samples = config::samples();
    let output = hedef(&["serve", samples.to_str().unwrap(), "--listen", "127.0.0.1:0", "--score-model", "../x"])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && said.contains("`../x`"), "{}: {said}", output.status);
}

#[test]
fn pages_of_allowed_origins_may_call() {
    let server = iris(&["--cors-origin", "https://a.example"]);
    let client = server.client();
    let preflight = |origin: &str| {
        let headers = [
            ("origin", origin),
            ("access-control-request-method", "POST"),
            ("access-control-request-headers", "content-type"),
        ];
        client.send(Method::OPTIONS, "/score", &headers, b"").unwrap().expect(200)
    };
    let allowed = preflight("https://a.example");
    assert_eq!(allowed.header("access-control-allow-origin"), Some("https://a.example"));
    assert_eq!(allowed.header("access-control-allow-headers"), Some("content-type"));
    assert!(allowed.header("access-control-allow-methods").unwrap().contains("POST"));
    assert_eq!(preflight("https://b.example").header("access-control-allow-origin"), None);
    let call = client.post_with("/score", &[("origin", "https://a.example")], FLOWER).expect(200);
    assert_eq!(call.header("access-control-allow-origin"), Some("https://a.example"));
}

/// Checks a document with an independent validator, and returns it.
fn validated(client: &Client, path: &str) -> Value {
    let document = client.get(path).expect(200);
    let file = tempfile::NamedTempFile::with_suffix(".json").unwrap();
    std::fs::write(file.path(), &document.body).unwrap();
    python::module("openapi_spec_validator", &[file.path().to_str().unwrap()]);
    document.json()
}

#[test]
fn swagger_2_and_3_are_valid_for_every_sample_model() {
    for model in ["diabetes", "digits", "iris", "language"] {
        let server = Server::start(&config::samples().join(model), &[]);
        let client = server.client();
        let second = validated(&client, "/swagger.json");
        assert_eq!(second["swagger"], "2.0");
        assert_eq!(validated(&client, "/swagger.json?version=2"), second);
        let third = validated(&client, "/swagger.json?version=3");
        assert!(third["openapi"].as_str().unwrap().starts_with("3."), "{third}");
        for document in [&second, &third] {
            assert!(
                ["/", "/score", "/swagger.json"].iter().all(|path| document["paths"][path].is_object()),
                "{document}"
            );
            assert_eq!(document["paths"]["/image"].is_object(), model == "digits", "{document}");
        }
        // The example that the document gives is a request that works.
        let example = &third["components"]["schemas"]["ServiceInput"]["example"];
        client.post("/score", example.to_string()).expect(200);
    }
}
