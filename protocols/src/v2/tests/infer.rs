use hedef_core::{Data, Shape};

use super::*;

/// A request for `x` with this `inputs[0]`, and these other members of the top object.
fn body(input: &str, rest: &str) -> Vec<u8> {
    format!("{{\"inputs\":[{{{input}}}]{rest}}}").into_bytes()
}

fn x(json: &str, signature: &Signature) -> Tensor {
    decode(json.as_bytes(), None, signature).unwrap().request.inputs()[0].clone()
}

#[test]
fn the_keys_of_an_input_stand_in_any_order() {
    let keys = [r#""name":"x""#, r#""datatype":"INT64""#, r#""shape":[1,2]"#, r#""data":[[1,2]]"#];
    let expected = Tensor::from_elements([1, 2], vec![1_i64, 2]).unwrap();
    for first in 0..4 {
        let mut order = keys.to_vec();
        order.rotate_left(first);
        let decoded = decode(&body(&order.join(","), ""), None, &one_input(DataType::Int64, &[-1, 2])).unwrap();
        assert_eq!(decoded.request.inputs()[0], expected);
    }
}

#[test]
fn tensors_in_json_and_in_binary_are_mixed() {
    let json = r#"{"inputs":[{"name":"s","shape":[1,2],"datatype":"BYTES","data":["a","b"]},
        {"name":"x","shape":[1,2],"datatype":"FP32","parameters":{"binary_data_size":8}}]}"#;
    let body = [json.as_bytes(), &1_f32.to_le_bytes(), &2_f32.to_le_bytes()].concat();
    let decoded = decode(&body, Some(json.len()), &two_inputs()).unwrap();
    assert_eq!(decoded.request.inputs()[0].elements::<f32>(), Some(&[1.0, 2.0][..]));
    assert!(!decoded.reply.binary);
}

#[test]
fn a_lone_input_need_not_say_its_size() {
    let json = r#"{"inputs":[{"name":"x","shape":[2],"datatype":"UINT8"}]}"#;
    let body = [json.as_bytes(), &[7, 8]].concat();
    let decoded = decode(&body, Some(json.len()), &one_input(DataType::Uint8, &[-1])).unwrap();
    assert_eq!(decoded.request.inputs()[0].data(), &Data::Uint8(vec![7, 8].into()));
}

#[test]
fn strings_may_come_and_go_as_base64() {
    let signature = one_input(DataType::Bytes, &[-1]);
    for keys in [
        r#""parameters":{"content_type":"base64"},"data":["/wA=",""]"#,
        r#""data":["/wA=",""],"parameters":{"content_type":"base64"}"#,
    ] {
        let body = format!(
            r#"{{"inputs":[{{"name":"x","shape":[2],"datatype":"BYTES",{keys}}}],
                "outputs":[{{"name":"y","parameters":{{"content_type":"base64"}}}}]}}"#
        );
        let decoded = decode(body.as_bytes(), None, &signature).unwrap();
        let x = decoded.request.inputs()[0].clone();
        assert_eq!(x.data(), &Data::Bytes(vec![vec![0xff, 0], vec![]].into()));
        let encoded = encode(&response(vec![("y", x)]), &signature, &decoded.reply).unwrap();
        let expected = r#""parameters":{"content_type":"base64"},"data":["/wA=",""]}]}"#;
        assert!(text(&encoded.body).ends_with(expected));
    }
}

#[test]
fn strings_that_are_not_utf8_are_never_mangled() {
    let signature = one_input(DataType::Bytes, &[-1]);
    let y = || response(vec![("y", Tensor::from_elements([2], vec![b"a\0b".to_vec(), vec![0xff]]).unwrap())]);
    let error = encode(&y(), &signature, &Reply::default()).unwrap_err();
    assert_eq!(error.kind(), hedef_core::Kind::InvalidArgument);
    assert!(error.to_string().starts_with("output `y`: element 1 is not UTF-8"), "{error}");
    let reply = Reply { binary: true, ..Reply::default() };
    assert!(encode(&y(), &signature, &reply).unwrap().body.ends_with(b"\x03\0\0\0a\0b\x01\0\0\0\xff"));
}

