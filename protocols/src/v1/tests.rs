use std::sync::Arc;

use hedef_core::{DataType, Dim, ModelId, ModelName, Tensor, TensorSpec, Timings};
use proptest::prelude::*;
use serde_json::json;

use super::*;

fn spec(name: &str, data_type: DataType, row: &[Dim]) -> TensorSpec {
    TensorSpec::new(name, data_type, Some(std::iter::once(Dim::Free).chain(row.iter().cloned()).collect()))
}

/// The model of the worked bytes: `a` has two values in a row, `b` one.
fn two() -> Signature {
    let inputs = vec![spec("a", DataType::Fp32, &[Dim::Fixed(2)]), spec("b", DataType::Int64, &[])];
    Signature { inputs, outputs: vec![], batch_axis: true }
}

fn one(data_type: DataType) -> Signature {
    Signature { inputs: vec![spec("x", data_type, &[])], outputs: vec![], batch_axis: true }
}

fn read(body: &str, signature: &Signature) -> Result<(Vec<Tensor>, Form), String> {
    let read = decode(body.as_bytes(), signature).map_err(|error| error.to_string());
    read.map(|(request, form)| (request.inputs().to_vec(), form))
}

fn id() -> ModelId {
    ModelId { name: ModelName::new("m").unwrap(), version: 3 }
}

fn told(outputs: &[(&str, Tensor)], form: Form) -> String {
    let outputs = outputs.iter().map(|(name, tensor)| (Arc::from(*name), tensor.clone())).collect();
    String::from_utf8(encode(&Response { model: id(), outputs, timings: Timings::default() }, form)).unwrap()
}

fn document(bytes: &[u8]) -> serde_json::Value {
    serde_json::from_slice(bytes).unwrap()
}

#[test]
fn the_worked_rows_and_columns_are_one_request() {
    let tensors = vec![
        Tensor::from_elements([2, 2], vec![1_f32, 2.0, 4.0, 5.0]).unwrap(),
        Tensor::from_elements([2], vec![3_i64, 6]).unwrap(),
    ];
    let rows = r#"{"instances":[{"a":[1,2],"b":3},{"a":[4,5],"b":6}]}"#;
    assert_eq!(read(rows, &two()), Ok((tensors.clone(), Form::Row)));
    let columns = r#"{"signature_name":"serving_default","inputs":{"a":[[1,2],[4,5]],"b":[3,6]}}"#;
    assert_eq!(read(columns, &two()), Ok((tensors, Form::Column)));
}

