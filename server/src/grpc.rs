//! gRPC on the server's ports: which method a call is for, and who answers it.
//!
//! Source: <https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md>.

mod health;
mod incoming;
mod infer;
mod models;
mod outgoing;
mod stream;
#[cfg(test)]
mod tests;

use axum::response::Response;
use http::header::CONTENT_TYPE;
use http::request::Parts;
use http::{HeaderMap, Request, Version};

pub(crate) use self::outgoing::{GRPC, MESSAGE, STATUS};
use crate::app::App;
use crate::call::Call;
use crate::deadline;
use crate::encoding::{Coding, GRPC_ACCEPT_ENCODING};
use crate::error::ApiError;
use crate::listen::Heard;
use crate::payload::Source;
use crate::room::Open;
use incoming::Incoming;
use models::Ask;
use stream::{About, Talk};

/// Triton's header that makes the first error end a stream.
const STREAM_ERRORS: &str = "triton_grpc_error";

/// What a call is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Method {
    Infer,
    StreamInfer,
    Ask(Ask),
    HealthCheck,
    HealthWatch,
    Reflection,
}

impl Method {
    /// The method behind a path.
    fn of(path: &str) -> Option<Self> {
        let (service, method) = path.strip_prefix('/')?.split_once('/')?;
        Some(match (service, method) {
            ("inference.GRPCInferenceService", method) => match method {
                "ModelInfer" => Self::Infer,
                "ModelStreamInfer" => Self::StreamInfer,
                "ServerLive" => Self::Ask(Ask::ServerLive),
                "ServerReady" => Self::Ask(Ask::ServerReady),
                "ModelReady" => Self::Ask(Ask::ModelReady),
                "ServerMetadata" => Self::Ask(Ask::ServerMetadata),
                "ModelMetadata" => Self::Ask(Ask::ModelMetadata),
                "ModelConfig" => Self::Ask(Ask::ModelConfig),
                "ModelStatistics" => Self::Ask(Ask::ModelStatistics),
                "RepositoryIndex" => Self::Ask(Ask::RepositoryIndex),
                "RepositoryModelLoad" => Self::Ask(Ask::RepositoryModelLoad),
                "RepositoryModelUnload" => Self::Ask(Ask::RepositoryModelUnload),
                "LogSettings" => Self::Ask(Ask::LogSettings),
                _ => return None,
            },
            ("grpc.health.v1.Health", "Check") => Self::HealthCheck,
            ("grpc.health.v1.Health", "Watch") => Self::HealthWatch,
            (
                "grpc.reflection.v1.ServerReflection" | "grpc.reflection.v1alpha.ServerReflection",
                "ServerReflectionInfo",
            ) => Self::Reflection,
            _ => return None,
        })
    }
}

/// Whether a request is a call of gRPC, as its media type says. It is posted, over HTTP/2.
pub(crate) fn is_call(head: &Parts) -> bool {
    head.version == Version::HTTP_2
        && head.method == http::Method::POST
        && head.headers.get(CONTENT_TYPE).is_some_and(|value| {
            let essence = value.as_bytes().split(|byte| *byte == b';').next().unwrap_or_default();
            matches!(essence.trim_ascii_end(), b"application/grpc" | b"application/grpc+proto")
        })
}

/// Whether a request is a call in which messages go both ways.
pub(crate) fn is_stream<B>(request: &Request<B>) -> bool {
    cfg!(feature = "grpc")
        && request.version() == Version::HTTP_2
        && matches!(Method::of(request.uri().path()), Some(Method::StreamInfer | Method::Reflection))
}

/// Whether a path is one that only a call of gRPC can ask for.
pub(crate) fn owns(path: &str) -> bool {
    Method::of(path).is_some()
}

/// Whether a call is one request for scoring.
pub(crate) fn is_infer(head: &Parts) -> bool {
    Method::of(head.uri.path()) == Some(Method::Infer)
}

/// Answers a call that is one request for scoring. Its future is no part of that of others, which is so large that the heap
/// takes long for it.
pub(crate) async fn infer<B>(app: &App, call: &Call, headers: &HeaderMap, body: &mut B) -> Result<Response, ApiError>
where
    B: Source,
{
    let coding = Coding::of_grpc(headers)?;
    let mut incoming = Incoming::new(app, body, coding);
    infer::infer(app, call, &mut incoming, coding.filter(|coding| accepts(headers, *coding))).await
}

/// Answers one call.
pub(crate) async fn answer<B>(app: App, call: Call, head: Parts, body: B) -> Result<Response, ApiError>
where
    B: Source + 'static,
{
    let path = head.uri.path();
    let method = Method::of(path).ok_or_else(|| ApiError::NoCall(path.into()))?;
    let coding = Coding::of_grpc(&head.headers)?;
    let mut incoming = Incoming::new(&app, body, coding);
    let coding = coding.filter(|coding| accepts(&head.headers, *coding));
    let talk = match method {
        // Those that come over HTTP have a way of their own.
        Method::Infer => return Box::pin(infer::infer(&app, &call, &mut incoming, coding)).await,
        Method::Ask(ask) => return models::answer((&app, &call), ask, incoming, coding).await,
        Method::HealthCheck => return health::check(&app, &call, incoming, coding).await,
        Method::HealthWatch => {
            let due = due(&call, &head.headers)?.map(Into::into);
            return health::watch(&app, &call, incoming, due).await;
        }
        Method::StreamInfer => {
            let ends =
                head.headers.get(STREAM_ERRORS).is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"true"));
            Talk::Infer { ends }
        }
        Method::Reflection => Talk::Reflection,
    };
    let due = due(&call, &head.headers)?;
    let heard = head.extensions.get::<Heard>().map(|heard| heard.0.clone());
    let open = Open::stream(&app)?;
    let about = About { app, call, method: head.method, uri: head.uri, due, heard, _open: open };
    Ok(stream::converse(about, talk, incoming, coding))
}

/// When the client of a stream stops listening, if it says so: the server's own limit is for each request in it.
fn due(call: &Call, headers: &HeaderMap) -> Result<Option<std::time::Instant>, ApiError> {
    Ok(deadline::asked(headers)?.and_then(|asked| call.received().checked_add(asked)))
}

/// Whether the client understands answers in `coding`. One that does not say has used it at least.
fn accepts(headers: &HeaderMap, coding: Coding) -> bool {
    let mut lists = headers.get_all(GRPC_ACCEPT_ENCODING).iter().peekable();
    let has = |list: &str| list.split(',').any(|name| name.trim() == coding.name());
    lists.peek().is_none() || lists.any(|list| list.to_str().is_ok_and(has))
}
