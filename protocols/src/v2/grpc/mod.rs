//! Open Inference Protocol v2 over gRPC, with Triton's extensions; beside it the standard services for health and
//! reflection.
//!
//! `protocols/proto` has the services; a test holds that everything here agrees with them. Answers are in their
//! [frames](https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md).
//!
//! Source: <https://github.com/kserve/open-inference-protocol> and the `protobuf` folder of
//! <https://github.com/triton-inference-server/common>.

mod contents;
mod frame;
mod request;
mod response;
mod wire;

pub use frame::{PREFIX, prefix};
pub use request::{Head, decode};
pub use response::{encode, encode_error, encode_in_stream};
