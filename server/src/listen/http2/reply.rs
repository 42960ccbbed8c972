//! One request on its way through the house: its answer is awaited, and handed to the connection piece by piece.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use http::header::CONTENT_LENGTH;
use http::{HeaderValue, StatusCode};
use hyper::body::{Body as _, Frame};
use pin_project_lite::pin_project;
use tokio::time::{Instant, Sleep, sleep};

use super::state::Shared;
use crate::listen::UNSENT;

/// The answer of one stream, which is over when this is dropped.
pub(super) struct Reply {
    shared: Shared,
    stream: u32,
    /// How long the client may take nothing of it.
    limit: Duration,
}

pin_project! {
    /// Awaits an answer and sends it, as long as the client wants it.
    pub(super) struct Exchange<F> {
        #[pin]
        sending: F,
        shared: Shared,
        stream: u32,
        began: bool,
    }
}

/// Answers the request of a stream.
pub(super) fn exchange(
    answer: impl Future<Output = Response>,
    shared: Shared,
    stream: u32,
    limit: Duration,
) -> Exchange<impl Future<Output = ()>> {
    let reply = Reply { shared: shared.clone(), stream, limit };
    let sending = async move {
        let answer = answer.await;
        reply.send(answer).await;
    };
    Exchange { sending, shared, stream, began: false }
}

impl<F: Future<Output = ()>> Future for Exchange<F> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let this = self.project();
        let (shared, stream) = (this.shared, *this.stream);
        let is_gone = |context: &Context<'_>| match shared.lock().streams.get_mut(&stream) {
            Some(record) if !record.gone => {
                record.listen(context);
                false
            }
            _ => true,
        };
        // Most are answered when they are first looked at.
        let first = !std::mem::replace(this.began, true);
        if !first && is_gone(context) {
            return Poll::Ready(());
        }
        match this.sending.poll(context) {
            Poll::Pending if first && is_gone(context) => Poll::Ready(()),
            polled => polled,
        }
    }
}

impl Reply {
    async fn send(self, response: Response) {
        let (mut head, mut body) = response.into_parts();
        if let Some(length) = body.size_hint().exact().filter(|_| may_have_body(head.status)) {
            head.headers.entry(CONTENT_LENGTH).or_insert_with(|| HeaderValue::from(length));
        }
        let mut last = body.is_end_stream();
        self.shared.lock().head(self.stream, head.status, &head.headers, last);
        while !last {
            match self.next(&mut body).await {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(bytes) => {
                        last = body.is_end_stream();
                        self.shared.lock().data(self.stream, bytes, last);
                        if !self.until(if last { 0 } else { UNSENT }).await {
                            return;
                        }
                    }
                    Err(frame) => {
                        last = true;
                        if let Ok(trailers) = frame.into_trailers() {
                            self.shared.lock().trailers(self.stream, trailers);
                        }
                    }
                },
                Some(Err(error)) => {
                    tracing::debug!(error.detail = %error, "an answer broke off: {error}");
                    return self.shared.lock().break_off(self.stream);
                }
                None => {
                    last = true;
                    self.shared.lock().data(self.stream, Bytes::new(), true);
                }
            }
        }
        self.until(0).await;
    }

    /// The next frame of the body. What there is goes out before it is waited for.
    async fn next(&self, body: &mut Body) -> Option<Result<Frame<Bytes>, axum::Error>> {
        poll_fn(|context| {
            let next = Pin::new(&mut *body).poll_frame(context);
            if next.is_pending() {
                self.shared.nudge();
            }
            next
        })
        .await
    }

    /// Waits until no more than so many bytes of the answer wait for their client; `false` where it takes none.
    async fn until(&self, enough: usize) -> bool {
        let mut wait: Option<(Pin<Box<Sleep>>, usize)> = None;
        poll_fn(|context| {
            let (waits, left) = {
                let mut state = self.shared.lock();
                let there = state.streams.get_mut(&self.stream).filter(|record| !record.gone);
                let Some(record) = there else { return Poll::Ready(false) };
                (record.poll_waiting(enough, context).is_pending(), record.waiting.len())
            };
            if !waits {
                return Poll::Ready(true);
            }
            self.shared.nudge();
            let (alarm, before) = wait.get_or_insert_with(|| (Box::pin(sleep(self.limit)), left));
            while alarm.as_mut().poll(context).is_ready() {
                if left == *before {
                    let waited = self.limit.as_millis();
                    tracing::debug!("a stream was reset: its client took nothing of its answer for {waited} ms");
                    return Poll::Ready(false);
                }
                *before = left;
                alarm.as_mut().reset(Instant::now() + self.limit);
            }
            Poll::Pending
        })
        .await
    }
}

impl Drop for Reply {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        state.forget(self.stream);
        let waker = state.waker.take();
        drop(state);
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

/// Whether the length of a body says something.
fn may_have_body(status: StatusCode) -> bool {
    !status.is_informational() && status != StatusCode::NO_CONTENT && status != StatusCode::NOT_MODIFIED
}
