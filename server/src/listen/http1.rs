//! HTTP/1.1 as a server speaks it: heads in, requests to those who answer them, answers out, one after the other.
//!
//! A task for each connection does all of it. What belongs to a request is copied out of what was read, so that its buffer
//! serves the connection again and again; large bodies are read straight to where they belong. With hyper, which is made
//! for every use, a request of a tiny model took 1.07 to 1.1 times the processor time.
//!
//! Source: RFC 9112.

#[cfg(any(test, fuzzing))]
mod checked;
mod chunks;
mod head;
mod inbox;
mod reply;

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, ready};

use bytes::{Buf, BufMut, Bytes, BytesMut};
use http::{Method, Request, Version};
use tokio::io::AsyncWrite;
use tokio::time::{Instant, Sleep, sleep_until};
use tokio_util::io::poll_read_buf;

use super::date::Date;
use super::outgoing::Outgoing;
use super::scatter::Scatter;
use super::{Body, SILENCE, Seen, ends};
use crate::config::Caps;
use crate::middleware::answer::Answered;
#[cfg(fuzzing)]
pub(crate) use checked::session;
use chunks::Chunks;
use head::{Framing, Head, Heads, Limits};
use inbox::Cut;
pub(super) use inbox::Inbox;
use reply::{Asked, Sending};

/// The room for what is read at once, if it has no place of its own.
const ROOM: usize = 8 << 10;

/// The same for what comes of a body that is not put together.
const CHUNKS: usize = 64 << 10;

/// So often a connection goes on at once, and so much it reads, before others of its thread have their turn.
const ROUNDS: usize = 32;
const AT_ONCE: usize = 512 << 10;

/// Tells a client that its body is waited for.
const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

/// One connection.
pub(super) struct Connection<S, A, F> {
    stream: S,
    /// Answers requests.
    answer: A,
    seen: Arc<Seen>,
    /// What was read, and is not taken.
    input: BytesMut,
    /// The most room that there was for it.
    room: usize,
    /// How much may be read before others have their turn.
    allowance: usize,
    heads: Heads,
    out: Outgoing,
    date: Date,
    at: At,
    /// The request under way, in a box that serves them all.
    answering: Pin<Box<Option<F>>>,
    asked: Asked,
    /// Its body, if it was not there as a whole.
    coming: Option<Coming>,
    /// The most bytes that trailers may have.
    trailers: usize,
    /// Whether one request is all that it serves.
    single: bool,
    /// Whether the server stops.
    stops: bool,
    silence: Silence,
}

/// What a connection is about.
enum At {
    /// It waits for a head.
    Start,
    /// A request is worked on.
    Work,
    /// An answer is on its way.
    Answer(Sending),
    /// Nothing is read any more: what there is to be written still is.
    End,
}

/// A body that comes.
struct Coming {
    inbox: Inbox,
    /// Where it comes in chunks.
    chunks: Option<Chunks>,
    /// Whether the client waits to be told that it may send it.
    waits: bool,
}

/// What came of a look at a body.
#[derive(PartialEq, Eq)]
enum Look {
    /// Nobody waits for more of it.
    Unwanted,
    /// Its reader has something to do.
    Fed,
    /// It has to be read.
    Wanted,
}

