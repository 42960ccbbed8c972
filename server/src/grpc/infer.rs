//! Scoring: `ModelInfer`.

use std::pin::pin;

use axum::response::Response;
use bytes::Bytes;
use hedef_protocols::DecodeLimits;
use hedef_protocols::v2::grpc::{self, Head};

use super::incoming::{Begun, Incoming, Message};
use super::outgoing;
use crate::app::App;
use crate::body::{in_binary, size, work};
use crate::call::Call;
use crate::encoding::Coding;
use crate::error::ApiError;
use crate::limit::body_limit;
use crate::listen::young::grow_up;
use crate::metrics::Protocol;
use crate::middleware::observe;
use crate::payload::{IN_PLACE, Limit, Received, Source};
use crate::room::Held;
use crate::target::Target;

/// Answers a call of one request.
pub(super) async fn infer<B: Source>(
    app: &App,
    call: &Call,
    incoming: &mut Incoming<B>,
    coding: Option<Coding>,
) -> Result<Response, ApiError> {
    call.scores(Protocol::Grpc);
    call.checked()?;
    let reading = async {
        let begun = incoming.only().await?;
        let message = receive(app, call, incoming, begun).await?;
        incoming.end().await?;
        Ok::<_, ApiError>(message)
    };
    let message = call.in_time(pin!(reading)).await.ok_or(ApiError::BodyTimeout)??;
    if message.len() > IN_PLACE {
        grow_up().await;
    }
    outgoing::one(score(app, call, message.unpack().await?, Answer::Alone).await?, coding)
}

/// Waits for all of a request. Its model is asked for as soon as its name has come, so that a request that is refused,
/// since it is too large or there is no such model, is not read to its end.
pub(super) async fn receive<B: Source>(
    app: &App,
    call: &Call,
    incoming: &mut Incoming<B>,
    begun: Begun,
) -> Result<Message, ApiError> {
    let limits = app.config.body_limits;
    let Some(target) = incoming.peek(begun, |start| Head::peek(start).map(|head| target(head).into_owned())).await?
    else {
        return incoming.finish(begun, Limit { bytes: limits.usual, model: None }).await;
    };
    let model = app.model(call, &target).await?;
    let limit = Limit { bytes: body_limit(model.signature(), limits), model: Some(model.id()) };
    incoming.finish(begun, limit).await
}

/// What an answer stands in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// It is the only one of its call.
    Alone,
    /// It is one of a stream.
    InStream,
}

/// Scores one request. Returns the answer in its frame.
pub(super) async fn score(app: &App, call: &Call, message: Bytes, answer: Answer) -> Result<Bytes, ApiError> {
    let limits = app.config.body_limits;
    let model = app.model(call, &target(Head::read(&message)?)).await?;
    let limit = Limit { bytes: body_limit(model.signature(), limits), model: Some(model.id()) };
    if message.len() > limit.bytes {
        return Err(limit.exceeded(Some(message.len())));
    }
    app.admits(call, &model, message.len())?;
    let weight = in_binary(message.len());
    // Messages of a stream may have come in one piece, of which each counts its own part.
    let is_alone = answer == Answer::Alone;
    let mut received = Received::of(app, message, is_alone, app.memory.enter(app.metrics.in_flight.get())?);
    let decode = |bytes: &[u8], limits: DecodeLimits<'_>| grpc::decode_within(bytes, model.signature(), limits);
    let decoded = received.decode(call, weight, decode)?;
    let response = app.infer(call, &model, decoded.request, decoded.timeout_us).await?;
    let size = size(&response);
    received.room.force(size);
    let (signature, reply) = (model.signature(), &decoded.reply);
    let answer = work(in_binary(size), || match answer {
        Answer::Alone => grpc::encode(&response, signature, reply),
        Answer::InStream => grpc::encode_in_stream(&response, signature, reply, || observe::note(call, None)),
    })?;
    Ok(Held::count(answer, app))
}

/// Which model a request names.
fn target(head: Head<'_>) -> Target<'_> {
    Target { model: head.model.into(), version: head.version.map(Into::into) }
}
