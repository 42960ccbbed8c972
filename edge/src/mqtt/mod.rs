//! MQTT 3.1.1 as a client: packets, what a session remembers, and a connection.
//!
//! A client of our own, since those there are know acknowledgements by their packet ids, which Azure IoT Edge's hub gives no
//! meaning to (see [`session`]).

pub mod backoff;
pub mod connection;
#[cfg(test)]
mod connection_tests;
mod oversized;
pub mod packet;
#[cfg(test)]
mod packet_tests;
mod reading;
pub mod session;
pub mod topic;
