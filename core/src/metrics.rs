//! What the core tells Prometheus.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use prometheus::{
    Counter, CounterVec, Gauge, GaugeVec, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge,
    IntGaugeVec, Opts, Registry,
};

use crate::repository::ModelMemory;
use crate::{Kind, ModelId};

/// Upper bounds in seconds for everything that takes time: from a tiny model's run to a stuck one's.
pub const SECONDS: [f64; 18] = [
    0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0,
    10.0, 30.0,
];

/// The most protocols that requests come in.
pub const PROTOCOLS: usize = 8;

const MODEL: [&str; 2] = ["model", "version"];
const MODEL_REASON: [&str; 3] = ["model", "version", "reason"];
const MODEL_OUTCOME: [&str; 3] = ["model", "version", "outcome"];

/// Why requests are refused.
const REFUSALS: [&str; 2] = ["full", "late"];

/// The core's metrics, registered once and passed to whatever counts.
#[derive(Clone, Debug)]
pub struct Metrics {
    decode_seconds: HistogramVec,
    queue_seconds: HistogramVec,
    compute_seconds: HistogramVec,
    encode_seconds: HistogramVec,
    batch_rows: HistogramVec,
    rows: IntCounterVec,
    batches: IntCounterVec,
    cancelled: IntCounterVec,
    expired: IntCounterVec,
    refused: IntCounterVec,
    stopped: IntCounterVec,
    saved_seconds: CounterVec,
    queue_depth: IntGaugeVec,
    instances: IntGaugeVec,
    instances_busy: IntGaugeVec,
    ready: IntGaugeVec,
    load_seconds: GaugeVec,
    loads: IntCounterVec,
    memory: IntGaugeVec,
    evictions: IntCounterVec,
    on_demand_loads: IntCounterVec,
    trials: IntCounterVec,
    stuck: IntGauge,
    predicted_wait: GaugeVec,
    threads: IntGauge,
    utilization: Gauge,
}

