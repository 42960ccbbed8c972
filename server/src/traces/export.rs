//! Sends spans to the collector, some at a time, and never lets anybody wait for that.

use std::pin::pin;
use std::time::{Duration, Instant};

use bytes::Bytes;
use prometheus::IntCounter;
use prost::Message;
use tokio::sync::mpsc;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::Built;
use super::collector::{Collector, Refused};
use super::otlp::{Export, Exported, Resource, ResourceSpans, Scope, ScopeSpans, Span, attribute};
use crate::config::Traces as Config;

/// As many spans are sent at once.
const MOST: usize = 512;

/// The longest that a span waits for others before they are sent.
const INTERVAL: Duration = Duration::from_secs(1);

/// How long to wait before what was not taken is posted again, once.
const BACKOFF: Duration = Duration::from_secs(1);

/// There is one line in the log for all failures in this time.
const QUIET: Duration = Duration::from_secs(60);

/// Sends what comes through the queue.
pub(crate) struct Exporter {
    collector: Collector,
    resource: Resource,
    queue: mpsc::Receiver<Vec<Span>>,
    dropped: IntCounter,
    complained: Option<Instant>,
    /// Spans that were dropped since.
    lost: u64,
    _built: Built,
}

impl Exporter {
    /// Fails where no connection could ever be made.
    pub(super) fn new(
        config: &Config,
        queue: mpsc::Receiver<Vec<Span>>,
        dropped: IntCounter,
        built: Built,
    ) -> Result<Self, String> {
        let instance = fastrand::u128(..);
        let attributes = vec![
            attribute("service.name", config.service_name.as_str()),
            attribute("service.version", env!("CARGO_PKG_VERSION")),
            attribute("service.instance.id", format!("{instance:032x}")),
        ];
        let (collector, resource) = (Collector::new(config.collector.clone())?, Resource { attributes });
        Ok(Self { collector, resource, queue, dropped, complained: None, lost: 0, _built: built })
    }

    /// The spans that wait.
    #[cfg(test)]
    pub(crate) fn waiting(&mut self) -> Vec<Span> {
        std::iter::from_fn(|| self.queue.try_recv().ok()).flatten().collect()
    }

    /// Sends spans until `stop`, and then those that still wait.
    pub(crate) async fn run(mut self, stop: CancellationToken) {
        let mut over = false;
        while !over {
            let mut spans = Vec::new();
            over = self.gather(&mut spans, &stop).await;
            if !spans.is_empty() {
                self.send(spans, &stop).await;
            }
        }
    }

    /// Waits until there are enough spans, or the first has waited long enough. Returns whether there will be no more.
    async fn gather(&mut self, spans: &mut Vec<Span>, stop: &CancellationToken) -> bool {
        let mut due = pin!(sleep(INTERVAL));
        while spans.len() < MOST {
            tokio::select! {
                biased;
                () = stop.cancelled() => match self.queue.try_recv() {
                    Ok(more) => spans.extend(more),
                    Err(_) => return true,
                },
                more = self.queue.recv() => {
                    let Some(more) = more else { return true };
                    if spans.is_empty() {
                        due.as_mut().reset(tokio::time::Instant::now() + INTERVAL);
                    }
                    spans.extend(more);
                }
                () = &mut due, if !spans.is_empty() => return false,
            }
        }
        false
    }

    async fn send(&mut self, spans: Vec<Span>, stop: &CancellationToken) {
        let count = u64::try_from(spans.len()).unwrap_or(u64::MAX);
        let message = Bytes::from(self.message(spans).encode_to_vec());
        let mut posted = self.collector.post(message.clone()).await;
        if posted.as_ref().is_err_and(Refused::may_pass) {
            tokio::select! { () = sleep(BACKOFF) => (), () = stop.cancelled() => () }
            posted = self.collector.post(message).await;
        }
        match posted {
            Ok(reply) => {
                let partial = Exported::decode(reply).ok().and_then(|exported| exported.partial_success);
                if let Some(partial) = partial.filter(|partial| partial.rejected_spans > 0) {
                    let rejected = u64::try_from(partial.rejected_spans).unwrap_or_default();
                    self.lose(rejected, &format!("it rejected some: {}", partial.error_message.escape_debug()));
                }
            }
            Err(refused) => self.lose(count, &refused.to_string()),
        }
    }

    fn message(&self, spans: Vec<Span>) -> Export {
        let scope = Scope { name: "hedef".into(), version: env!("CARGO_PKG_VERSION").into() };
        let scope_spans = vec![ScopeSpans { scope: Some(scope), spans }];
        Export { resource_spans: vec![ResourceSpans { resource: Some(self.resource.clone()), scope_spans }] }
    }

