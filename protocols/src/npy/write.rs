use hedef_core::{Data, Tensor};

use super::MAGIC;
use crate::Error;

/// Strings are filled up to the longest one; what that may come to.
const MAX_STRING_BYTES: usize = 1 << 30;

/// NumPy leaves room in a header for the first dimension to grow to so many digits.
const GROWTH_DIGITS: usize = 21;

/// Writes one array, byte for byte as NumPy does on a little-endian machine.
///
/// BYTES become strings of fixed width: `<U` when all are UTF-8, else `|S`. Fails on what NumPy has no form for: BF16,
/// and strings that end in a zero byte, which would be lost in the filling.
pub fn write(tensor: &Tensor) -> Result<Vec<u8>, Error> {
    let dims = tensor.shape().dims();
    macro_rules! numbers {
        ($($variant:ident $descr:literal)*) => {
            match tensor.data() {
                $(Data::$variant(elements) => {
                    let mut out = start($descr, dims, size_of_val::<[_]>(elements));
                    out.extend(elements.iter().flat_map(|element| element.to_le_bytes()));
                    Ok(out)
                })*
                Data::Bool(elements) => {
                    let mut out = start("|b1", dims, elements.len());
                    out.extend(elements.iter().map(|element| u8::from(*element)));
                    Ok(out)
                }
                Data::Bytes(elements) => strings(elements, dims),
                Data::Bf16(_) => Err(unsupported("NumPy has no BF16".to_string())),
            }
        };
    }
    numbers!(Uint8 "|u1" Uint16 "<u2" Uint32 "<u4" Uint64 "<u8" Int8 "|i1" Int16 "<i2" Int32 "<i4" Int64 "<i8"
        Fp16 "<f2" Fp32 "<f4" Fp64 "<f8")
}

fn strings(elements: &[Vec<u8>], dims: &[usize]) -> Result<Vec<u8>, Error> {
    if let Some(index) = elements.iter().position(|element| element.last() == Some(&0)) {
        return Err(unsupported(format!("element {index} ends in a zero byte, which NumPy's strings cannot")));
    }
    let texts: Option<Vec<&str>> = elements.iter().map(|element| std::str::from_utf8(element).ok()).collect();
    let lengths = |texts: &[&str]| texts.iter().map(|text| text.chars().count()).max();
    let (longest, size) = match &texts {
        Some(texts) => (lengths(texts), 4),
        None => (elements.iter().map(Vec::len).max(), 1),
    };
    // A width of 0 is no type that NumPy writes.
    let width = longest.unwrap_or(0).max(1);
    let element = width.saturating_mul(size);
    let total = element.saturating_mul(elements.len());
    if total > MAX_STRING_BYTES {
        let reason = format!("all strings filled up to the longest, of {width} characters, would take {total} bytes");
        return Err(unsupported(reason));
    }
    let mut out = start(&if size == 4 { format!("<U{width}") } else { format!("|S{width}") }, dims, total);
    for (index, bytes) in elements.iter().enumerate() {
        let end = out.len() + element;
        match texts.as_ref().and_then(|texts| texts.get(index)) {
            Some(text) => out.extend(text.chars().flat_map(|c| u32::from(c).to_le_bytes())),
            None => out.extend_from_slice(bytes),
        }
        out.resize(end, 0);
    }
    Ok(out)
}

/// Everything before the elements, with room for `bytes` of them.
fn start(descr: &str, dims: &[usize], bytes: usize) -> Vec<u8> {
    let shape: String = match dims {
        [only] => format!("{only},"),
        dims => dims.iter().map(usize::to_string).collect::<Vec<_>>().join(", "),
    };
    let mut text = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': ({shape}), }}");
    if let Some(first) = dims.first() {
        text.extend(std::iter::repeat_n(' ', GROWTH_DIGITS.saturating_sub(first.to_string().len())));
    }
    let version_1 = MAGIC.len() + 2 + 2;
    let (prefix, version) = if text.len() + 64 <= usize::from(u16::MAX) { (version_1, 1) } else { (version_1 + 2, 2) };
    // The elements begin on a boundary of 64 bytes, after the line end.
    let filled = (prefix + text.len() + 1).next_multiple_of(64) - prefix;
    text.extend(std::iter::repeat_n(' ', filled - 1 - text.len()));
    text.push('\n');
    let mut out = Vec::with_capacity(prefix + text.len() + bytes);
    out.extend_from_slice(MAGIC);
    out.extend_from_slice(&[version, 0]);
    let length = text.len().to_le_bytes();
    out.extend_from_slice(length.get(..prefix - MAGIC.len() - 2).unwrap_or(&length));
    out.extend_from_slice(text.as_bytes());
    out
}

fn unsupported(reason: String) -> Error {
    Error::Unsupported { place: "a .npy file".to_string(), reason }
}
