//! Version 1 of KServe's protocol, which is TensorFlow Serving's REST interface.

use serde_json::{Value, json};

use crate::binary::Server;
use crate::config;
use crate::models::Models;
use crate::numbers::difference;
use crate::python;

const FLOWERS: [[f64; 4]; 2] = [[5.1, 3.5, 1.4, 0.2], [6.7, 3.1, 4.7, 1.5]];

#[test]
fn rows_and_columns_give_the_same_answer_as_v2() {
    let server = Server::samples();
    let client = server.client();
    let predict = |body: Value| client.post("/v1/models/iris:predict", body.to_string()).expect(200).json();
    let rows = predict(json!({ "instances": FLOWERS }))["predictions"].clone();
    let columns = predict(json!({ "inputs": { "features": FLOWERS } }))["outputs"].clone();
    assert_eq!(predict(json!({ "inputs": FLOWERS }))["outputs"], columns);
    assert_eq!(
        predict(json!({ "instances": FLOWERS.map(|flower| json!({ "features": flower })) }))["predictions"],
        rows
    );
    for (at, row) in rows.as_array().unwrap().iter().enumerate() {
        assert_eq!((&row["label"], &row["probabilities"]), (&columns["label"][at], &columns["probabilities"][at]));
    }
    let v2 = json!({ "inputs": [{ "name": "features", "shape": [2, 4], "datatype": "FP32", "data": FLOWERS }] });
    let v2 = client.post("/v2/models/iris/infer", v2.to_string()).expect(200).json();
    assert_eq!(v2["outputs"][0]["data"], columns["label"]);
    let flat: Vec<_> =
        columns["probabilities"].as_array().unwrap().iter().flat_map(|row| row.as_array().unwrap()).cloned().collect();
    assert_eq!(v2["outputs"][1]["data"], json!(flat));
}

#[test]
fn one_output_is_told_bare_and_versions_can_be_named() {
    let server = Server::samples();
    let client = server.client();
    let body = json!({ "instances": vec![[0.0; 10]; 2] }).to_string();
    for path in ["/v1/models/diabetes:predict", "/v1/models/diabetes/versions/1:predict"] {
        let answer = client.post(path, &body).expect(200).json();
        assert_eq!(difference(&json!({ "predictions": [[143.846631], [143.846631]] }), &answer, [1e-4, 1e-5]), None);
    }
    client.post("/v1/models/diabetes/versions/2:predict", body).expect(404);
}

#[test]
fn text_comes_as_a_string_or_as_base64() {
    let server = Server::samples();
    let client = server.client();
    let language = |instances: Value| {
        let body = json!({ "instances": instances }).to_string();
        let answer = client.post("/v1/models/language:predict", body).expect(200).json();
        answer["predictions"][0]["language"].as_str().unwrap().to_string()
    };
    assert_eq!(language(json!([["Merhaba dünya, bugün hava çok güzel"]])), "Turkish");
    // A bare value for each row becomes a column.
    assert_eq!(language(json!(["Merhaba dünya, bugün hava çok güzel"])), "Turkish");
    // "Guten Morgen, wie geht es Ihnen heute?"
    assert_eq!(language(json!([[{ "b64": "R3V0ZW4gTW9yZ2VuLCB3aWUgZ2VodCBlcyBJaG5lbiBoZXV0ZT8=" }]])), "German");
}

#[test]
fn several_inputs_are_told_by_name_in_rows_and_in_columns() {
    let models = Models::empty();
    python::script("triton_client.py", &["prepare", "--models", models.path().to_str().unwrap()]);
    let server = Server::start(models.path(), &["--model-control", "explicit", "--load-model", "simple"]);
    let client = server.client();
    let (first, second): (Vec<_>, Vec<_>) = ((0..16).collect(), vec![3; 16]);
    let (sum, rest): (Vec<_>, Vec<_>) = ((3..19).collect(), (-3..13).collect());
    let predict = |body: Value| client.post("/v1/models/simple:predict", body.to_string());
    let rows = predict(json!({ "instances": [{ "INPUT0": first, "INPUT1": second }] })).expect(200).json();
    assert_eq!(rows, json!({ "predictions": [{ "OUTPUT0": sum, "OUTPUT1": rest }] }));
    let columns = predict(json!({ "inputs": { "INPUT0": [first], "INPUT1": [second] } })).expect(200).json();
    assert_eq!(columns, json!({ "outputs": { "OUTPUT0": [sum], "OUTPUT1": [rest] } }));
    let refused = predict(json!({ "instances": [first] })).expect(400).json();
    let message = refused["error"].as_str().unwrap();
    assert!(message.contains("`INPUT0`") && message.contains("`INPUT1`") && message.contains("example"), "{message}");
}

