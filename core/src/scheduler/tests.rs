//! Batching never changes an answer: whatever stands together in the queue, every caller gets what it would get alone.

use std::future::Future;
use std::sync::mpsc;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use prometheus::Registry;
use proptest::prelude::*;
use tokio::runtime;

use crate::backend::{Backend, RunError, Stop};
use crate::metrics::Metrics;
use crate::model::{Model, Parts, Retired, Slots, Status, Tuning};
use crate::{DataType, Dim, Error, Kind, ModelId, ModelName, Request, Response, Signature, Tensor, TensorSpec};

/// An element that makes the fake backend fail, whoever shares the run.
const POISON: i64 = i64::MIN;
/// An element that makes it panic.
const BOMB: i64 = i64::MAX;

/// Gives `sum`, the sum of each row, and `twice`, each element doubled; waits at its gate before each run.
#[derive(Debug)]
struct Gated {
    signature: Signature,
    mixes_rows: bool,
    gate: Mutex<mpsc::Receiver<()>>,
}

impl Backend for Gated {
    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn run(&self, inputs: &[&Tensor], outputs: &[usize], _: Option<&Stop>) -> Result<Vec<Tensor>, RunError> {
        // An error means that the gate stands open for good.
        let _ = self.gate.lock().unwrap_or_else(std::sync::PoisonError::into_inner).recv();
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
}

fn signature() -> Signature {
    let spec = |name, dims| TensorSpec::new(name, DataType::Int64, Some(dims));
    Signature {
        inputs: vec![spec("x", vec![Dim::Free, Dim::Free])],
        outputs: vec![spec("sum", vec![Dim::Free]), spec("twice", vec![Dim::Free, Dim::Free])],
        batch_axis: true,
    }
}

struct Started {
    model: Arc<Model>,
    gate: mpsc::Sender<()>,
    retired: Arc<Retired>,
    registry: Registry,
}

fn start(instances: usize, max_batch_rows: usize, queue_capacity: usize) -> Started {
    start_with(instances, max_batch_rows, queue_capacity, true, false)
}

fn start_with(
    instances: usize,
    max_batch_rows: usize,
    queue_capacity: usize,
    trusted: bool,
    mixes_rows: bool,
) -> Started {
    let (gate, receiver) = mpsc::channel();
    let receiver = Mutex::new(receiver);
    let backend = Gated { signature: signature(), mixes_rows, gate: receiver };
    let parts = Parts {
        id: ModelId { name: ModelName::new("fake").unwrap(), version: 1 },
        signature: signature(),
        backend: Arc::new(backend),
        status: Status { max_batch_rows, instances, ..Status::default() },
        queue_capacity,
        tuning: Tuning { fixed: true, trusted, inline: Some(false), ..Tuning::default() },
        slots: Arc::new(Slots::new(instances)),
    };
    let registry = Registry::new();
    let (metrics, retired) = (Metrics::new(&registry).unwrap(), Arc::default());
    Started { model: Arc::new(Model::start(parts, &metrics, &retired).unwrap()), gate, retired, registry }
}

/// One caller.
#[derive(Clone, Debug)]
struct Call {
    rows: usize,
    width: usize,
    first: i64,
    outputs: Vec<&'static str>,
    poison: bool,
    bomb: bool,
    leaves: bool,
    late: bool,
}

impl Call {
    fn elements(&self) -> Vec<i64> {
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

    fn request(&self) -> Request {
        let x = Tensor::from_elements([self.rows, self.width], self.elements()).unwrap();
        let request = Request::new(&signature(), vec![("x".into(), x)]).unwrap();
        let request = request.with_outputs(&signature(), &self.outputs).unwrap();
        request.with_deadline(self.late.then(Instant::now))
    }

    /// What it must get, worked out without any scheduler.
    fn expected(&self) -> Result<Vec<(&'static str, Vec<i64>)>, Kind> {
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

fn given(answer: Result<Response, Error>) -> Result<Vec<(String, Vec<i64>)>, Kind> {
    let response = answer.map_err(|error| error.kind())?;
    let plain = |(name, tensor): &(Arc<str>, Tensor)| (name.to_string(), tensor.elements::<i64>().unwrap().to_vec());
    Ok(response.outputs.iter().map(plain).collect())
}

fn call() -> impl Strategy<Value = Call> {
    let outputs = prop_oneof![Just(vec![]), Just(vec!["sum"]), Just(vec!["twice"]), Just(vec!["twice", "sum"])];
    (0..4_usize, 1..3_usize, -1000..1000_i64, outputs, 0..20_u8).prop_map(|(rows, width, first, outputs, fate)| Call {
        rows,
        width,
        first,
        outputs,
        poison: fate == 0,
        bomb: fate == 1,
        leaves: fate == 2,
        late: fate == 3,
    })
}

fn on_one_thread<T>(future: impl Future<Output = T>) -> T {
    runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn any_interleaving_gives_the_answers_of_one_by_one(
        calls in prop::collection::vec(call(), 1..40),
        instances in 1..4_usize,
        max_rows in 1..9_usize,
        trusted in any::<bool>(),
    ) {
        let hook = std::panic::take_hook();
        std::panic::set_hook(Box::new(|_| {}));
        let Started { model, gate, retired, .. } = start_with(instances, max_rows, 1000, trusted, false);
        let answers = on_one_thread(async {
            let asked: Vec<_> = calls
                .iter()
                .map(|call| {
                    let (model, request) = (Arc::clone(&model), call.request());
                    tokio::spawn(async move { model.infer(request).await })
                })
                .collect();
            // Every request is queued before the gate opens, so that batches form.
            tokio::task::yield_now().await;
            for (task, call) in asked.iter().zip(&calls) {
                if call.leaves {
                    task.abort();
                }
            }
            tokio::task::yield_now().await;
            drop(gate);
            let mut answers = Vec::new();
            for task in asked {
                answers.push(task.await.ok());
            }
            answers
        });
        drop(model);
        prop_assert!(retired.join(Duration::from_secs(60)), "an instance hangs");
        std::panic::set_hook(hook);
        for (call, answer) in calls.iter().zip(answers) {
            let Some(answer) = answer else { prop_assert!(call.leaves); continue };
            let expected = call.expected().map(|all| all.into_iter().map(|(name, x)| (name.to_string(), x)).collect::<Vec<_>>());
            prop_assert_eq!(given(answer), expected, "{:?}", call);
        }
    }
}

fn plain(first: i64) -> Call {
    Call { rows: 1, width: 2, first, outputs: vec![], poison: false, bomb: false, leaves: false, late: false }
}

#[test]
fn requests_that_wait_together_run_together() {
    let Started { model, gate, registry, .. } = start(1, 8, 100);
    let batches = on_one_thread(async {
        let asked: Vec<_> = (0..9)
            .map(|first| {
                let (model, request) = (Arc::clone(&model), plain(first).request());
                tokio::spawn(async move { model.infer(request).await.unwrap().timings.batch_rows })
            })
            .collect();
        tokio::task::yield_now().await;
        drop(gate);
        let mut batches = Vec::new();
        for task in asked {
            batches.push(task.await.unwrap());
        }
        batches
    });
    // The instance may have taken any number of the first requests before the others were queued.
    assert!(batches.iter().any(|rows| *rows > 1), "{batches:?}");
    let all = model.statistics().snapshot();
    assert_eq!((all.rows, all.success.count), (9, 9));
    assert!(all.executions < 9);
    let metrics = registry.gather();
    let rows = metrics.iter().find(|family| family.name() == "hedef_rows_total").unwrap();
    assert_eq!(rows.get_metric()[0].get_counter().get_value(), 9.0);
}

#[test]
fn a_full_queue_refuses_at_once() {
    let Started { model, gate, .. } = start(1, 1, 2);
    on_one_thread(async {
        let ask = |first| {
            let (model, request) = (Arc::clone(&model), plain(first).request());
            tokio::spawn(async move { model.infer(request).await })
        };
        // One is taken by the instance, two wait, so one of four is refused, whichever comes last.
        let asked: Vec<_> = (0..8).map(ask).collect();
        tokio::task::yield_now().await;
        drop(gate);
        let mut refused = 0;
        for task in asked {
            refused += usize::from(task.await.unwrap().is_err_and(|error| error.kind() == Kind::ResourceExhausted));
        }
        assert!((1..=6).contains(&refused), "{refused}");
    });
}

#[test]
fn a_model_that_is_dropped_answers_what_waits() {
    let Started { model, gate, retired, .. } = start(1, 1, 10);
    let answers = on_one_thread(async {
        let asked: Vec<_> = (0..5)
            .map(|first| {
                let (model, request) = (Arc::clone(&model), plain(first).request());
                tokio::spawn(async move { model.infer(request).await })
            })
            .collect();
        tokio::task::yield_now().await;
        drop(model);
        drop(gate);
        let mut answers = 0;
        for task in asked {
            answers += usize::from(task.await.unwrap().is_ok());
        }
        answers
    });
    assert_eq!(answers, 5);
    assert!(retired.join(Duration::from_secs(60)));
}

#[test]
fn a_model_that_mixes_rows_is_found_out_before_it_answers_wrongly() {
    let Started { model, gate, .. } = start_with(1, 8, 100, false, true);
    on_one_thread(async {
        let asked: Vec<_> = (0..40)
            .map(|first| {
                let (model, request) = (Arc::clone(&model), plain(first).request());
                tokio::spawn(async move { given(model.infer(request).await).unwrap() })
            })
            .collect();
        tokio::task::yield_now().await;
        drop(gate);
        for (first, task) in (0..).zip(asked) {
            // Alone, a row's sum is counted twice: once as the row's, once as that of all rows.
            assert_eq!(task.await.unwrap()[0].1, [2 * (first + first + 1)]);
        }
    });
}
