//! Runs in a real ONNX Runtime, found or fetched as the command does it, on the sample models.

use std::path::{Path, PathBuf};

use ort::memory::MemoryInfo;

use super::*;
use crate::runtime::{Dirs, ensure};

fn runtime() -> Runtime {
    Runtime::start(&ensure(None, &Dirs::from_process(), |_| {}).unwrap().path).unwrap()
}

/// What describes the CPU's own memory.
pub(super) fn memory() -> MemoryInfo<'static> {
    runtime();
    MemoryInfo::default()
}

fn sample(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("models").join(name).join("1/model.onnx")
}

fn options(device: Device) -> SessionOptions {
    SessionOptions { instances: 2, ..SessionOptions::plain(device) }
}

/// The same model with plain runs, and with runs through a binding of the CPU's own memory.
fn both(name: &str) -> [OnnxBackend; 2] {
    let (runtime, options) = (runtime(), options(Device::Cpu));
    let labels = ["setosa", "versicolor", "virginica"].map(String::from).to_vec();
    let facts =
        ModelFacts { zipmap_labels: HashMap::from([("probabilities".to_owned(), labels)]), unranked: HashSet::new() };
    let plain = OnnxBackend::open(&runtime, &sample(name), &options, &facts).unwrap().0;
    let (session, _) = session::place(&runtime, &sample(name), &options).unwrap();
    let pinned = Pinned::new(&session, MemoryInfo::default()).unwrap();
    [plain, OnnxBackend::of(&session, Some(pinned), &options, &facts).unwrap()]
}

/// Rows of numbers that differ from `seed` to `seed`.
fn rows(count: usize, width: usize, seed: usize) -> Tensor {
    let element = |at: usize| f32::from(u8::try_from((at * 7 + seed * 31) % 16).unwrap());
    Tensor::from_elements([count, width], (0..count * width).map(element).collect::<Vec<_>>()).unwrap()
}

#[test]
fn a_bound_run_gives_what_a_plain_one_gives_from_many_threads_at_once() {
    let [plain, bound] = both("digits");
    let width = 64;
    // 300 rows are copied into the memory that the device reads, one is not.
    let cases: Vec<_> = [1, 300, 3].into_iter().zip(0..).map(|(count, seed)| rows(count, width, seed)).collect();
    let all: Vec<usize> = (0..plain.signature.outputs.len()).collect();
    let run = |backend: &OnnxBackend, case: &Tensor| backend.run(&[case], &all, None).unwrap();
    let expected: Vec<_> = cases.iter().map(|case| run(&plain, case)).collect();
    std::thread::scope(|scope| {
        for first in 0..4 {
            let (cases, expected, bound) = (&cases, &expected, &bound);
            scope.spawn(move || {
                for step in first..first + 100 {
                    let at = step % cases.len();
                    assert_eq!(run(bound, &cases[at]), expected[at]);
                }
            });
        }
    });
}

#[test]
fn a_bound_run_gives_texts_sequences_and_the_outputs_asked_for_in_their_order() {
    let [plain, bound] = both("iris");
    let case = rows(2, 4, 5);
    for outputs in [&[0, 1][..], &[1, 0], &[1]] {
        let run = |backend: &OnnxBackend| backend.run(&[&case], outputs, None).unwrap();
        assert_eq!(run(&bound), run(&plain), "{outputs:?}");
    }
}

#[test]
fn requests_joined_in_the_memory_of_a_device_give_what_they_give_joined_elsewhere() {
    let [plain, bound] = both("digits");
    let all: Vec<usize> = (0..plain.signature.outputs.len()).collect();
    // 500 rows are joined where the device reads them, six are not.
    for counts in [[1, 2, 3], [200, 1, 299]] {
        let parts: Vec<_> = counts.into_iter().zip(0..).map(|(count, seed)| rows(count, 64, seed)).collect();
        let columns = [parts.iter().collect::<Vec<_>>()];
        assert!(plain.join(&columns).is_none());
        let whole = plain.run(&[&Tensor::concat(&columns[0]).unwrap()], &all, None).unwrap();
        let joined = || bound.join(&columns).unwrap();
        let (run, other) = (joined(), joined());
        let found = run(&all, None).unwrap();
        drop(other);
        let stop = Stop::default();
        stop.now();
        assert_eq!(joined()(&all, Some(&stop)), Err(RunError::Stopped));
        assert_eq!(found, whole);
    }
}

