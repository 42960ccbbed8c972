//! TensorFlow Serving's REST interface and version 1 of KServe's, which share their paths: `:predict`, the state of
//! models, and their metadata.
//!
//! Source: `tensorflow_serving/util/json_tensor.cc` and `tensorflow_serving/g3doc/api_rest.md` of TensorFlow
//! Serving, KServe's v1 protocol, and for the list of models OpenAI's interface. Where two of them give one path
//! different answers, the answer holds the keys of both.

mod metadata;
#[cfg(test)]
mod tests;

use hedef_core::{Request, Response, Signature};

use crate::json::{NonFinite, Value};
use crate::rows::{self, Telling};
use crate::{DecodeLimits, Error};

pub use metadata::{State, VersionStatus, metadata, models, status};

/// How tensors are told; the answer is told as the request was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// `instances` and `predictions`: one list element for each row.
    Row,
    /// `inputs` and `outputs`: whole tensors.
    Column,
}

/// Reads the body of `POST /v1/models/{model}:predict`.
///
/// Exactly one of `instances`, read as [`crate::rows`] reads rows, and `inputs`, whole tensors by name or the only
/// one. `signature_name` and members of other names are left alone.
pub fn decode(body: &[u8], signature: &Signature) -> Result<(Request, Form), Error> {
    decode_within(body, signature, DecodeLimits::NONE)
}

/// The same, within limits: [`Error::TooManyElements`] and [`Error::NoRoom`] tell of them.
pub fn decode_within(body: &[u8], signature: &Signature, limits: DecodeLimits<'_>) -> Result<(Request, Form), Error> {
    let value = Value::parse_within(body, limits)?;
    let (request, form) = match (value.get("instances"), value.get("inputs")) {
        (Some(rows), None) => (rows::from_rows(rows, signature), Form::Row),
        (None, Some(columns)) => (rows::from_columns(columns, signature), Form::Column),
        (both, _) => {
            let found = if both.is_some() { "both" } else { "neither" };
            (Err(Error::unexpected("the body", "one of `instances` and `inputs`", found)), Form::Row)
        }
    };
    request.map(|request| (request, form)).map_err(|error| rows::explain(error, signature, "instances"))
}

/// Writes the answer in the form of the request.
///
/// In rows, one output is told bare and several as an object for each row; outputs that do not have the same number
/// of rows become one object of whole outputs. In columns, one output is told bare and several as an object. NaN and
/// the infinities are bare tokens. BYTES are `{"b64":"…"}` where the output's name ends in `_bytes` or an element
/// is no text. Labels are not told.
#[must_use]
pub fn encode(response: &Response, form: Form) -> Vec<u8> {
    let telling = Telling { non_finite: NonFinite::Bare, labels: None, bytes_by_name: true };
    let mut out = Vec::new();
    match form {
        Form::Row => {
            out.extend_from_slice(b"{\"predictions\":");
            rows::write_rows(&mut out, &response.outputs, telling);
        }
        Form::Column => {
            out.extend_from_slice(b"{\"outputs\":");
            rows::write_columns(&mut out, &response.outputs, telling);
        }
    }
    out.push(b'}');
    out
}
