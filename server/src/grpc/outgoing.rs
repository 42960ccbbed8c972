//! The answer to a call: messages in their frames, and how it ended in the trailers behind them.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use hedef_protocols::v2::grpc::{PREFIX, prefix};
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderName, HeaderValue};
use hyper::body::{Body as HttpBody, Frame, SizeHint};

use crate::body::work;
use crate::encoding::{Coding, GRPC_ACCEPT_ENCODING, GRPC_ENCODING};
use crate::error::ApiError;

/// The media type of every answer.
pub(crate) const GRPC: HeaderValue = HeaderValue::from_static("application/grpc");

/// The header, or the trailer, of how a call ended.
pub(crate) const STATUS: HeaderName = HeaderName::from_static("grpc-status");

/// The header, or the trailer, that says why.
pub(crate) const MESSAGE: HeaderName = HeaderName::from_static("grpc-message");

/// Smaller messages gain nothing from compression.
const WORTH_PACKING: usize = 1024;

/// Packing a byte takes so many times as long as writing one of JSON.
const SLOWER: usize = 4;

/// The head of an answer whose messages may be packed with `coding`.
pub(super) fn head(coding: Option<Coding>, body: Body) -> Response {
    let mut response = Response::new(body);
    response.headers_mut().insert(CONTENT_TYPE, GRPC);
    if let Some(coding) = coding {
        response.headers_mut().insert(GRPC_ENCODING, coding.name());
        response.headers_mut().insert(GRPC_ACCEPT_ENCODING, Coding::ALL);
    }
    response
}

/// An answer of one message, in its frame.
pub(super) fn one(message: Bytes, coding: Option<Coding>) -> Result<Response, ApiError> {
    let message = pack(message, coding)?;
    Ok(head(coding, Body::new(One { message: Some(message), status: Some(ended_well()) })))
}

/// Packs a message in its frame, if that is worth it.
pub(super) fn pack(message: Bytes, coding: Option<Coding>) -> Result<Bytes, ApiError> {
    let Some(coding) = coding.filter(|_| message.len() >= WORTH_PACKING) else { return Ok(message) };
    let fault = |error| ApiError::Fault(format!("packing an answer: {error}"));
    let plain = message.get(PREFIX..).unwrap_or_default();
    let packed = work(plain.len().saturating_mul(SLOWER), || coding.compress(plain)).map_err(fault)?;
    let mut framed = Vec::with_capacity(PREFIX + packed.len());
    framed.extend_from_slice(&prefix(true, packed.len())?);
    framed.extend_from_slice(&packed);
    Ok(framed.into())
}

/// The trailers of a call that was answered.
pub(super) fn ended_well() -> HeaderMap {
    HeaderMap::from_iter([(STATUS, HeaderValue::from_static("0"))])
}

/// One message, and the trailers.
struct One {
    message: Option<Bytes>,
    status: Option<HeaderMap>,
}

impl HttpBody for One {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let frame = self.message.take().map(Frame::data);
        Poll::Ready(frame.or_else(|| self.status.take().map(Frame::trailers)).map(Ok))
    }

    fn is_end_stream(&self) -> bool {
        self.status.is_none()
    }

    /// Not exact: an exact size would be written into a header, which gRPC does not know.
    fn size_hint(&self) -> SizeHint {
        let mut hint = SizeHint::new();
        hint.set_lower(self.message.as_ref().map_or(0, |message| message.len() as u64));
        hint
    }
}
