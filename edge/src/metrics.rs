//! What the device tells Prometheus beside the server and the core.

use std::time::Duration;

use hedef_core::Kind;
use hedef_core::metrics::SECONDS;
use prometheus::core::Collector;
use prometheus::{
    GaugeVec, Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry,
};

const LANE: [&str; 1] = ["lane"];
const LINK: [&str; 1] = ["link"];

/// The device's metrics, registered once and passed to whatever counts.
#[derive(Clone, Debug)]
pub struct Metrics {
    messages: IntCounterVec,
    seconds: Histogram,
    queue_messages: IntGaugeVec,
    queue_bytes: IntGaugeVec,
    queue_dropped: IntCounterVec,
    queue_damaged: IntCounterVec,
    queue_written: IntCounter,
    held_back: IntCounter,
    skipped: IntCounter,
    temperature: GaugeVec,
    parallel: IntGauge,
    connected: IntGaugeVec,
    connections: IntCounterVec,
    received: IntCounterVec,
    sent: IntCounterVec,
    too_large: IntCounterVec,
    updates: IntCounterVec,
    writable: IntGauge,
}

impl Metrics {
    /// Declares every metric in `registry`.
    pub fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        let counters = |name, help, labels: &[&str]| add(registry, IntCounterVec::new(Opts::new(name, help), labels)?);
        let gauges = |name, help, labels: &[&str]| add(registry, IntGaugeVec::new(Opts::new(name, help), labels)?);
        let seconds =
            HistogramOpts::new("hedef_edge_message_duration_seconds", "Time to score a message from the queue.");
        Ok(Self {
            messages: counters("hedef_edge_messages_total", "Messages scored, by outcome.", &["outcome"])?,
            seconds: add(registry, Histogram::with_opts(seconds.buckets(SECONDS.to_vec()))?)?,
            queue_messages: gauges("hedef_edge_queue_messages", "Messages that wait on disk.", &LANE)?,
            queue_bytes: gauges("hedef_edge_queue_bytes", "Bytes of the queue's files.", &LANE)?,
            queue_dropped: counters("hedef_edge_queue_dropped_total", "Messages given up for want of room.", &LANE)?,
            queue_damaged: counters("hedef_edge_queue_damaged_total", "Messages that could not be read again.", &LANE)?,
            queue_written: add(
                registry,
                IntCounter::new("hedef_edge_queue_written_bytes_total", "Bytes of messages written to the queue.")?,
            )?,
            held_back: add(
                registry,
                IntCounter::new("hedef_edge_held_back_total", "Answers that the filter did not let through.")?,
            )?,
            skipped: add(
                registry,
                IntCounter::new("hedef_edge_skipped_total", "Messages not scored since they were too old.")?,
            )?,
            // Without a label, and so that it can be absent.
            temperature: add(
                registry,
                GaugeVec::new(Opts::new("hedef_edge_temperature_celsius", "The hottest zone of the device."), &[])?,
            )?,
            parallel: add(
                registry,
                IntGauge::new("hedef_edge_parallel", "Messages of a connection that may be scored at a time.")?,
            )?,
            connected: gauges("hedef_edge_connected", "1 while a connection is up.", &LINK)?,
            connections: counters(
                "hedef_edge_connections_total",
                "Tries to connect, by how they ended.",
                &["link", "outcome"],
            )?,
            received: counters("hedef_edge_received_total", "Messages that were taken into the queue.", &LINK)?,
            sent: counters("hedef_edge_sent_total", "Messages that the other side acknowledged.", &LINK)?,
            updates: counters("hedef_edge_updates_total", "Updates of models, by how they ended.", &["outcome"])?,
            writable: add(
                registry,
                IntGauge::new("hedef_edge_data_writable", "1 while the data folder can be written, else 0.")?,
            )?,
            too_large: counters("hedef_edge_too_large_total", "Messages too large for where they were to go.", &LINK)?,
        })
    }

    /// Counts a message that was scored, or failed.
    pub fn scored(&self, failure: Option<Kind>, took: Duration) {
        self.messages.with_label_values(&[failure.map_or("ok", Kind::label)]).inc();
        self.seconds.observe(took.as_secs_f64());
    }

    /// Counts an update of a model: `active`, `failed` or `rolledback`.
    pub fn updated(&self, outcome: &str) {
        self.updates.with_label_values(&[outcome]).inc();
    }

    /// Counts an answer that the filter did not let through.
    pub fn held_back(&self) {
        self.held_back.inc();
    }

    /// Counts a message that was not scored since it was too old.
    pub fn skipped(&self) {
        self.skipped.inc();
    }

    /// How many were.
    #[cfg(test)]
    pub(crate) fn all_skipped(&self) -> u64 {
        self.skipped.get()
    }

    /// Tells the temperature, where it is known, and how many messages may be scored at a time.
    pub fn heat(&self, celsius: Option<f64>, parallel: usize) {
        match celsius {
            Some(celsius) => self.temperature.with_label_values(&[] as &[&str]).set(celsius),
            None => self.temperature.reset(),
        }
        self.parallel.set(parallel.try_into().unwrap_or(i64::MAX));
    }

    /// Tells whether the data folder could be written the last time.
    pub fn writable(&self, writable: bool) {
        self.writable.set(writable.into());
    }

    /// The metrics of a lane.
    #[must_use]
    pub fn lane(&self, name: &str) -> LaneMetrics {
        LaneMetrics {
            messages: self.queue_messages.with_label_values(&[name]),
            bytes: self.queue_bytes.with_label_values(&[name]),
            dropped: self.queue_dropped.with_label_values(&[name]),
            damaged: self.queue_damaged.with_label_values(&[name]),
            written: self.queue_written.clone(),
        }
    }

    /// The metrics of a connection.
    #[must_use]
    pub fn link(&self, name: &'static str) -> LinkMetrics {
        LinkMetrics {
            name,
            connected: self.connected.with_label_values(&[name]),
            connections: self.connections.clone(),
            received: self.received.with_label_values(&[name]),
            sent: self.sent.with_label_values(&[name]),
            too_large: self.too_large.with_label_values(&[name]),
        }
    }
}

