//! With instances on threads of their own, held up by a gate.

use std::future::Future;
use std::sync::mpsc;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use prometheus::Registry;
use proptest::prelude::*;
use tokio::runtime;

use super::fake::{Call, fake, given, parts, quiet};
use crate::Kind;
use crate::metrics::Metrics;
use crate::model::{Model, Retired, Tuning};

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
    let (gate, receiver) = mpsc::channel::<()>();
    let receiver = Mutex::new(receiver);
    // An error means that the gate stands open for good.
    let during = move || {
        let _ = receiver.lock().unwrap_or_else(PoisonError::into_inner).recv();
    };
    let mut parts = parts(instances, max_batch_rows, queue_capacity, Tuning { trusted, ..Tuning::default() });
    parts.backend = fake(mixes_rows, Box::new(during));
    let registry = Registry::new();
    let (metrics, retired) = (Metrics::new(&registry).unwrap(), Arc::default());
    Started { model: Arc::new(Model::start(parts, &metrics, &retired).unwrap()), gate, retired, registry }
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
        quiet();
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
        for (call, answer) in calls.iter().zip(answers) {
            let Some(answer) = answer else { prop_assert!(call.leaves); continue };
            let expected = call.expected().map(|all| all.into_iter().map(|(name, x)| (name.to_string(), x)).collect::<Vec<_>>());
            prop_assert_eq!(given(answer), expected, "{:?}", call);
        }
    }
}

#[test]
fn requests_that_wait_together_run_together() {
    let Started { model, gate, registry, .. } = start(1, 8, 100);
    let batches = on_one_thread(async {
        let asked: Vec<_> = (0..9)
            .map(|first| {
                let (model, request) = (Arc::clone(&model), Call::plain(first).request());
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
            let (model, request) = (Arc::clone(&model), Call::plain(first).request());
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
                let (model, request) = (Arc::clone(&model), Call::plain(first).request());
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
                let (model, request) = (Arc::clone(&model), Call::plain(first).request());
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
