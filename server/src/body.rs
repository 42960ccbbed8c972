//! The bodies that protocols write, on their way into responses.

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use hedef_core::Tensor;
use hedef_core::host::at_length;
use hedef_protocols::v2;
use http::HeaderValue;
use http::header::CONTENT_TYPE;

use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::task::block_in_place;

use crate::payload::JSON_LENGTH;

/// Decoding and encoding more bytes of JSON than this takes a millisecond or so.
pub(crate) const MUCH: usize = 256 << 10;

/// A byte of a tensor in binary is copied in less than this part of the time that one of JSON takes.
const COPIES: usize = 32;

/// What `bytes` in binary weigh in bytes of JSON.
pub(crate) const fn in_binary(bytes: usize) -> usize {
    bytes / COPIES
}

/// Works on what takes as long as `bytes` bytes of JSON: where they are many, other connections of this thread go on meanwhile on another one.
pub fn work<T>(bytes: usize, work: impl FnOnce() -> T) -> T {
    let many_threads = || Handle::try_current().is_ok_and(|here| here.runtime_flavor() == RuntimeFlavor::MultiThread);
    if bytes > MUCH && many_threads() { block_in_place(|| at_length(work)) } else { work() }
}

/// About how many bytes the answer's tensors have.
pub(crate) fn size(response: &hedef_core::Response) -> usize {
    let size = |tensor: &Tensor| tensor.data().len().saturating_mul(tensor.data_type().size().unwrap_or(24));
    response.outputs.iter().map(|(_, tensor)| size(tensor)).sum()
}

/// A document in JSON.
#[derive(Debug)]
pub(crate) struct Json(pub(crate) Vec<u8>);

impl IntoResponse for Json {
    fn into_response(self) -> Response {
        let mut response = Response::new(Body::from(self.0));
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        response
    }
}

/// A scored request of the Open Inference Protocol: JSON, or JSON with tensors in binary behind it.
#[derive(Debug)]
pub(crate) struct Inferred(pub(crate) v2::Encoded);

impl IntoResponse for Inferred {
    fn into_response(self) -> Response {
        let Some(length) = self.0.json_length else { return Json(self.0.body).into_response() };
        let mut response = Response::new(Body::from(self.0.body));
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
        response.headers_mut().insert(JSON_LENGTH, HeaderValue::from(length));
        response
    }
}
