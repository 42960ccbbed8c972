//! Traces: which requests are followed, and where their spans go.
//!
//! Whether a request is followed is decided once, by its head: its caller's word counts, and without a caller that
//! traces, chance. What is followed is turned into spans when the request is over (`spans.rs`) and sent to a collector in
//! OpenTelemetry's protocol by a task of its own (`export.rs`). Nothing waits for that task: what it has no room for is
//! dropped and counted.
//!
//! In a program that is built without the feature `traces` both ends of that queue are of types that have no value
//! ([`Built`]), so that the compiler leaves out all that would need one.

mod collector;
mod context;
mod export;
mod otlp;
mod spans;
#[cfg(test)]
mod tests;

use http::HeaderMap;
use prometheus::IntCounter;
use tokio::sync::mpsc;

use context::{Context, Parent};
pub(crate) use context::{PARENT, STATE};
pub(crate) use export::Exporter;
use otlp::Span;
pub(crate) use spans::Finished;

use crate::config::Traces as Config;
use crate::metrics::Metrics;

/// Followed requests whose spans may wait to be sent.
const WAITING: usize = 2048;

/// Decides which requests are followed, and takes their spans.
#[derive(Debug)]
pub(crate) struct Traces {
    sample: f64,
    queue: mpsc::Sender<Vec<Span>>,
    dropped: IntCounter,
    _built: Built,
}

/// Shows that traces are built in.
#[cfg(feature = "traces")]
#[derive(Clone, Copy, Debug)]
pub(crate) struct Built;

/// Traces are not built in, so there is nothing to show it.
#[cfg(not(feature = "traces"))]
#[derive(Clone, Copy, Debug)]
pub(crate) enum Built {}

impl Built {
    #[cfg(feature = "traces")]
    #[expect(clippy::unnecessary_wraps, reason = "it is not built in everywhere")]
    const fn here() -> Result<Self, String> {
        Ok(Self)
    }

    #[cfg(not(feature = "traces"))]
    fn here() -> Result<Self, String> {
        Err("this program was built without traces".into())
    }
}

/// A request that is followed.
#[derive(Clone, Debug)]
pub(crate) struct Traced {
    /// Its own span.
    pub(crate) own: Context,
    /// The caller's.
    pub(crate) parent: Option<Context>,
    /// What vendors of tracing add to the caller's.
    pub(crate) state: String,
}

impl Traces {
    /// Follows requests as the settings say; beside it, what sends their spans. Fails where nothing could ever be sent.
    pub(crate) fn new(config: &Config, metrics: &Metrics) -> Result<(Self, Exporter), String> {
        let built = Built::here()?;
        let (queue, waiting) = mpsc::channel(WAITING);
        let dropped = metrics.dropped_spans.clone();
        let exporter = Exporter::new(config, waiting, dropped.clone(), built)?;
        Ok((Self { sample: config.sample, queue, dropped, _built: built }, exporter))
    }

    /// Whether a request with that head is followed.
    pub(crate) fn follow(&self, headers: &HeaderMap) -> Option<Traced> {
        match Parent::of(headers) {
            Some(Parent { sampled: false, .. }) => None,
            Some(Parent { context, sampled: true }) => {
                let own = Context::new(Some(context.trace));
                Some(Traced { own, parent: Some(context), state: context::state(headers) })
            }
            None if fastrand::f64() < self.sample => {
                Some(Traced { own: Context::new(None), parent: None, state: String::new() })
            }
            None => None,
        }
    }

    /// Takes the spans of a request that is over.
    pub(crate) fn take(&self, finished: &Finished<'_>) {
        let spans = finished.spans();
        let count = u64::try_from(spans.len()).unwrap_or(u64::MAX);
        if self.queue.try_send(spans).is_err() {
            self.dropped.inc_by(count);
        }
    }
}

impl Traced {
    /// Another request beside this one, of the same caller.
    pub(crate) fn again(&self) -> Self {
        Self { own: Context::new(self.parent.map(|parent| parent.trace)), ..self.clone() }
    }
}
