//! Forms batches and runs them on instances.
//!
//! An idle instance forms the next batch itself, so batches grow exactly when all instances are busy and an idle
//! model adds no wait.

mod at_once;
mod backlog;
mod batch;
mod curve;
mod doubt;
mod gather;
mod idle;
mod job;
mod lane;
mod later;
mod queue;
mod report;
mod run;
mod search;
mod shared;
mod slots;
mod ticket;
mod trial;
mod tuner;

pub(crate) use doubt::Doubt;
pub(crate) use gather::Gather;
pub use later::{Judged, Later, Trial};
pub(crate) use queue::{Queue, Refusal};
pub use report::Report;
pub(crate) use shared::Shared;
pub(crate) use slots::Share;
pub use slots::Slots;
pub(crate) use tuner::Tuner;
pub use tuner::{Learned, Tuning};

#[cfg(test)]
mod tests;
