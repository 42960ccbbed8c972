use hedef_core::Signature;

use super::parameters::{Parameters, set, string};
use super::place::Place;
use crate::Error;
use crate::json::Reader;

/// How a request wants its answer told; [`super::decode()`] makes it and [`super::encode()`] follows it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reply {
    /// The caller's name for the request, given back as it came.
    pub id: Option<String>,
    /// Whether outputs that do not say otherwise are sent in binary.
    pub binary: bool,
    /// The outputs asked for by name; none asks for all.
    pub outputs: Vec<Wish>,
}

impl Reply {
    /// The wish for the output of that name, if it was asked for by name.
    pub(super) fn wish(&self, output: &str) -> Option<&Wish> {
        self.outputs.iter().find(|wish| wish.name == output)
    }
}

/// How a request wants one output told.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wish {
    /// The output's name.
    pub name: String,
    /// In binary or as JSON, where the output says so itself.
    pub binary: Option<bool>,
    /// As so many best classes, not as the numbers.
    pub classification: Option<usize>,
    /// The elements of BYTES as base64 where they stand in JSON.
    pub base64: bool,
}

/// Takes the list `outputs`.
pub(super) fn read(reader: &mut Reader<'_>, signature: &Signature) -> Result<Vec<Wish>, Error> {
    let mut wishes = Vec::new();
    reader.begin_array()?;
    while reader.next_element()? {
        wishes.push(read_one(reader, wishes.len())?);
        // A list that is longer than the signature names an output twice, or an unknown one.
        if wishes.len() > signature.outputs.len() {
            break_off(reader)?;
            break;
        }
    }
    Ok(wishes)
}

fn break_off(reader: &mut Reader<'_>) -> Result<(), Error> {
    while reader.next_element()? {
        reader.skip_value()?;
    }
    Ok(())
}

fn read_one(reader: &mut Reader<'_>, index: usize) -> Result<Wish, Error> {
    let mut name: Option<String> = None;
    let mut parameters = None;
    reader.begin_object()?;
    while let Some(key) = reader.next_key()? {
        let place = name.as_deref().map_or(Place::OutputAt(index), Place::Output);
        match &*key {
            "name" => {
                let found = string(reader, place, &key)?.into_owned();
                set(&mut name, found, reader, &key)?;
            }
            "parameters" => set(&mut parameters, Parameters::read(reader, place)?, reader, &key)?,
            _ => reader.skip_value()?,
        }
    }
    let Parameters { binary_data, classification, base64, .. } = parameters.unwrap_or_default();
    let missing = || Error::Missing { place: Place::OutputAt(index).to_string(), what: "name" };
    Ok(Wish {
        name: name.ok_or_else(missing)?,
        binary: binary_data,
        classification: classification.filter(|count| *count > 0),
        base64,
    })
}
