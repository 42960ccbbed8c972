//! Tensors at the edges: scalars, many axes, no rows, odd strings, numbers that text bends easily.

use serde_json::{Value, json};

use crate::binary::Server;
use crate::http::{Answer, Client};
use crate::models::Models;
use crate::python;

fn infer(client: &Client, model: &str, body: &str) -> Answer {
    client.post(&format!("/v2/models/{model}/infer"), body)
}

/// The first output of a request with one input.
fn first(client: &Client, model: &str, input: &Value) -> Value {
    infer(client, model, &json!({ "inputs": [input] }).to_string()).expect(200).json()["outputs"][0].clone()
}

fn odd(kinds: &[&str]) -> (Models, Server) {
    let models = Models::empty();
    kinds.iter().for_each(|kind| drop(models.make(kind)));
    let server = Server::start(models.path(), &[]);
    (models, server)
}

/// Triton's own test models, among them an identity for each data type.
fn identities(names: &[&str]) -> (Models, Server) {
    let models = Models::empty();
    python::script("triton_client.py", &["prepare", "--models", models.path().to_str().unwrap()]);
    let load: Vec<_> = names.iter().flat_map(|name| ["--load-model", *name]).collect();
    let server = Server::start(models.path(), &[&["--model-control", "explicit"], &*load].concat());
    (models, server)
}

#[test]
fn a_scalar_has_an_empty_shape_and_may_stand_bare() {
    let (_models, server) = odd(&["scalar"]);
    let client = server.client();
    for data in [json!([41]), json!(41)] {
        let answer = first(&client, "scalar", &json!({ "name": "x", "shape": [], "datatype": "FP32", "data": data }));
        assert_eq!((&answer["shape"], &answer["data"]), (&json!([]), &json!([42.0])));
    }
}

#[test]
fn eight_axes_come_back_in_order_whether_nested_or_flat() {
    let (_models, server) = odd(&["rank8"]);
    let client = server.client();
    let nested = json!([[[[[[[[1], [2]]], [[[3], [4]]]]], [[[[[5], [6]]], [[[7], [8]]]]]]]]);
    let flat = json!([1, 2, 3, 4, 5, 6, 7, 8]);
    for data in [nested, flat] {
        let input = json!({ "name": "x", "shape": [1, 1, 2, 1, 2, 1, 2, 1], "datatype": "FP32", "data": data });
        let answer = first(&client, "rank8", &input);
        assert_eq!(answer["shape"], json!([1, 1, 2, 1, 2, 1, 2, 1]));
        assert_eq!(answer["data"], json!([2.0, 4.0, 6.0, 8.0, 10.0, 12.0, 14.0, 16.0]));
    }
}

#[test]
fn no_rows_are_answered_with_no_rows() {
    let (_models, server) = identities(&["identity_fp32", "identity_bytes"]);
    let client = server.client();
    for (model, datatype) in [("identity_fp32", "FP32"), ("identity_bytes", "BYTES")] {
        let input = json!({ "name": "INPUT", "shape": [0, 4], "datatype": datatype, "data": [] });
        let answer = first(&client, model, &input);
        assert_eq!((&answer["shape"], &answer["data"]), (&json!([0, 4]), &json!([])));
    }
}

#[test]
fn strings_keep_every_byte_or_the_answer_is_refused() {
    let (_models, server) = odd(&["string_nul"]);
    let client = server.client();
    let texts = json!(["a\u{0}b", "", "çok güzel 🙂", "quote \" and \\ and \n"]);
    let input = json!({ "name": "INPUT", "shape": [4], "datatype": "BYTES", "data": texts });
    assert_eq!(first(&client, "string_nul", &input)["data"], texts);

    // FF 00: no UTF-8, and a NUL.
    let base64 = json!({ "content_type": "base64" });
    let bytes = json!({ "name": "INPUT", "shape": [1], "datatype": "BYTES", "parameters": base64, "data": ["/wA="] });
    let refused = infer(&client, "string_nul", &json!({ "inputs": [bytes] }).to_string()).expect(400).json();
    let message = refused["error"].as_str().unwrap();
    assert!(message.contains("`OUTPUT`") && message.contains("element 0 is not UTF-8"), "{message}");
    let asked = |parameters: Value| {
        let outputs = json!([{ "name": "OUTPUT", "parameters": parameters }]);
        infer(&client, "string_nul", &json!({ "inputs": [bytes], "outputs": outputs }).to_string()).expect(200)
    };
    assert_eq!(asked(base64.clone()).json()["outputs"][0]["data"], json!(["/wA="]));
    assert!(asked(json!({ "binary_data": true })).body.ends_with(b"\x02\0\0\0\xff\0"));
}

