use std::borrow::Cow;
use std::fmt;

use half::{bf16, f16};
use hedef_core::{Data, DataType, Element};

use super::decimal::{Narrow, integer, round_double, round_once};
use super::plain;

/// A JSON value that is no array and no object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scalar<'a> {
    /// `null`.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// The text of a number; also `NaN`, `Infinity` and `-Infinity`.
    Number(&'a str),
    /// A string without its quotes and escapes.
    String(Cow<'a, str>),
}

impl fmt::Display for Scalar<'_> {
    /// Quotes the value as it stood, cut after 40 characters.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let cut = |text: &str| match text.char_indices().nth(40) {
            Some((at, _)) => format!("{}…", text.get(..at).unwrap_or_default()),
            None => text.to_string(),
        };
        match self {
            Self::Null => f.write_str("`null`"),
            Self::Bool(value) => write!(f, "`{value}`"),
            Self::Number(text) => write!(f, "`{}`", cut(text)),
            Self::String(text) => write!(f, "`{:?}`", cut(text)),
        }
    }
}

/// A value that is no element of a data type.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected {expected}, found {found}")]
pub struct Unfit {
    /// The data type and what it takes.
    pub expected: String,
    /// The value, shortened.
    pub found: String,
}

/// Appends `scalar` to `data` as an element of its type, or says why it is none.
///
/// Integers are checked exactly and may be spelled `1.0` or `1e2`; BOOL also takes 0 and 1; floats are rounded
/// once, to nearest with ties to even, and take `NaN`, `Infinity` and `-Infinity` bare or as strings; BYTES takes
/// strings. A number in quotes is no number.
pub fn push(data: &mut Data, mut scalar: Scalar<'_>) -> Result<(), Unfit> {
    macro_rules! push {
        ($($variant:ident)*) => {
            match data { $(Data::$variant(elements) => elements.to_mut().push(from_scalar(&mut scalar)?),)* }
        };
    }
    push!(Bool Uint8 Uint16 Uint32 Uint64 Int8 Int16 Int32 Int64 Fp16 Bf16 Fp32 Fp64 Bytes);
    Ok(())
}

/// Makes an element of `scalar`, or says why it is none.
#[inline]
pub(super) fn from_scalar<T: FromScalar>(scalar: &mut Scalar<'_>) -> Result<T, Unfit> {
    T::from_scalar(scalar).ok_or_else(|| Unfit { expected: T::expected(), found: scalar.to_string() })
}

/// What a data type takes, in words, such as `INT8 (a whole number from -128 to 127)`.
pub(crate) fn expectation(data_type: DataType) -> String {
    macro_rules! expectation {
        ($($variant:ident($element:ty))*) => {
            match data_type { $(DataType::$variant => <$element>::expected(),)* }
        };
    }
    expectation!(Bool(bool) Uint8(u8) Uint16(u16) Uint32(u32) Uint64(u64) Int8(i8) Int16(i16) Int32(i32) Int64(i64)
        Fp16(f16) Bf16(bf16) Fp32(f32) Fp64(f64) Bytes(Vec<u8>))
}

/// An element that JSON can spell.
pub(super) trait FromScalar: Element {
    /// The bytes of memory that one element takes, its text aside.
    const FOOTPRINT: usize = size_of::<Self>();
    /// The element, or `None` if `scalar` is none. The scalar is used up only then.
    fn from_scalar(scalar: &mut Scalar<'_>) -> Option<Self>;
    /// What is taken, in words.
    fn expected() -> String;
    /// The element at the front of `bytes` and its length, if it is spelled plainly enough to be read in one pass.
    #[inline]
    fn plain(_bytes: &[u8]) -> Option<(Self, usize)> {
        None
    }
}

impl FromScalar for bool {
    #[inline]
    fn from_scalar(scalar: &mut Scalar<'_>) -> Option<Self> {
        match scalar {
            Scalar::Bool(value) => Some(*value),
            Scalar::Number("0") => Some(false),
            Scalar::Number("1") => Some(true),
            _ => None,
        }
    }

    fn expected() -> String {
        "BOOL (true, false, 0 or 1)".to_string()
    }
}

impl FromScalar for Vec<u8> {
    const FOOTPRINT: usize = crate::v2::binary::STRING;

    #[inline]
    fn from_scalar(scalar: &mut Scalar<'_>) -> Option<Self> {
        let Scalar::String(text) = scalar else { return None };
        Some(std::mem::take(text).into_owned().into_bytes())
    }

    fn expected() -> String {
        "BYTES (a string)".to_string()
    }
}

macro_rules! integers {
    ($($element:ty)*) => {
        $(impl FromScalar for $element {
            #[inline]
            fn from_scalar(scalar: &mut Scalar<'_>) -> Option<Self> {
                let Scalar::Number(text) = scalar else { return None };
                text.parse().ok().or_else(|| spelled_otherwise(text))
            }

            fn expected() -> String {
                format!("{} (a whole number from {} to {})", Self::DATA_TYPE, Self::MIN, Self::MAX)
            }

            #[inline]
            fn plain(bytes: &[u8]) -> Option<(Self, usize)> {
                let (value, length) = plain::integer(bytes)?;
                Some((Self::try_from(value).ok()?, length))
            }
        })*
    };
}
integers!(u8 u16 u32 u64 i8 i16 i32 i64);

/// Reads the whole numbers that Rust's parser does not take: `1.0`, `1e2`, `-0`.
#[cold]
fn spelled_otherwise<T: TryFrom<i128>>(text: &str) -> Option<T> {
    if text.ends_with(['N', 'y']) {
        return None;
    }
    let without_fraction = text.split_once('.').filter(|(_, fraction)| fraction.bytes().all(|digit| digit == b'0'));
    let whole = without_fraction.and_then(|(whole, _)| whole.parse().ok());
    T::try_from(whole.or_else(|| integer(text))?).ok()
}

/// The number at the front of `bytes` in a format narrower than FP32, and its length.
#[inline]
fn narrow<T: Narrow>(bytes: &[u8]) -> Option<(T, usize)> {
    let (value, length) = plain::double(bytes)?;
    let value: T = round_double(value)?;
    value.widen().is_finite().then_some((value, length))
}

macro_rules! floats {
    ($($element:ty: $parse:expr, $plain:expr;)*) => {
        $(impl FromScalar for $element {
            #[inline]
            fn from_scalar(scalar: &mut Scalar<'_>) -> Option<Self> {
                let text = match scalar {
                    Scalar::Number(text) => text,
                    Scalar::String(text) if matches!(&**text, "NaN" | "Infinity" | "-Infinity") => &**text,
                    _ => return None,
                };
                let value: Self = $parse(text)?;
                // A number too large for the type would silently become infinite.
                if value.is_infinite() && !text.ends_with('y') { None } else { Some(value) }
            }

            fn expected() -> String {
                format!("{} (a number from {:e} to {:e})", Self::DATA_TYPE, Self::MIN, Self::MAX)
            }

            #[inline]
            fn plain(bytes: &[u8]) -> Option<(Self, usize)> {
                $plain(bytes)
            }
        })*
    };
}
floats! {
    f16: round_once, narrow;
    bf16: round_once, narrow;
    f32: |text: &str| text.parse().ok(), plain::single;
    f64: |text: &str| text.parse().ok(), plain::double;
}
