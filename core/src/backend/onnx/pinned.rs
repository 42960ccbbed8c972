//! Runs whose inputs and outputs go through pinned memory: a device reads and writes it by itself, while other memory
//! is copied by the driver, piece by piece.
//!
//! The tests here run it on the CPU's own memory; `tests/cuda.rs` has a GPU's.
#![expect(unsafe_code, reason = "`ort` binds inputs and outputs through `&mut Session` only, one run at a time")]

use std::ffi::CStr;
use std::ptr::{self, NonNull};
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytemuck::cast_slice;
use ort::AsPointer;
use ort::memory::{Allocator, MemoryInfo};
use ort::session::{RunOptions, Session, SessionInputValue};
use ort::sys::{OrtIoBinding, OrtStatusPtr, OrtValue};
use ort::value::{DynValue, TensorElementType};
use smallvec::SmallVec;

use super::call::Call;
use super::outlets::element_type;
use super::values;
use crate::{Data, Shape, Tensor};

/// The fewest bytes for which a copy of our own into pinned memory is taken to cost less than the driver's.
const PINNED_FROM: usize = 1 << 16;

/// Pinned memory for a session's inputs and outputs. It serves many runs at once: each has a binding of its own.
#[derive(Debug)]
pub(super) struct Pinned {
    memory: MemoryInfo<'static>,
    allocator: Mutex<Allocator>,
    /// The same for each output: whether it is a tensor of numbers, which alone can go there.
    outputs: Vec<bool>,
}

impl Pinned {
    /// `memory` is what the session's device can read and write, and so can this process.
    pub(super) fn new(session: &Session, memory: MemoryInfo<'static>) -> ort::Result<Self> {
        let numbers = |element: Option<TensorElementType>| element.is_some_and(|of| of != TensorElementType::String);
        Ok(Self {
            allocator: Mutex::new(Allocator::new(session, memory.clone())?),
            memory,
            outputs: session.outputs().iter().map(|output| numbers(output.dtype().tensor_type())).collect(),
        })
    }

    /// Runs `call` once on `inputs`, for the outputs at the positions `wanted`; `None` stands for an optional output that
    /// was not made.
    pub(super) fn run(
        &self,
        call: &Call,
        inputs: &[SessionInputValue<'_>],
        wanted: &[usize],
        options: Option<&RunOptions>,
    ) -> ort::Result<Vec<Option<DynValue>>> {
        let binding = Binding::new(call)?;
        for (name, value) in call.inputs.iter().zip(inputs) {
            binding.input(name, value.ptr())?;
        }
        let host = MemoryInfo::default();
        for at in wanted {
            let Some(name) = call.outputs.get(*at) else { continue };
            let numbers = self.outputs.get(*at).copied().unwrap_or(false);
            binding.output(name, if numbers { &self.memory } else { &host })?;
        }
        binding.run(options)?;
        binding.results(&self.allocator())
    }

    /// What is bound for `tensor`: a copy in pinned memory if it is a large one of numbers, else itself.
    pub(super) fn input<'t>(&self, tensor: &'t Tensor) -> ort::Result<SessionInputValue<'t>> {
        match self.joined(&[tensor], tensor.shape())? {
            Some(copy) => Ok(copy.into()),
            None => values::value(tensor),
        }
    }

    /// Joins tensors of numbers along axis 0 in pinned memory, as one of `shape`; `None` where that is small, and for
    /// others.
    pub(super) fn joined(&self, parts: &[&Tensor], shape: &Shape) -> ort::Result<Option<DynValue>> {
        let bytes: Option<SmallVec<[&[u8]; 4]>> = parts.iter().map(|part| bytes(part.data())).collect();
        let (Some(bytes), Some(first)) = (bytes, parts.first()) else { return Ok(None) };
        let size = bytes.iter().map(|part| part.len()).sum::<usize>();
        let whole = shape.elements().zip(first.data_type().size()).and_then(|(count, each)| count.checked_mul(each));
        if size < PINNED_FROM || whole != Some(size) {
            return Ok(None);
        }
        let dims: SmallVec<[i64; 6]> = shape.dims().iter().map(|dim| i64::try_from(*dim).unwrap_or(i64::MAX)).collect();
        let element = element_type(first.data_type()).into();
        let allocator = self.allocator();
        let (mut joined, mut to) = (ptr::null_mut(), ptr::null_mut());
        // SAFETY: the allocator and the dimensions live.
        unsafe {
            let (api, allocator) = (ort::api(), allocator.ptr().cast_mut());
            done((api.CreateTensorAsOrtValue)(allocator, dims.as_ptr(), dims.len(), element, &raw mut joined))?;
        }
        let Some(joined) = NonNull::new(joined) else { return Ok(None) };
        // SAFETY: the value is nobody else's, and was made with that allocator.
        let joined = unsafe { DynValue::from_ptr(joined, Some(&allocator)) };
        drop(allocator);
        // SAFETY: the tensor lives, is new, and has room for `size` bytes, which the parts have together.
        unsafe {
            done((ort::api().GetTensorMutableData)(joined.ptr().cast_mut(), &raw mut to))?;
            let mut to = to.cast::<u8>();
            for part in bytes {
                ptr::copy_nonoverlapping(part.as_ptr(), to, part.len());
                to = to.add(part.len());
            }
        }
        Ok(Some(joined))
    }

    /// The allocator stays right even if a thread died while it held the lock.
    fn allocator(&self) -> MutexGuard<'_, Allocator> {
        self.allocator.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The inputs and outputs of one run. It holds handles of its own on the values bound to it.
