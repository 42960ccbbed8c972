//! A request that is over, as spans: its own, one below it for each stage, and one for the run that it shared.
//!
//! Names follow OpenTelemetry's conventions for HTTP and RPC servers.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use hedef_core::story::{Run, Story};
use http::{Method, StatusCode, Uri};

use super::Traced;
use super::context::Context;
use super::otlp::{self, KeyValue, Link, Span, SpanKind, Status, attribute};
use crate::app::App;
use crate::call::Call;
use crate::error::{ApiError, Code};
use crate::metrics::Protocol;
use crate::seen::Seen;

/// In a span's flags: it is sampled, it is known whether its parent came over the network, and it did.
const FLAGS: u32 = 1 | 0x100;
const REMOTE: u32 = 0x200;

/// The attribute that says why a request that came to the queue was not run.
const TURNED_AWAY: &str = "hedef.turned_away";

/// A followed request that is over.
pub(crate) struct Finished<'a> {
    pub(crate) app: &'a App,
    pub(crate) call: &'a Call,
    pub(crate) seen: &'a Seen,
    pub(crate) traced: &'a Traced,
    pub(crate) protocol: Protocol,
    pub(crate) method: &'a Method,
    pub(crate) uri: &'a Uri,
    /// `None` where nobody was left to answer.
    pub(crate) status: Option<StatusCode>,
    /// `ok`, or what went wrong.
    pub(crate) outcome: &'static str,
    pub(crate) end: Instant,
}

