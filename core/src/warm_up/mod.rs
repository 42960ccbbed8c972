//! The runs before a model is ready, and the proof that its rows do not influence one another.

mod compare;
mod generate;
mod given;
mod timing;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

pub(crate) use self::compare::{agree, is_finite};
pub(crate) use self::generate::Guess;
use self::generate::guesses;
pub(crate) use self::given::element;
use self::given::read;
pub(crate) use self::timing::{run_each_size, time_runs};
use crate::backend::Backend;
use crate::settings::WarmUp;
use crate::{DataType, Signature, Tensor, TensorSpec};

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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Dim;
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
