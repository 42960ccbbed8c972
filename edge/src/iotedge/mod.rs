//! A module of Azure IoT Edge: inputs, outputs, twin and methods through the hub on the device.

mod control;
pub mod identity;
mod methods;
mod module;
pub mod topics;
pub mod twin;
pub mod workload;

pub use control::{Control, News, Surroundings, Wishes};
pub use module::{Module, run};
