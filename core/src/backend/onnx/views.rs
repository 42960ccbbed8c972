//! Tensors of numbers on their way into ONNX Runtime and out of it by its own calls: `ort`'s wrappers allocate for each
//! value and ask for its whole description, which costs as much as the run of a small model.
#![expect(unsafe_code, reason = "`ort` lends and reads values only through wrappers of its own")]

use std::marker::PhantomData;
use std::ptr::{self, NonNull};
use std::slice;

use half::{bf16, f16};
use ort::AsPointer;
use ort::memory::{Allocator, MemoryInfo};
use ort::sys::{ONNXTensorElementDataType, OrtApi, OrtStatusPtr, OrtValue};
use ort::value::{DynTensor, DynValue, PrimitiveTensorElementType};
use smallvec::SmallVec;

use super::{strings, values};
use crate::backend::RunError;
use crate::tensor::Element;
use crate::{Data, DataType, Shape, Tensor, TensorSpec};

/// What every value needs. `ort` looks the first up behind a lock each time.
#[derive(Debug)]
pub(super) struct Api {
    pub(super) functions: &'static OrtApi,
    /// What describes the CPU's own memory.
    memory: MemoryInfo<'static>,
}

impl Api {
    /// ONNX Runtime must have been loaded.
    pub(super) fn new() -> Self {
        Self { functions: ort::api(), memory: MemoryInfo::default() }
    }
}

/// A tensor lent to ONNX Runtime for one run; only texts are copied.
pub(super) enum Lent<'t> {
    Numbers(View<'t>),
    Texts(DynTensor),
}

/// A value of ONNX Runtime's whose numbers are those of a tensor.
pub(super) struct View<'t> {
    value: Value,
    tensor: PhantomData<&'t Tensor>,
}

/// A value of ONNX Runtime's that is freed when dropped.
pub(super) struct Value {
    value: NonNull<OrtValue>,
    functions: &'static OrtApi,
}

impl<'t> Lent<'t> {
    /// Lends `tensor`.
    pub(super) fn of(tensor: &'t Tensor, api: &Api) -> ort::Result<Self> {
        fn view<'t, T>(tensor: &'t Tensor, elements: &'t [T], api: &Api) -> ort::Result<Lent<'t>>
        where
            T: PrimitiveTensorElementType,
        {
            View::of(tensor.shape(), elements, api).map(Lent::Numbers)
        }
        match tensor.data() {
            Data::Bool(elements) => view(tensor, elements, api),
            Data::Uint8(elements) => view(tensor, elements, api),
            Data::Uint16(elements) => view(tensor, elements, api),
            Data::Uint32(elements) => view(tensor, elements, api),
            Data::Uint64(elements) => view(tensor, elements, api),
            Data::Int8(elements) => view(tensor, elements, api),
            Data::Int16(elements) => view(tensor, elements, api),
            Data::Int32(elements) => view(tensor, elements, api),
            Data::Int64(elements) => view(tensor, elements, api),
            Data::Fp16(elements) => view(tensor, elements, api),
            Data::Bf16(elements) => view(tensor, elements, api),
            Data::Fp32(elements) => view(tensor, elements, api),
            Data::Fp64(elements) => view(tensor, elements, api),
            Data::Bytes(elements) => strings::value(tensor.shape(), elements).map(Lent::Texts),
        }
    }

    /// The value, which lives as long as `self`.
    pub(super) fn ptr(&self) -> *const OrtValue {
        match self {
            Self::Numbers(view) => view.value.value.as_ptr().cast_const(),
            Self::Texts(texts) => texts.ptr(),
        }
    }
}

impl<'t> View<'t> {
    /// `shape` has as many elements as there are.
    fn of<T: PrimitiveTensorElementType>(shape: &Shape, elements: &'t [T], api: &Api) -> ort::Result<Self> {
        let dims: SmallVec<[i64; 6]> = shape.dims().iter().map(|dim| i64::try_from(*dim).unwrap_or(i64::MAX)).collect();
        let data = elements.as_ptr().cast_mut().cast();
        let mut value = ptr::null_mut();
        // SAFETY: the description lives; `data` points to that many bytes of elements of the type named, which live and
        // are not written to for `'t`, which `self` does not outlive; ONNX Runtime only reads the inputs of a run, though
        // it takes a pointer that would let it write. The dimensions are copied.
        done(unsafe {
            (api.functions.CreateTensorWithDataAsOrtValue)(
                api.memory.ptr(),
                data,
                size_of_val(elements),
                dims.as_ptr(),
                dims.len(),
                kind::<T>(),
                &raw mut value,
            )
        })?;
        let value = NonNull::new(value).ok_or_else(|| ort::Error::new("no value was made"))?;
        Ok(Self { value: Value { value, functions: api.functions }, tensor: PhantomData })
    }
}

