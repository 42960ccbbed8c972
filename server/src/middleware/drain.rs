//! Reads what a handler left of a request's body.
//!
//! A refusal often comes before the body has arrived. HTTP/1.1 can go on with the next request on that connection only
//! behind the body's end; without it the connection would be cut, and a client that sends its next request there loses
//! it.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody};
use axum::extract::Request;
use axum::middleware::Next;
use axum::response::Response;
use http::header::{CONNECTION, EXPECT};
use http::{HeaderValue, Version};
use http_body_util::BodyExt;
use hyper::body::{Frame, SizeHint};
use tokio::time::timeout;

/// More than this is cheaper to refuse with the connection than to read.
const MOST_BYTES: usize = 1 << 20;
/// A client that sends slower than this has to come again.
const PATIENCE: Duration = Duration::from_secs(2);

/// Hands the body to the handler, and reads the rest of it once there is an answer.
pub(crate) async fn drain(request: Request, next: Next) -> Response {
    // One that waits for `100 Continue` has sent nothing, and asking it to would be a lie.
    let waits = request.headers().contains_key(EXPECT);
    let version = request.version();
    let shared = Shared(Arc::new(Mutex::new(None)));
    let request = request.map(|body| {
        *shared.lock() = Some(body);
        Body::new(shared.clone())
    });
    let mut response = next.run(request).await;
    let left = shared.lock().take().filter(|body| !body.is_end_stream());
    if let Some(body) = left
        && version < Version::HTTP_2
        && (waits || !timeout(PATIENCE, read_on(body)).await.unwrap_or(false))
    {
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

/// Reads to the end, and says whether it was there within [`MOST_BYTES`].
async fn read_on(mut body: Body) -> bool {
    let mut read = 0;
    while let Some(frame) = body.frame().await {
        let Ok(frame) = frame else { return false };
        read += frame.data_ref().map_or(0, Bytes::len);
        if read > MOST_BYTES {
            return false;
        }
    }
    true
}

/// A body that stays behind when its reader goes.
#[derive(Clone)]
struct Shared(Arc<Mutex<Option<Body>>>);

impl Shared {
    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Body>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl HttpBody for Shared {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let mut inner = self.lock();
        let Some(body) = inner.as_mut() else { return Poll::Ready(None) };
        let polled = Pin::new(body).poll_frame(context);
        if matches!(polled, Poll::Ready(None)) {
            *inner = None;
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.lock().as_ref().is_none_or(HttpBody::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.lock().as_ref().map_or_else(|| SizeHint::with_exact(0), HttpBody::size_hint)
    }
}
