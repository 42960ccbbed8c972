use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hedef_core::{Data, DataType, InvalidRequest, Shape, Signature, Tensor};
use smallvec::SmallVec;

use super::binary;
use super::parameters::{Parameters, set, string, wrong};
use super::place::Place;
use crate::json::{Expected, Next, Reader, Scalar, elements};
use crate::{DecodeLimits, Error};

/// One tensor of a request, checked against the signature; its data may still lie in the binary part.
#[derive(Debug)]
pub(super) struct Input<'a> {
    name: Cow<'a, str>,
    data_type: DataType,
    shape: Shape,
    content: Content,
}

#[derive(Debug)]
enum Content {
    /// The elements stood in the JSON.
    Data(Data),
    /// So many bytes of the binary part.
    Binary(usize),
    /// Neither was said.
    Unsaid,
}

impl<'a> Input<'a> {
    /// Takes one element of `inputs`, whose keys may stand in any order.
    ///
    /// Name, data type and shape are checked before any data is read, so that memory is bounded and the message is
    /// about the first thing that is wrong.
    pub(super) fn read(
        reader: &mut Reader<'a>,
        index: usize,
        signature: &Signature,
        limits: DecodeLimits<'_>,
    ) -> Result<Self, Error> {
        let mut keys = Keys::default();
        let mut data: Option<Data> = None;
        let mut later: Option<Reader<'_>> = None;
        reader.begin_object()?;
        while let Some(key) = reader.next_key()? {
            match &*key {
                "name" => {
                    let name = string(reader, keys.place(index), &key)?;
                    set(&mut keys.name, name, reader, &key)?;
                }
                "datatype" => {
                    let data_type = data_type(reader, keys.place(index))?;
                    set(&mut keys.data_type, data_type, reader, &key)?;
                }
                "shape" => {
                    let shape = shape(reader, keys.place(index))?;
                    set(&mut keys.shape, shape, reader, &key)?;
                }
                "parameters" => {
                    let parameters = Parameters::read(reader, keys.place(index))?;
                    set(&mut keys.parameters, parameters, reader, &key)?;
                }
                "data" if data.is_some() || later.is_some() => {
                    return Err(Error::DuplicateKey { key: key.to_string(), at: reader.position() });
                }
                "data" if keys.complete() => data = Some(keys.data(index, signature, reader, limits)?),
                "data" => later = Some(reader.take_value()?),
                _ => reader.skip_value()?,
            }
        }
        if let Some(mut later) = later {
            data = Some(keys.data(index, signature, &mut later, limits)?);
        }
        keys.finish(index, signature, data)
    }

    /// What it is called.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// How many of its elements stood in the JSON.
    pub(super) fn elements(&self) -> usize {
        if let Content::Data(data) = &self.content { data.len() } else { 0 }
    }

    /// Makes the tensor, taking its bytes from the front of `binary` where it has any there.
    ///
    /// `lone` says that no other input is there, so that all of `binary` is this one's even if it does not say so.
    pub(super) fn tensor(
        self,
        binary: &mut &[u8],
        lone: bool,
        limits: DecodeLimits<'_>,
    ) -> Result<(Cow<'a, str>, Tensor), Error> {
        let place = |name: &str| Place::Input(name).to_string();
        let count = self.shape.elements().unwrap_or(usize::MAX);
        let size = match self.content {
            Content::Data(data) => return tensor(self.name, self.shape, data),
            Content::Binary(size) => size,
            Content::Unsaid if lone && !binary.is_empty() => binary.len(),
            Content::Unsaid => return Err(Error::Missing { place: place(&self.name), what: "data" }),
        };
        let Some((bytes, rest)) = binary.split_at_checked(size) else {
            let found = format!("{} bytes after the JSON", binary.len());
            return Err(Error::unexpected(place(&self.name), format!("{size} bytes of binary data"), found));
        };
        *binary = rest;
        let data = binary::read_within(&place(&self.name), self.data_type, count, bytes, limits)?;
        tensor(self.name, self.shape, data)
    }
}

/// Puts shape and elements together, which may differ in their number.
pub(super) fn tensor(name: Cow<'_, str>, shape: Shape, data: Data) -> Result<(Cow<'_, str>, Tensor), Error> {
    match Tensor::new(shape, data) {
        Ok(tensor) => Ok((name, tensor)),
        Err(error) => {
            let expected = format!("the elements of shape {}", error.shape);
            Err(Error::unexpected(Place::Input(&name).to_string(), expected, error.elements.to_string()))
        }
    }
}

/// What an input has said about itself so far.
#[derive(Debug, Default)]
struct Keys<'a> {
    name: Option<Cow<'a, str>>,
    data_type: Option<DataType>,
    shape: Option<Shape>,
    parameters: Option<Parameters>,
}

impl<'a> Keys<'a> {
    const fn complete(&self) -> bool {
        self.name.is_some() && self.data_type.is_some() && self.shape.is_some()
    }

