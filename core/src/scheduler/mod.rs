//! Forms batches and runs them on instances.
//!
//! An idle instance forms the next batch itself, so batches grow exactly when all instances are busy and an idle
//! model adds no wait.

mod doubt;
mod instance;
mod later;
pub(crate) mod queue;
mod slots;
pub(crate) mod tuner;

pub(crate) use doubt::Doubt;
pub(crate) use instance::Shared;
pub use later::{Judged, Later, Trial};
pub use slots::Slots;
pub use tuner::{Learned, Tuning};

#[cfg(test)]
mod tests;
