//! HTTP/2 as a server speaks it: frames in, requests to those who answer them, answers out.
//!
//! A task for each connection reads its frames and runs what they ask for at once, as long as that takes no time; what has
//! to wait becomes a task of its own. What streams and their connection share stands in [`state`]. With hyper's HTTP/2, which
//! is made for every use, a call of gRPC to a tiny model takes 1.3 to 1.4 times as long.
//!
//! Source: RFC 9113.

mod body;
#[cfg(any(test, fuzzing))]
mod checked;
mod credit;
mod expected;
mod frame;
mod framed;
mod frames;
mod record;
mod reply;
mod request;
mod state;
mod stop;

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use bytes::BytesMut;
use http::{Method, Request};
use tokio::io::AsyncWrite;
use tokio::time::{Sleep, sleep};
use tokio_util::io::poll_read_buf;

use super::outgoing::Outgoing;
use super::scatter::Scatter;
use super::young::{Streams, YOUTH};
use super::{Body, SILENCE, Seen, ends};
use crate::config::Caps;
use crate::middleware::answer::Answered;
pub(super) use body::Coming;
#[cfg(fuzzing)]
pub(crate) use checked::session;
pub(super) use frame::PREFACE;
use frame::{PING, Reason};
use frames::{Begun, Frames};
use reply::Reply;
use state::{FULL, Shared};
use stop::Stop;

/// The least room for what is read at once, and the most.
const ROOM: usize = 8 << 10;
const MOST_ROOM: usize = 64 << 10;

/// While so much waits to be written that the client does not take, nothing is read: answers to frames that it sends, since
/// of the data of answers there is never so much.
const CHOKED: usize = 256 << 10;

/// So often a connection goes on at once, before others of its thread have their turn, and so much it reads: among the
/// others are those who wait for what it has read.
const ROUNDS: usize = 32;
const AT_ONCE: usize = MOST_ROOM;

/// How long a silent client may take to answer a PING.
const ANSWER: Duration = Duration::from_secs(20);

/// What the PINGs hold that ask whether the client is there.
const ALIVE: [u8; 8] = *b"hedef:up";

/// One connection.
pub(super) struct Connection<S, A> {
    stream: S,
    /// Answers requests.
    answer: A,
    seen: Arc<Seen>,
    shared: Shared,
    input: BytesMut,
    /// How much is read at once.
    room: usize,
    frames: Frames,
    /// What is being written.
    sending: Outgoing,
    streams: Streams,
    answer_timeout: Duration,
    stop: Stop,
    /// Set once nothing is read any more: what there is to be written still is.
    over: bool,
    /// Goes off to see whether the client is still there.
    alarm: Pin<Box<Sleep>>,
    /// Whether something came since.
    heard: bool,
    asked: bool,
}