impl<S, A, F> Connection<S, A, F>
where
    S: Scatter + AsyncWrite + Unpin,
    A: Fn(Request<Body>) -> F,
    F: Future<Output: Into<Answered>>,
{
    /// A connection of which `input` has come, for a `single` request or many.
    pub(super) fn new(stream: S, input: BytesMut, answer: A, seen: Arc<Seen>, single: bool, caps: &Caps) -> Self {
        Self {
            stream,
            answer,
            seen,
            input,
            room: 0,
            allowance: AT_ONCE,
            heads: Heads::new(Limits::new(caps)),
            out: Outgoing::default(),
            date: Date::default(),
            at: At::Start,
            answering: Box::pin(None),
            asked: Asked::default(),
            coming: None,
            trailers: caps.header_bytes,
            single,
            stops: false,
            silence: Silence::default(),
        }
    }

    /// Begins with the next request, or waits for its head.
    fn poll_start(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.heads.next(&mut self.input) {
            Ok(Some(head)) => self.begin(head),
            Ok(None) => return self.poll_head(context),
            Err(unfit) => {
                tracing::debug!("a request is refused: {unfit}");
                self.asked = Asked::default();
                self.linger();
                self.reply(reply::refusal(unfit).into(), false);
            }
        }
        Poll::Ready(Ok(()))
    }

    fn begin(&mut self, head: Head) {
        let Head { request, framing, keeps_alive, waits } = head;
        self.silence.end();
        self.asked = Asked {
            is_http11: request.version() == Version::HTTP_11,
            wants_body: request.method() != Method::HEAD,
            keeps_alive,
        };
        let whole = match framing {
            Framing::Length(length) => usize::try_from(length).ok().and_then(|length| self.input.get(..length)),
            Framing::Chunked => None,
        };
        let body = if let Some(whole) = whole {
            // It is most often small, and its copy leaves the buffer to what comes next.
            let (whole, length) = (Bytes::copy_from_slice(whole), whole.len());
            self.input.advance(length);
            Body::Whole(whole)
        } else {
            let chunks = (framing == Framing::Chunked).then(|| Chunks::new(self.trailers));
            let coming = self.coming.insert(Coming { inbox: Inbox::new(framing), chunks, waits });
            Body::Http1(coming.inbox.clone())
        };
        self.answering.set(Some((self.answer)(request.map(|()| body))));
        self.at = At::Work;
    }

    /// Reads until there is a head.
    fn poll_head(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let written = self.poll_write(context)?;
        let is_over = match self.poll_read(context)? {
            Poll::Ready(count) => count == 0,
            // What has not come as a whole is not taken.
            Poll::Pending if self.stops => {
                ready!(written);
                true
            }
            Poll::Pending => {
                self.rest();
                ready!(self.silence.poll(context));
                true
            }
        };
        if is_over {
            self.at = At::End;
        }
        Poll::Ready(Ok(()))
    }

    /// Lets go of memory that is not needed while nothing comes.
    fn rest(&mut self) {
        if self.input.len() <= ROOM && self.room > 2 * ROOM {
            (self.input, self.room) = (BytesMut::from(&*self.input), 0);
        }
        self.heads.rest();
    }

    /// Awaits the answer of the request under way, and brings its body meanwhile.
    fn poll_work(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.poll_answering(context).is_ready() {
            return Poll::Ready(Ok(()));
        }
        let look = self.look(context);
        if look == Look::Fed {
            return Poll::Ready(Ok(()));
        }
        // What does not go out now does when the client takes it, or when its answer has to.
        let _ = self.poll_write(context)?;
        if look == Look::Wanted {
            return self.poll_body(context);
        }
        if self.input.len() >= ROOM {
            return Poll::Pending;
        }
        // Whether the client is still there; the next requests come by the way.
        if ready!(self.poll_read(context))? == 0 {
            // One that has only ended what it sends gets what is there by now.
            if self.poll_answering(context).is_pending() {
                self.answering.set(None);
                self.at = At::End;
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Begins with the answer of the request under way once it is there.
    fn poll_answering(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let Some(answering) = self.answering.as_mut().as_pin_mut() else { return Poll::Pending };
        let answer = ready!(answering.poll(context));
        self.answering.set(None);
        let is_read = self.leave_body(context);
        if !is_read {
            self.linger();
        }
        self.reply(answer.into(), is_read);
        Poll::Ready(())
    }

    /// Brings what there is of the body to its reader, if it waits for it.
    fn look(&mut self, context: &Context<'_>) -> Look {
        let Some(Coming { inbox, chunks, waits }) = &mut self.coming else { return Look::Unwanted };
        let mut coming = inbox.lock();
        if !coming.is_wanted() {
            coming.call(context);
            return Look::Unwanted;
        }
        let before = self.input.len();
        loop {
            let most = match (&mut *chunks, coming.rest()) {
                (Some(chunks), _) => match chunks.data(&mut self.input) {
                    Ok(most) => most,
                    Err(_) => {
                        coming.cut(Cut::Chunks, context);
                        return Look::Fed;
                    }
                },
                (None, rest) => usize::try_from(rest.unwrap_or_default()).unwrap_or(usize::MAX),
            };
            let Some(bytes) = self.input.get(..most.min(self.input.len())).filter(|bytes| !bytes.is_empty()) else {
                break;
            };
            coming.push(bytes, context);
            let count = bytes.len();
            self.input.advance(count);
            if let Some(chunks) = chunks {
                chunks.took(count);
            }
        }
        if chunks.as_ref().is_some_and(Chunks::have_ended) {
            coming.finish(context);
        }
        if !coming.is_wanted() {
            return Look::Fed;
        }
        if std::mem::take(waits) && before == 0 {
            self.out.tail().extend_from_slice(CONTINUE);
        }
        Look::Wanted
    }

    /// Reads more of a body.
    fn poll_body(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Some(Coming { inbox, .. }) = &self.coming else { return Poll::Ready(Ok(())) };
        let mut coming = inbox.lock();
        let read = match coming.place() {
            Some((place, room)) => {
                self.stream.expect(room);
                let room = room.min(self.allowance);
                let read = poll_read_buf(Pin::new(&mut self.stream), context, &mut place.limit(room));
                let count = ready!(read)?;
                self.allowance -= count;
                coming.grew(count, context);
                count
            }
            None => {
                // Nobody has said where it belongs: it is passed over, or comes in chunks.
                let room = coming.rest().map_or(CHUNKS, |rest| usize::try_from(rest).unwrap_or(usize::MAX).min(CHUNKS));
                drop(coming);
                self.input.reserve(room);
                let count = ready!(self.poll_read(context))?;
                let Some(Coming { inbox, .. }) = &self.coming else { return Poll::Ready(Ok(())) };
                coming = inbox.lock();
                count
            }
        };
        if read == 0 {
            coming.cut(Cut::Left, context);
        }
        Poll::Ready(Ok(()))
    }

    /// Passes over what there is of a body whose request is answered; says whether that was all.
    fn leave_body(&mut self, context: &Context<'_>) -> bool {
        let Some(Coming { inbox, mut chunks, .. }) = self.coming.take() else { return true };
        let mut coming = inbox.lock();
        while !coming.has_ended() {
            let most = match (&mut chunks, coming.rest()) {
                (Some(chunks), _) => chunks.data(&mut self.input).unwrap_or_default(),
                (None, rest) => usize::try_from(rest.unwrap_or_default()).unwrap_or(usize::MAX),
            };
            let count = most.min(self.input.len());
            self.input.advance(count);
            match &mut chunks {
                Some(chunks) if chunks.have_ended() => coming.finish(context),
                Some(chunks) if count > 0 => chunks.took(count),
                None if count > 0 => coming.grew(count, context),
                _ => break,
            }
        }
        coming.cut(Cut::Answered, context);
        coming.has_ended()
    }

    /// Begins an answer. Where the request `is_read` to its end, others may follow.
    fn reply(&mut self, answer: Answered, is_read: bool) {
        let goes_on = self.asked.keeps_alive;
        self.asked.keeps_alive &= is_read && !self.single && !self.stops;
        let sending = Sending::begin(answer, &mut self.asked, &mut self.out, &mut self.date);
        // The client does not know yet that it is the last.
        if goes_on && !self.asked.keeps_alive {
            self.linger();
        }
        self.at = At::Answer(sending);
    }

    /// Sends the answer, as fast as it comes and its client takes it.
    fn poll_answer(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let At::Answer(sending) = &mut self.at else { return Poll::Ready(Ok(())) };
        let more = sending.poll(&mut self.out, context)?;
        let written = self.poll_write(context)?;
        // All of it is out before another is begun.
        if ready!(more) && written.is_ready() {
            self.at = if self.asked.keeps_alive { At::Start } else { At::End };
        }
        written.map(Ok)
    }

    /// Does not close before the client has, or had time to: what it still sends would have the system take back what was
    /// written last.
    fn linger(&self) {
        self.seen.lingers.store(true, Ordering::Relaxed);
    }

    fn poll_read(&mut self, context: &mut Context<'_>) -> Poll<io::Result<usize>> {
        self.input.reserve(ROOM);
        self.room = self.room.max(self.input.capacity());
        let count = ready!(poll_read_buf(Pin::new(&mut self.stream), context, &mut self.input))?;
        self.allowance = self.allowance.saturating_sub(count);
        Poll::Ready(Ok(count))
    }

    /// Writes what there is; pending where the client takes no more.
    fn poll_write(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.out.len() > 0 {
            ready!(self.out.poll_write(Pin::new(&mut self.stream), context))?;
        }
        // Within TLS what was taken may not be written.
        Pin::new(&mut self.stream).poll_flush(context)
    }
}

impl<S, A, F> ends::Connection for Connection<S, A, F>
where
    S: Scatter + AsyncWrite + Unpin,
    A: Fn(Request<Body>) -> F + Unpin,
    F: Future<Output: Into<Answered>>,
{
    /// Takes no request but the one under way, and what has come as a whole by then.
    fn stop(mut self: Pin<&mut Self>) {
        self.stops = true;
    }

    /// Runs the connection to its end.
    fn poll_end(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        this.allowance = AT_ONCE;
        for _ in 0..ROUNDS {
            match this.at {
                At::Start => ready!(this.poll_start(context))?,
                At::Work => ready!(this.poll_work(context))?,
                At::Answer(_) => ready!(this.poll_answer(context))?,
                At::End => {
                    ready!(this.poll_write(context))?;
                    return Pin::new(&mut this.stream).poll_shutdown(context);
                }
            }
            if this.allowance == 0 {
                break;
            }
        }
        context.waker().wake_by_ref();
        Poll::Pending
    }
}

impl<S, A, F> Drop for Connection<S, A, F> {
    fn drop(&mut self) {
        if let Some(Coming { inbox, .. }) = &self.coming {
            inbox.lock().cut(Cut::Left, &Context::from_waker(std::task::Waker::noop()));
        }
    }
}

/// Sees to a client that asks nothing for too long.
#[derive(Default)]
struct Silence {
    alarm: Option<Pin<Box<Sleep>>>,
    /// Whether it has asked something since the alarm was set.
    asked: bool,
}

impl Silence {
    /// A request has come.
    const fn end(&mut self) {
        self.asked = true;
    }

    /// Ready when none has come for once to twice as long as a client may be silent: requests leave the alarm where it is,
    /// and take no look at the clock.
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let due = || Instant::now() + SILENCE;
        let alarm = self.alarm.get_or_insert_with(|| Box::pin(sleep_until(due())));
        loop {
            ready!(alarm.as_mut().poll(context));
            if !std::mem::take(&mut self.asked) {
                return Poll::Ready(());
            }
            alarm.as_mut().reset(due());
        }
    }
}

#[cfg(test)]
mod tests;
