//! gRPC on the server's ports: which method a call is for, and who answers it.
//!
//! Source: <https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md>.

mod incoming;
mod infer;
mod outgoing;

use axum::response::Response;
use http::header::CONTENT_TYPE;
use http::request::Parts;
use http::{HeaderMap, Version};

pub(crate) use self::outgoing::{GRPC, MESSAGE, STATUS};
use crate::app::App;
use crate::call::Call;
use crate::encoding::{Coding, GRPC_ACCEPT_ENCODING};
use crate::error::ApiError;
use crate::payload::Source;
use incoming::Incoming;

/// Whether a request is a call of gRPC, as its media type says. It needs HTTP/2.
pub(crate) fn is_call(head: &Parts) -> bool {
    head.version == Version::HTTP_2
        && head.headers.get(CONTENT_TYPE).is_some_and(|value| {
            let rest = value.as_bytes().strip_prefix(GRPC.as_bytes());
            rest.is_some_and(|rest| matches!(rest, [] | [b';', ..] | b"+proto"))
        })
}

/// Answers one call.
pub(crate) async fn answer<B>(app: App, call: Call, head: Parts, body: B) -> Result<Response, ApiError>
where
    B: Source + 'static,
{
    let coding = Coding::of_grpc(&head.headers)?;
    let incoming = Incoming::new(&app, body, coding);
    let reply = coding.filter(|coding| accepts(&head.headers, *coding));
    match head.uri.path() {
        "/inference.GRPCInferenceService/ModelInfer" => infer::infer(&app, &call, incoming, reply).await,
        path => Err(ApiError::NoCall(path.into())),
    }
}

/// Whether the client understands answers in `coding`. One that does not say so has used it at least.
fn accepts(headers: &HeaderMap, coding: Coding) -> bool {
    let mut all = headers.get_all(GRPC_ACCEPT_ENCODING).iter().peekable();
    all.peek().is_none() || all.any(|value| value.to_str().unwrap_or_default().split(',').any(|name| name.trim() == coding.name()))
}

fn no_message() -> ApiError {
    ApiError::BodyBroken("no message came".into())
}
