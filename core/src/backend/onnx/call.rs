//! The call of a session, from any number of threads at once.
#![expect(unsafe_code, reason = "`ort` runs a session through `&mut` only, ONNX Runtime from many threads at once")]

use std::ffi::CString;
use std::ptr::{self, NonNull};
use std::sync::Arc;

use ort::AsPointer;
use ort::memory::Allocator;
use ort::session::{RunOptions, Session, SessionInputValue, SharedSessionInner};
use ort::value::DynValue;

use crate::host::Denormals;

/// A session with the names that a call needs, as C strings.
#[derive(Debug)]
pub(super) struct Call {
    pub(super) session: Arc<SharedSessionInner>,
    pub(super) inputs: Vec<CString>,
    pub(super) outputs: Vec<CString>,
    pub(super) denormals: Denormals,
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
        })
    }

    /// Runs the session once on `inputs`, one for each declared input in order, for the outputs at the positions
    /// `wanted`; `None` stands for an optional output that was not made.
    pub(super) fn run(
        &self,
        inputs: &[SessionInputValue<'_>],
        wanted: &[usize],
        options: Option<&RunOptions>,
    ) -> ort::Result<Vec<Option<DynValue>>> {
        let input_names: Vec<_> = self.inputs.iter().map(|name| name.as_ptr()).collect();
        let output_names: Vec<_> =
            wanted.iter().filter_map(|at| self.outputs.get(*at)).map(|name| name.as_ptr()).collect();
        let inputs: Vec<_> = inputs.iter().map(|value| value.ptr()).collect();
        let mut outputs = vec![ptr::null_mut(); output_names.len()];
        let count = inputs.len().min(input_names.len());
        let status = self.denormals.around(|| {
            // SAFETY: the session lives as long as `self`, and ONNX Runtime's Run may be called from many threads at
            // once; the names are NUL-terminated and the values live until it returns; each array is as long as the
            // length passed beside it; null run options and null outputs mean "none given".
            unsafe {
                (ort::api().Run)(
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
        // SAFETY: on success each output that is not null is a value of its own that the caller has to free, which
        // `DynValue` does; the default allocator is the one ONNX Runtime frees it with.
        let own = |value| unsafe { DynValue::from_ptr(value, Some(&Allocator::default())) };
        Ok(outputs.into_iter().map(|value| NonNull::new(value).map(own)).collect())
    }
}
