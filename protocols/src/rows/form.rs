use hedef_core::Signature;

use super::nested::b64;
use crate::Error;
use crate::json::Value;

/// The forms that a body can have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form<'v, 'a> {
    /// A list of rows.
    Rows(&'v Value<'a>),
    /// The names of the columns, and a list of rows.
    Table { columns: &'v Value<'a>, data: &'v Value<'a> },
    /// Whole tensors, named or the only one.
    Columns(&'v Value<'a>),
    /// The Open Inference Protocol's JSON.
    Oip,
}

/// Finds out which form a body has.
pub(super) fn form<'v, 'a>(value: &'v Value<'a>, signature: &Signature) -> Result<Form<'v, 'a>, Error> {
    let members = match value {
        Value::Array(_) => return Ok(Form::Rows(value)),
        Value::Object(members) => members,
        _ => return Err(Error::unexpected("the body", "a list of rows or an object", "one value")),
    };
    let all_inputs = !members.is_empty() && members.iter().all(|(key, _)| signature.input(key).is_some());
    if all_inputs && members.len() > 1 {
        return Ok(Form::Columns(value));
    }
    if let Some(input_data) = value.get("input_data") {
        return Ok(rows_or_columns(input_data));
    }
    match (value.get("columns"), value.get("data")) {
        (Some(columns), Some(data)) => return Ok(Form::Table { columns, data }),
        (None, Some(data)) => return Ok(rows_or_columns(data)),
        _ => {}
    }
    if let Some(inputs) = value.get("Inputs") {
        return Ok(azure_inputs(inputs, signature));
    }
    if let Some(inputs) = value.get("inputs") {
        return Ok(if is_oip(inputs) { Form::Oip } else { Form::Columns(inputs) });
    }
    if let Some(instances) = value.get("instances") {
        return Ok(Form::Rows(instances));
    }
    if all_inputs { Ok(Form::Columns(value)) } else { Err(unknown(members.iter().map(|(key, _)| &**key))) }
}

fn rows_or_columns<'v, 'a>(value: &'v Value<'a>) -> Form<'v, 'a> {
    match (value.get("columns"), value.get("data")) {
        (Some(columns), Some(data)) => Form::Table { columns, data },
        _ if matches!(value, Value::Object(_)) && b64(value).is_none() => Form::Columns(value),
        _ => Form::Rows(value),
    }
}

/// Within `Inputs` the rows stand under a name that is the service's rather than the model's, such as `data` or
/// `WebServiceInput0`.
fn azure_inputs<'v, 'a>(inputs: &'v Value<'a>, signature: &Signature) -> Form<'v, 'a> {
    match inputs {
        Value::Object(members) => match members.as_slice() {
            [(name, rows @ Value::Array(_))] if signature.input(name).is_none() => Form::Rows(rows),
            _ => rows_or_columns(inputs),
        },
        _ => Form::Rows(inputs),
    }
}

fn is_oip(inputs: &Value<'_>) -> bool {
    let Value::Array(inputs) = inputs else { return false };
    let tensor = |value: &Value<'_>| value.get("name").is_some() && value.get("datatype").is_some();
    inputs.first().is_some_and(tensor)
}

fn unknown<'m>(keys: impl Iterator<Item = &'m str>) -> Error {
    let keys: Vec<_> = keys.take(4).map(|key| format!("`{}`", key.chars().take(40).collect::<String>())).collect();
    let found = if keys.is_empty() { "none of them".to_string() } else { keys.join(", ") };
    let expected = "one of `input_data`, `data`, `Inputs`, `inputs` and `instances`, or the names of the inputs";
    Error::unexpected("the body", expected, found)
}
