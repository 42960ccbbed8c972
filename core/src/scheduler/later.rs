//! Trials of a model that serves already.
//!
//! A ResNet's trial runs take half a second, far longer than loading it. So a model whose runs are slow is ready after
//! one of them; until the trials are over, its requests run one by one.

use std::fmt;
use std::time::Duration;

use super::Shared;
use crate::backend::{Backend, RunError, Stop};
use crate::model::Status;
use crate::{Signature, Tensor};

/// What is left to be tried of a model when it begins to serve.
pub struct Later {
    /// The most rows in one run, should the trials allow any company.
    pub max_batch_rows: usize,
    /// Makes the trials.
    pub trials: Box<dyn FnOnce(&Trial<'_>) -> Judged + Send>,
}

/// What the trials showed.
#[derive(Clone, Debug, Default)]
pub struct Judged {
    /// Whether axis 0 is the batch axis.
    pub batch_axis: bool,
    /// Why, or why not.
    pub reason: String,
    /// The elements of a row in the trial runs.
    pub row_elements: usize,
    /// Trial runs: their rows, and how long each took.
    pub trials: Vec<(usize, Duration)>,
}

/// What is true of a model once its trials are over.
#[derive(Debug)]
pub(crate) struct Settled {
    pub(crate) signature: Signature,
    pub(crate) status: Status,
}

/// The backend of a model that serves, for trials between its requests' runs.
#[derive(Debug)]
pub struct Trial<'a>(&'a Shared);

impl Trial<'_> {
    /// Whether the model is being unloaded, so that nobody waits for the outcome any more.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.0.queue.is_closed()
    }

    /// Does `runs` as one run among others: they are timed, and waiting for a turn must not count.
    pub(crate) fn in_one_turn<T>(&self, runs: impl FnOnce(&dyn Backend) -> T) -> T {
        let _threads = self.0.share.take(self.0.threads);
        runs(&*self.0.backend)
    }
}

impl Backend for Trial<'_> {
    fn signature(&self) -> &Signature {
        self.0.backend.signature()
    }

    fn run(&self, inputs: &[&Tensor], outputs: &[usize], stop: Option<&Stop>) -> Result<Vec<Tensor>, RunError> {
        if self.is_over() {
            return Err(RunError::Stopped);
        }
        self.in_one_turn(|backend| backend.run(inputs, outputs, stop))
    }
}

impl Shared {
    /// Makes the trials on this thread, and lets requests share runs if they allow it.
    pub(crate) fn try_out(&self, later: Later, status: &Status) {
        let judged = (later.trials)(&Trial(self));
        let signature = Signature { batch_axis: judged.batch_axis, ..self.signature.clone() };
        let max_batch_rows = if judged.batch_axis { later.max_batch_rows } else { 0 };
        let status = Status { max_batch_rows, batching_reason: judged.reason, ..status.clone() };
        if !self.queue.is_closed() {
            let (rows, reason) = (status.max_batch_rows, &status.batching_reason);
            tracing::info!(model = %self.id, batch.rows = rows, batch.reason = reason, "the model has been tried out");
        }
        self.tuner.learn(judged.row_elements, &judged.trials);
        // Requests read after this count rows, so it comes before they may share runs.
        let _ = self.settled.set(Settled { signature, status });
        self.doubt.close(judged.batch_axis);
    }
}

impl fmt::Debug for Later {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Later").field("max_batch_rows", &self.max_batch_rows).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, mpsc};

    use prometheus::Registry;

    use super::*;
    use crate::metrics::Metrics;
    use crate::model::{Parts, Slots, Tuning};
    use crate::{DataType, Dim, Model, ModelId, ModelName, TensorSpec};

    #[derive(Debug)]
    struct Echo(Signature);

    impl Backend for Echo {
        fn signature(&self) -> &Signature {
            &self.0
        }

        fn run(&self, inputs: &[&Tensor], _: &[usize], _: Option<&Stop>) -> Result<Vec<Tensor>, RunError> {
            Ok(inputs.iter().map(|tensor| (*tensor).clone()).collect())
        }
    }

    #[test]
    fn a_model_serves_while_it_is_tried_out_and_is_unloaded_in_the_middle_of_it() {
        let spec = TensorSpec::new("x", DataType::Int64, Some(vec![Dim::Free]));
        let signature = Signature { inputs: vec![spec.clone()], outputs: vec![spec], batch_axis: false };
        let (go, wait) = mpsc::channel::<()>();
        let (ended, end) = mpsc::channel();
        let start = |trials| {
            let parts = Parts {
                id: ModelId { name: ModelName::new("m").unwrap(), version: 1 },
                signature: signature.clone(),
                backend: Arc::new(Echo(signature.clone())),
                status: Status { batching_reason: "not tried yet".into(), instances: 1, ..Status::default() },
                queue_capacity: 8,
                tuning: Tuning::default(),
                slots: Arc::new(Slots::new(1)),
                later: Some(Later { max_batch_rows: 16, trials }),
                image: None,
            };
            let retired = Arc::default();
            (Model::start(parts, &Metrics::new(&Registry::new()).unwrap(), &retired).unwrap(), retired)
        };
        let independent = Judged { batch_axis: true, reason: "tried".into(), ..Judged::default() };
        let (model, retired) = start(Box::new(move |_| {
            wait.recv().unwrap();
            independent
        }));
        let found = (model.signature().batch_axis, model.status().max_batch_rows, &*model.status().batching_reason);
        assert_eq!(found, (false, 0, "not tried yet"));
        go.send(()).unwrap();
        while model.status().max_batch_rows == 0 {
            std::thread::yield_now();
        }
        assert!(model.signature().batch_axis && model.status().batching_reason == "tried");
        drop(model);
        assert!(retired.join(Duration::from_secs(60)));

        let (go, wait) = mpsc::channel::<()>();
        let (model, retired) = start(Box::new(move |trial: &Trial<'_>| {
            wait.recv().unwrap();
            let row = Tensor::from_elements([1], vec![1_i64]).unwrap();
            ended.send((trial.is_over(), trial.run(&[&row], &[0], None).is_err())).unwrap();
            Judged::default()
        }));
        drop(model);
        go.send(()).unwrap();
        assert_eq!(end.recv().unwrap(), (true, true), "it is over, and refuses to run");
        assert!(retired.join(Duration::from_secs(60)));
    }
}
