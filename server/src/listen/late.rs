//! Frames of HTTP/2 that come too late, kept from ending the connection.
//!
//! A server that ends a connection says that it goes, asks with a PING whether that was heard, and then names the last
//! stream that it takes; what belongs to later streams is to be ignored (RFC 9113, section 6.8). h2 ignores all of it but
//! WINDOW_UPDATE, which it takes for a fault of the client, and then no answer under way is given. Clients built on gRPC's
//! core send one with each request, and may still do so when they have answered the PING. So here such a frame becomes one
//! of a type that nobody knows, which is ignored too (section 5.5). From then on the head of a frame is handed on as a
//! whole, however it comes.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::Seen;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// What a frame begins with: length, type, flags and stream.
const HEAD: usize = 9;
/// Where its type stands.
const TYPE: usize = 3;
const HEADERS: u8 = 0x1;
const PING: u8 = 0x6;
const WINDOW_UPDATE: u8 = 0x8;
/// Of those that nobody may define.
const UNKNOWN: u8 = 0xff;

/// What h2 writes into the PING of a stop.
const STOP: [u8; 8] = [0x0b, 0x7b, 0xa2, 0xf0, 0x8b, 0x9b, 0xfe, 0x54];

/// A connection whose client is read through here.
#[derive(Debug)]
pub(super) struct Late<S> {
    stream: S,
    client: Client,
    held: Option<Held>,
    seen: Arc<Seen>,
}

/// The head of a frame that did not come at once.
#[derive(Debug, Default)]
struct Held {
    head: [u8; HEAD],
    came: usize,
    handed_on: usize,
}

/// What the client speaks.
#[derive(Debug)]
enum Client {
    /// So much of the preface of HTTP/2 has come, and nothing else.
    Unknown(usize),
    Http1,
    Http2(Frames),
}

impl<S> Late<S> {
    pub(super) const fn new(stream: S, seen: Arc<Seen>) -> Self {
        Self { stream, client: Client::Unknown(0), held: None, seen }
    }
}

impl<S: AsyncRead + Unpin> Late<S> {
    /// Waits for the rest of a head that is held, and hands on as much of it as there is room for.
    fn poll_held(&mut self, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let Some(held) = self.held.as_mut().filter(|_| buffer.remaining() > 0) else { return Poll::Ready(Ok(())) };
        let mut is_whole = held.handed_on > 0;
        while !is_whole {
            let mut rest = ReadBuf::new(held.head.get_mut(held.came..).unwrap_or_default());
            ready!(Pin::new(&mut self.stream).poll_read(context, &mut rest))?;
            let more = rest.filled().len();
            held.came += more;
            if held.came == HEAD {
                self.client.follow(&mut held.head);
            }
            // Where the client has ended there is no more of it.
            is_whole = held.came == HEAD || more == 0;
        }
        let left = held.head.get(held.handed_on..held.came).unwrap_or_default();
        let fits = left.get(..left.len().min(buffer.remaining())).unwrap_or_default();
        buffer.put_slice(fits);
        held.handed_on += fits.len();
        if held.handed_on == held.came {
            self.held = None;
        }
        Poll::Ready(Ok(()))
    }
}

impl Client {
    /// Takes note of what was read.
    fn follow(&mut self, bytes: &mut [u8]) {
        match self {
            Self::Http1 => {}
            Self::Http2(frames) => frames.follow(bytes),
            Self::Unknown(seen) => {
                let expected = PREFACE.get(*seen..).unwrap_or_default();
                let (start, rest) = bytes.split_at_mut(bytes.len().min(expected.len()));
                if !expected.starts_with(start) {
                    *self = Self::Http1;
                } else if start.len() < expected.len() {
                    *seen += start.len();
                } else {
                    let mut frames = Frames::default();
                    frames.follow(rest);
                    *self = Self::Http2(frames);
                }
            }
        }
    }

    /// Whether it has answered the PING of a stop.
    const fn has_heard(&self) -> bool {
        matches!(self, Self::Http2(frames) if frames.stopped)
    }

    /// Takes back the beginning of a head at the end of what was read, where it matters: how many bytes that is.
    fn take_back(&mut self) -> usize {
        match self {
            Self::Http2(frames) if frames.stopped && frames.known < HEAD => std::mem::take(&mut frames.known),
            _ => 0,
        }
    }
}

/// The frames that a client sends, as they come.
#[derive(Debug, Default)]
struct Frames {
    /// The start of a frame: its head, and what a PING holds.
    start: [u8; HEAD + STOP.len()],
    /// So much of it has come.
    known: usize,
    /// So much of the frame is left that says nothing here.
    skip: usize,
    /// The last stream that was opened before the client answered the PING of a stop.
    last: u32,
    stopped: bool,
}

impl Frames {
    fn follow(&mut self, bytes: &mut [u8]) {
        let mut at = 0;
        while let Some(rest) = bytes.get_mut(at..).filter(|rest| !rest.is_empty()) {
            let skipped = self.skip.min(rest.len());
            if skipped > 0 {
                (self.skip, at) = (self.skip - skipped, at + skipped);
                continue;
            }
            let wanted = if self.known >= HEAD { self.start.len() } else { HEAD };
            let came = rest.len().min(wanted - self.known);
            let (Some(to), Some(from)) = (self.start.get_mut(self.known..self.known + came), rest.get(..came)) else {
                return;
            };
            to.copy_from_slice(from);
            (self.known, at) = (self.known + came, at + came);
            if self.known == wanted
                && self.is_late()
                && let Some(kind) = at.checked_sub(HEAD - TYPE).and_then(|at| bytes.get_mut(at))
            {
                *kind = UNKNOWN;
            }
        }
    }

