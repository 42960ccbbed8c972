//! The documents beside inference: metadata, configuration, statistics, and the model repository.

use hedef_core::statistics::{Snapshot, StageTallies, Tally};

use super::*;

#[test]
fn metadata_tells_names_types_and_free_dimensions() {
    let signature = signature(
        vec![spec("x", DataType::Fp32, &[-1, 3, -1])],
        vec![spec("y\"", DataType::Bytes, &[]), TensorSpec::new("open", DataType::Bf16, None)],
    );
    assert_eq!(
        text(&metadata("m", &[1, 12], &signature)),
        concat!(
            r#"{"name":"m","versions":["1","12"],"platform":"onnxruntime_onnx","#,
            r#""inputs":[{"name":"x","datatype":"FP32","shape":[-1,3,-1]}],"#,
            r#""outputs":[{"name":"y\"","datatype":"BYTES","shape":[]},"#,
            r#"{"name":"open","datatype":"BF16","shape":[-1]}]}"#
        )
    );
}

#[test]
fn the_small_documents_are_what_clients_expect() {
    let server = server_metadata("0.1.0", &["binary_tensor_data", "statistics"]);
    assert_eq!(text(&server), r#"{"name":"hedef","version":"0.1.0","extensions":["binary_tensor_data","statistics"]}"#);
    assert_eq!(text(&models(&["a", "b"])), r#"{"models":["a","b"]}"#);
    assert_eq!(text(&live(true)), r#"{"live":true}"#);
    assert_eq!(text(&ready(false)), r#"{"ready":false}"#);
    assert_eq!(text(&model_ready("m", true)), r#"{"name":"m","ready":true}"#);
    assert_eq!(text(&error("no \"x\"")), r#"{"error":"no \"x\""}"#);
}

fn model_config(signature: &Signature) -> ModelConfig<'_> {
    ModelConfig {
        name: "m",
        max_batch_size: 8,
        signature,
        instances: 2,
        kind: InstanceKind::Cpu,
        gpus: &[],
        version_policy: VersionPolicy::Latest(1),
        dynamic_batching: true,
        default_model_filename: "model.onnx",
    }
}

#[test]
fn the_configuration_leaves_out_the_batch_dimension() {
    let signature = one_input(DataType::Bytes, &[-1, 3]);
    assert_eq!(
        text(&config(&model_config(&signature))),
        concat!(
            r#"{"name":"m","platform":"onnxruntime_onnx","backend":"onnxruntime","#,
            r#""version_policy":{"latest":{"num_versions":1}},"max_batch_size":8,"#,
            r#""input":[{"name":"x","data_type":"TYPE_STRING","format":"FORMAT_NONE","dims":[3],"#,
            r#""is_shape_tensor":false,"allow_ragged_batch":false,"optional":false}],"#,
            r#""output":[{"name":"y","data_type":"TYPE_STRING","dims":[3],"label_filename":"","is_shape_tensor":false}],"#,
            r#""instance_group":[{"name":"m_0","kind":"KIND_CPU","count":2,"gpus":[]}],"#,
            r#""default_model_filename":"model.onnx","#,
            r#""dynamic_batching":{"preferred_batch_size":[],"max_queue_delay_microseconds":0}}"#
        )
    );
    let without = ModelConfig { max_batch_size: 0, dynamic_batching: false, ..model_config(&signature) };
    let document: serde_json::Value = serde_json::from_slice(&config(&without)).unwrap();
    assert_eq!(document["input"][0]["dims"], serde_json::json!([-1, 3]));
    assert_eq!(document.get("dynamic_batching"), None);
}

#[test]
fn every_type_has_a_name_in_the_configuration() {
    for data_type in DataType::ALL {
        let signature = one_input(data_type, &[-1]);
        let document: serde_json::Value = serde_json::from_slice(&config(&model_config(&signature))).unwrap();
        let expected = if data_type == DataType::Bytes { "TYPE_STRING".into() } else { format!("TYPE_{data_type}") };
        assert_eq!(document["input"][0]["data_type"], expected);
    }
}

#[test]
fn a_configuration_printed_can_be_sent_back_as_an_override() {
    let signature = one_input(DataType::Fp32, &[-1, 3]);
    for version_policy in [VersionPolicy::Latest(2), VersionPolicy::All, VersionPolicy::Specific(vec![1, 3])] {
        let printed = ModelConfig { version_policy: version_policy.clone(), ..model_config(&signature) };
        let printed = String::from_utf8(config(&printed)).unwrap();
        let body = serde_json::json!({"parameters": {"config": printed}}).to_string();
        let loaded = decode_load(body.as_bytes()).unwrap();
        let expected = ConfigOverride {
            max_batch_size: Some(8),
            instances: Some(2),
            kind: Some(InstanceKind::Cpu),
            gpus: Some(vec![]),
            version_policy: Some(version_policy),
            dynamic_batching: Some(true),
            max_queue_delay_us: Some(0),
            default_model_filename: Some("model.onnx".to_string()),
        };
        assert_eq!(loaded, LoadRequest { config: Some(expected), files: vec![] });
    }
}

#[test]
fn statistics_have_every_field_that_clients_look_for() {
    let tally = |count, nanoseconds| Tally { count, nanoseconds };
    let stages = StageTallies { input: tally(2, 10), infer: tally(2, 20), output: tally(2, 30) };
    let snapshot = Snapshot {
        last_inference_ns: 1_700_000_000_000_000_000,
        rows: 64,
        executions: 2,
        success: tally(3, 100),
        failure: tally(1, 7),
        queue: tally(3, 40),
        stages,
        batches: [(32, stages)].into(),
    };
    let id = ModelId { name: ModelName::new("m").unwrap(), version: 3 };
    assert_eq!(
        text(&statistics(&[(id, snapshot)])),
        concat!(
            r#"{"model_stats":[{"name":"m","version":"3","last_inference":1700000000000,"#,
            r#""inference_count":64,"execution_count":2,"inference_stats":{"#,
            r#""success":{"count":3,"ns":100},"fail":{"count":1,"ns":7},"queue":{"count":3,"ns":40},"#,
            r#""compute_input":{"count":2,"ns":10},"compute_infer":{"count":2,"ns":20},"#,
            r#""compute_output":{"count":2,"ns":30},"cache_hit":{"count":0,"ns":0},"cache_miss":{"count":0,"ns":0}},"#,
            r#""response_stats":{},"batch_stats":[{"batch_size":32,"compute_input":{"count":2,"ns":10},"#,
            r#""compute_infer":{"count":2,"ns":20},"compute_output":{"count":2,"ns":30}}],"memory_usage":[]}]}"#
        )
    );
}

#[test]
fn the_index_tells_states_and_reasons() {
    let entries = [
        IndexEntry { name: "m", version: Some(1), state: State::Ready, reason: "" },
        IndexEntry { name: "n", version: None, state: State::Unavailable, reason: "unloaded" },
    ];
    assert_eq!(
        text(&index(&entries)),
        concat!(
            r#"[{"name":"m","version":"1","state":"READY","reason":""},"#,
            r#"{"name":"n","state":"UNAVAILABLE","reason":"unloaded"}]"#
        )
    );
}

#[test]
fn requests_of_the_repository_may_be_empty() {
    for body in [&b""[..], b" \n", b"{}", b"{\"parameters\":{}}"] {
        assert_eq!(decode_index(body), Ok(IndexQuery { ready: false }));
        assert_eq!(decode_load(body), Ok(LoadRequest::default()));
        assert_eq!(decode_unload(body), Ok(UnloadRequest { unload_dependents: false }));
    }
    assert_eq!(decode_index(br#"{"ready":true}"#), Ok(IndexQuery { ready: true }));
    let unload = br#"{"parameters":{"unload_dependents":true}}"#;
    assert_eq!(decode_unload(unload), Ok(UnloadRequest { unload_dependents: true }));
}

fn load(parameters: serde_json::Value) -> Result<LoadRequest, String> {
    let body = serde_json::json!({ "parameters": parameters }).to_string();
    decode_load(body.as_bytes()).map_err(|error| error.to_string())
}

#[test]
fn files_come_with_a_config_and_stay_inside_the_models_folder() {
    let loaded = load(serde_json::json!({"config": "{}", "file:1/model.onnx": "AAH/"})).unwrap();
    assert_eq!(loaded.files, [("1/model.onnx".to_string(), vec![0, 1, 0xff])]);
    for path in ["", "/etc/x", "../x", "1/../../x", "1//x", "./x", "1/", "1\\x", "c:x", "a\0"] {
        let error = load(serde_json::json!({"config": "{}", format!("file:{path}"): ""})).unwrap_err();
        assert!(error.contains("expected a relative path inside the model's folder"), "{error}");
    }
    let error = load(serde_json::json!({"file:1/model.onnx": "AAH/"})).unwrap_err();
    assert!(error.contains("`config` is missing"), "{error}");
    let error = load(serde_json::json!({"config": "{}", "file:x": "*"})).unwrap_err();
    assert!(error.starts_with("load: `file:x`: expected base64"), "{error}");
}

#[test]
fn a_setting_that_means_nothing_here_is_refused_by_its_name() {
    let cases = [
        (r#"{"sequence_batching":{}}"#, "config: the setting `sequence_batching` is not supported here"),
        (r#"{"instance_group":[{"profile":[]}]}"#, "config: `instance_group`: the setting `profile`"),
        (r#"{"instance_group":[]}"#, "config: `instance_group`: expected one instance group"),
        (r#"{"instance_group":[{"kind":"KIND_TPU"}]}"#, "expected one of KIND_CPU, KIND_GPU, KIND_AUTO, found"),
        (r#"{"dynamic_batching":{"preferred_batch_size":[4]}}"#, "the setting `preferred_batch_size`"),
        (r#"{"backend":"tensorrt"}"#, "config: `backend`: expected `onnxruntime`, found `\"tensorrt\"`"),
        (r#"{"max_batch_size":-1}"#, "config: `max_batch_size`: expected a whole number from 0 on, found `-1`"),
        (r#"{"version_policy":{"newest":{}}}"#, "expected one of `latest`, `all` and `specific`, found `newest`"),
        (r#"{"default_model_filename":"../x"}"#, "expected a relative path"),
        ("[]", "config: expected an object, found a list"),
        ("", "JSON: expected a value at byte 0, found the end"),
    ];
    for (config, expected) in cases {
        let error = load(serde_json::json!({ "config": config })).unwrap_err();
        assert!(error.contains(expected), "{config}: {error}");
    }
    assert!(load(serde_json::json!({"confg": "{}"})).unwrap_err().contains("found `confg`"));
}
