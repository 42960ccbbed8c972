//! The model configuration extension.

use bytes::Bytes;
use hedef_core::{DataType, TensorSpec};
use prost::{Message, Oneof};

use super::frame::frame;
use crate::v2::config::{InstanceKind, ModelConfig, VersionPolicy, dims};
use crate::v2::metadata::PLATFORM;

/// Writes a `ModelConfigResponse` in its frame: what [`crate::v2::config()`] writes as JSON.
#[must_use]
pub fn config(config: &ModelConfig<'_>) -> Bytes {
    frame(&ModelConfigResponse { config: Some(config.into()) })
}

#[derive(Clone, PartialEq, Eq, Message)]
pub(super) struct ModelConfigResponse {
    #[prost(message, optional, tag = "1")]
    pub(super) config: Option<Document>,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub(super) struct Document {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    platform: String,
    #[prost(message, optional, tag = "3")]
    version_policy: Option<Policy>,
    #[prost(int32, tag = "4")]
    max_batch_size: i32,
    #[prost(message, repeated, tag = "5")]
    input: Vec<Input>,
    #[prost(message, repeated, tag = "6")]
    output: Vec<Output>,
    #[prost(message, repeated, tag = "7")]
    instance_group: Vec<InstanceGroup>,
    #[prost(string, tag = "8")]
    default_model_filename: String,
    #[prost(message, optional, tag = "11")]
    dynamic_batching: Option<DynamicBatching>,
    #[prost(string, tag = "17")]
    backend: String,
}

impl From<&ModelConfig<'_>> for Document {
    fn from(config: &ModelConfig<'_>) -> Self {
        let batches = config.max_batch_size > 0;
        let group = InstanceGroup {
            name: format!("{}_0", config.name),
            count: int32(config.instances),
            gpus: config.gpus.iter().map(|gpu| i32::try_from(*gpu).unwrap_or(i32::MAX)).collect(),
            kind: kind(config.kind),
        };
        Self {
            name: config.name.into(),
            platform: PLATFORM.into(),
            version_policy: Some((&config.version_policy).into()),
            max_batch_size: int32(config.max_batch_size),
            input: config.signature.inputs.iter().map(|spec| Input::new(spec, batches)).collect(),
            output: config.signature.outputs.iter().map(|spec| Output::new(spec, batches)).collect(),
            instance_group: vec![group],
            default_model_filename: config.default_model_filename.into(),
            dynamic_batching: config.dynamic_batching.then(DynamicBatching::default),
            backend: "onnxruntime".into(),
        }
    }
}

#[derive(Clone, PartialEq, Eq, Message)]
struct Policy {
    #[prost(oneof = "Choice", tags = "1, 2, 3")]
    choice: Option<Choice>,
}

#[derive(Clone, PartialEq, Eq, Oneof)]
enum Choice {
    #[prost(message, tag = "1")]
    Latest(Latest),
    #[prost(message, tag = "2")]
    All(All),
    #[prost(message, tag = "3")]
    Specific(Specific),
}

#[derive(Clone, PartialEq, Eq, Message)]
struct Latest {
    #[prost(uint32, tag = "1")]
    num_versions: u32,
}

#[derive(Clone, PartialEq, Eq, Message)]
struct All {}

#[derive(Clone, PartialEq, Eq, Message)]
struct Specific {
    #[prost(int64, repeated, tag = "1")]
    versions: Vec<i64>,
}

impl From<&VersionPolicy> for Policy {
    fn from(policy: &VersionPolicy) -> Self {
        let version = |version: &u64| i64::try_from(*version).unwrap_or(i64::MAX);
        let choice = match policy {
            VersionPolicy::Latest(count) => {
                Choice::Latest(Latest { num_versions: u32::try_from(*count).unwrap_or(u32::MAX) })
            }
            VersionPolicy::All => Choice::All(All {}),
            VersionPolicy::Specific(versions) => {
                Choice::Specific(Specific { versions: versions.iter().map(version).collect() })
            }
        };
        Self { choice: Some(choice) }
    }
}

#[derive(Clone, PartialEq, Eq, Message)]
struct Input {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(int32, tag = "2")]
    data_type: i32,
    #[prost(int64, repeated, tag = "4")]
    dims: Vec<i64>,
}

impl Input {
    fn new(spec: &TensorSpec, batches: bool) -> Self {
        Self { name: spec.name.to_string(), data_type: type_number(spec.data_type), dims: dims(spec, batches) }
    }
}

#[derive(Clone, PartialEq, Eq, Message)]
struct Output {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(int32, tag = "2")]
    data_type: i32,
    #[prost(int64, repeated, tag = "3")]
    dims: Vec<i64>,
}

impl Output {
    fn new(spec: &TensorSpec, batches: bool) -> Self {
        Self { name: spec.name.to_string(), data_type: type_number(spec.data_type), dims: dims(spec, batches) }
    }
}

#[derive(Clone, PartialEq, Eq, Message)]
struct InstanceGroup {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(int32, tag = "2")]
    count: i32,
    #[prost(int32, repeated, tag = "3")]
    gpus: Vec<i32>,
    #[prost(int32, tag = "4")]
    kind: i32,
}

#[derive(Clone, PartialEq, Eq, Message)]
struct DynamicBatching {
    #[prost(int32, repeated, tag = "1")]
    preferred_batch_size: Vec<i32>,
    #[prost(uint64, tag = "2")]
    max_queue_delay_microseconds: u64,
}

fn int32(count: usize) -> i32 {
    i32::try_from(count).unwrap_or(i32::MAX)
}

/// The number in the enumeration `ModelInstanceGroup.Kind`.
const fn kind(kind: InstanceKind) -> i32 {
    match kind {
        InstanceKind::Auto => 0,
        InstanceKind::Gpu => 1,
        InstanceKind::Cpu => 2,
    }
}

/// The number in the enumeration `DataType`.
pub(super) const fn type_number(data_type: DataType) -> i32 {
    match data_type {
        DataType::Bool => 1,
        DataType::Uint8 => 2,
        DataType::Uint16 => 3,
        DataType::Uint32 => 4,
        DataType::Uint64 => 5,
        DataType::Int8 => 6,
        DataType::Int16 => 7,
        DataType::Int32 => 8,
        DataType::Int64 => 9,
        DataType::Fp16 => 10,
        DataType::Fp32 => 11,
        DataType::Fp64 => 12,
        DataType::Bytes => 13,
        DataType::Bf16 => 14,
    }
}
