use std::collections::BTreeMap;

use hedef_core::{DataType, Dim, ModelId, ModelVersion, Signature, TensorSpec};
use serde::Serialize;

/// What can be said of one version of a model, in TensorFlow Serving's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum State {
    /// Known and not yet being loaded.
    Start,
    /// Being loaded.
    Loading,
    /// Can score.
    Available,
    /// Finishing its last requests.
    Unloading,
    /// Cannot score any more, or never could.
    End,
}

/// One version of a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VersionStatus<'a> {
    /// Its number.
    pub version: ModelVersion,
    /// Its state.
    pub state: State,
    /// What keeps it from scoring; empty when nothing does.
    pub reason: &'a str,
}

#[derive(Serialize)]
struct OpenAiModel<'a> {
    id: &'a str,
    object: &'static str,
    created: u64,
    owned_by: &'static str,
}

impl<'a> OpenAiModel<'a> {
    const fn new(id: &'a str) -> Self {
        Self { id, object: "model", created: 0, owned_by: "hedef" }
    }
}

/// Writes `GET /v1/models`: KServe's list of names, and OpenAI's list of models.
#[must_use]
pub fn models(names: &[&str]) -> Vec<u8> {
    #[derive(Serialize)]
    struct Models<'a> {
        models: &'a [&'a str],
        object: &'static str,
        data: Vec<OpenAiModel<'a>>,
    }
    let data = names.iter().map(|name| OpenAiModel::new(name)).collect();
    print(&Models { models: names, object: "list", data })
}

/// Writes `GET /v1/models/{model}`: whether it is ready, as KServe says it; its versions, as TensorFlow Serving
/// says them, newest first; and OpenAI's description of a model.
#[must_use]
pub fn status(name: &str, versions: &[VersionStatus<'_>]) -> Vec<u8> {
    #[derive(Serialize)]
    struct ModelStatus<'a> {
        name: &'a str,
        ready: bool,
        model_version_status: Vec<Version<'a>>,
        id: &'a str,
        object: &'static str,
        created: u64,
        owned_by: &'static str,
    }
    #[derive(Serialize)]
    struct Version<'a> {
        version: String,
        state: State,
        status: Status<'a>,
    }
    impl<'a> Version<'a> {
        fn new(status: &VersionStatus<'a>) -> Self {
            let error_code = if status.reason.is_empty() { "OK" } else { "UNAVAILABLE" };
            let version = status.version.to_string();
            Self { version, state: status.state, status: Status { error_code, error_message: status.reason } }
        }
    }
    #[derive(Serialize)]
    struct Status<'a> {
        error_code: &'static str,
        error_message: &'a str,
    }
    let mut newest_first = versions.to_vec();
    newest_first.sort_unstable_by_key(|status| std::cmp::Reverse(status.version));
    let OpenAiModel { id, object, created, owned_by } = OpenAiModel::new(name);
    print(&ModelStatus {
        name,
        ready: versions.iter().any(|status| status.state == State::Available),
        model_version_status: newest_first.iter().map(Version::new).collect(),
        id,
        object,
        created,
        owned_by,
    })
}

/// Writes `GET /v1/models/{model}/metadata`: the signature in TensorFlow Serving's form, as `serving_default`.
#[must_use]
pub fn metadata(model: &ModelId, signature: &Signature) -> Vec<u8> {
    #[derive(Serialize)]
    struct Document<'a> {
        model_spec: ModelSpec<'a>,
        metadata: Metadata<'a>,
    }
    #[derive(Serialize)]
    struct ModelSpec<'a> {
        name: &'a str,
        signature_name: &'static str,
        version: String,
    }
    #[derive(Serialize)]
    struct Metadata<'a> {
        signature_def: SignatureDefMap<'a>,
    }
    // The key stands twice, one in the other: once as the kind of metadata, once as the field of the message.
    #[derive(Serialize)]
    struct SignatureDefMap<'a> {
        signature_def: Signatures<'a>,
    }
    #[derive(Serialize)]
    struct Signatures<'a> {
        serving_default: SignatureDef<'a>,
    }
    #[derive(Serialize)]
    struct SignatureDef<'a> {
        inputs: BTreeMap<&'a str, TensorInfo>,
        outputs: BTreeMap<&'a str, TensorInfo>,
        method_name: &'static str,
    }
    let serving_default = SignatureDef {
        inputs: infos(&signature.inputs),
        outputs: infos(&signature.outputs),
        method_name: "tensorflow/serving/predict",
    };
    let signature_def = SignatureDefMap { signature_def: Signatures { serving_default } };
    let version = model.version.to_string();
    print(&Document {
        model_spec: ModelSpec { name: model.name.as_str(), signature_name: "", version },
        metadata: Metadata { signature_def },
    })
}

fn infos(specs: &[TensorSpec]) -> BTreeMap<&str, TensorInfo> {
    let mut infos = BTreeMap::new();
    infos.extend(specs.iter().map(|spec| (&*spec.name, TensorInfo::new(spec))));
    infos
}

#[derive(Serialize)]
struct TensorInfo {
    dtype: &'static str,
    tensor_shape: TensorShape,
    name: String,
}

#[derive(Serialize)]
struct TensorShape {
    dim: Vec<TensorDim>,
    unknown_rank: bool,
}

#[derive(Serialize)]
struct TensorDim {
    size: String,
    name: String,
}

impl TensorInfo {
    fn new(spec: &TensorSpec) -> Self {
        let dim = |dim: &Dim| {
            let name = if let Dim::Symbol(name) = dim { name.clone() } else { String::new() };
            TensorDim { size: dim.wire().to_string(), name }
        };
        let dims = spec.dims.as_deref();
        let dim = dims.unwrap_or_default().iter().map(dim).collect();
        let tensor_shape = TensorShape { dim, unknown_rank: dims.is_none() };
        Self { dtype: dtype(spec.data_type), tensor_shape, name: spec.name.to_string() }
    }
}

const fn dtype(data_type: DataType) -> &'static str {
    match data_type {
        DataType::Bool => "DT_BOOL",
        DataType::Uint8 => "DT_UINT8",
        DataType::Uint16 => "DT_UINT16",
        DataType::Uint32 => "DT_UINT32",
        DataType::Uint64 => "DT_UINT64",
        DataType::Int8 => "DT_INT8",
        DataType::Int16 => "DT_INT16",
        DataType::Int32 => "DT_INT32",
        DataType::Int64 => "DT_INT64",
        DataType::Fp16 => "DT_HALF",
        DataType::Bf16 => "DT_BFLOAT16",
        DataType::Fp32 => "DT_FLOAT",
        DataType::Fp64 => "DT_DOUBLE",
        DataType::Bytes => "DT_STRING",
    }
}

/// Prints a small document.
fn print(document: &impl Serialize) -> Vec<u8> {
    // Fails only for maps whose keys are no strings; these documents have none.
    serde_json::to_vec(document).unwrap_or_default()
}