    /// Looks at a start that is there, and says whether it is a frame to be ignored.
    fn is_late(&mut self) -> bool {
        let [a, b, c, kind, flags, stream @ .., _, _, _, _, _, _, _, _] = self.start;
        let length = u32::from_be_bytes([0, a, b, c]) as usize;
        let stream = u32::from_be_bytes(stream) & (u32::MAX >> 1);
        if kind == PING && length == STOP.len() {
            if self.known == HEAD {
                return false;
            }
            self.stopped |= flags & 1 == 1 && self.start.ends_with(&STOP);
            self.known = 0;
            return false;
        }
        (self.known, self.skip) = (0, length);
        if kind == HEADERS && !self.stopped {
            self.last = self.last.max(stream);
        }
        kind == WINDOW_UPDATE && self.stopped && stream > self.last
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Late<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        // h2 reads again when it has handed on all that it read before.
        if this.client.has_heard() {
            this.seen.heard.cancel();
        }
        let before = buffer.filled().len();
        while this.held.is_none() {
            ready!(Pin::new(&mut this.stream).poll_read(context, buffer))?;
            this.client.follow(buffer.filled_mut().get_mut(before..).unwrap_or_default());
            if matches!(this.client, Client::Http2(_)) {
                this.seen.http2.store(true, Ordering::Relaxed);
            }
            let begun = this.client.take_back();
            let end = buffer.filled().len() - begun;
            if begun > 0 {
                let mut held = Held { came: begun, ..Held::default() };
                let parts = held.head.get_mut(..begun).zip(buffer.filled().get(end..));
                if let Some((to, from)) = parts {
                    to.copy_from_slice(from);
                }
                buffer.set_filled(end);
                this.held = Some(held);
            }
            if begun == 0 || end > before {
                return Poll::Ready(Ok(()));
            }
        }
        this.poll_held(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Late<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let wrote = ready!(Pin::new(&mut self.stream).poll_write(context, bytes));
        self.seen.wrote.store(true, Ordering::Relaxed);
        Poll::Ready(wrote)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let wrote = ready!(Pin::new(&mut self.stream).poll_write_vectored(context, slices));
        self.seen.wrote.store(true, Ordering::Relaxed);
        Poll::Ready(wrote)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use tokio::io::AsyncReadExt;

    use super::*;

    fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
        let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
        [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
    }

    /// A client whose bytes come in pieces of such a size.
    struct Pieces(VecDeque<u8>, usize);

    impl AsyncRead for Pieces {
        fn poll_read(mut self: Pin<&mut Self>, _: &mut Context<'_>, to: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
            let count = self.1.min(to.remaining()).min(self.0.len());
            to.put_slice(&self.0.drain(..count).collect::<Vec<_>>());
            Poll::Ready(Ok(()))
        }
    }

    /// What comes through of `sent`, which comes in pieces of some size and is read into buffers of another.
    async fn through(sent: &[u8], piece: usize, buffer: usize) -> Vec<u8> {
        let seen = Arc::<Seen>::default();
        let mut late = Late::new(Pieces(sent.iter().copied().collect(), piece), Arc::clone(&seen));
        let (mut all, mut buffer) = (Vec::new(), vec![0; buffer]);
        loop {
            match late.read(&mut buffer).await.unwrap() {
                0 => {
                    let found = [seen.is_http2(), seen.heard.is_cancelled()];
                    assert_eq!(found, [sent.starts_with(PREFACE); 2]);
                    return all;
                }
                count => all.extend(&buffer[..count]),
            }
        }
    }

    #[tokio::test]
    async fn window_updates_for_streams_after_the_last_are_ignored_and_nothing_else() {
        let update = |stream| frame(WINDOW_UPDATE, 0, stream, &[0, 0, 0, 5]);
        let before = [
            frame(0x4, 0, 0, &[0; 12]),
            frame(HEADERS, 4, 1, &[0x82; 300]),
            update(0),
            update(1),
            frame(PING, 1, 0, b"another!"),
            frame(PING, 0, 0, &STOP),
            frame(HEADERS, 4, 3, &[]),
            update(3),
            frame(PING, 1, 0, &STOP),
            frame(HEADERS, 4, 5, &[0x82]),
        ];
        let after = [frame(0, 1, 5, &[WINDOW_UPDATE; 40]), update(0), update(3)];
        let sent = [&[PREFACE.to_vec()], before.as_slice(), &[update(5)], &after].concat().concat();
        let ignored = frame(UNKNOWN, 0, 5, &[0, 0, 0, 5]);
        let expected = [&[PREFACE.to_vec()], before.as_slice(), &[ignored], &after].concat().concat();
        for piece in (1..40).chain([10_000]) {
            for buffer in [1, 2, 8, 9, 10, 4096] {
                assert!(through(&sent, piece, buffer).await == expected, "{piece} bytes into {buffer}");
            }
        }
        // One that ends within a head is not waited for.
        let cut = &sent[..sent.len() - 2];
        assert!(through(cut, 5, 4096).await == expected[..cut.len()]);
        assert!(through(&sent[..sent.len() - 8], 5, 4096).await == expected[..cut.len() - 6]);
    }

    #[tokio::test]
    async fn http_1_passes_as_it_is() {
        for sent in ["GET / HTTP/1.1\r\n\r\n", "PRI * HTTP/1.1\r\n\r\n", "P"] {
            assert_eq!(through(sent.as_bytes(), 3, 4).await, sent.as_bytes());
        }
    }
}
