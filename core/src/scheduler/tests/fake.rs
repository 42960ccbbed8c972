//! A backend that needs no runtime, and calls whose answers are known.

use std::sync::{Arc, Once};
use std::time::Instant;

use prometheus::Registry;

use crate::backend::{Backend, Joined, RunError, Stop};
use crate::metrics::Metrics;
use crate::model::{Padding, Parts, Slots, Status, Tuning};
use crate::{DataType, Dim, Error, Kind, ModelId, ModelName, Request, Response, Signature, Tensor, TensorSpec};

/// An element that makes the fake backend fail, whoever shares the run.
const POISON: i64 = i64::MIN;
/// An element that makes it panic.
const BOMB: i64 = i64::MAX;

/// What happens while a run is under way.
pub(super) type During = Box<dyn Fn() + Send + Sync>;

/// Gives `sum`, the sum of each row, and `twice`, each element doubled.
pub(super) struct Fake {
    signature: Signature,
    mixes_rows: bool,
    /// Whether it joins inputs itself.
    joins: bool,
    during: During,
}

impl std::fmt::Debug for Fake {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Fake")
    }
}

impl Backend for Fake {
    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn run(&self, inputs: &[&Tensor], outputs: &[usize], stop: Option<&Stop>) -> Result<Vec<Tensor>, RunError> {
        (self.during)();
        if stop.is_some_and(Stop::is_stopped) {
            return Err(RunError::Stopped);
        }
        let x = inputs[0].elements::<i64>().unwrap();
        assert!(!x.contains(&BOMB), "a bomb");
        if x.contains(&POISON) {
            return Err(RunError::Inputs("poison".into()));
        }
        let rows = inputs[0].shape().rows().unwrap();
        let width = inputs[0].shape().dims()[1];
        let sums = (0..rows).map(|row| x[row * width..(row + 1) * width].iter().sum::<i64>()).collect::<Vec<_>>();
        let all = if self.mixes_rows { x.iter().sum::<i64>() } else { 0 };
        let sums: Vec<_> = sums.iter().map(|sum| if self.mixes_rows { sum + all } else { *sum }).collect();
        let give = |output: &usize| match output {
            0 => Tensor::from_elements([rows], Vec::clone(&sums)).unwrap(),
            _ => Tensor::from_elements([rows, width], x.iter().map(|x| x * 2).collect()).unwrap(),
        };
        Ok(outputs.iter().map(give).collect())
    }

    fn join<'b>(&'b self, columns: &[Vec<&Tensor>]) -> Option<Joined<'b>> {
        let joined = columns.iter().map(|parts| Tensor::concat(parts).unwrap()).collect::<Vec<_>>();
        let run: Joined<'b> =
            Box::new(move |outputs, stop| self.run(&joined.iter().collect::<Vec<_>>(), outputs, stop));
        self.joins.then_some(run)
    }
}

pub(super) fn signature() -> Signature {
    let spec = |name, dims| TensorSpec::new(name, DataType::Int64, Some(dims));
    Signature {
        inputs: vec![spec("x", vec![Dim::Free, Dim::Free])],
        outputs: vec![spec("sum", vec![Dim::Free]), spec("twice", vec![Dim::Free, Dim::Free])],
        batch_axis: true,
    }
}

/// The parts of a model that runs the fake.
pub(super) fn parts(instances: usize, max_batch_rows: usize, queue_capacity: usize, tuning: Tuning) -> Parts {
    Parts {
        id: ModelId { name: ModelName::new("fake").unwrap(), version: 1 },
        signature: signature(),
        backend: fake(false, Box::new(|| {})),
        status: Status { max_batch_rows, instances, ..Status::default() },
        queue_capacity,
        tuning: Tuning { fixed: true, inline: Some(false), ..tuning },
        slots: Arc::new(Slots::new(instances)),
        later: None,
        image: None,
    }
}

/// A backend that calls `during` in each run.
pub(super) fn fake(mixes_rows: bool, during: During) -> Arc<dyn Backend> {
    Arc::new(Fake { signature: signature(), mixes_rows, joins: false, during })
}

/// The same, of rows that do not influence one another; it joins inputs itself.
pub(super) fn joining(during: During) -> Arc<dyn Backend> {
    Arc::new(Fake { signature: signature(), mixes_rows: false, joins: true, during })
}

/// Zeros change no sum; `twice` is cut back.
pub(super) fn padding() -> Padding {
    let settings = toml::from_str("axis = 1\ninputs = { x = 0 }\noutputs = [\"twice\"]").unwrap();
    Padding::new(&settings, &signature(), crate::warm_up::element).unwrap()
}

/// Says nothing of panics that are part of a test.
pub(super) fn quiet() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let loud = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            if panic.payload_as_str() != Some("a bomb") {
                loud(panic);
            }
        }));
    });
}

pub(super) fn metrics() -> Metrics {
    Metrics::new(&Registry::new()).unwrap()
}

/// One caller.
#[derive(Clone, Debug)]
pub(super) struct Call {
    pub(super) rows: usize,
    pub(super) width: usize,
    pub(super) first: i64,
    pub(super) outputs: Vec<&'static str>,
    pub(super) poison: bool,
    pub(super) bomb: bool,
    pub(super) leaves: bool,
    pub(super) late: bool,
}

impl Call {
    /// One that asks for one row, and for nothing else.
    pub(super) fn plain(first: i64) -> Self {
        Self { rows: 1, width: 2, first, outputs: vec![], poison: false, bomb: false, leaves: false, late: false }
    }

    pub(super) fn elements(&self) -> Vec<i64> {
        let mut elements: Vec<i64> =
            (0..self.rows * self.width).map(|at| self.first + i64::try_from(at).unwrap()).collect();
        if let Some(last) = elements.last_mut() {
            if self.poison {
                *last = POISON;
            } else if self.bomb {
                *last = BOMB;
            }
        }
        elements
    }

    pub(super) fn request(&self) -> Request {
        let x = Tensor::from_elements([self.rows, self.width], self.elements()).unwrap();
        let request = Request::new(&signature(), vec![("x", x)]).unwrap();
        let request = request.with_outputs(&signature(), &self.outputs).unwrap();
        request.with_deadline(self.late.then(Instant::now))
    }

    /// What it must get, worked out without any scheduler.
    pub(super) fn expected(&self) -> Result<Vec<(&'static str, Vec<i64>)>, Kind> {
        let x = self.elements();
        if self.late {
            return Err(Kind::DeadlineExceeded);
        } else if x.contains(&POISON) {
            return Err(Kind::InvalidArgument);
        } else if x.contains(&BOMB) {
            return Err(Kind::Internal);
        }
        let sums = (0..self.rows)
            .map(|row| x[row * self.width..(row + 1) * self.width].iter().sum::<i64>())
            .collect::<Vec<_>>();
        let twice = x.iter().map(|x| x * 2).collect();
        let all = [("sum", sums), ("twice", twice)];
        let wanted: &[&str] = if self.outputs.is_empty() { &["sum", "twice"] } else { &self.outputs };
        Ok(wanted.iter().map(|name| all.iter().find(|(output, _)| output == name).unwrap().clone()).collect())
    }
}

pub(super) fn given(answer: Result<Response, Error>) -> Result<Vec<(String, Vec<i64>)>, Kind> {
    let response = answer.map_err(|error| error.kind())?;
    let plain = |(name, tensor): &(Arc<str>, Tensor)| (name.to_string(), tensor.elements::<i64>().unwrap().to_vec());
    Ok(response.outputs.iter().map(plain).collect())
}
