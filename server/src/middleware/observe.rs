//! The metrics of a request, its trace, and its line in the log.

use std::fmt;
use std::time::Instant;

use hedef_core::Kind;
use hedef_protocols::v2::grpc::Note;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri};

use crate::access::Guest;
use crate::app::App;
use crate::call::Call;
use crate::error::ApiError;
use crate::log::AccessLine;
use crate::seen::{EXPLAIN, STORY};
use crate::traces::{Finished, PARENT, STATE};

/// The outcome of a request that was answered.
pub(crate) const OK: &str = "ok";

/// The headers of a request's trace, given back as they came.
pub(crate) fn trace(headers: &HeaderMap) -> HeaderMap {
    let given = |name: HeaderName| headers.get_all(&name).into_iter().map(move |value| (name.clone(), value.clone()));
    [PARENT, STATE].into_iter().flat_map(given).collect()
}

/// Tells who asked what was seen of a scoring request, and its caller which span is its own.
pub(crate) fn tell(call: &Call, failure: Option<&ApiError>, headers: &mut HeaderMap) {
    let Some(seen) = call.seen().filter(|_| call.protocol().is_some()) else { return };
    if let Some(own) = seen.traced().and_then(|traced| traced.own.header()) {
        headers.insert(PARENT, own);
    }
    if let Some(story) = seen.told(call, failure).and_then(|story| HeaderValue::try_from(story).ok()) {
        headers.insert(EXPLAIN, story);
    }
}

/// The same of its story for the answer to a request in a stream, which has no header.
pub(crate) fn note(call: &Call, failure: Option<&ApiError>) -> Option<Note<'static>> {
    call.seen()?.told(call, failure).map(|story| (STORY, story))
}

/// Watches one request from its head to its end, whatever that is: counts it, observes it once if it was for scoring,
/// and writes its line.
pub(crate) struct Watch<'r> {
    app: &'r App,
    call: &'r Call,
    method: Method,
    uri: Uri,
    end: End,
}

/// What became of a request.
enum End {
    /// There was nobody left to answer.
    ClientLeft,
    /// It was answered; as what, for the metrics.
    Answered(StatusCode, &'static str),
}

impl<'r> Watch<'r> {
    pub(crate) fn begin(app: &'r App, call: &'r Call, (method, uri): (&Method, &Uri)) -> Self {
        app.metrics.in_flight.inc();
        Self { app, call, method: method.clone(), uri: uri.clone(), end: End::ClientLeft }
    }

    /// The path that was asked for.
    pub(crate) fn path(&self) -> &str {
        self.uri.path()
    }

    /// Notes that there is an answer: of this status, because of this failure if it is one.
    pub(crate) fn answered(&mut self, status: StatusCode, failure: Option<&ApiError>) {
        if let Some(ApiError::Access(refusal)) = failure {
            self.app.metrics.not_let_in(refusal);
        }
        if let (Some(failure), Some(seen)) = (failure, self.call.seen()) {
            seen.fail(failure);
        }
        self.end = End::Answered(status, failure.map_or(OK, |error| error.kind().label()));
    }

    /// Probes and scrapes come every few seconds and would hide the rest.
    fn is_routine(&self) -> bool {
        matches!(
            self.uri.path(),
            "/" | "/metrics" | "/v2/health/live" | "/v2/health/ready" | "/grpc.health.v1.Health/Check"
        )
    }
}

impl fmt::Display for Watch<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} ", self.method, self.uri.path())?;
        match self.end {
            // What became of a call of gRPC does not stand in its status.
            End::Answered(StatusCode::OK, outcome) if outcome != OK => write!(f, "200 {outcome}"),
            End::Answered(status, _) => write!(f, "{}", status.as_u16()),
            End::ClientLeft => f.write_str("ended: the client left"),
        }
    }
}

impl Drop for Watch<'_> {
    fn drop(&mut self) {
        let now = Instant::now();
        let took = now.saturating_duration_since(self.call.received());
        self.app.metrics.in_flight.dec();
        let (status, outcome) = match self.end {
            End::Answered(status, outcome) => (Some(status), outcome),
            End::ClientLeft if std::thread::panicking() => (None, "internal"),
            End::ClientLeft => (None, "cancelled"),
        };
        if let Some(guest) = self.call.guest() {
            self.app.metrics.came_from(guest.name(), outcome);
        }
        if let Some(protocol) = self.call.protocol() {
            self.app.metrics.scored(self.call.stages(), protocol, outcome, took);
            if outcome == OK {
                self.call.encoded(now);
            }
            if let (Some(traces), Some(seen)) = (&self.app.traces, self.call.seen())
                && let Some(traced) = seen.traced()
            {
                let (app, call, method, uri, end) = (self.app, self.call, &self.method, &self.uri, now);
                traces.take(&Finished { app, call, seen, traced, protocol, method, uri, status, outcome, end });
            }
        }
        let failed = outcome != OK || status.is_none_or(|status| status.is_client_error() || status.is_server_error());
        // A line for each success would cost more than most successes, and hide the failures.
        macro_rules! line {
            ($level:ident $(, $field:ident = $value:expr)?) => {
                tracing::$level!(
                    request.id = %self.call.id(),
                    key = self.call.guest().map(|guest| tracing::field::display(guest.name())),
                    subject = self.call.guest().and_then(|guest| guest.subject()),
                    model = self.call.model().map(tracing::field::display),
                    http.status = status.map(|status| status.as_u16()),
                    http.ms = (took.as_secs_f64() * 1e6).round() / 1e3,
                    $($field = $value,)?
                    "{self}"
                )
            };
        }
        if !failed || self.is_routine() {
            // All or none of them need no random number.
            let part = self.app.config.access_log;
            let chosen = part > 0.0 && !self.is_routine() && (part >= 1.0 || fastrand::f64() < part);
            match (&self.app.config.log, status) {
                (Some(log), Some(status)) if chosen => log.access(&AccessLine {
                    method: &self.method,
                    path: self.uri.path(),
                    status,
                    id: self.call.id().text(&mut [0; 32]),
                    key: self.call.guest().map(Guest::name),
                    subject: self.call.guest().and_then(Guest::subject),
                    model: self.call.model(),
                    took,
                }),
                _ => line!(debug),
            }
        } else {
            let is_refusal = outcome == Kind::ResourceExhausted.label();
            let flood = if is_refusal { &self.app.refusals } else { &self.app.failures };
            match flood.pass() {
                Some(0) if !is_refusal => line!(info),
                Some(others) => line!(info, others_since_last_line = others),
                None => line!(debug),
            }
        }
    }
}
