//! Reads a file as an ONNX model, and finds out what is wrong where it is none.

use std::fs::File;
use std::io;
use std::path::Path;

use prost::Message;
use prost::bytes::Buf;
use prost::encoding::{WireType, decode_key, decode_varint};

use super::error::PreflightError;
use super::proto::ModelProto;
use super::recognise::recognise;
use super::window::Window;

/// A decoded model without its weights.
pub(super) struct Model {
    pub(super) proto: ModelProto,
    /// The size of its file.
    pub(super) bytes: u64,
}

/// Reads the model at `path`; errors call it `name`.
pub(super) fn read(path: &Path, name: &str) -> Result<Model, PreflightError> {
    let unreadable = |source: io::Error| PreflightError::Unreadable { file: name.to_owned(), source };
    let file = File::open(path).map_err(unreadable)?;
    let facts = file.metadata().map_err(unreadable)?;
    if facts.is_dir() {
        return Err(unreadable(io::ErrorKind::IsADirectory.into()));
    }
    let bytes = facts.len();
    if bytes == 0 {
        return Err(PreflightError::Empty { file: name.to_owned() });
    }
    let mut window = Window::new(file, bytes).map_err(unreadable)?;
    if let Some((what, helps)) = recognise(window.peek()) {
        return Err(PreflightError::Foreign { file: name.to_owned(), what, helps });
    }
    let outline = outline(&mut window);
    let file = window.finish().map_err(unreadable)?;
    let looks_like_onnx = match outline {
        Outline::Whole => true,
        Outline::Foreign => false,
        Outline::Truncated { missing } => {
            return Err(PreflightError::Truncated {
                file: name.to_owned(),
                found: bytes,
                expected: bytes.saturating_add(missing),
            });
        }
    };
    let mut window = Window::new(file, bytes).map_err(unreadable)?;
    let decoded = ModelProto::decode(&mut window);
    window.finish().map_err(unreadable)?;
    match decoded {
        Ok(proto) => complete(proto, name).map(|proto| Model { proto, bytes }),
        Err(error) if looks_like_onnx => {
            Err(PreflightError::Damaged { file: name.to_owned(), detail: error.to_string() })
        }
        Err(error) => Err(PreflightError::NotOnnx { file: name.to_owned(), detail: error.to_string() }),
    }
}

/// Other protocol-buffer files may decode as a model in which everything is unknown.
fn complete(proto: ModelProto, name: &str) -> Result<ModelProto, PreflightError> {
    let missing = |part| Err(PreflightError::Incomplete { file: name.to_owned(), part });
    match (&proto.graph, proto.ir_version) {
        (None, None) => {
            let detail = "neither a graph nor an IR version is in it".to_owned();
            Err(PreflightError::NotOnnx { file: name.to_owned(), detail })
        }
        (None, Some(_)) => missing("graph"),
        (Some(_), None) => missing("IR version"),
        (Some(_), Some(_)) if proto.opset_import.is_empty() => missing("operator set"),
        (Some(_), Some(_)) => Ok(proto),
    }
}

/// What the outermost fields of a file tell.
enum Outline {
    /// They fill the file exactly.
    Whole,
    /// The last one ends so many bytes behind the file's end.
    Truncated { missing: u64 },
    /// They are not those of an ONNX model.
    Foreign,
}

/// No IR version is near this; files of other kinds that begin like a model are told apart by it.
const PLAUSIBLE_IR: u64 = 1000;