#[test]
fn integers_at_their_ends_are_exact() {
    let (_models, server) = identities(&["identity_int64", "identity_uint64"]);
    let client = server.client();
    for (model, datatype, numbers) in [
        ("identity_int64", "INT64", "-9223372036854775808,9223372036854775807,9007199254740993,-1"),
        ("identity_uint64", "UINT64", "18446744073709551615,0,9007199254740993,9223372036854775808"),
    ] {
        let body =
            format!(r#"{{"inputs":[{{"name":"INPUT","shape":[1,4],"datatype":"{datatype}","data":[{numbers}]}}]}}"#);
        let answer = infer(&client, model, &body).expect(200).text();
        assert!(answer.contains(&format!(r#""data":[{numbers}]"#)), "{answer}");
    }
}

/// The numbers of the only output, read by the standard library: `serde_json` may be off by the last bit.
fn numbers<T: std::str::FromStr>(answer: &str) -> Vec<T> {
    let (_, data) = answer.split_once(r#""data":["#).unwrap();
    let (data, _) = data.split_once(']').unwrap();
    data.split(',').map(|number| number.parse().unwrap_or_else(|_| panic!("{number}"))).collect()
}

#[test]
fn floats_come_back_bit_for_bit() {
    let (_models, server) = identities(&["identity_fp32", "identity_fp64"]);
    let client = server.client();
    // Every exponent or every eighth, with mantissas that short texts would lose.
    let singles: Vec<_> = (1..253).map(|exponent| f32::from_bits(exponent << 23 | 0x2a_aaab)).collect();
    let doubles: Vec<_> = (0..252).map(|at| f64::from_bits((8 * at + 1) << 52 | 0xa_aaaa_aaaa_aaab)).collect();
    let ask = |model: &str, datatype: &str, data: Value| {
        let input = json!({ "name": "INPUT", "shape": [63, 4], "datatype": datatype, "data": data });
        infer(&client, model, &json!({ "inputs": [input] }).to_string()).expect(200).text()
    };
    let found: Vec<f32> = numbers(&ask("identity_fp32", "FP32", json!(singles)));
    assert!(found.iter().map(|value| value.to_bits()).eq(singles.iter().map(|value| value.to_bits())));
    let found: Vec<f64> = numbers(&ask("identity_fp64", "FP64", json!(doubles)));
    assert!(found.iter().map(|value| value.to_bits()).eq(doubles.iter().map(|value| value.to_bits())));
}

#[test]
fn not_a_number_is_taken_bare_or_quoted_and_told_quoted() {
    let (_models, server) = identities(&["identity_fp32"]);
    let body =
        r#"{"inputs":[{"name":"INPUT","shape":[1,4],"datatype":"FP32","data":[NaN,"Infinity",-Infinity,"NaN"]}]}"#;
    let answer = infer(&server.client(), "identity_fp32", body).expect(200).json();
    assert_eq!(answer["outputs"][0]["data"], json!(["NaN", "Infinity", "-Infinity", "NaN"]));
}

#[test]
fn a_zipmap_of_integers_is_a_matrix_with_labels() {
    let (_models, server) = odd(&["zipmap_int"]);
    let client = server.client();
    let metadata = client.get("/v2/models/zipmap_int").expect(200).json();
    assert_eq!(metadata["outputs"][1], json!({ "name": "probabilities", "datatype": "FP32", "shape": [-1, 3] }));
    let input = json!({ "name": "x", "shape": [1, 4], "datatype": "FP32", "data": [1, 2, 3, 4] });
    let outputs = json!([{ "name": "probabilities", "parameters": { "classification": 1 } }]);
    let body = json!({ "inputs": [input], "outputs": outputs }).to_string();
    assert_eq!(infer(&client, "zipmap_int", &body).expect(200).json()["outputs"][0]["data"], json!(["0.979766:2:30"]));
}

#[test]
fn an_output_without_a_row_for_each_row_is_whole() {
    let (_models, server) = odd(&["nonzero", "mean_over_batch"]);
    let client = server.client();
    let input = json!({ "name": "x", "shape": [2, 4], "datatype": "FP32", "data": [0, 1, 0, 0, 0, 0, 0, 2] });
    let found = first(&client, "nonzero", &input);
    assert_eq!((&found["shape"], &found["data"]), (&json!([2, 2]), &json!([0, 1, 1, 3])));
    let centred = first(&client, "mean_over_batch", &input);
    assert_eq!(centred["data"], json!([0.0, 0.5, 0.0, -1.0, 0.0, -0.5, 0.0, 1.0]));
}