#[test]
fn what_a_joined_run_gave_is_there_when_its_session_is_gone() {
    let [plain, bound] = both("digits");
    let case = rows(3000, 64, 1);
    let found = bound.join(&[vec![&case]]).unwrap()(&[0], None).unwrap();
    drop(bound);
    assert_eq!(found, plain.run(&[&case], &[0], None).unwrap());
}

#[test]
fn texts_and_outputs_that_are_no_numbers_come_out_of_joined_runs_too() {
    let [plain, bound] = both("iris");
    let (first, second) = (rows(2, 4, 5), rows(1, 4, 6));
    let whole = Tensor::concat(&[&first, &second]).unwrap();
    for outputs in [&[0, 1][..], &[1, 0]] {
        let run = bound.join(&[vec![&first, &second]]).unwrap();
        assert_eq!(run(outputs, None).unwrap(), plain.run(&[&whole], outputs, None).unwrap(), "{outputs:?}");
    }
    assert!(bound.join(&[vec![&first, &rows(1, 5, 0)]]).is_none(), "rows of other shapes");
}

#[test]
fn large_tensors_of_any_type_are_joined_in_the_memory_of_a_device_byte_by_byte() {
    const ROWS: usize = 1 << 15;
    runtime();
    let (session, _) = session::place(&runtime(), &sample("digits"), &options(Device::Cpu)).unwrap();
    let pinned = Pinned::new(&session, MemoryInfo::default()).unwrap();
    fn tensor<T: crate::Element>(of: impl Fn(u8) -> T, seed: usize) -> Tensor {
        let elements: Vec<T> = (0..ROWS * 2).map(|at| of(u8::try_from((at * 7 + seed) % 120).unwrap())).collect();
        Tensor::from_elements([ROWS, 2], elements).unwrap()
    }
    let both = |seed| {
        [
            tensor(|x| x % 2 == 0, seed),
            tensor(|x| x, seed),
            tensor(u16::from, seed),
            tensor(u32::from, seed),
            tensor(u64::from, seed),
            tensor(|x| i8::try_from(x).unwrap(), seed),
            tensor(i16::from, seed),
            tensor(i32::from, seed),
            tensor(i64::from, seed),
            tensor(half::f16::from, seed),
            tensor(half::bf16::from, seed),
            tensor(f32::from, seed),
            tensor(f64::from, seed),
        ]
    };
    for (first, second) in both(0).iter().zip(&both(5)) {
        let parts = [first, second];
        let shape = Tensor::joined_shape(&parts).unwrap();
        let joined = pinned.joined(&parts, &shape).unwrap().unwrap();
        let spec = TensorSpec::new("x", first.data_type(), None);
        let whole = Tensor::concat(&parts).unwrap();
        assert_eq!(values::tensor(&joined, &spec).unwrap(), whole);
        assert_eq!(values::lent(joined, &spec).unwrap(), whole);
    }
    let short = rows(1, 64, 0);
    assert!(pinned.joined(&[&short], short.shape()).unwrap().is_none());
    let texts = Tensor::from_elements([1 << 17], vec![Vec::<u8>::new(); 1 << 17]).unwrap();
    assert!(pinned.joined(&[&texts], texts.shape()).unwrap().is_none());
}

#[test]
fn a_bound_run_that_was_stopped_does_not_begin() {
    let [_, bound] = both("digits");
    let stop = Stop::default();
    stop.now();
    assert_eq!(bound.run(&[&rows(1, 64, 0)], &[0], Some(&stop)), Err(RunError::Stopped));
}

#[test]
fn cuda_that_is_not_there_is_an_error() {
    let error = OnnxBackend::open(&runtime(), &sample("digits"), &options(Device::Cuda(9)), &ModelFacts::default());
    assert!(error.unwrap_err().to_lowercase().contains("cuda"));
}

#[test]
fn a_run_leaves_its_memory_for_the_next_until_the_model_rests() {
    let options = SessionOptions { arena: true, memory_pattern: Some(true), ..options(Device::Cpu) };
    let facts = ModelFacts::default();
    let [plain, _] = both("digits");
    let (kept, _) = OnnxBackend::open(&runtime(), &sample("digits"), &options, &facts).unwrap();
    let all: Vec<usize> = (0..kept.signature.outputs.len()).collect();
    for count in [1, 2000, 3, 2000] {
        let case = rows(count, 64, count);
        assert_eq!(kept.run(&[&case], &all, None).unwrap(), plain.run(&[&case], &all, None).unwrap());
        kept.rest();
    }
}
