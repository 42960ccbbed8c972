//! What happens to every answer on its way out.

use std::panic::AssertUnwindSafe;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::FutureExt;
use http::header::{ACCEPT_ENCODING, CONNECTION, CONTENT_ENCODING, CONTENT_LENGTH, VARY};
use http::{HeaderValue, Version};
use http_body_util::BodyExt;
use hyper::body::Body as _;
use tokio::task::spawn_blocking;

use crate::app::App;
use crate::encoding::Coding;
use crate::error::{self, ApiError};
use crate::family::Family;
use crate::payload::IN_PLACE;

/// Smaller answers gain nothing from compression.
const WORTH_PACKING: u64 = 1024;

/// While stopping, asks for the connection to be closed, so that the client's next request goes elsewhere.
pub(super) async fn say_goodbye(State(app): State<App>, request: Request, next: Next) -> Response {
    // HTTP/2 has its own farewell and forbids this header.
    let closable = request.version() <= Version::HTTP_11;
    let mut response = next.run(request).await;
    if closable && app.lifecycle.is_stopping() {
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

/// Compresses an answer that is worth it for a client that asked.
pub(super) async fn compress(request: Request, next: Next) -> Response {
    let wanted = Coding::for_response(request.headers());
    let mut response = next.run(request).await;
    let known = response.body().size_hint().exact().is_some_and(|size| size >= WORTH_PACKING);
    if !known || response.headers().contains_key(CONTENT_ENCODING) {
        return response;
    }
    response.headers_mut().append(VARY, HeaderValue::from(ACCEPT_ENCODING));
    match wanted {
        Some(coding) => pack(coding, response).await.unwrap_or_else(IntoResponse::into_response),
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
        spawn_blocking(move || coding.compress(&plain)).await.map_err(|error| fault(&error))?
    };
    let packed = Bytes::from(packed.map_err(|error| fault(&error))?);
    parts.headers.remove(CONTENT_LENGTH);
    parts.headers.insert(CONTENT_ENCODING, coding.name());
    Ok(Response::from_parts(parts, Body::from(packed)))
}

/// Gives errors their status and body in the words of the path's protocols.
pub(super) async fn render_errors(State(app): State<App>, request: Request, next: Next) -> Response {
    let family = Family::of(request.uri().path(), &app.config.azure);
    error::render(next.run(request).await, family)
}

/// Answers the one request whose handler panicked.
pub(super) async fn catch_panic(request: Request, next: Next) -> Response {
    let answer = AssertUnwindSafe(next.run(request)).catch_unwind().await;
    answer.unwrap_or_else(|panic| {
        let words = panic.downcast_ref::<String>().map(String::as_str);
        let words = words.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("without a message");
        ApiError::Fault(format!("a handler panicked: {words}")).into_response()
    })
}
