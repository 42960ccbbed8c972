//! The runs before a model is ready, and the proof that its rows do not influence one another.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use half::{bf16, f16};
use serde::{Deserialize, Serialize};

use crate::backend::Backend;
use crate::settings::{WarmUp, WarmUpValues};
use crate::{Data, DataType, Dim, Shape, ShapeMismatch, Signature, Tensor, TensorSpec};

/// The sizes tried for free dimensions other than the rows, until the model runs: sequences take the first,
/// images often want more.
const FREE_SIZES: [usize; 4] = [8, 1, 32, 224];

/// The smallest whole number of generated inputs, tried in this order. Zero comes last: as a step or a length it ends
/// the process in some of ONNX Runtime's kernels (STFT divides by it), but a table of two rows has no row 2.
const FLOORS: [u8; 2] = [1, 0];

/// How long timing runs may hold up the start of a model.
const TRIALS: Duration = Duration::from_millis(10);

/// Why rows of most models that cannot batch cannot.
pub(crate) const NOT_FREE: &str = "axis 0 is not free in every input and output";

/// The magnitudes of floats that the rows are compared for.
const SCALES: [f32; 2] = [0.0, 30.0];

/// What the warm-up found.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Outcome {
    /// Why generated inputs did not run, if they did not.
    pub(crate) complaint: Option<String>,
    /// Whether rows do not influence one another, and the reason.
    pub(crate) independent_rows: Result<(), String>,
    /// The generated inputs that ran, to time runs with.
    pub(crate) guess: Option<Guess>,
}

/// What the run before a model is ready showed.
#[derive(Clone, Debug)]
pub(crate) struct First {
    /// Why generated inputs did not run, if they did not.
    pub(crate) complaint: Option<String>,
    /// The generated inputs that ran; with inputs from the settings none were tried.
    guess: Option<Guess>,
    /// Whether the settings gave inputs.
    given: bool,
    /// How long the last run took.
    pub(crate) took: Duration,
}

impl First {
    /// What the same graph showed in an earlier process.
    pub(crate) fn earlier(guess: Guess) -> Self {
        Self { complaint: None, guess: Some(guess), given: false, took: Duration::ZERO }
    }
}

/// Runs the model once, on the inputs given in its settings or on generated ones.
///
/// Inputs that the settings give must work. Generated ones may fail: the model may want values that nobody can guess.
/// `known` are generated inputs that ran in an earlier process.
pub(crate) fn first(
    backend: &dyn Backend,
    given: &BTreeMap<String, WarmUp>,
    known: Option<Guess>,
) -> Result<First, String> {
    let signature = backend.signature().clone();
    if let Some(name) = given.keys().find(|name| signature.input(name).is_none()) {
        return Err(format!("warm_up.{name}: the model has no such input"));
    }
    if !given.is_empty() {
        let inputs = signature.inputs.iter().enumerate().map(|(index, spec)| match given.get(&*spec.name) {
            Some(given) => read(given, spec).map_err(|reason| format!("warm_up.{}: {reason}", spec.name)),
            None => Guess { free: 1, floor: 1, scale: 0.0 }
                .generate(&signature, index, 1, 0)
                .map_err(|error| error.to_string()),
        });
        let inputs = inputs.collect::<Result<Vec<_>, _>>()?;
        let started = Instant::now();
        run_all(backend, &inputs).map_err(|error| format!("warm-up with the inputs of model.toml: {error}"))?;
        return Ok(First { complaint: None, guess: None, given: true, took: started.elapsed() });
    }
    Ok(guessed(backend, known))
}

/// Looks for generated inputs that run.
fn guessed(backend: &dyn Backend, known: Option<Guess>) -> First {
    let signature = backend.signature().clone();
    let mut complaint = None;
    let mut took = Duration::ZERO;
    for guess in known.into_iter().chain(guesses(&signature)) {
        let started = Instant::now();
        match guess.request(&signature, 1, 0).and_then(|inputs| run_all(backend, &inputs)) {
            Ok(_) => {
                return First { complaint: None, guess: Some(guess), given: false, took: started.elapsed() };
            }
            Err(error) => complaint = complaint.or(Some(error)),
        }
        took = started.elapsed();
    }
    First { complaint, guess: None, given: false, took }
}

/// The generated inputs that a model which has run takes, if any.
pub(crate) fn guess(backend: &dyn Backend, first: &First) -> Option<Guess> {
    if first.given { guessed(backend, None).guess } else { first.guess }
}

