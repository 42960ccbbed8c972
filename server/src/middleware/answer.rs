//! What happens to every answer on its way out, and what it says of itself.

use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::FutureExt;
use hedef_core::host::at_length;
use http::header::{ACCEPT_ENCODING, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_LENGTH, VARY, X_CONTENT_TYPE_OPTIONS};
use http::{HeaderName, HeaderValue};
use http_body_util::BodyExt;
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use tokio::task::spawn_blocking;

use crate::app::App;
use crate::encoding::Coding;
use crate::error::ApiError;
use crate::payload::IN_PLACE;
use crate::request_id::{REQUEST_ID, RequestId};
use crate::room::{FREE, Held};

/// Smaller answers gain nothing from compression.
const WORTH_PACKING: u64 = 1024;

/// An answer, and what it says of itself beside its headers.
#[derive(Debug)]
pub(crate) struct Answered {
    pub(crate) response: Response,
    pub(crate) own: Own,
}

/// What an answer says of itself. To write it right behind the status takes less than to keep it among the headers until
/// then.
#[derive(Debug, Default)]
pub(crate) struct Own {
    /// The id of its request.
    pub(super) id: Option<RequestId>,
    /// Whether it says that it is what its type says, and for the one who asked alone. Other headers of this sort are
    /// about documents that a browser shows, of which there are none here; `Strict-Transport-Security` would hold for
    /// everything else on this host too.
    pub(super) hardened: bool,
}

impl From<Response> for Answered {
    fn from(response: Response) -> Self {
        Self { response, own: Own::default() }
    }
}

#[cfg(test)]
impl Answered {
    /// The same with all that it says among its headers.
    pub(crate) fn whole(mut self) -> Response {
        let headers = self.response.headers_mut();
        self.own.each(|name, value| {
            let before = headers.insert(name, HeaderValue::from_bytes(value).unwrap());
            assert!(before.is_none(), "{name} stands twice");
        });
        self.response
    }
}

impl Own {
    /// Tells each header.
    pub(crate) fn each(&self, mut tell: impl FnMut(&HeaderName, &[u8])) {
        if let Some(id) = &self.id {
            tell(&REQUEST_ID, id.text(&mut [0; 32]).as_bytes());
        }
        if self.hardened {
            tell(&X_CONTENT_TYPE_OPTIONS, b"nosniff");
            tell(&CACHE_CONTROL, b"no-store");
        }
    }
}

/// Compresses an answer that is worth it as its client `wanted`.
pub(super) async fn compress(mut response: Response, wanted: Option<Coding>) -> Response {
    let known = response.body().size_hint().exact().is_some_and(|size| size >= WORTH_PACKING);
    if !known || response.headers().contains_key(CONTENT_ENCODING) {
        return response;
    }
    response.headers_mut().append(VARY, HeaderValue::from(ACCEPT_ENCODING));
    match wanted {
        Some(coding) => Box::pin(pack(coding, response)).await.unwrap_or_else(IntoResponse::into_response),
        None => response,
    }
}

async fn pack(coding: Coding, response: Response) -> Result<Response, ApiError> {
    let fault = |error: &dyn std::fmt::Display| ApiError::Fault(format!("packing an answer: {error}"));
    let (mut parts, body) = response.into_parts();
    let plain = body.collect().await.map_err(|error| fault(&error))?.to_bytes();
    let packed = if plain.len() <= IN_PLACE {
        coding.compress(&plain)
    } else {
        spawn_blocking(move || at_length(|| coding.compress(&plain))).await.map_err(|error| fault(&error))?
    };
    let packed = Bytes::from(packed.map_err(|error| fault(&error))?);
    parts.headers.remove(CONTENT_LENGTH);
    parts.headers.insert(CONTENT_ENCODING, coding.name());
    Ok(Response::from_parts(parts, Body::from(packed)))
}

/// Counts what an answer holds of the memory of requests until it is written, where that is much.
pub(super) fn count(response: Response, app: &App) -> Response {
    if response.body().size_hint().exact().is_none_or(|size| size <= FREE as u64) {
        return response;
    }
    let app = app.clone();
    response.map(|body| Body::new(Counted { body, app }))
}

/// A body that counts.
struct Counted {
    body: Body,
    app: App,
}

impl HttpBody for Counted {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let frame = Pin::new(&mut self.body).poll_frame(context);
        frame.map_ok(|frame| frame.map_data(|bytes| Held::count(bytes, &self.app)))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Awaits the answer of a handler; if it panics, that is an answer to the one request that caused it.
pub(super) fn catch_panic(handling: impl Future<Output = Response>) -> impl Future<Output = Response> {
    caught(handling).map(|outcome| outcome.unwrap_or_else(IntoResponse::into_response))
}

/// Awaits what a handler does; if it panics, that is an error.
pub(crate) fn caught<T>(handling: impl Future<Output = T>) -> impl Future<Output = Result<T, ApiError>> {
    AssertUnwindSafe(handling).catch_unwind().map(|outcome| {
        outcome.map_err(|panic| {
            let words = panic.downcast_ref::<String>().map(String::as_str);
            let words = words.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("without a message");
            ApiError::Fault(format!("a handler panicked: {words}"))
        })
    })
}
