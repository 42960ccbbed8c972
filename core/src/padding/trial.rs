//! The proof that padding changes no answer.

use super::Padding;
use crate::backend::Backend;
use crate::warm_up::{Guess, agree, is_finite, run_all};
use crate::{Data, Signature, Tensor, TensorSpec};

/// The lengths that are tried, and as long as what they are made.
const LENGTHS: [(usize, usize); 4] = [(3, 4), (5, 8), (8, 24), (21, 32)];

/// Runs generated requests of several lengths as they are and filled up: only where the answers agree may requests of
/// different lengths share a run.
pub(crate) fn prove(padding: &Padding, backend: &dyn Backend, guess: Guess) -> Result<(), String> {
    let signature = backend.signature();
    let mut shown = vec![None; signature.outputs.len()];
    for (trial, (length, filled)) in (0..).zip(LENGTHS) {
        let failed = |error| format!("batching.padding: a generated input of length {length} does not run: {error}");
        let plain = request(padding, signature, guess, length, trial).map_err(failed)?;
        let longer = plain.iter().enumerate().map(|(at, tensor)| padding.fill(at, tensor, filled));
        let longer =
            longer.collect::<Option<Vec<_>>>().ok_or("batching.padding: a generated input cannot be filled up")?;
        let (alone, together) = (run_all(backend, &plain).map_err(failed)?, run_all(backend, &longer).map_err(failed)?);
        for (at, ((alone, together), spec)) in alone.into_iter().zip(together).zip(&signature.outputs).enumerate() {
            let wrong = |what: &str| {
                Err(format!(
                    "batching.padding: output `{}` {what} when an input of length {length} is filled up to {filled}",
                    spec.name
                ))
            };
            if !is_finite(&alone) {
                return Err(format!(
                    "batching.padding: output `{}` of generated inputs is not finite, which shows nothing",
                    spec.name
                ));
            }
            let found = together.shape().clone();
            match padding.cut(at, together, filled, length) {
                Some(cut) if cut.shape() == alone.shape() => {
                    if !agree(&alone, &cut) {
                        return wrong(&difference(&alone, &cut));
                    }
                }
                _ => return wrong(&format!("has shape {found}, which cannot be cut back to {},", alone.shape())),
            }
            note(shown.get_mut(at), alone);
        }
    }
    let constant = shown.iter().zip(&signature.outputs).find(|(shown, _)| matches!(shown, Some(Shown::Same(_))));
    constant.map_or(Ok(()), |(_, spec)| {
        Err(format!(
            "batching.padding: output `{}` is the same for all generated inputs, which shows nothing",
            spec.name
        ))
    })
}

/// Whether an output told requests apart.
#[derive(Clone)]
enum Shown {
    Same(Tensor),
    Different,
}

fn note(shown: Option<&mut Option<Shown>>, tensor: Tensor) {
    let Some(shown) = shown else { return };
    *shown = match shown.take() {
        None => Some(Shown::Same(tensor)),
        Some(Shown::Same(first)) if agree(&first, &tensor) => Some(Shown::Same(first)),
        Some(_) => Some(Shown::Different),
    };
}

/// A generated request, its masks whole: what is there is marked as there.
fn request(
    padding: &Padding,
    signature: &Signature,
    guess: Guess,
    length: usize,
    trial: u64,
) -> Result<Vec<Tensor>, String> {
    let all = guess.with_length(length).request(signature, 1, 100 + trial)?;
    let is_mask = |spec: &TensorSpec| spec.name.to_ascii_lowercase().contains("mask");
    let whole = |((tensor, spec), filler): ((Tensor, &TensorSpec), &Option<Data>)| {
        if filler.is_none() || !is_mask(spec) {
            return Ok(tensor);
        }
        let (shape, data) = tensor.into_parts();
        let ones = crate::warm_up::element(spec, &one(&data))?.into_parts().1.repeat_first(data.len());
        Tensor::new(shape, ones).map_err(|error| error.to_string())
    };
    all.into_iter().zip(&signature.inputs).zip(&padding.fillers).map(whole).collect()
}

fn one(data: &Data) -> toml::Value {
    if matches!(data, Data::Bool(_)) { toml::Value::Boolean(true) } else { toml::Value::Integer(1) }
}

/// By how much two outputs differ, where that can be said.
fn difference(alone: &Tensor, padded: &Tensor) -> String {
    let (Some(a), Some(b)) = (alone.elements::<f32>(), padded.elements::<f32>()) else { return "differs".into() };
    let largest = a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    format!("differs by up to {largest:.3e}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::{RunError, Stop};
    use crate::settings::PaddingSettings;
    use crate::{DataType, Dim};
    use std::collections::BTreeMap;

    /// Adds up the elements that the mask marks, and doubles each; `honest` says whether it looks at the mask.
    #[derive(Debug)]
    struct Summing {
        signature: Signature,
        honest: bool,
    }

    impl Backend for Summing {
        fn signature(&self) -> &Signature {
            &self.signature
        }

        fn run(&self, inputs: &[&Tensor], _: &[usize], _: Option<&Stop>) -> Result<Vec<Tensor>, RunError> {
            let (x, mask) = (inputs[0].elements::<f32>().unwrap(), inputs[1].elements::<i64>().unwrap());
            let counts = |(x, mask): (&f32, &i64)| if *mask == 1 || !self.honest { *x + 1.0 } else { 0.0 };
            let sum = x.iter().zip(mask).map(counts).sum::<f32>();
            let twice = x.iter().map(|x| x * 2.0).collect();
            let shape = inputs[0].shape().clone();
            Ok(vec![Tensor::from_elements([1], vec![sum]).unwrap(), Tensor::from_elements(shape, twice).unwrap()])
        }
    }

    fn proof(honest: bool, outputs: &str) -> Result<(), String> {
        let free = || Some(vec![Dim::Free, Dim::Free]);
        let inputs =
            vec![TensorSpec::new("x", DataType::Fp32, free()), TensorSpec::new("mask", DataType::Int64, free())];
        let sum = TensorSpec::new("sum", DataType::Fp32, Some(vec![Dim::Free]));
        let outputs_declared = vec![sum, TensorSpec::new("twice", DataType::Fp32, free())];
        let signature = Signature { inputs, outputs: outputs_declared, batch_axis: true };
        let text = format!("axis = 1\ninputs = {{ x = 0, mask = 0 }}\noutputs = {outputs}");
        let settings: PaddingSettings = toml::from_str(&text).unwrap();
        let padding = Padding::new(&settings, &signature, crate::warm_up::element).unwrap();
        let backend = Summing { signature, honest };
        let first = crate::warm_up::first(&backend, &BTreeMap::new(), None).unwrap();
        prove(&padding, &backend, crate::warm_up::guess(&backend, &first).unwrap())
    }

    #[test]
    fn a_model_that_looks_at_its_mask_may_be_padded() {
        assert_eq!(proof(true, "[\"twice\"]"), Ok(()));
    }

    #[test]
    fn a_model_whose_answers_padding_changes_is_refused() {
        let error = proof(false, "[\"twice\"]").unwrap_err();
        assert!(error.contains("output `sum` differs by up to"), "{error}");
        let error = proof(true, "[]").unwrap_err();
        assert!(error.contains("output `twice` has shape [1,4], which cannot be cut back to [1,3]"), "{error}");
    }
}
