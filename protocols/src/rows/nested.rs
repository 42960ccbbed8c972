use base64::Engine as _;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};
use hedef_core::{Data, DataType, Shape, Tensor, TensorSpec};

use super::fit::fit;
use crate::Error;
use crate::json::{Scalar, Unfit, Value, push};

/// Standard base64, with or without the padding.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// The text of `{"b64": "…"}`, the form of bytes that no JSON string can hold.
pub(super) fn b64<'v>(value: &'v Value<'_>) -> Option<&'v str> {
    match value {
        Value::Object(members) => match members.as_slice() {
            [(key, Value::String(text))] if key == "b64" => Some(text),
            _ => None,
        },
        _ => None,
    }
}

/// Collects nested lists and bare values into the tensor of one input.
pub(super) struct Collector<'s> {
    spec: &'s TensorSpec,
    data: Data,
    /// The indices of the lists around the current value.
    path: Vec<usize>,
}

impl<'s> Collector<'s> {
    pub(super) fn new(spec: &'s TensorSpec) -> Self {
        Self { spec, data: Data::with_capacity(spec.data_type, 0), path: Vec::new() }
    }

    /// Makes a tensor of one value.
    pub(super) fn whole(mut self, value: &Value<'_>) -> Result<Tensor, Error> {
        let dims = dims(value);
        self.push(value, &dims)?;
        self.finish(dims)
    }

    /// Makes a tensor of values that each are one row.
    pub(super) fn rows<'v, 'a: 'v>(mut self, rows: impl Iterator<Item = &'v Value<'a>>) -> Result<Tensor, Error> {
        let mut row = None;
        let mut count = 0;
        for value in rows {
            let row = row.get_or_insert_with(|| dims(value));
            self.path.push(count);
            self.push(value, row)?;
            self.path.pop();
            count += 1;
        }
        let dims = std::iter::once(count).chain(row.unwrap_or_default()).collect();
        self.finish(dims)
    }

    /// Makes a tensor of `columns` bare values for each row, which come row by row.
    pub(super) fn cells<'v, 'a: 'v>(
        mut self,
        columns: usize,
        cells: impl Iterator<Item = &'v Value<'a>>,
    ) -> Result<Tensor, Error> {
        let mut count = 0;
        for cell in cells {
            self.path.extend([count / columns.max(1), count % columns.max(1)]);
            self.push(cell, &[])?;
            self.path.clear();
            count += 1;
        }
        self.finish(vec![count.checked_div(columns).unwrap_or(0), columns])
    }

    fn finish(self, dims: Vec<usize>) -> Result<Tensor, Error> {
        let shape: Shape = fit(self.spec, dims);
        let place = format!("input `{}`", self.spec.name);
        let expected = self.spec.to_string();
        Tensor::new(shape, self.data).map_err(|error| Error::unexpected(place, expected, error.to_string()))
    }

    /// Appends the elements of `value`, whose lists have to have the sizes `dims`.
    fn push(&mut self, value: &Value<'_>, dims: &[usize]) -> Result<(), Error> {
        let Some((size, inner)) = dims.split_first() else { return self.push_element(value) };
        let Value::Array(elements) = value else {
            return Err(self.ragged(*size, describe(value)));
        };
        if elements.len() != *size {
            return Err(self.ragged(*size, format!("a list of {}", elements.len())));
        }
        for (index, element) in elements.iter().enumerate() {
            self.path.push(index);
            self.push(element, inner)?;
            self.path.pop();
        }
        Ok(())
    }

    fn push_element(&mut self, value: &Value<'_>) -> Result<(), Error> {
        if let (Data::Bytes(elements), Some(text)) = (&mut self.data, b64(value)) {
            let bytes = BASE64.decode(text).map(|bytes| elements.to_mut().push(bytes));
            return bytes.map_err(|error| Error::unexpected(self.place(), "base64", error.to_string()));
        }
        let pushed = match value {
            Value::Null => push(&mut self.data, Scalar::Null),
            Value::Bool(value) => push(&mut self.data, Scalar::Bool(*value)),
            Value::Number(text) => push(&mut self.data, Scalar::Number(text)),
            Value::String(text) => push(&mut self.data, Scalar::String((&**text).into())),
            Value::Array(_) if self.path.is_empty() => Err(self.unfit("a list")),
            Value::Array(_) => Err(self.unfit("a list, where the lists before it hold single values")),
            Value::Object(_) => Err(self.unfit("an object")),
        };
        pushed.map_err(|unfit| Error::unexpected(self.place(), unfit.expected, unfit.found))
    }

    #[cold]
    fn unfit(&self, found: &str) -> Unfit {
        let also = if self.spec.data_type == DataType::Bytes { " or {\"b64\":\"…\"}" } else { "" };
        Unfit { expected: format!("one {}{also}", self.spec.data_type), found: found.to_string() }
    }

    #[cold]
    fn ragged(&self, size: usize, found: String) -> Error {
        Error::unexpected(self.place(), format!("a list of {size}, as the one before it"), found)
    }

    #[cold]
    fn place(&self) -> String {
        let path: Vec<_> = self.path.iter().map(usize::to_string).collect();
        match path.as_slice() {
            [] => format!("input `{}`", self.spec.name),
            path => format!("input `{}`, element [{}]", self.spec.name, path.join(",")),
        }
    }
}

/// The sizes of the lists in which the first element stands.
fn dims(value: &Value<'_>) -> Vec<usize> {
    let mut dims = Vec::new();
    let mut first = Some(value);
    while let Some(Value::Array(elements)) = first {
        dims.push(elements.len());
        first = elements.first();
    }
    dims
}

/// What stands in the place of a list.
fn describe(value: &Value<'_>) -> String {
    match value {
        Value::Array(elements) => format!("a list of {}", elements.len()),
        Value::Object(_) => "an object".to_string(),
        Value::Null => Scalar::Null.to_string(),
        Value::Bool(value) => Scalar::Bool(*value).to_string(),
        Value::Number(text) => Scalar::Number(text).to_string(),
        Value::String(text) => Scalar::String((&**text).into()).to_string(),
    }
}
