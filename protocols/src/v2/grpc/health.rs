//! The standard service for health, `grpc.health.v1`.
//!
//! Source: <https://github.com/grpc/grpc/blob/master/doc/health-checking.md>.

use bytes::Bytes;
use prost::Message;

use super::frame::frame;
use super::server::read;
use crate::Error;

/// How a service is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Health {
    /// It answers.
    Serving,
    /// It does not now.
    NotServing,
    /// There is no such service.
    ServiceUnknown,
}

/// Reads a `HealthCheckRequest`: the service it is about; empty means the server.
pub fn decode_health(message: &[u8]) -> Result<String, Error> {
    let HealthCheckRequest { service } = read(message)?;
    Ok(service)
}

#[derive(Clone, PartialEq, Eq, Message)]
pub(super) struct HealthCheckRequest {
    #[prost(string, tag = "1")]
    service: String,
}

/// Writes a `HealthCheckResponse` in its frame.
#[must_use]
pub fn health(health: Health) -> Bytes {
    let status = match health {
        Health::Serving => 1,
        Health::NotServing => 2,
        Health::ServiceUnknown => 3,
    };
    frame(&HealthCheckResponse { status })
}

#[derive(Clone, PartialEq, Eq, Message)]
pub(super) struct HealthCheckResponse {
    #[prost(int32, tag = "1")]
    status: i32,
}
