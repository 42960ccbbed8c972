use hedef_core::{Data, Dim, Request, Shape, Signature, Tensor, TensorSpec};

use super::binary;
use super::decode::Decoded;
use super::output::Reply;
use crate::{DecodeLimits, Error};

/// Reads a body that is nothing but the bytes of one tensor: the only input of the model, one row of it.
///
/// A dimension that is free beside the batch is solved from the number of bytes. Of BYTES the whole body is the
/// one element. All outputs are answered in binary.
pub(super) fn decode(body: &[u8], signature: &Signature, limits: DecodeLimits<'_>) -> Result<Decoded, Error> {
    let [spec] = &*signature.inputs else {
        let found = format!("a model with {} inputs", signature.inputs.len());
        return Err(Error::unexpected("raw binary request", "a model with one input", found));
    };
    let place = format!("input `{}`", spec.name);
    let (shape, data) = match spec.data_type.size() {
        None => {
            limits.take(body.len())?;
            (one_element(&place, spec)?, Data::Bytes(vec![body.to_vec()].into()))
        }
        Some(width) => {
            let shape = solve(&place, spec, signature.batch_axis, body.len() / width)?;
            let count = shape.elements().unwrap_or(usize::MAX);
            let data = binary::read_within(&place, spec.data_type, count, body, limits)?;
            (shape, data)
        }
    };
    let tensor = Tensor::new(shape, data)
        .map_err(|error| Error::unexpected(&*place, error.shape.to_string(), format!("{} elements", error.elements)))?;
    let request = Request::new(signature, [(&spec.name, tensor)])?;
    let reply = Reply { id: None, binary: true, outputs: Vec::new() };
    Ok(Decoded { request, reply, timeout_us: None, priority: None })
}

/// The shape of a single element: every dimension is 1.
fn one_element(place: &str, spec: &TensorSpec) -> Result<Shape, Error> {
    let shape = Shape::from(vec![1; spec.dims.as_ref().map_or(1, Vec::len)]);
    if spec.accepts(&shape) {
        return Ok(shape);
    }
    Err(Error::unexpected(format!("{place}, raw binary request"), "a shape of one element", spec.to_string()))
}

/// The declared shape with 1 for the batch and the free dimension, if there is one, solved for `count` elements.
fn solve(place: &str, spec: &TensorSpec, batch_axis: bool, count: usize) -> Result<Shape, Error> {
    let Some(declared) = &spec.dims else { return Ok(Shape::from([count])) };
    let mut free = None;
    let mut dims = Vec::with_capacity(declared.len());
    for (axis, dim) in declared.iter().enumerate() {
        match dim {
            Dim::Fixed(size) => dims.push(*size),
            _ if axis == 0 && batch_axis => dims.push(1),
            _ if free.is_none() => {
                free = Some(axis);
                dims.push(1);
            }
            _ => {
                let place = format!("{place}, raw binary request");
                return Err(Error::unexpected(place, "at most one free dimension beside the batch", spec.to_string()));
            }
        }
    }
    let others = Shape::from(dims.clone()).elements().unwrap_or(usize::MAX);
    if let Some(dim) = free.and_then(|axis| dims.get_mut(axis)) {
        *dim = count.checked_div(others).unwrap_or(0);
    }
    Ok(Shape::from(dims))
}
