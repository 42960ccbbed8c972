//! What runs of each size take, before there are any requests.

use std::hint::black_box;
use std::time::{Duration, Instant};

use super::{Guess, run_all};
use crate::Tensor;
use crate::backend::Backend;

/// How long timing runs may hold up the start of a model.
const TRIALS: Duration = Duration::from_millis(10);

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

/// Times runs of 1, 2, 4, … requests of one row each, up to `most_rows` and for at most about [`TRIALS`] in all: the first
/// measure of what batching is worth. Runs under way teach the rest.
pub(crate) fn time_runs(backend: &dyn Backend, guess: Guess, most_rows: usize) -> (usize, Vec<(usize, Duration)>) {
    let signature = backend.signature().clone();
    let begun = Instant::now();
    let (mut trials, mut row_elements) = (Vec::new(), 0);
    for rows in (0..).map(|power| 1_usize << power).take_while(|rows| *rows <= most_rows.max(1)) {
        let Ok(inputs) = guess.request(&signature, rows, 1) else { break };
        row_elements = inputs.iter().map(|tensor| tensor.data().len()).sum::<usize>() / rows;
        let parts: Vec<Vec<Tensor>> =
            inputs.iter().map(|input| (0..rows).map(|row| input.rows(row, 1)).collect()).collect();
        let (mut best, mut spare) = (None::<Duration>, Vec::new());
        for _ in 0..3 {
            let started = Instant::now();
            let ran =
                if rows == 1 { run_all(backend, &inputs).map(drop) } else { run_joined(backend, &parts, &mut spare) };
            if ran.is_err() {
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

/// Runs the rows of each input together, with all that requests which share a run need: where a run takes microseconds and
/// its rows are large, joining them takes longer than the run.
fn run_joined(backend: &dyn Backend, parts: &[Vec<Tensor>], spare: &mut Vec<Tensor>) -> Result<(), String> {
    let columns: Vec<Vec<&Tensor>> = parts.iter().map(|rows| rows.iter().collect()).collect();
    let outputs = match backend.join(&columns) {
        Some(run) => {
            let all: Vec<usize> = (0..backend.signature().outputs.len()).collect();
            run(&all, None).map_err(|error| error.to_string())?
        }
        None => {
            let mut last = std::mem::take(spare).into_iter();
            let joined = columns.iter().map(|rows| Tensor::concat_in(rows, last.next()).ok_or("rows differ"));
            *spare = joined.collect::<Result<Vec<_>, _>>()?;
            run_all(backend, spare)?
        }
    };
    for output in outputs {
        for row in 0..output.shape().rows().unwrap_or(0) {
            black_box(output.rows(row, 1));
        }
    }
    Ok(())
}
