//! JSON rows, the form in which people who never saw a tensor send one.
//!
//! What can stand for the inputs of a model:
//! - a list of rows: `[[5.1,3.5],[4.9,3.0]]`, the only input; a model with several gets objects;
//! - an object for each row: `[{"age":30,"job":"baker"}]`, by name;
//! - columns and rows: `{"columns":["age","job"],"data":[[30,"baker"]]}`, by name;
//! - an object of columns: `{"age":[30],"job":["baker"]}`, by name, each a whole tensor.
//!
//! Named values go to the input of their name. Names that no input has are features: they are stacked in the order
//! given, if the model has one two-dimensional input that takes so many, of whatever type. (A signature holds no
//! names of features to check them against.) One value for each row becomes `[N,1]` where the input has two
//! dimensions. Nothing else is guessed: a sample without its row, or with one list too many, is refused with both
//! shapes. Elements are taken as [`crate::json::push`] takes them, and `{"b64":"…"}` stands for bytes.
//!
//! Refusals say what the model takes and show a body that it would take.

mod columns;
mod encode;
mod example;
mod fit;
mod form;
mod nested;
mod table;
#[cfg(test)]
mod tests;

use std::borrow::Cow;

use hedef_core::{Request, Signature};

use crate::json::Value;
use crate::{DecodeLimits, Error, v2};

pub(crate) use columns::{Assignment, assign, stacks, wanted};
pub(crate) use encode::{Telling, labels, write_columns, write_rows};
pub(crate) use example::{Limits, body, by_rows, explain, list};
pub(crate) use fit::{bare_row, fit};
use form::Form;

/// Reads a JSON body of any form that a scoring service knows, the first that fits:
///
/// 1. `{"input_data": …}` of columns and rows, of rows, or of named tensors;
/// 2. `{"data": …}`, also beside `"columns"`;
/// 3. `{"Inputs": …}`, the older form of Azure Machine Learning;
/// 4. `{"inputs": [{"name": …}]}`, the Open Inference Protocol; or `{"inputs": …}` of whole tensors;
/// 5. `{"instances": …}`, the rows of TensorFlow Serving;
/// 6. a bare list of rows; or an object with the names of the inputs.
///
/// Other members, such as `"params"`, are left alone. Fails with what the model takes and an example.
pub fn decode(body: &[u8], signature: &Signature) -> Result<Request, Error> {
    decode_within(body, signature, DecodeLimits::NONE)
}

/// The same, within limits: [`Error::TooManyElements`] and [`Error::NoRoom`] tell of them.
pub fn decode_within(body: &[u8], signature: &Signature, limits: DecodeLimits<'_>) -> Result<Request, Error> {
    let value = Value::parse_within(body, limits)?;
    match form::form(&value, signature) {
        Ok(Form::Oip) => v2::decode_within(body, None, signature, limits).map(|decoded| decoded.request),
        Ok(form) => request(form, signature),
        Err(error) => Err(error),
    }
    .map_err(|error| explain(error, signature, "input_data"))
}

/// Reads named values, each bare or a list, as one of the forms of [`decode`].
pub(crate) fn decode_members(members: Vec<(Cow<'_, str>, Value<'_>)>, signature: &Signature) -> Result<Request, Error> {
    let value = Value::Object(members);
    let form = form::form(&value, signature);
    form.and_then(|form| request(form, signature)).map_err(|error| explain(error, signature, "input_data"))
}

/// Reads a list of rows. Errors are bare: the caller explains them.
pub(crate) fn from_rows(rows: &Value<'_>, signature: &Signature) -> Result<Request, Error> {
    request(Form::Rows(rows), signature)
}

/// Reads whole tensors, named or the only one. Errors are bare: the caller explains them.
pub(crate) fn from_columns(columns: &Value<'_>, signature: &Signature) -> Result<Request, Error> {
    request(Form::Columns(columns), signature)
}

fn request(form: Form<'_, '_>, signature: &Signature) -> Result<Request, Error> {
    let tensors = match form {
        Form::Rows(rows) => table::rows(rows, signature),
        Form::Table { columns, data } => table::columns_and_data(columns, data, signature),
        Form::Columns(columns) => table::columns(columns, signature),
        Form::Oip => Err(Error::unexpected("`inputs`", "rows or columns", "tensors with names and shapes")),
    }?;
    Ok(Request::new(signature, tensors)?)
}
