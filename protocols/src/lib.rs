//! Pure functions between the bytes of wire protocols and core's requests and responses.
//!
//! One module for each protocol; [`json`] is what they share. Nothing here waits, or opens anything; [`bundle`] reads from and
//! writes to what it is handed.

pub mod azure;
pub mod bundle;
pub mod csv;
mod error;
pub mod golden;
pub mod hpack;
pub mod image;
pub mod json;
mod limits;
pub mod npy;
pub mod openapi;
pub mod rows;
pub mod v1;
pub mod v2;

pub use error::Error;
pub use limits::DecodeLimits;
