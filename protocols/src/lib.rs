//! Pure functions between the bytes of wire protocols and core's requests and responses.
//!
//! One module for each protocol; [`json`] is what they share. Nothing here reads, writes or waits.

pub mod azure;
pub mod csv;
mod error;
pub mod json;
mod limits;
pub mod npy;
pub mod openapi;
pub mod rows;
pub mod v1;
pub mod v2;

pub use error::Error;
pub use limits::DecodeLimits;
