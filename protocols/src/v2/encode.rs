use std::borrow::Cow;

use hedef_core::{Data, Response, Signature, Tensor};

use super::output::Reply;
use super::{binary, classification};
use crate::Error;
use crate::json::{BytesAs, NonFinite, Style, write_elements, write_str};

/// The body of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Encoded {
    /// JSON, and after it the tensors in binary, if any.
    pub body: Vec<u8>,
    /// The value of the header `Inference-Header-Content-Length` when tensors in binary follow the JSON; the
    /// content type is `application/octet-stream` then, else `application/json`.
    pub json_length: Option<usize>,
}

/// Writes the answer to `POST /v2/models/{model}/infer` the way `reply` asks for it.
///
/// `signature` has the labels for the classification extension. Fails when BYTES that are not UTF-8 are asked for
/// as JSON strings, and when BYTES are to be classified.
pub fn encode(response: &Response, signature: &Signature, reply: &Reply) -> Result<Encoded, Error> {
    let mut out = Vec::with_capacity(estimate(response));
    out.extend_from_slice(b"{\"model_name\":");
    write_str(&mut out, response.model.name.as_str());
    out.extend_from_slice(b",\"model_version\":\"");
    write_number(&mut out, response.model.version);
    out.push(b'"');
    if let Some(id) = &reply.id {
        out.extend_from_slice(b",\"id\":");
        write_str(&mut out, id);
    }
    out.extend_from_slice(b",\"outputs\":[");
    let mut blobs = Vec::new();
    for (position, (name, tensor)) in response.outputs.iter().enumerate() {
        if position > 0 {
            out.push(b',');
        }
        blobs.extend(write_output(&mut out, (name, tensor), signature, reply)?);
    }
    out.extend_from_slice(b"]}");
    let json_length = (!blobs.is_empty()).then_some(out.len());
    blobs.iter().for_each(|tensor| binary::write(&mut out, tensor.data()));
    Ok(Encoded { body: out, json_length })
}

/// Appends one output and gives it back if it is to follow in binary.
fn write_output<'r>(
    out: &mut Vec<u8>,
    (name, tensor): (&str, &'r Tensor),
    signature: &Signature,
    reply: &Reply,
) -> Result<Option<Cow<'r, Tensor>>, Error> {
    let wish = reply.wish(name);
    let tensor = match wish.and_then(|wish| wish.classification) {
        Some(count) => Cow::Owned(classification::classify(name, tensor, count, signature)?),
        None => Cow::Borrowed(tensor),
    };
    let in_binary = wish.and_then(|wish| wish.binary).unwrap_or(reply.binary);
    write_head(out, name, &tensor);
    if in_binary {
        let size = binary::size(tensor.data()).ok_or_else(|| {
            Error::unexpected(format!("output `{name}`"), "elements of at most 4294967295 bytes", "a longer one")
        })?;
        out.extend_from_slice(b",\"parameters\":{\"binary_data_size\":");
        write_number(out, size);
        out.extend_from_slice(b"}}");
        return Ok(Some(tensor));
    }
    let base64 = wish.is_some_and(|wish| wish.base64) && matches!(tensor.data(), Data::Bytes(_));
    if base64 {
        out.extend_from_slice(b",\"parameters\":{\"content_type\":\"base64\"}");
    }
    out.extend_from_slice(b",\"data\":");
    let bytes = if base64 { BytesAs::Base64 } else { BytesAs::Text };
    let style = Style { non_finite: NonFinite::Quoted, bytes };
    write_elements(out, tensor.data(), 0..tensor.data().len(), style)
        .map_err(|error| Error::NotText { output: name.to_string(), index: error.index })?;
    out.push(b'}');
    Ok(None)
}

fn write_head(out: &mut Vec<u8>, name: &str, tensor: &Tensor) {
    out.extend_from_slice(b"{\"name\":");
    write_str(out, name);
    out.extend_from_slice(b",\"shape\":[");
    for (axis, dim) in tensor.shape().dims().iter().enumerate() {
        if axis > 0 {
            out.push(b',');
        }
        write_number(out, *dim);
    }
    out.extend_from_slice(b"],\"datatype\":\"");
    out.extend_from_slice(tensor.data_type().name().as_bytes());
    out.push(b'"');
}

fn write_number(out: &mut Vec<u8>, number: impl itoa::Integer) {
    out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
}

/// Roughly the bytes of the body, so that it seldom has to grow.
fn estimate(response: &Response) -> usize {
    let elements: usize =
        response.outputs.iter().map(|(name, tensor)| 128 + name.len() + tensor.data().len() * 12).sum();
    elements + 128
}
