//! Tiny models for the tests of the pre-flight.

use prost::Message;

use super::proto::{
    AttributeProto, EXTERNAL, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, StringStringEntryProto,
    TensorProto, ValueInfoProto,
};
use super::{Limits, check, inspect};

pub(super) fn opset(domain: &str, version: i64) -> OperatorSetIdProto {
    OperatorSetIdProto { domain: domain.into(), version }
}

pub(super) fn node(op_type: &str, input: &str, output: &str) -> NodeProto {
    NodeProto {
        op_type: op_type.into(),
        input: vec![input.into()],
        output: vec![output.into()],
        ..NodeProto::default()
    }
}

/// A model that gives its input `x` back as `y`.
pub(super) fn identity() -> ModelProto {
    let value = |name: &str| ValueInfoProto { name: name.into(), r#type: None };
    ModelProto {
        ir_version: Some(8),
        producer_name: b"hedef".to_vec(),
        graph: Some(GraphProto {
            node: vec![node("Identity", "x", "y")],
            input: vec![value("x")],
            output: vec![value("y")],
            ..GraphProto::default()
        }),
        opset_import: vec![opset("", 13)],
        ..ModelProto::default()
    }
}

/// A model that normalizes text, with textual attributes; `stopwords` takes one word.
pub(super) fn string_normalizer(attributes: &[(&str, &str)]) -> ModelProto {
    let mut model = identity();
    let node = &mut model.graph.as_mut().unwrap().node[0];
    node.op_type = "StringNormalizer".into();
    for (name, value) in attributes {
        let mut attribute = AttributeProto { name: (*name).into(), ..AttributeProto::default() };
        match *name {
            "stopwords" => attribute.strings = vec![value.as_bytes().to_vec()],
            "is_case_sensitive" => attribute.i = value.parse().unwrap(),
            _ => attribute.s = value.as_bytes().to_vec(),
        }
        node.attribute.push(attribute);
    }
    model
}

/// A model with the FP32 weight `name`; with `external` entries its data is in another file.
pub(super) fn with_weight(name: &str, dims: &[i64], external: &[(&str, &str)]) -> ModelProto {
    let mut model = identity();
    let entries = external
        .iter()
        .map(|(key, value)| StringStringEntryProto { key: key.as_bytes().to_vec(), value: value.as_bytes().to_vec() });
    model.graph.as_mut().unwrap().initializer.push(TensorProto {
        name: name.into(),
        data_type: 1,
        dims: dims.to_vec(),
        external_data: entries.collect(),
        data_location: if external.is_empty() { 0 } else { EXTERNAL },
    });
    model
}

/// Why a file with these bytes is refused before any limit is asked.
pub(super) fn refusal_of_bytes(bytes: &[u8]) -> String {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.onnx");
    std::fs::write(&path, bytes).unwrap();
    let refusal = inspect(&path).unwrap_err().to_string();
    assert!(!refusal.contains(folder.path().to_str().unwrap()), "{refusal}");
    refusal
}

/// Why `model` is refused under `limits`, if it is.
pub(super) fn refusal(model: &ModelProto, limits: &Limits) -> Option<String> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.onnx");
    std::fs::write(&path, model.encode_to_vec()).unwrap();
    check(&path, limits).err().map(|refusal| refusal.to_string())
}
