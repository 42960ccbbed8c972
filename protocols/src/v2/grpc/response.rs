use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use hedef_core::{Data, Response, Signature, Tensor};

use super::contents;
use super::frame::Draft;
use super::wire::{begin_bytes, write_bytes, write_varint};
use crate::Error;
use crate::v2::output::Reply;
use crate::v2::{binary, classification};

/// Writes a `ModelInferResponse` in its frame, as `reply` asks for it.
///
/// All outputs are raw where one of them is asked for in binary or has no typed form, else all are typed.
/// `signature` has the labels for the classification extension. Fails when BYTES are to be classified, and when the
/// message is longer than a frame can say.
pub fn encode(response: &Response, signature: &Signature, reply: &Reply) -> Result<Bytes, Error> {
    write(response, signature, reply, false)?.finish()
}

/// A text beside an answer in a stream: the name of a parameter, and its value.
pub type Note<'a> = (&'a str, String);

/// Writes a `ModelStreamInferResponse` with an answer in it, in its frame. `note` is asked when all else is written.
pub fn encode_in_stream<'a>(
    response: &Response,
    signature: &Signature,
    reply: &Reply,
    note: impl FnOnce() -> Option<Note<'a>>,
) -> Result<Bytes, Error> {
    let mut draft = write(response, signature, reply, true)?;
    write_note(&mut draft.bytes, note());
    draft.wrap(2).finish()
}

/// Writes a `ModelStreamInferResponse` that says why the request of this id has no answer, in its frame.
pub fn encode_error(message: &str, id: &str, note: Option<Note<'_>>) -> Result<Bytes, Error> {
    let mut draft = Draft::with_capacity(message.len() + id.len() + 32);
    write_bytes(&mut draft.bytes, 1, message.as_bytes());
    // With its id, so that the client knows which request it was.
    let mut response = Vec::new();
    write_text(&mut response, 3, id);
    write_note(&mut response, note);
    write_bytes(&mut draft.bytes, 2, &response);
    draft.finish()
}

fn write(response: &Response, signature: &Signature, reply: &Reply, stream: bool) -> Result<Draft, Error> {
    let mut outputs = Vec::with_capacity(response.outputs.len());
    let (mut raw, mut size) = (false, 128_usize);
    for (name, tensor) in &response.outputs {
        let wish = reply.wish(name);
        let tensor = match wish.and_then(|wish| wish.classification) {
            Some(count) => Cow::Owned(classification::classify(name, tensor, count, signature)?),
            None => Cow::Borrowed(tensor),
        };
        let bytes = binary::size(tensor.data()).ok_or_else(|| {
            Error::unexpected(format!("output `{name}`"), "elements of at most 4294967295 bytes", "a longer one")
        })?;
        raw |= wish.and_then(|wish| wish.binary).unwrap_or(reply.binary);
        raw |= contents::field(tensor.data_type()).is_none();
        size = size.saturating_add(bytes + 64 + name.len());
        outputs.push((&**name, tensor, bytes));
    }

    let mut draft = Draft::with_capacity(size);
    let out = &mut draft.bytes;
    write_text(out, 1, response.model.name.as_str());
    write_text(out, 2, itoa::Buffer::new().format(response.model.version));
    write_text(out, 3, reply.id.as_deref().unwrap_or_default());
    if stream {
        // Each request has one answer, which is its last.
        write_bytes(out, 4, b"\x0a\x15triton_final_response\x12\x02\x08\x01");
    }
    let mut head = Vec::with_capacity(64);
    for (name, tensor, _) in &outputs {
        head.clear();
        write_output(&mut head, name, tensor, (!raw).then(|| reply.wish(name).is_some_and(|wish| wish.base64)));
        write_bytes(out, 5, &head);
    }
    for (_, tensor, bytes) in outputs.iter().filter(|_| raw) {
        begin_bytes(out, 6, *bytes);
        binary::write(out, tensor.data());
    }
    Ok(draft)
}

/// Writes an `InferOutputTensor`; with its elements if they are to be `typed`, those of BYTES as base64 if asked so.
fn write_output(out: &mut Vec<u8>, name: &str, tensor: &Tensor, typed: Option<bool>) {
    write_text(out, 1, name);
    write_text(out, 2, tensor.data_type().name());
    let mut dims = Vec::with_capacity(tensor.shape().rank());
    tensor.shape().dims().iter().for_each(|dim| write_varint(&mut dims, *dim as u64));
    if !dims.is_empty() {
        write_bytes(out, 3, &dims);
    }
    let Some(base64) = typed else { return };
    let contents = match tensor.data() {
        Data::Bytes(texts) if base64 => {
            write_bytes(out, 4, b"\x0a\x0ccontent_type\x12\x08\x1a\x06base64");
            let texts = texts.iter().map(|text| STANDARD.encode(text).into_bytes()).collect();
            contents::write(&Data::Bytes(texts))
        }
        data => contents::write(data),
    };
    write_bytes(out, 5, &contents.unwrap_or_default());
}

/// Writes an entry of a response's `parameters`, of which `string_param` has the number 3.
fn write_note(out: &mut Vec<u8>, note: Option<Note<'_>>) {
    let Some((name, value)) = note else { return };
    let (mut entry, mut parameter) = (Vec::new(), Vec::new());
    write_text(&mut entry, 1, name);
    write_bytes(&mut parameter, 3, value.as_bytes());
    write_bytes(&mut entry, 2, &parameter);
    write_bytes(out, 4, &entry);
}

/// Writes a text, which is left out where it is empty.
fn write_text(out: &mut Vec<u8>, field: u32, text: &str) {
    if !text.is_empty() {
        write_bytes(out, field, text.as_bytes());
    }
}
