use std::time::Duration;

use hedef_core::Model;
use hedef_core::model::{Learned, Status};
use serde::Serialize;

use super::print;

/// Writes the answer to `GET /v2/models/{model}/status`, an extension of Hedef's own: how the model was loaded, how it
/// runs, and why so.
#[must_use]
pub fn status(model: &Model) -> Vec<u8> {
    let (status, report) = (model.status(), model.report());
    print(&Document {
        name: model.id().name.as_str(),
        version: model.id().version.to_string(),
        description: status.description.as_deref(),
        device: Choice { is: &status.device, reason: &status.device_reason },
        profile: status.profile.name(),
        instances: report.instances,
        threads: status.threads,
        parallel_runs: report.parallel,
        road: Choice { is: if report.inline { "inline" } else { "queue" }, reason: &report.inline_reason },
        batching: Batching {
            enabled: model.signature().batch_axis && !report.mixes_rows,
            reason: if report.mixes_rows {
                "rows were found to influence one another in runs of requests"
            } else {
                &status.batching_reason
            },
            max_rows: status.max_batch_rows,
            objective_p99_ms: report.objective.map(milliseconds),
            padding: status.padding.as_deref(),
            row_sizes: report.learned.iter().map(RowSize::from).collect(),
        },
        queue: Queue {
            waiting: report.waiting,
            capacity: report.capacity,
            predicted_wait_ms: milliseconds(report.wait),
        },
        memory: Memory { mapped_bytes: status.memory.mapped, private_bytes: status.memory.private },
        load: Load::new(status),
    })
}

#[derive(Serialize)]
struct Document<'a> {
    name: &'a str,
    version: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<&'a str>,
    device: Choice<'a>,
    profile: &'a str,
    instances: usize,
    threads: usize,
    parallel_runs: usize,
    road: Choice<'a>,
    batching: Batching<'a>,
    queue: Queue,
    memory: Memory,
    load: Load<'a>,
}

/// What was chosen, and why.
#[derive(Serialize)]
struct Choice<'a> {
    is: &'a str,
    reason: &'a str,
}

#[derive(Serialize)]
struct Batching<'a> {
    enabled: bool,
    reason: &'a str,
    max_rows: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    objective_p99_ms: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    padding: Option<&'a str>,
    row_sizes: Vec<RowSize<'a>>,
}

/// What runs have taught of rows of about the same size.
#[derive(Serialize)]
struct RowSize<'a> {
    elements_below: usize,
    max_rows: usize,
    reason: &'a str,
    curve: Vec<Point>,
}

#[derive(Serialize)]
struct Point {
    rows: usize,
    us_per_row: f64,
}

#[derive(Serialize)]
struct Queue {
    waiting: usize,
    capacity: usize,
    predicted_wait_ms: f64,
}

/// The memory of its weights: a mapped file, which other processes share, and this process's own.
#[derive(Serialize)]
struct Memory {
    mapped_bytes: u64,
    private_bytes: u64,
}

#[derive(Serialize)]
struct Load<'a> {
    ms: f64,
    inspect_ms: f64,
    cache_ms: f64,
    session_ms: f64,
    first_run_ms: f64,
    trials_ms: f64,
    graph: &'a str,
}

impl<'a> Load<'a> {
    fn new(status: &'a Status) -> Self {
        let stages = status.stages;
        Self {
            ms: milliseconds(status.load_time),
            inspect_ms: milliseconds(stages.inspect),
            cache_ms: milliseconds(stages.look_up),
            session_ms: milliseconds(stages.session),
            first_run_ms: milliseconds(stages.first_run),
            trials_ms: milliseconds(stages.trials),
            graph: &status.graph,
        }
    }
}

impl<'a> From<&'a Learned> for RowSize<'a> {
    fn from(learned: &'a Learned) -> Self {
        let point = |&(rows, seconds): &(usize, f64)| Point { rows, us_per_row: tenth(seconds * 1e6) };
        Self {
            elements_below: learned.row_elements,
            max_rows: learned.max_rows,
            reason: &learned.reason,
            curve: learned.row_seconds.iter().map(point).collect(),
        }
    }
}

fn milliseconds(time: Duration) -> f64 {
    tenth(time.as_secs_f64() * 1e3)
}

fn tenth(number: f64) -> f64 {
    (number * 10.0).round() / 10.0
}
