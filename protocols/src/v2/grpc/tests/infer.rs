//! Requests and answers against what the `.proto` files say, and against each other.

use half::{bf16, f16};
use hedef_core::{Data, DataType, Dim, ModelId, ModelName, Response, Signature, Tensor, TensorSpec, Timings};
use prost::Message;
use prost_reflect::{DynamicMessage, MapKey, Value};
use std::sync::Arc;

use super::super::{Head, decode, decode_within, encode, encode_error, encode_in_stream};
use super::{message, read};
use crate::v2::{Decoded, Reply, Wish, binary};
use crate::{DecodeLimits, Error};

fn signature(data_type: DataType) -> Signature {
    let spec = |name| TensorSpec::new(name, data_type, Some(vec![Dim::Free, Dim::Fixed(2)]));
    Signature { inputs: vec![spec("x")], outputs: vec![spec("y")], batch_axis: true }
}

/// For each data type its extremes.
fn edges() -> Vec<Tensor> {
    let data = [
        Data::Bool(vec![true, false].into()),
        Data::Uint8(vec![0, u8::MAX].into()),
        Data::Uint16(vec![0, u16::MAX].into()),
        Data::Uint32(vec![0, u32::MAX].into()),
        Data::Uint64(vec![0, u64::MAX].into()),
        Data::Int8(vec![i8::MIN, i8::MAX].into()),
        Data::Int16(vec![i16::MIN, i16::MAX].into()),
        Data::Int32(vec![i32::MIN, i32::MAX].into()),
        Data::Int64(vec![i64::MIN, i64::MAX].into()),
        Data::Fp16(vec![f16::MIN, f16::MAX].into()),
        Data::Bf16(vec![bf16::MIN, bf16::MAX].into()),
        Data::Fp32(vec![f32::MIN_POSITIVE, -0.0].into()),
        Data::Fp64(vec![f64::MIN_POSITIVE, -0.0].into()),
        Data::Bytes(vec![vec![], vec![0, 255]].into()),
    ];
    data.into_iter().map(|data| Tensor::new([1, 2], data).unwrap()).collect()
}

fn contents(data: &Data) -> Option<DynamicMessage> {
    macro_rules! list {
        ($elements:ident, $make:expr) => {
            Value::List($elements.iter().map($make).collect())
        };
    }
    let (field, list) = match data {
        Data::Bool(all) => ("bool_contents", list!(all, |one| Value::Bool(*one))),
        Data::Int8(all) => ("int_contents", list!(all, |one| Value::I32((*one).into()))),
        Data::Int16(all) => ("int_contents", list!(all, |one| Value::I32((*one).into()))),
        Data::Int32(all) => ("int_contents", list!(all, |one| Value::I32(*one))),
        Data::Int64(all) => ("int64_contents", list!(all, |one| Value::I64(*one))),
        Data::Uint8(all) => ("uint_contents", list!(all, |one| Value::U32((*one).into()))),
        Data::Uint16(all) => ("uint_contents", list!(all, |one| Value::U32((*one).into()))),
        Data::Uint32(all) => ("uint_contents", list!(all, |one| Value::U32(*one))),
        Data::Uint64(all) => ("uint64_contents", list!(all, |one| Value::U64(*one))),
        Data::Fp32(all) => ("fp32_contents", list!(all, |one| Value::F32(*one))),
        Data::Fp64(all) => ("fp64_contents", list!(all, |one| Value::F64(*one))),
        Data::Bytes(all) => ("bytes_contents", list!(all, |one| Value::Bytes(one.clone().into()))),
        Data::Fp16(_) | Data::Bf16(_) => return None,
    };
    let mut contents = DynamicMessage::new(message("inference.InferTensorContents"));
    contents.set_field_by_name(field, list);
    Some(contents)
}

fn raw(data: &Data) -> Value {
    let mut bytes = Vec::new();
    binary::write(&mut bytes, data);
    Value::List(vec![Value::Bytes(bytes.into())])
}

/// A request as another implementation would write it.
fn request(tensor: &Tensor, typed: bool, change: impl FnOnce(&mut DynamicMessage)) -> Vec<u8> {
    let mut input = DynamicMessage::new(message("inference.ModelInferRequest.InferInputTensor"));
    input.set_field_by_name("name", Value::String("x".into()));
    input.set_field_by_name("datatype", Value::String(tensor.data_type().name().into()));
    let dims = tensor.shape().dims().iter().map(|dim| Value::I64(i64::try_from(*dim).unwrap()));
    input.set_field_by_name("shape", Value::List(dims.collect()));
    let mut request = DynamicMessage::new(message("inference.ModelInferRequest"));
    for (name, text) in [("model_name", "m"), ("model_version", "3"), ("id", "7")] {
        request.set_field_by_name(name, Value::String(text.into()));
    }
    match contents(tensor.data()).filter(|_| typed) {
        Some(contents) => input.set_field_by_name("contents", Value::Message(contents)),
        None => request.set_field_by_name("raw_input_contents", raw(tensor.data())),
    }
    request.set_field_by_name("inputs", Value::List(vec![Value::Message(input)]));
    change(&mut request);
    request.encode_to_vec()
}

