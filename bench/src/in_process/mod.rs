//! The bare runtime under load: threads that run the model, and nothing between them and their inputs.
//!
//! It is what a server is compared with, so it is as good as it can be: no queue but the moments at which requests
//! are due, and idle threads that take all the rows that are waiting.

mod line;
mod open;
mod sweep;
mod worker;

use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicU64;
use std::thread;
use std::time::Instant;

use hedef_core::backend::onnx::Runtime;
use hedef_core::{Device, Dim, Tensor};
use serde_json::{Value, json};

use self::line::Line;
use self::open::Sessions;
use self::worker::{Shared, work};
use crate::Error;
use crate::inputs::{Inputs, Sample};
use crate::measured::Measured;
use crate::numbers::{count, real};
use crate::progress::Progress;
use crate::subject::{Load, Subject, Trial};

pub use sweep::{Sweep, sweep};

/// As many requests as are joined in turn.
const WHOLE_REQUESTS: usize = 8;

/// How the bare runtime runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    /// Where it runs.
    pub device: Device,
    /// Threads that each run the model.
    pub instances: usize,
    /// Threads that one run uses.
    pub threads: usize,
    /// The rows of a run; of an open load and of queries, the most.
    pub batch: usize,
    /// Whether memory is kept between runs and planned, as ONNX Runtime does by itself.
    pub arena: bool,
    /// Whether each instance has a session of its own, weights and all, instead of one for all.
    pub own_sessions: bool,
}

/// The bare runtime with a model.
#[derive(Debug)]
pub struct BareSubject {
    path: PathBuf,
    layout: Layout,
    sessions: Sessions,
    /// Requests as they come.
    single: Vec<Sample>,
    /// The same, joined to runs of `layout.batch` rows.
    whole: Vec<Sample>,
}

impl BareSubject {
    /// Opens the model as often as the layout says, and runs it once.
    pub fn new(runtime: &Runtime, path: &Path, layout: Layout, inputs: &Inputs) -> Result<Self, Error> {
        let sessions = Sessions::open(runtime, path, &layout)?;
        let single = Inputs { batch: 1, ..inputs.clone() }.samples(sessions.signature())?;
        let outputs: Vec<usize> = (0..sessions.signature().outputs.len()).collect();
        for session in sessions.each() {
            let sample = single.first().map(|sample| sample.tensors.iter().collect::<Vec<_>>()).unwrap_or_default();
            let place = || format!("a first run of {}", path.display());
            session
                .run(&sample, &outputs)
                .map_err(|error| Error::Inputs { place: place(), reason: error.to_string() })?;
        }
        let mut subject = Self { path: path.to_owned(), layout, sessions, single, whole: Vec::new() };
        subject.set_batch(layout.batch)?;
        Ok(subject)
    }

    /// Takes another number of rows for a run.
    fn set_batch(&mut self, batch: usize) -> Result<(), Error> {
        let free = |dims: &Option<Vec<Dim>>| dims.as_ref().and_then(|dims| dims.first()).is_none_or(Dim::is_free);
        if let Some(spec) = self.sessions.signature().inputs.iter().find(|spec| batch > 1 && !free(&spec.dims)) {
            return Err(Error::Settings(format!(
                "--batch {batch}: input `{}` is {spec}, without free rows",
                spec.name
            )));
        }
        let mut samples = self.single.iter().cycle();
        let mut next = || {
            let (mut parts, mut rows) = (Vec::new(), 0);
            while rows < batch.max(1) {
                let sample = samples.next()?;
                rows += sample.rows.max(1);
                parts.push(sample);
            }
            join(&parts)
        };
        let joined: Option<Vec<_>> = (0..WHOLE_REQUESTS.min(self.single.len())).map(|_| next()).collect();
        self.whole = joined.ok_or_else(|| Error::Settings("these requests cannot be joined to one run".into()))?;
        self.layout.batch = batch;
        Ok(())
    }
}

/// One request of all rows of these.
fn join(parts: &[&Sample]) -> Option<Sample> {
    if let [only] = parts {
        return Some((*only).clone());
    }
    let inputs = parts.first()?.tensors.len();
    let column = |at| Tensor::concat(&parts.iter().filter_map(|part| part.tensors.get(at)).collect::<Vec<_>>());
    let tensors = (0..inputs).map(column).collect::<Option<Vec<_>>>()?;
    Some(Sample { tensors, rows: parts.iter().map(|part| part.rows).sum(), body: None })
}

impl Subject for BareSubject {
    fn run(&mut self, trial: &Trial, progress: &Progress) -> Result<Measured, Error> {
        let outputs: Vec<usize> = (0..self.sessions.signature().outputs.len()).collect();
        let start = Instant::now();
        let line = Line::new(trial, start);
        let samples = if matches!(trial.load, Load::Closed { .. }) { &self.whole } else { &self.single };
        let shared = Shared {
            trial,
            line: &line,
            samples,
            outputs: &outputs,
            batch: self.layout.batch,
            admitted: AtomicU64::new(0),
            progress,
        };
        let most = if let Load::Closed { callers } = trial.load { callers.max(1) } else { usize::MAX };
        let found: Vec<_> = thread::scope(|scope| {
            let shared = &shared;
            let sessions = self.sessions.each().take(most);
            let threads: Vec<_> = sessions.map(|session| scope.spawn(move || work(shared, &session))).collect();
            threads.into_iter().filter_map(|thread| thread.join().ok()).collect()
        });
        let mut measured = Measured::new(trial.bound);
        let (mut rate, mut runs, mut rows) = (0.0, 0, 0);
        for part in &found {
            measured.add(&part.measured);
            runs += part.runs;
            rows += part.rows;
            let seconds = part.measured.elapsed.as_secs_f64();
            rate += if seconds > 0.0 { real(part.measured.requests()) / seconds } else { 0.0 };
        }
        // Threads end their last runs at different moments, so a closed load's rate is the sum of theirs.
        measured.elapsed = match trial.load {
            Load::Closed { .. } if rate > 0.0 => crate::clock::seconds(real(measured.requests()) / rate),
            _ => line.elapsed(),
        };
        measured.never_sent(line.never_sent());
        measured.hopeless = line.is_hopeless();
        measured.mean_rows = (runs > 0).then(|| real(count(rows)) / real(runs));
        Ok(measured)
    }

    fn describe(&self) -> Value {
        json!({
            "in_process": self.path.display().to_string(),
            "device": self.layout.device.to_string(),
            "instances": self.layout.instances,
            "threads": self.layout.threads,
            "batch": self.layout.batch,
            "arena": self.layout.arena,
            "own_sessions": self.layout.own_sessions,
            "rows": self.single.first().map(|sample| sample.rows),
        })
    }

    fn saturating_callers(&self) -> usize {
        self.layout.instances
    }

    fn rows_a_request(&self) -> usize {
        self.single.first().map_or(1, |sample| sample.rows)
    }
}
