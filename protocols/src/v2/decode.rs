use hedef_core::{DataType, InvalidRequest, Request, Signature};
use smallvec::SmallVec;

use super::input::Input;
use super::output::{self, Reply, Wish};
use super::parameters::{Parameters, set, string};
use super::place::Place;
use super::raw;
use crate::json::Reader;
use crate::{DecodeLimits, Error};

/// So many inputs are read without memory of their own for the list of them.
pub(super) const FEW: usize = 2;

type Inputs<'a> = SmallVec<[Input<'a>; FEW]>;

/// A request and what it says beside its tensors.
#[derive(Clone, Debug)]
pub struct Decoded {
    /// The tensors, valid for the model.
    pub request: Request,
    /// How the answer is to be told.
    pub reply: Reply,
    /// How many microseconds the request may wait to be run, if it says so.
    pub timeout_us: Option<u64>,
    /// 1 is the most urgent; `None` or 0 leaves it to the model.
    pub priority: Option<u64>,
}

/// Reads the body of `POST /v2/models/{model}/infer`.
///
/// The first `json_length` bytes are JSON and tensors in binary follow; `None` when all is JSON, and 0 when all is
/// one tensor ([`super::json_length`] reads the header). Fails with the tensor's name, the expectation and the
/// finding. Memory is bounded by the body.
pub fn decode(body: &[u8], json_length: Option<usize>, signature: &Signature) -> Result<Decoded, Error> {
    decode_within(body, json_length, signature, DecodeLimits::NONE)
}

/// The same, within limits: [`Error::TooManyElements`] and [`Error::NoRoom`] tell of them.
pub fn decode_within(
    body: &[u8],
    json_length: Option<usize>,
    signature: &Signature,
    limits: DecodeLimits<'_>,
) -> Result<Decoded, Error> {
    let (json, mut binary) = match json_length {
        None => (body, &[][..]),
        Some(0) => return raw::decode(body, signature, limits),
        Some(length) => body.split_at_checked(length).ok_or_else(|| longer_than_body(length, body.len()))?,
    };
    let Message { id, parameters, inputs, outputs } = Message::read(json, signature, limits)?;
    let lone = inputs.len() == 1;
    let tensors = inputs.into_iter().map(|input| input.tensor(&mut binary, lone, limits));
    let tensors: SmallVec<[_; FEW]> = tensors.collect::<Result<_, Error>>()?;
    let request = Request::new(signature, tensors)?;
    let request = request.with_outputs(signature, outputs.iter().map(|wish| &*wish.name))?;
    if !binary.is_empty() {
        let found = format!("{} bytes left over", binary.len());
        return Err(Error::unexpected("binary data", "as many bytes as the inputs' `binary_data_size` say", found));
    }
    Ok(Decoded {
        request,
        reply: Reply { id, binary: parameters.binary_data_output.unwrap_or(false), outputs },
        timeout_us: parameters.timeout.filter(|timeout| *timeout > 0),
        priority: parameters.priority,
    })
}

/// The `timeout` in the JSON of a request, in microseconds. None where there is none, or no request: decoding it tells why.
pub fn timeout_us(json: &[u8], signature: &Signature) -> Option<u64> {
    let Message { parameters, .. } = Message::read(json, signature, DecodeLimits::NONE).ok()?;
    parameters.timeout.filter(|timeout| *timeout > 0)
}

fn longer_than_body(length: usize, body: usize) -> Error {
    let place = "header `Inference-Header-Content-Length`";
    Error::unexpected(place, format!("at most the body's {body} bytes"), length.to_string())
}

/// The JSON of a request.
struct Message<'a> {
    id: Option<String>,
    parameters: Parameters,
    inputs: Inputs<'a>,
    outputs: Vec<Wish>,
}

impl<'a> Message<'a> {
    fn read(json: &'a [u8], signature: &Signature, limits: DecodeLimits<'_>) -> Result<Self, Error> {
        let (mut id, mut parameters, mut inputs, mut outputs) = (None, None, None, None);
        if signature.inputs.iter().any(|spec| spec.data_type == DataType::Bytes) {
            // All of the text may be that of strings.
            limits.take(json.len())?;
        }
        let mut reader = Reader::new(json)?;
        reader.begin_object()?;
        while let Some(key) = reader.next_key()? {
            match &*key {
                "id" => set(&mut id, string(&mut reader, Place::Request, &key)?.into_owned(), &reader, &key)?,
                "parameters" => set(&mut parameters, Parameters::read(&mut reader, Place::Request)?, &reader, &key)?,
                "inputs" => set(&mut inputs, read_inputs(&mut reader, signature, limits)?, &reader, &key)?,
                "outputs" => set(&mut outputs, output::read(&mut reader, signature)?, &reader, &key)?,
                _ => reader.skip_value()?,
            }
        }
        reader.end()?;
        let missing = || Error::Missing { place: Place::Request.to_string(), what: "inputs" };
        Ok(Self {
            id,
            parameters: parameters.unwrap_or_default(),
            inputs: inputs.ok_or_else(missing)?,
            outputs: outputs.unwrap_or_default(),
        })
    }
}

fn read_inputs<'a>(
    reader: &mut Reader<'a>,
    signature: &Signature,
    mut limits: DecodeLimits<'_>,
) -> Result<Inputs<'a>, Error> {
    let mut inputs = Inputs::new();
    reader.begin_array()?;
    while reader.next_element()? {
        if inputs.len() > signature.inputs.len() {
            // Each has a name that the model knows, so one of them stands twice.
            let twice =
                |(at, input): &(usize, &Input<'_>)| inputs.iter().take(*at).any(|one| one.name() == input.name());
            let name = inputs.iter().enumerate().find(twice).map_or("", |(_, input)| input.name());
            return Err(InvalidRequest::DuplicateInput { name: name.to_string() }.into());
        }
        let input = Input::read(reader, inputs.len(), signature, limits)?;
        limits = limits.after(input.elements());
        inputs.push(input);
    }
    Ok(inputs)
}