fn parameters(all: &[(&str, &str, Value)]) -> Value {
    let entry = |(key, field, value): &(&str, &str, Value)| {
        let mut parameter = DynamicMessage::new(message("inference.InferParameter"));
        parameter.set_field_by_name(field, value.clone());
        (MapKey::String((*key).into()), Value::Message(parameter))
    };
    Value::Map(all.iter().map(entry).collect())
}

fn decoded(bytes: &[u8], data_type: DataType) -> Decoded {
    decode(bytes, &signature(data_type)).unwrap()
}

fn refusal(bytes: &[u8], data_type: DataType) -> String {
    decode(bytes, &signature(data_type)).unwrap_err().to_string()
}

fn response(tensor: Tensor) -> Response {
    Response {
        model: ModelId { name: ModelName::new("m").unwrap(), version: 3 },
        outputs: vec![(Arc::from("y"), tensor)],
        timings: Timings::default(),
    }
}

#[test]
fn every_data_type_is_read_raw_and_typed() {
    for tensor in edges() {
        for typed in [true, false] {
            let bytes = request(&tensor, typed, |_| {});
            let found = decoded(&bytes, tensor.data_type());
            assert_eq!(found.request.inputs(), std::slice::from_ref(&tensor));
            let has_list = contents(tensor.data()).is_some();
            assert_eq!((found.reply.id.as_deref(), found.reply.binary), (Some("7"), !(typed && has_list)));
            assert_eq!(Head::read(&bytes), Ok(Head { model: "m", version: Some("3"), id: "7" }));
        }
    }
}

#[test]
fn every_data_type_is_answered_as_the_files_say() {
    for tensor in edges() {
        let signature = signature(tensor.data_type());
        let list = contents(tensor.data());
        for binary in [true, false] {
            let reply = Reply { id: Some("7".into()), binary, outputs: vec![] };
            let answer = encode(&response(tensor.clone()), &signature, &reply).unwrap();
            let answer = read("inference.ModelInferResponse", &answer);
            let output =
                answer.get_field_by_name("outputs").unwrap().as_list().unwrap()[0].as_message().unwrap().clone();
            assert_eq!(output.get_field_by_name("datatype").unwrap().as_str(), Some(tensor.data_type().name()));
            assert_eq!(*output.get_field_by_name("shape").unwrap(), Value::List(vec![Value::I64(1), Value::I64(2)]));
            match &list {
                Some(list) if !binary => {
                    assert_eq!(*output.get_field_by_name("contents").unwrap(), Value::Message(list.clone()));
                    assert!(!answer.has_field_by_name("raw_output_contents"));
                }
                _ => {
                    assert_eq!(*answer.get_field_by_name("raw_output_contents").unwrap(), raw(tensor.data()));
                    assert!(!output.has_field_by_name("contents"));
                }
            }
        }
    }
}

