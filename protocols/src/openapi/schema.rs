use hedef_core::{DataType, Dim, Signature, TensorSpec};
use serde_json::{Map, Value, json};

use crate::rows::{self, Limits};

/// The member that holds the rows.
const KEY: &str = "input_data";

/// A document stays readable with an example of so many elements.
const LIMITS: Limits = Limits { list: 1000, elements: 1000 };

/// What `POST /score` takes, in the form that [`rows::body`] shows.
pub(super) fn input(signature: &Signature) -> Value {
    let inputs = signature.inputs.as_slice();
    let data = match inputs {
        _ if !rows::by_rows(signature) => object(inputs, tensor),
        [only] => list(None, row(only)),
        several => list(None, object(several, row)),
    };
    let mut schema = json!({
        "type": "object",
        "required": [KEY],
        "properties": { KEY: data },
    });
    // An example that had to be cut is no JSON, and left out.
    let example = serde_json::from_str(&rows::body(signature, KEY, LIMITS));
    if let (Some(schema), Ok(example)) = (schema.as_object_mut(), example) {
        schema.insert("example".to_string(), example);
    }
    schema
}

/// What `/score` answers, in the form that [`crate::azure::encode`] writes.
pub(super) fn output(signature: &Signature) -> Value {
    let outputs = signature.outputs.as_slice();
    let has_rows = |spec: &TensorSpec| spec.dims.as_ref().is_none_or(|dims| !dims.is_empty());
    match outputs {
        [only] => tensor(only),
        several if several.iter().all(has_rows) => list(None, object(several, answered_row)),
        several => object(several, tensor),
    }
}

/// A row of one input.
fn row(spec: &TensorSpec) -> Value {
    if rows::bare_row(spec) { element(spec.data_type) } else { answered_row(spec) }
}

/// A row of one output.
fn answered_row(spec: &TensorSpec) -> Value {
    match &spec.dims {
        Some(dims) => nested(spec, dims.get(1..).unwrap_or_default()),
        None => json!({ "description": "One value or a list." }),
    }
}

/// A whole tensor.
fn tensor(spec: &TensorSpec) -> Value {
    match &spec.dims {
        Some(dims) => nested(spec, dims),
        None => json!({ "description": "One value or a list." }),
    }
}

fn nested(spec: &TensorSpec, dims: &[Dim]) -> Value {
    match (dims, rows::labels(spec), spec.dims.as_ref().map_or(0, Vec::len)) {
        ([], _, _) => element(spec.data_type),
        ([_], Some(_), 1 | 2) => json!({
            "type": "object",
            "description": "The value of each label.",
            "additionalProperties": element(spec.data_type),
        }),
        ([dim, inner @ ..], _, _) => list(Some(dim), nested(spec, inner)),
    }
}

fn list(dim: Option<&Dim>, items: Value) -> Value {
    let mut schema = json!({ "type": "array", "items": items });
    if let (Some(Dim::Fixed(size)), Some(schema)) = (dim, schema.as_object_mut()) {
        schema.insert("minItems".to_string(), json!(size));
        schema.insert("maxItems".to_string(), json!(size));
    }
    schema
}

fn object(specs: &[TensorSpec], schema: impl Fn(&TensorSpec) -> Value) -> Value {
    let mut properties = Map::new();
    properties.extend(specs.iter().map(|spec| (spec.name.to_string(), schema(spec))));
    let required: Vec<&str> = specs.iter().map(|spec| &*spec.name).collect();
    let mut schema = json!({ "type": "object", "properties": properties });
    // A list of no names is against both specifications.
    if let (false, Some(schema)) = (required.is_empty(), schema.as_object_mut()) {
        schema.insert("required".to_string(), json!(required));
    }
    schema
}

fn element(data_type: DataType) -> Value {
    match data_type {
        DataType::Bool => json!({ "type": "boolean" }),
        DataType::Uint8 => integer(0, u8::MAX.into()),
        DataType::Uint16 => integer(0, u16::MAX.into()),
        DataType::Uint32 => integer(0, u32::MAX.into()),
        DataType::Uint64 => json!({ "type": "integer", "minimum": 0 }),
        DataType::Int8 => integer(i8::MIN.into(), i8::MAX.into()),
        DataType::Int16 => integer(i16::MIN.into(), i16::MAX.into()),
        DataType::Int32 => json!({ "type": "integer", "format": "int32" }),
        DataType::Int64 => json!({ "type": "integer", "format": "int64" }),
        DataType::Fp16 | DataType::Bf16 | DataType::Fp32 => json!({ "type": "number", "format": "float" }),
        DataType::Fp64 => json!({ "type": "number", "format": "double" }),
        DataType::Bytes => json!({ "type": "string" }),
    }
}

fn integer(minimum: i64, maximum: i64) -> Value {
    json!({ "type": "integer", "minimum": minimum, "maximum": maximum })
}