impl Finished<'_> {
    /// All spans of the request; the run's among them if no other request has told it yet.
    pub(super) fn spans(&self) -> Vec<Span> {
        let clock = Clock::new(self.end);
        let mut spans = Vec::with_capacity(6);
        spans.push(self.server(&clock));
        let stage = |name: &str, from, to| self.stage(name, clock.nanoseconds(from), clock.nanoseconds(to));
        let decoded = self.seen.decoded();
        if let (Some(began), Some(decoded)) = (self.call.decoding(), decoded) {
            spans.push(stage("decode", began, decoded));
        }
        let Some(story) = self.seen.story() else {
            if let Some(away) = self.seen.turned_away().filter(|away| !away.waited.is_zero()) {
                let mut queue = stage("queue", away.came, away.came.checked_add(away.waited).unwrap_or(away.came));
                queue.attributes = vec![
                    attribute("hedef.road.reason", away.road.to_string()),
                    attribute(TURNED_AWAY, away.why.to_string()),
                ];
                spans.push(queue);
            }
            return spans;
        };
        let ended = story.began.checked_add(story.timings.compute).unwrap_or(story.began);
        // One that was run at once and alone did not wait to speak of.
        if let Some(came) = story.timings.came.filter(|_| !story.road.is_at_once() || story.run.requests > 1) {
            spans.push(stage("queue", came, story.began));
        }
        let mut compute = stage("compute", story.began, ended);
        compute.status = self.failed(story);
        compute.attributes = vec![
            attribute("hedef.road", if story.road.is_at_once() { "inline" } else { "queued" }),
            attribute("hedef.road.reason", story.road.to_string()),
            attribute("hedef.threads", story.threads),
        ];
        if let (Some(number), Some(first)) = (story.run.number, story.run.marks.first()) {
            let run = Context::of_run(first);
            compute.links.push(link(&run));
            if story.run.is_untold() {
                spans.push(self.run(story, number, &run, [story.began, ended].map(|at| clock.nanoseconds(at))));
            }
        }
        spans.push(compute);
        if let Some(began) = self.call.encoding() {
            spans.push(stage("encode", began, self.end));
        }
        spans
    }

    /// How a run ended, for the spans that tell of it.
    fn failed(&self, story: &Story) -> Option<Status> {
        story.run.failed.then(|| Status { message: self.message(), code: otlp::StatusCode::Error.into() })
    }

    /// What is said of a request that failed: no more than its caller was told.
    fn message(&self) -> String {
        self.seen.failure().map_or_else(|| self.outcome.to_owned(), ApiError::told)
    }

    /// The request itself.
    fn server(&self, clock: &Clock) -> Span {
        let failure = self.seen.failure();
        let (name, mut attributes) = match self.protocol {
            Protocol::Grpc => self.call_of_grpc(failure),
            protocol => self.request_of_http(protocol),
        };
        attributes.push(attribute("hedef.protocol", self.protocol.label()));
        attributes.push(attribute("hedef.request_id", self.call.id().to_string()));
        if let Some(model) = self.call.model() {
            attributes.push(attribute("hedef.model", model.name.as_str()));
            attributes.push(attribute("hedef.version", model.version));
        }
        if let Some(rows) = self.seen.rows() {
            attributes.push(attribute("hedef.rows", rows));
        }
        if let Some(guest) = self.call.guest() {
            attributes.push(attribute("hedef.key", guest.name()));
        }
        if let Some(away) = self.seen.turned_away() {
            attributes.push(attribute(TURNED_AWAY, away.why.to_string()));
        }
        let ok = self.outcome == crate::middleware::observe::OK;
        if !ok {
            attributes.push(attribute("error.type", self.outcome));
        }
        // What is wrong with a request is no error of the server.
        let faulty = match (self.status, self.protocol, failure) {
            (None, ..) => true,
            (Some(_), Protocol::Grpc, Some(failure)) => is_fault(failure.code()),
            (Some(status), ..) => status.is_server_error(),
        };
        let status = faulty.then(|| Status { message: self.message(), code: otlp::StatusCode::Error.into() });
        let times = [self.call.received(), self.end].map(|at| clock.nanoseconds(at));
        let remote = if self.traced.parent.is_some() { REMOTE } else { 0 };
        Span {
            trace_state: self.traced.state.clone(),
            parent_span_id: self.traced.parent.map(|parent| parent.span.into()).unwrap_or_default(),
            attributes,
            status,
            flags: FLAGS | remote,
            ..span(name, &self.traced.own, SpanKind::Server, times)
        }
    }

    fn call_of_grpc(&self, failure: Option<&ApiError>) -> (String, Vec<KeyValue>) {
        let name = self.uri.path().trim_start_matches('/');
        let (service, method) = name.split_once('/').unwrap_or((name, ""));
        let mut attributes =
            vec![attribute("rpc.system", "grpc"), attribute("rpc.service", service), attribute("rpc.method", method)];
        if self.status.is_some() {
            attributes.push(attribute("rpc.grpc.status_code", failure.map_or(0, |failure| failure.code() as u16)));
        }
        (name.to_owned(), attributes)
    }

    fn request_of_http(&self, protocol: Protocol) -> (String, Vec<KeyValue>) {
        let route = self.route(protocol);
        let scheme = if self.app.config.tls.is_some() { "https" } else { "http" };
        let mut attributes = vec![
            attribute("http.request.method", self.method.as_str()),
            attribute("http.route", route.as_str()),
            attribute("url.path", self.uri.path()),
            attribute("url.scheme", scheme),
        ];
        if let Some(status) = self.status {
            attributes.push(attribute("http.response.status_code", status.as_u16()));
        }
        (format!("{} {route}", self.method), attributes)
    }

    /// The path with its model and version as parameters: few enough to be told apart by.
    fn route(&self, protocol: Protocol) -> String {
        let version = if self.uri.path().contains("/versions/") { "/versions/{version}" } else { "" };
        match protocol {
            Protocol::V1 => format!("/v1/models/{{model}}{version}:predict"),
            Protocol::Azure => format!("{}/score", self.app.config.azure.path_prefix),
            Protocol::CustomVision => format!("{}/image", self.app.config.azure.path_prefix),
            Protocol::V2 | Protocol::Grpc => format!("/v2/models/{{model}}{version}/infer"),
        }
    }

    /// One stage of the request.
    fn stage(&self, name: &str, from: u64, to: u64) -> Span {
        let own = Context::new(Some(self.traced.own.trace));
        let parent_span_id = self.traced.own.span.into();
        Span { parent_span_id, ..span(name.into(), &own, SpanKind::Internal, [from, to.max(from)]) }
    }

    /// The run, in a trace of its own, with links to those of its requests that are followed.
    fn run(&self, story: &Story, number: u64, own: &Context, times: [u64; 2]) -> Span {
        let Run { rows, requests, size, padded, marks, .. } = &*story.run;
        let mut attributes = vec![
            attribute("hedef.batch.id", number),
            attribute("hedef.batch.rows", *rows),
            attribute("hedef.batch.requests", *requests),
            attribute("hedef.batch.reason", size.to_string()),
            attribute("hedef.threads", story.threads),
        ];
        if let Some(model) = self.call.model() {
            attributes.push(attribute("hedef.model", model.name.as_str()));
            attributes.push(attribute("hedef.version", model.version));
        }
        attributes.extend(story.instance.map(|instance| attribute("hedef.instance", instance)));
        attributes.extend(padded.map(|padded| attribute("hedef.batch.padded", padded)));
        let links = marks.iter().map(|mark| link(&Context::from_mark(mark))).collect();
        Span { attributes, links, status: self.failed(story), ..span("batch".into(), own, SpanKind::Internal, times) }
    }
}

fn span(name: String, own: &Context, kind: SpanKind, [start, end]: [u64; 2]) -> Span {
    Span {
        trace_id: own.trace.into(),
        span_id: own.span.into(),
        name,
        kind: kind.into(),
        start_time_unix_nano: start,
        end_time_unix_nano: end,
        flags: FLAGS,
        ..Span::default()
    }
}

fn link(to: &Context) -> Link {
    Link { trace_id: to.trace.into(), span_id: to.span.into(), flags: 1 }
}

/// Whether a call that ended so is the server's fault, as the conventions have it.
const fn is_fault(code: Code) -> bool {
    matches!(code, Code::DeadlineExceeded | Code::Unimplemented | Code::Internal | Code::Unavailable)
}

/// Turns instants into times of day.
struct Clock {
    instant: Instant,
    nanoseconds: u64,
}

impl Clock {
    /// `now` has just been read.
    fn new(now: Instant) -> Self {
        let today = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self { instant: now, nanoseconds: u64::try_from(today.as_nanos()).unwrap_or(u64::MAX) }
    }

    fn nanoseconds(&self, at: Instant) -> u64 {
        let ago = self.instant.saturating_duration_since(at).as_nanos();
        self.nanoseconds.saturating_sub(u64::try_from(ago).unwrap_or(u64::MAX))
    }
}
