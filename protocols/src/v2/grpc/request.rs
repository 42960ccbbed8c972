use std::borrow::Cow;

use hedef_core::{DataType, Request, Shape, Signature, Tensor};
use smallvec::SmallVec;

use super::contents;
use super::wire::{Fields, Value, broken};
use crate::json::Scalar;
use crate::v2::binary;
use crate::v2::decode::{Decoded, FEW};
use crate::v2::input::{DIMENSIONS, check, decode_base64, named, tensor};
use crate::v2::output::{Reply, Wish};
use crate::v2::parameters::{Parameters, wrong};
use crate::v2::place::Place;
use crate::{DecodeLimits, Error};

/// What a `ModelInferRequest` says of itself before its tensors.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Head<'a> {
    /// The model to score with.
    pub model: &'a str,
    /// Its version; `None` leaves it to the server.
    pub version: Option<&'a str>,
    /// The caller's name for the request; empty when it has none.
    pub id: &'a str,
}

impl<'a> Head<'a> {
    /// Reads the head of a whole message, wherever in it that stands.
    pub fn read(message: &'a [u8]) -> Result<Self, Error> {
        let mut head = Self::default();
        let mut fields = Fields::new(message);
        while let Some((field, value)) = fields.next()? {
            head.take(field, value)?;
        }
        Ok(head)
    }

    /// Reads the head of a message of which only the beginning has come. `None` when that does not tell: the fields of
    /// the head stand first where a message was written as usual.
    #[must_use]
    pub fn peek(start: &'a [u8]) -> Option<Self> {
        let mut head = Self::default();
        let mut fields = Fields::new(start);
        loop {
            // Of a message in good order, what does not come before the parameters is not there.
            match fields.next_number()? {
                1..=3 => {
                    let (field, value) = fields.next().ok()??;
                    head.take(field, value).ok()?;
                }
                _ => return Some(head),
            }
        }
    }

    fn take(&mut self, field: u32, value: Value<'a>) -> Result<(), Error> {
        match field {
            1 => self.model = value.text()?,
            2 => self.version = Some(value.text()?).filter(|version| !version.is_empty()),
            3 => self.id = value.text()?,
            _ => {}
        }
        Ok(())
    }
}

/// Where raw contents begin in a message of which only the beginning has come: the first that go beyond it.
#[must_use]
pub fn raw_start(start: &[u8]) -> Option<usize> {
    let mut fields = Fields::new(start);
    loop {
        let mut last = fields.clone();
        if let Ok(next) = fields.next() {
            next?;
            continue;
        }
        let is_raw = last.next_number()? == 7;
        // Its tag and its length.
        last.varint().ok()?;
        last.varint().ok()?;
        return is_raw.then(|| start.len() - last.len());
    }
}

/// Reads a `ModelInferRequest` for a model of this signature.
///
/// Tensors come either all in `raw_input_contents`, in the order of the inputs, or all in their `contents`. Unless
/// the request says otherwise, the answer's go the same way. Fails as [`super::super::decode()`] does, in the same words.
/// Memory is bounded by the message.
pub fn decode(message: &[u8], signature: &Signature) -> Result<Decoded, Error> {
    decode_within(message, signature, DecodeLimits::NONE)
}

/// The same, within limits: [`Error::TooManyElements`] and [`Error::NoRoom`] tell of them.
pub fn decode_within(message: &[u8], signature: &Signature, limits: DecodeLimits<'_>) -> Result<Decoded, Error> {
    let Message { id, parameters, inputs, outputs, raw, raw_count } = Message::read(message, signature)?;
    for (index, input) in inputs.iter().enumerate() {
        check(input.name(index)?, input.data_type, &input.shape, signature)?;
    }
    let typed = inputs.iter().find(|input| input.has_contents());
    if raw_count > 0
        && let Some(input) = typed
    {
        let place = Place::Input(input.name).to_string();
        return Err(Error::unexpected(
            place,
            "either `contents` or `raw_input_contents`, for all inputs alike",
            "both",
        ));
    }
    if raw_count > 0 && raw_count != inputs.len() {
        let expected = format!("one entry for each of {} inputs", inputs.len());
        return Err(Error::unexpected("`raw_input_contents`", expected, raw_count.to_string()));
    }
    let tensors: SmallVec<[_; FEW]> = match raw_count {
        0 => inputs.iter().map(|input| input.typed(limits)).collect::<Result<_, Error>>()?,
        _ => inputs.iter().zip(raw).map(|(input, bytes)| input.raw(bytes, limits)).collect::<Result<_, Error>>()?,
    };
    let request = Request::new(signature, tensors)?;
    let request = request.with_outputs(signature, outputs.iter().map(|wish| &*wish.name))?;
    let id = Some(id).filter(|id| !id.is_empty()).map(String::from);
    Ok(Decoded {
        request,
        reply: Reply { id, binary: parameters.binary_data_output.unwrap_or(raw_count > 0), outputs },
        timeout_us: parameters.timeout.filter(|timeout| *timeout > 0),
        priority: parameters.priority,
    })
}