#[test]
fn outputs_choose_their_own_encoding() {
    let body = br#"{"inputs":[{"name":"x","shape":[1,2],"datatype":"FP32","data":[1,2]},
        {"name":"s","shape":[1,2],"datatype":"BYTES","data":["a","b"]}],
        "outputs":[{"parameters":{"binary_data":false},"name":"z"},{"name":"y"}],
        "parameters":{"binary_data_output":true}}"#;
    let decoded = decode(body, None, &two_inputs()).unwrap();
    assert_eq!(decoded.request.outputs(), [1, 0]);
    let z = Tensor::from_elements([1], vec![5_i64]).unwrap();
    let y = Tensor::from_elements([1, 2], vec![1_f32, 2.0]).unwrap();
    let encoded = encode(&response(vec![("z", z), ("y", y)]), &two_inputs(), &decoded.reply).unwrap();
    let (json, blob) = encoded.body.split_at(encoded.json_length.unwrap());
    assert!(text(json).contains(r#"{"name":"z","shape":[1],"datatype":"INT64","data":[5]}"#));
    assert_eq!(blob, [1_f32.to_le_bytes(), 2_f32.to_le_bytes()].concat());
}

#[test]
fn request_parameters_are_understood_and_unknown_ones_ignored() {
    let parameters = r#","parameters":{"timeout":1500,"priority":2,"sequence_id":0,"headers":{"a":[1]},"mine":"x"}"#;
    let input = r#""name":"x","shape":[1],"datatype":"BOOL","data":[true],"extra":{"deep":[null]}"#;
    let decoded = decode(&body(input, parameters), None, &one_input(DataType::Bool, &[-1])).unwrap();
    assert_eq!((decoded.timeout_us, decoded.priority), (Some(1500), Some(2)));
    let decoded =
        decode(&body(input, r#","parameters":{"timeout":0}"#), None, &one_input(DataType::Bool, &[-1])).unwrap();
    assert_eq!(decoded.timeout_us, None);
}

#[test]
fn scalars_and_empty_tensors_are_tensors() {
    let scalar =
        x(r#"{"inputs":[{"name":"x","shape":[],"datatype":"INT8","data":[5]}]}"#, &one_input(DataType::Int8, &[]));
    assert_eq!(scalar, Tensor::from_elements([], vec![5_i8]).unwrap());
    let empty = x(
        r#"{"inputs":[{"name":"x","shape":[0,3],"datatype":"FP32","data":[]}]}"#,
        &one_input(DataType::Fp32, &[-1, 3]),
    );
    assert_eq!(empty.shape(), &Shape::from([0, 3]));
}

#[test]
fn raw_requests_solve_one_dimension_beside_the_batch() {
    let bytes: Vec<u8> = [1_i16, 2, 3, 4, 5, 6].iter().flat_map(|value| value.to_le_bytes()).collect();
    let shape = |dims: &[i64]| {
        let decoded = decode(&bytes, Some(0), &one_input(DataType::Int16, dims));
        decoded.map(|decoded| decoded.request.inputs()[0].shape().dims().to_vec()).map_err(|error| error.to_string())
    };
    assert_eq!(shape(&[-1, 6]), Ok(vec![1, 6]));
    assert_eq!(shape(&[-1, 2, -1]), Ok(vec![1, 2, 3]));
    assert_eq!(shape(&[1, 6]), Ok(vec![1, 6]));
    assert_eq!(shape(&[-1, 3]), Err("input `x`: expected 6 bytes for 3 elements of INT16, found 12 bytes".into()));
    assert!(shape(&[-1, -1, -1]).unwrap_err().contains("at most one free dimension"));
}

#[test]
fn the_whole_of_a_raw_body_is_the_element_of_bytes() {
    for (dims, shape) in [(&[-1_i64][..], vec![1_usize]), (&[-1, 1], vec![1, 1]), (&[], vec![])] {
        let decoded = decode(b"\xff\0raw", Some(0), &one_input(DataType::Bytes, dims)).unwrap();
        assert_eq!(decoded.request.inputs(), [Tensor::from_elements(shape, vec![b"\xff\0raw".to_vec()]).unwrap()]);
    }
    assert!(decode(b"raw", Some(0), &one_input(DataType::Bytes, &[-1, 2])).is_err());
    assert!(decode(b"raw", Some(0), &two_inputs()).unwrap_err().to_string().contains("a model with 2 inputs"));
}

#[test]
fn every_row_of_a_batch_is_classified() {
    let mut signature = one_input(DataType::Fp32, &[-1, 3]);
    signature.outputs[0].labels = Some(["a", "b", "c"].map(String::from).to_vec().into());
    let wish = |classification| {
        let y = Wish { name: "y".into(), classification: Some(classification), ..Wish::default() };
        Reply { outputs: vec![y], ..Reply::default() }
    };
    let y = Tensor::from_elements([2, 3], vec![1.0, f32::NAN, 2.0, 7.0, 7.0, f32::INFINITY]).unwrap();
    let encoded = encode(&response(vec![("y", y.clone())]), &signature, &wish(2)).unwrap();
    let expected =
        r#""shape":[2,2],"datatype":"BYTES","data":["2.000000:2:c","1.000000:0:a","inf:2:c","7.000000:0:a"]}]}"#;
    assert!(text(&encoded.body).ends_with(expected), "{}", text(&encoded.body));
    let encoded = encode(&response(vec![("y", y)]), &signature, &wish(99)).unwrap();
    assert!(text(&encoded.body).contains(r#""shape":[2,3],"datatype":"BYTES""#));
    let strings = Tensor::from_elements([1, 3], vec![vec![]; 3]).unwrap();
    let error = encode(&response(vec![("y", strings)]), &signature, &wish(1)).unwrap_err();
    assert_eq!(error.to_string(), "output `y`: `classification`: expected numbers to classify, found BYTES");
}

#[test]
fn a_classification_of_no_classes_leaves_the_numbers() {
    let input = r#""name":"x","shape":[1],"datatype":"FP32","data":[1]"#;
    let wish = r#","outputs":[{"name":"y","parameters":{"classification":0}}]"#;
    let decoded = decode(&body(input, wish), None, &one_input(DataType::Fp32, &[-1])).unwrap();
    assert_eq!(decoded.reply.outputs[0].classification, None);
}

#[test]
fn integers_are_classified_without_a_fraction() {
    let signature = one_input(DataType::Int64, &[3]);
    let y = Wish { name: "y".into(), classification: Some(2), binary: Some(true), ..Wish::default() };
    let tensor = Tensor::from_elements([3], vec![i64::MIN, i64::MAX, 5]).unwrap();
    let reply = Reply { outputs: vec![y], ..Reply::default() };
    let encoded = encode(&response(vec![("y", tensor)]), &signature, &reply).unwrap();
    assert!(encoded.body.ends_with(b"\x15\0\0\09223372036854775807:1\x03\0\0\x005:2"));
}

#[test]
fn what_json_has_no_number_for_is_quoted() {
    let y = Tensor::from_elements([4], vec![f32::NAN, f32::INFINITY, f32::NEG_INFINITY, -0.0]).unwrap();
    let encoded = encode(&response(vec![("y", y)]), &one_input(DataType::Fp32, &[-1]), &Reply::default()).unwrap();
    assert!(text(&encoded.body).ends_with(r#""data":["NaN","Infinity","-Infinity",-0.0]}]}"#));
}
