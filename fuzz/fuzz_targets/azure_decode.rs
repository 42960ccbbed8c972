//! Any body or query is refused, or is a request that agrees with the signature; and its inputs can be told as an
//! answer, with and without labels, which without them is the same request again.

#![no_main]

use std::sync::{Arc, LazyLock};

use hedef_core::{DataType, Dim, ModelId, ModelName, Request, Response, Signature, TensorSpec, Timings};
use hedef_protocols::azure;
use hedef_protocols::json::Value;
use libfuzzer_sys::fuzz_target;

static SIGNATURES: LazyLock<Vec<Signature>> = LazyLock::new(signatures);

fuzz_target!(|bytes: &[u8]| {
    // One byte chooses the signature and whether the rest is a query or a body.
    let [choice, body @ ..] = bytes else { return };
    let signature = &SIGNATURES[usize::from(choice & 0x7F) % SIGNATURES.len()];
    let request = match std::str::from_utf8(body) {
        Ok(query) if choice & 0x80 != 0 => azure::decode_query(query, signature),
        _ => azure::decode(body, signature),
    };
    let Ok(request) = request else { return };
    for (tensor, spec) in request.inputs().iter().zip(&signature.inputs) {
        assert_eq!(tensor.data_type(), spec.data_type);
        assert!(spec.accepts(tensor.shape()));
        assert!(tensor.data().len() <= body.len());
    }
    Value::parse(&answer(&request, signature, true)).unwrap();
    let told = answer(&request, signature, false);
    Value::parse(&told).unwrap();
    let inputs = request.inputs();
    let whole = inputs.iter().all(|tensor| tensor.shape().rank() > 0 && tensor.data().len() > 0);
    let rows = inputs.first().and_then(|tensor| tensor.shape().rows());
    let same_rows = inputs.iter().all(|tensor| tensor.shape().rows() == rows);
    // NaN is not equal to itself.
    if rows.is_some() && whole && same_rows && inputs.to_vec() == inputs {
        assert_eq!(azure::decode(&told, signature).unwrap().inputs(), inputs);
    }
});

fn answer(request: &Request, signature: &Signature, labelled: bool) -> Vec<u8> {
    let named = request.inputs().iter().zip(&signature.inputs);
    let response = Response {
        model: ModelId { name: ModelName::new("m").unwrap(), version: 1 },
        outputs: named.map(|(tensor, spec)| (Arc::clone(&spec.name), tensor.clone())).collect(),
        timings: Timings::default(),
    };
    let mut outputs = signature.inputs.clone();
    for spec in outputs.iter_mut().filter(|_| labelled) {
        spec.labels = Some(["no".to_string(), "\"yes\"".to_string()].into());
    }
    azure::encode(&response, &Signature { outputs, ..signature.clone() })
}

/// Each type as rows of two; any shape; inputs with the names of wrappers; columns of one value.
fn signatures() -> Vec<Signature> {
    let spec = |name: &str, data_type, dims: Option<&[i64]>| {
        let dim = |dim: &i64| usize::try_from(*dim).map_or(Dim::Free, Dim::Fixed);
        TensorSpec::new(name, data_type, dims.map(|dims| dims.iter().map(dim).collect()))
    };
    let of = |inputs| Signature { inputs, outputs: vec![], batch_axis: false };
    let mut all: Vec<_> =
        DataType::ALL.into_iter().map(|data_type| of(vec![spec("x", data_type, Some(&[-1, 2]))])).collect();
    all.push(of(vec![spec("x", DataType::Fp32, Some(&[-1, -1]))]));
    all.push(of(vec![spec("x", DataType::Fp32, None)]));
    all.push(of(vec![spec("data", DataType::Int64, Some(&[-1])), spec("input_data", DataType::Bytes, Some(&[-1, 1]))]));
    all.push(of(vec![spec("a", DataType::Fp64, Some(&[-1, 1])), spec("b64", DataType::Bytes, Some(&[-1, 1]))]));
    all.push(of(vec![]));
    all
}