impl Value {
    /// Takes over a value that a run has made in the CPU's own memory and that nobody else frees.
    ///
    /// # Safety
    /// `value` is such a value.
    pub(super) const unsafe fn own(value: NonNull<OrtValue>, functions: &'static OrtApi) -> Self {
        Self { value, functions }
    }

    /// Copies the output out of ONNX Runtime.
    pub(super) fn tensor(self, spec: &TensorSpec) -> Result<Tensor, RunError> {
        match spec.data_type {
            _ if spec.labels.is_some() => values::tensor(&self.wrapped(), spec),
            DataType::Bytes => values::tensor(&self.wrapped(), spec),
            DataType::Bool => self.copy::<bool>(),
            DataType::Uint8 => self.copy::<u8>(),
            DataType::Uint16 => self.copy::<u16>(),
            DataType::Uint32 => self.copy::<u32>(),
            DataType::Uint64 => self.copy::<u64>(),
            DataType::Int8 => self.copy::<i8>(),
            DataType::Int16 => self.copy::<i16>(),
            DataType::Int32 => self.copy::<i32>(),
            DataType::Int64 => self.copy::<i64>(),
            DataType::Fp16 => self.copy::<f16>(),
            DataType::Bf16 => self.copy::<bf16>(),
            DataType::Fp32 => self.copy::<f32>(),
            DataType::Fp64 => self.copy::<f64>(),
        }
    }

    fn copy<T: Element + Copy + PrimitiveTensorElementType>(&self) -> Result<Tensor, RunError> {
        let (mut found, mut dims, mut rank) =
            (ONNXTensorElementDataType::ONNX_TENSOR_ELEMENT_DATA_TYPE_UNDEFINED, ptr::null(), 0);
        let (value, api) = (self.value.as_ptr(), self.functions);
        // SAFETY: the value lives; ONNX Runtime answers with an error if it is no tensor.
        done(unsafe {
            (api.GetTensorElementTypeAndShapeDataReference)(value, &raw mut found, &raw mut dims, &raw mut rank)
        })
        .map_err(values::refusal)?;
        if found != kind::<T>() {
            return Err(RunError::Runtime(format!("it gave elements of type {found:?}, not {}", T::DATA_TYPE)));
        }
        // SAFETY: the array belongs to the value and holds that many dimensions; of a scalar it may be null.
        let dims = if rank == 0 { &[][..] } else { unsafe { slice::from_raw_parts(dims, rank) } };
        let shape = values::shape(dims)?;
        let count = shape.elements().ok_or_else(|| RunError::Runtime(format!("an output of shape {shape}")))?;
        let mut data = ptr::null_mut();
        // SAFETY: the value lives and is a tensor.
        done(unsafe { (api.GetTensorMutableData)(value, &raw mut data) }).map_err(values::refusal)?;
        // SAFETY: the tensor's data are `count` elements of type `T`, in the CPU's memory and aligned for it.
        let elements = if count == 0 { &[][..] } else { unsafe { slice::from_raw_parts(data.cast::<T>(), count) } };
        values::whole(shape, elements.to_vec())
    }

    /// Hands the value to `ort`.
    fn wrapped(self) -> DynValue {
        let value = self.value;
        std::mem::forget(self);
        // SAFETY: the value is nobody else's any more; the default allocator is the one ONNX Runtime frees it with.
        unsafe { DynValue::from_ptr(value, Some(&Allocator::default())) }
    }
}

impl Drop for Value {
    fn drop(&mut self) {
        // SAFETY: the value is owned and released once.
        unsafe { (self.functions.ReleaseValue)(self.value.as_ptr()) }
    }
}

fn kind<T: PrimitiveTensorElementType>() -> ONNXTensorElementDataType {
    T::into_tensor_element_type().into()
}

fn done(status: OrtStatusPtr) -> ort::Result<()> {
    // SAFETY: the status comes from a call of ONNX Runtime just made, and is read once.
    unsafe { ort::Error::result_from_status(status) }
}
