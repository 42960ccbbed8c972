//! The body of a request: read whole, unpacked, and never larger than allowed.

use axum::body::Body;
use axum::extract::{FromRequest, FromRequestParts, Request};
use bytes::{Bytes, BytesMut};
use hedef_protocols::v2;
use http::header::{CONTENT_TYPE, EXPECT};
use http::{HeaderMap, HeaderName, request};
use http_body_util::BodyExt;
use hyper::body::Body as _;
use tokio::task::spawn_blocking;
use tokio::time::timeout_at;

use crate::app::App;
use crate::call::Call;
use crate::encoding::Coding;
use crate::error::ApiError;

/// Bodies up to this size are unpacked in place; larger ones on a thread of their own, as that takes milliseconds.
pub(crate) const IN_PLACE: usize = 16 << 10;

/// The media types that JSON and tensors come in. `curl -d` says the second without being asked.
const MEDIA_TYPES: [&str; 4] =
    ["application/json", "application/x-www-form-urlencoded", "application/octet-stream", "text/plain"];

/// The bytes of a request's body.
#[derive(Debug)]
pub(crate) struct Payload(pub(crate) Bytes);

impl FromRequest<App> for Payload {
    type Rejection = ApiError;

    async fn from_request(request: Request, app: &App) -> Result<Self, ApiError> {
        let (mut parts, body) = request.into_parts();
        let call = Call::from_request_parts(&mut parts, app).await?;
        let limit = app.config.body_limit;
        let reading = async {
            match announced(&parts, &body, limit) {
                Ok(coding) => Ok((coding, read(body, limit).await?)),
                Err(error) => {
                    skip(&parts, body, limit).await;
                    Err(error)
                }
            }
        };
        let (coding, bytes) =
            timeout_at(call.deadline().into(), reading).await.map_err(|_| ApiError::BodyTimeout)??;
        app.metrics.request_bytes.inc_by(u64::try_from(bytes.len()).unwrap_or(u64::MAX));
        match coding {
            Some(coding) => unpack(coding, bytes, limit).await.map(Self),
            None => Ok(Self(bytes)),
        }
    }
}

/// Checks what the head says of the body.
fn announced(parts: &request::Parts, body: &Body, limit: usize) -> Result<Option<Coding>, ApiError> {
    media_type(&parts.headers)?;
    let coding = Coding::of_request(&parts.headers)?;
    let least = usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX);
    if least > limit { Err(ApiError::BodyTooLarge { limit }) } else { Ok(coding) }
}

fn media_type(headers: &HeaderMap) -> Result<(), ApiError> {
    let Some(value) = headers.get(CONTENT_TYPE) else { return Ok(()) };
    let found = String::from_utf8_lossy(value.as_bytes()).to_ascii_lowercase();
    let essence = found.split(';').next().unwrap_or_default().trim();
    if essence.is_empty() || MEDIA_TYPES.contains(&essence) || essence.ends_with("+json") {
        return Ok(());
    }
    Err(ApiError::ContentType { found: essence.into(), expected: "application/json or application/octet-stream" })
}

async fn read(mut body: Body, limit: usize) -> Result<Bytes, ApiError> {
    let Some(first) = next(&mut body).await? else { return Ok(Bytes::new()) };
    if body.is_end_stream() && first.len() <= limit {
        return Ok(first);
    }
    // What is left of the announced length, which is within the limit. Pages that no byte reaches cost nothing.
    let rest = usize::try_from(body.size_hint().lower()).unwrap_or(0);
    let mut all = BytesMut::with_capacity(first.len().saturating_add(rest));
    all.extend_from_slice(&first);
    while all.len() <= limit {
        let Some(more) = next(&mut body).await? else { return Ok(all.freeze()) };
        all.extend_from_slice(&more);
    }
    Err(ApiError::BodyTooLarge { limit })
}

/// Reads what a client sends although it is refused, up to `limit`: a client that is still sending would
/// otherwise find the connection reset and not read the refusal. One that waits for `100 Continue` sends nothing.
async fn skip(parts: &request::Parts, mut body: Body, limit: usize) {
    if parts.headers.contains_key(EXPECT) {
        return;
    }
    let mut skipped = 0_usize;
    while skipped <= limit {
        let Ok(Some(more)) = next(&mut body).await else { return };
        skipped = skipped.saturating_add(more.len());
    }
}

async fn next(body: &mut Body) -> Result<Option<Bytes>, ApiError> {
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| ApiError::BodyBroken(error.to_string()))?;
        if let Ok(data) = frame.into_data() {
            return Ok(Some(data));
        }
    }
    Ok(None)
}

async fn unpack(coding: Coding, packed: Bytes, limit: usize) -> Result<Bytes, ApiError> {
    let unpacked = if packed.len() <= IN_PLACE {
        coding.decompress(&packed, limit)
    } else {
        let unpacking = spawn_blocking(move || coding.decompress(&packed, limit)).await;
        unpacking.map_err(|error| ApiError::Fault(format!("unpacking a body: {error}")))?
    };
    let plain = unpacked.map_err(|error| ApiError::BodyBroken(format!("{coding:?}: {error}")))?;
    plain.map(Bytes::from).ok_or(ApiError::BodyTooLarge { limit })
}

/// How many bytes of the body are JSON, where the client says so; tensors follow them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct JsonLength(pub(crate) Option<usize>);

/// The header that tells it.
pub(crate) const JSON_LENGTH: HeaderName = HeaderName::from_static("inference-header-content-length");

impl<S: Sync> FromRequestParts<S> for JsonLength {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut request::Parts, _: &S) -> Result<Self, ApiError> {
        let text = |name: &HeaderName| parts.headers.get(name).map(|value| String::from_utf8_lossy(value.as_bytes()));
        let (length, media_type) = (text(&JSON_LENGTH), text(&CONTENT_TYPE));
        Ok(Self(v2::json_length(length.as_deref(), media_type.as_deref())?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

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
        assert_eq!(read(body(), 100).await.unwrap().len(), 100);
        assert!(matches!(read(body(), 99).await, Err(ApiError::BodyTooLarge { limit: 99 })));
        assert!(read(Body::empty(), 1).await.unwrap().is_empty());
    }
}
