//! Every refusal and failure that a client can see, its HTTP status or gRPC code, and its body in the words of each
//! protocol.

use std::fmt::Write as _;

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use hedef_core::{Kind, ModelId};
use http::header::{ACCEPT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderValue, StatusCode};

use crate::access::Refusal;
use crate::call::Call;
use crate::encoding::{Coding, GRPC_ACCEPT_ENCODING};
use crate::family::Family;
use crate::grpc::{MESSAGE as GRPC_MESSAGE, STATUS as GRPC_STATUS};

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
    #[error(
        "model `{model}` takes no images: say in its model.toml, under [image], how one becomes its input; an empty [image] is \
         enough where that follows from the model"
    )]
    NoImages { model: ModelId },
    #[error("header `{name}` is longer than {limit} characters")]
    HeaderTooLong { name: &'static str, limit: usize },
    #[error("header `grpc-timeout`: expected up to eight digits and one of H M S m u n, such as `500m`, got `{0}`")]
    NoTimeout(String),
    #[error("the body could not be read to its end: {0}")]
    BodyBroken(String),
    #[error("the body did not arrive in time")]
    BodyTimeout,
    #[error("there is no method `{0}` here")]
    NoCall(String),
    #[error("there is no service `{0}` here")]
    NoService(String),
    #[error("the server is stopping")]
    Stopping,
    #[error("the body came too slowly: at least {least} bytes are expected in {window} seconds")]
    BodyTooSlow { least: usize, window: u64 },
    #[error("the {limit} bytes of memory that requests under way may hold are taken: try again later")]
    NoMemory { limit: usize },
    #[error("the request needs {needed} bytes of memory, more than the {limit} that all of them may hold")]
    TooMuchMemory { needed: usize, limit: usize },
    #[error(
        "as many connections are open as the server allows, and this one is for health and metrics only: try again later"
    )]
    TooManyConnections,
    #[error("{0}")]
    Forbidden(&'static str),
    #[error("logging: `log_filter`: {0}")]
    LogFilter(String),
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
            Self::NoRoute(_) | Self::NoVerb(_) | Self::NoDocument(_) | Self::NoService(_) => Kind::NotFound,
            Self::Verb(_) | Self::NoCall(_) => Kind::Unsupported,
            Self::Stopping => Kind::Unavailable,
            Self::NoMethod(_)
            | Self::NoScoreModel(_)
            | Self::BodyTooLarge { .. }
            | Self::ContentEncoding(_)
            | Self::ContentType { .. }
            | Self::NoImages { .. }
            | Self::HeaderTooLong { .. }
            | Self::NoTimeout(_)
            | Self::BodyBroken(_)
            | Self::BodyTimeout
            | Self::BodyTooSlow { .. }
            | Self::TooMuchMemory { .. }
            | Self::LogFilter(_)
            | Self::Forbidden(_) => Kind::InvalidArgument,
            Self::NoMemory { .. } => Kind::ResourceExhausted,
            Self::TooManyConnections => Kind::Unavailable,
            Self::Timeout(_) => Kind::DeadlineExceeded,
            Self::Fault(_) => Kind::Internal,
        }
    }

    /// The status: what HTTP itself has a number for, else that of the kind.
    const fn status(&self, family: Family) -> StatusCode {
        if matches!(family, Family::Grpc) {
            return StatusCode::OK;
        }
        match self {
            Self::NoMethod(_) => StatusCode::METHOD_NOT_ALLOWED,
            Self::BodyTooLarge { .. }
            | Self::TooMuchMemory { .. }
            | Self::Protocol(hedef_protocols::Error::TooManyElements { .. }) => StatusCode::PAYLOAD_TOO_LARGE,
            Self::ContentEncoding(_) | Self::ContentType { .. } | Self::NoImages { .. } => {
                StatusCode::UNSUPPORTED_MEDIA_TYPE
            }
            Self::HeaderTooLong { .. } => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            Self::BodyTimeout | Self::BodyTooSlow { .. } => StatusCode::REQUEST_TIMEOUT,
            Self::Forbidden(_) => StatusCode::FORBIDDEN,
            Self::Access(refusal) => refusal.status(),
            Self::Core(_)
            | Self::Protocol(_)
            | Self::NoRoute(_)
            | Self::NoVerb(_)
            | Self::NoDocument(_)
            | Self::Verb(_)
            | Self::NoCall(_)
            | Self::NoService(_)
            | Self::Stopping
            | Self::NoScoreModel(_)
            | Self::NoTimeout(_)
            | Self::LogFilter(_)
            | Self::BodyBroken(_)
            | Self::NoMemory { .. }
            | Self::TooManyConnections
            | Self::Timeout(_)
            | Self::Fault(_) => status(self.kind(), family),
        }
    }

    /// The gRPC code: what gRPC itself has a code for, else that of the kind.
    pub(crate) const fn code(&self) -> Code {
        match self {
            Self::BodyTooLarge { .. } => Code::ResourceExhausted,
            Self::ContentEncoding(_) => Code::Unimplemented,
            Self::BodyTimeout => Code::DeadlineExceeded,
            Self::Forbidden(_) => Code::PermissionDenied,
            Self::Access(refusal) => refusal.code(),
            _ => code(self.kind()),
        }
    }

    /// What the client is told, in no more than [`MOST_TOLD`] bytes. The reason of an internal failure is for the log alone.
    pub(crate) fn told(&self) -> String {
        match self.kind() {
            Kind::Internal => {
                "the server failed on this request: its log tells why, under the id in x-request-id".into()
            }
            _ => shortened(self.to_string()),
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

    fn headers(&self, family: Family) -> HeaderMap {
        let mut headers = HeaderMap::new();
        if family == Family::Grpc {
            headers = self.trailers();
        }
        if matches!(self.kind(), Kind::ResourceExhausted | Kind::Unavailable) {
            headers.insert(RETRY_AFTER, HeaderValue::from(self.retry_after_seconds()));
        }
        match (self, family) {
            (Self::ContentEncoding(_), Family::Grpc) => headers.insert(GRPC_ACCEPT_ENCODING, Coding::ALL),
            (Self::ContentEncoding(_), _) => headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("gzip, deflate")),
            (Self::Access(refusal), _) => refusal
                .challenge()
                .and_then(|challenge| headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static(challenge))),
            _ => None,
        };
        headers
    }

    /// The trailers of a gRPC call that ends so.
    pub(crate) fn trailers(&self) -> HeaderMap {
        let mut trailers = HeaderMap::new();
        trailers.insert(GRPC_STATUS, HeaderValue::from(self.code() as u16));
        if let Ok(message) = HeaderValue::from_str(&percent_encoded(&self.told())) {
            trailers.insert(GRPC_MESSAGE, message);
        }
        trailers
    }

    /// Writes the reason of an internal failure to the log.
    pub(crate) fn log(&self, call: &Call) {
        if self.kind() == Kind::Internal {
            tracing::error!(request.id = %call.id(), error.detail = %self, "a request failed: {self}");
        }
    }
}

