//! The body of a request: read whole, unpacked, and never larger than allowed.

use std::fmt::Display;
use std::pin::pin;

use axum::extract::{FromRequest, Request};
use bytes::{Bytes, BytesMut};
use hedef_core::ModelId;
use hedef_protocols::v2;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderName};
use http_body_util::BodyExt;
use hyper::body::Body as HttpBody;
use tokio::task::spawn_blocking;

use crate::app::App;
use crate::call::Call;
use crate::encoding::Coding;
use crate::error::ApiError;

/// Bodies up to this size are unpacked in place; larger ones on a thread of their own, as that takes milliseconds.
pub(crate) const IN_PLACE: usize = 16 << 10;

/// The media types that JSON and tensors come in. `curl -d` says the second without being asked.
const MEDIA_TYPES: [&str; 4] =
    ["application/json", "application/x-www-form-urlencoded", "application/octet-stream", "text/plain"];

/// A body that bytes come from.
pub(crate) trait Source: HttpBody<Data = Bytes, Error: Display> + Send + Unpin {}

impl<B: HttpBody<Data = Bytes, Error: Display> + Send + Unpin> Source for B {}

/// The bytes of a request's body, of a route that is not about one model.
#[derive(Debug)]
pub(crate) struct Payload(pub(crate) Bytes);

impl FromRequest<App> for Payload {
    type Rejection = ApiError;

    async fn from_request(request: Request, app: &App) -> Result<Self, ApiError> {
        let call = Call::of(request.extensions())?;
        let limit = Limit { bytes: app.config.body_limits.usual, model: None };
        let (head, mut body) = request.into_parts();
        read(app, &call, &head.headers, &mut body, limit).await.map(Self)
    }
}

/// The most bytes that a body may have once decompressed, and the model that this is for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limit<'a> {
    pub(crate) bytes: usize,
    pub(crate) model: Option<&'a ModelId>,
}

impl Limit<'_> {
    pub(crate) fn exceeded(self, found: Option<usize>) -> ApiError {
        ApiError::BodyTooLarge { limit: self.bytes, model: self.model.cloned(), found }
    }
}

/// Reads the body of a request with those headers whole and unpacks it.
pub(crate) async fn read(
    app: &App,
    call: &Call,
    headers: &HeaderMap,
    body: &mut impl Source,
    limit: Limit<'_>,
) -> Result<Bytes, ApiError> {
    let coding = announced(headers, body, limit)?;
    let bytes = call.in_time(pin!(whole(body, limit))).await.ok_or(ApiError::BodyTimeout)??;
    app.metrics.request_bytes.inc_by(u64::try_from(bytes.len()).unwrap_or(u64::MAX));
    match coding {
        Some(coding) => Box::pin(unpack(coding, bytes, limit)).await,
        None => Ok(bytes),
    }
}

/// Checks what the head says of the body.
fn announced(headers: &HeaderMap, body: &impl Source, limit: Limit<'_>) -> Result<Option<Coding>, ApiError> {
    media_type(headers)?;
    let coding = Coding::of_request(headers)?;
    let least = usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX);
    if least > limit.bytes { Err(limit.exceeded(Some(least))) } else { Ok(coding) }
}

fn media_type(headers: &HeaderMap) -> Result<(), ApiError> {
    let Some(value) = headers.get(CONTENT_TYPE) else { return Ok(()) };
    if value == MEDIA_TYPES[0] {
        return Ok(());
    }
    let found = String::from_utf8_lossy(value.as_bytes()).to_ascii_lowercase();
    let essence = found.split(';').next().unwrap_or_default().trim();
    if essence.is_empty() || MEDIA_TYPES.contains(&essence) || essence.ends_with("+json") {
        return Ok(());
    }
    Err(ApiError::ContentType { found: essence.into(), expected: "application/json or application/octet-stream" })
}

async fn whole(body: &mut impl Source, limit: Limit<'_>) -> Result<Bytes, ApiError> {
    let Some(first) = next(body).await? else { return Ok(Bytes::new()) };
    if body.is_end_stream() && first.len() <= limit.bytes {
        return Ok(first);
    }
    // What is left of the announced length, which is within the limit. Pages that no byte reaches cost nothing.
    let rest = usize::try_from(body.size_hint().lower()).unwrap_or(0);
    let mut all = BytesMut::with_capacity(first.len().saturating_add(rest));
    all.extend_from_slice(&first);
    while all.len() <= limit.bytes {
        let Some(more) = next(body).await? else { return Ok(all.freeze()) };
        all.extend_from_slice(&more);
    }
    Err(limit.exceeded(None))
}

/// The next bytes of a body; `None` at its end.
pub(crate) async fn next(body: &mut impl Source) -> Result<Option<Bytes>, ApiError> {
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| ApiError::BodyBroken(error.to_string()))?;
        if let Ok(data) = frame.into_data() {
            return Ok(Some(data));
        }
    }
    Ok(None)
}

async fn unpack(coding: Coding, packed: Bytes, limit: Limit<'_>) -> Result<Bytes, ApiError> {
    let most = limit.bytes;
    let unpacked = if packed.len() <= IN_PLACE {
        coding.decompress(&packed, most)
    } else {
        let unpacking = spawn_blocking(move || coding.decompress(&packed, most)).await;
        unpacking.map_err(|error| ApiError::Fault(format!("unpacking a body: {error}")))?
    };
    let plain = unpacked.map_err(|error| ApiError::BodyBroken(format!("{coding:?}: {error}")))?;
    plain.map(Bytes::from).ok_or_else(|| limit.exceeded(None))
}

/// The header that tells how many bytes of the body are JSON; tensors follow them.
pub(crate) const JSON_LENGTH: HeaderName = HeaderName::from_static("inference-header-content-length");

/// How many bytes of the body are JSON, where the client says so.
pub(crate) fn json_length(headers: &HeaderMap) -> Result<Option<usize>, ApiError> {
    let text = |name: &HeaderName| headers.get(name).map(|value| String::from_utf8_lossy(value.as_bytes()));
    let (length, media_type) = (text(&JSON_LENGTH), text(&CONTENT_TYPE));
    Ok(v2::json_length(length.as_deref(), media_type.as_deref())?)
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use http::HeaderValue;

    use super::*;

    fn of_type(name: &'static str) -> Result<(), ApiError> {
        media_type(&HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static(name))]))
    }

    #[test]
    fn media_types_that_cannot_be_json_or_tensors_are_refused() {
        for right in
            ["application/json", "Application/JSON; charset=utf-8", "application/cloudevents+json", "text/plain"]
        {
            assert!(of_type(right).is_ok(), "{right}");
        }
        for wrong in ["text/csv", "image/png", "multipart/form-data; boundary=x", "application/xml"] {
            assert!(matches!(of_type(wrong), Err(ApiError::ContentType { .. })), "{wrong}");
        }
    }

    #[tokio::test]
    async fn a_body_is_read_up_to_its_limit() {
        let body = || Body::from(vec![0; 100]);
        let limit = |bytes| Limit { bytes, model: None };
        assert_eq!(whole(&mut body(), limit(100)).await.unwrap().len(), 100);
        assert!(matches!(whole(&mut body(), limit(99)).await, Err(ApiError::BodyTooLarge { limit: 99, .. })));
        assert!(whole(&mut Body::empty(), limit(1)).await.unwrap().is_empty());
    }
}
