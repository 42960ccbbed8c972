//! Whether an answer says what it should.

use std::path::PathBuf;

use hedef_core::{Data, DataType};
use hedef_protocols::v2::binary;
use serde_json::Value;

use crate::Error;
use crate::inputs::bodies;

/// What answers are compared with.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Expect {
    /// Nothing: status 200 is right.
    #[default]
    Anything,
    /// The first answer to the same request.
    First,
    /// The answers in a file, in the requests' order: one body of Open Inference Protocol v2, an array of them, or
    /// one a line.
    File(PathBuf),
}

/// Rounding differs with the number of rows that share a run; a wrong answer differs by more.
const TOLERANCE: f64 = 1e-3;

/// The outputs of one answer.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Expected {
    /// The bytes they were read from, with which most answers agree to the last one.
    bytes: Vec<u8>,
    outputs: Vec<Output>,
}

#[derive(Clone, Debug, PartialEq)]
struct Output {
    name: String,
    shape: Vec<u64>,
    elements: Elements,
}

#[derive(Clone, Debug, PartialEq)]
enum Elements {
    Numbers(Vec<f64>),
    Others(Vec<Value>),
}

/// Reads the answers of a file.
pub(crate) fn of_file(file: &std::path::Path) -> Result<Vec<Expected>, Error> {
    let name = || file.display().to_string();
    let text = std::fs::read_to_string(file).map_err(|error| Error::File { file: name(), error })?;
    let wrong = |reason: String| Error::Inputs { place: name(), reason };
    let all = bodies(&text).map_err(|error| wrong(error.to_string()))?;
    all.iter().map(|body| Expected::read(body.to_string().as_bytes(), None).map_err(wrong)).collect()
}

impl Expected {
    /// Reads the body of an answer.
    pub(crate) fn read(body: &[u8], json_length: Option<usize>) -> Result<Self, String> {
        let (json, mut blobs) = body.split_at_checked(json_length.unwrap_or(body.len())).ok_or("a body cut short")?;
        let document: Value = serde_json::from_slice(json).map_err(|error| error.to_string())?;
        let outputs = document.get("outputs").and_then(Value::as_array).ok_or("an answer without `outputs`")?;
        let outputs = outputs.iter().map(|output| read(output, &mut blobs)).collect::<Result<_, String>>()?;
        Ok(Self { bytes: body.to_vec(), outputs })
    }

    /// Says how the body of an answer differs, if it does by more than rounding.
    pub(crate) fn difference(&self, body: &[u8], json_length: Option<usize>) -> Option<String> {
        if self.bytes == body {
            return None;
        }
        let found = match Self::read(body, json_length) {
            Ok(found) => found,
            Err(reason) => return Some(reason),
        };
        self.outputs.iter().find_map(|expected| {
            let name = &expected.name;
            let Some(output) = found.outputs.iter().find(|output| output.name == *name) else {
                return Some(format!("output `{name}` is missing"));
            };
            if output.shape != expected.shape {
                return Some(format!("output `{name}`: expected shape {:?}, got {:?}", expected.shape, output.shape));
            }
            (!expected.elements.agree(&output.elements)).then(|| format!("output `{name}` has other values"))
        })
    }
}

impl Elements {
    /// Rounding is measured against the largest number: what a model adds up is rounded at that size.
    fn agree(&self, other: &Self) -> bool {
        let (Self::Numbers(a), Self::Numbers(b)) = (self, other) else { return self == other };
        let largest = a.iter().filter(|x| x.is_finite()).fold(0.0, |largest: f64, x| largest.max(x.abs()));
        let near = |(a, b): (&f64, &f64)| a == b || (a.is_nan() && b.is_nan()) || (a - b).abs() <= TOLERANCE * largest;
        a.len() == b.len() && a.iter().zip(b).all(near)
    }
}

fn read(output: &Value, blobs: &mut &[u8]) -> Result<Output, String> {
    let name = output.get("name").and_then(Value::as_str).ok_or("an output without a name")?.to_owned();
    let shape = output.get("shape").and_then(Value::as_array).ok_or_else(|| format!("output `{name}` has no shape"))?;
    let shape: Vec<u64> = shape.iter().filter_map(Value::as_u64).collect();
    let size = output.pointer("/parameters/binary_data_size").and_then(Value::as_u64);
    let elements = match (size, output.get("data")) {
        (Some(size), _) => {
            let size = usize::try_from(size).unwrap_or(usize::MAX);
            let (own, rest) = blobs.split_at_checked(size).ok_or_else(|| format!("output `{name}` is cut short"))?;
            *blobs = rest;
            let data_type = output.get("datatype").and_then(Value::as_str).and_then(DataType::from_name);
            let data_type = data_type.ok_or_else(|| format!("output `{name}` is of an unknown data type"))?;
            let count = shape.iter().product::<u64>();
            let count = usize::try_from(count).unwrap_or(usize::MAX);
            let data = binary::read(&format!("output `{name}`"), data_type, count, own);
            of_data(&data.map_err(|error| error.to_string())?)
        }
        (None, Some(data)) => of_json(data, is_float(output)),
        (None, None) => return Err(format!("output `{name}` has no data")),
    };
    Ok(Output { name, shape, elements })
}

