use std::cmp::Ordering;

use half::{bf16, f16};
use hedef_core::{Data, DataType, Tensor, TensorSpec};

use crate::{Error, rows};

/// Gives `tensor` the data type and, where one value stands for each row, the rank that `spec` declares.
pub(super) fn convert(tensor: Tensor, spec: &TensorSpec) -> Result<Tensor, Error> {
    let (shape, data) = tensor.into_parts();
    let found = data.data_type();
    let strings = found == DataType::Bytes || spec.data_type == DataType::Bytes;
    let data = if found == spec.data_type || strings { data } else { numbers(&data, spec)? };
    let shape = rows::fit(spec, shape.dims().to_vec());
    let place = || format!("input `{}`", spec.name);
    Tensor::new(shape, data).map_err(|error| Error::unexpected(place(), spec.to_string(), error.to_string()))
}

fn numbers(data: &Data, spec: &TensorSpec) -> Result<Data, Error> {
    // The types of both sides meet in a call for each element, and not in a loop of its own for each pair of types.
    macro_rules! found {
        ($visit:ident: $($variant:ident)*) => {
            match data {
                $(Data::$variant(elements) => elements.iter().enumerate()
                    .try_for_each(|(index, element)| $visit(index, Number::from(*element))),)*
                Data::Bytes(_) => Ok(()),
            }
        };
    }
    let each = |visit: &mut dyn FnMut(usize, Number) -> Result<(), Error>| found!(visit: Bool Uint8 Uint16 Uint32 Uint64 Int8 Int16 Int32 Int64 Fp16 Bf16 Fp32 Fp64);
    macro_rules! wanted {
        ($($variant:ident $make:ident;)*) => {
            match spec.data_type {
                $(DataType::$variant => {
                    let mut made = Vec::with_capacity(data.len());
                    each(&mut |index, number| {
                        made.push($make(number).ok_or_else(|| unfit(spec, index, number))?);
                        Ok(())
                    })?;
                    Ok(Data::$variant(made.into()))
                })*
                DataType::Bytes => Ok(Data::Bytes(Vec::new().into())),
            }
        };
    }
    wanted! {
        Bool boolean; Uint8 whole; Uint16 whole; Uint32 whole; Uint64 whole;
        Int8 whole; Int16 whole; Int32 whole; Int64 whole;
        Fp16 half; Bf16 bfloat; Fp32 single; Fp64 double;
    }
}

#[cold]
fn unfit(spec: &TensorSpec, index: usize, number: Number) -> Error {
    let place = format!("input `{}`, element {index}", spec.name);
    let found = match number {
        Number::Whole(whole) => whole.to_string(),
        Number::Float(float) => float.to_string(),
    };
    Error::unexpected(place, format!("a number that {} can hold", spec.data_type), found)
}

/// A number of any type, exactly.
#[derive(Clone, Copy, Debug)]
enum Number {
    Whole(i128),
    Float(f64),
}

macro_rules! from {
    ($($element:ty => $variant:ident($convert:expr);)*) => {
        $(impl From<$element> for Number {
            fn from(element: $element) -> Self {
                Self::$variant($convert(element))
            }
        })*
    };
}
from! {
    bool => Whole(i128::from);
    u8 => Whole(i128::from);
    u16 => Whole(i128::from);
    u32 => Whole(i128::from);
    u64 => Whole(i128::from);
    i8 => Whole(i128::from);
    i16 => Whole(i128::from);
    i32 => Whole(i128::from);
    i64 => Whole(i128::from);
    f16 => Float(f64::from);
    bf16 => Float(f64::from);
    f32 => Float(f64::from);
    f64 => Float(std::convert::identity);
}

fn whole<T: TryFrom<i128>>(number: Number) -> Option<T> {
    let whole = match number {
        Number::Whole(whole) => whole,
        // Beyond this no type of ours has numbers.
        Number::Float(float) if float.fract() == 0.0 && float.abs() < 1e20 => {
            #[expect(clippy::cast_possible_truncation, reason = "it is whole and small enough")]
            let whole = float as i128;
            whole
        }
        Number::Float(_) => return None,
    };
    T::try_from(whole).ok()
}

fn boolean(number: Number) -> Option<bool> {
    match whole::<u8>(number)? {
        0 => Some(false),
        1 => Some(true),
        _ => None,
    }
}

#[expect(clippy::unnecessary_wraps, reason = "one of the conversions, of which others can fail")]
fn double(number: Number) -> Option<f64> {
    Some(match number {
        #[expect(clippy::cast_precision_loss, reason = "rounding to nearest is what is wanted")]
        Number::Whole(whole) => whole as f64,
        Number::Float(float) => float,
    })
}

/// A finite number that became infinite is out of range.
fn in_range<T>(number: Number, narrow: T, is_infinite: bool) -> Option<T> {
    if is_infinite && double(number)?.is_finite() { None } else { Some(narrow) }
}

fn single(number: Number) -> Option<f32> {
    #[expect(clippy::cast_possible_truncation, clippy::cast_precision_loss, reason = "rounding is what is wanted")]
    let single = match number {
        Number::Whole(whole) => whole as f32,
        Number::Float(float) => float as f32,
    };
    in_range(number, single, single.is_infinite())
}

fn half(number: Number) -> Option<f16> {
    let half = f16::from_f32(single_to_odd(double(number)?));
    in_range(number, half, half.is_infinite())
}

fn bfloat(number: Number) -> Option<bf16> {
    let bfloat = bf16::from_f32(single_to_odd(double(number)?));
    in_range(number, bfloat, bfloat.is_infinite())
}

/// Rounds so that the last bit says whether anything was cut off: then rounding once more, to a format with at least
/// two bits less, is as good as rounding once.
fn single_to_odd(double: f64) -> f32 {
    #[expect(clippy::cast_possible_truncation, reason = "rounding is what is wanted, and made good below")]
    let single = double as f32;
    let bits = single.to_bits();
    match double.abs().partial_cmp(&f64::from(single).abs()) {
        Some(Ordering::Greater) => f32::from_bits(bits | 1),
        Some(Ordering::Less) => f32::from_bits((bits - 1) | 1),
        Some(Ordering::Equal) | None => single,
    }
}
