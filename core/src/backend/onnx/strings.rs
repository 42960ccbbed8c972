//! Strings with NUL bytes or without valid UTF-8, which `ort` itself refuses.
#![expect(unsafe_code, reason = "ONNX Runtime's C functions carry such strings, `ort`'s safe ones do not")]

use std::ptr;

use ort::AsPointer;
use ort::memory::Allocator;
use ort::value::{DynTensor, DynValue, TensorElementType};

use crate::Shape;

/// Copies byte strings into a new value.
pub(super) fn value(shape: &Shape, elements: &[Vec<u8>]) -> ort::Result<DynTensor> {
    let mut value = DynTensor::new(&Allocator::default(), TensorElementType::String, shape.dims().to_vec())?;
    for (index, element) in elements.iter().enumerate() {
        let mut buffer = ptr::null_mut();
        // SAFETY: `value` is a live string tensor of `elements.len()` elements, so `index` is inside it, and on
        // success `buffer` points to `element.len()` writable bytes that belong to it.
        unsafe {
            let resize = ort::api().GetResizedStringTensorElementBuffer;
            ort::Error::result_from_status(resize(value.ptr_mut(), index, element.len(), &raw mut buffer))?;
            ptr::copy_nonoverlapping(element.as_ptr(), buffer.cast(), element.len());
        }
    }
    Ok(value)
}

/// Copies the `count` byte strings of a value.
pub(super) fn elements(value: &DynValue, count: usize) -> ort::Result<Vec<Vec<u8>>> {
    let mut length = 0;
    // SAFETY: `value` lives; ONNX Runtime answers with an error if it holds no strings.
    unsafe {
        let measure = ort::api().GetStringTensorDataLength;
        ort::Error::result_from_status(measure(value.ptr(), &raw mut length))?;
    }
    let (mut bytes, mut offsets) = (vec![0_u8; length], vec![0_usize; count]);
    // SAFETY: both buffers have the lengths passed beside them.
    unsafe {
        let read = ort::api().GetStringTensorContent;
        let (content, starts) = (bytes.as_mut_ptr().cast(), offsets.as_mut_ptr());
        ort::Error::result_from_status(read(value.ptr(), content, length, starts, count))?;
    }
    let ends = offsets.iter().copied().skip(1).chain([length]);
    Ok(offsets.iter().zip(ends).map(|(&from, to)| bytes.get(from..to).unwrap_or_default().to_vec()).collect())
}