/// JSON has no form for some floats, which servers then quote.
fn is_float(output: &Value) -> bool {
    output.get("datatype").and_then(Value::as_str).is_some_and(|name| name.starts_with("FP") || name == "BF16")
}

fn of_json(data: &Value, quoted: bool) -> Elements {
    fn flatten<'v>(value: &'v Value, all: &mut Vec<&'v Value>) {
        match value {
            Value::Array(values) => values.iter().for_each(|value| flatten(value, all)),
            value => all.push(value),
        }
    }
    let mut all = Vec::new();
    flatten(data, &mut all);
    let number = |value: &&Value| value.as_f64().or_else(|| value.as_str().filter(|_| quoted)?.parse().ok());
    match all.iter().map(number).collect::<Option<Vec<f64>>>() {
        Some(numbers) => Elements::Numbers(numbers),
        None => Elements::Others(all.into_iter().cloned().collect()),
    }
}

fn of_data(data: &Data) -> Elements {
    fn numbers<T: Copy>(all: &[T], number: impl Fn(T) -> f64) -> Elements {
        Elements::Numbers(all.iter().map(|x| number(*x)).collect())
    }
    match data {
        Data::Bool(all) => Elements::Others(all.iter().map(|x| Value::from(*x)).collect()),
        Data::Uint8(all) => numbers(all, f64::from),
        Data::Uint16(all) => numbers(all, f64::from),
        Data::Uint32(all) => numbers(all, f64::from),
        Data::Uint64(all) => numbers(all, |x| Value::from(x).as_f64().unwrap_or(f64::NAN)),
        Data::Int8(all) => numbers(all, f64::from),
        Data::Int16(all) => numbers(all, f64::from),
        Data::Int32(all) => numbers(all, f64::from),
        Data::Int64(all) => numbers(all, |x| Value::from(x).as_f64().unwrap_or(f64::NAN)),
        Data::Fp16(all) => numbers(all, f64::from),
        Data::Bf16(all) => numbers(all, f64::from),
        Data::Fp32(all) => numbers(all, f64::from),
        Data::Fp64(all) => numbers(all, |x| x),
        Data::Bytes(all) => {
            Elements::Others(all.iter().map(|text| String::from_utf8_lossy(text).into_owned().into()).collect())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(data: &str) -> Vec<u8> {
        let output = format!(r#"{{"name":"y","shape":[1,2],"datatype":"FP32","data":{data}}}"#);
        format!(r#"{{"model_name":"m","outputs":[{output}]}}"#).into_bytes()
    }

    fn difference(first: &str, other: &str) -> Option<String> {
        Expected::read(&answer(first), None).unwrap().difference(&answer(other), None)
    }

    #[test]
    fn rounding_is_no_difference_and_another_value_is() {
        assert_eq!(difference("[1.0,100.0]", "[1.0,100.0]"), None);
        assert_eq!(difference("[1.0,100.0]", "[[1.00001,100.01]]"), None);
        assert_eq!(difference("[1.0,100.0]", "[1.0,101.0]").unwrap(), "output `y` has other values");
        assert_eq!(difference(r#"["a","b"]"#, r#"["a","c"]"#).unwrap(), "output `y` has other values");
        assert_eq!(difference(r#"["NaN",1]"#, r#"["NaN",1.0]"#), None);
        assert!(difference("[1,2]", "[1,2,3]").is_some());
    }

    #[test]
    fn an_answer_in_binary_says_the_same_as_one_in_json() {
        let json = br#"{"outputs":[{"name":"y","shape":[1,2],"datatype":"FP32","parameters":{"binary_data_size":8}}]}"#;
        let mut body = json.to_vec();
        body.extend([1.0_f32, 2.5].iter().flat_map(|x| x.to_le_bytes()));
        let expected = Expected::read(&answer("[1, 2.5]"), None).unwrap();
        assert_eq!(expected.difference(&body, Some(json.len())), None);
        assert!(expected.difference(&body[..body.len() - 1], Some(json.len())).unwrap().contains("cut short"));
        assert!(expected.difference(b"{}", None).unwrap().contains("without `outputs`"));
    }
}
