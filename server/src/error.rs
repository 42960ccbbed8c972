//! Every refusal and failure that a client can see, its HTTP status, and its body in the words of each protocol.

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use hedef_core::{Kind, ModelId};
use http::header::{ACCEPT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderValue, StatusCode};

use crate::access::Refusal;
use crate::call::Call;
use crate::family::Family;

/// Why a request gets no answer of its own.
#[derive(Clone, Debug, thiserror::Error)]
pub(crate) enum ApiError {
    #[error(transparent)]
    Core(#[from] hedef_core::Error),
    #[error(transparent)]
    Protocol(#[from] hedef_protocols::Error),
    #[error(transparent)]
    Access(#[from] Refusal),
    #[error("there is nothing at `{0}`")]
    NoRoute(String),
    #[error("nothing can be posted to `{0}`: expected `:predict` at its end")]
    NoVerb(String),
    #[error("`:{0}` is not done here: expected `:predict`")]
    Verb(String),
    #[error(
        "it is not said which model `/score` means: start the server with `--score-model NAME` (HEDEF_SCORE_MODEL), \
         or send the header `azureml-model-deployment: NAME`; the models are {0}"
    )]
    NoScoreModel(String),
    #[error("there is no document of version `{0}`: expected 2, 2.0, 3, 3.0 or 3.1")]
    NoDocument(String),
    #[error("`{0}` is not allowed here: the Allow header lists the methods that are")]
    NoMethod(http::Method),
    #[error(
        "the body is too large{}: at most {limit} bytes are allowed, counted after decompression, and it has {}",
        .model.as_ref().map(|model| format!(" for model `{model}`")).unwrap_or_default(),
        .found.map_or_else(|| "more".to_string(), |found| found.to_string())
    )]
    BodyTooLarge { limit: usize, model: Option<ModelId>, found: Option<usize> },
    #[error("content encoding `{0}` is not supported: expected gzip, deflate or identity")]
    ContentEncoding(String),
    #[error("content type `{found}` is not supported: expected {expected}")]
    ContentType { found: String, expected: &'static str },
    #[error("header `{name}` is longer than {limit} characters")]
    HeaderTooLong { name: &'static str, limit: usize },
    #[error("header `grpc-timeout`: expected up to eight digits and one of H M S m u n, such as `500m`, got `{0}`")]
    NoTimeout(String),
    #[error("the body could not be read to its end: {0}")]
    BodyBroken(String),
    #[error("the body did not arrive in time")]
    BodyTimeout,
    #[error("{0}")]
    Forbidden(&'static str),
    #[error("the request did not finish within {0} ms")]
    Timeout(u128),
    #[error("{0}")]
    Fault(String),
}

impl ApiError {
    /// The kind of failure, for metrics.
    pub(crate) const fn kind(&self) -> Kind {
        match self {
            Self::Core(error) => error.kind(),
            Self::Protocol(error) => error.kind(),
            Self::Access(refusal) => refusal.kind(),
            Self::NoRoute(_) | Self::NoVerb(_) | Self::NoDocument(_) => Kind::NotFound,
            Self::Verb(_) => Kind::Unsupported,
            Self::NoMethod(_)
            | Self::NoScoreModel(_)
            | Self::BodyTooLarge { .. }
            | Self::ContentEncoding(_)
            | Self::ContentType { .. }
            | Self::HeaderTooLong { .. }
            | Self::NoTimeout(_)
            | Self::BodyBroken(_)
            | Self::BodyTimeout
            | Self::Forbidden(_) => Kind::InvalidArgument,
            Self::Timeout(_) => Kind::DeadlineExceeded,
            Self::Fault(_) => Kind::Internal,
        }
    }

    /// The status: what HTTP itself has a number for, else that of the kind.
    const fn status(&self, family: Family) -> StatusCode {
        match self {
            Self::NoMethod(_) => StatusCode::METHOD_NOT_ALLOWED,
            Self::BodyTooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            Self::ContentEncoding(_) | Self::ContentType { .. } => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::HeaderTooLong { .. } => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            Self::BodyTimeout => StatusCode::REQUEST_TIMEOUT,
            Self::Forbidden(_) => StatusCode::FORBIDDEN,
            Self::Access(refusal) => refusal.status(),
            Self::Core(_)
            | Self::Protocol(_)
            | Self::NoRoute(_)
            | Self::NoVerb(_)
            | Self::NoDocument(_)
            | Self::Verb(_)
            | Self::NoScoreModel(_)
            | Self::NoTimeout(_)
            | Self::BodyBroken(_)
            | Self::Timeout(_)
            | Self::Fault(_) => status(self.kind(), family),
        }
    }

    /// What the client is told. The reason of an internal failure is for the log alone.
    fn told(&self) -> String {
        match self.kind() {
            Kind::Internal => {
                "the server failed on this request: its log tells why, under the id in x-request-id".into()
            }
            _ => self.to_string(),
        }
    }

    /// Whole seconds after which to ask again: as long as what waits now will take, at least one.
    fn retry_after_seconds(&self) -> u64 {
        let wait = match self {
            Self::Core(error) => error.retry_after(),
            Self::Access(refusal) => refusal.wait(),
            _ => None,
        };
        let wait = wait.unwrap_or_default();
        (wait.as_secs() + u64::from(wait.subsec_nanos() > 0)).max(1)
    }

    fn headers(&self) -> HeaderMap {
        let mut headers = HeaderMap::new();
        if matches!(self.kind(), Kind::ResourceExhausted | Kind::Unavailable) {
            headers.insert(RETRY_AFTER, HeaderValue::from(self.retry_after_seconds()));
        }
        if matches!(self, Self::ContentEncoding(_)) {
            headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("gzip, deflate"));
        }
        if let Self::Access(refusal) = self {
            let challenge = refusal.challenge().map(HeaderValue::from_static);
            headers.extend(challenge.map(|challenge| (WWW_AUTHENTICATE, challenge)));
        }
        headers
    }
}

/// The one table from kinds to statuses.
pub(crate) const fn status(kind: Kind, family: Family) -> StatusCode {
    match (kind, family) {
        (Kind::InvalidArgument, _) => StatusCode::BAD_REQUEST,
        (Kind::NotFound, _) => StatusCode::NOT_FOUND,
        (Kind::Unsupported, _) => StatusCode::NOT_IMPLEMENTED,
        (Kind::ResourceExhausted, Family::Azure) => StatusCode::TOO_MANY_REQUESTS,
        (Kind::ResourceExhausted, Family::Inference) | (Kind::Unavailable, _) => StatusCode::SERVICE_UNAVAILABLE,
        (Kind::DeadlineExceeded, _) => StatusCode::GATEWAY_TIMEOUT,
        (Kind::Internal, _) => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

/// The status and the body depend on the route's protocol, which [`render`] knows; so the error travels there.
impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut response = StatusCode::INTERNAL_SERVER_ERROR.into_response();
        response.extensions_mut().insert(self);
        response
    }
}

/// Gives an error its status, its body and its line in the log. Headers that stand already, such as `Allow`, stay.
pub(crate) fn render(error: &ApiError, mut response: Response, family: Family, call: &Call) -> Response {
    if error.kind() == Kind::Internal {
        tracing::error!(request.id = %call.id(), error.detail = %error, "a request failed: {error}");
    }
    *response.status_mut() = error.status(family);
    response.headers_mut().extend(error.headers());
    response.headers_mut().remove(CONTENT_LENGTH);
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    *response.body_mut() = Body::from(family.error_body(&error.told()));
    response
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use hedef_core::{Error, ModelId, ModelName};

    use crate::request_id::RequestId;

    use super::*;

    #[test]
    fn every_kind_has_its_status() {
        let expected = [400, 404, 501, 503, 503, 504, 500];
        let found = Kind::ALL.map(|kind| status(kind, Family::Inference).as_u16());
        assert_eq!(found, expected);
        assert_eq!(status(Kind::ResourceExhausted, Family::Azure), 429);
        assert_eq!(status(Kind::Unavailable, Family::Azure), 503);
    }

    #[test]
    fn an_overload_says_when_to_come_again() {
        let error = ApiError::Core(Error::NotReady { model: "iris".into(), reason: "it is loading".into() });
        let call = Call::new(RequestId::New(1), Duration::from_secs(1), Ok(None));
        let response = render(&error, Response::default(), Family::Inference, &call);
        assert_eq!((response.status().as_u16(), response.headers()[RETRY_AFTER].as_bytes()), (503, &b"1"[..]));
    }

    #[test]
    fn whole_seconds_to_wait_are_rounded_up() {
        let model = ModelId { name: ModelName::new("iris").unwrap(), version: 1 };
        for (ms, seconds) in [(0, 1), (999, 1), (1000, 1), (1001, 2), (7500, 8)] {
            let error = ApiError::Core(Error::TooBusy { model: model.clone(), wait: Duration::from_millis(ms) });
            assert_eq!(error.headers()[RETRY_AFTER], seconds.to_string(), "{ms} ms");
        }
    }

    #[test]
    fn the_reason_of_an_internal_failure_is_not_told() {
        let error = ApiError::Core(Error::Failed { model: "iris".into(), reason: "secret".into() });
        assert!(!error.told().contains("secret"));
    }
}
