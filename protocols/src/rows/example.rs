use hedef_core::{DataType, Dim, Signature, TensorSpec};

use super::fit::bare_row;
use crate::Error;
use crate::json::write_str;

/// What a person can read.
const READABLE: Limits = Limits { list: 6, elements: 24 };

/// How long an example may be.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// The elements of one list.
    pub(crate) list: usize,
    /// The elements in all.
    pub(crate) elements: usize,
}

/// All of `specs` in one line, such as `` `x` FP32 [-1,4], `mask` BOOL [-1] ``.
pub(crate) fn list(specs: &[TensorSpec]) -> String {
    let all: Vec<_> = specs.iter().map(|spec| format!("`{}` {spec}", spec.name)).collect();
    all.join(", ")
}

/// Adds to an error about rows what the model takes, and a body of it under `key`.
pub(crate) fn explain(error: Error, signature: &Signature, key: &str) -> Error {
    match error {
        Error::Missing { .. } | Error::Unexpected { .. } | Error::Request(_) => Error::Rows {
            problem: error.to_string(),
            expected: list(&signature.inputs),
            example: body(signature, key, READABLE),
        },
        _ => error,
    }
}

/// A request of one row as JSON, under `key`: a list of rows, or one object of whole tensors where an input has no
/// axis that could count rows. What goes beyond `limits` is cut by `…`, which is no JSON any more.
pub(crate) fn body(signature: &Signature, key: &str, limits: Limits) -> String {
    let mut example = Example { out: String::new(), limits };
    if by_rows(signature) {
        example.out = format!("{{\"{key}\":[");
        example.row(signature);
        example.out.push(']');
    } else {
        // TensorFlow Serving has another key for whole tensors.
        let key = if key == "instances" { "inputs" } else { key };
        example.out = format!("{{\"{key}\":");
        example.object(&signature.inputs, |spec| spec.dims.as_deref().unwrap_or_default());
    }
    example.out.push('}');
    example.out
}

/// Whether a request can be told as a list of rows.
pub(crate) fn by_rows(signature: &Signature) -> bool {
    !signature.inputs.is_empty()
        && signature.inputs.iter().all(|spec| spec.dims.as_ref().is_none_or(|dims| !dims.is_empty()))
}

/// The dimensions of one row of an input, as it is best told.
fn row(spec: &TensorSpec) -> &[Dim] {
    let dims = if bare_row(spec) { None } else { spec.dims.as_deref().and_then(|dims| dims.get(1..)) };
    dims.unwrap_or_default()
}

struct Example {
    out: String,
    /// What is left of them.
    limits: Limits,
}

impl Example {
    fn row(&mut self, signature: &Signature) {
        match signature.inputs.as_slice() {
            [only] => self.nested(row(only), value(only.data_type)),
            several => self.object(several, row),
        }
    }

    fn object(&mut self, specs: &[TensorSpec], dims: impl Fn(&TensorSpec) -> &[Dim]) {
        self.out.push('{');
        for (position, spec) in specs.iter().enumerate() {
            if position > 0 {
                self.out.push(',');
            }
            let mut key = Vec::new();
            write_str(&mut key, &spec.name);
            self.out.push_str(&String::from_utf8_lossy(&key));
            self.out.push(':');
            self.nested(dims(spec), value(spec.data_type));
        }
        self.out.push('}');
    }

    fn nested(&mut self, dims: &[Dim], value: &str) {
        let Some((dim, inner)) = dims.split_first() else {
            self.limits.elements = self.limits.elements.saturating_sub(1);
            return self.out.push_str(value);
        };
        let size = if let Dim::Fixed(size) = dim { *size } else { 1 };
        self.out.push('[');
        for index in 0..size {
            if index > 0 {
                self.out.push(',');
            }
            if index == self.limits.list || self.limits.elements == 0 {
                self.out.push('…');
                break;
            }
            self.nested(inner, value);
        }
        self.out.push(']');
    }
}

const fn value(data_type: DataType) -> &'static str {
    match data_type {
        DataType::Bool => "true",
        DataType::Bytes => "\"text\"",
        DataType::Fp16 | DataType::Bf16 | DataType::Fp32 | DataType::Fp64 => "0.5",
        _ => "1",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example(specs: Vec<(&str, DataType, Option<Vec<Dim>>)>) -> String {
        let inputs = specs.into_iter().map(|(name, data_type, dims)| TensorSpec::new(name, data_type, dims)).collect();
        body(&Signature { inputs, outputs: vec![], batch_axis: true }, "input_data", READABLE)
    }

    #[test]
    fn an_example_has_the_form_of_the_model() {
        let (free, four) = (Dim::Free, Dim::Fixed(4));
        let x = |dims| vec![("x", DataType::Fp32, dims)];
        assert_eq!(example(x(Some(vec![free.clone(), four.clone()]))), r#"{"input_data":[[0.5,0.5,0.5,0.5]]}"#);
        assert_eq!(example(x(Some(vec![]))), r#"{"input_data":{"x":0.5}}"#);
        assert_eq!(example(x(None)), r#"{"input_data":[0.5]}"#);
        let long = Some(vec![free.clone(), Dim::Fixed(64)]);
        assert_eq!(example(x(long)), r#"{"input_data":[[0.5,0.5,0.5,0.5,0.5,0.5,…]]}"#);
        let columns = vec![
            ("age", DataType::Int64, Some(vec![free.clone(), Dim::Fixed(1)])),
            ("job", DataType::Bytes, Some(vec![free.clone(), Dim::Fixed(1)])),
            ("on", DataType::Bool, Some(vec![free, Dim::Fixed(2)])),
        ];
        assert_eq!(example(columns), r#"{"input_data":[{"age":1,"job":"text","on":[true,true]}]}"#);
    }
    #[test]
    fn no_signature_makes_an_endless_example() {
        let huge = Some(vec![Dim::Fixed(usize::MAX); 8]);
        assert!(example(vec![("x", DataType::Fp32, huge)]).len() < 200);
    }
}
