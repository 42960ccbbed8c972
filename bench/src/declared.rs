//! What a server says of a model.

use hedef_core::{DataType, Dim, Signature, TensorSpec};
use serde::Deserialize;

use crate::http::ask;
use crate::{Address, Error};

/// A model as its server declares it.
#[derive(Clone, Debug)]
pub(crate) struct Declared {
    /// What it takes and gives.
    pub(crate) signature: Signature,
    /// The platform, such as `onnxruntime_onnx`.
    pub(crate) platform: String,
    /// The most rows of a batch, where the server has the model configuration extension.
    pub(crate) max_batch_size: Option<u64>,
}

/// The path of a model, or of one version of it.
pub(crate) fn path(model: &str, version: Option<&str>) -> String {
    version.map_or_else(|| format!("/v2/models/{model}"), |version| format!("/v2/models/{model}/versions/{version}"))
}

/// Asks the server for the model's metadata, and for its configuration, which not every server has.
pub(crate) fn declared(address: &Address, model: &str, version: Option<&str>) -> Result<Declared, Error> {
    let path = path(model, version);
    let document = ask::get(address, &path)?;
    let config = ask::get(address, &format!("{path}/config")).ok();
    let max_batch_size = config.and_then(|config| config.get("max_batch_size")?.as_u64());
    read(&path, document, max_batch_size)
}

#[derive(Deserialize)]
struct Metadata {
    #[serde(default)]
    platform: String,
    inputs: Vec<Tensor>,
    #[serde(default)]
    outputs: Vec<Tensor>,
}

#[derive(Deserialize)]
struct Tensor {
    name: String,
    datatype: String,
    shape: Vec<i64>,
}

fn read(path: &str, document: serde_json::Value, max_batch_size: Option<u64>) -> Result<Declared, Error> {
    let wrong = |found: String| Error::Answer {
        request: format!("GET {path}"),
        expected: "the metadata of Open Inference Protocol v2",
        found,
    };
    let metadata: Metadata = serde_json::from_value(document).map_err(|error| wrong(error.to_string()))?;
    let spec = |tensor: &Tensor| {
        let unknown = || wrong(format!("`{}` of the unknown data type {}", tensor.name, tensor.datatype));
        let data_type = DataType::from_name(&tensor.datatype).ok_or_else(unknown)?;
        let dim = |size: &i64| usize::try_from(*size).map_or(Dim::Free, Dim::Fixed);
        Ok(TensorSpec::new(&tensor.name, data_type, Some(tensor.shape.iter().map(dim).collect())))
    };
    let inputs = metadata.inputs.iter().map(spec).collect::<Result<Vec<_>, Error>>()?;
    let outputs = metadata.outputs.iter().map(spec).collect::<Result<Vec<_>, Error>>()?;
    let signature = Signature { inputs, outputs, batch_axis: false };
    Ok(Declared { signature, platform: metadata.platform, max_batch_size })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn metadata_become_a_signature() {
        let tensor = |datatype: &str| json!({"name": "x", "datatype": datatype, "shape": [-1, 4]});
        let document = json!({"name": "m", "platform": "p", "inputs": [tensor("FP32")], "outputs": [tensor("INT64")]});
        let declared = read("/v2/models/m", document, Some(8)).unwrap();
        assert_eq!(declared.signature.inputs[0].to_string(), "FP32 [-1,4]");
        assert_eq!((declared.platform.as_str(), declared.max_batch_size), ("p", Some(8)));
        let unknown = read("/v2/models/m", json!({"inputs": [tensor("FP4")]}), None).unwrap_err().to_string();
        assert!(unknown.contains("`x` of the unknown data type FP4"), "{unknown}");
        assert!(read("/v2/models/m", json!([]), None).is_err());
    }
}
