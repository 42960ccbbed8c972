use std::borrow::Cow;
use std::collections::HashSet;

use super::{Next, Reader, Scalar};
use crate::Error;

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
        let mut reader = Reader::new(bytes)?;
        let value = Self::read(&mut reader)?;
        reader.end()?;
        Ok(value)
    }

    /// Takes the next value of `reader`.
    pub fn read(reader: &mut Reader<'a>) -> Result<Self, Error> {
        match reader.peek()? {
            Next::Null => reader.null().map(|()| Self::Null),
            Next::Bool => reader.bool().map(Self::Bool),
            Next::Number => reader.number().map(Self::Number),
            Next::String => reader.string().map(Self::String),
            Next::Array => {
                let mut elements = Vec::new();
                reader.begin_array()?;
                while reader.next_element()? {
                    elements.push(Self::read(reader)?);
                }
                Ok(Self::Array(elements))
            }
            Next::Object => Self::read_object(reader),
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

    fn read_object(reader: &mut Reader<'a>) -> Result<Self, Error> {
        let mut members = Vec::new();
        reader.begin_object()?;
        while let Some(key) = reader.next_key()? {
            members.push((key, Self::read(reader)?));
        }
        match duplicate(&members) {
            Some(key) => Err(Error::DuplicateKey { key: key.to_string(), at: reader.position() }),
            None => Ok(Self::Object(members)),
        }
    }
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