#[test]
fn broken_requests_say_what_was_expected_and_show_an_example() {
    let server = Server::samples();
    let client = server.client();
    let mut wrong = Vec::new();
    for (name, body, status, words) in [
        (
            "both forms",
            r#"{"instances":[[1,2,3,4]],"inputs":[[1,2,3,4]]}"#,
            400,
            &["`instances` and `inputs`", "both"][..],
        ),
        ("neither form", r#"{"rows":[[1,2,3,4]]}"#, 400, &["`instances` and `inputs`", "neither"]),
        ("a row too short", r#"{"instances":[[1,2,3,4],[1,2,3]]}"#, 400, &["`features`", "4", "3"]),
        ("text for a number", r#"{"instances":[[1,2,3,"4"]]}"#, 400, &["`features`", "\"4\""]),
        ("one row without its list", r#"{"instances":[1,2,3,4]}"#, 400, &["`features`", "[-1,4]"]),
        ("one level too deep", r#"{"instances":[[[1,2,3,4]]]}"#, 400, &["`features`"]),
        ("an unknown name", r#"{"instances":[{"sepals":[1,2,3,4]}]}"#, 400, &["`features`", "example"]),
        ("base64 that is none", r#"{"instances":[{"features":{"b64":"!"}}]}"#, 400, &["`features`"]),
        ("no JSON", "hello", 400, &["JSON"]),
    ] {
        let answer = client.post("/v1/models/iris:predict", body);
        let message = answer.json()["error"].as_str().unwrap_or_default().to_string();
        let missing: Vec<_> = words.iter().filter(|word| !message.contains(**word)).collect();
        if answer.status != status || !missing.is_empty() {
            wrong.push(format!("{name}: {} `{message}` lacks {missing:?}", answer.status));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let good = r#"{"instances":[[1,2,3,4]]}"#;
    client.post("/v1/models/nothing:predict", good).expect(404);
    client.post("/v1/models/iris:classify", good).expect(501);
    client.post("/v1/models/iris:predict", good).expect(200);
}

#[test]
fn not_a_number_and_infinities_are_bare_words_as_tensorflow_writes_them() {
    let models = Models::empty();
    models.make("nan_out");
    let server = Server::start(models.path(), &[]);
    let answer = server.client().post("/v1/models/nan_out:predict", r#"{"instances":[[0,1,-1,NaN]]}"#).expect(200);
    assert_eq!(answer.text(), r#"{"predictions":[[NaN,Infinity,-Infinity,NaN]]}"#);
}

#[test]
fn models_tell_their_state_and_their_metadata() {
    let server = Server::start(&config::samples(), &[]);
    let client = server.client();
    let names = json!(["diabetes", "digits", "iris", "language"]);
    let models = client.get("/v1/models").expect(200).json();
    assert_eq!((&models["models"], &models["object"]), (&names, &json!("list")));
    let status = |path: &str| client.get(path).expect(200).json()["model_version_status"][0].clone();
    let available =
        json!({ "version": "1", "state": "AVAILABLE", "status": { "error_code": "OK", "error_message": "" } });
    assert_eq!(status("/v1/models/iris"), available);
    assert_eq!(status("/v1/models/iris/versions/1"), available);
    let metadata = client.get("/v1/models/iris/metadata").expect(200).json();
    let definition = &metadata["metadata"]["signature_def"]["signature_def"]["serving_default"];
    assert_eq!(definition["inputs"]["features"]["dtype"], "DT_FLOAT");
    client.post("/v2/repository/models/iris/unload", "").expect(200);
    assert_eq!(status("/v1/models/iris")["state"], "END");
    client.post("/v1/models/iris:predict", r#"{"instances":[[1,2,3,4]]}"#).expect(503);
}
