//! Large tensors of numbers that stay where they came.

use std::cell::Cell;

use bytes::{BufMut, Bytes, BytesMut};

use super::*;
use crate::DecodeLimits;
use crate::v2::grpc;

/// So many that keeping them is worth it.
const MANY: usize = 8192;

/// A message whose byte `at` lies `shift` bytes from where any number may lie.
fn placed(message: &[u8], at: usize, shift: usize) -> Bytes {
    let mut bytes = BytesMut::with_capacity(message.len() + 32);
    let unused = bytes.as_ptr().wrapping_add(at).align_offset(8) % 8 + shift;
    bytes.put_bytes(0, unused);
    bytes.extend_from_slice(message);
    bytes.freeze().slice(unused..)
}

fn json_of(numbers: usize) -> String {
    let bytes = numbers * 4;
    format!(
        r#"{{"inputs":[{{"name":"x","shape":[1,{numbers}],"datatype":"FP32","parameters":{{"binary_data_size":{bytes}}}}}]}}"#
    )
}

/// `x` FP32 [1,numbers] as a `ModelInferRequest`, as far as before its raw contents.
fn head_of(numbers: usize) -> Vec<u8> {
    let varint = |number: usize| {
        [0, 7, 14].map(|bits| (number >> bits & 127).to_le_bytes()[0] | if bits < 14 { 128 } else { 0 }).to_vec()
    };
    let input = [b"\x0a\x01x\x12\x04FP32\x1a\x04\x01".to_vec(), varint(numbers)].concat();
    let size = u8::try_from(input.len()).unwrap();
    [b"\x0a\x01m\x2a".to_vec(), vec![size], input, vec![7 << 3 | 2], varint(numbers * 4)].concat()
}

#[test]
fn large_tensors_of_numbers_are_copied_only_where_they_lie_wrong() {
    let numbers: Vec<f32> = (0_u8..=255).map(f32::from).cycle().take(MANY).collect();
    let raw: Vec<u8> = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
    let model = one_input(DataType::Fp32, &[-1, -1]);
    for shift in 0..8 {
        for over_grpc in [false, true] {
            let head = if over_grpc { head_of(MANY) } else { json_of(MANY).into_bytes() };
            let message = placed(&[&*head, &raw].concat(), head.len(), shift);
            let asked = Cell::new(0);
            let room = |bytes| {
                asked.set(asked.get() + bytes);
                true
            };
            let limits = DecodeLimits { room: &room, message: Some(&message), ..DecodeLimits::NONE };
            let decoded = if over_grpc {
                grpc::decode_within(&message, &model, limits)
            } else {
                decode_within(&message, Some(head.len()), &model, limits)
            };
            let [tensor] = decoded.as_ref().unwrap().request.inputs() else { panic!("one input") };
            let found = tensor.elements::<f32>().unwrap();
            assert_eq!(found, numbers);
            let stays = found.as_ptr().cast() == message[head.len()..].as_ptr();
            assert_eq!(stays, cfg!(target_endian = "little") && shift % 4 == 0, "{shift}");
            assert_eq!((stays, stays), (!message.is_unique(), asked.get() < raw.len()));
        }
    }
}

#[test]
fn nothing_else_keeps_its_message() {
    for (count, data_type) in [(1024, DataType::Fp32), (MANY * 4, DataType::Bool)] {
        let json = json_of(count).replace("FP32", data_type.name());
        let json = json.replace(&(count * 4).to_string(), &(count * data_type.size().unwrap()).to_string());
        let raw = vec![1; count * data_type.size().unwrap()];
        let message = placed(&[json.as_bytes(), &raw].concat(), json.len(), 0);
        let limits = DecodeLimits { message: Some(&message), ..DecodeLimits::NONE };
        let decoded = decode_within(&message, Some(json.len()), &one_input(data_type, &[-1, -1]), limits).unwrap();
        assert_eq!(decoded.request.inputs()[0].data().len(), count);
        assert!(message.is_unique(), "{data_type}");
    }
}

#[test]
fn a_tensor_does_not_keep_a_message_of_other_things() {
    let raw = [0; MANY * 4];
    for (spaces, keeps) in [(0, true), (MANY * 11, true), (MANY * 13, false)] {
        let json = json_of(MANY) + &" ".repeat(spaces);
        let message = placed(&[json.as_bytes(), &raw].concat(), json.len(), 0);
        let limits = DecodeLimits { message: Some(&message), ..DecodeLimits::NONE };
        let decoded = decode_within(&message, Some(json.len()), &one_input(DataType::Fp32, &[-1, -1]), limits);
        assert_eq!(
            (decoded.is_ok(), message.is_unique()),
            (true, !(keeps && cfg!(target_endian = "little"))),
            "{spaces}"
        );
    }
}

#[test]
fn raw_contents_are_found_in_the_beginning_of_a_message() {
    let head = head_of(MANY);
    let start = [&*head, &[0; 100]].concat();
    assert_eq!(grpc::raw_start(&start), Some(head.len()));
    assert_eq!(grpc::raw_start(&head), Some(head.len()));
    assert_eq!(grpc::raw_start(&head[..head.len() - 1]), None);
    assert_eq!(grpc::raw_start(&[]), None);
    let small = [&head[..head.len() - 4], &[7 << 3 | 2, 2, 1, 2], &start].concat();
    assert_eq!(grpc::raw_start(&small), Some(small.len() - 100), "what is all there is left out");
    assert_eq!(grpc::raw_start(&[0x0a, 100, 1]), None, "another field");
}
