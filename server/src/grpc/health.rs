//! The standard service for health.

use std::time::Duration;

use axum::body::Body;
use axum::response::Response;
use futures_util::stream::unfold;
use hedef_protocols::v2::grpc::{self, Health};
use http_body_util::StreamBody;
use hyper::body::Frame;
use tokio::time::{Instant, sleep_until};

use super::incoming::Incoming;
use super::models::{only, small};
use super::outgoing;
use crate::app::App;
use crate::call::Call;
use crate::encoding::Coding;
use crate::error::ApiError;
use crate::payload::Source;
use crate::room::Open;

/// How often a watcher's server is looked at.
const LOOK: Duration = Duration::from_millis(500);

/// What is asked about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Service {
    /// The server, under no name or its service's: it is as ready as `/v2/health/ready` says.
    Server,
    /// The name `liveness`, for Kubernetes' probes, and this service: it is well as long as it answers.
    Liveness,
    Unknown,
}

impl Service {
    fn of(name: &str) -> Self {
        match name {
            "" | "inference.GRPCInferenceService" | "readiness" => Self::Server,
            "liveness" | "grpc.health.v1.Health" => Self::Liveness,
            _ => Self::Unknown,
        }
    }

    fn health(self, app: &App) -> Health {
        match self {
            Self::Server if app.is_ready() => Health::Serving,
            Self::Server => Health::NotServing,
            Self::Liveness => Health::Serving,
            Self::Unknown => Health::ServiceUnknown,
        }
    }
}

/// Answers `Check`.
pub(super) async fn check<B: Source>(
    app: &App,
    call: &Call,
    incoming: Incoming<B>,
    coding: Option<Coding>,
) -> Result<Response, ApiError> {
    let name = grpc::decode_health(&only(call, incoming, small(app)).await?)?;
    match Service::of(&name) {
        Service::Unknown => Err(ApiError::NoService(name)),
        service => outgoing::one(grpc::health(service.health(app)), coding),
    }
}

/// What a watcher has been told so far.
struct Watching {
    app: App,
    service: Service,
    told: Option<Health>,
    due: Option<Instant>,
    /// How many milliseconds there were until then.
    allowed: u128,
    ended: bool,
    _open: Open,
}

/// Answers `Watch`: at once, and again whenever the answer changes, until the client leaves or the server stops.
pub(super) async fn watch<B: Source>(
    app: &App,
    call: &Call,
    incoming: Incoming<B>,
    due: Option<Instant>,
) -> Result<Response, ApiError> {
    let service = Service::of(&grpc::decode_health(&only(call, incoming, small(app)).await?)?);
    let open = Open::stream(app)?;
    let received = Instant::from(call.received());
    let allowed = due.map_or(0, |due| due.saturating_duration_since(received).as_millis());
    let watching = Watching { app: app.clone(), service, told: None, due, allowed, ended: false, _open: open };
    let frames = unfold(watching, |watching| Box::pin(watching.next()));
    Ok(outgoing::head(None, Body::new(StreamBody::new(frames))))
}

impl Watching {
    async fn next(mut self) -> Option<(Result<Frame<bytes::Bytes>, std::convert::Infallible>, Self)> {
        if self.ended {
            return None;
        }
        let lifecycle = self.app.lifecycle.clone();
        let error = loop {
            let now = self.service.health(&self.app);
            if self.told.replace(now) != Some(now) {
                return Some((Ok(Frame::data(grpc::health(now))), self));
            }
            let look = Instant::now() + LOOK;
            tokio::select! {
                biased;
                () = lifecycle.draining.raised() => break ApiError::Stopping,
                () = lifecycle.stopping.raised(), if !lifecycle.is_stopping() => {}
                () = sleep_until(self.due.map_or(look, |due| due.min(look))) => {}
            }
            // The client's time is up.
            if self.due.is_some_and(|due| due <= Instant::now()) {
                break ApiError::Timeout(self.allowed);
            }
        };
        self.ended = true;
        Some((Ok(Frame::trailers(error.trailers())), self))
    }
}