impl Metrics {
    /// Declares every metric in `registry`.
    pub fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        let rows = (0..=12).map(|power| f64::from(1_u32 << power)).collect();
        let stage = |name, help| add(registry, HistogramVec::new(histogram(name, help, SECONDS.to_vec()), &MODEL)?);
        Ok(Self {
            decode_seconds: stage(
                "hedef_decode_duration_seconds",
                "Time from the body of a request, read whole, to its tensors.",
            )?,
            encode_seconds: stage(
                "hedef_encode_duration_seconds",
                "Time from the tensors of an answer to its bytes, compressed ones included.",
            )?,
            queue_seconds: add(
                registry,
                HistogramVec::new(
                    histogram(
                        "hedef_queue_duration_seconds",
                        "Time from queueing to the start of the run.",
                        SECONDS.to_vec(),
                    ),
                    &MODEL_OUTCOME,
                )?,
            )?,
            compute_seconds: add(
                registry,
                HistogramVec::new(
                    histogram(
                        "hedef_compute_duration_seconds",
                        "Time of the run, joining inputs and taking outputs apart included.",
                        SECONDS.to_vec(),
                    ),
                    &MODEL_OUTCOME,
                )?,
            )?,
            batch_rows: add(
                registry,
                HistogramVec::new(histogram("hedef_batch_rows", "Rows in one run.", rows), &MODEL)?,
            )?,
            rows: add(registry, IntCounterVec::new(Opts::new("hedef_rows_total", "Rows answered."), &MODEL)?)?,
            batches: add(
                registry,
                IntCounterVec::new(Opts::new("hedef_batches_total", "Runs of the model."), &MODEL)?,
            )?,
            cancelled: add(
                registry,
                IntCounterVec::new(
                    Opts::new(
                        "hedef_cancelled_requests_total",
                        "Queued requests not run because their callers had left.",
                    ),
                    &MODEL,
                )?,
            )?,
            expired: add(
                registry,
                IntCounterVec::new(
                    Opts::new(
                        "hedef_expired_requests_total",
                        "Queued requests not run because the time they allowed was over.",
                    ),
                    &MODEL,
                )?,
            )?,
            refused: add(
                registry,
                IntCounterVec::new(
                    Opts::new(
                        "hedef_refused_requests_total",
                        "Requests refused: the queue was full, or the answer would have come late.",
                    ),
                    &MODEL_REASON,
                )?,
            )?,
            stopped: add(
                registry,
                IntCounterVec::new(
                    Opts::new("hedef_stopped_runs_total", "Runs ended early because all their callers had left."),
                    &MODEL,
                )?,
            )?,
            saved_seconds: add(
                registry,
                CounterVec::new(
                    Opts::new(
                        "hedef_saved_run_seconds_total",
                        "Time of runs, as expected, that was saved by stopping them or not beginning them.",
                    ),
                    &MODEL,
                )?,
            )?,
            queue_depth: add(registry, IntGaugeVec::new(Opts::new("hedef_queue_depth", "Requests waiting."), &MODEL)?)?,
            instances: add(
                registry,
                IntGaugeVec::new(Opts::new("hedef_instances", "Threads that run the model."), &MODEL)?,
            )?,
            instances_busy: add(
                registry,
                IntGaugeVec::new(Opts::new("hedef_instances_busy", "Threads that are running the model now."), &MODEL)?,
            )?,
            ready: add(
                registry,
                IntGaugeVec::new(
                    Opts::new("hedef_model_ready", "1 when the model version can score, 0 when it cannot."),
                    &MODEL,
                )?,
            )?,
            load_seconds: add(
                registry,
                GaugeVec::new(
                    Opts::new("hedef_model_load_duration_seconds", "Time the last load took, warm-up included."),
                    &MODEL,
                )?,
            )?,
            loads: add(
                registry,
                IntCounterVec::new(
                    Opts::new("hedef_model_loads_total", "Attempts to load the model version, by outcome."),
                    &MODEL_OUTCOME,
                )?,
            )?,
            memory: add(
                registry,
                IntGaugeVec::new(
                    Opts::new(
                        "hedef_model_memory_bytes",
                        "Memory of the loaded model version. kind=mapped: the size of its file in the graph cache, \
                         whose pages are shared and can be given up. kind=private: the growth of this process's own \
                         memory while it was loaded, at least the bytes of its weights that are not mapped; where \
                         other models were loaded at the same time, those alone.",
                    ),
                    &["model", "version", "kind"],
                )?,
            )?,
            evictions: add(
                registry,
                IntCounterVec::new(
                    Opts::new("hedef_model_evictions_total", "Times the model version made room for another."),
                    &MODEL,
                )?,
            )?,
            on_demand_loads: add(
                registry,
                IntCounterVec::new(
                    Opts::new("hedef_model_on_demand_loads_total", "Loads that a request for the model version began."),
                    &MODEL,
                )?,
            )?,
            trials: add(
                registry,
                IntCounterVec::new(
                    Opts::new(
                        "hedef_model_trials_total",
                        "Loads tried in a process of their own: ok, refused, crashed, too_slow, too_large or failed.",
                    ),
                    &MODEL_OUTCOME,
                )?,
            )?,
            stuck: add(
                registry,
                IntGauge::new(
                    "hedef_stuck_runs",
                    "Runs of models that have been going on for longer than --stuck-run-s.",
                )?,
            )?,
            predicted_wait: add(
                registry,
                GaugeVec::new(
                    Opts::new(
                        "hedef_predicted_wait_seconds",
                        "How long a request that comes now is expected to wait for its run.",
                    ),
                    &MODEL,
                )?,
            )?,
            threads: add(
                registry,
                IntGauge::new("hedef_threads", "Threads that runs of all models together may use.")?,
            )?,
            utilization: add(
                registry,
                Gauge::new(
                    "hedef_utilization_ratio",
                    "Share of the threads' time that was used lately, by runs or else by the whole process, whichever is \
                     more: 0 to 1.",
                )?,
            )?,
        })
    }

    /// The metrics of one model version.
    #[must_use]
    pub fn model(&self, id: &ModelId) -> ModelMetrics {
        let version = id.version.to_string();
        let labels = [id.name.as_str(), version.as_str()];
        let outcome = |outcome| [id.name.as_str(), version.as_str(), outcome];
        ModelMetrics {
            stages: Arc::new(StageMetrics {
                model: id.clone(),
                decode: self.decode_seconds.with_label_values(&labels),
                encode: self.encode_seconds.with_label_values(&labels),
                whole: Default::default(),
            }),
            queue_ok: self.queue_seconds.with_label_values(&outcome("ok")),
            compute_ok: self.compute_seconds.with_label_values(&outcome("ok")),
            queue_failed: Kind::ALL
                .map(|kind| (kind, self.queue_seconds.clone(), outcome(kind.label()).map(String::from))),
            batch_rows: self.batch_rows.with_label_values(&labels),
            rows: self.rows.with_label_values(&labels),
            batches: self.batches.with_label_values(&labels),
            cancelled: self.cancelled.with_label_values(&labels),
            expired: self.expired.with_label_values(&labels),
            refused: REFUSALS.map(|reason| (reason, self.refused.with_label_values(&outcome(reason)))),
            stopped: self.stopped.with_label_values(&labels),
            saved_seconds: self.saved_seconds.with_label_values(&labels),
            queue_depth: self.queue_depth.with_label_values(&labels),
            predicted_wait: self.predicted_wait.with_label_values(&labels),
            instances: self.instances.with_label_values(&labels),
            instances_busy: self.instances_busy.with_label_values(&labels),
        }
    }

    /// Counts one attempt to load a model version.
    pub(crate) fn loaded(&self, id: &ModelId, outcome: &str, took: Duration) {
        let version = id.version.to_string();
        self.loads.with_label_values(&[id.name.as_str(), &version, outcome]).inc();
        self.load_seconds.with_label_values(&[id.name.as_str(), &version]).set(took.as_secs_f64());
    }

    /// Says how much memory a model version takes.
    pub(crate) fn memory(&self, id: &ModelId, memory: ModelMemory) {
        let version = id.version.to_string();
        for (kind, bytes) in [("mapped", memory.mapped), ("private", memory.private)] {
            let gauge = self.memory.with_label_values(&[id.name.as_str(), version.as_str(), kind]);
            gauge.set(i64::try_from(bytes).unwrap_or(i64::MAX));
        }
    }

    /// Counts a model version that made room for another.
    pub(crate) fn evicted(&self, id: &ModelId) {
        self.evictions.with_label_values(&[id.name.as_str(), &id.version.to_string()]).inc();
    }

    /// Counts a load that a request began.
    pub(crate) fn woken(&self, id: &ModelId) {
        self.on_demand_loads.with_label_values(&[id.name.as_str(), &id.version.to_string()]).inc();
    }

    /// Counts a load that was tried elsewhere.
    pub(crate) fn tried(&self, id: &ModelId, outcome: &str) {
        self.trials.with_label_values(&[id.name.as_str(), &id.version.to_string(), outcome]).inc();
    }

    /// Says how many runs are stuck.
    pub(crate) fn stuck(&self, runs: usize) {
        self.stuck.set(i64::try_from(runs).unwrap_or(i64::MAX));
    }

    /// Says how many threads there are, and which share of their time was used.
    pub(crate) fn utilization(&self, threads: usize, used: f64) {
        self.threads.set(i64::try_from(threads).unwrap_or(i64::MAX));
        self.utilization.set(used);
    }

    /// Says that a model version is not loaded any more.
    pub(crate) fn unloaded(&self, id: &ModelId) {
        self.ready(id, false);
        self.memory(id, ModelMemory::default());
        self.predicted_wait.with_label_values(&[id.name.as_str(), &id.version.to_string()]).set(0.0);
    }

    /// Says whether a model version can score.
    pub(crate) fn ready(&self, id: &ModelId, ready: bool) {
        self.ready.with_label_values(&[id.name.as_str(), &id.version.to_string()]).set(i64::from(ready));
    }
}

