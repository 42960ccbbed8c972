//! Tensors as bytes: little-endian, row-major, without padding; BOOL one byte; each element of BYTES after its
//! length in four bytes. HTTP's binary extension and gRPC's raw contents share this form.

use bytemuck::NoUninit;
use half::{bf16, f16};
use hedef_core::{Data, DataType, Element, Elements};

use crate::{DecodeLimits, Error};

/// The bytes of memory that a string takes, its text aside: its place, and what the heap gives at least.
pub(crate) const STRING: usize = size_of::<Vec<u8>>() + 32;

/// Reads `count` elements from `bytes`, of which none may be left over.
///
/// `place` is how messages call the tensor, such as ``input `x` ``. Fails when the size is not that of the
/// elements, when a length in BYTES overruns, and when a BOOL is neither 0 nor 1.
pub fn read(place: &str, data_type: DataType, count: usize, bytes: &[u8]) -> Result<Data, Error> {
    read_within(place, data_type, count, bytes, DecodeLimits::NONE)
}

/// The same, within limits.
pub(super) fn read_within(
    place: &str,
    data_type: DataType,
    count: usize,
    bytes: &[u8],
    limits: DecodeLimits<'_>,
) -> Result<Data, Error> {
    let Some(width) = data_type.size() else {
        limits.admit(count, &place)?;
        // Each element has at least its length.
        let strings = count.min(bytes.len() / 4);
        limits.take(strings.saturating_mul(STRING).saturating_add(bytes.len()))?;
        return read_strings(place, count, bytes).map(|strings| Data::Bytes(strings.into()));
    };
    if count.checked_mul(width) != Some(bytes.len()) {
        let expected = format!("{} bytes for {count} elements of {data_type}", count.saturating_mul(width));
        return Err(Error::unexpected(place, expected, format!("{} bytes", bytes.len())));
    }
    match data_type {
        DataType::Bool => {
            limits.take(bytes.len())?;
            Ok(Data::Bool(read_booleans(place, bytes)?.into()))
        }
        DataType::Uint8 => read_numbers::<u8>(bytes, limits),
        DataType::Uint16 => read_numbers::<u16>(bytes, limits),
        DataType::Uint32 => read_numbers::<u32>(bytes, limits),
        DataType::Uint64 => read_numbers::<u64>(bytes, limits),
        DataType::Int8 => read_numbers::<i8>(bytes, limits),
        DataType::Int16 => read_numbers::<i16>(bytes, limits),
        DataType::Int32 => read_numbers::<i32>(bytes, limits),
        DataType::Int64 => read_numbers::<i64>(bytes, limits),
        DataType::Fp16 => read_numbers::<f16>(bytes, limits),
        DataType::Bf16 => read_numbers::<bf16>(bytes, limits),
        DataType::Fp32 => read_numbers::<f32>(bytes, limits),
        DataType::Fp64 | DataType::Bytes => read_numbers::<f64>(bytes, limits),
    }
}

/// The bytes that [`write()`] will append, or `None` when an element of BYTES is too long for its length field.
#[must_use]
pub fn size(data: &Data) -> Option<usize> {
    let Data::Bytes(strings) = data else { return data.data_type().size()?.checked_mul(data.len()) };
    let fits = |string: &Vec<u8>| u32::try_from(string.len()).is_ok();
    strings.iter().all(fits).then(|| strings.iter().map(|string| 4 + string.len()).sum())
}

/// Appends the elements of `data`.
pub fn write(out: &mut Vec<u8>, data: &Data) {
    match data {
        // `bool` is a byte of 0 or 1.
        Data::Bool(elements) => out.extend_from_slice(bytemuck::cast_slice(elements)),
        Data::Uint8(elements) => out.extend_from_slice(elements),
        Data::Uint16(elements) => write_numbers(out, elements),
        Data::Uint32(elements) => write_numbers(out, elements),
        Data::Uint64(elements) => write_numbers(out, elements),
        Data::Int8(elements) => write_numbers(out, elements),
        Data::Int16(elements) => write_numbers(out, elements),
        Data::Int32(elements) => write_numbers(out, elements),
        Data::Int64(elements) => write_numbers(out, elements),
        Data::Fp16(elements) => write_numbers(out, elements),
        Data::Bf16(elements) => write_numbers(out, elements),
        Data::Fp32(elements) => write_numbers(out, elements),
        Data::Fp64(elements) => write_numbers(out, elements),
        Data::Bytes(elements) => {
            for element in elements {
                // `size` has told the caller if a length does not fit.
                out.extend_from_slice(&u32::try_from(element.len()).unwrap_or(u32::MAX).to_le_bytes());
                out.extend_from_slice(element);
            }
        }
    }
}

/// Takes numbers where they lie, if their message may be kept and they lie as they have to, or copies them once.
fn read_numbers<T: Element + bytemuck::Pod>(bytes: &[u8], limits: DecodeLimits<'_>) -> Result<Data, Error> {
    if let Some(Ok(elements)) = limits.keep(bytes).map(Elements::<T>::lent) {
        return Ok(T::into_data(elements));
    }
    limits.take(bytes.len())?;
    // Read one by one, which compiles to a copy, as nothing else here makes a vector without first filling it with zeros.
    let elements = bytes.chunks_exact(size_of::<T>()).map(bytemuck::pod_read_unaligned).collect();
    Ok(T::into_data(swap_if_big_endian(elements)))
}

fn write_numbers<T: NoUninit>(out: &mut Vec<u8>, elements: &[T]) {
    if cfg!(target_endian = "little") {
        out.extend_from_slice(bytemuck::cast_slice(elements));
    } else {
        out.extend(elements.iter().flat_map(|element| bytemuck::bytes_of(element).iter().rev()));
    }
}

fn swap_if_big_endian<T: bytemuck::Pod>(mut elements: Vec<T>) -> Vec<T> {
    if cfg!(target_endian = "big") {
        elements.iter_mut().for_each(|element| bytemuck::bytes_of_mut(element).reverse());
    }
    elements
}

fn read_booleans(place: &str, bytes: &[u8]) -> Result<Vec<bool>, Error> {
    match bytes.iter().position(|byte| *byte > 1) {
        None => Ok(bytes.iter().map(|byte| *byte == 1).collect()),
        Some(index) => {
            let found = bytes.get(index).map_or_else(String::new, u8::to_string);
            Err(Error::unexpected(format!("{place}, element [{index}]"), "BOOL (a byte of 0 or 1)", found))
        }
    }
}

fn read_strings(place: &str, count: usize, bytes: &[u8]) -> Result<Vec<Vec<u8>>, Error> {
    // Each element has at least its length.
    let mut strings = Vec::with_capacity(count.min(bytes.len() / 4));
    let mut rest = bytes;
    while let Some((length, tail)) = rest.split_first_chunk::<4>() {
        let length = u32::from_le_bytes(*length);
        let Some((string, tail)) = usize::try_from(length).ok().and_then(|length| tail.split_at_checked(length)) else {
            let place = format!("{place}, element [{}]", strings.len());
            return Err(Error::unexpected(place, format!("{length} bytes"), format!("{} bytes left", tail.len())));
        };
        if strings.len() == count {
            break;
        }
        strings.push(string.to_vec());
        rest = tail;
    }
    if strings.len() == count && rest.is_empty() {
        return Ok(strings);
    }
    let found = format!("{} elements and {} bytes more", strings.len(), rest.len());
    Err(Error::unexpected(place, format!("{count} elements of BYTES"), found))
}
