//! What is known of one HTTP request while it is answered.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::task::Poll;
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::extract::FromRequestParts;
use hedef_core::metrics::StageMetrics;
use hedef_core::{Model, ModelId, Request, Response};
use http::Extensions;
use http::request::Parts;
use tokio::time::timeout_at;

use crate::access::{Guest, Refusal};
use crate::error::ApiError;
use crate::metrics::Protocol;
use crate::request_id::RequestId;
use crate::seen::Seen;

/// One request, known to what stands around a handler and to the handler alike.
#[derive(Clone, Debug)]
pub(crate) struct Call(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    id: RequestId,
    received: Instant,
    /// How long the answer may take in all, in microseconds.
    allowed: AtomicU64,
    /// What is wrong with the time that the client allows.
    misread: Option<ApiError>,
    guest: OnceLock<Guest>,
    /// Its place in [`Protocol::ALL`], from 1 on; 0 for none.
    protocol: AtomicU8,
    /// What is known and observed of its model, which it does not keep loaded.
    stages: OnceLock<Arc<StageMetrics>>,
    unread: Mutex<Option<Body>>,
    decoding: Moment,
    encoding: Moment,
    seen: Option<Box<Seen>>,
}

impl Call {
    /// Begins with the request's id and the time that its answer may take: what the server allows, and no more than
    /// the client `asked` for. `seen` is there where somebody wants to see more of it.
    pub(crate) fn new(
        id: RequestId,
        allowed: Duration,
        asked: Result<Option<Duration>, ApiError>,
        seen: Option<Box<Seen>>,
    ) -> Self {
        let (asked, misread) = match asked {
            Ok(asked) => (asked, None),
            Err(error) => (None, Some(error)),
        };
        Self(Arc::new(Inner {
            id,
            received: Instant::now(),
            allowed: AtomicU64::new(microseconds(asked.map_or(allowed, |asked| asked.min(allowed)))),
            misread,
            guest: OnceLock::new(),
            protocol: AtomicU8::default(),
            stages: OnceLock::new(),
            unread: Mutex::new(None),
            decoding: Moment::default(),
            encoding: Moment::default(),
            seen,
        }))
    }

    /// The call that a request is part of.
    pub(crate) fn of(extensions: &Extensions) -> Result<Self, ApiError> {
        let call = extensions.get::<Self>().cloned();
        call.ok_or_else(|| ApiError::Fault("the route stands outside the middleware".into()))
    }

