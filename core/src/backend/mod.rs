//! What runs a batch.

pub mod onnx;

use crate::{Signature, Tensor};

/// Runs batches. Each instance thread owns one, so `&mut self` needs no lock.
pub trait Backend: Send {
    /// What the model takes and gives.
    fn signature(&self) -> &Signature;

    /// Runs the model once.
    ///
    /// `inputs` stand in the signature's order and are valid for it. The result holds the outputs at the
    /// positions `outputs`, in that order.
    fn run(&mut self, inputs: &[&Tensor], outputs: &[usize]) -> Result<Vec<Tensor>, RunError>;
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
}
