//! The statistics extension.

use bytes::Bytes;
use hedef_core::ModelId;
use hedef_core::statistics::{Snapshot, StageTallies, Tally};
use prost::Message;

use super::frame::frame;

/// Writes a `ModelStatisticsResponse` in its frame: what [`crate::v2::statistics()`] writes as JSON.
#[must_use]
pub fn statistics(models: &[(ModelId, Snapshot)]) -> Bytes {
    frame(&ModelStatisticsResponse {
        model_stats: models.iter().map(|(id, snapshot)| Model::new(id, snapshot)).collect(),
    })
}

#[derive(Clone, PartialEq, Eq, Message)]
pub(super) struct ModelStatisticsResponse {
    #[prost(message, repeated, tag = "1")]
    model_stats: Vec<Model>,
}

#[derive(Clone, PartialEq, Eq, Message)]
struct Model {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    version: String,
    #[prost(uint64, tag = "3")]
    last_inference: u64,
    #[prost(uint64, tag = "4")]
    inference_count: u64,
    #[prost(uint64, tag = "5")]
    execution_count: u64,
    #[prost(message, optional, tag = "6")]
    inference_stats: Option<Inference>,
    #[prost(message, repeated, tag = "7")]
    batch_stats: Vec<Batch>,
}

impl Model {
    fn new(id: &ModelId, snapshot: &Snapshot) -> Self {
        Self {
            name: id.name.to_string(),
            version: id.version.to_string(),
            last_inference: snapshot.last_inference_ns / 1_000_000,
            inference_count: snapshot.rows,
            execution_count: snapshot.executions,
            inference_stats: Some(snapshot.into()),
            batch_stats: snapshot.batches.iter().map(|(rows, stages)| Batch::new(*rows, stages)).collect(),
        }
    }
}

#[derive(Clone, PartialEq, Eq, Message)]
struct Inference {
    #[prost(message, optional, tag = "1")]
    success: Option<Duration>,
    #[prost(message, optional, tag = "2")]
    fail: Option<Duration>,
    #[prost(message, optional, tag = "3")]
    queue: Option<Duration>,
    #[prost(message, optional, tag = "4")]
    compute_input: Option<Duration>,
    #[prost(message, optional, tag = "5")]
    compute_infer: Option<Duration>,
    #[prost(message, optional, tag = "6")]
    compute_output: Option<Duration>,
    #[prost(message, optional, tag = "7")]
    cache_hit: Option<Duration>,
    #[prost(message, optional, tag = "8")]
    cache_miss: Option<Duration>,
}

impl From<&Snapshot> for Inference {
    fn from(snapshot: &Snapshot) -> Self {
        Self {
            success: duration(snapshot.success),
            fail: duration(snapshot.failure),
            queue: duration(snapshot.queue),
            compute_input: duration(snapshot.stages.input),
            compute_infer: duration(snapshot.stages.infer),
            compute_output: duration(snapshot.stages.output),
            cache_hit: duration(Tally::default()),
            cache_miss: duration(Tally::default()),
        }
    }
}

#[derive(Clone, PartialEq, Eq, Message)]
struct Batch {
    #[prost(uint64, tag = "1")]
    batch_size: u64,
    #[prost(message, optional, tag = "2")]
    compute_input: Option<Duration>,
    #[prost(message, optional, tag = "3")]
    compute_infer: Option<Duration>,
    #[prost(message, optional, tag = "4")]
    compute_output: Option<Duration>,
}

impl Batch {
    fn new(batch_size: u64, stages: &StageTallies) -> Self {
        Self {
            batch_size,
            compute_input: duration(stages.input),
            compute_infer: duration(stages.infer),
            compute_output: duration(stages.output),
        }
    }
}

#[derive(Clone, PartialEq, Eq, Message)]
struct Duration {
    #[prost(uint64, tag = "1")]
    count: u64,
    #[prost(uint64, tag = "2")]
    ns: u64,
}

fn duration(tally: Tally) -> Option<Duration> {
    Some(Duration { count: tally.count, ns: tally.nanoseconds })
}
