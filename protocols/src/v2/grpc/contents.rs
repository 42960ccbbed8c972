//! Tensors as typed lists: `InferTensorContents`.

use hedef_core::{Data, DataType, Shape};

use super::wire::{Fields, Value, broken, write_bytes, write_varint};
use crate::json::expectation;
use crate::v2::binary::{self, STRING};
use crate::v2::place::Place;
use crate::{DecodeLimits, Error};

/// The lists by the numbers of their fields.
const LISTS: [&str; 8] = [
    "bool_contents",
    "int_contents",
    "int64_contents",
    "uint_contents",
    "uint64_contents",
    "fp32_contents",
    "fp64_contents",
    "bytes_contents",
];

/// The field of the list that holds elements of this type; `None` for those that come raw only.
pub(super) const fn field(data_type: DataType) -> Option<u32> {
    Some(match data_type {
        DataType::Bool => 1,
        DataType::Int8 | DataType::Int16 | DataType::Int32 => 2,
        DataType::Int64 => 3,
        DataType::Uint8 | DataType::Uint16 | DataType::Uint32 => 4,
        DataType::Uint64 => 5,
        DataType::Fp32 => 6,
        DataType::Fp64 => 7,
        DataType::Bytes => 8,
        DataType::Fp16 | DataType::Bf16 => return None,
    })
}

/// Reads the elements of one input from the parts of its contents.
///
/// Fails when they are of another number than the shape wants, stand in the list of another type, or do not fit
/// their own: the narrow whole numbers come in lists of 32 bits.
pub(super) fn read(
    place: Place<'_>,
    data_type: DataType,
    shape: &Shape,
    parts: &[&[u8]],
    limits: DecodeLimits<'_>,
) -> Result<Data, Error> {
    let Some(field) = field(data_type) else {
        let found = if parts.iter().all(|part| part.is_empty()) { "none" } else { "`contents`" };
        return Err(Error::unexpected(place.to_string(), format!("{data_type} in `raw_input_contents`"), found));
    };
    let (count, bytes) = (shape.elements().unwrap_or(usize::MAX), parts.iter().map(|part| part.len()).sum::<usize>());
    limits.admit(count, &place)?;
    // An element takes a byte of the message at least; one of BYTES a tag and a length.
    limits.take(match data_type.size() {
        Some(width) => count.min(bytes).saturating_mul(width),
        None => count.min(bytes / 2).saturating_mul(STRING).saturating_add(bytes),
    })?;
    let list = List { place, data_type, shape, field, parts };
    macro_rules! signed {
        ($variant:ident, $element:ty) => {
            Data::$variant(list.numbers(|number| <$element>::try_from(number.cast_signed()).ok())?.into())
        };
    }
    macro_rules! unsigned {
        ($variant:ident, $element:ty) => {
            Data::$variant(list.numbers(|number| <$element>::try_from(number).ok())?.into())
        };
    }
    Ok(match data_type {
        DataType::Bool => Data::Bool(list.numbers(|number| Some(number != 0))?.into()),
        DataType::Int8 => signed!(Int8, i8),
        DataType::Int16 => signed!(Int16, i16),
        DataType::Int32 => signed!(Int32, i32),
        DataType::Int64 => signed!(Int64, i64),
        DataType::Uint8 => unsigned!(Uint8, u8),
        DataType::Uint16 => unsigned!(Uint16, u16),
        DataType::Uint32 => unsigned!(Uint32, u32),
        DataType::Uint64 => unsigned!(Uint64, u64),
        DataType::Fp32 => Data::Fp32(list.fixed(f32::from_le_bytes, fixed32)?.into()),
        DataType::Fp64 => Data::Fp64(list.fixed(f64::from_le_bytes, fixed64)?.into()),
        DataType::Bytes | DataType::Fp16 | DataType::Bf16 => Data::Bytes(list.strings()?.into()),
    })
}

const fn fixed32(value: Value<'_>) -> Option<[u8; 4]> {
    if let Value::Fixed32(bytes) = value { Some(bytes) } else { None }
}

const fn fixed64(value: Value<'_>) -> Option<[u8; 8]> {
    if let Value::Fixed64(bytes) = value { Some(bytes) } else { None }
}

/// One list of elements, and what it has to be.
struct List<'a> {
    place: Place<'a>,
    data_type: DataType,
    shape: &'a Shape,
    field: u32,
    parts: &'a [&'a [u8]],
}

/// Elements, at most as many as are wanted, and how many there were.
struct Taken<T> {
    elements: Vec<T>,
    wanted: usize,
    found: usize,
}

impl<T> Taken<T> {
    fn push(&mut self, element: T) {
        if self.elements.len() < self.wanted {
            self.elements.push(element);
        }
        self.found += 1;
    }
}

