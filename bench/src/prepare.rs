//! The bytes of requests, made before the clock runs.

use std::time::Duration;

use hedef_core::{Signature, Tensor};
use hedef_protocols::json::{Style, write_elements, write_str};
use hedef_protocols::v2::binary;
use serde_json::{Value, json};

use crate::http::{Format, Target};
use crate::inputs::Sample;
use crate::{Error, declared};

/// One request as it goes over the wire.
#[derive(Debug)]
pub(crate) struct Prepared {
    /// Head and body.
    pub(crate) wire: Vec<u8>,
    pub(crate) rows: usize,
}

/// Makes the bytes of `sample`.
pub(crate) fn prepare(target: &Target, signature: &Signature, sample: &Sample) -> Result<Prepared, Error> {
    let (json, blobs) = match (&sample.body, target.format) {
        (Some(body), Format::Json) => (own_body(body.clone(), target.timeout), Vec::new()),
        _ => body(signature, sample, target)?,
    };
    let path = declared::path(&target.model, target.version.as_deref());
    let address = &target.address;
    let kind = if target.format == Format::Binary { "application/octet-stream" } else { "application/json" };
    let mut wire = format!(
        "POST {}{path}/infer HTTP/1.1\r\nHost: {}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n",
        address.prefix,
        address.host,
        json.len() + blobs.len()
    )
    .into_bytes();
    if target.format == Format::Binary {
        wire.extend_from_slice(format!("Inference-Header-Content-Length: {}\r\n", json.len()).as_bytes());
    }
    wire.extend_from_slice(b"\r\n");
    wire.extend_from_slice(&json);
    wire.extend_from_slice(&blobs);
    Ok(Prepared { wire, rows: sample.rows })
}

/// The owner's body, with the time allowed among its parameters.
fn own_body(mut body: Value, timeout: Option<Duration>) -> Vec<u8> {
    if let (Some(timeout), Some(fields)) = (timeout, body.as_object_mut()) {
        let parameters = fields.entry("parameters").or_insert_with(|| json!({}));
        if let Some(parameters) = parameters.as_object_mut() {
            parameters.insert("timeout".into(), json!(microseconds(timeout)));
        }
    }
    body.to_string().into_bytes()
}

/// The JSON of a request, and the tensors that follow it in binary.
fn body(signature: &Signature, sample: &Sample, target: &Target) -> Result<(Vec<u8>, Vec<u8>), Error> {
    let binary = target.format == Format::Binary;
    let (mut json, mut blobs) = (b"{".to_vec(), Vec::new());
    let mut parameters = Vec::new();
    parameters.extend(target.timeout.map(|timeout| format!("\"timeout\":{}", microseconds(timeout))));
    parameters.extend(binary.then(|| "\"binary_data_output\":true".to_owned()));
    if !parameters.is_empty() {
        json.extend_from_slice(format!("\"parameters\":{{{}}},", parameters.join(",")).as_bytes());
    }
    json.extend_from_slice(b"\"inputs\":[");
    for (index, (spec, tensor)) in signature.inputs.iter().zip(&sample.tensors).enumerate() {
        if index > 0 {
            json.push(b',');
        }
        write_input(&mut json, &mut blobs, &spec.name, tensor, binary)?;
    }
    json.extend_from_slice(b"]}");
    Ok((json, blobs))
}

fn write_input(
    json: &mut Vec<u8>,
    blobs: &mut Vec<u8>,
    name: &str,
    tensor: &Tensor,
    binary: bool,
) -> Result<(), Error> {
    json.extend_from_slice(b"{\"name\":");
    write_str(json, name);
    json.extend_from_slice(format!(",\"datatype\":\"{}\",\"shape\":{}", tensor.data_type(), tensor.shape()).as_bytes());
    let wrong = |reason: String| Error::Inputs { place: format!("input `{name}`"), reason };
    if binary {
        let size = binary::size(tensor.data()).ok_or_else(|| wrong("an element is too long".into()))?;
        json.extend_from_slice(format!(",\"parameters\":{{\"binary_data_size\":{size}}}}}").as_bytes());
        binary::write(blobs, tensor.data());
        return Ok(());
    }
    json.extend_from_slice(b",\"data\":");
    let elements = 0..tensor.data().len();
    write_elements(json, tensor.data(), elements, Style::default()).map_err(|error| wrong(error.to_string()))?;
    json.push(b'}');
    Ok(())
}

fn microseconds(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use hedef_core::{DataType, Dim, TensorSpec};
    use hedef_protocols::v2;

    use super::*;

    fn target(format: Format, timeout: Option<Duration>) -> Target {
        let address = "127.0.0.1:1".parse().unwrap();
        Target { address, model: "m".into(), version: None, format, timeout }
    }

    fn sample() -> (Signature, Sample) {
        let spec = |name: &str, data_type| TensorSpec::new(name, data_type, Some(vec![Dim::Free]));
        let inputs = vec![spec("x", DataType::Fp32), spec("words", DataType::Bytes)];
        let numbers = Tensor::from_elements([2], vec![0.1_f32, 2.0]).unwrap();
        let words = Tensor::from_elements([2], vec![b"a\"b".to_vec(), b"".to_vec()]).unwrap();
        let sample = Sample { tensors: vec![numbers, words], rows: 2, body: None };
        (Signature { inputs, outputs: vec![], batch_axis: false }, sample)
    }

    /// Head and body apart.
    fn parts(wire: &[u8]) -> (String, &[u8]) {
        let at = wire.windows(4).position(|four| four == b"\r\n\r\n").unwrap() + 4;
        (String::from_utf8(wire[..at].to_vec()).unwrap(), &wire[at..])
    }

    #[test]
    fn both_formats_are_read_as_what_they_were_made_of() {
        let (signature, sample) = sample();
        for format in [Format::Json, Format::Binary] {
            let timeout = Some(Duration::from_millis(20));
            let prepared = prepare(&target(format, timeout), &signature, &sample).unwrap();
            let (head, body) = parts(&prepared.wire);
            assert!(head.starts_with("POST /v2/models/m/infer HTTP/1.1\r\nHost: 127.0.0.1:1\r\n"), "{head}");
            assert!(head.contains(&format!("Content-Length: {}\r\n", body.len())), "{head}");
            let json = head.split("Inference-Header-Content-Length: ").nth(1);
            let json = json.map(|rest| rest.split("\r\n").next().unwrap().parse().unwrap());
            assert_eq!(json.is_some(), format == Format::Binary);
            let decoded = v2::decode(body, json, &signature).unwrap();
            assert_eq!(decoded.request.inputs(), sample.tensors);
            assert_eq!(decoded.timeout_us, Some(20_000));
        }
    }

    #[test]
    fn an_own_body_keeps_what_it_says_and_learns_the_time_allowed() {
        let (signature, mut sample) = sample();
        sample.body = Some(json!({"id": "7", "parameters": {"priority": 1}, "inputs": []}));
        let prepared = prepare(&target(Format::Json, Some(Duration::from_millis(1))), &signature, &sample).unwrap();
        let body: Value = serde_json::from_slice(parts(&prepared.wire).1).unwrap();
        assert_eq!(body, json!({"id": "7", "parameters": {"priority": 1, "timeout": 1000}, "inputs": []}));
    }
}
