use hedef_core::ModelId;
use hedef_core::statistics::{Snapshot, StageTallies, Tally};
use serde::Serialize;

use super::print;

/// Writes the answer to `GET /v2/models/stats` and `/v2/models/{model}/stats`.
///
/// There is no cache here, so its counts are 0.
#[must_use]
pub fn statistics(models: &[(ModelId, Snapshot)]) -> Vec<u8> {
    print(&Document { model_stats: models.iter().map(|(id, snapshot)| Model::new(id, snapshot)).collect() })
}

#[derive(Serialize)]
struct Document<'a> {
    model_stats: Vec<Model<'a>>,
}

#[derive(Serialize)]
struct Model<'a> {
    name: &'a str,
    version: String,
    last_inference: u64,
    inference_count: u64,
    execution_count: u64,
    inference_stats: Inference,
    response_stats: Empty,
    batch_stats: Vec<Batch>,
    memory_usage: [Empty; 0],
}

impl<'a> Model<'a> {
    fn new(id: &'a ModelId, snapshot: &Snapshot) -> Self {
        Self {
            name: id.name.as_str(),
            version: id.version.to_string(),
            last_inference: snapshot.last_inference_ns / 1_000_000,
            inference_count: snapshot.rows,
            execution_count: snapshot.executions,
            inference_stats: Inference::from(snapshot),
            response_stats: Empty {},
            batch_stats: snapshot.batches.iter().map(|(rows, stages)| Batch::new(*rows, stages)).collect(),
            memory_usage: [],
        }
    }
}

#[derive(Serialize)]
struct Empty {}

#[derive(Serialize)]
struct Inference {
    success: Duration,
    fail: Duration,
    queue: Duration,
    compute_input: Duration,
    compute_infer: Duration,
    compute_output: Duration,
    cache_hit: Duration,
    cache_miss: Duration,
}

impl From<&Snapshot> for Inference {
    fn from(snapshot: &Snapshot) -> Self {
        Self {
            success: snapshot.success.into(),
            fail: snapshot.failure.into(),
            queue: snapshot.queue.into(),
            compute_input: snapshot.stages.input.into(),
            compute_infer: snapshot.stages.infer.into(),
            compute_output: snapshot.stages.output.into(),
            cache_hit: Tally::default().into(),
            cache_miss: Tally::default().into(),
        }
    }
}

#[derive(Serialize)]
struct Batch {
    batch_size: u64,
    compute_input: Duration,
    compute_infer: Duration,
    compute_output: Duration,
}

impl Batch {
    fn new(batch_size: u64, stages: &StageTallies) -> Self {
        Self {
            batch_size,
            compute_input: stages.input.into(),
            compute_infer: stages.infer.into(),
            compute_output: stages.output.into(),
        }
    }
}

#[derive(Serialize)]
struct Duration {
    count: u64,
    ns: u64,
}

impl From<Tally> for Duration {
    fn from(tally: Tally) -> Self {
        Self { count: tally.count, ns: tally.nanoseconds }
    }
}