/// Tries whether the rows of a model that has run are independent.
pub(crate) fn judge(backend: &dyn Backend, first: &First) -> Outcome {
    let complaint = first.complaint.clone();
    let Some(guess) = guess(backend, first) else {
        let reason = "generated inputs do not run, so nothing shows that rows are independent".to_owned();
        return Outcome { complaint, independent_rows: Err(reason), guess: None };
    };
    Outcome { complaint, independent_rows: prove(backend, backend.signature(), guess), guess: Some(guess) }
}

/// Tries whether rows influence one another.
///
/// Shapes alone do not tell: an axis 0 of free size may be a sequence, or the model may average over it. So three
/// requests, of one, one and two rows, are run one by one and together: only where the answers agree may requests
/// share a run. This is done for inputs of several magnitudes, since a model may mix rows for some values only, and an
/// output counts only where it is finite and differs from row to row: constants agree whatever the model does.
fn prove(backend: &dyn Backend, signature: &Signature, guess: Guess) -> Result<(), String> {
    if !signature.could_batch() {
        return Err(NOT_FREE.into());
    }
    let mut shown = vec![false; signature.outputs.len()];
    for (step, scale) in SCALES.into_iter().enumerate() {
        let guess = Guess { scale, ..guess };
        compare(backend, signature, guess, u64::try_from(step).unwrap_or(0) * 4, &mut shown)?;
    }
    let float =
        |spec: &TensorSpec| matches!(spec.data_type, DataType::Fp16 | DataType::Bf16 | DataType::Fp32 | DataType::Fp64);
    // A label may well be the same for all made-up rows; then the scores beside it have to differ.
    let only_labels = !signature.outputs.iter().any(float);
    let all = shown.iter().zip(&signature.outputs).all(|(shown, spec)| *shown || !(float(spec) || only_labels));
    if all { Ok(()) } else { Err("an output is the same for all generated rows, which shows nothing".into()) }
}

/// Runs three requests one by one and together, and notes in `shown` which outputs told rows apart.
fn compare(
    backend: &dyn Backend,
    signature: &Signature,
    guess: Guess,
    trial: u64,
    shown: &mut [bool],
) -> Result<(), String> {
    let request = |(rows, step)| guess.request(signature, rows, trial + step);
    let requests = [(1, 1), (1, 2), (2, 3)].into_iter().map(request).collect::<Result<Vec<_>, _>>()?;
    let column = |at: usize| Tensor::concat(&requests.iter().filter_map(|inputs| inputs.get(at)).collect::<Vec<_>>());
    let together: Option<Vec<_>> = (0..signature.inputs.len()).map(column).collect();
    let together = run_all(backend, &together.ok_or("generated inputs cannot be joined")?)?;
    let mut first = 0;
    for request in &requests {
        let rows = request.first().and_then(|tensor| tensor.shape().rows()).unwrap_or(0);
        let alone = run_all(backend, request)?;
        for ((alone, together), spec) in alone.iter().zip(&together).zip(&signature.outputs) {
            if alone.shape().rows() != Some(rows) || together.shape().rows() != Some(4) {
                return Err(format!("output `{}` does not have one row for each row of the inputs", spec.name));
            }
            if !agree(alone, &together.rows(first, rows)) {
                return Err(format!("the rows of output `{}` depend on one another", spec.name));
            }
        }
        first += rows;
    }
    for (shown, tensor) in shown.iter_mut().zip(&together) {
        let same = |row| agree(&tensor.rows(0, 1), &tensor.rows(row, 1));
        *shown |= is_finite(tensor) && (1..4).any(|row| !same(row));
    }
    Ok(())
}

/// Runs the model for all its outputs.
pub(crate) fn run_all(backend: &dyn Backend, inputs: &[Tensor]) -> Result<Vec<Tensor>, String> {
    let outputs: Vec<usize> = (0..backend.signature().outputs.len()).collect();
    backend.run(&inputs.iter().collect::<Vec<_>>(), &outputs, None).map_err(|error| error.to_string())
}

