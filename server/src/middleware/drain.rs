//! Reads what a handler left of a request's body.
//!
//! A refusal often comes before the body has arrived. HTTP/1.1 can go on with the next request on that connection only
//! behind the body's end; without it the connection would end, and a client that goes on sending might never read the
//! refusal.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody};
use http::Request;
use hyper::body::{Frame, SizeHint};
use tokio::time::{Instant, timeout_at};

use crate::call::Call;
use crate::payload::{Source, next};

/// A client that is silent for so long has to come again.
const PATIENCE: Duration = Duration::from_secs(2);

/// Hands the body to the handler such that what it leaves comes back to `call`.
pub(super) fn lend(request: Request<Body>, call: &Call) -> Request<Body> {
    if request.body().is_end_stream() {
        return request;
    }
    request.map(|body| Body::new(Lent { body: Some(body), call: call.clone() }))
}

/// Reads `body` to its end, and says whether it was there within `limit` bytes and in time.
pub(super) async fn read_on(body: &mut impl Source, limit: usize, due: std::time::Instant) -> bool {
    let mut read = 0_usize;
    while read <= limit {
        let patience = (Instant::now() + PATIENCE).min(due.into());
        match timeout_at(patience, next(body)).await {
            Ok(Ok(Some(more))) => read = read.saturating_add(more.len()),
            Ok(Ok(None)) => return true,
            Ok(Err(_)) | Err(_) => return false,
        }
    }
    false
}

/// A body that comes back when its reader drops it before its end.
struct Lent {
    body: Option<Body>,
    call: Call,
}

impl HttpBody for Lent {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        self.body.as_mut().map_or(Poll::Ready(None), |body| Pin::new(body).poll_frame(context))
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(HttpBody::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map_or_else(|| SizeHint::with_exact(0), HttpBody::size_hint)
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        if let Some(body) = self.body.take().filter(|body| !body.is_end_stream()) {
            self.call.leave(body);
        }
    }
}
