//! Calls in which messages go both ways: `ModelStreamInfer` and server reflection.

use std::convert::Infallible;
use std::pin::pin;
use std::sync::Arc;
use std::time::Instant;

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use futures_util::future::{BoxFuture, pending};
use futures_util::stream::{FuturesOrdered, StreamExt, unfold};
use hedef_protocols::v2::grpc::{self, Head};
use http::{HeaderMap, Method, StatusCode, Uri};
use http_body_util::StreamBody;
use hyper::body::Frame;
use tokio::task::coop::consume_budget;
use tokio::time::{sleep, sleep_until};
use tokio_util::sync::CancellationToken;

use super::incoming::{Incoming, Message};
use super::infer::{Answer, receive, score};
use super::models::small;
use super::outgoing;
use crate::app::App;
use crate::call::Call;
use crate::encoding::Coding;
use crate::error::ApiError;
use crate::metrics::Protocol;
use crate::middleware::answer::caught;
use crate::middleware::observe::{self, Watch};
use crate::payload::Source;
use crate::room::{Held, Open};
use crate::seen::Seen;

/// The most requests of one stream that are worked on at once; the next are read when one is answered.
const AT_ONCE: usize = 32;

/// What the messages of a stream are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Talk {
    /// Requests for scoring. An error is an answer like others, unless it `ends` the stream.
    Infer { ends: bool },
    /// Questions about the services.
    Reflection,
}

/// Answers a call message by message, in the order in which they come.
pub(super) fn converse<B: Source + 'static>(
    about: About,
    talk: Talk,
    incoming: Incoming<B>,
    coding: Option<Coding>,
) -> Response {
    let (draining, heard) = (about.app.lifecycle.draining.clone(), about.heard.clone());
    let (due, received) = (about.due, about.call.received());
    let time_up = async move {
        match due {
            Some(due) => {
                sleep_until(due.into()).await;
                ApiError::Timeout(due.saturating_duration_since(received).as_millis())
            }
            None => pending().await,
        }
    };
    let stop = async move {
        draining.raised().await;
        if let Some(heard) = heard {
            heard.cancelled().await;
        }
    };
    let stream = Stream {
        about: Arc::new(about),
        talk,
        incoming,
        coding,
        coming: None,
        answers: FuturesOrdered::new(),
        reading: true,
        stops: false,
        outcome: None,
        time_up: Box::pin(time_up),
        stop: Box::pin(stop),
        over: false,
    };
    let frames = unfold(stream, |stream| Box::pin(stream.next()));
    outgoing::head(coding, Body::new(StreamBody::new(frames)))
}

/// The call that a stream is.
pub(super) struct About {
    pub(super) app: App,
    pub(super) call: Call,
    pub(super) method: Method,
    pub(super) uri: Uri,
    /// When the client stops listening, if it said so.
    pub(super) due: Option<Instant>,
    /// Comes when the client has heard that the server stops.
    pub(super) heard: Option<CancellationToken>,
    pub(super) _open: Open,
}

impl About {
    /// The call that a message is which begins to come now.
    fn of_message(&self) -> Call {
        let left = self.due.map(|due| due.saturating_duration_since(Instant::now()));
        let seen = self.call.seen().map(Seen::again);
        let call = Call::new(self.call.id().clone(), self.app.config.request_timeout, Ok(left), seen);
        if let Some(guest) = self.call.guest() {
            call.came_from(guest);
        }
        call
    }
}

struct Stream<B> {
    about: Arc<About>,
    talk: Talk,
    incoming: Incoming<B>,
    coding: Option<Coding>,
    /// The message that has begun to come.
    coming: Option<Call>,
    answers: FuturesOrdered<BoxFuture<'static, Result<Bytes, Failed>>>,
    /// Whether more messages are expected.
    reading: bool,
    /// Whether the server stops: what has come by now is answered, and nothing else.
    stops: bool,
    /// What ends the stream once everything that was read is answered.
    outcome: Option<ApiError>,
    /// Comes when the time of the call is up.
    time_up: BoxFuture<'static, ApiError>,
    /// Comes when the server stops and the client has heard of it, so that all that it sent before is here.
    stop: BoxFuture<'static, ()>,
    /// Whether the trailers are sent.
    over: bool,
}

/// A request whose error ends its stream, and what its caller is told of it beside.
struct Failed {
    error: ApiError,
    told: HeaderMap,
}

impl From<ApiError> for Failed {
    fn from(error: ApiError) -> Self {
        Self { error, told: HeaderMap::new() }
    }
}