impl List<'_> {
    /// Takes every value of the list's field. `width` is what an element takes in the message at least.
    fn take<T>(
        &self,
        width: usize,
        mut each: impl FnMut(&mut Taken<T>, Value<'_>) -> Result<(), Error>,
    ) -> Result<Vec<T>, Error> {
        let wanted = self.shape.elements().unwrap_or(usize::MAX);
        let most = self.parts.iter().map(|part| part.len() / width).fold(0, usize::saturating_add);
        let mut taken = Taken { elements: Vec::with_capacity(wanted.min(most)), wanted, found: 0 };
        for part in self.parts {
            let mut fields = Fields::new(part);
            while let Some((field, value)) = fields.next()? {
                if field == self.field {
                    each(&mut taken, value)?;
                } else if let Some(other) = LISTS.get(field as usize - 1)
                    && value != Value::Bytes(&[])
                {
                    let own = LISTS.get(self.field as usize - 1).copied().unwrap_or_default();
                    let expected = format!("{} in `{own}`", self.data_type);
                    return Err(Error::unexpected(self.place.to_string(), expected, format!("`{other}`")));
                }
            }
        }
        if taken.found == wanted {
            return Ok(taken.elements);
        }
        let expected = format!("{wanted} elements for shape {}", self.shape);
        Err(Error::unexpected(self.place.to_string(), expected, taken.found.to_string()))
    }

    /// Whole numbers and booleans, packed or one by one.
    fn numbers<T>(&self, narrow: impl Fn(u64) -> Option<T>) -> Result<Vec<T>, Error> {
        let push = |taken: &mut Taken<T>, number: u64| match narrow(number) {
            Some(element) => {
                taken.push(element);
                Ok(())
            }
            None => Err(self.unfit(taken.found, number)),
        };
        self.take(1, |taken, value| match value {
            Value::Bytes(packed) => {
                let mut packed = Fields::new(packed);
                while !packed.is_empty() {
                    push(taken, packed.varint()?)?;
                }
                Ok(())
            }
            one => push(taken, one.varint()?),
        })
    }

    fn unfit(&self, index: usize, number: u64) -> Error {
        let signed = matches!(self.data_type, DataType::Int8 | DataType::Int16 | DataType::Int32);
        let found = if signed { number.cast_signed().to_string() } else { number.to_string() };
        let place = format!("{}, element [{index}]", self.place);
        Error::unexpected(place, expectation(self.data_type), format!("`{found}`"))
    }

    /// Numbers of a fixed size, packed or one by one.
    fn fixed<T, const N: usize>(
        &self,
        element: impl Fn([u8; N]) -> T,
        alone: impl Fn(Value<'_>) -> Option<[u8; N]>,
    ) -> Result<Vec<T>, Error> {
        self.take(N, |taken, value| {
            let Value::Bytes(packed) = value else {
                taken.push(element(alone(value).ok_or_else(|| broken("a field is of another type"))?));
                return Ok(());
            };
            let (numbers, rest) = packed.as_chunks::<N>();
            if !rest.is_empty() {
                return Err(broken("it ends within a number"));
            }
            let room = taken.wanted - taken.elements.len();
            taken.elements.extend(numbers.iter().take(room).map(|bytes| element(*bytes)));
            taken.found += numbers.len();
            Ok(())
        })
    }

    fn strings(&self) -> Result<Vec<Vec<u8>>, Error> {
        // A tag and a length.
        self.take(2, |taken, value| {
            let bytes = value.bytes()?;
            if taken.found < taken.wanted {
                taken.elements.push(bytes.to_vec());
            }
            taken.found += 1;
            Ok(())
        })
    }
}

/// Writes the elements as the list of their type; `None` for the types that go raw only.
pub(super) fn write(data: &Data) -> Option<Vec<u8>> {
    let field = field(data.data_type())?;
    let mut out = Vec::new();
    if let Data::Bytes(strings) = data {
        strings.iter().for_each(|string| write_bytes(&mut out, field, string));
        return Some(out);
    }
    let mut packed = Vec::new();
    macro_rules! signed {
        ($elements:ident) => {
            $elements.iter().for_each(|number| write_varint(&mut packed, i64::from(*number).cast_unsigned()))
        };
    }
    macro_rules! unsigned {
        ($elements:ident) => {
            $elements.iter().for_each(|number| write_varint(&mut packed, u64::from(*number)))
        };
    }
    match data {
        Data::Int8(elements) => signed!(elements),
        Data::Int16(elements) => signed!(elements),
        Data::Int32(elements) => signed!(elements),
        Data::Int64(elements) => signed!(elements),
        Data::Uint8(elements) => unsigned!(elements),
        Data::Uint16(elements) => unsigned!(elements),
        Data::Uint32(elements) => unsigned!(elements),
        Data::Uint64(elements) => unsigned!(elements),
        // Booleans and floats look alike in both forms.
        _ => binary::write(&mut packed, data),
    }
    if !packed.is_empty() {
        write_bytes(&mut out, field, &packed);
    }
    Some(out)
}
