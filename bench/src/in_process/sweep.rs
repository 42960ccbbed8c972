//! Every layout and batch worth trying, one after the other.

use std::fmt::Write;
use std::num::NonZeroUsize;
use std::path::Path;

use hedef_core::backend::onnx::Runtime;
use serde_json::{Value, json};

use super::{BareSubject, Layout};
use crate::Error;
use crate::inputs::Inputs;
use crate::measured::Measured;
use crate::progress::Progress;
use crate::subject::{Length, Load, Subject, Trial};
use crate::table;

const MOST_ROWS: usize = 64;
/// A layout is not tried further when so many batches in a row…
const WORSE_BATCHES: u32 = 2;
/// …were so much worse than its best.
const WORSE: f64 = 0.75;

/// What a sweep found.
#[derive(Clone, Debug)]
pub struct Sweep {
    subject: Value,
    points: Vec<(Layout, Measured)>,
}

/// Measures rows a second at every layout for so many processors, with batches of 1, 2, 4, … 64 rows; what else there
/// is to a layout stays as it is in `base`.
pub fn sweep(
    runtime: &Runtime,
    path: &Path,
    inputs: &Inputs,
    (base, cpus): (Layout, NonZeroUsize),
    length: Length,
    progress: &Progress,
) -> Result<Sweep, Error> {
    let mut points: Vec<(Layout, Measured)> = Vec::new();
    let mut subject = Value::Null;
    for (instances, threads, own_sessions) in layouts(cpus.get()) {
        let layout = Layout { instances, threads, batch: 1, own_sessions, ..base };
        let mut bare = BareSubject::new(runtime, path, layout, inputs)?;
        let (device, arena) = (base.device.to_string(), base.arena);
        subject = json!({"in_process": path.display().to_string(), "device": device, "arena": arena});
        let (mut best, mut worse) = (0.0_f64, 0);
        for batch in (0..).map(|power| 1_usize << power).take_while(|rows| *rows <= MOST_ROWS) {
            if bare.set_batch(batch).is_err() {
                break;
            }
            progress.begin(format!("{instances}x{threads}, {batch} rows"));
            let load = Load::Closed { callers: instances };
            let measured = bare.run(&Trial { load, length, bound: None, hopeless: None, seed: 1 }, progress)?;
            let rows = measured.rows_per_second();
            points.push((bare.layout, measured));
            best = best.max(rows);
            worse = if rows < best * WORSE { worse + 1 } else { 0 };
            if worse >= WORSE_BATCHES {
                break;
            }
        }
    }
    progress.end();
    Ok(Sweep { subject, points })
}

/// Instances, the threads of each, and whether each has its own session: one thread alone, all in one run, one run on
/// each, and what lies between.
fn layouts(cpus: usize) -> Vec<(usize, usize, bool)> {
    let powers = (0..usize::BITS).map(|power| 1_usize << power).take_while(|threads| *threads < cpus);
    let mut all = Vec::new();
    for threads in powers {
        let instances = (cpus / threads).max(1);
        all.push((instances, threads, false));
        if instances > 1 {
            all.push((instances, threads, true));
        }
    }
    all.push((1, cpus, false));
    if cpus > 1 {
        all.push((1, 1, false));
    }
    all.dedup();
    all
}

impl Sweep {
    /// The layout with the most rows a second.
    #[must_use]
    pub fn best(&self) -> Option<(Layout, f64)> {
        let all = self.points.iter().map(|(layout, measured)| (*layout, measured.rows_per_second()));
        all.max_by(|a, b| a.1.total_cmp(&b.1))
    }

    /// Requests without a right answer.
    #[must_use]
    pub fn errors(&self) -> u64 {
        self.points.iter().map(|(_, measured)| measured.errors()).sum()
    }

    /// A line for each layout, the best one marked.
    #[must_use]
    pub fn table(&self) -> String {
        let best = self.best().map(|(layout, _)| layout);
        let mut text = String::from("instances  threads  sessions  rows      rows/s   latency p50\n");
        for (layout, measured) in &self.points {
            let mark = if Some(*layout) == best { "  best" } else { "" };
            let (rows, time) = (table::rate(measured.rows_per_second()), table::time(measured.quantile(0.5)));
            let Layout { instances, threads, batch, own_sessions, .. } = layout;
            let sessions = if *own_sessions { *instances } else { 1 };
            let _ =
                writeln!(text, "{instances:>9}  {threads:>7}  {sessions:>8}  {batch:>4}  {rows:>10}  {time:>12}{mark}");
        }
        text
    }

    /// Everything, as JSON.
    #[must_use]
    pub fn json(&self) -> Value {
        let describe = |layout: &Layout| {
            let Layout { instances, threads, batch, own_sessions, .. } = layout;
            json!({"instances": instances, "threads": threads, "batch": batch, "own_sessions": own_sessions})
        };
        let point = |(layout, measured): &(Layout, Measured)| json!({"layout": describe(layout), "rows_per_second": measured.rows_per_second(), "measured": measured.json()});
        json!({
            "subject": self.subject,
            "plan": "sweep",
            "points": self.points.iter().map(point).collect::<Vec<_>>(),
            "best": self.best().map(|(layout, rate)| json!({"layout": describe(&layout), "rows_per_second": rate})),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layouts_use_all_processors_but_for_one_that_uses_one() {
        assert_eq!(layouts(1), [(1, 1, false)]);
        assert_eq!(layouts(2), [(2, 1, false), (2, 1, true), (1, 2, false), (1, 1, false)]);
        let six = layouts(6).into_iter().filter(|(.., own)| !own).map(|(instances, threads, _)| (instances, threads));
        assert_eq!(six.collect::<Vec<_>>(), [(6, 1), (3, 2), (1, 4), (1, 6), (1, 1)]);
    }
}
