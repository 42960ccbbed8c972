//! Any body is refused, or is a request that agrees with the signature; and its inputs, told as an answer in the form
//! of the request, are the same request again.

#![no_main]

use std::sync::{Arc, LazyLock};

use hedef_core::{DataType, Dim, ModelId, ModelName, Request, Response, Signature, TensorSpec, Timings};
use hedef_protocols::json::Value;
use hedef_protocols::v1::{self, Form};
use libfuzzer_sys::fuzz_target;

static SIGNATURES: LazyLock<Vec<Signature>> = LazyLock::new(signatures);

fuzz_target!(|bytes: &[u8]| {
    // One byte chooses the signature; the rest is the body.
    let [choice, body @ ..] = bytes else { return };
    let signature = &SIGNATURES[usize::from(*choice) % SIGNATURES.len()];
    let Ok((request, form)) = v1::decode(body, signature) else { return };
    for (tensor, spec) in request.inputs().iter().zip(&signature.inputs) {
        assert_eq!(tensor.data_type(), spec.data_type);
        assert!(spec.accepts(tensor.shape()));
        assert!(tensor.data().len() <= body.len());
    }
    let (answer, asked, told) = match form {
        Form::Row => (answer(&request, signature, form), "instances", "predictions"),
        Form::Column => (answer(&request, signature, form), "inputs", "outputs"),
    };
    Value::parse(answer.as_bytes()).unwrap();
    let inputs = request.inputs();
    let whole = inputs.iter().all(|tensor| tensor.shape().rank() > 0 && tensor.data().len() > 0);
    let rows = inputs.first().and_then(|tensor| tensor.shape().rows());
    let same_rows = inputs.iter().all(|tensor| tensor.shape().rows() == rows);
    // NaN is not equal to itself.
    if rows.is_some() && whole && same_rows && inputs.to_vec() == inputs {
        let (again, _) = v1::decode(answer.replacen(told, asked, 1).as_bytes(), signature).unwrap();
        assert_eq!(again.inputs(), inputs);
    }
});

fn answer(request: &Request, signature: &Signature, form: Form) -> String {
    let named = request.inputs().iter().zip(&signature.inputs);
    let response = Response {
        model: ModelId { name: ModelName::new("m").unwrap(), version: 1 },
        outputs: named.map(|(tensor, spec)| (Arc::clone(&spec.name), tensor.clone())).collect(),
        timings: Timings::default(),
    };
    String::from_utf8(v1::encode(&response, form)).unwrap()
}

/// Each type as rows of two, of one and of free size; any shape; two inputs; columns of one value.
fn signatures() -> Vec<Signature> {
    let spec = |name: &str, data_type, dims: Option<&[i64]>| {
        let dim = |dim: &i64| usize::try_from(*dim).map_or(Dim::Free, Dim::Fixed);
        TensorSpec::new(name, data_type, dims.map(|dims| dims.iter().map(dim).collect()))
    };
    let of = |inputs| Signature { inputs, outputs: vec![], batch_axis: false };
    let mut all = Vec::new();
    for data_type in DataType::ALL {
        all.push(of(vec![spec("x", data_type, Some(&[-1, 2]))]));
        all.push(of(vec![spec("x_bytes", data_type, Some(&[-1, 1]))]));
        all.push(of(vec![spec("x", data_type, Some(&[-1, -1, -1]))]));
    }
    all.push(of(vec![spec("x", DataType::Fp32, None)]));
    all.push(of(vec![spec("x", DataType::Fp32, Some(&[-1, 2])), spec("s", DataType::Bytes, Some(&[-1]))]));
    all.push(of(vec![spec("a", DataType::Int64, Some(&[-1, 1])), spec("b64", DataType::Bytes, Some(&[-1, 1]))]));
    all.push(of(vec![]));
    all
}