    fn lose(&mut self, spans: u64, reason: &str) {
        self.dropped.inc_by(spans);
        self.lost = self.lost.saturating_add(spans);
        if self.complained.is_none_or(|at| at.elapsed() >= QUIET) {
            let lost = std::mem::take(&mut self.lost);
            tracing::warn!(spans = lost, "the collector of traces did not take {lost} spans: {reason}");
            self.complained = Some(Instant::now());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use axum::Router;
    use axum::extract::State;
    use axum::routing::post;
    use http::StatusCode;
    use tokio::net::TcpListener;
    use tokio_util::task::AbortOnDropHandle;

    use super::*;
    use crate::config::{Config as Checked, Settings, TraceSettings};

    /// A collector that answers these statuses, the last for ever, and notes how many spans came with each.
    async fn collector(statuses: &'static [u16]) -> (String, mpsc::UnboundedReceiver<usize>, AbortOnDropHandle<()>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (posted, posts) = mpsc::unbounded_channel();
        let next = Arc::new(AtomicUsize::new(0));
        let take = async move |State(next): State<Arc<AtomicUsize>>, body: Bytes| {
            let export = Export::decode(body).unwrap();
            posted.send(export.resource_spans[0].scope_spans[0].spans.len()).unwrap();
            let at = next.fetch_add(1, Ordering::Relaxed).min(statuses.len() - 1);
            StatusCode::from_u16(statuses[at]).unwrap()
        };
        let routes = Router::new().route("/v1/traces", post(take)).with_state(next);
        let serving = tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let routes = hyper_util::service::TowerToHyperService::new(routes.clone());
                let http = hyper::server::conn::http1::Builder::new();
                tokio::spawn(http.serve_connection(hyper_util::rt::TokioIo::new(stream), routes));
            }
        });
        (format!("http://{address}/v1/traces"), posts, AbortOnDropHandle::new(serving))
    }

    fn exporter(endpoint: String) -> (mpsc::Sender<Vec<Span>>, Exporter, IntCounter) {
        let settings = TraceSettings { endpoint, sample: 1.0, service_name: "test".into(), headers: String::new() };
        let config = Checked::new(Settings { traces: Some(settings), ..Settings::default() }).unwrap();
        let (queue, waiting) = mpsc::channel(8);
        let dropped = IntCounter::new("dropped", "dropped").unwrap();
        let exporter = Exporter::new(config.traces.as_ref().unwrap(), waiting, dropped.clone(), Built).unwrap();
        (queue, exporter, dropped)
    }

    fn stopped() -> CancellationToken {
        let stop = CancellationToken::new();
        stop.cancel();
        stop
    }

    #[tokio::test]
    async fn what_waits_is_sent_before_the_end_some_at_a_time() {
        let (endpoint, mut posts, _serving) = collector(&[200]).await;
        let (queue, exporter, dropped) = exporter(endpoint);
        for _ in 0..3 {
            queue.try_send(vec![Span::default(); 300]).unwrap();
        }
        exporter.run(stopped()).await;
        assert_eq!((posts.recv().await, posts.recv().await, dropped.get()), (Some(600), Some(300), 0));
    }

    #[tokio::test]
    async fn spans_are_sent_when_the_first_has_waited_long_enough() {
        let (endpoint, mut posts, _serving) = collector(&[200]).await;
        let (queue, exporter, _) = exporter(endpoint);
        queue.try_send(vec![Span::default(); 2]).unwrap();
        let _running = AbortOnDropHandle::new(tokio::spawn(exporter.run(CancellationToken::new())));
        assert_eq!(posts.recv().await, Some(2));
    }

    #[tokio::test]
    async fn a_busy_collector_is_asked_once_more_and_one_that_refuses_is_not() {
        for (statuses, tries, lost) in [(&[503, 200][..], 2, 0), (&[503], 2, 5), (&[400], 1, 5)] {
            let (endpoint, mut posts, _serving) = collector(statuses).await;
            let (queue, exporter, dropped) = exporter(endpoint);
            queue.try_send(vec![Span::default(); 5]).unwrap();
            exporter.run(stopped()).await;
            posts.close();
            let mut tried = 0;
            while posts.recv().await.is_some() {
                tried += 1;
            }
            assert_eq!((tried, dropped.get()), (tries, lost), "{statuses:?}");
        }
    }

    #[tokio::test]
    async fn a_collector_that_is_not_there_costs_spans_and_nothing_else() {
        let gone = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
        let (queue, exporter, dropped) = exporter(format!("http://{gone}/v1/traces"));
        queue.try_send(vec![Span::default(); 5]).unwrap();
        exporter.run(stopped()).await;
        assert_eq!(dropped.get(), 5);
    }
}
