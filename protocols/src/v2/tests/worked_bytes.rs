//! The worked bytes of the protocol reference, byte for byte.

use hedef_core::Data;

use super::*;

const JSON: &str = concat!(
    r#"{"inputs":[{"name":"x","shape":[1,2],"datatype":"FP32","parameters":{"binary_data_size":8}},"#,
    r#"{"name":"s","shape":[1,2],"datatype":"BYTES","parameters":{"binary_data_size":11}}],"#,
    r#""parameters":{"binary_data_output":true}}"#
);
const X: [u8; 8] = [0x00, 0x00, 0x80, 0x3f, 0x00, 0x00, 0x20, 0xc0];
const S: [u8; 11] = [0x02, 0x00, 0x00, 0x00, 0x61, 0x62, 0x01, 0x00, 0x00, 0x00, 0x7a];

#[test]
fn a_binary_request_is_read() {
    let body = [JSON.as_bytes(), &X, &S].concat();
    assert_eq!((JSON.len(), body.len()), (217, 236));
    let decoded = decode(&body, Some(217), &two_inputs()).unwrap();
    assert_eq!(decoded.request.inputs()[0].elements::<f32>(), Some(&[1.0, -2.5][..]));
    assert_eq!(decoded.request.inputs()[1].data(), &Data::Bytes(vec![b"ab".to_vec(), b"z".to_vec()].into()));
    assert_eq!(decoded.reply, Reply { id: None, binary: true, outputs: vec![] });
}

#[test]
fn a_binary_answer_is_written() {
    let x = Tensor::from_elements([1, 2], vec![1_f32, -2.5]).unwrap();
    let s = Tensor::from_elements([1, 2], vec![b"ab".to_vec(), b"z".to_vec()]).unwrap();
    let reply = Reply { binary: true, ..Reply::default() };
    let encoded = encode(&response(vec![("x", x), ("s", s)]), &two_inputs(), &reply).unwrap();
    let json = concat!(
        r#"{"model_name":"m","model_version":"3","outputs":["#,
        r#"{"name":"x","shape":[1,2],"datatype":"FP32","parameters":{"binary_data_size":8}},"#,
        r#"{"name":"s","shape":[1,2],"datatype":"BYTES","parameters":{"binary_data_size":11}}]}"#
    );
    assert_eq!(encoded.json_length, Some(json.len()));
    assert_eq!(encoded.body, [json.as_bytes(), &X, &S].concat());
}

#[test]
fn a_raw_request_is_one_row_of_the_only_input() {
    let decoded = decode(&X, Some(0), &one_input(DataType::Fp32, &[1, -1])).unwrap();
    let expected = Tensor::from_elements([1, 2], vec![1_f32, -2.5]).unwrap();
    assert_eq!(decoded.request.inputs(), [expected]);
    assert!(decoded.reply.binary);
}

#[test]
fn the_json_of_the_specification_is_read_and_answered() {
    let body = br#"{"id":"42","parameters":{"priority":1},
        "inputs":[{"name":"x","shape":[2,2],"datatype":"FP32","parameters":{},"data":[1,2,3,4]}],
        "outputs":[{"name":"y","parameters":{"binary_data":false}}]}"#;
    let signature = one_input(DataType::Fp32, &[-1, 2]);
    let decoded = decode(body, None, &signature).unwrap();
    assert_eq!(decoded.priority, Some(1));
    let y = decoded.request.inputs()[0].clone();
    let encoded = encode(&response(vec![("y", y)]), &signature, &decoded.reply).unwrap();
    assert_eq!(encoded.json_length, None);
    assert_eq!(
        text(&encoded.body),
        r#"{"model_name":"m","model_version":"3","id":"42","outputs":[{"name":"y","shape":[2,2],"datatype":"FP32","data":[1.0,2.0,3.0,4.0]}]}"#
    );
}

#[test]
fn the_best_classes_are_named_with_value_position_and_label() {
    let mut signature = one_input(DataType::Fp32, &[3]);
    signature.outputs[0].labels = Some(["cat", "dog", "cow"].map(String::from).to_vec().into());
    let body = br#"{"inputs":[{"name":"x","shape":[3],"datatype":"FP32","data":[0,0,0]}],
        "outputs":[{"name":"y","parameters":{"classification":2}}]}"#;
    let reply = decode(body, None, &signature).unwrap().reply;
    let y = Tensor::from_elements([3], vec![0.1_f32, 3.3, -1.0]).unwrap();
    let encoded = encode(&response(vec![("y", y)]), &signature, &reply).unwrap();
    let outputs = r#"[{"name":"y","shape":[2],"datatype":"BYTES","data":["3.300000:1:dog","0.100000:0:cat"]}]}"#;
    assert!(text(&encoded.body).ends_with(outputs), "{}", text(&encoded.body));
}
