//! Any body is refused, or is a request whose tensors agree with the signature and take no more memory than the
//! body accounts for; and its inputs can be answered and read again.

#![no_main]

use std::sync::{Arc, LazyLock};

use hedef_core::{Data, DataType, Dim, ModelId, ModelName, Response, Signature, TensorSpec, Timings};
use hedef_protocols::v2;
use libfuzzer_sys::fuzz_target;

static SIGNATURES: LazyLock<Vec<Signature>> = LazyLock::new(signatures);

fuzz_target!(|bytes: &[u8]| {
    // Two bytes choose the signature and where the JSON ends; the rest is the body.
    let [choice, end, body @ ..] = bytes else { return };
    let signature = &SIGNATURES[usize::from(choice & 0x7F) % SIGNATURES.len()];
    let json_length = match end {
        _ if choice & 0x80 == 0 => None,
        0 => Some(0),
        255 => Some(usize::MAX),
        _ => body.iter().rposition(|byte| *byte == b'}').map(|at| at + 1),
    };
    let Ok(decoded) = v2::decode(body, json_length, signature) else { return };
    assert_eq!(decoded.request.inputs().len(), signature.inputs.len());
    for (tensor, spec) in decoded.request.inputs().iter().zip(&signature.inputs) {
        assert_eq!(tensor.data_type(), spec.data_type);
        assert!(spec.accepts(tensor.shape()));
        assert_eq!(tensor.shape().elements(), Some(tensor.data().len()));
        assert!(memory(tensor.data()) <= 64 + 16 * body.len(), "{} bytes of {}", memory(tensor.data()), body.len());
    }
    let outputs = decoded.request.inputs().iter().zip(&signature.outputs);
    let response = Response {
        model: ModelId { name: ModelName::new("m").unwrap(), version: 1 },
        outputs: outputs.map(|(tensor, spec)| (Arc::clone(&spec.name), tensor.clone())).collect(),
        timings: Timings::default(),
    };
    if let Ok(encoded) = v2::encode(&response, signature, &decoded.reply) {
        let json = &encoded.body[..encoded.json_length.unwrap_or(encoded.body.len())];
        hedef_protocols::json::Value::parse(json).unwrap();
    }
});

/// The bytes that the elements have room for.
fn memory(data: &Data) -> usize {
    match data {
        Data::Bytes(strings) => {
            let texts: usize = strings.iter().map(Vec::capacity).sum();
            strings.capacity() * size_of::<Vec<u8>>() + texts
        }
        Data::Bool(elements) => elements.capacity(),
        Data::Uint8(elements) => elements.capacity(),
        Data::Fp32(elements) => elements.capacity() * 4,
        Data::Int64(elements) => elements.capacity() * 8,
        Data::Fp64(elements) => elements.capacity() * 8,
        other => other.len() * other.data_type().size().unwrap_or(0),
    }
}

/// One input of each type with free dimensions, fixed ones, none, and two inputs that share rows.
fn signatures() -> Vec<Signature> {
    let spec = |name: &str, data_type, dims: Option<&[i64]>| {
        let dim = |dim: &i64| usize::try_from(*dim).map_or(Dim::Free, Dim::Fixed);
        TensorSpec::new(name, data_type, dims.map(|dims| dims.iter().map(dim).collect()))
    };
    let one = |data_type, dims: Option<&[i64]>| {
        let inputs = vec![spec("x", data_type, dims)];
        let mut signature = Signature { inputs, outputs: vec![spec("y", data_type, dims)], batch_axis: false };
        signature.batch_axis = signature.could_batch();
        signature
    };
    let mut all: Vec<_> = DataType::ALL.into_iter().map(|data_type| one(data_type, Some(&[-1, -1]))).collect();
    all.push(one(DataType::Fp32, None));
    all.push(one(DataType::Int64, Some(&[])));
    all.push(one(DataType::Fp16, Some(&[2, -1, 2])));
    all.push(Signature {
        inputs: vec![spec("x", DataType::Fp32, Some(&[-1, 2])), spec("s", DataType::Bytes, Some(&[-1]))],
        outputs: vec![spec("y", DataType::Fp32, Some(&[-1, 2])), spec("z", DataType::Bytes, Some(&[-1]))],
        batch_axis: true,
    });
    all
}
