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
        match key {
            "binary_data_size" => set(&mut self.binary_data_size, whole(reader, place, key)?, reader, key),
            "binary_data" => set(&mut self.binary_data, boolean(reader, place, key)?, reader, key),
            "binary_data_output" => set(&mut self.binary_data_output, boolean(reader, place, key)?, reader, key),
            "classification" => set(&mut self.classification, whole(reader, place, key)?, reader, key),
            "timeout" => set(&mut self.timeout, whole(reader, place, key)?, reader, key),
            "priority" => set(&mut self.priority, whole(reader, place, key)?, reader, key),
            "content_type" => {
                self.base64 = matches!(reader.take_value()?.scalar(), Ok(Scalar::String(text)) if text == "base64");
                Ok(())
            }
            "sequence_id" => match reader.scalar()? {
                Scalar::Number("0") => Ok(()),
                Scalar::String(text) if text.is_empty() => Ok(()),
                _ => Err(unsupported(place, key, "sequences are not supported")),
            },
            "shared_memory_region" | "shared_memory_offset" | "shared_memory_byte_size" => {
                Err(unsupported(place, key, "shared memory is not supported: send the data"))
            }
            _ if key.starts_with("triton_") => {
                Err(Error::unexpected(place.to_string(), "no parameter that starts with `triton_`", format!("`{key}`")))
            }
            _ => reader.skip_value(),
        }
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

fn boolean(reader: &mut Reader<'_>, place: Place<'_>, key: &str) -> Result<bool, Error> {
    match reader.take_value()?.scalar() {
        Ok(Scalar::Bool(value)) => Ok(value),
        other => Err(wrong(place, key, "true or false", other)),
    }
}

fn whole<T: std::str::FromStr>(reader: &mut Reader<'_>, place: Place<'_>, key: &str) -> Result<T, Error> {
    let scalar = reader.take_value()?.scalar();
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
