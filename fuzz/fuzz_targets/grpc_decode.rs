//! Any message is refused, or is a request whose tensors agree with the signature and take no more memory than the
//! message accounts for; and its inputs can be answered. What is seen of a beginning is what the whole says.

#![no_main]

use std::sync::{Arc, LazyLock};

use hedef_core::{Data, DataType, Dim, ModelId, ModelName, Response, Signature, TensorSpec, Timings};
use hedef_protocols::v2::grpc;
use libfuzzer_sys::fuzz_target;

static SIGNATURES: LazyLock<Vec<Signature>> = LazyLock::new(signatures);

fuzz_target!(|bytes: &[u8]| {
    // A byte chooses the signature; the rest is the message.
    let [choice, message @ ..] = bytes else { return };
    let _ = grpc::decode_named(message);
    let _ = grpc::decode_unload(message);
    let _ = grpc::decode_load(message.to_vec().into());
    let _ = grpc::reflect(message);
    let _ = grpc::Head::peek(message);
    let signature = &SIGNATURES[usize::from(*choice) % SIGNATURES.len()];
    let Ok(decoded) = grpc::decode(message, signature) else { return };
    let _ = grpc::Head::read(message);
    assert_eq!(decoded.request.inputs().len(), signature.inputs.len());
    for (tensor, spec) in decoded.request.inputs().iter().zip(&signature.inputs) {
        assert_eq!(tensor.data_type(), spec.data_type);
        assert!(spec.accepts(tensor.shape()));
        assert_eq!(tensor.shape().elements(), Some(tensor.data().len()));
        let memory = memory(tensor.data());
        assert!(memory <= 64 + 16 * message.len(), "{memory} bytes of {}", message.len());
    }
    let outputs = decoded.request.inputs().iter().zip(&signature.outputs);
    let response = Response {
        model: ModelId { name: ModelName::new("m").unwrap(), version: 1 },
        outputs: outputs.map(|(tensor, spec)| (Arc::clone(&spec.name), tensor.clone())).collect(),
        timings: Timings::default(),
    };
    let alone = grpc::encode(&response, signature, &decoded.reply);
    let noted = || Some(("note", "text".to_owned()));
    let in_stream = grpc::encode_in_stream(&response, signature, &decoded.reply, noted);
    for answer in [alone, in_stream].into_iter().flatten() {
        assert_eq!(answer[..grpc::PREFIX], grpc::prefix(false, answer.len() - grpc::PREFIX).unwrap());
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
        Data::Int8(elements) => elements.capacity(),
        Data::Uint64(elements) => elements.capacity() * 8,
        Data::Fp32(elements) => elements.capacity() * 4,
        Data::Int64(elements) => elements.capacity() * 8,
        Data::Fp64(elements) => elements.capacity() * 8,
        other => other.len() * other.data_type().size().unwrap_or(0),
    }
}

/// One input of each type with free dimensions, and two inputs that share rows.
fn signatures() -> Vec<Signature> {
    let spec = |name: &str, data_type, dims: &[i64]| {
        let dim = |dim: &i64| usize::try_from(*dim).map_or(Dim::Free, Dim::Fixed);
        TensorSpec::new(name, data_type, Some(dims.iter().map(dim).collect()))
    };
    let one = |data_type| Signature {
        inputs: vec![spec("x", data_type, &[-1, -1])],
        outputs: vec![spec("y", data_type, &[-1, -1])],
        batch_axis: true,
    };
    let mut all: Vec<_> = DataType::ALL.into_iter().map(one).collect();
    all.push(Signature {
        inputs: vec![spec("x", DataType::Fp32, &[-1, 2]), spec("s", DataType::Bytes, &[-1])],
        outputs: vec![spec("y", DataType::Fp32, &[-1, 2]), spec("z", DataType::Bytes, &[-1])],
        batch_axis: true,
    });
    all
}
