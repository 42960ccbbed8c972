//! Makes inputs of different lengths as long as one another, so that their requests can share a run.

mod trial;

use crate::settings::PaddingSettings;
use crate::{Data, Dim, Request, Signature, Tensor, TensorSpec};

pub(crate) use trial::prove;

/// How a model's inputs are filled up, and its outputs cut back.
#[derive(Clone, Debug, PartialEq)]
pub struct Padding {
    axis: usize,
    /// For each input, one element to fill it up with; none for those without the axis.
    fillers: Vec<Option<Data>>,
    /// For each output, whether it has the axis.
    outputs: Vec<bool>,
}

impl Padding {
    /// Checks what `model.toml` says against the signature. `element` makes one element of an input's type.
    pub(crate) fn new(
        settings: &PaddingSettings,
        signature: &Signature,
        element: impl Fn(&TensorSpec, &toml::Value) -> Result<Tensor, String>,
    ) -> Result<Self, String> {
        let axis = usize::from(settings.axis.get());
        let free = |spec: &TensorSpec| spec.dims.as_ref().and_then(|dims| dims.get(axis)).is_some_and(Dim::is_free);
        if let Some(name) = settings.inputs.keys().find(|name| signature.input(name).is_none()) {
            return Err(format!("batching.padding.inputs: the model has no input `{name}`"));
        }
        if let Some(name) = settings.outputs.iter().find(|name| signature.output(name).is_none()) {
            return Err(format!("batching.padding.outputs: the model has no output `{name}`"));
        }
        let filler = |spec: &TensorSpec| match (settings.inputs.get(&*spec.name), free(spec)) {
            (Some(value), true) => {
                let made =
                    element(spec, value).map_err(|reason| format!("batching.padding.inputs.{}: {reason}", spec.name));
                made.map(|tensor| Some(tensor.into_parts().1))
            }
            (None, false) => Ok(None),
            (Some(_), false) => {
                Err(format!("batching.padding: axis {axis} of input `{}` is not free: it is {spec}", spec.name))
            }
            (None, true) => {
                Err(format!("batching.padding: axis {axis} of input `{}` is free too: say what fills it up", spec.name))
            }
        };
        let fillers = signature.inputs.iter().map(filler).collect::<Result<Vec<_>, _>>()?;
        if fillers.iter().all(Option::is_none) {
            return Err(format!("batching.padding.inputs: expected the inputs whose axis {axis} is free"));
        }
        let outputs = signature.outputs.iter().map(|spec| settings.outputs.iter().any(|name| **name == *spec.name));
        Ok(Self { axis, fillers, outputs: outputs.collect() })
    }

    /// How long the inputs of a request are along the axis; none where they differ from one another.
    pub(crate) fn length(&self, inputs: &[Tensor]) -> Option<usize> {
        let padded = inputs.iter().zip(&self.fillers).filter(|(_, filler)| filler.is_some());
        let mut lengths = padded.map(|(tensor, _)| tensor.shape().dims().get(self.axis).copied());
        let first = lengths.next()??;
        lengths.all(|length| length == Some(first)).then_some(first)
    }

    /// As how long a dimension of a row counts when requests are sorted into lanes. Lengths that count alike differ by
    /// less than a quarter, so less than that is wasted.
    pub(crate) fn measure(&self, request: &Request, axis: usize, size: usize) -> usize {
        if axis == self.axis && self.length(request.inputs()).is_some() { bucket(size) } else { size }
    }

    /// Fills an input up to `length`. `None` where that cannot be.
    pub(crate) fn fill(&self, input: usize, tensor: &Tensor, length: usize) -> Option<Tensor> {
        match self.fillers.get(input)? {
            Some(filler) => tensor.with_length(self.axis, length, filler),
            None => Some(tensor.clone()),
        }
    }

    /// Cuts an output of inputs that were filled up to `filled` back to `length`. `None` where it is not that long.
    pub(crate) fn cut(&self, output: usize, tensor: Tensor, filled: usize, length: usize) -> Option<Tensor> {
        if !*self.outputs.get(output)? {
            return Some(tensor);
        }
        let right = tensor.shape().dims().get(self.axis) == Some(&filled);
        right.then(|| tensor.with_length(self.axis, length, tensor.data()))?
    }
}

/// Rounds up to a quarter of a power of two: 5, 6, 7, 8, 10, 12, 14, 16, 20, …
fn bucket(length: usize) -> usize {
    let quarter = length.checked_ilog2().map_or(1, |log| (1_usize << log) / 4).max(1);
    length.div_ceil(quarter).saturating_mul(quarter)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::DataType;

    fn settings(text: &str) -> PaddingSettings {
        toml::from_str(text).unwrap()
    }

    fn padding(text: &str) -> Result<Padding, String> {
        let spec = |name, dims| TensorSpec::new(name, DataType::Int64, Some(dims));
        let free = || vec![Dim::Free, Dim::Free];
        let signature = Signature {
            inputs: vec![spec("ids", free()), spec("mask", free()), spec("k", vec![Dim::Free, Dim::Fixed(2)])],
            outputs: vec![spec("tokens", free()), spec("score", vec![Dim::Free])],
            batch_axis: true,
        };
        Padding::new(&settings(text), &signature, |_, value| {
            let number = value.as_integer().ok_or("expected a number")?;
            Tensor::from_elements([1], vec![number]).map_err(|error| error.to_string())
        })
    }

    #[test]
    fn lengths_that_count_alike_differ_by_less_than_a_quarter() {
        assert_eq!(
            (1..=17).map(bucket).collect::<Vec<_>>(),
            [1, 2, 3, 4, 5, 6, 7, 8, 10, 10, 12, 12, 14, 14, 16, 16, 20]
        );
        assert!((1..5000).all(|length| bucket(length) >= length && bucket(length) * 4 <= length * 5 + 4));
    }

    #[test]
    fn what_is_said_has_to_fit_the_signature() {
        assert!(padding("axis = 1\ninputs = { ids = 0, mask = 0 }\noutputs = [\"tokens\"]").is_ok());
        for (text, reason) in [
            ("axis = 1\ninputs = { ids = 0 }", "input `mask` is free too"),
            ("axis = 1\ninputs = { ids = 0, mask = 0, k = 0 }", "input `k` is not free"),
            ("axis = 1\ninputs = { ids = 0, mask = 0, q = 0 }", "no input `q`"),
            ("axis = 1\ninputs = { ids = 0, mask = \"x\" }", "inputs.mask: expected a number"),
            ("axis = 1\ninputs = { ids = 0, mask = 0 }\noutputs = [\"y\"]", "no output `y`"),
            ("axis = 2\ninputs = {}", "axis 2 is free"),
        ] {
            let error = padding(text).unwrap_err();
            assert!(error.contains(reason), "{error}");
        }
    }

    #[test]
    fn what_was_filled_up_is_cut_back() {
        let padding = padding("axis = 1\ninputs = { ids = 7, mask = 0 }\noutputs = [\"tokens\"]").unwrap();
        let ids = Tensor::from_elements([1, 2], vec![1_i64, 2]).unwrap();
        let filled = padding.fill(0, &ids, 3).unwrap();
        assert_eq!(filled.elements::<i64>().unwrap(), [1, 2, 7]);
        assert_eq!(padding.cut(0, filled.clone(), 3, 2), Some(ids));
        assert_eq!(padding.cut(1, filled.clone(), 3, 2), Some(filled.clone()));
        assert_eq!(padding.cut(0, filled, 4, 2), None);
    }
}
