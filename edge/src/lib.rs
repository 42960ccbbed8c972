//! What the device's binary is made of: message in, scored message out.

pub mod mqtt;
pub mod queue;
