//! Which answers are worth sending.

use hedef_core::{Data, Response, Signature, Tensor};
use serde::Deserialize;

/// Answers that are sent: those with a value beyond a bound, and every Nth whatever it says. Without a bound, only those.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(default, deny_unknown_fields)]
pub struct Filter {
    /// Sends every Nth answer in any case.
    pub every: Option<u64>,
    /// The output that is looked at; without it, the first one of numbers.
    pub output: Option<String>,
    /// The column that is looked at, by its label; without it, all are.
    pub label: Option<String>,
    /// The column that is looked at, by its place.
    pub column: Option<usize>,
    /// Sends answers with a larger value.
    pub above: Option<f64>,
    /// Sends answers with a smaller value.
    pub below: Option<f64>,
}

/// Why a filter cannot be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidFilter {
    /// It would send everything, or nothing.
    #[error("expected `above`, `below` or `every` of at least 1")]
    Nothing,
    /// Two columns are meant.
    #[error("expected `label` or `column`, not both")]
    TwoColumns,
}

impl Filter {
    /// Fails where it makes no sense.
    pub const fn check(&self) -> Result<(), InvalidFilter> {
        let bound = self.above.is_some() || self.below.is_some();
        if matches!(self.every, Some(0)) || (!bound && self.every.is_none()) {
            return Err(InvalidFilter::Nothing);
        }
        if self.label.is_some() && self.column.is_some() {
            return Err(InvalidFilter::TwoColumns);
        }
        Ok(())
    }

    /// Whether an answer is to be sent, `number` others having come before it. What cannot be looked at, such as a column
    /// that is not there, is: nobody should miss it for a slip in the settings.
    #[must_use]
    pub fn passes(&self, response: &Response, signature: &Signature, number: u64) -> bool {
        if self.every.is_some_and(|every| every > 0 && number.is_multiple_of(every)) {
            return true;
        }
        if self.above.is_none() && self.below.is_none() {
            return false;
        }
        let Some((name, tensor, values)) = self.look(response) else { return true };
        let columns = tensor.shape().dims().last().copied().unwrap_or(1).max(1);
        let column = match (&self.label, self.column) {
            (Some(label), _) => {
                let spec = signature.output(name).and_then(|at| signature.outputs.get(at));
                let labels = spec.and_then(|spec| spec.labels.as_ref());
                match labels.and_then(|labels| labels.iter().position(|found| found == label)) {
                    Some(column) => Some(column),
                    None => return true,
                }
            }
            (None, column) => column,
        };
        if column.is_some_and(|column| column >= columns) {
            return true;
        }
        let mut looked_at =
            values.iter().enumerate().filter(|(at, _)| column.is_none_or(|column| at % columns == column));
        looked_at.any(|(_, value)| {
            self.above.is_some_and(|bound| *value > bound) || self.below.is_some_and(|bound| *value < bound)
        })
    }

    fn look<'r>(&self, response: &'r Response) -> Option<(&'r str, &'r Tensor, Vec<f64>)> {
        let wanted = |name: &str| self.output.as_ref().is_none_or(|output| output == name);
        let mut outputs = response.outputs.iter().filter(|(name, _)| wanted(name));
        outputs.find_map(|(name, tensor)| Some((&**name, tensor, numbers(tensor.data())?)))
    }
}

#[expect(clippy::cast_precision_loss, reason = "a bound on a number beyond 2^53 is not meant that exactly")]
fn numbers(data: &Data) -> Option<Vec<f64>> {
    Some(match data {
        Data::Fp32(values) => values.iter().map(|value| f64::from(*value)).collect(),
        Data::Fp64(values) => values.to_vec(),
        Data::Fp16(values) => values.iter().map(|value| value.to_f64()).collect(),
        Data::Bf16(values) => values.iter().map(|value| value.to_f64()).collect(),
        Data::Int8(values) => values.iter().map(|value| f64::from(*value)).collect(),
        Data::Int16(values) => values.iter().map(|value| f64::from(*value)).collect(),
        Data::Int32(values) => values.iter().map(|value| f64::from(*value)).collect(),
        Data::Int64(values) => values.iter().map(|value| *value as f64).collect(),
        Data::Uint8(values) => values.iter().map(|value| f64::from(*value)).collect(),
        Data::Uint16(values) => values.iter().map(|value| f64::from(*value)).collect(),
        Data::Uint32(values) => values.iter().map(|value| f64::from(*value)).collect(),
        Data::Uint64(values) => values.iter().map(|value| *value as f64).collect(),
        Data::Bool(values) => values.iter().map(|value| f64::from(u8::from(*value))).collect(),
        Data::Bytes(_) => return None,
    })
}

#[cfg(test)]
mod tests {
    use hedef_core::settings::parse;
    use hedef_core::{DataType, Dim, ModelId, ModelName, TensorSpec, Timings};

    use super::*;

    fn passes(filter: &Filter, number: u64) -> bool {
        let labels = TensorSpec::new("label", DataType::Bytes, Some(vec![Dim::Free]));
        let dims = Some(vec![Dim::Free, Dim::Fixed(2)]);
        let labelled = Some(["cat".to_owned(), "dog".to_owned()].into());
        let scores = TensorSpec { labels: labelled, ..TensorSpec::new("scores", DataType::Fp32, dims) };
        let signature = Signature { inputs: vec![], outputs: vec![labels, scores], batch_axis: true };
        let response = Response {
            model: ModelId { name: ModelName::new("m").unwrap(), version: 1 },
            outputs: vec![
                ("label".into(), Tensor::new([2], Data::Bytes(vec![b"cat".to_vec(), b"cat".to_vec()].into())).unwrap()),
                ("scores".into(), Tensor::from_elements([2, 2], vec![0.9_f32, 0.1, 0.7, 0.3]).unwrap()),
            ],
            timings: Timings::default(),
        };
        filter.passes(&response, &signature, number)
    }

    fn filter(text: &str) -> Filter {
        let filter: Filter = parse(text).unwrap();
        filter.check().unwrap();
        filter
    }

    #[test]
    fn answers_pass_beyond_a_bound_in_any_row() {
        for (text, expected) in [
            ("above = 0.8", true),
            ("above = 0.95", false),
            ("label = 'dog'\nabove = 0.25", true),
            ("label = 'dog'\nabove = 0.5", false),
            ("column = 0\nbelow = 0.5", false),
            ("column = 1\nbelow = 0.2", true),
            ("label = 'bird'\nabove = 0.99", true),
            ("column = 9\nabove = 0.99", true),
            ("output = 'label'\nabove = 0.99", true),
        ] {
            assert_eq!(passes(&filter(text), 1), expected, "{text}");
        }
    }

    #[test]
    fn every_nth_passes_in_any_case() {
        let every = filter("every = 3\nabove = 0.99");
        let passed: Vec<_> = (0..7).filter(|number| passes(&every, *number)).collect();
        assert_eq!(passed, [0, 3, 6]);
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for text in ["", "every = 0", "label = 'x'", "label = 'x'\ncolumn = 1\nabove = 1.0"] {
            let filter: Filter = parse(text).unwrap();
            assert!(filter.check().is_err(), "{text}");
        }
        assert!(parse::<Filter>("evry = 1").is_err());
    }
}
