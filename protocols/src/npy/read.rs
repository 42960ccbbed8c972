use half::f16;
use hedef_core::{Data, DataType, Shape, Tensor};

use super::header::{self, Element, Header};
use crate::Error;

/// What messages call the elements.
const PLACE: &str = "the elements of the .npy file";

/// Reads one array.
///
/// Elements are turned into row-major order and into this machine's byte order. Strings lose the zeros that fill
/// them up and become UTF-8 (`U`) or stay as they are (`S`). Fails when the file is cut short or has bytes left
/// over, and on types that no tensor has.
pub fn read(bytes: &[u8]) -> Result<Tensor, Error> {
    let (header, bytes) = header::parse(bytes)?;
    let shape = Shape::new(header.dims.clone());
    let data = match header.element {
        Element::Number(data_type) => numbers(data_type, &header, &shape, bytes)?,
        Element::CodePoints(width) => {
            let size = width.checked_mul(4).ok_or_else(|| too_large(&shape))?;
            let text = |bytes: &[u8]| code_points(bytes, header.big_endian);
            Data::Bytes(strings(size, &header, &shape, bytes, text)?.into())
        }
        Element::Bytes(width) => {
            Data::Bytes(strings(width, &header, &shape, bytes, |bytes| Some(unfilled(bytes)))?.into())
        }
    };
    Tensor::new(shape, data)
        .map_err(|mismatch| Error::unexpected(PLACE, "as many as the shape says", mismatch.to_string()))
}

fn numbers(data_type: DataType, header: &Header, shape: &Shape, bytes: &[u8]) -> Result<Data, Error> {
    macro_rules! numbers {
        ($($variant:ident($element:ty))*) => {
            match data_type {
                $(DataType::$variant => {
                    check_length(size_of::<$element>(), shape, bytes)?;
                    let from = if header.big_endian { <$element>::from_be_bytes } else { <$element>::from_le_bytes };
                    let elements = bytes.as_chunks().0.iter().map(|bytes| from(*bytes)).collect();
                    Ok(Data::$variant(row_major(elements, header).into()))
                })*
                DataType::Bool => {
                    check_length(1, shape, bytes)?;
                    Ok(Data::Bool(row_major(bytes.iter().map(|byte| *byte != 0).collect(), header).into()))
                }
                // No header names these as numbers.
                DataType::Bf16 | DataType::Bytes => Err(too_large(shape)),
            }
        };
    }
    numbers!(Uint8(u8) Uint16(u16) Uint32(u32) Uint64(u64) Int8(i8) Int16(i16) Int32(i32) Int64(i64)
        Fp16(f16) Fp32(f32) Fp64(f64))
}

fn strings(
    size: usize,
    header: &Header,
    shape: &Shape,
    bytes: &[u8],
    text: impl Fn(&[u8]) -> Option<Vec<u8>>,
) -> Result<Vec<Vec<u8>>, Error> {
    check_length(size, shape, bytes)?;
    if size == 0 {
        // Strings without bytes would let a short file claim any number of them.
        return match shape.elements() {
            Some(0) => Ok(Vec::new()),
            _ => Err(Error::unexpected(PLACE, "strings at least one character wide", "a width of 0")),
        };
    }
    let mut elements = Vec::with_capacity(bytes.len() / size);
    for (index, element) in bytes.chunks_exact(size).enumerate() {
        let invalid = || Error::unexpected(PLACE, "Unicode code points", format!("other numbers in element {index}"));
        elements.push(text(element).ok_or_else(invalid)?);
    }
    Ok(row_major(elements, header))
}

/// The element without the zeros after it.
fn unfilled(bytes: &[u8]) -> Vec<u8> {
    let end = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    bytes.get(..end).unwrap_or_default().to_vec()
}

fn code_points(bytes: &[u8], big_endian: bool) -> Option<Vec<u8>> {
    let from = if big_endian { u32::from_be_bytes } else { u32::from_le_bytes };
    let points: Option<String> = bytes.as_chunks().0.iter().map(|bytes| char::from_u32(from(*bytes))).collect();
    points.map(|text| text.trim_end_matches('\0').as_bytes().to_vec())
}

fn check_length(size: usize, shape: &Shape, bytes: &[u8]) -> Result<(), Error> {
    let expected = shape.elements().and_then(|elements| elements.checked_mul(size)).ok_or_else(|| too_large(shape))?;
    if bytes.len() == expected {
        return Ok(());
    }
    Err(Error::unexpected(PLACE, format!("{expected} bytes for shape {shape}"), format!("{} bytes", bytes.len())))
}

fn too_large(shape: &Shape) -> Error {
    Error::unexpected(PLACE, "a shape that memory can hold", shape.to_string())
}

/// Reorders elements whose first index runs fastest, if the header says that they are such.
fn row_major<T: Clone>(elements: Vec<T>, header: &Header) -> Vec<T> {
    if !header.fortran_order || header.dims.len() < 2 || elements.is_empty() {
        return elements;
    }
    // For each axis its size, its distance in `elements`, and the current index.
    let mut stride = 1;
    let mut axes = Vec::with_capacity(header.dims.len());
    for size in &header.dims {
        axes.push((*size, stride, 0));
        stride *= size;
    }
    let mut ordered = Vec::with_capacity(elements.len());
    let mut position = 0;
    while ordered.len() < elements.len() {
        ordered.extend(elements.get(position).cloned());
        for (size, stride, index) in axes.iter_mut().rev() {
            *index += 1;
            position += *stride;
            if *index < *size {
                break;
            }
            position -= *stride * *size;
            *index = 0;
        }
    }
    ordered
}