#[test]
fn the_only_input_needs_no_name() {
    let tensor = vec![Tensor::from_elements([2], vec![1_f32, f32::NEG_INFINITY]).unwrap()];
    for (body, form) in [
        (r#"{"instances":[1,-Infinity]}"#, Form::Row),
        (r#"{"instances":[{"x":1},{"x":"-Infinity"}]}"#, Form::Row),
        (r#"{"inputs":[1,-Infinity]}"#, Form::Column),
        (r#"{"inputs":{"x":[1,-Infinity]}}"#, Form::Column),
    ] {
        assert_eq!(read(body, &one(DataType::Fp32)), Ok((tensor.clone(), form)), "{body}");
    }
    let bytes = vec![Tensor::from_elements([2], vec![vec![0xFF], b"hi".to_vec()]).unwrap()];
    let body = r#"{"instances":[{"b64":"/w=="},"hi"]}"#;
    assert_eq!(read(body, &one(DataType::Bytes)), Ok((bytes, Form::Row)));
}

#[test]
fn exactly_one_form_is_wanted() {
    let help = "; the model takes `x` INT8 [-1], for example {\"instances\":[1]}";
    for (body, found) in
        [(r#"{"instances":[1],"inputs":[1]}"#, "both"), (r#"{"rows":[1]}"#, "neither"), ("[1]", "neither")]
    {
        let expected = format!("the body: expected one of `instances` and `inputs`, found {found}{help}");
        assert_eq!(read(body, &one(DataType::Int8)), Err(expected), "{body}");
    }
}

#[test]
fn rows_that_do_not_fit_are_refused() {
    for (body, expected) in [
        (r#"{"instances":[{"a":[1,2],"b":3},{"a":[4],"b":6}]}"#, "input `a`, element [1]: expected a list of 2"),
        (r#"{"instances":[{"a":[1,2]}]}"#, "input `b` is missing: expected INT64 [-1]"),
        (r#"{"instances":[[1,2],3]}"#, "the rows: expected an object with `a` FP32 [-1,2], `b` INT64 [-1]"),
        (r#"{"inputs":{"a":[[1,2],[4,5]],"b":[3]}}"#, "inputs differ in rows: `a` has 2, `b` has 1"),
        (r#"{"inputs":[3]}"#, "the inputs: expected an object with `a`"),
        (r#"{"instances":3}"#, "the rows: expected a list"),
    ] {
        let refusal = read(body, &two()).unwrap_err();
        assert!(refusal.starts_with(expected), "{refusal}");
    }
}

#[test]
fn answers_come_in_the_form_of_the_request() {
    let y = Tensor::from_elements([2, 2], vec![1_f32, f32::NAN, f32::INFINITY, f32::NEG_INFINITY]).unwrap();
    let n = Tensor::from_elements([2], vec![7_u64, u64::MAX]).unwrap();
    let bare = "[[1.0,NaN],[Infinity,-Infinity]]";
    assert_eq!(told(&[("y", y.clone())], Form::Row), format!("{{\"predictions\":{bare}}}"));
    assert_eq!(told(&[("y", y.clone())], Form::Column), format!("{{\"outputs\":{bare}}}"));
    let both = [("y", y), ("n", n)];
    let rows = r#"{"predictions":[{"y":[1.0,NaN],"n":7},{"y":[Infinity,-Infinity],"n":18446744073709551615}]}"#;
    assert_eq!(told(&both, Form::Row), rows);
    let columns = format!("{{\"outputs\":{{\"y\":{bare},\"n\":[7,18446744073709551615]}}}}");
    assert_eq!(told(&both, Form::Column), columns);
}

#[test]
fn bytes_are_told_by_name_or_by_need() {
    let bytes = |bytes: &[u8]| Tensor::from_elements([1], vec![bytes.to_vec()]).unwrap();
    assert_eq!(told(&[("image_bytes", bytes(b"hi"))], Form::Row), r#"{"predictions":[{"b64":"aGk="}]}"#);
    assert_eq!(told(&[("text", bytes(b"hi"))], Form::Row), r#"{"predictions":["hi"]}"#);
    assert_eq!(told(&[("text", bytes(b"\xFF"))], Form::Column), r#"{"outputs":[{"b64":"/w=="}]}"#);
}

#[test]
fn the_state_of_a_model_has_the_keys_of_all_three() {
    let old = VersionStatus { version: 2, state: State::End, reason: "no memory" };
    let new = VersionStatus { version: 10, state: State::Available, reason: "" };
    let expected = json!({
        "name": "m", "ready": true,
        "model_version_status": [
            { "version": "10", "state": "AVAILABLE", "status": { "error_code": "OK", "error_message": "" } },
            { "version": "2", "state": "END", "status": { "error_code": "UNAVAILABLE", "error_message": "no memory" } },
        ],
        "id": "m", "object": "model", "created": 0, "owned_by": "hedef",
    });
    assert_eq!(document(&status("m", &[old, new])), expected);
    assert_eq!(document(&status("m", &[old]))["ready"], json!(false));
    let expected = json!({
        "models": ["a", "b"], "object": "list",
        "data": [
            { "id": "a", "object": "model", "created": 0, "owned_by": "hedef" },
            { "id": "b", "object": "model", "created": 0, "owned_by": "hedef" },
        ],
    });
    assert_eq!(document(&models(&["a", "b"])), expected);
}

#[test]
fn the_signature_is_told_in_the_words_of_tensorflow() {
    let mut signature = one(DataType::Bf16);
    signature.inputs[0].dims = Some(vec![Dim::Symbol("batch".into()), Dim::Fixed(3)]);
    signature.outputs = vec![TensorSpec::new("y", DataType::Bytes, None)];
    let expected = json!({
        "model_spec": { "name": "m", "signature_name": "", "version": "3" },
        "metadata": { "signature_def": { "signature_def": { "serving_default": {
            "inputs": { "x": {
                "dtype": "DT_BFLOAT16", "name": "x",
                "tensor_shape": {
                    "dim": [{ "size": "-1", "name": "batch" }, { "size": "3", "name": "" }], "unknown_rank": false,
                },
            } },
            "outputs": { "y": {
                "dtype": "DT_STRING", "name": "y", "tensor_shape": { "dim": [], "unknown_rank": true },
            } },
            "method_name": "tensorflow/serving/predict",
        } } } },
    });
    assert_eq!(document(&metadata(&id(), &signature)), expected);
}

proptest! {
    #[test]
    fn an_answer_in_either_form_is_a_request_of_the_same_tensors(
        rows in proptest::collection::vec((proptest::array::uniform2(-1e30_f32..1e30), any::<i64>()), 1..20),
    ) {
        let (a, b): (Vec<_>, Vec<_>) = rows.into_iter().unzip();
        let tensors = vec![
            Tensor::from_elements([a.len(), 2], a.as_flattened().to_vec()).unwrap(),
            Tensor::from_elements([b.len()], b).unwrap(),
        ];
        let outputs = [("a", tensors[0].clone()), ("b", tensors[1].clone())];
        let rows = told(&outputs, Form::Row).replacen("predictions", "instances", 1);
        prop_assert_eq!(read(&rows, &two()), Ok((tensors.clone(), Form::Row)));
        let columns = told(&outputs, Form::Column).replacen("outputs", "inputs", 1);
        prop_assert_eq!(read(&columns, &two()), Ok((tensors, Form::Column)));
    }
}
