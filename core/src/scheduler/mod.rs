//! Forms batches and runs them on instances.
//!
//! An idle instance forms the next batch itself, so batches grow exactly when all instances are busy and an idle
//! model adds no wait.

mod instance;
pub(crate) mod queue;

pub(crate) use instance::{Instance, Shared};

#[cfg(test)]
mod tests;
