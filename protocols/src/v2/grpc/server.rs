//! The server and its models: liveness, readiness and metadata.

use bytes::Bytes;
use hedef_core::{Signature, TensorSpec};
use prost::Message;

use super::frame::frame;
use crate::Error;
use crate::v2::metadata::PLATFORM;

/// Which model a request names: of `ModelReadyRequest`, `ModelMetadataRequest`, `ModelConfigRequest` and
/// `ModelStatisticsRequest`, which look alike.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct Named {
    /// The model; empty where all are meant.
    #[prost(string, tag = "1")]
    pub name: String,
    /// The version; empty leaves it to the server.
    #[prost(string, tag = "2")]
    pub version: String,
}

/// Reads which model a request names.
pub fn decode_named(message: &[u8]) -> Result<Named, Error> {
    read(message)
}

/// Reads a message that is nothing but its own.
pub(super) fn read<M: Message + Default>(message: impl bytes::Buf) -> Result<M, Error> {
    M::decode(message).map_err(|error| Error::Protobuf { reason: error.to_string() })
}

/// `ServerLiveResponse`, `ServerReadyResponse` and `ModelReadyResponse`.
#[derive(Clone, PartialEq, Eq, Message)]
pub(super) struct Verdict {
    #[prost(bool, tag = "1")]
    pub(super) is: bool,
}

/// Writes a `ServerLiveResponse`, a `ServerReadyResponse` or a `ModelReadyResponse`, in its frame.
#[must_use]
pub fn verdict(is: bool) -> Bytes {
    frame(&Verdict { is })
}

#[derive(Clone, PartialEq, Eq, Message)]
pub(super) struct ServerMetadataResponse {
    #[prost(string, tag = "1")]
    pub(super) name: String,
    #[prost(string, tag = "2")]
    pub(super) version: String,
    #[prost(string, repeated, tag = "3")]
    pub(super) extensions: Vec<String>,
}

/// Writes a `ServerMetadataResponse` in its frame: the server's name, its version, and the extensions it works with.
#[must_use]
pub fn server_metadata(version: &str, extensions: &[&str]) -> Bytes {
    let extensions = extensions.iter().map(ToString::to_string).collect();
    frame(&ServerMetadataResponse { name: "hedef".into(), version: version.into(), extensions })
}

#[derive(Clone, PartialEq, Eq, Message)]
pub(super) struct ModelMetadataResponse {
    #[prost(string, tag = "1")]
    pub(super) name: String,
    #[prost(string, repeated, tag = "2")]
    pub(super) versions: Vec<String>,
    #[prost(string, tag = "3")]
    pub(super) platform: String,
    #[prost(message, repeated, tag = "4")]
    pub(super) inputs: Vec<TensorMetadata>,
    #[prost(message, repeated, tag = "5")]
    pub(super) outputs: Vec<TensorMetadata>,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub(super) struct TensorMetadata {
    #[prost(string, tag = "1")]
    pub(super) name: String,
    #[prost(string, tag = "2")]
    pub(super) datatype: String,
    #[prost(int64, repeated, tag = "3")]
    pub(super) shape: Vec<i64>,
}

impl From<&TensorSpec> for TensorMetadata {
    fn from(spec: &TensorSpec) -> Self {
        Self { name: spec.name.to_string(), datatype: spec.data_type.name().into(), shape: spec.wire_shape() }
    }
}

/// Writes a `ModelMetadataResponse` in its frame: name, versions, and the declared inputs and outputs, with `-1` for
/// free dimensions.
#[must_use]
pub fn metadata(name: &str, versions: &[u64], signature: &Signature) -> Bytes {
    frame(&ModelMetadataResponse {
        name: name.into(),
        versions: versions.iter().map(u64::to_string).collect(),
        platform: PLATFORM.into(),
        inputs: signature.inputs.iter().map(TensorMetadata::from).collect(),
        outputs: signature.outputs.iter().map(TensorMetadata::from).collect(),
    })
}
