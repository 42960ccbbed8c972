//! What is known of one HTTP request while it is answered.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use axum::extract::FromRequestParts;
use hedef_core::ModelId;
use http::HeaderValue;
use http::request::Parts;

use crate::error::ApiError;

/// One request, known to the middleware around a handler and to the handler alike.
#[derive(Clone, Debug)]
pub(crate) struct Call(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    id: HeaderValue,
    received: Instant,
    /// In microseconds.
    allowed: AtomicU64,
    model: OnceLock<ModelId>,
}

impl Call {
    /// Begins with the request's id and the time that its answer may take.
    pub(crate) fn new(id: HeaderValue, allowed: Duration) -> Self {
        let allowed = AtomicU64::new(microseconds(allowed));
        Self(Arc::new(Inner { id, received: Instant::now(), allowed, model: OnceLock::new() }))
    }

    /// The id that the client gave, or a new one.
    pub(crate) fn id(&self) -> &HeaderValue {
        &self.0.id
    }

    /// When the head of the request was read.
    pub(crate) fn received(&self) -> Instant {
        self.0.received
    }

    /// How long the answer may take in all.
    pub(crate) fn allowed(&self) -> Duration {
        Duration::from_micros(self.0.allowed.load(Ordering::Relaxed))
    }

    /// Allows no more than `limit` in all: the client's deadlines and the server's own are one, the soonest.
    pub(crate) fn shorten(&self, limit: Duration) {
        self.0.allowed.fetch_min(microseconds(limit), Ordering::Relaxed);
    }

    /// When the answer is due.
    pub(crate) fn deadline(&self) -> Instant {
        self.0.received + self.allowed()
    }

    /// Notes which model the request turned out to be for.
    pub(crate) fn found(&self, model: &ModelId) {
        // A request is for one model: a second note would say the same.
        let _ = self.0.model.set(model.clone());
    }

    /// The model the request is for, once it is known.
    pub(crate) fn model(&self) -> Option<&ModelId> {
        self.0.model.get()
    }
}

fn microseconds(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

impl<S: Sync> FromRequestParts<S> for Call {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        let call = parts.extensions.get::<Self>().cloned();
        call.ok_or_else(|| ApiError::Fault("the route stands outside the middleware".into()))
    }
}
