//! Runs of a session whose inputs and outputs go through memory that its device reads and writes by itself.

use ort::session::SessionInputValue;
use ort::value::DynValue;

use super::call::Call;
use super::pinned::Pinned;
use super::{missing, refusal, stoppable, values};
use crate::backend::{Joined, RunError, Stop};
use crate::{Shape, Signature, Tensor, TensorSpec};

/// A session and the memory for its runs.
#[derive(Clone, Copy)]
pub(super) struct Bound<'b> {
    pub(super) signature: &'b Signature,
    pub(super) call: &'b Call,
    pub(super) pinned: &'b Pinned,
}

/// Rows of several requests, one behind the other.
enum Column {
    Pinned(DynValue),
    Plain(Tensor),
}

impl<'b> Bound<'b> {
    /// Runs the session once.
    pub(super) fn run(
        self,
        inputs: &[&Tensor],
        outputs: &[usize],
        stop: Option<&Stop>,
    ) -> Result<Vec<Tensor>, RunError> {
        let inputs = inputs.iter().map(|tensor| self.pinned.input(tensor)).collect::<ort::Result<Vec<_>>>();
        let found = self.outputs(&inputs.map_err(values::refusal)?, outputs, stop)?;
        found.iter().map(|(spec, value)| values::tensor(value, spec)).collect()
    }

    /// Joins inputs, each of which has one of `shapes` then, so that nothing is left to be copied when the session runs.
    pub(super) fn join(self, columns: &[Vec<&Tensor>], shapes: &[Shape]) -> Option<Joined<'b>> {
        let column = |(parts, shape): (&Vec<&Tensor>, &Shape)| match self.pinned.joined(parts, shape) {
            Ok(Some(joined)) => Some(Column::Pinned(joined)),
            Ok(None) => Tensor::concat(parts).map(Column::Plain),
            Err(_) => None,
        };
        let columns = columns.iter().zip(shapes).map(column).collect::<Option<Vec<_>>>()?;
        Some(Box::new(move |outputs, stop| {
            let inputs = columns.iter().map(Column::value).collect::<ort::Result<Vec<_>>>();
            let found = self.outputs(&inputs.map_err(values::refusal)?, outputs, stop)?;
            found.into_iter().map(|(spec, value)| values::lent(value, spec)).collect()
        }))
    }

    /// Runs the session once for the outputs at the positions `wanted`.
    fn outputs(
        self,
        inputs: &[SessionInputValue<'_>],
        wanted: &[usize],
        stop: Option<&Stop>,
    ) -> Result<Vec<(&'b TensorSpec, DynValue)>, RunError> {
        let options = stop.map(stoppable).transpose()?;
        let found = self.pinned.run(self.call, inputs, wanted, options.as_deref());
        let found = found.map_err(|error| refusal(error, stop))?;
        let specs = wanted.iter().filter_map(|position| self.signature.outputs.get(*position));
        specs.zip(found).map(|(spec, value)| Ok((spec, value.ok_or_else(|| missing(spec))?))).collect()
    }
}

impl Column {
    fn value(&self) -> ort::Result<SessionInputValue<'_>> {
        match self {
            Self::Pinned(joined) => Ok(joined.into()),
            Self::Plain(tensor) => values::value(tensor),
        }
    }
}