/// Runs 1, 2, 4, … rows once, up to `most_rows`: on a CUDA device the first run of each shape is slow, since memory is
/// found and kernels are chosen in it. Ends where a size does not run.
pub(crate) fn run_each_size(backend: &dyn Backend, guess: Guess, most_rows: usize) {
    let signature = backend.signature().clone();
    for rows in (0..).map(|power| 1_usize << power).take_while(|rows| *rows <= most_rows.max(1)) {
        let ran = guess.request(&signature, rows, 1).and_then(|inputs| run_all(backend, &inputs));
        if let Err(reason) = ran {
            tracing::warn!(rows, reason, "the warm-up ends here: runs of so many rows fail");
            break;
        }
    }
}

/// Times runs of 1, 2, 4, … rows, up to `most_rows` and for at most about [`TRIALS`] in all: the first measure of
/// what batching is worth. Runs under way teach the rest.
pub(crate) fn time_runs(backend: &dyn Backend, guess: Guess, most_rows: usize) -> (usize, Vec<(usize, Duration)>) {
    let signature = backend.signature().clone();
    let begun = Instant::now();
    let (mut trials, mut row_elements) = (Vec::new(), 0);
    for rows in (0..).map(|power| 1_usize << power).take_while(|rows| *rows <= most_rows.max(1)) {
        let Ok(inputs) = guess.request(&signature, rows, 1) else { break };
        row_elements = inputs.iter().map(|tensor| tensor.data().len()).sum::<usize>() / rows;
        let mut best: Option<Duration> = None;
        for _ in 0..3 {
            let started = Instant::now();
            if run_all(backend, &inputs).is_err() {
                return (row_elements, trials);
            }
            let took = started.elapsed();
            best = Some(best.map_or(took, |best| best.min(took)));
            if begun.elapsed() > TRIALS {
                break;
            }
        }
        trials.extend(best.map(|best| (rows, best)));
        if begun.elapsed() > TRIALS / 2 {
            break;
        }
    }
    (row_elements, trials)
}

/// What generated inputs are made with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Deserialize, Serialize)]
pub(crate) struct Guess {
    /// The size of free dimensions other than the rows.
    free: usize,
    /// The smallest whole number.
    floor: u8,
    /// Floats lie between this and its negative; 0: from 0 up to 1, which suits most models.
    scale: f32,
}

/// The guesses that differ for this signature.
fn guesses(signature: &Signature) -> Vec<Guess> {
    let inner = |spec: &TensorSpec| spec.dims.iter().flatten().skip(1).any(Dim::is_free);
    let whole = |spec: &TensorSpec| {
        !matches!(spec.data_type, DataType::Fp16 | DataType::Bf16 | DataType::Fp32 | DataType::Fp64)
    };
    let sizes = if signature.inputs.iter().any(inner) { &FREE_SIZES[..] } else { &FREE_SIZES[..1] };
    let floors = if signature.inputs.iter().any(whole) { &FLOORS[..] } else { &FLOORS[..1] };
    sizes.iter().flat_map(|&free| floors.iter().map(move |&floor| Guess { free, floor, scale: 0.0 })).collect()
}

impl Guess {
    /// The same, but for the size of free dimensions other than the rows.
    pub(crate) const fn with_length(self, free: usize) -> Self {
        Self { free, ..self }
    }

    /// Makes the inputs of one request.
    pub(crate) fn request(self, signature: &Signature, rows: usize, trial: u64) -> Result<Vec<Tensor>, String> {
        let tensors = (0..signature.inputs.len()).map(|index| self.generate(signature, index, rows, trial));
        tensors.collect::<Result<_, _>>().map_err(|error| error.to_string())
    }

    /// Makes a tensor for the input at `index`, with small and varied values.
    fn generate(self, signature: &Signature, index: usize, rows: usize, trial: u64) -> Result<Tensor, ShapeMismatch> {
        let axis_0 = |spec: &TensorSpec| spec.dims.as_ref().and_then(|dims| dims.first().cloned());
        let rows_symbol = signature.inputs.first().and_then(axis_0);
        let Some(spec) = signature.inputs.get(index) else { return Tensor::from_elements([0], Vec::<u8>::new()) };
        let size = |(axis, dim): (usize, &Dim)| match dim {
            Dim::Fixed(size) => *size,
            Dim::Symbol(_) if Some(dim) == rows_symbol.as_ref() => rows,
            Dim::Symbol(_) | Dim::Free if axis == 0 => rows,
            Dim::Symbol(_) | Dim::Free => self.free,
        };
        let dims = spec.dims.as_deref().unwrap_or(&[Dim::Free]);
        let shape = Shape::new(dims.iter().enumerate().map(size).collect::<Vec<_>>());
        let elements = shape.elements().unwrap_or(usize::MAX);
        // A model that wants this much in one input is not warmed up with made-up data.
        if elements > 1 << 28 {
            return Err(ShapeMismatch { shape, elements: 0 });
        }
        let seed = (trial << 32) ^ u64::try_from(index).unwrap_or(0);
        let mut numbers = Numbers { seed, floor: self.floor, scale: self.scale };
        Tensor::new(shape, numbers.data(spec.data_type, elements))
    }
}

