//! What an independent writer writes is read back equal, and what is written here an independent reader reads back
//! equal, bit for bit, for every data type.

use half::{bf16, f16};
use hedef_core::{Data, Element, Shape};
use proptest::prelude::*;

use super::*;

/// A type of element with a plain JSON text and plain bytes, made without the code under test.
trait Plain: Element {
    fn any() -> BoxedStrategy<Self>;
    fn to_json(&self) -> String;
    fn from_json(text: &str) -> Self;
    fn to_bytes(&self) -> Vec<u8>;
    /// Equal in every bit; any NaN is any other where JSON was between.
    fn is(&self, other: &Self, through_json: bool) -> bool;
}

macro_rules! plain_integers {
    ($($element:ty)*) => {
        $(impl Plain for $element {
            fn any() -> BoxedStrategy<Self> {
                prop_oneof![any::<Self>(), Just(Self::MIN), Just(Self::MAX), Just(0)].boxed()
            }
            fn to_json(&self) -> String { self.to_string() }
            fn from_json(text: &str) -> Self { text.parse().unwrap() }
            fn to_bytes(&self) -> Vec<u8> { self.to_le_bytes().to_vec() }
            fn is(&self, other: &Self, _: bool) -> bool { self == other }
        })*
    };
}
plain_integers!(u8 u16 u32 u64 i8 i16 i32 i64);

macro_rules! plain_floats {
    ($($element:ty, $bits:ty, $widen:expr, $parse:expr;)*) => {
        $(impl Plain for $element {
            fn any() -> BoxedStrategy<Self> {
                let special = prop::sample::select(vec![
                    <$element>::NAN, <$element>::INFINITY, <$element>::NEG_INFINITY, <$element>::MAX, <$element>::MIN,
                    <$element>::MIN_POSITIVE, <$element>::EPSILON, <$element>::from_bits(1),
                    <$element>::from_bits(1 << (<$bits>::BITS - 1)), <$element>::from_bits(0),
                ]);
                prop_oneof![3 => any::<$bits>().prop_map(<$element>::from_bits), 1 => special].boxed()
            }
            fn to_json(&self) -> String {
                let wide = $widen(*self);
                match (wide.is_nan(), wide.is_infinite()) {
                    (true, _) => ["NaN", "\"NaN\""][usize::from(self.to_bits() & 1 == 0)].to_string(),
                    (_, true) if wide > 0.0 => "\"Infinity\"".to_string(),
                    (_, true) => "-Infinity".to_string(),
                    // The digits in full, unlike those that the code under test writes.
                    _ => format!("{wide:.60e}"),
                }
            }
            fn from_json(text: &str) -> Self { $parse(text.trim_matches('"')) }
            fn to_bytes(&self) -> Vec<u8> { self.to_le_bytes().to_vec() }
            fn is(&self, other: &Self, through_json: bool) -> bool {
                self.to_bits() == other.to_bits() || (through_json && self.is_nan() && other.is_nan())
            }
        })*
    };
}
plain_floats! {
    f32, u32, |value: f32| value, |text: &str| text.parse::<f32>().unwrap();
    f64, u64, |value: f64| value, |text: &str| text.parse::<f64>().unwrap();
    f16, u16, |value: f16| value.to_f32(), |text: &str| f16::from_f32(text.parse().unwrap());
    bf16, u16, |value: bf16| value.to_f32(), |text: &str| bf16::from_f32(text.parse().unwrap());
}

impl Plain for bool {
    fn any() -> BoxedStrategy<Self> {
        any::<Self>().boxed()
    }
    fn to_json(&self) -> String {
        self.to_string()
    }
    fn from_json(text: &str) -> Self {
        text.parse().unwrap()
    }
    fn to_bytes(&self) -> Vec<u8> {
        vec![u8::from(*self)]
    }
    fn is(&self, other: &Self, _: bool) -> bool {
        self == other
    }
}

/// Text, because JSON can hold no other bytes; other bytes have a test of their own.
impl Plain for Vec<u8> {
    fn any() -> BoxedStrategy<Self> {
        any::<String>().prop_map(String::into_bytes).boxed()
    }
    fn to_json(&self) -> String {
        serde_json::to_string(std::str::from_utf8(self).unwrap()).unwrap()
    }
    fn from_json(text: &str) -> Self {
        serde_json::from_str::<String>(text).unwrap().into_bytes()
    }
    fn to_bytes(&self) -> Vec<u8> {
        [&u32::try_from(self.len()).unwrap().to_le_bytes()[..], self].concat()
    }
    fn is(&self, other: &Self, _: bool) -> bool {
        self == other
    }
}

