mod broken;
mod documents;
mod infer;
mod kept;
mod round_trips;
mod worked_bytes;

use std::sync::Arc;

use hedef_core::{DataType, Dim, ModelId, ModelName, Response, Signature, Tensor, TensorSpec, Timings};

use super::*;

/// A declaration; -1 is a free dimension.
fn spec(name: &str, data_type: DataType, dims: &[i64]) -> TensorSpec {
    let dim = |dim: &i64| usize::try_from(*dim).map_or(Dim::Free, Dim::Fixed);
    TensorSpec::new(name, data_type, Some(dims.iter().map(dim).collect()))
}

fn signature(inputs: Vec<TensorSpec>, outputs: Vec<TensorSpec>) -> Signature {
    let mut signature = Signature { inputs, outputs, batch_axis: false };
    signature.batch_axis = signature.could_batch();
    signature
}

/// `x` FP32 [-1,2] and `s` BYTES [-1,2] to `y` FP32 [-1,2] and `z` INT64 [-1].
fn two_inputs() -> Signature {
    signature(
        vec![spec("x", DataType::Fp32, &[-1, 2]), spec("s", DataType::Bytes, &[-1, 2])],
        vec![spec("y", DataType::Fp32, &[-1, 2]), spec("z", DataType::Int64, &[-1])],
    )
}

/// `x` of this type to `y` of the same.
fn one_input(data_type: DataType, dims: &[i64]) -> Signature {
    signature(vec![spec("x", data_type, dims)], vec![spec("y", data_type, dims)])
}

fn response(outputs: Vec<(&str, Tensor)>) -> Response {
    Response {
        model: ModelId { name: ModelName::new("m").unwrap(), version: 3 },
        outputs: outputs.into_iter().map(|(name, tensor)| (Arc::from(name), tensor)).collect(),
        timings: Timings::default(),
    }
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}
