//! The server's own metrics, beside those of core in the same registry.

use std::time::{Duration, Instant};

use hedef_core::metrics::{SECONDS, StageMetrics};
use prometheus::core::Collector;
use prometheus::{
    Encoder, Gauge, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry,
    TextEncoder,
};

use crate::access::Refusal;
use crate::middleware::observe::OK;

/// The label of a request whose model is not known: refused before it was found, or not there at all.
const UNKNOWN: &str = "unknown";

/// What the server counts.
#[derive(Debug)]
pub(crate) struct Metrics {
    request_seconds: HistogramVec,
    pub(crate) in_flight: IntGauge,
    pub(crate) request_bytes: IntCounter,
    pub(crate) response_bytes: IntCounter,
    pub(crate) refused_connections: IntCounter,
    pub(crate) refused_handshakes: IntCounter,
    by_key: IntCounterVec,
    refusals: IntCounterVec,
    pub(crate) dropped_spans: IntCounter,
    uptime: Gauge,
    started: Instant,
    registry: Registry,
}

impl Metrics {
    /// Declares every metric in `registry`, from which [`Metrics::text`] tells them all.
    pub(crate) fn new(registry: Registry) -> Result<Self, prometheus::Error> {
        let request_seconds = HistogramOpts::new(
            "hedef_request_duration_seconds",
            "Time from the head of a scoring request to its answer, refused requests included.",
        );
        let build = IntGaugeVec::new(Opts::new("hedef_build_info", "1, labelled with what runs."), &["version"])?;
        build.with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1);
        add(&registry, build)?;
        #[cfg(target_os = "linux")]
        registry.register(Box::new(prometheus::process_collector::ProcessCollector::for_self()))?;
        Ok(Self {
            request_seconds: add(
                &registry,
                HistogramVec::new(
                    request_seconds.buckets(SECONDS.to_vec()),
                    &["model", "version", "protocol", "outcome"],
                )?,
            )?,
            in_flight: add(
                &registry,
                IntGauge::new("hedef_http_requests_in_flight", "HTTP requests that are being answered now.")?,
            )?,
            request_bytes: add(
                &registry,
                IntCounter::new("hedef_http_request_bytes_total", "Bytes of request bodies, as they arrived.")?,
            )?,
            response_bytes: add(
                &registry,
                IntCounter::new("hedef_http_response_bytes_total", "Bytes of response bodies, as they were sent.")?,
            )?,
            refused_connections: add(
                &registry,
                IntCounter::new(
                    "hedef_http_refused_connections_total",
                    "Connections beyond the limit: closed, or let in for health and metrics only.",
                )?,
            )?,
            refused_handshakes: add(
                &registry,
                IntCounter::new(
                    "hedef_tls_refused_handshakes_total",
                    "Connections that did not agree on TLS: no certificate where one is needed, an old version, no TLS at all.",
                )?,
            )?,
            by_key: add(
                &registry,
                IntCounterVec::new(
                    Opts::new(
                        "hedef_key_requests_total",
                        "Requests with a key, by its name in the file; `token` stands for all tokens.",
                    ),
                    &["key", "outcome"],
                )?,
            )?,
            refusals: add(
                &registry,
                IntCounterVec::new(
                    Opts::new(
                        "hedef_access_refused_total",
                        "Requests that were not let in, for want of a right key or permission, or beyond a key's rate.",
                    ),
                    &["reason"],
                )?,
            )?,
            dropped_spans: add(
                &registry,
                IntCounter::new(
                    "hedef_traces_dropped_total",
                    "Spans that no collector took: it was not there or refused them, or too many waited.",
                )?,
            )?,
            uptime: add(&registry, Gauge::new("hedef_uptime_seconds", "Time since the server started.")?)?,
            started: Instant::now(),
            registry,
        })
    }

    /// Observes one scoring request, whatever became of it.
    pub(crate) fn scored(&self, stages: Option<&StageMetrics>, protocol: Protocol, outcome: &str, took: Duration) {
        let bind = || {
            let id = stages.map(|stages| &stages.model);
            let version = id.map(|id| id.version.to_string());
            let name = id.map_or(UNKNOWN, |id| id.name.as_str());
            let labels = [name, version.as_deref().unwrap_or(UNKNOWN), protocol.label(), outcome];
            self.request_seconds.with_label_values(&labels)
        };
        // Labels are looked up once for what is there most often.
        let usual = stages.filter(|_| outcome == OK).and_then(|stages| stages.whole.get(protocol as usize));
        match usual {
            Some(usual) => usual.get_or_init(bind).observe(took.as_secs_f64()),
            None => bind().observe(took.as_secs_f64()),
        }
    }

    /// Counts a request whose sender is known.
    pub(crate) fn came_from(&self, key: &str, outcome: &str) {
        self.by_key.with_label_values(&[key, outcome]).inc();
    }

    /// Counts a request that was not let in.
    pub(crate) fn not_let_in(&self, refusal: &Refusal) {
        self.refusals.with_label_values(&[refusal.label()]).inc();
    }

    /// Everything in the registry in Prometheus' text format.
    pub(crate) fn text(&self) -> Result<Vec<u8>, prometheus::Error> {
        self.uptime.set(self.started.elapsed().as_secs_f64());
        let mut text = Vec::new();
        TextEncoder::new().encode(&self.registry.gather(), &mut text)?;
        Ok(text)
    }
}

/// The wire contract of a scoring request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protocol {
    /// Open Inference Protocol.
    V2,
    /// Open Inference Protocol over gRPC.
    Grpc,
    /// KServe v1 and TensorFlow Serving.
    V1,
    /// Azure Machine Learning.
    Azure,
    /// Custom Vision's containers.
    CustomVision,
}

impl Protocol {
    /// Every protocol, in the order of its declaration.
    pub(crate) const ALL: [Self; 5] = [Self::V2, Self::Grpc, Self::V1, Self::Azure, Self::CustomVision];

    pub(crate) const fn label(self) -> &'static str {
        match self {
            Self::V2 => "v2",
            Self::Grpc => "grpc",
            Self::V1 => "v1",
            Self::Azure => "azure",
            Self::CustomVision => "custom_vision",
        }
    }
}

fn add<T: Collector + Clone + 'static>(registry: &Registry, metric: T) -> Result<T, prometheus::Error> {
    registry.register(Box::new(metric.clone()))?;
    Ok(metric)
}

#[cfg(test)]
mod tests {
    use hedef_core::metrics::PROTOCOLS;

    use super::*;

    #[test]
    fn protocols_stand_in_their_order() {
        for (at, protocol) in Protocol::ALL.into_iter().enumerate() {
            assert!(protocol as usize == at && at < PROTOCOLS, "{protocol:?}");
        }
    }

    #[test]
    fn every_scoring_request_is_observed_once_and_told() {
        let metrics = Metrics::new(Registry::new()).unwrap();
        metrics.scored(None, Protocol::V2, "not_found", Duration::from_millis(3));
        let text = String::from_utf8(metrics.text().unwrap()).unwrap();
        let line = r#"hedef_request_duration_seconds_count{model="unknown",outcome="not_found",protocol="v2",version="unknown"} 1"#;
        assert!(text.contains(line), "{text}");
        assert!(text.contains("hedef_uptime_seconds") && text.contains("process_cpu_seconds_total"));
    }
}
