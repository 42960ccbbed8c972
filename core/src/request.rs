//! One call and its answer.

use std::sync::Arc;
use std::time::{Duration, Instant};

use smallvec::SmallVec;

use crate::error::{Error, InvalidRequest};
use crate::signature::list;
use crate::story::{Asked, Mark, Road, Told};
use crate::{Data, ModelId, Shape, Signature, Tensor};

/// A few bytes can ask for a tensor of countless empty rows, whose answer as JSON would fill the memory.
const MOST_NOTHINGS: usize = 1 << 16;

/// Positions of inputs or outputs in a signature.
pub(crate) type Positions = SmallVec<[usize; 4]>;

/// One call, valid for the model whose signature made it.
#[derive(Clone, Debug)]
pub struct Request {
    inputs: Vec<Tensor>,
    outputs: Positions,
    rows: usize,
    deadline: Option<Instant>,
    asked: Option<Box<Asked>>,
}

impl Request {
    /// Checks named tensors against a model's signature. All outputs are asked for.
    ///
    /// Fails when an input is missing, unknown or given twice, or has another data type or shape than declared;
    /// and, where axis 0 is the batch axis, when the inputs differ in their number of rows.
    pub fn new<N: AsRef<str>>(
        signature: &Signature,
        tensors: impl IntoIterator<Item = (N, Tensor)>,
    ) -> Result<Self, InvalidRequest> {
        let (mut positions, mut inputs) = (Positions::new(), Vec::with_capacity(signature.inputs.len()));
        for (name, tensor) in tensors {
            let position = place(signature, name.as_ref(), &tensor)?;
            if positions.contains(&position) {
                return Err(InvalidRequest::DuplicateInput { name: name.as_ref().into() });
            }
            positions.push(position);
            inputs.push(tensor);
        }
        if let Some((_, spec)) = signature.inputs.iter().enumerate().find(|(at, _)| !positions.contains(at)) {
            return Err(InvalidRequest::MissingInput { name: spec.name.to_string(), expected: spec.to_string() });
        }
        sort(&mut inputs, &mut positions);
        let rows = rows(signature, &inputs)?;
        Ok(Self { inputs, outputs: (0..signature.outputs.len()).collect(), rows, deadline: None, asked: None })
    }

    /// Asks for these outputs only, in this order; none asks for all.
    ///
    /// Fails when an output is unknown or asked for twice.
    pub fn with_outputs(
        mut self,
        signature: &Signature,
        names: impl IntoIterator<Item: AsRef<str>>,
    ) -> Result<Self, InvalidRequest> {
        let mut outputs = Positions::new();
        for name in names {
            let name = name.as_ref();
            let Some(position) = signature.output(name) else {
                return Err(InvalidRequest::UnknownOutput { name: name.into(), expected: list(&signature.outputs) });
            };
            if outputs.contains(&position) {
                return Err(InvalidRequest::DuplicateOutput { name: name.into() });
            }
            outputs.push(position);
        }
        if !outputs.is_empty() {
            self.outputs = outputs;
        }
        Ok(self)
    }

    /// Gives up at `deadline` if the run has not begun by then.
    #[must_use]
    pub const fn with_deadline(mut self, deadline: Option<Instant>) -> Self {
        self.deadline = deadline;
        self
    }

    /// Asks for the story of its run, in which `mark` stands for this request: it will stand in `told`.
    #[must_use]
    pub fn with_story(mut self, mark: Option<Mark>, told: Told) -> Self {
        self.asked = Some(Box::new(Asked { mark, road: Road::default(), told }));
        self
    }

    /// What it takes along if it asks for its story.
    pub(crate) fn asked(&self) -> Option<&Asked> {
        self.asked.as_deref()
    }

    /// Notes the road that it takes.
    pub(crate) fn takes(&mut self, road: Road) {
        if let Some(asked) = &mut self.asked {
            asked.road = road;
        }
    }

    /// The inputs in the signature's order.
    #[must_use]
    pub fn inputs(&self) -> &[Tensor] {
        &self.inputs
    }

    /// The positions of the outputs asked for, in the order asked.
    #[must_use]
    pub fn outputs(&self) -> &[usize] {
        &self.outputs
    }

    /// The rows of every input where axis 0 is the batch axis, else 1.
    #[must_use]
    pub const fn rows(&self) -> usize {
        self.rows
    }

    /// The elements of one row, over all inputs; of texts, their bytes.
    #[must_use]
    pub fn row_elements(&self) -> usize {
        let size = |tensor: &Tensor| match tensor.data() {
            // What a text costs depends on its length.
            Data::Bytes(all) => all.iter().map(|text| text.len().max(1)).sum(),
            data => data.len(),
        };
        self.inputs.iter().map(size).sum::<usize>() / self.rows.max(1)
    }

    /// When the caller stops waiting.
    #[must_use]
    pub const fn deadline(&self) -> Option<Instant> {
        self.deadline
    }
}

/// The position of the input of that name, if the tensor is fit for it.
fn place(signature: &Signature, name: &str, tensor: &Tensor) -> Result<usize, InvalidRequest> {
    let position = signature.input(name);
    let Some((position, spec)) = position.and_then(|at| Some((at, signature.inputs.get(at)?))) else {
        return Err(InvalidRequest::UnknownInput { name: name.into(), expected: list(&signature.inputs) });
    };
    if tensor.data_type() != spec.data_type || !spec.accepts(tensor.shape()) {
        let found = format!("{} {}", tensor.data_type(), tensor.shape());
        return Err(InvalidRequest::WrongInput { name: name.into(), expected: spec.to_string(), found });
    }
    if nothings(tensor.shape()) > MOST_NOTHINGS {
        return Err(InvalidRequest::TooHollow { name: name.into(), found: tensor.shape().to_string() });
    }
    Ok(position)
}

