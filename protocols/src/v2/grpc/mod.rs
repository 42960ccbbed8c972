//! Open Inference Protocol v2 over gRPC, with Triton's extensions; beside it the standard services for health and
//! reflection.
//!
//! `protocols/proto` has the services; a test holds that everything here agrees with them. Answers are in their
//! [frames](https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md).
//!
//! Source: <https://github.com/kserve/open-inference-protocol> and the `protobuf` folder of
//! <https://github.com/triton-inference-server/common>.

mod config;
mod contents;
mod frame;
mod health;
mod logging;
mod reflection;
mod repository;
mod request;
mod response;
mod server;
mod statistics;
#[cfg(test)]
mod tests;
mod wire;

pub use config::config;
pub use frame::{PREFIX, prefix};
pub use health::{Health, decode_health, health};
pub use logging::{decode_logging, logging};
pub use reflection::reflect;
pub use repository::{decode_index, decode_load, decode_unload, done, index};
pub use request::{Head, decode, decode_within, raw_start};
pub use response::{Note, encode, encode_error, encode_in_stream};
pub use server::{Named, decode_named, metadata, server_metadata, verdict};
pub use statistics::statistics;