/// A request whose tensors still lie in the message.
#[derive(Default)]
struct Message<'a> {
    id: &'a str,
    parameters: Parameters,
    inputs: SmallVec<[Input<'a>; 2]>,
    outputs: Vec<Wish>,
    raw: SmallVec<[&'a [u8]; 4]>,
    raw_count: usize,
}

impl<'a> Message<'a> {
    fn read(message: &'a [u8], signature: &Signature) -> Result<Self, Error> {
        let mut all = Self::default();
        let mut fields = Fields::new(message);
        // A list that is longer than the signature names a tensor twice, or an unknown one: the rest is left out.
        let (most_inputs, most_outputs) = (signature.inputs.len() + 1, signature.outputs.len() + 1);
        while let Some((field, value)) = fields.next()? {
            match field {
                3 => all.id = value.text()?,
                4 => read_parameter(value, Place::Request, &mut all.parameters)?,
                5 if all.inputs.len() < most_inputs => {
                    let input = Input::read(value, all.inputs.len())?;
                    all.inputs.push(input);
                }
                6 if all.outputs.len() < most_outputs => {
                    let wish = read_wish(value, all.outputs.len())?;
                    all.outputs.push(wish);
                }
                7 => {
                    if all.raw.len() < most_inputs {
                        all.raw.push(value.bytes()?);
                    }
                    all.raw_count += 1;
                }
                _ => {}
            }
        }
        Ok(all)
    }
}

/// One input whose elements still lie in the message.
struct Input<'a> {
    name: &'a str,
    data_type: DataType,
    shape: Shape,
    base64: bool,
    /// The parts of its typed contents, if it has any: in a message they may stand apart.
    contents: SmallVec<[&'a [u8]; 1]>,
}

impl<'a> Input<'a> {
    fn read(value: Value<'a>, index: usize) -> Result<Self, Error> {
        let mut name = "";
        let mut data_type = "";
        let mut dims: SmallVec<[i64; 4]> = SmallVec::new();
        let mut parameters = Parameters::default();
        let mut contents = SmallVec::new();
        let mut fields = Fields::new(value.bytes()?);
        let place = |name: &'a str| if name.is_empty() { Place::InputAt(index) } else { Place::Input(name) };
        while let Some((field, value)) = fields.next()? {
            match field {
                1 => name = value.text()?,
                2 => data_type = value.text()?,
                3 => read_dims(value, &mut dims)?,
                4 => read_parameter(value, place(name), &mut parameters)?,
                5 => contents.push(value.bytes()?),
                _ => {}
            }
        }
        let place = place(name);
        let negative = |dim: i64| wrong(place, "shape", DIMENSIONS, Ok(Scalar::Number(&dim.to_string())));
        let size = |dim: &i64| usize::try_from(*dim).map_err(|_| negative(*dim));
        let shape = dims.iter().map(size).collect::<Result<Shape, _>>()?;
        Ok(Self { name, data_type: named(data_type, place)?, shape, base64: parameters.base64, contents })
    }

    /// Whether there are typed contents: of a tensor without elements they are empty.
    fn has_contents(&self) -> bool {
        self.contents.iter().any(|part| !part.is_empty())
    }

    fn name(&self, index: usize) -> Result<&'a str, Error> {
        let missing = || Error::Missing { place: Place::InputAt(index).to_string(), what: "name" };
        if self.name.is_empty() { Err(missing()) } else { Ok(self.name) }
    }

    fn raw(&self, bytes: &[u8], limits: DecodeLimits<'_>) -> Result<(Cow<'a, str>, Tensor), Error> {
        let count = self.shape.elements().unwrap_or(usize::MAX);
        let data = binary::read_within(&Place::Input(self.name).to_string(), self.data_type, count, bytes, limits)?;
        tensor(Cow::Borrowed(self.name), self.shape.clone(), data)
    }

    fn typed(&self, limits: DecodeLimits<'_>) -> Result<(Cow<'a, str>, Tensor), Error> {
        let place = Place::Input(self.name);
        let mut data = contents::read(place, self.data_type, &self.shape, &self.contents, limits)?;
        if let hedef_core::Data::Bytes(texts) = &data
            && self.base64
        {
            data = hedef_core::Data::Bytes(decode_base64(&place.to_string(), texts)?.into());
        }
        tensor(Cow::Borrowed(self.name), self.shape.clone(), data)
    }
}

