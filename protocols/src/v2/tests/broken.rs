//! Broken requests: each message names the tensor, the expectation and the finding.

use hedef_core::{InvalidRequest, Kind, Request};

use super::*;
use crate::Error;

fn refusal(body: &[u8], json_length: Option<usize>) -> (Kind, String) {
    let error = decode(body, json_length, &two_inputs()).unwrap_err();
    (error.kind(), error.to_string())
}

/// Checks that a request with this for `x` is refused with such a message.
#[track_caller]
fn refused(x: &str, expected: &str) {
    let s = r#"{"name":"s","shape":[1,2],"datatype":"BYTES","data":["a","b"]}"#;
    let (kind, message) = refusal(format!("{{\"inputs\":[{s},{{{x}}}]}}").as_bytes(), None);
    assert_eq!(kind, Kind::InvalidArgument, "{message}");
    assert!(message.contains(expected), "{message}\n{expected}");
}

#[test]
fn tensors_that_disagree_with_themselves() {
    let x = r#""name":"x","datatype":"FP32","#;
    refused(&format!(r#"{x}"shape":[1,2],"data":[1]"#), "input `x`: expected 2 elements for shape [1,2], found 1");
    refused(&format!(r#"{x}"shape":[1,2],"data":[1,2,3]"#), "input `x`: expected 2 elements for shape [1,2], found 3");
    refused(&format!(r#"{x}"shape":[2,2],"data":[[1,2],[3]]"#), "input `x`, list [1]: expected 2 elements");
    refused(&format!(r#"{x}"shape":[1,2],"data":[[[1,2]]]"#), "input `x`, element [0,0]: expected FP32");
    refused(
        &format!(r#"{x}"shape":[1,-2],"data":[1,2]"#),
        "input `x`: `shape`: expected a list of whole numbers from 0 on, found `-2`",
    );
    refused(&format!(r#"{x}"shape":[1.0,2],"data":[1,2]"#), "found `1.0`");
    refused(
        &format!(r#"{x}"shape":2,"data":[1,2]"#),
        "input `x`: `shape`: expected a list of whole numbers from 0 on, found `2`",
    );
    refused(&format!(r#"{x}"shape":[18446744073709551616,2],"data":[1,2]"#), "found `18446744073709551616`");
    refused(
        &format!(r#"{x}"shape":[9223372036854775808,2],"data":[1,2]"#),
        "input `x`: expected a shape that memory can hold, found [9223372036854775808,2]",
    );
    refused(
        &format!(r#"{x}"shape":[4611686018427387904,2],"data":[1,2]"#),
        "input `x`: expected 9223372036854775808 elements for shape [4611686018427387904,2], found 2",
    );
}

#[test]
fn tensors_that_disagree_with_the_signature() {
    let data = r#""data":[1,2]"#;
    refused(
        &format!(r#""name":"x","datatype":"INT64","shape":[1,2],{data}"#),
        "input `x`: expected FP32 [-1,2], got INT64 [1,2]",
    );
    refused(
        &format!(r#"{data},"name":"x","datatype":"FP32","shape":[2]"#),
        "input `x`: expected FP32 [-1,2], got FP32 [2]",
    );
    refused(
        &format!(r#""name":"x","datatype":"FP32","shape":[2,1],{data}"#),
        "input `x`: expected FP32 [-1,2], got FP32 [2,1]",
    );
    refused(
        &format!(r#""name":"q","datatype":"FP32","shape":[1,2],{data}"#),
        "unknown input `q`: the model takes `x` FP32 [-1,2], `s` BYTES [-1,2]",
    );
    refused(
        &format!(r#""name":"x","datatype":"FLOAT","shape":[1,2],{data}"#),
        "input `x`: `datatype`: expected one of BOOL, UINT8,",
    );
    refused(
        r#""name":"x","datatype":"FP32","shape":[2,2],"data":[1,2,3,4]"#,
        "inputs differ in rows: `x` has 2, `s` has 1",
    );
    refused(r#""name":"s","datatype":"BYTES","shape":[1,2],"data":["",""]"#, "input `s` is given twice");
}

#[test]
fn the_signature_is_asked_before_any_element_is_read() {
    let data = r#""data":["no number"]"#;
    for keys in [
        format!(r#""name":"x","datatype":"INT64","shape":[1,2],{data}"#),
        format!(r#"{data},"name":"x","datatype":"INT64","shape":[1,2]"#),
    ] {
        refused(&keys, "input `x`: expected FP32 [-1,2], got INT64 [1,2]");
    }
    refused(&format!(r#""name":"q","datatype":"INT64","shape":[1,2],{data}"#), "unknown input `q`");
}

#[test]
fn incomplete_and_contradictory_inputs() {
    refused(r#""datatype":"FP32","shape":[1,2],"data":[1,2]"#, "inputs[1]: `name` is missing");
    refused(r#""name":"x","shape":[1,2],"data":[1,2]"#, "input `x`: `datatype` is missing");
    refused(r#""name":"x","datatype":"FP32","data":[1,2]"#, "input `x`: `shape` is missing");
    refused(r#""name":"x","datatype":"FP32","shape":[1,2]"#, "input `x`: `data` is missing");
    refused(r#""name":1,"datatype":"FP32","shape":[1,2]"#, "inputs[1]: `name`: expected a string, found `1`");
    refused(
        r#""name":"x","datatype":["FP32"],"shape":[1,2]"#,
        "input `x`: `datatype`: expected a string, found a list or an object",
    );
    let both = r#""name":"x","datatype":"FP32","shape":[1,2],"data":[1,2],"parameters":{"binary_data_size":8}"#;
    refused(both, "input `x`: expected either `data` or `binary_data_size`, found both");
    refused(r#""name":"x","name":"x""#, "the key `name` stands twice");
    refused(r#""name":"x","data":[],"data":[]"#, "the key `data` stands twice");
    refused(
        r#""name":"x","datatype":"FP32","shape":[1,2],"data":null"#,
        "input `x`: expected `data` to be a list, found `null`",
    );
    refused(
        r#""name":"x","datatype":"FP32","shape":[1,2],"data":[1,2],"parameters":{"binary_data_size":-8}"#,
        "input `x`: `binary_data_size`: expected a whole number from 0 on, found `-8`",
    );
}

#[test]
fn bodies_that_are_no_request() {
    let cases = [
        ("", "JSON: expected `{` at byte 0, found the end"),
        ("[]", "JSON: expected `{` at byte 0, found `[`"),
        ("{}", "request: `inputs` is missing"),
        ("{\"inputs\":[]}", "input `x` is missing: expected FP32 [-1,2]"),
        ("{\"inputs\":{}}", "JSON: expected `[` at byte 10, found `{`"),
        ("{\"inputs\":[]} x", "JSON: expected the end at byte 14, found `x`"),
        ("{\"inputs\":[],\"inputs\":[]}", "JSON: the key `inputs` stands twice in one object, again at byte 24"),
        ("{\"id\":7,\"inputs\":[]}", "request: `id`: expected a string, found `7`"),
        ("{\"parameters\":[]}", "JSON: expected `{` at byte 14, found `[`"),
    ];
    for (body, expected) in cases {
        assert_eq!(refusal(body.as_bytes(), None), (Kind::InvalidArgument, expected.to_string()));
    }
}

#[test]
fn binary_parts_of_the_wrong_length() {
    let x = |size: usize| {
        format!(r#"{{"name":"x","shape":[1,2],"datatype":"FP32","parameters":{{"binary_data_size":{size}}}}}"#)
    };
    let s = |size: usize| {
        format!(r#"{{"name":"s","shape":[1,2],"datatype":"BYTES","parameters":{{"binary_data_size":{size}}}}}"#)
    };
    let message = |x: String, s: String, blob: &[u8]| {
        let json = format!("{{\"inputs\":[{x},{s}]}}");
        let body = [json.as_bytes(), blob].concat();
        refusal(&body, Some(json.len())).1
    };
    let floats = [0; 8];
    let strings = [1, 0, 0, 0, b'a', 0, 0, 0, 0];
    let blob = |strings: &[u8]| [&floats[..], strings].concat();
    let cases = [
        (message(x(8), s(9), &floats), "input `s`: expected 9 bytes of binary data, found 0 bytes after the JSON"),
        (message(x(8), s(9), &floats[..5]), "input `x`: expected 8 bytes of binary data, found 5 bytes after the JSON"),
        (message(x(7), s(9), &blob(&strings)), "input `x`: expected 8 bytes for 2 elements of FP32, found 7 bytes"),
        (
            message(x(8), s(9), &blob(&[&strings[..], &[1]].concat())),
            "binary data: expected as many bytes as the inputs' `binary_data_size` say, found 1 bytes left over",
        ),
        (
            message(x(8), s(4), &blob(&[0; 4])),
            "input `s`: expected 2 elements of BYTES, found 1 elements and 0 bytes more",
        ),
        (
            message(x(8), s(12), &blob(&[0; 12])),
            "input `s`: expected 2 elements of BYTES, found 2 elements and 4 bytes more",
        ),
        (
            message(x(8), s(6), &blob(&[9, 0, 0, 0, 1, 2])),
            "input `s`, element [0]: expected 9 bytes, found 2 bytes left",
        ),
        (
            message(x(8), s(10), &blob(&[0, 0, 0, 0, 0, 0, 0, 0, 1, 1])),
            "input `s`: expected 2 elements of BYTES, found 2 elements and 2 bytes more",
        ),
    ];
    for (found, expected) in cases {
        assert_eq!(found, expected);
    }
    let size = usize::MAX;
    assert!(message(x(size), s(9), &floats).starts_with("input `x`: expected 18446744073709551615 bytes"));
}

#[test]
fn a_json_length_beyond_the_body_is_refused() {
    let expected = "header `Inference-Header-Content-Length`: expected at most the body's 2 bytes, found 3";
    assert_eq!(refusal(b"{}", Some(3)), (Kind::InvalidArgument, expected.to_string()));
}

#[test]
fn a_boolean_is_a_byte_of_0_or_1() {
    let error = decode(&[0, 1, 2], Some(0), &one_input(DataType::Bool, &[3])).unwrap_err();
    assert_eq!(error.to_string(), "input `x`, element [2]: expected BOOL (a byte of 0 or 1), found 2");
}

/// The answer to a good request with this added to its top object.
fn with(rest: &str) -> Result<Decoded, Error> {
    let inputs = r#"[{"name":"x","shape":[1,2],"datatype":"FP32","data":[1,2]},
        {"name":"s","shape":[1,2],"datatype":"BYTES","data":["a","b"]}]"#;
    decode(format!("{{\"inputs\":{inputs},{rest}}}").as_bytes(), None, &two_inputs())
}

#[test]
fn outputs_that_are_not_there_or_asked_for_twice() {
    let message = |rest| with(rest).unwrap_err().to_string();
    assert_eq!(
        message(r#""outputs":[{"name":"q"}]"#),
        "unknown output `q`: the model gives `y` FP32 [-1,2], `z` INT64 [-1]"
    );
    assert_eq!(message(r#""outputs":[{"name":"y"},{"name":"y"}]"#), "output `y` is asked for twice");
    assert_eq!(
        message(r#""outputs":[{"name":"y"},{"name":"z"},{"name":"z"},{"name":"y"},{"name":"z"}]"#),
        "output `z` is asked for twice"
    );
    assert_eq!(message(r#""outputs":[{}]"#), "outputs[0]: `name` is missing");
    assert_eq!(with(r#""outputs":[]"#).unwrap().request.outputs(), [0, 1]);
}

#[test]
fn parameters_that_ask_for_what_is_not_done_here() {
    let cases = [
        (r#""parameters":{"sequence_id":7}"#, Kind::Unsupported, "request: `sequence_id`: sequences are not supported"),
        (r#""parameters":{"sequence_id":"a"}"#, Kind::Unsupported, "request: `sequence_id`"),
        (
            r#""outputs":[{"name":"y","parameters":{"shared_memory_region":"r"}}]"#,
            Kind::Unsupported,
            "output `y`: `shared_memory_region`: shared memory is not supported",
        ),
        (
            r#""parameters":{"triton_final_response":true}"#,
            Kind::InvalidArgument,
            "request: expected no parameter that starts with `triton_`, found `triton_final_response`",
        ),
        (
            r#""parameters":{"timeout":"soon"}"#,
            Kind::InvalidArgument,
            "request: `timeout`: expected a whole number from 0 on, found `\"soon\"`",
        ),
        (
            r#""parameters":{"binary_data_output":1}"#,
            Kind::InvalidArgument,
            "request: `binary_data_output`: expected true or false, found `1`",
        ),
        (
            r#""outputs":[{"name":"y","parameters":{"classification":-1}}]"#,
            Kind::InvalidArgument,
            "output `y`: `classification`: expected a whole number",
        ),
    ];
    for (rest, kind, expected) in cases {
        let error = with(rest).unwrap_err();
        assert_eq!(error.kind(), kind, "{error}");
        assert!(error.to_string().starts_with(expected), "{error}");
    }
}

#[test]
fn an_input_is_refused_in_the_words_of_the_core() {
    let int = Tensor::from_elements([1, 2], vec![1_i64, 2]).unwrap();
    for name in ["x", "q"] {
        let theirs: InvalidRequest = Request::new(&two_inputs(), vec![(name.to_string(), int.clone())]).unwrap_err();
        let body = format!(r#"{{"inputs":[{{"name":"{name}","shape":[1,2],"datatype":"INT64","data":[1,2]}}]}}"#);
        assert_eq!(refusal(body.as_bytes(), None).1, theirs.to_string());
    }
}

#[test]
fn what_claims_much_and_sends_little_takes_no_memory() {
    let huge =
        r#"{"inputs":[{"name":"x","shape":[1000000000000],"datatype":"BYTES","parameters":{"binary_data_size":0}}]}"#;
    let error = decode(huge.as_bytes(), Some(huge.len()), &one_input(DataType::Bytes, &[-1])).unwrap_err();
    assert!(error.to_string().contains("expected 1000000000000 elements of BYTES, found 0"), "{error}");
}
