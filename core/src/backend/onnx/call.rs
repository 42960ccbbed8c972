//! The call of a session, from any number of threads at once.
#![expect(unsafe_code, reason = "`ort` runs a session through `&mut` only, ONNX Runtime from many threads at once")]

use std::ffi::CString;
use std::ptr::{self, NonNull};
use std::sync::Arc;

use ort::AsPointer;
use ort::session::{RunOptions, Session, SharedSessionInner};
use smallvec::SmallVec;

use super::views::{Api, Lent, Value};
use crate::Tensor;
use crate::host::Denormals;

/// A session with the names that a call needs, as C strings.
#[derive(Debug)]
pub(super) struct Call {
    pub(super) session: Arc<SharedSessionInner>,
    pub(super) inputs: Vec<CString>,
    pub(super) outputs: Vec<CString>,
    pub(super) denormals: Denormals,
    api: Api,
}

impl Call {
    /// Fails on a name with a NUL byte inside, which no call can pass.
    pub(super) fn new(session: &Session, denormals: Denormals) -> Result<Self, String> {
        let name =
            |name: &str| CString::new(name).map_err(|_| format!("`{}` has a NUL byte in it", name.escape_debug()));
        Ok(Self {
            session: session.inner(),
            inputs: session.inputs().iter().map(|input| name(input.name())).collect::<Result<_, _>>()?,
            outputs: session.outputs().iter().map(|output| name(output.name())).collect::<Result<_, _>>()?,
            denormals,
            api: Api::new(),
        })
    }

    /// Runs the session once on `inputs`, one for each declared input in order, for the outputs at the positions
    /// `wanted`; `None` stands for an optional output that was not made.
    pub(super) fn run(
        &self,
        inputs: &[&Tensor],
        wanted: &[usize],
        options: Option<&RunOptions>,
    ) -> ort::Result<SmallVec<[Option<Value>; 4]>> {
        let lent = inputs.iter().map(|tensor| Lent::of(tensor, &self.api));
        let lent: SmallVec<[_; 4]> = lent.collect::<ort::Result<_>>()?;
        let inputs: SmallVec<[_; 4]> = lent.iter().map(Lent::ptr).collect();
        let input_names: SmallVec<[_; 4]> = self.inputs.iter().map(|name| name.as_ptr()).collect();
        let wanted = wanted.iter().filter_map(|at| self.outputs.get(*at));
        let output_names: SmallVec<[_; 4]> = wanted.map(|name| name.as_ptr()).collect();
        let mut outputs: SmallVec<[_; 4]> = output_names.iter().map(|_| ptr::null_mut()).collect();
        let count = inputs.len().min(input_names.len());
        let status = self.denormals.around(|| {
            // SAFETY: the session lives as long as `self`, and ONNX Runtime's Run may be called from many threads at
            // once; the names are NUL-terminated and the values live until it returns; each array is as long as the
            // length passed beside it; null run options and null outputs mean "none given".
            unsafe {
                (self.api.functions.Run)(
                    self.session.ptr().cast_mut(),
                    options.map_or(ptr::null(), AsPointer::ptr),
                    input_names.as_ptr(),
                    inputs.as_ptr(),
                    count,
                    output_names.as_ptr(),
                    outputs.len(),
                    outputs.as_mut_ptr(),
                )
            }
        });
        // SAFETY: the status comes from the call just above and is read once.
        unsafe { ort::Error::result_from_status(status) }?;
        // SAFETY: on success each output that is not null is a value of its own that the caller has to free; without
        // a binding outputs are made in the CPU's own memory.
        Ok(outputs
            .into_iter()
            .map(|value| NonNull::new(value).map(|value| unsafe { Value::own(value, self.api.functions) }))
            .collect())
    }
}