/// The metrics of one lane of the queue.
#[derive(Clone, Debug)]
pub struct LaneMetrics {
    messages: IntGauge,
    bytes: IntGauge,
    dropped: IntCounter,
    damaged: IntCounter,
    written: IntCounter,
}

impl LaneMetrics {
    /// Tells how a lane is doing; the last two were counted since the start.
    pub fn observe(&self, messages: u64, bytes: u64, dropped: u64, damaged: u64) {
        self.messages.set(messages.try_into().unwrap_or(i64::MAX));
        self.bytes.set(bytes.try_into().unwrap_or(i64::MAX));
        self.dropped.inc_by(dropped.saturating_sub(self.dropped.get()));
        self.damaged.inc_by(damaged.saturating_sub(self.damaged.get()));
    }

    /// Counts what was written.
    pub fn wrote(&self, bytes: usize) {
        self.written.inc_by(bytes as u64);
    }
}

/// The metrics of one connection.
#[derive(Clone, Debug)]
pub struct LinkMetrics {
    name: &'static str,
    connected: IntGauge,
    connections: IntCounterVec,
    /// Messages that were taken into the queue.
    pub received: IntCounter,
    /// Messages that the other side acknowledged.
    pub sent: IntCounter,
    /// Messages that were too large.
    pub too_large: IntCounter,
}

impl LinkMetrics {
    /// Notes that the connection is up.
    pub fn up(&self) {
        self.connected.set(1);
    }

    /// Notes that the connection, or the try, ended in that way.
    pub fn ended(&self, outcome: &str) {
        self.connected.set(0);
        self.connections.with_label_values(&[self.name, outcome]).inc();
    }
}

fn add<C: Collector + Clone + 'static>(registry: &Registry, metric: C) -> Result<C, prometheus::Error> {
    registry.register(Box::new(metric.clone()))?;
    Ok(metric)
}