/// Walks the outermost fields without looking into them.
fn outline(buffer: &mut impl Buf) -> Outline {
    // Every exporter writes the IR version first: without it a file is too unlike a model to be called truncated.
    let mut seen_ir = false;
    while buffer.has_remaining() {
        let cut_off = if seen_ir { Outline::Truncated { missing: 1 } } else { Outline::Foreign };
        // A key or a length takes at most ten bytes: one that cannot be read for lack of them was cut off.
        let ends_here = buffer.remaining() < 10;
        let unreadable = if ends_here { cut_off } else { Outline::Foreign };
        let Ok((field, wire)) = decode_key(buffer) else { return unreadable };
        let length = match wire {
            WireType::Varint => {
                let Ok(value) = decode_varint(buffer) else { return unreadable };
                seen_ir |= field == 1 && value < PLAUSIBLE_IR;
                0
            }
            WireType::LengthDelimited => match decode_varint(buffer) {
                Ok(length) => length,
                Err(_) => return unreadable,
            },
            WireType::SixtyFourBit => 8,
            WireType::ThirtyTwoBit => 4,
            WireType::StartGroup | WireType::EndGroup => return Outline::Foreign,
        };
        let remaining = u64::try_from(buffer.remaining()).unwrap_or(u64::MAX);
        match length.checked_sub(remaining) {
            Some(missing) if missing > 0 => {
                return if seen_ir { Outline::Truncated { missing } } else { Outline::Foreign };
            }
            _ => buffer.advance(usize::try_from(length).unwrap_or(usize::MAX)),
        }
    }
    if seen_ir { Outline::Whole } else { Outline::Foreign }
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{identity, refusal_of_bytes};
    use super::*;

    #[test]
    fn every_cut_of_a_model_is_called_truncated_or_incomplete() {
        let whole = identity().encode_to_vec();
        for length in 3..whole.len() {
            let refusal = refusal_of_bytes(&whole[..length]);
            let fits =
                refusal.starts_with("`model.onnx` is truncated") || refusal.starts_with("`model.onnx` is incomplete");
            assert!(fits, "{length} of {}: {refusal}", whole.len());
        }
    }

    #[test]
    fn a_truncated_model_tells_both_sizes() {
        let mut whole = identity();
        whole.producer_name = vec![b'x'; 1000];
        let bytes = whole.encode_to_vec();
        let refusal = refusal_of_bytes(&bytes[..105]);
        assert_eq!(
            refusal,
            "`model.onnx` is truncated: it holds 105 bytes and its contents call for at least 1005: copy it again, whole"
        );
    }

    #[test]
    fn an_empty_file_and_noise_are_told_apart() {
        assert_eq!(refusal_of_bytes(b""), "`model.onnx` is empty: copy or export the model again");
        let noise: Vec<u8> = (0..600u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8 | 0x80).collect();
        assert!(refusal_of_bytes(&noise).starts_with("`model.onnx` is no ONNX model: its bytes"));
        assert!(refusal_of_bytes(b"<!doctype html><p>404").contains("a web page"));
    }

    #[test]
    fn a_model_that_goes_wrong_inside_is_called_damaged() {
        let mut bytes = identity().encode_to_vec();
        let name = bytes.windows(8).position(|window| window == b"Identity").unwrap();
        bytes[name] = 0xff;
        assert!(refusal_of_bytes(&bytes).starts_with("`model.onnx` is damaged: "));
    }

    #[test]
    fn graphs_nested_without_end_are_refused() {
        let mut bytes = Vec::new();
        // graph(7) { node(1) { attribute(5) { g(6) { … } } } }, built from the inside out.
        for level in 0..3000 {
            let tag = [0x32, 0x2a, 0x0a][level % 3];
            let mut outer = vec![tag];
            prost::encoding::encode_varint(bytes.len() as u64, &mut outer);
            outer.append(&mut bytes);
            bytes = outer;
        }
        let mut model = vec![0x08, 8, 0x3a];
        prost::encoding::encode_varint(bytes.len() as u64, &mut model);
        model.append(&mut bytes);
        assert!(refusal_of_bytes(&model).contains("recursion limit"));
    }

    #[test]
    fn what_lacks_a_part_of_a_model_says_which() {
        let without = |change: fn(&mut ModelProto)| {
            let mut model = identity();
            change(&mut model);
            refusal_of_bytes(&model.encode_to_vec())
        };
        assert!(without(|model| model.graph = None).contains("it has no graph"));
        assert!(without(|model| model.opset_import.clear()).contains("it has no operator set"));
        assert!(without(|model| model.ir_version = None).contains("it has no IR version"));
    }
}
