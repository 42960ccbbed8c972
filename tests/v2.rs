//! The Open Inference Protocol v2 and Triton's extensions, over HTTP.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::binary::Server;
use crate::http::Client;
use crate::models::{Models, sample};

const IRIS: &str = "/v2/models/iris/infer";

/// A request for `rows` equal flowers.
fn flowers(rows: usize) -> Value {
    let data = [5.1, 3.5, 1.4, 0.2].repeat(rows);
    json!({ "inputs": [{ "name": "features", "shape": [rows, 4], "datatype": "FP32", "data": data }] })
}

/// The bytes of FP32 values.
fn bytes(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

/// Sends JSON with binary tensors behind it.
fn post_binary(client: &Client, path: &str, json: &Value, tensors: &[u8]) -> (Value, Vec<u8>) {
    let json = json.to_string();
    let body = [json.as_bytes(), tensors].concat();
    let headers = [("inference-header-content-length", &*json.len().to_string())];
    let answer = client.post_with(path, &headers, body).expect(200);
    let Some(length) = answer.header("inference-header-content-length") else { return (answer.json(), Vec::new()) };
    assert_eq!(answer.header("content-type"), Some("application/octet-stream"));
    let (json, tensors) = answer.body.split_at(length.parse().unwrap());
    (serde_json::from_slice(json).unwrap(), tensors.to_vec())
}

#[test]
fn the_server_says_what_it_is_and_what_it_can_do() {
    let server = Server::samples();
    let client = server.client();
    let metadata = client.get("/v2").expect(200).json();
    assert_eq!((&metadata["name"], &metadata["version"]), (&json!("hedef"), &json!(env!("CARGO_PKG_VERSION"))));
    let extensions = metadata["extensions"].as_array().unwrap();
    for extension in ["classification", "model_repository", "model_configuration", "binary_tensor_data", "statistics"] {
        assert!(extensions.contains(&json!(extension)), "{extension}");
    }
    assert_eq!(client.get("/v2/health/live").expect(200).json(), json!({ "live": true }));
    assert_eq!(client.get("/v2/health/ready").expect(200).json(), json!({ "ready": true }));
    assert_eq!(
        client.get("/v2/models").expect(200).json(),
        json!({ "models": ["diabetes", "digits", "iris", "language"] })
    );
}

#[test]
fn a_model_tells_its_signature_with_free_axes_as_minus_one() {
    let server = Server::samples();
    let client = server.client();
    let iris = client.get("/v2/models/iris").expect(200).json();
    let features = json!([{ "name": "features", "datatype": "FP32", "shape": [-1, 4] }]);
    let label = json!({ "name": "label", "datatype": "BYTES", "shape": [-1] });
    let probabilities = json!({ "name": "probabilities", "datatype": "FP32", "shape": [-1, 3] });
    assert_eq!(iris["inputs"], features);
    assert_eq!(iris["outputs"], json!([label, probabilities]));
    assert_eq!((&iris["versions"], &iris["platform"]), (&json!(["1"]), &json!("onnxruntime_onnx")));
    assert_eq!(client.get("/v2/models/iris/versions/1").expect(200).json(), iris);
    assert_eq!(client.get("/v2/models/iris/versions/1/ready").expect(200).json()["ready"], true);
    let language = client.get("/v2/models/language").expect(200).json();
    assert_eq!(language["inputs"], json!([{ "name": "text", "datatype": "BYTES", "shape": [-1, 1] }]));
}

#[test]
fn the_highest_version_answers_unless_one_is_named() {
    let models = Models::samples(&["iris"]);
    for version in [2, 10] {
        std::fs::create_dir_all(models.file("iris", version).parent().unwrap()).unwrap();
        std::fs::copy(sample("iris"), models.file("iris", version)).unwrap();
    }
    models.settings("iris", "versions = \"all\"\n");
    let server = Server::start(models.path(), &[]);
    let client = server.client();
    let version = |path: &str| client.post(path, flowers(1).to_string()).expect(200).json()["model_version"].clone();
    assert_eq!(version(IRIS), "10");
    assert_eq!(version("/v2/models/iris/versions/2/infer"), "2");
    assert_eq!(client.get("/v2/models/iris").expect(200).json()["versions"], json!(["1", "2", "10"]));
    let unknown = client.post("/v2/models/iris/versions/3/infer", flowers(1).to_string()).expect(404).json();
    assert_eq!(unknown["error"], "model `iris` has no version `3`: there is 1, 2, 10");
}

#[test]
fn the_configuration_holds_what_perf_analyzer_asks_for() {
    let server = Server::samples();
    let config = server.client().get("/v2/models/digits/config").expect(200).json();
    assert_eq!((&config["name"], &config["platform"]), (&json!("digits"), &json!("onnxruntime_onnx")));
    assert!(config["max_batch_size"].as_i64().unwrap() > 1, "{config}");
    let input = &config["input"][0];
    assert_eq!(
        (&input["name"], &input["data_type"], &input["dims"]),
        (&json!("image"), &json!("TYPE_FP32"), &json!([64]))
    );
    assert_eq!(config["output"][0]["dims"], json!([10]));
    assert_eq!(config["instance_group"][0]["kind"], "KIND_CPU");
}

#[test]
fn statistics_count_rows_and_never_go_back() {
    let server = Server::samples();
    let client = server.client();
    let mut rows = 0;
    for batch in [1, 3, 7] {
        client.post(IRIS, flowers(batch).to_string()).expect(200);
        rows += batch;
        let stats = client.get("/v2/models/iris/stats").expect(200).json()["model_stats"][0].clone();
        assert_eq!(stats["inference_count"], json!(rows));
        assert!(stats["last_inference"].as_u64().unwrap() > 0);
        for part in
            ["success", "fail", "queue", "compute_input", "compute_infer", "compute_output", "cache_hit", "cache_miss"]
        {
            let duration = &stats["inference_stats"][part];
            assert!(duration["count"].is_u64() && duration["ns"].is_u64(), "{part}: {stats}");
        }
    }
    let stats = client.get("/v2/models/iris/versions/1/stats").expect(200).json()["model_stats"][0].clone();
    assert_eq!((&stats["execution_count"], &stats["inference_stats"]["success"]["count"]), (&json!(3), &json!(3)));
    let mut sizes: Vec<_> =
        stats["batch_stats"].as_array().unwrap().iter().map(|batch| batch["batch_size"].as_u64().unwrap()).collect();
    sizes.sort_unstable();
    assert_eq!(sizes, [1, 3, 7]);
    assert_eq!(client.get("/v2/models/stats").expect(200).json()["model_stats"].as_array().unwrap().len(), 4);
}

#[test]
fn outputs_come_as_asked_and_the_id_comes_back() {
    let server = Server::samples();
    let client = server.client();
    let ask = |change: Value| {
        let mut request = flowers(1);
        request.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        client.post(IRIS, request.to_string()).expect(200).json()
    };
    let names = |answer: &Value| -> Vec<String> {
        answer["outputs"].as_array().unwrap().iter().map(|output| output["name"].as_str().unwrap().into()).collect()
    };
    let all = ask(json!({}));
    assert_eq!(names(&all), ["label", "probabilities"]);
    assert_eq!(all.get("id"), None);
    assert_eq!((&all["model_name"], &all["model_version"]), (&json!("iris"), &json!("1")));
    assert_eq!(names(&ask(json!({ "outputs": [{ "name": "probabilities" }] }))), ["probabilities"]);
    let turned = ask(json!({ "outputs": [{ "name": "probabilities" }, { "name": "label" }], "id": "ş-42" }));
    assert_eq!((names(&turned), &turned["id"]), (vec!["probabilities".to_string(), "label".into()], &json!("ş-42")));
    assert_eq!(turned["outputs"][1], all["outputs"][0]);
}

#[test]
fn flat_nested_and_binary_inputs_give_the_same_answer() {
    let server = Server::samples();
    let client = server.client();
    let flower = [5.1_f32, 3.5, 1.4, 0.2];
    let flat = client.post(IRIS, flowers(2).to_string()).expect(200).json();
    let mut nested = flowers(2);
    nested["inputs"][0]["data"] = json!([[5.1, 3.5, 1.4, 0.2], [5.1, 3.5, 1.4, 0.2]]);
    assert_eq!(client.post(IRIS, nested.to_string()).expect(200).json(), flat);

    let input =
        json!({ "name": "features", "shape": [2, 4], "datatype": "FP32", "parameters": { "binary_data_size": 32 } });
    let tensor = bytes(&flower.repeat(2));
    assert_eq!(post_binary(&client, IRIS, &json!({ "inputs": [input] }), &tensor).0, flat);
    // All outputs in binary but one.
    let outputs = json!([{ "name": "label", "parameters": { "binary_data": false } }, { "name": "probabilities" }]);
    let request = json!({ "inputs": [input], "outputs": outputs, "parameters": { "binary_data_output": true } });
    let (json, found) = post_binary(&client, IRIS, &request, &tensor);
    assert_eq!(json["outputs"][0], flat["outputs"][0]);
    assert_eq!(json["outputs"][1]["parameters"]["binary_data_size"], 24);
    assert_eq!(json["outputs"][1].get("data"), None);
    let expected: Vec<_> = flat["outputs"][1]["data"]
        .as_array()
        .unwrap()
        .iter()
        .map(|value| value.to_string().parse::<f32>().unwrap())
        .collect();
    assert_eq!(found, bytes(&expected));
}

#[test]
fn a_raw_body_is_the_only_tensor_and_is_answered_in_binary() {
    let server = Server::samples();
    let client = server.client();
    let raw = [("inference-header-content-length", "0")];
    let answer = client.post_with(IRIS, &raw, bytes(&[5.1, 3.5, 1.4, 0.2])).expect(200);
    let length: usize = answer.header("inference-header-content-length").unwrap().parse().unwrap();
    let json: Value = serde_json::from_slice(&answer.body[..length]).unwrap();
    assert_eq!(json["outputs"][0]["parameters"]["binary_data_size"], 10);
    // One BYTES element: its length, then its bytes; then three FP32.
    assert_eq!(&answer.body[length..length + 10], b"\x06\0\0\0setosa");
    assert_eq!(answer.body.len(), length + 10 + 12);
    let language = client.post_with("/v2/models/language/infer", &raw, "Bugün hava çok güzel.").expect(200);
    assert!(language.text().contains("\x07\0\0\0Turkish"), "{}", language.text());
}

#[test]
fn classification_gives_the_best_classes_with_their_labels() {
    let server = Server::samples();
    let client = server.client();
    let classes = |count: usize| {
        let mut request = flowers(2);
        request["outputs"] = json!([{ "name": "probabilities", "parameters": { "classification": count } }]);
        client.post(IRIS, request.to_string()).expect(200).json()["outputs"][0].clone()
    };
    let best = classes(1);
    assert_eq!((&best["datatype"], &best["shape"]), (&json!("BYTES"), &json!([2, 1])));
    assert_eq!(best["data"], json!(["0.977705:0:setosa", "0.977705:0:setosa"]));
    let all = classes(99);
    assert_eq!(all["shape"], json!([2, 3]));
    let order: Vec<_> = all["data"].as_array().unwrap()[..3]
        .iter()
        .map(|class| class.as_str().unwrap().rsplit(':').next().unwrap())
        .collect();
    assert_eq!(order, ["setosa", "versicolor", "virginica"]);
}

#[test]
fn models_are_unloaded_and_loaded_and_the_index_follows() {
    let server = Server::samples();
    let client = server.client();
    let state = || {
        let index = client.post("/v2/repository/index", "").expect(200).json();
        let iris = index.as_array().unwrap().iter().find(|entry| entry["name"] == "iris").unwrap().clone();
        (iris["state"].as_str().unwrap().to_string(), iris["reason"].as_str().unwrap().to_string())
    };
    let (ready, unavailable) =
        (("READY".to_string(), String::new()), ("UNAVAILABLE".to_string(), "unloaded".to_string()));
    assert_eq!(state(), ready);
    assert_eq!(client.post("/v2/repository/models/iris/unload", "").expect(200).text(), "");
    assert_eq!(state(), unavailable);
    assert_eq!(client.get("/v2/models/iris/ready").expect(503).json()["ready"], Value::Null);
    let refused = client.post(IRIS, flowers(1).to_string()).expect(503);
    assert_eq!(
        (refused.json()["error"].as_str(), refused.header("retry-after")),
        (Some("model `iris` is not ready: unloaded"), Some("1"))
    );
    let ready_only = client.post("/v2/repository/index", r#"{"ready":true}"#).expect(200).json();
    assert_eq!(ready_only.as_array().unwrap().len(), 3);
    client.post("/v2/repository/models/iris/load", "").expect(200);
    assert_eq!(state(), ready);
    client.post(IRIS, flowers(1).to_string()).expect(200);
    client.post("/v2/repository/models/nothing/load", "").expect(404);
    client.post("/v2/repository/models/nothing/unload", "").expect(404);
}

#[test]
fn a_load_can_bring_its_own_configuration_and_files() {
    let server = Server::samples();
    let client = server.client();
    let config = |text: &str| json!({ "parameters": { "config": text } });
    client.post("/v2/repository/models/iris/load", config(r#"{"max_batch_size":2}"#).to_string()).expect(200);
    assert_eq!(client.get("/v2/models/iris/config").expect(200).json()["max_batch_size"], 2);
    // A model that no root holds, under a name of the caller's choice.
    let base64 = STANDARD.encode(std::fs::read(sample("diabetes")).unwrap());
    let upload = json!({ "parameters": { "config": "{}", "file:1/model.onnx": base64 } });
    client.post("/v2/repository/models/brought/load", upload.to_string()).expect(200);
    let data = [0.0; 10];
    let request = json!({ "inputs": [{ "name": "features", "shape": [1, 10], "datatype": "FP32", "data": data }] });
    let [found, expected] = ["brought", "diabetes"].map(|model| {
        client.post(&format!("/v2/models/{model}/infer"), request.to_string()).expect(200).json()["outputs"].clone()
    });
    assert_eq!(found, expected);
}

#[test]
fn loading_is_closed_where_the_settings_say_so() {
    let server = Server::start(&crate::config::samples(), &["--admin", "off"]);
    let client = server.client();
    for verb in ["load", "unload"] {
        client.post(&format!("/v2/repository/models/iris/{verb}"), "").expect(403);
    }
    client.post("/v2/repository/index", "").expect(200);
    client.post(IRIS, flowers(1).to_string()).expect(200);
}
