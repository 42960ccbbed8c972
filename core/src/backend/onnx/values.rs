//! Tensors on their way into ONNX Runtime and out of it through `ort`'s wrappers: where runs are bound to a device's
//! memory, and for what is no tensor of numbers.

use std::borrow::Cow;
use std::collections::HashMap;
use std::marker::PhantomData;

use bytemuck::{NoUninit, cast_slice};
use bytes::Bytes;
use half::{bf16, f16};
use ort::session::SessionInputValue;
use ort::value::{DynMap, DynValue, PrimitiveTensorElementType, TensorElementType, TensorRef, ValueType};

use super::strings;
use crate::backend::RunError;
use crate::preflight::explain;
use crate::tensor::Element;
use crate::{Data, DataType, Elements, Shape, Tensor, TensorSpec};

/// Lends a tensor to ONNX Runtime; only strings are copied.
pub(super) fn value(tensor: &Tensor) -> ort::Result<SessionInputValue<'_>> {
    fn view<'a, T>(tensor: &Tensor, elements: &'a [T]) -> ort::Result<SessionInputValue<'a>>
    where
        T: PrimitiveTensorElementType + std::fmt::Debug + Clone + 'static,
    {
        Ok(TensorRef::from_array_view((tensor.shape().dims().to_vec(), elements))?.into())
    }
    match tensor.data() {
        Data::Bool(elements) => view(tensor, elements),
        Data::Uint8(elements) => view(tensor, elements),
        Data::Uint16(elements) => view(tensor, elements),
        Data::Uint32(elements) => view(tensor, elements),
        Data::Uint64(elements) => view(tensor, elements),
        Data::Int8(elements) => view(tensor, elements),
        Data::Int16(elements) => view(tensor, elements),
        Data::Int32(elements) => view(tensor, elements),
        Data::Int64(elements) => view(tensor, elements),
        Data::Fp16(elements) => view(tensor, elements),
        Data::Bf16(elements) => view(tensor, elements),
        Data::Fp32(elements) => view(tensor, elements),
        Data::Fp64(elements) => view(tensor, elements),
        Data::Bytes(elements) => Ok(strings::value(tensor.shape(), elements)?.into()),
    }
}

/// Copies one output out of ONNX Runtime.
pub(super) fn tensor(value: &DynValue, spec: &TensorSpec) -> Result<Tensor, RunError> {
    if let Some(labels) = &spec.labels
        && value.dtype().is_sequence()
    {
        return probabilities(value, labels);
    }
    match spec.data_type {
        DataType::Bool => copy::<bool>(value),
        DataType::Uint8 => copy::<u8>(value),
        DataType::Uint16 => copy::<u16>(value),
        DataType::Uint32 => copy::<u32>(value),
        DataType::Uint64 => copy::<u64>(value),
        DataType::Int8 => copy::<i8>(value),
        DataType::Int16 => copy::<i16>(value),
        DataType::Int32 => copy::<i32>(value),
        DataType::Int64 => copy::<i64>(value),
        DataType::Fp16 => copy::<f16>(value),
        DataType::Bf16 => copy::<bf16>(value),
        DataType::Fp32 => copy::<f32>(value),
        DataType::Fp64 => copy::<f64>(value),
        DataType::Bytes => {
            let shape = shape(value.dtype().tensor_shape().map_or(&[][..], |shape| shape))?;
            let elements = strings::elements(value, shape.elements().unwrap_or(0)).map_err(refusal)?;
            whole(shape, elements)
        }
    }
}

fn copy<T: Element + PrimitiveTensorElementType>(value: &DynValue) -> Result<Tensor, RunError> {
    let (dims, elements) = value.try_extract_tensor::<T>().map_err(refusal)?;
    whole(shape(dims)?, elements.to_vec())
}

/// Takes one output whose numbers, if they are a network's, stay where they are as long as the tensor is there.
pub(super) fn lent(value: DynValue, spec: &TensorSpec) -> Result<Tensor, RunError> {
    match spec.data_type {
        _ if spec.labels.is_some() => tensor(&value, spec),
        DataType::Fp16 => keep::<f16>(value),
        DataType::Bf16 => keep::<bf16>(value),
        DataType::Fp32 => keep::<f32>(value),
        _ => tensor(&value, spec),
    }
}

/// A tensor of such elements in ONNX Runtime's hands.
struct Kept<T>(DynValue, PhantomData<T>);

impl<T: PrimitiveTensorElementType + NoUninit> AsRef<[u8]> for Kept<T> {
    fn as_ref(&self) -> &[u8] {
        self.0.try_extract_tensor::<T>().map_or(&[], |(_, elements)| cast_slice(elements))
    }
}

fn keep<T: Element + PrimitiveTensorElementType + NoUninit + Send>(value: DynValue) -> Result<Tensor, RunError> {
    let (dims, elements) = value.try_extract_tensor::<T>().map_err(refusal)?;
    let shape = shape(dims)?;
    if T::view(cast_slice(elements)).is_none() {
        return copy::<T>(&value);
    }
    let elements = Elements::lent(Bytes::from_owner(Kept::<T>(value, PhantomData)));
    let elements = elements.map_err(|_| RunError::Runtime("an output has moved".into()))?;
    Tensor::new(shape, T::into_data(elements)).map_err(|error| RunError::Runtime(error.to_string()))
}

pub(super) fn shape(dims: &[i64]) -> Result<Shape, RunError> {
    let shape: Result<Shape, _> = dims.iter().map(|dim| usize::try_from(*dim)).collect();
    shape.map_err(|error| RunError::Runtime(error.to_string()))
}

pub(super) fn whole<T: Element>(shape: Shape, elements: Vec<T>) -> Result<Tensor, RunError> {
    Tensor::from_elements(shape, elements).map_err(|error| RunError::Runtime(error.to_string()))
}

/// Makes a `[rows, classes]` tensor of a `ZipMap` output: a sequence of one map for each row.
fn probabilities(value: &DynValue, labels: &[String]) -> Result<Tensor, RunError> {
    let maps: Vec<DynMap> = value.try_extract_sequence().map_err(refusal)?;
    let column: HashMap<&str, usize> = labels.iter().enumerate().map(|(at, label)| (label.as_str(), at)).collect();
    let mut elements = vec![0_f32; maps.len() * labels.len()];
    for (row, map) in elements.chunks_exact_mut(labels.len().max(1)).zip(&maps) {
        for (label, probability) in entries(map).map_err(refusal)? {
            if let Some(element) = column.get(&*label).and_then(|at| row.get_mut(*at)) {
                *element = probability;
            }
        }
    }
    whole(Shape::from([maps.len(), labels.len()]), elements)
}

fn entries(map: &DynMap) -> ort::Result<Vec<(Cow<'static, str>, f32)>> {
    if matches!(map.dtype(), ValueType::Map { key: TensorElementType::Int64, .. }) {
        let entries = map.try_extract_key_values::<i64, f32>()?;
        return Ok(entries.into_iter().map(|(label, value)| (label.to_string().into(), value)).collect());
    }
    let entries = map.try_extract_key_values::<String, f32>()?;
    Ok(entries.into_iter().map(|(label, value)| (label.into(), value)).collect())
}

/// ONNX Runtime blames the caller with one code only.
pub(super) fn refusal(error: ort::Error) -> RunError {
    match error.code() {
        // The text goes to the caller, so it must not tell paths.
        ort::ErrorCode::InvalidArgument => RunError::Inputs(explain(error.message())),
        _ => RunError::Runtime(error.message().to_owned()),
    }
}
