//! Any file is refused, or is a request that agrees with the signature and holds no more elements than the file has
//! bytes; and an array that was read is written and read again as it was.

#![no_main]

use std::sync::LazyLock;

use hedef_core::{DataType, Dim, Signature, TensorSpec};
use hedef_protocols::csv::{self, Header};
use hedef_protocols::npy;
use libfuzzer_sys::fuzz_target;

static SIGNATURES: LazyLock<Vec<Signature>> = LazyLock::new(signatures);

fuzz_target!(|bytes: &[u8]| {
    // One byte chooses the signature, one the kind of file.
    let [choice, kind, file @ ..] = bytes else { return };
    let signature = &SIGNATURES[usize::from(*choice) % SIGNATURES.len()];
    let request = match kind % 4 {
        0 => csv::decode(file, Header::Auto, signature),
        1 => csv::decode(file, Header::Present, signature),
        2 => csv::decode(file, Header::Absent, signature),
        _ => {
            write_and_read(file);
            npy::decode(file, signature)
        }
    };
    let Ok(request) = request else { return };
    for (tensor, spec) in request.inputs().iter().zip(&signature.inputs) {
        assert_eq!(tensor.data_type(), spec.data_type);
        assert!(spec.accepts(tensor.shape()));
        assert!(tensor.data().len() <= file.len() + 1);
    }
});

fn write_and_read(file: &[u8]) {
    let Ok(tensor) = npy::read(file) else { return };
    let Ok(written) = npy::write(&tensor) else { return };
    let again = npy::read(&written).unwrap();
    assert_eq!(again.shape(), tensor.shape());
    // NaN is not equal to itself, but its bytes are.
    assert_eq!(npy::write(&again).unwrap(), written);
}

/// Each type as rows of two; any shape; one value in a row; several inputs.
fn signatures() -> Vec<Signature> {
    let spec = |name: &str, data_type, dims: Option<&[i64]>| {
        let dim = |dim: &i64| usize::try_from(*dim).map_or(Dim::Free, Dim::Fixed);
        TensorSpec::new(name, data_type, dims.map(|dims| dims.iter().map(dim).collect()))
    };
    let of = |inputs| Signature { inputs, outputs: vec![], batch_axis: false };
    let mut all: Vec<_> =
        DataType::ALL.into_iter().map(|data_type| of(vec![spec("x", data_type, Some(&[-1, 2]))])).collect();
    all.push(of(vec![spec("x", DataType::Fp32, Some(&[-1, -1]))]));
    all.push(of(vec![spec("x", DataType::Fp64, None)]));
    all.push(of(vec![spec("text", DataType::Bytes, Some(&[-1, 1]))]));
    all.push(of(vec![spec("age", DataType::Int64, Some(&[-1, 1])), spec("job", DataType::Bytes, Some(&[-1]))]));
    all.push(of(vec![]));
    all
}