/// What is observed of one model version's requests before the core has them and after, by who brings them.
#[derive(Debug)]
pub struct StageMetrics {
    /// Which one that is.
    pub model: ModelId,
    /// From bytes to tensors, in seconds.
    pub decode: Histogram,
    /// From tensors to bytes, in seconds.
    pub encode: Histogram,
    /// From the head of a request to its answer, in seconds, of those that went well: by protocol, bound by who brings
    /// them when there is a first one.
    pub whole: [OnceLock<Histogram>; PROTOCOLS],
}

/// The metrics of one model version, their labels bound once.
#[derive(Clone, Debug)]
pub struct ModelMetrics {
    stages: Arc<StageMetrics>,
    queue_ok: Histogram,
    compute_ok: Histogram,
    /// Bound when first needed, so that outcomes that never happen have no series.
    queue_failed: [(Kind, HistogramVec, [String; 3]); 7],
    batch_rows: Histogram,
    rows: IntCounter,
    batches: IntCounter,
    cancelled: IntCounter,
    expired: IntCounter,
    refused: [(&'static str, IntCounter); 2],
    stopped: IntCounter,
    saved_seconds: Counter,
    queue_depth: IntGauge,
    predicted_wait: Gauge,
    instances: IntGauge,
    instances_busy: IntGauge,
}

impl ModelMetrics {
    pub(crate) const fn stages(&self) -> &Arc<StageMetrics> {
        &self.stages
    }

    pub(crate) fn ran(&self, rows: usize, queued: &[Duration], compute: Duration) {
        let count = u32::try_from(rows).unwrap_or(u32::MAX);
        self.batches.inc();
        self.rows.inc_by(u64::from(count));
        self.batch_rows.observe(f64::from(count));
        for waited in queued {
            self.queue_ok.observe(waited.as_secs_f64());
            self.compute_ok.observe(compute.as_secs_f64());
        }
    }

    pub(crate) fn failed(&self, waited: Duration, kind: Kind) {
        if let Some((_, histogram, labels)) = self.queue_failed.iter().find(|(other, ..)| *other == kind) {
            histogram.with_label_values(labels).observe(waited.as_secs_f64());
        }
    }

    /// Counts a request that was not run, since its time was over or else its caller had left, and the seconds that its
    /// run would have taken.
    pub(crate) fn not_run(&self, expired: bool, seconds: f64) {
        if expired { &self.expired } else { &self.cancelled }.inc();
        self.saved_seconds.inc_by(seconds.max(0.0));
    }

    /// Counts a request refused for one of [`REFUSALS`].
    pub(crate) fn refused(&self, reason: &str) {
        if let Some((_, counter)) = self.refused.iter().find(|(other, _)| *other == reason) {
            counter.inc();
        }
    }

    /// Counts a run ended early, and the seconds that it would have gone on.
    pub(crate) fn stopped(&self, seconds: f64) {
        self.stopped.inc();
        self.saved_seconds.inc_by(seconds.max(0.0));
    }

    pub(crate) fn queue_depth(&self, waiting: usize) {
        self.queue_depth.set(i64::try_from(waiting).unwrap_or(i64::MAX));
    }

    /// How long a request that comes now is expected to wait.
    pub(crate) fn predicted_wait(&self, wait: Duration) {
        self.predicted_wait.set(wait.as_secs_f64());
    }

    pub(crate) fn instances(&self, change: i64) {
        self.instances.add(change);
    }

    /// Counts an instance as busy until the guard is dropped.
    pub(crate) fn busy(&self) -> Busy<'_> {
        self.instances_busy.inc();
        Busy(&self.instances_busy)
    }
}

/// One busy instance.
pub(crate) struct Busy<'a>(&'a IntGauge);

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        self.0.dec();
    }
}

fn histogram(name: &str, help: &str, buckets: Vec<f64>) -> HistogramOpts {
    HistogramOpts::new(name, help).buckets(buckets)
}

fn add<T: prometheus::core::Collector + Clone + 'static>(
    registry: &Registry,
    metric: T,
) -> Result<T, prometheus::Error> {
    registry.register(Box::new(metric.clone()))?;
    Ok(metric)
}