    /// The id that the client gave, or a new one.
    pub(crate) fn id(&self) -> &RequestId {
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

    /// Waits for `work` until the answer is due; `None` when it is not done by then.
    pub(crate) async fn in_time<T>(&self, mut work: Pin<&mut impl Future<Output = T>>) -> Option<T> {
        // Most work is done when it is first looked at: no timer is made for it.
        if let Poll::Ready(done) = poll_fn(|context| Poll::Ready(work.as_mut().poll(context))).await {
            return Some(done);
        }
        Box::pin(timeout_at(self.deadline().into(), work)).await.ok()
    }

    /// Notes who sent the request.
    pub(crate) fn came_from(&self, guest: &Guest) {
        // A request has one sender: a second note would say the same.
        let _ = self.0.guest.set(guest.clone());
    }

    /// Who sent the request, where that is asked.
    pub(crate) fn guest(&self) -> Option<&Guest> {
        self.0.guest.get()
    }

    /// Whether the sender of the request may use a model.
    pub(crate) fn may_use(&self, model: &str) -> bool {
        self.guest().is_none_or(|guest| guest.may_use(model))
    }

    /// Fails where the sender of the request may not use a model.
    pub(crate) fn check_model(&self, model: &str) -> Result<(), ApiError> {
        match self.guest() {
            Some(guest) if !guest.may_use(model) => {
                Err(Refusal::ModelNotAllowed { guest: guest.name().into(), model: model.into() }.into())
            }
            _ => Ok(()),
        }
    }

    /// Notes that the request is for scoring, so that it is observed whatever becomes of it.
    pub(crate) fn scores(&self, protocol: Protocol) {
        self.0.protocol.store(protocol as u8 + 1, Ordering::Relaxed);
    }

    /// The protocol of a scoring request; `None` for any other.
    pub(crate) fn protocol(&self) -> Option<Protocol> {
        let place = usize::from(self.0.protocol.load(Ordering::Relaxed)).checked_sub(1)?;
        Protocol::ALL.get(place).copied()
    }

    /// Fails where the client said in no words that are known how long it will wait.
    pub(crate) fn checked(&self) -> Result<(), ApiError> {
        self.0.misread.clone().map_or(Ok(()), Err)
    }

    /// Notes which model the request turned out to be for.
    pub(crate) fn found(&self, model: &Model) {
        // A request is for one model: a second note would say the same.
        let _ = self.0.stages.set(Arc::clone(model.stages()));
    }

    /// Where the stages of the request are observed, once its model is known.
    pub(crate) fn stages(&self) -> Option<&StageMetrics> {
        self.0.stages.get().map(Arc::as_ref)
    }

    /// The model the request is for, once it is known.
    pub(crate) fn model(&self) -> Option<&ModelId> {
        self.stages().map(|stages| &stages.model)
    }

    /// Notes that its body is read and is being decoded from now on.
    pub(crate) fn decodes(&self) {
        self.0.decoding.note(self.0.received, Instant::now());
    }

    /// When its body began to be decoded.
    pub(crate) fn decoding(&self) -> Option<Instant> {
        self.0.decoding.after(self.0.received)
    }

    /// Notes that it has been decoded.
    pub(crate) fn decoded(&self, request: Request) -> Request {
        match self.seen() {
            Some(seen) => seen.decode(request),
            None => request,
        }
    }

    /// Notes that its answer is there, and is being written from now on.
    pub(crate) fn ran(&self, response: &Response) {
        if let (Some(stages), Some(began), Some(came)) = (self.stages(), self.decoding(), response.timings.came) {
            stages.decode.observe(came.saturating_duration_since(began).as_secs_f64());
        }
        let timings = response.timings;
        // One that did not wait was run by this thread, until just now.
        let ran = timings.came.filter(|_| timings.queue.is_zero()).and_then(|came| came.checked_add(timings.compute));
        self.0.encoding.note(self.0.received, ran.unwrap_or_else(Instant::now));
    }

    /// When its answer began to be written.
    pub(crate) fn encoding(&self) -> Option<Instant> {
        self.0.encoding.after(self.0.received)
    }

    /// Notes that its answer is written.
    pub(crate) fn encoded(&self, now: Instant) {
        if let (Some(stages), Some(began)) = (self.stages(), self.encoding()) {
            stages.encode.observe(now.saturating_duration_since(began).as_secs_f64());
        }
    }

    /// What is seen of it, where somebody wants to.
    pub(crate) fn seen(&self) -> Option<&Seen> {
        self.0.seen.as_deref()
    }

    /// Keeps what a handler did not read of the body.
    pub(crate) fn leave(&self, body: Body) {
        *self.0.unread.lock().unwrap_or_else(PoisonError::into_inner) = Some(body);
    }

    /// Takes what a handler did not read of the body; `None` when it was read to its end.
    pub(crate) fn unread(&self) -> Option<Body> {
        self.0.unread.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// A moment in the course of a request, which one of its stages notes and later ones read: in nanoseconds from its
/// beginning on, 0 for none.
#[derive(Debug, Default)]
struct Moment(AtomicU64);

impl Moment {
    fn note(&self, received: Instant, now: Instant) {
        let since = u64::try_from(now.saturating_duration_since(received).as_nanos()).unwrap_or(u64::MAX);
        self.0.store(since.max(1), Ordering::Relaxed);
    }

    fn after(&self, received: Instant) -> Option<Instant> {
        let since = self.0.load(Ordering::Relaxed);
        if since == 0 { None } else { received.checked_add(Duration::from_nanos(since)) }
    }
}

fn microseconds(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

impl<S: Sync> FromRequestParts<S> for Call {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        Self::of(&parts.extensions)
    }
}