impl<S, A, F> Connection<S, A>
where
    S: Scatter + AsyncWrite + Unpin,
    A: Fn(Request<Body>) -> F,
    F: Future<Output: Into<Answered>> + Send + 'static,
{
    /// A connection of which `input` has come behind the preface.
    pub(super) fn new(stream: S, input: BytesMut, answer: A, seen: Arc<Seen>, streams: Streams, caps: &Caps) -> Self {
        let shared = Shared::default();
        Self {
            stream,
            answer,
            seen,
            frames: Frames::new(&shared, caps),
            sending: Outgoing::default(),
            shared,
            input,
            room: ROOM,
            streams,
            answer_timeout: caps.answer_timeout,
            stop: Stop::default(),
            over: false,
            alarm: Box::pin(sleep(SILENCE)),
            heard: false,
            asked: false,
        }
    }

    /// Takes the frames that have come, and begins what they ask for; says whether there may be something to do.
    fn take(&mut self, context: &mut Context<'_>) -> bool {
        let (mut took, mut since) = (false, None::<Instant>);
        loop {
            match self.frames.next(&self.shared, &mut self.input) {
                Ok(Some(begun)) => {
                    let Begun { stream, request } = begun;
                    let wants_body = request.method() != Method::HEAD;
                    let reply = Reply::new(self.shared.clone(), stream, wants_body, self.answer_timeout);
                    let exchange = reply.of((self.answer)(request));
                    // One alone takes no look at the clock.
                    if took {
                        since = since.or_else(|| Some(Instant::now()));
                    }
                    took = true;
                    self.streams.run(exchange, since.is_none_or(|since| since.elapsed() < YOUTH), context);
                }
                Ok(None) => break,
                Err(reason) => {
                    self.fail(reason);
                    return true;
                }
            }
        }
        if self.frames.are_closed() && self.stop.heard(&mut self.shared.lock().out, self.frames.last()) {
            self.seen.heard.cancel();
            took = true;
        }
        took
    }

    /// Ends the connection because of something that the client did.
    fn fail(&mut self, reason: Reason) {
        tracing::debug!("a connection of HTTP/2 ended: {reason:?}");
        self.end(reason);
    }

    /// Says why the connection ends, and which requests were taken, and does nothing else.
    fn end(&mut self, reason: Reason) {
        self.over = true;
        let mut state = self.shared.lock();
        stop::goes(&mut state.out, self.frames.last(), reason);
        state.leave_all();
    }

    /// Reads what has come; ready where something has, or the client has ended. Says what it weighs.
    fn poll_read(&mut self, context: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let read = match self.frames.poll_read(&self.shared, Pin::new(&mut self.stream), context, &mut self.input) {
            Some(read) => {
                // What large bodies have between them is little.
                self.room = ROOM;
                read
            }
            None => self.poll_more(context).map_ok(|count| (count, count)),
        };
        let Poll::Ready(read) = read else {
            if self.input.is_empty() && self.input.capacity() > 2 * ROOM {
                self.input = BytesMut::new();
            }
            return Poll::Pending;
        };
        self.heard = true;
        let (count, weight) = read?;
        if count == 0 {
            // Those that were about to be answered are.
            self.streams.poll(context);
            self.over = true;
            let mut state = self.shared.lock();
            state.fill();
            state.leave_all();
        }
        Poll::Ready(Ok(weight))
    }

    /// Reads more behind what is not taken.
    fn poll_more(&mut self, context: &mut Context<'_>) -> Poll<io::Result<usize>> {
        self.input.reserve(self.room);
        let room = self.input.capacity() - self.input.len();
        let count = ready!(poll_read_buf(Pin::new(&mut self.stream), context, &mut self.input))?;
        // Large data comes in large pieces, if there is room for them.
        self.room = if count == room { (2 * self.room).min(MOST_ROOM) } else { (self.room / 2).max(ROOM) };
        Poll::Ready(Ok(count))
    }

    /// Writes what there is; pending where the client takes no more.
    fn poll_write(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            if self.sending.len() == 0 {
                let mut state = self.shared.lock();
                if !state.fill() {
                    drop(state);
                    // Within TLS what was taken may not be written.
                    return Pin::new(&mut self.stream).poll_flush(context);
                }
                if !self.over {
                    state.grant();
                }
                std::mem::swap(&mut state.out, &mut self.sending);
            }
            let is_all = self.sending.len() < FULL;
            ready!(self.sending.poll_write(Pin::new(&mut self.stream), context))?;
            self.seen.wrote.store(true, Ordering::Relaxed);
            // What comes meanwhile is looked for before the connection sleeps, or is over.
            if is_all && !self.over {
                return Pin::new(&mut self.stream).poll_flush(context);
            }
        }
    }

    /// Sees to a client that is silent though it is not `busy` with what is written, and to the end of a connection that
    /// stops; ready where there is something to do.
    fn poll_idle(&mut self, under_way: bool, busy: bool, context: &mut Context<'_>) -> Poll<()> {
        if self.over {
            return Poll::Pending;
        }
        if self.stop.poll_end(under_way, &self.seen.wrote, context).is_ready() {
            self.end(Reason::None);
            return Poll::Ready(());
        }
        ready!(self.alarm.as_mut().poll(context));
        self.heard |= busy;
        let silent = !std::mem::take(&mut self.heard);
        if silent && std::mem::replace(&mut self.asked, silent) {
            tracing::debug!("a connection ended: its client did not answer a PING");
            self.end(Reason::None);
            return Poll::Ready(());
        }
        self.asked = silent;
        if silent {
            self.shared.lock().out.frame(PING, 0, 0, &ALIVE);
        }
        self.alarm.as_mut().reset(tokio::time::Instant::now() + if silent { ANSWER } else { SILENCE });
        Poll::Ready(())
    }
}

impl<S, A, F> ends::Connection for Connection<S, A>
where
    S: Scatter + AsyncWrite + Unpin,
    A: Fn(Request<Body>) -> F + Unpin,
    F: Future<Output: Into<Answered>> + Send + 'static,
{
    /// Tells the client that no more requests are taken than it has sent until it hears of that. Ends once they are answered.
    fn stop(mut self: Pin<&mut Self>) {
        let this = &mut *self;
        if this.over {
            return;
        }
        this.frames.expect_stop();
        this.stop.begin(&mut this.shared.lock().out);
    }

    /// Runs the connection to its end.
    fn poll_end(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        this.shared.lock().awake();
        this.streams.poll(context);
        let mut read = 0;
        for _ in 0..ROUNDS {
            let written = this.poll_write(context)?;
            if this.over && written.is_ready() {
                return Pin::new(&mut this.stream).poll_shutdown(context);
            }
            let choked = written.is_pending() && this.shared.lock().out.len() > CHOKED;
            if !this.over && !choked {
                if this.take(context) {
                    continue;
                }
                if read >= AT_ONCE {
                    break;
                }
                if let Poll::Ready(count) = this.poll_read(context)? {
                    read += count;
                    if !this.over {
                        this.take(context);
                    }
                    continue;
                }
            }
            let mut state = this.shared.lock();
            if written.is_ready() && state.fill() {
                continue;
            }
            // From now on another thread that answers wakes it.
            state.sleep(context);
            let under_way = !state.streams.is_empty();
            drop(state);
            if !under_way {
                this.streams.rest();
            }
            if this.poll_idle(under_way, written.is_pending(), context).is_pending() {
                return Poll::Pending;
            }
        }
        context.waker().wake_by_ref();
        Poll::Pending
    }
}

impl<S, A> Drop for Connection<S, A> {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        state.leave_all();
        let waker = state.retire();
        drop(state);
        drop(waker);
    }
}

#[cfg(test)]
mod tests;
