//! A request that a person can send at once.

use hedef_core::{DataType, Dim, Shape, Signature, TensorSpec};

use crate::json;

/// More elements than this make no line to read.
const MOST_ELEMENTS: usize = 100;

/// An infer request of one row for this signature, as one line of JSON without single quotes.
///
/// Free dimensions are 1, numbers 0, texts `text`. `None` when that would be too long to read.
#[must_use]
pub fn example(signature: &Signature) -> Option<String> {
    let inputs: Option<Vec<_>> = signature.inputs.iter().map(input).collect();
    Some(format!("{{\"inputs\":[{}]}}", inputs?.join(",")))
}

fn input(spec: &TensorSpec) -> Option<String> {
    let size = |dim: &Dim| match dim {
        Dim::Fixed(size) => *size,
        Dim::Symbol(_) | Dim::Free => 1,
    };
    let dims = spec.dims.as_deref().unwrap_or(&[Dim::Free]);
    let shape = Shape::new(dims.iter().map(size).collect::<Vec<_>>());
    let count = shape.elements().filter(|count| *count <= MOST_ELEMENTS)?;
    let element = match spec.data_type {
        DataType::Bool => "false",
        DataType::Bytes => "\"text\"",
        _ => "0",
    };
    let mut name = Vec::new();
    json::write_str(&mut name, &spec.name);
    // In a shell the line stands between single quotes.
    let name = String::from_utf8(name).ok()?.replace('\'', "\\u0027");
    let data = vec![element; count].join(",");
    Some(format!("{{\"name\":{name},\"datatype\":\"{}\",\"shape\":{shape},\"data\":[{data}]}}", spec.data_type))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::v2::decode;

    #[test]
    fn the_example_is_a_request_for_its_model() {
        let spec = |name, data_type, dims| TensorSpec::new(name, data_type, Some(dims));
        let inputs = DataType::ALL.map(|data_type| spec(data_type.name(), data_type, vec![Dim::Free, Dim::Fixed(3)]));
        let mut inputs = Vec::from(inputs);
        inputs.push(spec("it's", DataType::Fp32, vec![]));
        let signature = Signature { inputs, outputs: vec![], batch_axis: false };
        let example = example(&signature).unwrap();
        assert!(!example.contains('\''));
        assert_eq!(decode(example.as_bytes(), None, &signature).unwrap().request.inputs().len(), 15);
    }

    #[test]
    fn what_nobody_would_read_is_left_out() {
        let spec = TensorSpec::new("x", DataType::Fp32, Some(vec![Dim::Free, Dim::Fixed(101)]));
        assert_eq!(example(&Signature { inputs: vec![spec], outputs: vec![], batch_axis: false }), None);
    }
}
