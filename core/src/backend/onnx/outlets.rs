//! What a session says of its inputs and outputs, in core's words.

use std::sync::Arc;

use ort::value::{Outlet, TensorElementType, ValueType};

use super::ModelFacts;
use crate::{DataType, Dim, TensorSpec};

/// The declaration of one input or output.
pub(super) fn spec(outlet: &Outlet, facts: &ModelFacts) -> Result<TensorSpec, String> {
    let name = outlet.name();
    let unknown = |what: &dyn std::fmt::Display| format!("`{name}` is of type {what}, which Hedef cannot carry");
    match outlet.dtype() {
        ValueType::Tensor { ty, shape, dimension_symbols } => {
            let data_type = data_type(*ty).ok_or_else(|| unknown(ty))?;
            let dims = shape.iter().zip(dimension_symbols.iter()).map(|(&size, symbol)| match usize::try_from(size) {
                Ok(size) => Dim::Fixed(size),
                Err(_) if symbol.is_empty() => Dim::Free,
                Err(_) => Dim::Symbol(symbol.clone()),
            });
            let dims = (!shape.is_empty() || !facts.unranked.contains(name)).then(|| dims.collect());
            Ok(TensorSpec::new(name, data_type, dims))
        }
        sequence @ ValueType::Sequence(_) => {
            let labels = facts.zipmap_labels.get(name).ok_or_else(|| unknown(sequence))?;
            let dims = vec![Dim::Free, Dim::Fixed(labels.len())];
            let labels = Some(Arc::from(labels.as_slice()));
            Ok(TensorSpec { labels, ..TensorSpec::new(name, DataType::Fp32, Some(dims)) })
        }
        other => Err(unknown(other)),
    }
}

fn data_type(ty: TensorElementType) -> Option<DataType> {
    DataType::ALL.into_iter().find(|data_type| element_type(*data_type) == ty)
}

/// ONNX Runtime's word for a data type.
pub(super) const fn element_type(data_type: DataType) -> TensorElementType {
    match data_type {
        DataType::Bool => TensorElementType::Bool,
        DataType::Uint8 => TensorElementType::Uint8,
        DataType::Uint16 => TensorElementType::Uint16,
        DataType::Uint32 => TensorElementType::Uint32,
        DataType::Uint64 => TensorElementType::Uint64,
        DataType::Int8 => TensorElementType::Int8,
        DataType::Int16 => TensorElementType::Int16,
        DataType::Int32 => TensorElementType::Int32,
        DataType::Int64 => TensorElementType::Int64,
        DataType::Fp16 => TensorElementType::Float16,
        DataType::Bf16 => TensorElementType::Bfloat16,
        DataType::Fp32 => TensorElementType::Float32,
        DataType::Fp64 => TensorElementType::Float64,
        DataType::Bytes => TensorElementType::String,
    }
}