    fn place(&self, index: usize) -> Place<'_> {
        self.name.as_deref().map_or(Place::InputAt(index), Place::Input)
    }

    /// The three keys that every input needs, if they agree with the signature.
    fn checked(&self, index: usize, signature: &Signature) -> Result<(&str, DataType, &Shape), Error> {
        let missing = |what| Error::Missing { place: self.place(index).to_string(), what };
        let name = self.name.as_ref().ok_or_else(|| missing("name"))?;
        let data_type = self.data_type.ok_or_else(|| missing("datatype"))?;
        let shape = self.shape.as_ref().ok_or_else(|| missing("shape"))?;
        check(name, data_type, shape, signature)?;
        Ok((name, data_type, shape))
    }

    fn data(
        &self,
        index: usize,
        signature: &Signature,
        reader: &mut Reader<'_>,
        limits: DecodeLimits<'_>,
    ) -> Result<Data, Error> {
        let (_, data_type, shape) = self.checked(index, signature)?;
        elements(reader, Expected { place: &self.place(index), data_type, shape, limits })
    }

    fn finish(mut self, index: usize, signature: &Signature, data: Option<Data>) -> Result<Input<'a>, Error> {
        let parameters = self.parameters.take().unwrap_or_default();
        let (name, data_type, _) = self.checked(index, signature)?;
        let place = || Place::Input(name).to_string();
        let content = match (data, parameters.binary_data_size) {
            (Some(_), Some(_)) => {
                return Err(Error::unexpected(place(), "either `data` or `binary_data_size`", "both"));
            }
            (Some(Data::Bytes(texts)), None) if parameters.base64 => {
                Content::Data(Data::Bytes(decode_base64(&place(), &texts)?.into()))
            }
            (Some(data), None) => Content::Data(data),
            (None, Some(size)) => Content::Binary(size),
            (None, None) => Content::Unsaid,
        };
        Ok(Input { name: self.name.unwrap_or_default(), data_type, shape: self.shape.unwrap_or_default(), content })
    }
}

/// Refuses what [`hedef_core::Request::new`] would refuse, in the same words, before there is a tensor; and a shape that
/// no memory can hold.
pub(super) fn check(name: &str, data_type: DataType, shape: &Shape, signature: &Signature) -> Result<(), Error> {
    let Some(spec) = signature.inputs.iter().find(|spec| *spec.name == *name) else {
        let all: Vec<_> = signature.inputs.iter().map(|spec| format!("`{}` {spec}", spec.name)).collect();
        return Err(InvalidRequest::UnknownInput { name: name.to_string(), expected: all.join(", ") }.into());
    };
    if spec.data_type != data_type || !spec.accepts(shape) {
        let found = format!("{data_type} {shape}");
        return Err(InvalidRequest::WrongInput { name: name.to_string(), expected: spec.to_string(), found }.into());
    }
    if shape.elements().is_none() {
        let place = Place::Input(name).to_string();
        return Err(Error::unexpected(place, "a shape that memory can hold", shape.to_string()));
    }
    Ok(())
}

fn data_type(reader: &mut Reader<'_>, place: Place<'_>) -> Result<DataType, Error> {
    named(&string(reader, place, "datatype")?, place)
}

/// The data type of that name.
pub(super) fn named(name: &str, place: Place<'_>) -> Result<DataType, Error> {
    let unknown = || {
        let all: Vec<_> = DataType::ALL.iter().map(|data_type| data_type.name()).collect();
        Error::unexpected(format!("{place}: `datatype`"), format!("one of {}", all.join(", ")), format!("`{name}`"))
    };
    DataType::from_name(name).ok_or_else(unknown)
}

/// What a shape is.
pub(super) const DIMENSIONS: &str = "a list of whole numbers from 0 on";

fn shape(reader: &mut Reader<'_>, place: Place<'_>) -> Result<Shape, Error> {
    let expected = DIMENSIONS;
    if reader.peek()? != Next::Array {
        return Err(wrong(place, "shape", expected, reader.take_value()?.scalar()));
    }
    let mut dims: SmallVec<[usize; 4]> = SmallVec::new();
    reader.begin_array()?;
    while reader.next_element()? {
        if reader.peek()? != Next::Number {
            return Err(wrong(place, "shape", expected, reader.take_value()?.scalar()));
        }
        let text = reader.number()?;
        dims.push(text.parse().map_err(|_| wrong(place, "shape", expected, Ok(Scalar::Number(text))))?);
    }
    Ok(Shape::new(dims))
}

/// Decodes elements that a client sent as base64.
pub(super) fn decode_base64(place: &str, texts: &[Vec<u8>]) -> Result<Vec<Vec<u8>>, Error> {
    let decode = |(index, text): (usize, &Vec<u8>)| {
        let wrong = |error: base64::DecodeError| {
            Error::unexpected(format!("{place}, element [{index}]"), "base64", error.to_string())
        };
        STANDARD.decode(text).map_err(wrong)
    };
    texts.iter().enumerate().map(decode).collect()
}
