use std::borrow::Cow;

use super::place::Place;
use crate::Error;
use crate::json::{Next, Reader, Scalar};

/// The parameters that mean something here, of a request, of an input or of an output.
#[derive(Debug, Default)]
pub(super) struct Parameters {
    pub(super) binary_data_size: Option<usize>,
    pub(super) binary_data: Option<bool>,
    pub(super) binary_data_output: Option<bool>,
    pub(super) classification: Option<usize>,
    pub(super) timeout: Option<u64>,
    pub(super) priority: Option<u64>,
    pub(super) base64: bool,
}

impl Parameters {
    /// Takes a `parameters` object. Unknown parameters are ignored, whatever their value.
    ///
    /// Fails on parameters that ask for something not done here, and on those that only servers may set.
    pub(super) fn read(reader: &mut Reader<'_>, place: Place<'_>) -> Result<Self, Error> {
        let mut parameters = Self::default();
        reader.begin_object()?;
        while let Some(key) = reader.next_key()? {
            parameters.read_one(reader, place, &key)?;
        }
        Ok(parameters)
    }

    fn read_one(&mut self, reader: &mut Reader<'_>, place: Place<'_>, key: &str) -> Result<(), Error> {
        let value = reader.take_value()?.scalar();
        if self.take(place, key, value)? {
            return Err(Error::DuplicateKey { key: key.to_string(), at: reader.position() });
        }
        Ok(())
    }

    /// Takes one parameter, and says whether it had been given before. An unknown one is ignored, whatever its value.
    pub(super) fn take(
        &mut self,
        place: Place<'_>,
        key: &str,
        value: Result<Scalar<'_>, Error>,
    ) -> Result<bool, Error> {
        let again = match key {
            "binary_data_size" => self.binary_data_size.replace(whole(value, place, key)?).is_some(),
            "binary_data" => self.binary_data.replace(boolean(value, place, key)?).is_some(),
            "binary_data_output" => self.binary_data_output.replace(boolean(value, place, key)?).is_some(),
            "classification" => self.classification.replace(whole(value, place, key)?).is_some(),
            "timeout" => self.timeout.replace(whole(value, place, key)?).is_some(),
            "priority" => self.priority.replace(whole(value, place, key)?).is_some(),
            "content_type" => {
                self.base64 = matches!(value, Ok(Scalar::String(text)) if text == "base64");
                false
            }
            "sequence_id" => match value {
                Ok(Scalar::Number("0")) => false,
                Ok(Scalar::String(text)) if text.is_empty() => false,
                _ => return Err(unsupported(place, key, "sequences are not supported")),
            },
            "shared_memory_region" | "shared_memory_offset" | "shared_memory_byte_size" => {
                return Err(unsupported(place, key, "shared memory is not supported: send the data"));
            }
            _ if key.starts_with("triton_") => {
                let expected = "no parameter that starts with `triton_`";
                return Err(Error::unexpected(place.to_string(), expected, format!("`{key}`")));
            }
            _ => false,
        };
        Ok(again)
    }
}

/// Fills `slot`, or fails if it is filled already.
pub(super) fn set<T>(slot: &mut Option<T>, value: T, reader: &Reader<'_>, key: &str) -> Result<(), Error> {
    match slot.replace(value) {
        None => Ok(()),
        Some(_) => Err(Error::DuplicateKey { key: key.to_string(), at: reader.position() }),
    }
}

/// Takes the string under `key`.
pub(super) fn string<'a>(reader: &mut Reader<'a>, place: Place<'_>, key: &str) -> Result<Cow<'a, str>, Error> {
    if reader.peek()? == Next::String {
        return reader.string();
    }
    Err(wrong(place, key, "a string", reader.take_value()?.scalar()))
}

fn boolean(value: Result<Scalar<'_>, Error>, place: Place<'_>, key: &str) -> Result<bool, Error> {
    match value {
        Ok(Scalar::Bool(value)) => Ok(value),
        other => Err(wrong(place, key, "true or false", other)),
    }
}

fn whole<T: std::str::FromStr>(scalar: Result<Scalar<'_>, Error>, place: Place<'_>, key: &str) -> Result<T, Error> {
    let number = if let Ok(Scalar::Number(text)) = scalar { text.parse().ok() } else { None };
    number.ok_or_else(|| wrong(place, key, "a whole number from 0 on", scalar))
}

/// The error that `key` holds something else; a list or an object is no scalar.
pub(super) fn wrong(place: Place<'_>, key: &str, expected: &str, found: Result<Scalar<'_>, Error>) -> Error {
    let found = found.map_or_else(|_| "a list or an object".to_string(), |scalar| scalar.to_string());
    Error::unexpected(format!("{place}: `{key}`"), expected, found)
}

fn unsupported(place: Place<'_>, key: &str, reason: &str) -> Error {
    Error::Unsupported { place: format!("{place}: `{key}`"), reason: reason.to_string() }
}
