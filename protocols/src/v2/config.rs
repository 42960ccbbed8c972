use hedef_core::{DataType, Signature, TensorSpec};
use serde::Serialize;

use super::metadata::PLATFORM;
use super::print;

/// What the model configuration extension tells of a model.
#[derive(Clone, Debug)]
pub struct ModelConfig<'a> {
    /// The model's name.
    pub name: &'a str,
    /// Rows of a batch at most; 0 when the model has no batch axis.
    pub max_batch_size: usize,
    /// What the model takes and gives.
    pub signature: &'a Signature,
    /// How many instances run it.
    pub instances: usize,
    /// What they run on.
    pub kind: InstanceKind,
    /// The devices of [`InstanceKind::Gpu`].
    pub gpus: &'a [u32],
    /// Which versions are loaded.
    pub version_policy: VersionPolicy,
    /// Whether requests share runs.
    pub dynamic_batching: bool,
    /// The name of the model's file.
    pub default_model_filename: &'a str,
}

/// What instances run on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InstanceKind {
    /// `KIND_CPU`.
    Cpu,
    /// `KIND_GPU`.
    Gpu,
    /// `KIND_AUTO`: a GPU where there is one.
    Auto,
}

impl InstanceKind {
    pub(super) const ALL: [Self; 3] = [Self::Cpu, Self::Gpu, Self::Auto];

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Cpu => "KIND_CPU",
            Self::Gpu => "KIND_GPU",
            Self::Auto => "KIND_AUTO",
        }
    }
}

/// Which versions of a model are loaded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum VersionPolicy {
    /// So many, the highest.
    Latest(usize),
    /// All of them.
    All,
    /// These.
    Specific(Vec<u64>),
}

/// Writes the answer to `GET /v2/models/{model}/config`: the fields of Triton's `ModelConfig` that mean something
/// here, under their proto names. Dimensions leave out the batch where the model has one.
#[must_use]
pub fn config(config: &ModelConfig<'_>) -> Vec<u8> {
    let batches = config.max_batch_size > 0;
    print(&Document {
        name: config.name,
        platform: PLATFORM,
        backend: "onnxruntime",
        version_policy: Policy::from(&config.version_policy),
        max_batch_size: config.max_batch_size,
        input: config.signature.inputs.iter().map(|spec| Input::new(spec, batches)).collect(),
        output: config.signature.outputs.iter().map(|spec| Output::new(spec, batches)).collect(),
        instance_group: [InstanceGroup {
            name: format!("{}_0", config.name),
            kind: config.kind.name(),
            count: config.instances,
            gpus: config.gpus,
        }],
        default_model_filename: config.default_model_filename,
        dynamic_batching: config
            .dynamic_batching
            .then(|| DynamicBatching { preferred_batch_size: Vec::new(), max_queue_delay_microseconds: 0 }),
    })
}

#[derive(Serialize)]
struct Document<'a> {
    name: &'a str,
    platform: &'a str,
    backend: &'a str,
    version_policy: Policy<'a>,
    max_batch_size: usize,
    input: Vec<Input<'a>>,
    output: Vec<Output<'a>>,
    instance_group: [InstanceGroup<'a>; 1],
    default_model_filename: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    dynamic_batching: Option<DynamicBatching>,
}

#[derive(Serialize)]
#[serde(rename_all = "lowercase")]
enum Policy<'a> {
    Latest { num_versions: usize },
    All {},
    Specific { versions: &'a [u64] },
}

impl<'a> From<&'a VersionPolicy> for Policy<'a> {
    fn from(policy: &'a VersionPolicy) -> Self {
        match policy {
            VersionPolicy::Latest(num_versions) => Self::Latest { num_versions: *num_versions },
            VersionPolicy::All => Self::All {},
            VersionPolicy::Specific(versions) => Self::Specific { versions },
        }
    }
}

#[derive(Serialize)]
struct Input<'a> {
    name: &'a str,
    data_type: &'a str,
    format: &'a str,
    dims: Vec<i64>,
    is_shape_tensor: bool,
    allow_ragged_batch: bool,
    optional: bool,
}

impl<'a> Input<'a> {
    fn new(spec: &'a TensorSpec, batches: bool) -> Self {
        Self {
            name: &spec.name,
            data_type: type_name(spec.data_type),
            format: "FORMAT_NONE",
            dims: dims(spec, batches),
            is_shape_tensor: false,
            allow_ragged_batch: false,
            optional: false,
        }
    }
}

#[derive(Serialize)]
struct Output<'a> {
    name: &'a str,
    data_type: &'a str,
    dims: Vec<i64>,
    label_filename: &'a str,
    is_shape_tensor: bool,
}

impl<'a> Output<'a> {
    fn new(spec: &'a TensorSpec, batches: bool) -> Self {
        Self {
            name: &spec.name,
            data_type: type_name(spec.data_type),
            dims: dims(spec, batches),
            label_filename: "",
            is_shape_tensor: false,
        }
    }
}

#[derive(Serialize)]
struct InstanceGroup<'a> {
    name: String,
    kind: &'a str,
    count: usize,
    gpus: &'a [u32],
}

#[derive(Serialize)]
struct DynamicBatching {
    preferred_batch_size: Vec<u32>,
    max_queue_delay_microseconds: u64,
}

/// The dimensions, without the batch where the model `batches`.
pub(super) fn dims(spec: &TensorSpec, batches: bool) -> Vec<i64> {
    spec.wire_shape().into_iter().skip(usize::from(batches)).collect()
}

const fn type_name(data_type: DataType) -> &'static str {
    match data_type {
        DataType::Bool => "TYPE_BOOL",
        DataType::Uint8 => "TYPE_UINT8",
        DataType::Uint16 => "TYPE_UINT16",
        DataType::Uint32 => "TYPE_UINT32",
        DataType::Uint64 => "TYPE_UINT64",
        DataType::Int8 => "TYPE_INT8",
        DataType::Int16 => "TYPE_INT16",
        DataType::Int32 => "TYPE_INT32",
        DataType::Int64 => "TYPE_INT64",
        DataType::Fp16 => "TYPE_FP16",
        DataType::Bf16 => "TYPE_BF16",
        DataType::Fp32 => "TYPE_FP32",
        DataType::Fp64 => "TYPE_FP64",
        DataType::Bytes => "TYPE_STRING",
    }
}