struct Binding<'c> {
    call: &'c Call,
    binding: NonNull<OrtIoBinding>,
}

impl<'c> Binding<'c> {
    fn new(call: &'c Call) -> ort::Result<Self> {
        let mut binding = ptr::null_mut();
        // SAFETY: the session lives as long as `call`.
        done(unsafe { (ort::api().CreateIoBinding)(call.session.ptr().cast_mut(), &raw mut binding) })?;
        let binding = NonNull::new(binding).ok_or_else(|| ort::Error::new("no binding was made"))?;
        Ok(Self { call, binding })
    }

    fn input(&self, name: &CStr, value: *const OrtValue) -> ort::Result<()> {
        // SAFETY: the binding and the value live; the name is copied.
        done(unsafe { (ort::api().BindInput)(self.binding.as_ptr(), name.as_ptr(), value) })
    }

    fn output(&self, name: &CStr, memory: &MemoryInfo<'_>) -> ort::Result<()> {
        // SAFETY: the binding and the memory's description live; both arguments are copied.
        done(unsafe { (ort::api().BindOutputToDevice)(self.binding.as_ptr(), name.as_ptr(), memory.ptr()) })
    }

    /// Runs once the inputs have reached the device, and returns when the outputs have come back. To bind an input only
    /// begins to copy it, on a stream that the run need not go on with, so that has to be waited for; a run ends when all
    /// that it began has. To wait for the outputs by name (`SynchronizeBoundOutputs`) would be to wait for all runs on the
    /// device, those of others too.
    fn run(&self, options: Option<&RunOptions>) -> ort::Result<()> {
        let options = options.map_or(ptr::null(), AsPointer::ptr);
        let binding = self.binding.as_ptr();
        self.call.denormals.around(|| {
            // SAFETY: session, options and binding live; ONNX Runtime's Run may be called from many threads at once,
            // and no other thread knows this binding.
            unsafe {
                done((ort::api().SynchronizeBoundInputs)(binding))?;
                done((ort::api().RunWithBinding)(self.call.session.ptr().cast_mut(), options, binding))
            }
        })
    }

    /// Takes the outputs, in the order in which they were bound.
    fn results(&self, allocator: &Allocator) -> ort::Result<Vec<Option<DynValue>>> {
        let own = Allocator::default();
        let (mut values, mut count) = (ptr::null_mut(), 0);
        let (binding, memory) = (self.binding.as_ptr(), own.ptr().cast_mut());
        // SAFETY: binding and allocator live.
        done(unsafe { (ort::api().GetBoundOutputValues)(binding, memory, &raw mut values, &raw mut count) })?;
        if values.is_null() {
            return Ok(Vec::new());
        }
        // SAFETY: the array holds `count` values, each of which is the caller's to free; it was made with `own`.
        let found = unsafe {
            let found: Vec<_> = (0..count).map(|at| *values.add(at)).collect();
            own.free(values);
            found
        };
        Ok(found.into_iter().map(|value| result(value, allocator)).collect())
    }
}

impl Drop for Binding<'_> {
    fn drop(&mut self) {
        // SAFETY: it was made in `new` and is released once.
        unsafe { (ort::api().ReleaseIoBinding)(self.binding.as_ptr()) }
    }
}

/// Takes one output; `None` for one that was not made.
fn result(value: *mut OrtValue, allocator: &Allocator) -> Option<DynValue> {
    let value = NonNull::new(value)?;
    let mut made = 0;
    // SAFETY: the value lives and is this function's to free; a value that was not made is of no type that `ort`
    // knows. Those made in the CPU's own memory free themselves whatever allocator is named here.
    unsafe {
        let asked = done((ort::api().HasValue)(value.as_ptr(), &raw mut made));
        if asked.is_ok() && made == 1 {
            return Some(DynValue::from_ptr(value, Some(allocator)));
        }
        (ort::api().ReleaseValue)(value.as_ptr());
    }
    None
}

/// The elements as they lie in memory; texts do not.
fn bytes(data: &Data) -> Option<&[u8]> {
    Some(match data {
        Data::Bool(elements) => cast_slice(elements),
        Data::Uint8(elements) => elements,
        Data::Uint16(elements) => cast_slice(elements),
        Data::Uint32(elements) => cast_slice(elements),
        Data::Uint64(elements) => cast_slice(elements),
        Data::Int8(elements) => cast_slice(elements),
        Data::Int16(elements) => cast_slice(elements),
        Data::Int32(elements) => cast_slice(elements),
        Data::Int64(elements) => cast_slice(elements),
        Data::Fp16(elements) => cast_slice(elements),
        Data::Bf16(elements) => cast_slice(elements),
        Data::Fp32(elements) => cast_slice(elements),
        Data::Fp64(elements) => cast_slice(elements),
        Data::Bytes(_) => return None,
    })
}

fn done(status: OrtStatusPtr) -> ort::Result<()> {
    // SAFETY: the status comes from a call of ONNX Runtime just made, and is read once.
    unsafe { ort::Error::result_from_status(status) }
}
