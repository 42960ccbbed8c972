//! What runs a batch.

pub mod onnx;
mod stop;

use std::fmt::Debug;

use crate::{Signature, Tensor};

pub use stop::Stop;

/// What runs the model once on inputs that the backend has joined, as [`Backend::run`] does on others. The outputs may
/// stay in the backend's memory, which is scarce: copy what is kept.
pub type Joined<'b> = Box<dyn FnOnce(&[usize], Option<&Stop>) -> Result<Vec<Tensor>, RunError> + 'b>;

/// Runs batches, from any number of threads at once.
pub trait Backend: Debug + Send + Sync {
    /// What the model takes and gives.
    fn signature(&self) -> &Signature;

    /// Runs the model once, unless `stop` ends the run early.
    ///
    /// `inputs` stand in the signature's order and are valid for it. The result holds the outputs at the
    /// positions `outputs`, in that order.
    fn run(&self, inputs: &[&Tensor], outputs: &[usize], stop: Option<&Stop>) -> Result<Vec<Tensor>, RunError>;

    /// Joins the inputs of requests that share a run, where the backend has better memory for that than the caller's:
    /// `columns` holds, for each input in the signature's order, what is to follow one another along axis 0. `None` where
    /// it has none, or where they cannot be joined.
    fn join<'b>(&'b self, columns: &[Vec<&Tensor>]) -> Option<Joined<'b>> {
        let _ = columns;
        None
    }

    /// Gives back what runs have left, where the next one may be long in coming.
    fn rest(&self) {}
}

/// Why a run gave nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RunError {
    /// The model cannot work on these inputs.
    #[error("{0}")]
    Inputs(String),
    /// The runtime failed.
    #[error("{0}")]
    Runtime(String),
    /// The run was ended early, since nobody wanted its answer any more.
    #[error("the run was stopped")]
    Stopped,
}