fn any_tensor<T: Plain + std::fmt::Debug + 'static>() -> impl Strategy<Value = Tensor> {
    prop::collection::vec(prop_oneof![8 => 1..4_usize, 1 => Just(0)], 0..=8)
        .prop_filter("small", |dims| dims.iter().product::<usize>() <= 200)
        .prop_flat_map(|dims| {
            let elements = prop::collection::vec(T::any(), dims.iter().product::<usize>());
            elements.prop_map(move |elements| Tensor::from_elements(dims.clone(), elements).unwrap())
        })
}

fn same<T: Plain>(a: &Tensor, b: &Tensor, through_json: bool) -> bool {
    let (Some(left), Some(right)) = (a.elements::<T>(), b.elements::<T>()) else { return false };
    a.shape() == b.shape() && left.iter().zip(right).all(|(left, right)| left.is(right, through_json))
}

fn list(items: impl Iterator<Item = String>) -> String {
    format!("[{}]", items.collect::<Vec<_>>().join(", "))
}

fn nested(dims: &[usize], elements: &[String]) -> String {
    match dims {
        [] => elements[0].clone(),
        [_] => list(elements.iter().cloned()),
        [size, inner @ ..] => {
            let each = inner.iter().product::<usize>();
            list((0..*size).map(|index| nested(inner, &elements[index * each..][..each])))
        }
    }
}

fn free(tensor: &Tensor) -> Signature {
    one_input(tensor.data_type(), &vec![-1; tensor.shape().rank()])
}

fn request_in_json<T: Plain>(tensor: &Tensor, nest: bool, rotation: usize) -> Vec<u8> {
    let elements: Vec<_> = tensor.elements::<T>().unwrap().iter().map(T::to_json).collect();
    let dims = tensor.shape().dims();
    let data = if nest { nested(dims, &elements) } else { list(elements.into_iter()) };
    let mut keys = [
        "\"name\":\"x\"".to_string(),
        format!("\"datatype\":\"{}\"", tensor.data_type()),
        format!("\"shape\":{}", list(dims.iter().map(usize::to_string))),
        format!("\"data\":{data}"),
    ];
    keys.rotate_left(rotation);
    format!("{{\"inputs\":[{{{}}}]}}", keys.join(",")).into_bytes()
}

fn request_in_binary<T: Plain>(tensor: &Tensor) -> (Vec<u8>, usize) {
    let blob: Vec<u8> = tensor.elements::<T>().unwrap().iter().flat_map(T::to_bytes).collect();
    let dims = list(tensor.shape().dims().iter().map(usize::to_string));
    let json = format!(
        r#"{{"inputs":[{{"name":"x","shape":{dims},"datatype":"{}","parameters":{{"binary_data_size":{}}}}}]}}"#,
        tensor.data_type(),
        blob.len()
    );
    ([json.as_bytes(), &blob].concat(), json.len())
}

fn read_back<T: Plain>(tensor: &Tensor, nest: bool, rotation: usize) -> Result<(), TestCaseError> {
    let body = request_in_json::<T>(tensor, nest, rotation);
    let decoded = decode(&body, None, &free(tensor)).unwrap();
    prop_assert!(same::<T>(&decoded.request.inputs()[0], tensor, true), "{}", text(&body));
    let (body, json_length) = request_in_binary::<T>(tensor);
    let decoded = decode(&body, Some(json_length), &free(tensor)).unwrap();
    prop_assert!(same::<T>(&decoded.request.inputs()[0], tensor, false));
    Ok(())
}

/// Splits the elements of a flat JSON array of scalars.
fn split(json: &str) -> Vec<String> {
    let values: Vec<serde_json::Value> = serde_json::from_str(json).unwrap();
    if values.iter().any(|value| value.as_str().is_some_and(|text| !matches!(text, "NaN" | "Infinity" | "-Infinity"))) {
        return values.iter().map(ToString::to_string).collect();
    }
    let inner = &json[1..json.len() - 1];
    if inner.is_empty() { vec![] } else { inner.split(',').map(String::from).collect() }
}

