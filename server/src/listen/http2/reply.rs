//! One request on its way through the house: its answer is awaited, and handed to the connection piece by piece.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use http::header::CONTENT_LENGTH;
use http::response::Parts;
use http::{HeaderMap, HeaderValue};
use hyper::body::Body as _;
use pin_project_lite::pin_project;
use tokio::time::{Instant, Sleep, sleep};

use super::state::Shared;
use crate::listen::{UNSENT, may_have_body, young};
use crate::middleware::answer::{Answered, Own};

/// The place of an answer, whose stream is over when this is dropped.
pub(super) struct Reply {
    shared: Shared,
    stream: u32,
    /// Whether a body may stand in it.
    wants_body: bool,
    /// How long the client may take nothing of it.
    limit: Duration,
}

pin_project! {
    /// Awaits an answer and sends it, as long as the client wants it.
    ///
    /// Written by hand, because an `async` block would hold the answering twice: handed over, and awaited.
    pub(super) struct Exchange<F> {
        #[pin]
        answering: F,
        // Once it has answered.
        sending: Option<Sending>,
        reply: Reply,
        began: bool,
    }
}

impl<F: Future<Output: Into<Answered>>> Future for Exchange<F> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let this = self.project();
        // Most are answered when they are first looked at, or soon: who is young will be looked at again.
        let young = young::is_young();
        let first = !std::mem::replace(this.began, true);
        if !first && !young && this.reply.is_gone(context) {
            return Poll::Ready(());
        }
        let ended = match this.sending {
            Some(sending) => sending.poll(this.reply, context),
            None => match this.answering.poll(context) {
                Poll::Ready(answer) => {
                    this.sending.insert(Sending::new(answer.into(), this.reply.wants_body)).poll(this.reply, context)
                }
                Poll::Pending => Poll::Pending,
            },
        };
        match ended {
            Poll::Pending if first && !young && this.reply.is_gone(context) => Poll::Ready(()),
            ended => ended,
        }
    }
}

/// An answer on its way.
struct Sending {
    /// Until it is sent.
    head: Option<(Parts, Own)>,
    body: Body,
    /// Whether nothing follows.
    last: bool,
    /// Whether something of it may wait for its client.
    waits: bool,
    wait: Option<Wait>,
}

/// Something of an answer waits for its client.
struct Wait {
    alarm: Pin<Box<Sleep>>,
    /// How much did when the alarm was set.
    left: usize,
}

impl Sending {
    fn new(answer: Answered, wants_body: bool) -> Self {
        let (mut head, mut body) = answer.response.into_parts();
        // What has none of its own may have said how long it would be.
        let length =
            body.size_hint().exact().filter(|length| may_have_body(head.status) && (wants_body || *length > 0));
        if let Some(length) = length {
            head.headers.entry(CONTENT_LENGTH).or_insert_with(|| HeaderValue::from(length));
        }
        if !wants_body {
            body = Body::empty();
        }
        Self { head: Some((head, answer.own)), last: body.is_end_stream(), body, waits: false, wait: None }
    }

    fn poll(&mut self, reply: &Reply, context: &mut Context<'_>) -> Poll<()> {
        loop {
            if self.waits && !ready!(self.poll_room(reply, context)) {
                return Poll::Ready(());
            }
            if self.last && self.head.is_none() {
                return Poll::Ready(());
            }
            let next = if self.last { Next::Nothing } else { self.next(context) };
            // Dropped behind the lock: nobody knows what its extensions hold.
            let head = self.head.take();
            let mut state = reply.shared.lock();
            if let Some((head, own)) = &head {
                state.head(reply.stream, (head.status, own, &head.headers), self.last);
            }
            match next {
                Next::Nothing => {}
                Next::Data(bytes) => {
                    self.last = self.body.is_end_stream();
                    self.waits = !state.data(reply.stream, bytes, self.last);
                }
                Next::Trailers(trailers) => {
                    self.last = true;
                    self.waits = !state.trailers(reply.stream, trailers);
                }
                Next::End => {
                    self.last = true;
                    self.waits = !state.data(reply.stream, Bytes::new(), true);
                }
                Next::Broken => {
                    state.break_off(reply.stream);
                    return Poll::Ready(());
                }
                // What there is goes out meanwhile.
                Next::Later => {
                    drop(state);
                    reply.shared.nudge();
                    return Poll::Pending;
                }
            }
        }
    }

    fn next(&mut self, context: &mut Context<'_>) -> Next {
        match Pin::new(&mut self.body).poll_frame(context) {
            Poll::Pending => Next::Later,
            Poll::Ready(None) => Next::End,
            Poll::Ready(Some(Err(error))) => {
                tracing::debug!(error.detail = %error, "an answer broke off: {error}");
                Next::Broken
            }
            Poll::Ready(Some(Ok(frame))) => match frame.into_data() {
                Ok(bytes) => Next::Data(bytes),
                Err(frame) => frame.into_trailers().map_or(Next::End, Next::Trailers),
            },
        }
    }

    /// Waits until little of the answer waits for its client, or nothing if there is no more; `false` where it takes none.
    fn poll_room(&mut self, reply: &Reply, context: &mut Context<'_>) -> Poll<bool> {
        let (waits, left) = {
            let mut state = reply.shared.lock();
            let there = state.streams.get_mut(&reply.stream).filter(|record| !record.gone);
            let Some(record) = there else { return Poll::Ready(false) };
            let enough = if self.last { 0 } else { UNSENT };
            (record.poll_waiting(enough, context).is_pending(), record.waiting.len())
        };
        if !waits {
            self.wait = None;
            return Poll::Ready(true);
        }
        reply.shared.nudge();
        let wait = self.wait.get_or_insert_with(|| Wait { alarm: Box::pin(sleep(reply.limit)), left });
        while wait.alarm.as_mut().poll(context).is_ready() {
            if left == wait.left {
                let waited = reply.limit.as_millis();
                tracing::debug!("a stream was reset: its client took nothing of its answer for {waited} ms");
                return Poll::Ready(false);
            }
            wait.left = left;
            wait.alarm.as_mut().reset(Instant::now() + reply.limit);
        }
        Poll::Pending
    }
}

/// What comes next of a body.
enum Next {
    Data(Bytes),
    Trailers(HeaderMap),
    End,
    Broken,
    /// It is not known yet.
    Later,
    /// It was over before.
    Nothing,
}

impl Reply {
    pub(super) const fn new(shared: Shared, stream: u32, wants_body: bool, limit: Duration) -> Self {
        Self { shared, stream, wants_body, limit }
    }

    /// Awaits the answer of a request, and sends it.
    pub(super) const fn of<F>(self, answering: F) -> Exchange<F> {
        Exchange { answering, sending: None, reply: self, began: false }
    }

    /// Whether nobody wants the answer any more; if not, the task that looks now is woken when that changes.
    fn is_gone(&self, context: &Context<'_>) -> bool {
        match self.shared.lock().streams.get_mut(&self.stream) {
            Some(record) if !record.gone => {
                record.listen(context);
                false
            }
            _ => true,
        }
    }
}

impl Drop for Reply {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        state.forget(self.stream);
        let waker = state.call();
        drop(state);
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}
