//! What a model takes and what it gives.

use std::fmt;
use std::sync::Arc;

use crate::tensor::write_dims;
use crate::{DataType, Shape};

/// One dimension as a model declares it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Dim {
    /// Always this many.
    Fixed(usize),
    /// Free, under the name the model gives it.
    Symbol(String),
    /// Free, without a name.
    Free,
}

impl Dim {
    /// The dimension as protocols print it: `-1` when it is free.
    #[must_use]
    pub fn wire(&self) -> i64 {
        match self {
            Self::Fixed(dim) => i64::try_from(*dim).unwrap_or(i64::MAX),
            Self::Symbol(_) | Self::Free => -1,
        }
    }

    /// Whether callers choose its size.
    #[must_use]
    pub const fn is_free(&self) -> bool {
        !matches!(self, Self::Fixed(_))
    }
}

impl fmt::Display for Dim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.wire())
    }
}

/// One declared input or output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorSpec {
    /// The name in the model.
    pub name: Arc<str>,
    /// The type of the elements.
    pub data_type: DataType,
    /// The dimensions; `None` when the model leaves even their number open.
    pub dims: Option<Vec<Dim>>,
    /// The class labels along the last axis of an output, from the model or from a labels file.
    pub labels: Option<Arc<[String]>>,
}

impl TensorSpec {
    /// Makes a declaration without labels.
    #[must_use]
    pub fn new(name: &str, data_type: DataType, dims: Option<Vec<Dim>>) -> Self {
        Self { name: name.into(), data_type, dims, labels: None }
    }

    /// The dimensions as protocols print them, `-1` for a free one. Of a tensor whose rank is open: `[-1]`.
    #[must_use]
    pub fn wire_shape(&self) -> Vec<i64> {
        self.dims.as_ref().map_or_else(|| vec![-1], |dims| dims.iter().map(Dim::wire).collect())
    }

    /// Whether a tensor of this shape is allowed here.
    #[must_use]
    pub fn accepts(&self, shape: &Shape) -> bool {
        let Some(dims) = &self.dims else { return true };
        let fits = |(dim, size): (&Dim, &usize)| dim.is_free() || *dim == Dim::Fixed(*size);
        dims.len() == shape.rank() && dims.iter().zip(shape.dims()).all(fits)
    }
}

/// The declaration without its name, such as `FP32 [-1,4]`.
impl fmt::Display for TensorSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ", self.data_type)?;
        match &self.dims {
            Some(dims) => write_dims(f, dims),
            None => f.write_str("of any shape"),
        }
    }
}

/// The declared inputs and outputs of a model, in the model's order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signature {
    /// What every request must bring.
    pub inputs: Vec<TensorSpec>,
    /// What a response can hold.
    pub outputs: Vec<TensorSpec>,
    /// Whether axis 0 of every input and output counts rows that do not influence one another,
    /// so that several requests can share a run.
    pub batch_axis: bool,
}

impl Signature {
    /// The position of the input of that name.
    #[must_use]
    pub fn input(&self, name: &str) -> Option<usize> {
        self.inputs.iter().position(|spec| &*spec.name == name)
    }

    /// The position of the output of that name.
    #[must_use]
    pub fn output(&self, name: &str) -> Option<usize> {
        self.outputs.iter().position(|spec| &*spec.name == name)
    }

    /// Whether the declared shapes leave axis 0 free everywhere, which a batch axis needs.
    /// The rows may still influence one another: a run has to show that they do not.
    #[must_use]
    pub fn could_batch(&self) -> bool {
        let free = |spec: &TensorSpec| spec.dims.as_ref().and_then(|dims| dims.first()).is_some_and(Dim::is_free);
        !self.inputs.is_empty() && self.inputs.iter().all(free) && self.outputs.iter().all(free)
    }
}

/// All inputs in one line, such as `x FP32 [-1,4], mask BOOL [-1]`.
pub(crate) fn list(specs: &[TensorSpec]) -> String {
    let all: Vec<_> = specs.iter().map(|spec| format!("`{}` {spec}", spec.name)).collect();
    all.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(dims: Option<Vec<Dim>>) -> TensorSpec {
        TensorSpec::new("x", DataType::Fp32, dims)
    }

    #[test]
    fn free_dimensions_take_any_size_and_fixed_ones_their_own() {
        let rows = spec(Some(vec![Dim::Symbol("batch".into()), Dim::Fixed(4)]));
        assert!(rows.accepts(&Shape::from([9, 4])) && rows.accepts(&Shape::from([0, 4])));
        assert!(!rows.accepts(&Shape::from([9, 3])) && !rows.accepts(&Shape::from([4])));
        assert!(spec(None).accepts(&Shape::from([1, 2, 3])));
        assert_eq!(rows.to_string(), "FP32 [-1,4]");
    }

    #[test]
    fn only_a_free_first_axis_everywhere_could_be_a_batch_axis() {
        let free = spec(Some(vec![Dim::Free, Dim::Fixed(4)]));
        let fixed = spec(Some(vec![Dim::Fixed(1), Dim::Fixed(4)]));
        let signature = |inputs, outputs| Signature { inputs, outputs, batch_axis: false };
        assert!(signature(vec![free.clone()], vec![free.clone()]).could_batch());
        assert!(!signature(vec![free.clone(), fixed.clone()], vec![free.clone()]).could_batch());
        assert!(!signature(vec![free.clone()], vec![fixed]).could_batch());
        assert!(!signature(vec![], vec![free]).could_batch());
    }
}
