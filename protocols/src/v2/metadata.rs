use hedef_core::{Signature, TensorSpec};
use serde::Serialize;

use super::print;

/// The platform that Triton's clients know ONNX models under.
pub(super) const PLATFORM: &str = "onnxruntime_onnx";

/// Writes the answer to `GET /v2/models/{model}`: name, versions, and the declared inputs and outputs, with `-1`
/// for free dimensions.
#[must_use]
pub fn metadata(name: &str, versions: &[u64], signature: &Signature) -> Vec<u8> {
    #[derive(Serialize)]
    struct Document<'a> {
        name: &'a str,
        versions: Vec<String>,
        platform: &'a str,
        inputs: Vec<Declared<'a>>,
        outputs: Vec<Declared<'a>>,
    }
    print(&Document {
        name,
        versions: versions.iter().map(u64::to_string).collect(),
        platform: PLATFORM,
        inputs: signature.inputs.iter().map(Declared::from).collect(),
        outputs: signature.outputs.iter().map(Declared::from).collect(),
    })
}

#[derive(Serialize)]
struct Declared<'a> {
    name: &'a str,
    datatype: &'a str,
    shape: Vec<i64>,
}

impl<'a> From<&'a TensorSpec> for Declared<'a> {
    fn from(spec: &'a TensorSpec) -> Self {
        Self { name: &spec.name, datatype: spec.data_type.name(), shape: spec.wire_shape() }
    }
}

/// Writes the answer to `GET /v2`: the server's name, its version, and the extensions it works with.
#[must_use]
pub fn server_metadata(version: &str, extensions: &[&str]) -> Vec<u8> {
    #[derive(Serialize)]
    struct Document<'a> {
        name: &'a str,
        version: &'a str,
        extensions: &'a [&'a str],
    }
    print(&Document { name: "hedef", version, extensions })
}

/// Writes the answer to `GET /v2/models`, a list that KServe's Python server has.
#[must_use]
pub fn models(names: &[&str]) -> Vec<u8> {
    #[derive(Serialize)]
    struct Document<'a> {
        models: &'a [&'a str],
    }
    print(&Document { models: names })
}

/// Writes the answer to `GET /v2/health/live`.
#[must_use]
pub fn live(live: bool) -> Vec<u8> {
    format!("{{\"live\":{live}}}").into_bytes()
}

/// Writes the answer to `GET /v2/health/ready`.
#[must_use]
pub fn ready(ready: bool) -> Vec<u8> {
    format!("{{\"ready\":{ready}}}").into_bytes()
}

/// Writes the answer to `GET /v2/models/{model}/ready`.
#[must_use]
pub fn model_ready(name: &str, ready: bool) -> Vec<u8> {
    #[derive(Serialize)]
    struct Document<'a> {
        name: &'a str,
        ready: bool,
    }
    print(&Document { name, ready })
}

/// Writes the body of every error.
#[must_use]
pub fn error(message: &str) -> Vec<u8> {
    #[derive(Serialize)]
    struct Document<'a> {
        error: &'a str,
    }
    print(&Document { error: message })
}
