//! Updates of models that cannot leave the device without one that works.
//!
//! `record` is the state machine, `store` keeps it on disk, `engine`, `maker` and `serving` go from one of its
//! states to the next, and `board` is where those who want something meet them. The journal is the only word on which version
//! is served: it is changed before anything else is, so that whatever ends the process, the next start knows what to do.

mod board;
mod clock;
mod engine;
mod fetch;
mod inbox;
mod maker;
mod opening;
mod pace;
mod part;
pub mod record;
#[cfg(test)]
mod record_tests;
mod serving;
mod settings;
mod store;
mod trial;
mod unpack;
pub mod wanted;

pub use board::{NotDone, Updates};
pub use engine::{Engine, Models};
pub use opening::{Opened, Opening, served};
pub use pace::{Pace, Window};
pub use settings::{Model, Updates as Settings};
pub use trial::{Terms, Trials, Watching};