impl<B: Source> Stream<B> {
    /// The next frame of the answer.
    async fn next(mut self) -> Option<(Result<Frame<Bytes>, Infallible>, Self)> {
        if self.over {
            return None;
        }
        while self.reading || !self.answers.is_empty() {
            // A client that has all its answers may end; one that says nothing is not waited for.
            let silent = self.stops && self.reading && self.answers.is_empty() && !self.incoming.has_begun();
            let linger = self.about.app.config.drain.linger;
            tokio::select! {
                biased;
                Some(answer) = self.answers.next() => match answer {
                    Ok(message) => {
                        // Answers may be there one after the other, as long as requests are.
                        consume_budget().await;
                        return Some((Ok(Frame::data(message)), self));
                    }
                    Err(failed) => return self.end(Some(failed)),
                },
                // Nobody waits for answers any more then.
                error = self.time_up.as_mut(), if self.reading => return self.end(Some(error.into())),
                () = self.stop.as_mut(), if self.reading && !self.stops => {
                    self.stops = true;
                    if let Err(error) = self.incoming.close() {
                        (self.reading, self.outcome) = (false, Some(error));
                    }
                }
                read = read(&mut self.incoming, &mut self.coming, &self.about, self.talk), if self.reading && self.answers.len() < AT_ONCE => match read {
                    Ok(Some(message)) => {
                        let answer = answer(Arc::clone(&self.about), self.talk, message, self.coding);
                        self.answers.push_back(Box::pin(answer));
                    }
                    Ok(None) => self.reading = false,
                    Err(error) => (self.reading, self.outcome) = (false, Some(error)),
                },
                () = async { sleep(linger).await }, if silent => {
                    (self.reading, self.outcome) = (false, Some(ApiError::Stopping));
                }
            }
        }
        let outcome = self.outcome.take().map(Failed::from);
        self.end(outcome)
    }

    fn end(mut self, failed: Option<Failed>) -> Option<(Result<Frame<Bytes>, Infallible>, Self)> {
        self.over = true;
        // What is under way has nobody to wait for it.
        self.answers = FuturesOrdered::new();
        let trailers = failed.map_or_else(outgoing::ended_well, |Failed { error, told }| {
            error.log(&self.about.call);
            let mut trailers = error.trailers();
            trailers.extend(told);
            trailers
        });
        Some((Ok(Frame::trailers(trailers)), self))
    }
}

/// One message, or why it was not read to its end, and what it was read for.
struct Received {
    call: Call,
    message: Result<Message, ApiError>,
}

/// Waits for the next message; `None` when the client has ended. An error is one after which no other can be read.
/// It can be given up and begun again: what is `coming` stays the same message, with the time that it has left.
async fn read<B: Source>(
    incoming: &mut Incoming<B>,
    coming: &mut Option<Call>,
    about: &About,
    talk: Talk,
) -> Result<Option<Received>, ApiError> {
    let app = &about.app;
    if !incoming.first_byte().await? {
        return Ok(None);
    }
    let call = coming.get_or_insert_with(|| about.of_message()).clone();
    let mut begun = None;
    let reading = async {
        let begun = *begun.insert(incoming.begin().await?);
        match talk {
            Talk::Reflection => incoming.finish(begun, small(app)).await,
            Talk::Infer { .. } => receive(app, &call, incoming, begun).await,
        }
    };
    // One that does not go on would hold its memory as long as the stream lasts.
    let message = call.in_time(pin!(reading)).await.unwrap_or(Err(ApiError::BodyTimeout));
    *coming = None;
    match (message, begun) {
        // Where the next message begins is not known.
        (Err(error @ ApiError::BodyBroken(_)), _) | (Err(error), None) => Err(error),
        (Err(error), Some(begun)) => {
            incoming.skip(begun);
            Ok(Some(Received { call, message: Err(error) }))
        }
        (message, _) => Ok(Some(Received { call, message })),
    }
}

/// Answers one message. An error ends the stream.
async fn answer(
    about: Arc<About>,
    talk: Talk,
    Received { call, message }: Received,
    coding: Option<Coding>,
) -> Result<Bytes, Failed> {
    let ends = match talk {
        Talk::Reflection => {
            let answer = reflect(message, coding).await?;
            return Ok(Held::count(answer, &about.app));
        }
        Talk::Infer { ends } => ends,
    };
    // A request of its own for the metrics and the log.
    let mut watch = Watch::begin(&about.app, &call, (&about.method, &about.uri));
    call.scores(Protocol::Grpc);
    let mut id = String::new();
    let scored = caught(async {
        call.guest().map_or(Ok(()), |guest| guest.pay(call.received()))?;
        let message = message?.unpack().await?;
        id = Head::read(&message)?.id.to_owned();
        score(&about.app, &call, message, Answer::InStream).await
    });
    let scored = scored.await.and_then(|scored| outgoing::pack(scored?, coding));
    watch.answered(StatusCode::OK, scored.as_ref().err());
    match scored {
        Err(error) if !ends => {
            error.log(&call);
            let note = observe::note(&call, Some(&error));
            let told = grpc::encode_error(&error.told(), &id, note).map_err(ApiError::from)?;
            Ok(Held::count(told, &about.app))
        }
        Err(error) => {
            let mut told = HeaderMap::new();
            observe::tell(&call, Some(&error), &mut told);
            Err(Failed { error, told })
        }
        Ok(scored) => Ok(scored),
    }
}

/// Answers a question about the services.
async fn reflect(message: Result<Message, ApiError>, coding: Option<Coding>) -> Result<Bytes, ApiError> {
    outgoing::pack(grpc::reflect(&message?.unpack().await?)?, coding)
}