/// A fixed sequence of varied numbers (splitmix64), so that a warm-up is the same every time.
struct Numbers {
    seed: u64,
    floor: u8,
    scale: f32,
}

impl Numbers {
    fn next(&mut self) -> u64 {
        self.seed = self.seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.seed ^ (self.seed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn bit(&mut self) -> bool {
        self.next() & 1 == 1
    }

    /// Some letters.
    fn word(&mut self) -> Vec<u8> {
        (0..12).map(|_| b'a' + u8::try_from(self.next() % 26).unwrap_or(0)).collect()
    }

    /// One of two small numbers: an index, a length or a mask that most models take.
    fn whole(&mut self) -> u8 {
        self.floor + u8::from(self.bit())
    }

    fn fraction(&mut self) -> f32 {
        let part = f32::from(u16::try_from(self.next() >> 48).unwrap_or(0)) / 65536.0;
        if self.scale > 0.0 { (part * 2.0 - 1.0) * self.scale } else { part }
    }

    fn data(&mut self, data_type: DataType, count: usize) -> Data {
        let each = 0..count;
        match data_type {
            DataType::Bool => Data::Bool(each.map(|_| self.bit()).collect()),
            DataType::Uint8 => Data::Uint8(each.map(|_| self.whole()).collect()),
            DataType::Uint16 => Data::Uint16(each.map(|_| self.whole().into()).collect()),
            DataType::Uint32 => Data::Uint32(each.map(|_| self.whole().into()).collect()),
            DataType::Uint64 => Data::Uint64(each.map(|_| self.whole().into()).collect()),
            DataType::Int8 => Data::Int8(each.map(|_| i8::try_from(self.whole()).unwrap_or(1)).collect()),
            DataType::Int16 => Data::Int16(each.map(|_| self.whole().into()).collect()),
            DataType::Int32 => Data::Int32(each.map(|_| self.whole().into()).collect()),
            DataType::Int64 => Data::Int64(each.map(|_| self.whole().into()).collect()),
            DataType::Fp16 => Data::Fp16(each.map(|_| f16::from_f32(self.fraction())).collect()),
            DataType::Bf16 => Data::Bf16(each.map(|_| bf16::from_f32(self.fraction())).collect()),
            DataType::Fp32 => Data::Fp32(each.map(|_| self.fraction()).collect()),
            DataType::Fp64 => Data::Fp64(each.map(|_| self.fraction().into()).collect()),
            DataType::Bytes => Data::Bytes(each.map(|_| self.word()).collect()),
        }
    }
}

/// Whether two results are the same but for the rounding that other batch sizes bring, which is measured against the
/// largest number in them: what a model adds up is rounded at that size.
pub(crate) fn agree(a: &Tensor, b: &Tensor) -> bool {
    fn near(a: &[f64], b: &[f64], tolerance: f64) -> bool {
        let largest = a.iter().chain(b).filter(|x| x.is_finite()).fold(0.0, |largest: f64, x| largest.max(x.abs()));
        let same = |(a, b): (&f64, &f64)| a == b || (a.is_nan() && b.is_nan()) || (a - b).abs() <= tolerance * largest;
        a.iter().zip(b).all(same)
    }
    if a.shape() != b.shape() {
        return false;
    }
    match (floats(a), floats(b)) {
        (Some((a, tolerance)), Some((b, _))) => near(&a, &b, tolerance),
        _ => a.data() == b.data(),
    }
}

/// The elements of a tensor of floats, and the rounding to expect of their type.
fn floats(tensor: &Tensor) -> Option<(Vec<f64>, f64)> {
    Some(match tensor.data() {
        Data::Fp16(all) => (all.iter().map(|x| x.to_f64()).collect(), 5e-3),
        Data::Bf16(all) => (all.iter().map(|x| x.to_f64()).collect(), 4e-2),
        Data::Fp32(all) => (all.iter().map(|x| f64::from(*x)).collect(), 1e-4),
        Data::Fp64(all) => (all.clone(), 1e-9),
        _ => return None,
    })
}

/// Whether all numbers in a tensor are finite.
pub(crate) fn is_finite(tensor: &Tensor) -> bool {
    floats(tensor).is_none_or(|(all, _)| all.iter().all(|x| x.is_finite()))
}

/// Makes one element of an input's type.
pub(crate) fn element(spec: &TensorSpec, value: &toml::Value) -> Result<Tensor, String> {
    let given = WarmUp { shape: vec![1], values: WarmUpValues::One(value.clone()) };
    read(&given, &TensorSpec { dims: None, ..spec.clone() })
}

/// Makes a tensor of what `model.toml` says.
fn read(given: &WarmUp, spec: &TensorSpec) -> Result<Tensor, String> {
    let shape = Shape::new(given.shape.clone());
    if !spec.accepts(&shape) {
        return Err(format!("expected {spec}, got shape {shape}"));
    }
    let count =
        shape.elements().filter(|count| *count <= 1 << 28).ok_or_else(|| format!("shape {shape} is too large"))?;
    let values = match &given.values {
        WarmUpValues::One(value) => vec![value; count],
        WarmUpValues::All(values) => values.iter().collect(),
    };
    let wrong = |value: &toml::Value| format!("expected {}, got {value:?}", spec.data_type);
    let float = |value: &&toml::Value| {
        let integer = || value.as_integer().and_then(|number| i32::try_from(number).ok()).map(f64::from);
        value.as_float().or_else(integer).ok_or_else(|| wrong(value))
    };
    let data = match spec.data_type {
        DataType::Bool => {
            Data::Bool(values.iter().map(|v| v.as_bool().ok_or_else(|| wrong(v))).collect::<Result<_, _>>()?)
        }
        DataType::Uint8 => Data::Uint8(integers(&values, wrong)?),
        DataType::Uint16 => Data::Uint16(integers(&values, wrong)?),
        DataType::Uint32 => Data::Uint32(integers(&values, wrong)?),
        DataType::Uint64 => Data::Uint64(integers(&values, wrong)?),
        DataType::Int8 => Data::Int8(integers(&values, wrong)?),
        DataType::Int16 => Data::Int16(integers(&values, wrong)?),
        DataType::Int32 => Data::Int32(integers(&values, wrong)?),
        DataType::Int64 => Data::Int64(integers(&values, wrong)?),
        DataType::Fp16 => Data::Fp16(values.iter().map(|v| float(v).map(f16::from_f64)).collect::<Result<_, _>>()?),
        DataType::Bf16 => Data::Bf16(values.iter().map(|v| float(v).map(bf16::from_f64)).collect::<Result<_, _>>()?),
        DataType::Fp32 => Data::Fp32(values.iter().map(|v| float(v).map(narrow)).collect::<Result<_, _>>()?),
        DataType::Fp64 => Data::Fp64(values.iter().map(float).collect::<Result<_, _>>()?),
        DataType::Bytes => {
            let text = |v: &&toml::Value| v.as_str().map(|text| text.as_bytes().to_vec()).ok_or_else(|| wrong(v));
            Data::Bytes(values.iter().map(text).collect::<Result<_, _>>()?)
        }
    };
    Tensor::new(shape, data).map_err(|error| error.to_string())
}

fn integers<T: TryFrom<i64>>(
    values: &[&toml::Value],
    wrong: impl Fn(&toml::Value) -> String,
) -> Result<Vec<T>, String> {
    let integer = |value: &&toml::Value| value.as_integer().and_then(|number| T::try_from(number).ok());
    values.iter().map(|value| integer(value).ok_or_else(|| wrong(value))).collect()
}

#[expect(clippy::cast_possible_truncation, reason = "rounding to the nearest FP32 is what the model's input wants")]
const fn narrow(number: f64) -> f32 {
    number as f32
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::{RunError, Stop};

    /// What the fake gives, from an element and all of them.
    type Model = fn(f32, &[f32]) -> f32;

    #[derive(Debug)]
    struct Fake {
        signature: Signature,
        model: Model,
    }

    impl Backend for Fake {
        fn signature(&self) -> &Signature {
            &self.signature
        }

        fn run(&self, inputs: &[&Tensor], _: &[usize], _: Option<&Stop>) -> Result<Vec<Tensor>, RunError> {
            let x = inputs[0].elements::<f32>().unwrap();
            let y = x.iter().map(|element| (self.model)(*element, x)).collect();
            Ok(vec![Tensor::from_elements(inputs[0].shape().clone(), y).unwrap()])
        }
    }

    const DOUBLING: Model = |x, _| x * 2.0;

    fn fake(first: Dim, model: Model) -> Fake {
        let spec = TensorSpec::new("x", DataType::Fp32, Some(vec![first, Dim::Fixed(3)]));
        Fake { signature: Signature { inputs: vec![spec.clone()], outputs: vec![spec], batch_axis: false }, model }
    }

    fn run(backend: &Fake, given: &BTreeMap<String, WarmUp>) -> Result<Outcome, String> {
        Ok(judge(backend, &first(backend, given, None)?))
    }

    fn independent(backend: Fake) -> Result<(), String> {
        run(&backend, &BTreeMap::new()).unwrap().independent_rows
    }

    #[test]
    fn only_rows_that_do_not_mix_make_a_batch_axis() {
        assert_eq!(independent(fake(Dim::Free, DOUBLING)), Ok(()));
        assert!(
            independent(fake(Dim::Free, |x, all| x * 2.0 + all.iter().sum::<f32>()))
                .unwrap_err()
                .contains("depend on one another")
        );
        assert!(independent(fake(Dim::Fixed(2), DOUBLING)).unwrap_err().contains("axis 0 is not free"));
    }

    #[test]
    fn what_shows_nothing_is_no_proof() {
        let refusal = |model| independent(fake(Dim::Free, model)).unwrap_err();
        // Rows mix for large values only.
        assert!(refusal(|x, all| x + all.iter().map(|x| (x - 2.0).max(0.0)).sum::<f32>()).contains("depend"));
        // They mix, but the difference is small beside one and large beside the output.
        assert!(refusal(|x, all| (x + all.iter().sum::<f32>()) * 1e-9).contains("depend"));
        assert!(refusal(|_, _| 7.0).contains("shows nothing"));
        assert!(refusal(|_, _| f32::NAN).contains("shows nothing"));
    }

    /// Notes how many rows each run has, and fails above some.
    #[derive(Debug)]
    struct Counting {
        signature: Signature,
        most_rows: usize,
        seen: std::sync::Mutex<Vec<usize>>,
    }

    impl Backend for Counting {
        fn signature(&self) -> &Signature {
            &self.signature
        }

        fn run(&self, inputs: &[&Tensor], _: &[usize], _: Option<&Stop>) -> Result<Vec<Tensor>, RunError> {
            let rows = inputs[0].shape().rows().unwrap();
            self.seen.lock().unwrap().push(rows);
            if rows > self.most_rows { Err(RunError::Runtime("no memory".into())) } else { Ok(vec![inputs[0].clone()]) }
        }
    }

    #[test]
    fn each_size_runs_once_up_to_the_cap_or_to_the_first_that_fails() {
        let sizes = |cap, most_rows| {
            let signature = fake(Dim::Free, DOUBLING).signature;
            let backend = Counting { signature, most_rows, seen: std::sync::Mutex::default() };
            run_each_size(&backend, Guess { free: 8, floor: 1, scale: 0.0 }, cap);
            backend.seen.into_inner().unwrap()
        };
        assert_eq!(sizes(20, 99), [1, 2, 4, 8, 16]);
        assert_eq!(sizes(20, 3), [1, 2, 4]);
        assert_eq!(sizes(0, 99), [1]);
    }

    #[test]
    fn inputs_of_the_settings_are_checked() {
        let warm_up = |text: &str| -> BTreeMap<String, WarmUp> { toml::from_str(text).unwrap() };
        let refusal = |text| run(&fake(Dim::Free, DOUBLING), &warm_up(text)).unwrap_err();
        assert!(refusal("[y]\nshape = [1]\nvalues = 1").contains("no such input"));
        assert!(refusal("[x]\nshape = [1, 2]\nvalues = 1").contains("expected FP32 [-1,3], got shape [1,2]"));
        assert!(refusal("[x]\nshape = [1, 3]\nvalues = [1, 2]").contains("does not hold 2 elements"));
        assert!(refusal("[x]\nshape = [1, 3]\nvalues = \"a\"").contains("expected FP32"));
        assert!(run(&fake(Dim::Free, DOUBLING), &warm_up("[x]\nshape = [1, 3]\nvalues = 0.5")).is_ok());
    }
}