/// Sorts `tensors` by their positions, which are all from 0 on. Nearly always they stand in order already.
fn sort(tensors: &mut [Tensor], positions: &mut [usize]) {
    for at in 0..positions.len() {
        while let Some(&wanted) = positions.get(at).filter(|position| **position != at) {
            tensors.swap(at, wanted);
            positions.swap(at, wanted);
        }
    }
}

/// How many empty rows a tensor without elements has.
fn nothings(shape: &Shape) -> usize {
    if !shape.dims().contains(&0) {
        return 0;
    }
    shape.dims().iter().take_while(|dim| **dim != 0).fold(1_usize, |product, dim| product.saturating_mul(*dim))
}

fn rows(signature: &Signature, inputs: &[Tensor]) -> Result<usize, InvalidRequest> {
    if !signature.batch_axis {
        return Ok(1);
    }
    let mut named = signature.inputs.iter().zip(inputs);
    let Some((first, tensor)) = named.next() else { return Ok(1) };
    let rows = tensor.shape().rows().unwrap_or(1);
    for (spec, tensor) in named {
        let found = tensor.shape().rows().unwrap_or(1);
        if found != rows {
            return Err(InvalidRequest::UnequalRows {
                first: first.name.to_string(),
                rows,
                other: spec.name.to_string(),
                found,
            });
        }
    }
    Ok(rows)
}

/// The answer to one request.
#[derive(Clone, Debug)]
pub struct Response {
    /// The model version that answered.
    pub model: ModelId,
    /// The outputs asked for, in the order asked.
    pub outputs: Vec<(Arc<str>, Tensor)>,
    /// Where the time went.
    pub timings: Timings,
}

impl Response {
    /// The output of that name.
    #[must_use]
    pub fn output(&self, name: &str) -> Option<&Tensor> {
        self.outputs.iter().find(|(output, _)| &**output == name).map(|(_, tensor)| tensor)
    }
}

/// Where the time of one request went.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Timings {
    /// When it came: it was queued, or looked for others to run with, or its run began at once.
    pub came: Option<Instant>,
    /// From being queued to the start of its batch.
    pub queue: Duration,
    /// Joining the batch's inputs, running it, and taking the outputs apart.
    pub compute: Duration,
    /// The rows of the batch it was in, its own included.
    pub batch_rows: usize,
}

impl From<InvalidRequest> for Error {
    fn from(error: InvalidRequest) -> Self {
        Self::InvalidRequest(error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{DataType, Dim, TensorSpec};

    fn signature() -> Signature {
        let spec = |name| TensorSpec::new(name, DataType::Fp32, Some(vec![Dim::Free, Dim::Fixed(2)]));
        Signature { inputs: vec![spec("a"), spec("b")], outputs: vec![spec("y"), spec("z")], batch_axis: true }
    }

    fn tensor(rows: usize) -> Tensor {
        Tensor::from_elements([rows, 2], vec![0_f32; rows * 2]).unwrap()
    }

    fn refusal(tensors: Vec<(&str, Tensor)>) -> String {
        Request::new(&signature(), tensors).unwrap_err().to_string()
    }

    #[test]
    fn inputs_stand_in_the_order_of_the_signature() {
        let request = Request::new(&signature(), vec![("b", tensor(3)), ("a", tensor(3))]).unwrap();
        assert_eq!((request.inputs().len(), request.rows(), request.outputs()), (2, 3, &[0, 1][..]));
    }

    #[test]
    fn a_refusal_names_the_tensor_the_expectation_and_the_finding() {
        let ints = Tensor::from_elements([1, 2], vec![1_i64, 2]).unwrap();
        let cases = [
            (vec![("a", tensor(1))], "input `b` is missing: expected FP32 [-1,2]"),
            (vec![("a", tensor(1)), ("b", ints)], "input `b`: expected FP32 [-1,2], got INT64 [1,2]"),
            (vec![("a", tensor(1)), ("a", tensor(1))], "input `a` is given twice"),
            (vec![("a", tensor(1)), ("b", tensor(2))], "inputs differ in rows: `a` has 1, `b` has 2"),
            (vec![("c", tensor(1))], "unknown input `c`: the model takes `a` FP32 [-1,2], `b` FP32 [-1,2]"),
        ];
        for (tensors, expected) in cases {
            assert_eq!(refusal(tensors), expected);
        }
    }

    #[test]
    fn countless_rows_of_nothing_are_refused() {
        let free = TensorSpec::new("x", DataType::Fp32, None);
        let signature = Signature { inputs: vec![free], outputs: vec![], batch_axis: false };
        let ask = |shape: Vec<usize>| {
            let tensor = Tensor::from_elements(shape, Vec::<f32>::new()).unwrap();
            Request::new(&signature, vec![("x", tensor)])
        };
        assert!(ask(vec![1 << 40, 0]).unwrap_err().to_string().contains("[1099511627776,0]"));
        assert!(ask(vec![0, 1 << 40]).is_ok() && ask(vec![100, 0, 3]).is_ok());
    }

    #[test]
    fn outputs_are_chosen_once_each_and_by_name() {
        let request = || Request::new(&signature(), vec![("a", tensor(1)), ("b", tensor(1))]).unwrap();
        assert_eq!(request().with_outputs(&signature(), ["z"]).unwrap().outputs(), [1]);
        assert_eq!(request().with_outputs(&signature(), [] as [&str; 0]).unwrap().outputs(), [0, 1]);
        assert!(request().with_outputs(&signature(), ["z", "z"]).is_err());
        assert!(request().with_outputs(&signature(), ["q"]).is_err());
    }
}