#[test]
fn an_answer_in_a_stream_is_wrapped() {
    let tensor = Tensor::from_elements([100, 2], vec![1_f32; 200]).unwrap();
    let reply = Reply { id: Some("7".into()), binary: true, outputs: vec![] };
    let alone = read(
        "inference.ModelInferResponse",
        &encode(&response(tensor.clone()), &signature(DataType::Fp32), &reply).unwrap(),
    );
    let wrapped = encode_in_stream(&response(tensor.clone()), &signature(DataType::Fp32), &reply, || None).unwrap();
    let wrapped = read("inference.ModelStreamInferResponse", &wrapped);
    let mut inner = wrapped.get_field_by_name("infer_response").unwrap().as_message().unwrap().clone();
    let last = parameters(&[("triton_final_response", "bool_param", Value::Bool(true))]);
    assert_eq!(*inner.get_field_by_name("parameters").unwrap(), last);
    inner.clear_field_by_name("parameters");
    assert_eq!(inner, alone);
    let failed = read("inference.ModelStreamInferResponse", &encode_error("no", "7", None).unwrap());
    assert_eq!(failed.to_string(), r#"error_message:"no",infer_response{id:"7"}"#);
}

#[test]
fn an_answer_in_a_stream_has_its_note_among_its_parameters() {
    let tensor = Tensor::from_elements([1, 2], vec![1_f32, 2.0]).unwrap();
    let note = ("story", "long ago".repeat(20));
    let told = Value::String(note.1.clone());
    let story = ("story", "string_param", told);
    let answer =
        encode_in_stream(&response(tensor), &signature(DataType::Fp32), &Reply::default(), || Some(note.clone()));
    let failed = encode_error("no", "7", Some(note.clone()));
    let last = ("triton_final_response", "bool_param", Value::Bool(true));
    for (bytes, expected) in [(answer, vec![last, story.clone()]), (failed, vec![story])] {
        let wrapped = read("inference.ModelStreamInferResponse", &bytes.unwrap());
        let inner = wrapped.get_field_by_name("infer_response").unwrap().as_message().unwrap().clone();
        assert_eq!(*inner.get_field_by_name("parameters").unwrap(), parameters(&expected));
    }
}

#[test]
fn parameters_and_wishes_are_taken() {
    let tensor = Tensor::from_elements([1, 2], vec![1_f32, 2.0]).unwrap();
    let mut wish = DynamicMessage::new(message("inference.ModelInferRequest.InferRequestedOutputTensor"));
    wish.set_field_by_name("name", Value::String("y".into()));
    wish.set_field_by_name("parameters", parameters(&[("classification", "int64_param", Value::I64(2))]));
    let all = parameters(&[
        ("timeout", "int64_param", Value::I64(500)),
        ("priority", "uint64_param", Value::U64(2)),
        ("binary_data_output", "bool_param", Value::Bool(false)),
        ("triton_enable_empty_final_response", "bool_param", Value::Bool(true)),
        ("unknown", "double_param", Value::F64(0.5)),
        ("sequence_id", "int64_param", Value::I64(0)),
    ]);
    let bytes = request(&tensor, false, |request| {
        request.set_field_by_name("parameters", all);
        request.set_field_by_name("outputs", Value::List(vec![Value::Message(wish)]));
    });
    let found = decoded(&bytes, DataType::Fp32);
    assert_eq!((found.timeout_us, found.priority, found.reply.binary), (Some(500), Some(2), false));
    let expected = Wish { name: "y".into(), classification: Some(2), ..Wish::default() };
    assert_eq!(found.reply.outputs, [expected]);
    for (key, field, value, reason) in [
        ("timeout", "int64_param", Value::I64(-1), "request: `timeout`: expected a whole number from 0 on, found `-1`"),
        ("timeout", "string_param", Value::String("5".into()), "found `\"5\"`"),
        ("timeout", "double_param", Value::F64(0.5), "found `0.5`"),
        ("binary_data_output", "int64_param", Value::I64(1), "expected true or false, found `1`"),
        ("sequence_id", "uint64_param", Value::U64(5), "sequences are not supported"),
        ("triton_x", "bool_param", Value::Bool(true), "no parameter that starts with `triton_`"),
    ] {
        let bytes = request(&tensor, false, |request| {
            request.set_field_by_name("parameters", parameters(&[(key, field, value)]));
        });
        let found = refusal(&bytes, DataType::Fp32);
        assert!(found.contains(reason), "{found}");
    }
}

#[test]
fn what_is_wrong_is_named() {
    let tensor = Tensor::from_elements([1, 2], vec![1_i8, 2]).unwrap();
    let with_raw = |values: &[&[u8]]| {
        let list = values.iter().map(|bytes| Value::Bytes(bytes.to_vec().into())).collect();
        move |request: &mut DynamicMessage| request.set_field_by_name("raw_input_contents", Value::List(list))
    };
    let input = |change: fn(&mut DynamicMessage)| {
        move |request: &mut DynamicMessage| {
            let inputs = request.get_field_by_name_mut("inputs").unwrap().as_list_mut().unwrap();
            change(inputs[0].as_message_mut().unwrap());
        }
    };
    let ints = |values: &'static [i32]| {
        move |request: &mut DynamicMessage| {
            let inputs = request.get_field_by_name_mut("inputs").unwrap().as_list_mut().unwrap();
            let contents = inputs[0].as_message_mut().unwrap().get_field_by_name_mut("contents").unwrap();
            let list = values.iter().map(|value| Value::I32(*value)).collect();
            contents.as_message_mut().unwrap().set_field_by_name("int_contents", Value::List(list));
        }
    };
    type Change = Box<dyn FnOnce(&mut DynamicMessage)>;
    let cases: Vec<(bool, Change, &str)> = vec![
        (true, Box::new(with_raw(&[b"ab"])), "input `x`: expected either `contents` or `raw_input_contents`"),
        (
            false,
            Box::new(with_raw(&[b"ab", b"cd"])),
            "`raw_input_contents`: expected one entry for each of 1 inputs, found 2",
        ),
        (false, Box::new(with_raw(&[b"abc"])), "input `x`: expected 2 bytes for 2 elements of INT8, found 3 bytes"),
        (true, Box::new(ints(&[1])), "input `x`: expected 2 elements for shape [1,2], found 1"),
        (true, Box::new(ints(&[1, 2, 3])), "input `x`: expected 2 elements for shape [1,2], found 3"),
        (
            true,
            Box::new(ints(&[1, -129])),
            "input `x`, element [1]: expected INT8 (a whole number from -128 to 127), found `-129`",
        ),
        (
            true,
            Box::new(input(|input| {
                let contents = contents(&Data::Fp32(vec![1.0, 2.0].into())).unwrap();
                input.set_field_by_name("contents", Value::Message(contents));
            })),
            "input `x`: expected INT8 in `int_contents`, found `fp32_contents`",
        ),
        (
            true,
            Box::new(input(|input| input.clear_field_by_name("contents"))),
            "expected 2 elements for shape [1,2], found 0",
        ),
        (true, Box::new(input(|input| input.clear_field_by_name("name"))), "inputs[0]: `name` is missing"),
        (
            true,
            Box::new(input(|input| input.set_field_by_name("datatype", Value::String("INT9".into())))),
            "input `x`: `datatype`: expected one of BOOL",
        ),
        (
            true,
            Box::new(input(|input| input.set_field_by_name("shape", Value::List(vec![Value::I64(-1), Value::I64(2)])))),
            "input `x`: `shape`: expected a list of whole numbers from 0 on, found `-1`",
        ),
        (
            true,
            Box::new(input(|input| {
                input.set_field_by_name("shape", Value::List(vec![Value::I64(1 << 62), Value::I64(2)]))
            })),
            "input `x`: expected 9223372036854775808 elements",
        ),
        (true, Box::new(|request| request.clear_field_by_name("inputs")), "input `x` is missing: expected INT8 [-1,2]"),
    ];
    for (typed, change, reason) in cases {
        let found = refusal(&request(&tensor, typed, change), DataType::Int8);
        assert!(found.contains(reason), "{reason}: {found}");
    }
    let half = Tensor::from_elements([1, 2], vec![f16::ONE; 2]).unwrap();
    let none = request(&half, false, |request| request.clear_field_by_name("raw_input_contents"));
    assert!(refusal(&none, DataType::Fp16).contains("input `x`: expected FP16 in `raw_input_contents`"));
}