/// The dimensions, packed or one by one.
fn read_dims(value: Value<'_>, dims: &mut SmallVec<[i64; 4]>) -> Result<(), Error> {
    let Value::Bytes(packed) = value else {
        dims.push(value.signed()?);
        return Ok(());
    };
    let mut packed = Fields::new(packed);
    while !packed.is_empty() {
        dims.push(packed.varint()?.cast_signed());
    }
    Ok(())
}

fn read_wish(value: Value<'_>, index: usize) -> Result<Wish, Error> {
    let mut name = "";
    let mut parameters = Parameters::default();
    let mut fields = Fields::new(value.bytes()?);
    while let Some((field, value)) = fields.next()? {
        let place = if name.is_empty() { Place::OutputAt(index) } else { Place::Output(name) };
        match field {
            1 => name = value.text()?,
            2 => read_parameter(value, place, &mut parameters)?,
            _ => {}
        }
    }
    if name.is_empty() {
        return Err(Error::Missing { place: Place::OutputAt(index).to_string(), what: "name" });
    }
    Ok(Wish {
        name: name.to_string(),
        binary: parameters.binary_data,
        classification: parameters.classification.filter(|count| *count > 0),
        base64: parameters.base64,
    })
}

/// What Triton's clients set in streams. Every request has one answer here, so that no empty one has to follow.
const EMPTY_FINAL_RESPONSE: &str = "triton_enable_empty_final_response";

/// Takes one entry of a `map<string, InferParameter>`.
fn read_parameter(value: Value<'_>, place: Place<'_>, parameters: &mut Parameters) -> Result<(), Error> {
    let mut key = "";
    let mut choice: &[u8] = &[];
    let mut fields = Fields::new(value.bytes()?);
    while let Some((field, value)) = fields.next()? {
        match field {
            1 => key = value.text()?,
            2 => choice = value.bytes()?,
            _ => {}
        }
    }
    if key == EMPTY_FINAL_RESPONSE {
        return Ok(());
    }
    let mut digits = itoa::Buffer::new();
    let double;
    let mut scalar = Scalar::Null;
    let mut fields = Fields::new(choice);
    let mut last = None;
    while let Some(field) = fields.next()? {
        // Of several choices the last holds.
        last = Some(field).filter(|(field, _)| (1..=5).contains(field)).or(last);
    }
    match last {
        Some((1, value)) => scalar = Scalar::Bool(value.varint()? != 0),
        Some((2, value)) => scalar = Scalar::Number(digits.format(value.signed()?)),
        Some((3, value)) => scalar = Scalar::String(Cow::Borrowed(value.text()?)),
        Some((4, Value::Fixed64(bytes))) => {
            double = f64::from_le_bytes(bytes).to_string();
            scalar = Scalar::Number(&double);
        }
        Some((5, value)) => scalar = Scalar::Number(digits.format(value.varint()?)),
        Some(_) => return Err(broken("a parameter is of another type")),
        None => {}
    }
    // In a map the last of equal keys holds.
    parameters.take(place, key, Ok(scalar)).map(|_| ())
}
