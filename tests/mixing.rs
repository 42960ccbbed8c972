//! Real requests of mixed shapes, whose callers leave now and then, get what each would have got alone.

use std::path::Path;
use std::sync::Arc;

use hedef_core::backend::onnx;
use hedef_core::metrics::Metrics;
use hedef_core::model::Slots;
use hedef_core::repository::{Loads, OnnxLoader, Overrides, Repository};
use hedef_core::runtime::{Dirs, ensure};
use hedef_core::{Model, Request, Response, Tensor};
use prometheus::Registry;

use crate::config;
use crate::models::Models;

/// Requests in all; with the models below, a half or a third of them each.
fn requests() -> usize {
    if config::full() { 100_000 } else { 4_000 }
}

/// Callers at once.
const CALLERS: usize = 64;

/// ONNX Runtime's own tolerance for floats.
const TOLERANCE: f32 = 1e-4;

fn load(root: &Path, name: &str, settings: &str) -> (Repository, Arc<Model>) {
    std::fs::write(root.join(name).join("model.toml"), settings).unwrap();
    let located = ensure(None, &Dirs::from_process(), |_| {}).unwrap();
    let runtime = onnx::Runtime::start(&located.path).unwrap();
    let loader = OnnxLoader {
        runtime,
        slots: Arc::new(Slots::new(2)),
        memory_limit: None,
        processor: String::new(),
        graphs: None,
        loads: Loads::default(),
        patient: true,
    };
    let metrics = Metrics::new(&Registry::new()).unwrap();
    let repository = Repository::new(vec![root.into()], Box::new(loader), metrics);
    repository.load(name, Overrides::default()).unwrap();
    let model = repository.model(name, None).unwrap();
    (repository, model)
}

/// Varied requests: one to three rows, and each of the widths.
fn varied(model: &Model, widths: &[usize]) -> Vec<Request> {
    let mut seed = 1_u32;
    let mut next = move || {
        seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        f32::from(u16::try_from(seed >> 16).unwrap()) / 16384.0 - 2.0
    };
    let mut one = |rows: usize, width: usize| {
        let elements = (0..rows * width).map(|_| next()).collect();
        let tensor = Tensor::from_elements([rows, width], elements).unwrap();
        let name = model.signature().inputs[0].name.to_string();
        Request::new(model.signature(), vec![(name, tensor)]).unwrap()
    };
    (0..300).map(|at| one(1 + at % 3, widths[at % widths.len()])).collect()
}

fn same(found: &Response, expected: &Response) -> bool {
    let near = |(a, b): (&f32, &f32)| (a - b).abs() <= TOLERANCE * a.abs().max(b.abs()).max(1.0);
    let alike = |a: &Tensor, b: &Tensor| match (a.elements::<f32>(), b.elements::<f32>()) {
        (Some(a), Some(b)) => a.len() == b.len() && a.iter().zip(b).all(near),
        _ => a == b,
    };
    found
        .outputs
        .iter()
        .zip(&expected.outputs)
        .all(|(a, b)| a.0 == b.0 && a.1.shape() == b.1.shape() && alike(&a.1, &b.1))
}

/// Sends so many requests; every ninth caller leaves. Returns how many answers were compared and the largest batch.
async fn compare(model: &Arc<Model>, requests: &[Request], expected: &[Response], count: usize) -> (usize, usize) {
    let (mut compared, mut largest) = (0, 0);
    for round in 0..count / CALLERS {
        let asked: Vec<_> = (0..CALLERS)
            .map(|caller| {
                let at = (round * 31 + caller * 7) % requests.len();
                let (model, request) = (Arc::clone(model), requests[at].clone());
                (at, tokio::spawn(async move { model.infer(request).await }))
            })
            .collect();
        tokio::task::yield_now().await;
        for (caller, (_, task)) in asked.iter().enumerate() {
            if (caller + round) % 9 == 0 {
                task.abort();
            }
        }
        for (at, task) in asked {
            let Ok(answer) = task.await else { continue };
            let answer = answer.unwrap();
            assert!(same(&answer, &expected[at]), "request {at}, in a batch of {} rows", answer.timings.batch_rows);
            largest = largest.max(answer.timings.batch_rows);
            compared += 1;
        }
    }
    (compared, largest)
}

#[test]
fn a_hundred_thousand_requests_get_what_they_would_have_got_alone() {
    requests_get_what_they_would_have_got_alone("cpu", requests());
}

/// Compares so many on that device.
pub(crate) fn requests_get_what_they_would_have_got_alone(device: &str, requests: usize) {
    let models = Models::empty();
    models.make("rowwise");
    models.make("rowwise_short");
    let batching = format!("device = \"{device}\"\ninline = false\n[batching]\nmax_rows = 32\n");
    let padding = "[batching.padding]\naxis = 1\ninputs = { x = 0 }\noutputs = [\"y\"]\n";
    let widths: Vec<_> = (1..=24).collect();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let (_alone, alone) =
        load(models.path(), "rowwise", "device = \"cpu\"\ninline = true\n[batching]\nenabled = false\n");
    let expected: Vec<_> =
        varied(&alone, &widths).into_iter().map(|request| runtime.block_on(alone.infer(request)).unwrap()).collect();
    let mut all = vec![("rowwise", batching.clone()), ("rowwise", format!("{batching}{padding}"))];
    if device == "cpu" {
        all.push(("rowwise_short", "[batching]\nmax_rows = 32\n".into()));
    }
    for (name, settings) in &all {
        let (_repository, model) = load(models.path(), name, settings);
        let count = requests / all.len();
        let made = varied(&model, &widths);
        let (compared, largest) = runtime.block_on(compare(&model, &made, &expected, count));
        assert!(compared >= count * 8 / 10 && largest > 6, "{compared} of {count}, at most {largest} rows together");
        assert_eq!(model.report().inline, *name == "rowwise_short", "on the threads that read them");
        println!("{compared} answers compared with unbatched ones, at most {largest} rows in one run");
    }
}