#[test]
fn the_head_is_seen_before_the_tensors_have_come() {
    let tensor = Tensor::from_elements([1, 2], vec![1_f32, 2.0]).unwrap();
    let bytes = request(&tensor, false, |_| {});
    let head = Head { model: "m", version: Some("3"), id: "7" };
    assert_eq!(Head::peek(&bytes[..10]), Some(head));
    assert_eq!(Head::peek(&bytes[..5]), None);
    let unversioned = request(&tensor, false, |request| {
        request.clear_field_by_name("model_version");
        request.clear_field_by_name("id");
    });
    assert_eq!(Head::peek(&unversioned[..4]), Some(Head { model: "m", version: None, id: "" }));
}

#[test]
fn numbers_that_are_not_packed_are_read_too() {
    // x FP32 [1,2] with fp32_contents one by one, and the shape so.
    let mut contents = Vec::new();
    for number in [1_f32, 2.0] {
        contents.push(6 << 3 | 5);
        contents.extend_from_slice(&number.to_le_bytes());
    }
    let mut input = b"\x0a\x01x\x12\x04FP32\x18\x01\x18\x02\x2a".to_vec();
    input.push(u8::try_from(contents.len()).unwrap());
    input.extend_from_slice(&contents);
    let mut bytes = vec![0x2a, u8::try_from(input.len()).unwrap()];
    bytes.extend_from_slice(&input);
    let found = decoded(&bytes, DataType::Fp32);
    assert_eq!(found.request.inputs()[0].elements::<f32>(), Some(&[1.0, 2.0][..]));
}

#[test]
fn a_message_takes_no_more_memory_than_its_model_s_inputs_need() {
    // A hundred thousand empty inputs, outputs and raw contents in two bytes each.
    for field in [5_u8, 6, 7] {
        let bytes = [field << 3 | 2, 0].repeat(100_000);
        assert!(decode(&bytes, &signature(DataType::Fp32)).is_err());
    }
}

#[test]
fn elements_and_memory_have_limits() {
    for tensor in edges() {
        for typed in [true, false] {
            let bytes = request(&tensor, typed, |_| {});
            let within = |elements, room: bool| {
                let limits = DecodeLimits { elements, room: &|_| room, message: None };
                decode_within(&bytes, &signature(tensor.data_type()), limits).map(|_| ())
            };
            assert_eq!(within(2, true), Ok(()));
            assert_eq!(within(2, false), Err(Error::NoRoom));
            let counts = tensor.data_type() == DataType::Bytes || (typed && contents(tensor.data()).is_some());
            assert_eq!(matches!(within(1, true), Err(Error::TooManyElements { .. })), counts);
        }
    }
}
