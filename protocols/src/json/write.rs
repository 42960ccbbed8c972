use std::ops::Range;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use half::{bf16, f16};
use hedef_core::{Data, Shape};

/// How to tell what JSON has no form for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Style {
    /// NaN and the infinities.
    pub non_finite: NonFinite,
    /// The elements of BYTES.
    pub bytes: BytesAs,
}

/// How to write NaN and the infinities.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum NonFinite {
    /// As the strings `"NaN"`, `"Infinity"` and `"-Infinity"`, which strict JSON allows.
    #[default]
    Quoted,
    /// As the bare tokens `NaN`, `Infinity` and `-Infinity`, as TensorFlow Serving does.
    Bare,
}

/// How to write the elements of BYTES.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BytesAs {
    /// As strings; elements that are not UTF-8 are an error.
    #[default]
    Text,
    /// As strings of base64.
    Base64,
    /// As objects `{"b64":"…"}`.
    Object,
}

/// An element of BYTES that no JSON string can hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("element {index} is not UTF-8")]
pub struct NotText {
    /// Its position among all elements.
    pub index: usize,
}

/// Appends `text` as a JSON string.
pub fn write_str(out: &mut Vec<u8>, text: &str) {
    out.push(b'"');
    let mut rest = text.as_bytes();
    let special = |byte: &u8| matches!(byte, b'"' | b'\\' | 0..=0x1F);
    while let Some((plain, [byte, tail @ ..])) = rest.iter().position(special).and_then(|at| rest.split_at_checked(at))
    {
        out.extend_from_slice(plain);
        write_escape(out, *byte);
        rest = tail;
    }
    out.extend_from_slice(rest);
    out.push(b'"');
}

fn write_escape(out: &mut Vec<u8>, byte: u8) {
    let short = match byte {
        b'"' => b'"',
        b'\\' => b'\\',
        b'\n' => b'n',
        b'\r' => b'r',
        b'\t' => b't',
        _ => {
            let hex = |digit: u8| if digit < 10 { b'0' + digit } else { b'a' - 10 + digit };
            out.extend_from_slice(&[b'\\', b'u', b'0', b'0', hex(byte >> 4), hex(byte & 15)]);
            return;
        }
    };
    out.extend_from_slice(&[b'\\', short]);
}

/// Appends the elements `range` of `data` as one flat JSON array. Elements beyond the end are left out.
///
/// Floats are written with the fewest digits that parse back to the same bits; FP16 and BF16 as the FP32 of the
/// same value.
pub fn write_elements(out: &mut Vec<u8>, data: &Data, range: Range<usize>, style: Style) -> Result<(), NotText> {
    let range = range.start.min(data.len())..range.end.min(data.len());
    write_list(out, data, range, style)
}

/// Appends all elements of `data` as JSON arrays nested like `shape`, row-major; a scalar stands bare.
///
/// `data` has the elements that `shape` wants, as those of a [`hedef_core::Tensor`] do.
pub fn write_nested(out: &mut Vec<u8>, shape: &Shape, data: &Data, style: Style) -> Result<(), NotText> {
    match shape.dims() {
        [] => write_bare(out, data, style),
        dims => write_level(out, dims, data, 0..data.len(), style),
    }
}

fn write_level(
    out: &mut Vec<u8>,
    dims: &[usize],
    data: &Data,
    range: Range<usize>,
    style: Style,
) -> Result<(), NotText> {
    let (&size, inner) = dims.split_first().unwrap_or((&0, &[]));
    if inner.is_empty() {
        return write_list(out, data, range, style);
    }
    let each = range.len().checked_div(size).unwrap_or(0);
    out.push(b'[');
    for index in 0..size {
        if index > 0 {
            out.push(b',');
        }
        let start = range.start + index * each;
        write_level(out, inner, data, start..start + each, style)?;
    }
    out.push(b']');
    Ok(())
}

fn write_bare(out: &mut Vec<u8>, data: &Data, style: Style) -> Result<(), NotText> {
    let mut list = Vec::new();
    write_list(&mut list, data, 0..data.len(), style)?;
    out.extend_from_slice(list.get(1..list.len().saturating_sub(1)).unwrap_or_default());
    Ok(())
}

fn write_list(out: &mut Vec<u8>, data: &Data, range: Range<usize>, style: Style) -> Result<(), NotText> {
    macro_rules! list {
        ($($variant:ident => $write:expr;)*) => {
            match data { $(Data::$variant(elements) => list(out, elements, range, $write)?,)* }
        };
    }
    out.push(b'[');
    list! {
        Bool => |out, value| { write_bool(out, *value); Ok(()) };
        Uint8 => write_integer;
        Uint16 => write_integer;
        Uint32 => write_integer;
        Uint64 => write_integer;
        Int8 => write_integer;
        Int16 => write_integer;
        Int32 => write_integer;
        Int64 => write_integer;
        Fp16 => |out, value: &f16| { write_float(out, value.to_f32(), style); Ok(()) };
        Bf16 => |out, value: &bf16| { write_float(out, value.to_f32(), style); Ok(()) };
        Fp32 => |out, value| { write_float(out, *value, style); Ok(()) };
        Fp64 => |out, value| { write_float(out, *value, style); Ok(()) };
        Bytes => |out, value: &Vec<u8>| write_bytes(out, value, style);
    }
    out.push(b']');
    Ok(())
}

/// That one element is not UTF-8; the position is the caller's to know.
struct Unwritable;

#[inline]
fn list<T>(
    out: &mut Vec<u8>,
    elements: &[T],
    range: Range<usize>,
    mut write: impl FnMut(&mut Vec<u8>, &T) -> Result<(), Unwritable>,
) -> Result<(), NotText> {
    let first = range.start;
    for (position, element) in elements.get(range).unwrap_or_default().iter().enumerate() {
        if position > 0 {
            out.push(b',');
        }
        write(out, element).map_err(|_| NotText { index: first + position })?;
    }
    Ok(())
}

fn write_bool(out: &mut Vec<u8>, value: bool) {
    out.extend_from_slice(if value { b"true" } else { b"false" });
}

#[expect(clippy::unnecessary_wraps, reason = "one of the writers of elements, of which one can fail")]
fn write_integer<T: itoa::Integer + Copy>(out: &mut Vec<u8>, value: &T) -> Result<(), Unwritable> {
    out.extend_from_slice(itoa::Buffer::new().format(*value).as_bytes());
    Ok(())
}

fn write_float<T: zmij::Float + Into<f64>>(out: &mut Vec<u8>, value: T, style: Style) {
    let double: f64 = value.into();
    if double.is_finite() {
        out.extend_from_slice(zmij::Buffer::new().format_finite(value).as_bytes());
        return;
    }
    let text = match (double.is_nan(), double > 0.0) {
        (true, _) => "NaN",
        (false, true) => "Infinity",
        (false, false) => "-Infinity",
    };
    match style.non_finite {
        NonFinite::Quoted => write_str(out, text),
        NonFinite::Bare => out.extend_from_slice(text.as_bytes()),
    }
}

fn write_bytes(out: &mut Vec<u8>, value: &[u8], style: Style) -> Result<(), Unwritable> {
    match style.bytes {
        BytesAs::Text => write_str(out, std::str::from_utf8(value).map_err(|_| Unwritable)?),
        BytesAs::Base64 => write_str(out, &STANDARD.encode(value)),
        BytesAs::Object => {
            out.extend_from_slice(b"{\"b64\":");
            write_str(out, &STANDARD.encode(value));
            out.push(b'}');
        }
    }
    Ok(())
}