fn written<T: Plain>(tensor: &Tensor) -> Result<(), TestCaseError> {
    let answer = response(vec![("y", tensor.clone())]);
    let encoded = encode(&answer, &free(tensor), &Reply { id: Some("é\"".to_string()), ..Reply::default() }).unwrap();
    prop_assert_eq!(encoded.json_length, None);
    let document: serde_json::Value = serde_json::from_slice(&encoded.body).unwrap();
    prop_assert_eq!(&document["id"], "é\"");
    let output = &document["outputs"][0];
    let shape: Vec<usize> = serde_json::from_value(output["shape"].clone()).unwrap();
    prop_assert_eq!(&output["datatype"], tensor.data_type().name());
    let body = text(&encoded.body);
    let data = &body[body.find("\"data\":").unwrap() + 7..body.len() - 3];
    let elements = split(data).iter().map(|element| T::from_json(element)).collect();
    prop_assert!(same::<T>(&Tensor::from_elements(shape, elements).unwrap(), tensor, true), "{}", body);

    let encoded = encode(&answer, &free(tensor), &Reply { binary: true, ..Reply::default() }).unwrap();
    let (json, blob) = encoded.body.split_at(encoded.json_length.unwrap());
    let document: serde_json::Value = serde_json::from_slice(json).unwrap();
    prop_assert_eq!(&document["outputs"][0]["parameters"]["binary_data_size"], blob.len());
    let expected: Vec<u8> = tensor.elements::<T>().unwrap().iter().flat_map(T::to_bytes).collect();
    prop_assert_eq!(blob, expected);
    Ok(())
}

macro_rules! round_trips {
    ($($name:ident: $element:ty;)*) => {
        proptest! {
            $(#[test]
            fn $name(tensor in any_tensor::<$element>(), nest: bool, rotation in 0..4_usize) {
                read_back::<$element>(&tensor, nest, rotation)?;
                written::<$element>(&tensor)?;
            })*
        }
    };
}
round_trips! {
    booleans_survive: bool;
    uint8_survives: u8;
    uint16_survives: u16;
    uint32_survives: u32;
    uint64_survives: u64;
    int8_survives: i8;
    int16_survives: i16;
    int32_survives: i32;
    int64_survives: i64;
    halves_survive: f16;
    bfloats_survive: bf16;
    fp32_survives: f32;
    fp64_survives: f64;
    strings_survive: Vec<u8>;
}

proptest! {
    #[test]
    fn any_bytes_survive_in_binary(strings: Vec<Vec<u8>>) {
        let tensor = Tensor::from_elements([strings.len()], strings).unwrap();
        let (body, json_length) = request_in_binary::<Vec<u8>>(&tensor);
        let decoded = decode(&body, Some(json_length), &free(&tensor)).unwrap();
        prop_assert_eq!(&decoded.request.inputs()[0], &tensor);
        let mut out = Vec::new();
        binary::write(&mut out, tensor.data());
        prop_assert_eq!(Some(out.len()), binary::size(tensor.data()));
        prop_assert_eq!(&binary::read("x", DataType::Bytes, tensor.data().len(), &out).unwrap(), tensor.data());
    }

    #[test]
    fn a_damaged_request_is_refused_or_read_but_never_a_panic(
        tensor in any_tensor::<f32>(),
        cut in any::<prop::sample::Index>(),
        at in any::<prop::sample::Index>(),
        byte: u8,
    ) {
        let (mut body, json_length) = request_in_binary::<f32>(&tensor);
        let at = at.index(body.len());
        body[at] = byte;
        body.truncate(cut.index(body.len() * 2).min(body.len()));
        for json_length in [None, Some(json_length), Some(0)] {
            if let Ok(decoded) = decode(&body, json_length, &free(&tensor)) {
                let input = &decoded.request.inputs()[0];
                prop_assert_eq!(input.shape().elements(), Some(input.data().len()));
            }
        }
    }

    #[test]
    fn an_fp32_is_rounded_once_or_refused_when_it_is_too_large(value: f64) {
        let body = format!(r#"{{"inputs":[{{"name":"x","shape":[],"datatype":"FP32","data":[{value:e}]}}]}}"#);
        match decode(body.as_bytes(), None, &one_input(DataType::Fp32, &[])) {
            Ok(decoded) => {
                let expected: f32 = format!("{value:e}").parse().unwrap();
                prop_assert_eq!(decoded.request.inputs()[0].data(), &Data::Fp32(vec![expected].into()));
            }
            Err(_) => prop_assert!(value.abs() >= f64::from(f32::MAX)),
        }
    }
}

#[test]
fn nested_text_is_written_as_the_shape_says() {
    let style = crate::json::Style::default();
    let mut out = Vec::new();
    let data = Data::Int8(vec![1, 2, 3, 4, 5, 6].into());
    crate::json::write_nested(&mut out, &Shape::from([1, 3, 2]), &data, style).unwrap();
    crate::json::write_nested(&mut out, &Shape::from([]), &Data::Bool(vec![true].into()), style).unwrap();
    crate::json::write_nested(&mut out, &Shape::from([2, 0]), &Data::Fp32(vec![].into()), style).unwrap();
    crate::json::write_nested(&mut out, &Shape::from([0, 2]), &Data::Fp32(vec![].into()), style).unwrap();
    assert_eq!(text(&out), "[[[1,2],[3,4],[5,6]]]true[[],[]][]");
}
