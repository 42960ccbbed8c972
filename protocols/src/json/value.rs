use std::borrow::Cow;
use std::collections::HashSet;

use super::{Next, Reader, Scalar};
use crate::v2::binary::STRING;
use crate::{DecodeLimits, Error};

/// A whole JSON value, for bodies whose form is known only after reading them. Numbers stay text, so that no digit
/// is lost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value<'a> {
    /// `null`.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// The text of a number; also `NaN`, `Infinity` and `-Infinity`.
    Number(&'a str),
    /// A string without its quotes and escapes.
    String(Cow<'a, str>),
    /// The elements of an array.
    Array(Vec<Value<'a>>),
    /// The members of an object in their order; no key stands twice.
    Object(Vec<(Cow<'a, str>, Value<'a>)>),
}

impl<'a> Value<'a> {
    /// Parses one JSON text.
    ///
    /// Fails on anything but JSON and the three extra numbers, on a key that stands twice in one object, and on
    /// more than 64 levels.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, Error> {
        Self::parse_within(bytes, DecodeLimits::NONE)
    }

    /// The same, within limits on the values and on the memory that they take.
    pub fn parse_within(bytes: &'a [u8], mut limits: DecodeLimits<'_>) -> Result<Self, Error> {
        limits.take(footprint(bytes))?;
        let mut reader = Reader::new(bytes)?;
        let most = limits.elements;
        let value = Self::read(&mut reader, &mut limits.elements);
        let value = value.map_err(|error| match error {
            Error::TooManyElements { place, .. } => Error::TooManyElements { place, limit: most },
            error => error,
        })?;
        reader.end()?;
        Ok(value)
    }

    /// Takes the next value of `reader`, of `left` that there may be in all.
    fn read(reader: &mut Reader<'a>, left: &mut usize) -> Result<Self, Error> {
        *left = left.checked_sub(1).ok_or_else(|| Error::TooManyElements { place: "the body".into(), limit: 0 })?;
        match reader.peek()? {
            Next::Null => reader.null().map(|()| Self::Null),
            Next::Bool => reader.bool().map(Self::Bool),
            Next::Number => reader.number().map(Self::Number),
            Next::String => reader.string().map(Self::String),
            Next::Array => {
                let mut elements = Vec::new();
                reader.begin_array()?;
                while reader.next_element()? {
                    elements.push(Self::read(reader, left)?);
                }
                Ok(Self::Array(elements))
            }
            Next::Object => Self::read_object(reader, left),
        }
    }

    /// The member of that name, if this is an object that has it.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&Self> {
        let Self::Object(members) = self else { return None };
        members.iter().find(|(name, _)| name == key).map(|(_, value)| value)
    }

    /// The value in a message: a scalar shortened, of others only what they are.
    #[must_use]
    pub fn describe(&self) -> String {
        match self {
            Self::Null => Scalar::Null.to_string(),
            Self::Bool(value) => Scalar::Bool(*value).to_string(),
            Self::Number(text) => Scalar::Number(text).to_string(),
            Self::String(text) => Scalar::String(Cow::Borrowed(text)).to_string(),
            Self::Array(_) => "a list".to_string(),
            Self::Object(_) => "an object".to_string(),
        }
    }

    fn read_object(reader: &mut Reader<'a>, left: &mut usize) -> Result<Self, Error> {
        let mut members = Vec::new();
        reader.begin_object()?;
        while let Some(key) = reader.next_key()? {
            members.push((key, Self::read(reader, left)?));
        }
        match duplicate(&members) {
            Some(key) => Err(Error::DuplicateKey { key: key.to_string(), at: reader.position() }),
            None => Ok(Self::Object(members)),
        }
    }
}

/// Texts of fewer bytes make trees that are small whatever they hold.
const SMALL: usize = 16 << 10;

/// The bytes of memory that the tree of a text takes at most, while its lists grow, and the tensors made of it: counted
/// from the commas and brackets, those in strings too.
fn footprint(text: &[u8]) -> usize {
    if text.len() < SMALL {
        return 0;
    }
    let member = size_of::<(Cow<'_, str>, Value<'_>)>();
    // A list grows by doubling and starts with room for four; a tensor's element may be a string.
    let each = 2 * size_of::<Value<'_>>() + STRING;
    let (mut commas, mut lists, mut objects) = (0_usize, 0_usize, 0_usize);
    for byte in text {
        commas += usize::from(*byte == b',');
        lists += usize::from(*byte == b'[');
        objects += usize::from(*byte == b'{');
    }
    let values = (commas + lists + objects + 1).saturating_mul(each);
    // The text of strings is copied into tensors.
    values.saturating_add(lists * 4 * size_of::<Value<'_>>()).saturating_add(objects * 4 * member + text.len())
}

/// The first key that stands twice. A few keys are compared with one another, many through a set.
fn duplicate<'m>(members: &'m [(Cow<'_, str>, Value<'_>)]) -> Option<&'m str> {
    let mut keys = members.iter().map(|(key, _)| &**key);
    if members.len() > 16 {
        let mut seen = HashSet::with_capacity(members.len());
        return keys.find(|key| !seen.insert(*key));
    }
    let earlier = |at: usize, key: &str| members.iter().take(at).any(|(other, _)| other == key);
    keys.enumerate().find(|(at, key)| earlier(*at, key)).map(|(_, key)| key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_counted_wherever_they_stand() {
        let parse = |text: &'static str, elements| {
            Value::parse_within(text.as_bytes(), DecodeLimits { elements, ..DecodeLimits::NONE })
                .map_err(|error| error.to_string())
        };
        for (text, values) in [("1", 1), ("[1,2]", 3), (r#"{"a":[],"b":{"c":null}}"#, 4)] {
            assert!(parse(text, values).is_ok());
            let limit = values - 1;
            let refused =
                format!("the body: too many elements: at most {limit} more are allowed in a request of its size");
            assert_eq!(parse(text, limit), Err(refused));
        }
    }

    #[test]
    fn the_memory_of_a_tree_is_asked_for_first() {
        let text = "[".to_string() + &"[0],".repeat(20_000) + "!";
        let refused = Value::parse_within(
            text.as_bytes(),
            DecodeLimits { room: &|bytes| bytes < 2_000_000, ..DecodeLimits::NONE },
        );
        assert_eq!(refused, Err(Error::NoRoom));
        assert!(Value::parse(text.as_bytes()).unwrap_err().to_string().starts_with("JSON"));
    }
}
