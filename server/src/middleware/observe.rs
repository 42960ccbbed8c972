//! The request id, the span, and the one line in the log that each request gets.

use std::fmt;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri};
use hyper::body::Body as _;
use tracing::Instrument;

use crate::app::App;
use crate::call::Call;

/// The header of the request id.
pub(crate) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Headers of a distributed trace, given back as they came.
const TRACE: [HeaderName; 2] = [HeaderName::from_static("traceparent"), HeaderName::from_static("tracestate")];

/// The longest id that is taken from a client.
const LONGEST_ID: usize = 128;

/// Names the request, watches it, and writes its line.
pub(super) async fn observe(State(app): State<App>, mut request: Request, next: Next) -> Response {
    let id = request_id(request.headers());
    let trace = trace(request.headers());
    let call = Call::new(id.clone(), app.config.request_timeout);
    request.extensions_mut().insert(call.clone());
    let span = tracing::info_span!("request", request.id = text(&id));
    let mut line = Line::begin(&app, call, &request);
    let mut response = next.run(request).instrument(span).await;
    response.headers_mut().insert(REQUEST_ID, id);
    response.headers_mut().extend(trace);
    app.metrics.response_bytes.inc_by(response.body().size_hint().lower());
    line.status = Some(response.status());
    response
}

fn trace(headers: &HeaderMap) -> HeaderMap {
    let given = |name: HeaderName| headers.get_all(&name).into_iter().map(move |value| (name.clone(), value.clone()));
    TRACE.into_iter().flat_map(given).collect()
}

/// The id the client gave, if it is fit for headers and logs, else a new one.
fn request_id(headers: &HeaderMap) -> HeaderValue {
    let given = headers.get(REQUEST_ID).filter(|id| fit(id.as_bytes()));
    given.cloned().unwrap_or_else(|| {
        let new = format!("{:032x}", fastrand::u128(..));
        HeaderValue::from_str(&new).unwrap_or_else(|_| HeaderValue::from_static("0"))
    })
}

fn fit(id: &[u8]) -> bool {
    let allowed = |byte: &u8| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'\\' | b'<' | b'>');
    (1..=LONGEST_ID).contains(&id.len()) && id.iter().all(allowed)
}

fn text(id: &HeaderValue) -> &str {
    id.to_str().unwrap_or_default()
}

/// The line in the log, written when the request is over in whatever way.
struct Line {
    app: App,
    call: Call,
    method: Method,
    uri: Uri,
    /// None until there is an answer: a client that leaves earlier gets none.
    status: Option<StatusCode>,
}

impl Line {
    fn begin(app: &App, call: Call, request: &Request) -> Self {
        app.metrics.in_flight.inc();
        Self { app: app.clone(), call, method: request.method().clone(), uri: request.uri().clone(), status: None }
    }

    /// Probes and scrapes come every few seconds and would hide the rest.
    fn is_routine(&self) -> bool {
        matches!(self.uri.path(), "/" | "/metrics" | "/v2/health/live" | "/v2/health/ready")
    }
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} ", self.method, self.uri.path())?;
        match self.status {
            Some(status) => write!(f, "{}", status.as_u16()),
            None => f.write_str("ended: the client left"),
        }
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        self.app.metrics.in_flight.dec();
        let id = text(self.call.id());
        let ms = (self.call.received().elapsed().as_secs_f64() * 1e6).round() / 1e3;
        if self.is_routine() {
            tracing::debug!(request.id = id, http.ms = ms, "{self}");
        } else {
            let model = self.call.model().map(tracing::field::display);
            let status = self.status.map(|status| status.as_u16());
            tracing::info!(request.id = id, model, http.status = status, http.ms = ms, "{self}");
        }
    }
}