/// The most bytes of a reason. It may hold what the client sent, such as the name of a tensor, which may be as long as a
/// body; and clients of gRPC take no more than 8 KiB of headers.
const MOST_TOLD: usize = 4 << 10;

fn shortened(mut text: String) -> String {
    if text.len() > MOST_TOLD {
        text.truncate(text.floor_char_boundary(MOST_TOLD));
        text.push('…');
    }
    text
}

/// Writes a text such that it can stand in a header: every byte that is not plain ASCII as `%` and two digits. What goes
/// beyond [`MOST_TOLD`] bytes is left out.
fn percent_encoded(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if out.len() + 3 > MOST_TOLD {
            break;
        }
        match byte {
            b' '..=b'~' if byte != b'%' => out.push(char::from(byte)),
            _ => {
                let _ = write!(out, "%{byte:02X}");
            }
        }
    }
    out
}

/// The codes of gRPC that calls end with here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
pub(crate) enum Code {
    InvalidArgument = 3,
    DeadlineExceeded = 4,
    NotFound = 5,
    PermissionDenied = 7,
    ResourceExhausted = 8,
    Unimplemented = 12,
    Internal = 13,
    Unavailable = 14,
    Unauthenticated = 16,
}

/// The same table for gRPC.
pub(crate) const fn code(kind: Kind) -> Code {
    match kind {
        Kind::InvalidArgument => Code::InvalidArgument,
        Kind::NotFound => Code::NotFound,
        Kind::Unsupported => Code::Unimplemented,
        Kind::ResourceExhausted => Code::ResourceExhausted,
        Kind::Unavailable => Code::Unavailable,
        Kind::DeadlineExceeded => Code::DeadlineExceeded,
        Kind::Internal => Code::Internal,
    }
}

/// The one table from kinds to statuses.
pub(crate) const fn status(kind: Kind, family: Family) -> StatusCode {
    match (kind, family) {
        (_, Family::Grpc) => StatusCode::OK,
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
    error.log(call);
    *response.status_mut() = error.status(family);
    response.headers_mut().extend(error.headers(family));
    response.headers_mut().remove(CONTENT_LENGTH);
    response.headers_mut().insert(CONTENT_TYPE, family.media_type());
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
    fn every_kind_has_its_grpc_code() {
        assert_eq!(Kind::ALL.map(|kind| code(kind) as u16), [3, 5, 12, 8, 14, 4, 13]);
        assert_eq!(ApiError::Forbidden("no").code() as u16, 7);
    }

    #[test]
    fn a_message_in_a_trailer_is_plain_ascii() {
        assert_eq!(percent_encoded("100% çok\n"), "100%25 %C3%A7ok%0A");
    }

    #[test]
    fn a_reason_is_no_longer_than_clients_take() {
        for name in ["x", "ç"] {
            let error = ApiError::NoService(name.repeat(1 << 20));
            let told = error.told();
            assert!(told.ends_with('…') && told.len() <= MOST_TOLD + '…'.len_utf8(), "{}", told.len());
            let trailers = error.trailers();
            assert!(
                (MOST_TOLD - 3..=MOST_TOLD).contains(&trailers[GRPC_MESSAGE].len()),
                "{}",
                trailers[GRPC_MESSAGE].len()
            );
        }
    }

    #[test]
    fn an_overload_says_when_to_come_again() {
        let error = ApiError::Core(Error::NotReady { model: "iris".into(), reason: "it is loading".into() });
        let call = Call::new(RequestId::New(1), Duration::from_secs(1), Ok(None), None);
        let response = render(&error, Response::default(), Family::Inference, &call);
        assert_eq!((response.status().as_u16(), response.headers()[RETRY_AFTER].as_bytes()), (503, &b"1"[..]));
    }

    #[test]
    fn whole_seconds_to_wait_are_rounded_up() {
        let model = ModelId { name: ModelName::new("iris").unwrap(), version: 1 };
        for (ms, seconds) in [(0, 1), (999, 1), (1000, 1), (1001, 2), (7500, 8)] {
            let error = ApiError::Core(Error::TooBusy { model: model.clone(), wait: Duration::from_millis(ms) });
            assert_eq!(error.headers(Family::Inference)[RETRY_AFTER], seconds.to_string(), "{ms} ms");
        }
    }

    #[test]
    fn the_reason_of_an_internal_failure_is_not_told() {
        let error = ApiError::Core(Error::Failed { model: "iris".into(), reason: "secret".into() });
        assert!(!error.told().contains("secret"));
    }
}
