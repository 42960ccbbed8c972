//! Frames of HTTP/2 that come too late, kept from ending the connection.
//!
//! A server that ends a connection says that it goes, asks with a PING whether that was heard, and then names the last
//! stream that it takes; what belongs to later streams is to be ignored (RFC 9113, section 6.8). h2 ignores all of it but
//! WINDOW_UPDATE, which it takes for a fault of the client, and then no answer under way is given. Clients built on gRPC's
//! core send one with each request, and may still do so when they have answered the PING. So here such a frame becomes one
//! of a type that nobody knows, which is ignored too (section 5.5).

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

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
    pub(super) const fn new(stream: S) -> Self {
        Self { stream, client: Client::Unknown(0) }
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
            if self.known == wanted && self.is_late() {
                // Where the type came with an earlier read it is too late for this too.
                if let Some(kind) = at.checked_sub(HEAD - TYPE).and_then(|at| bytes.get_mut(at)) {
                    *kind = UNKNOWN;
                }
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
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(context, buffer))?;
        self.client.follow(buffer.filled_mut().get_mut(before..).unwrap_or_default());
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Late<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
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
    use super::*;

    fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
        let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
        [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
    }

    /// What comes through of `frames`, read in pieces of `size` bytes.
    fn through(frames: &[Vec<u8>], size: usize) -> Vec<u8> {
        let mut bytes = [PREFACE, &frames.concat()].concat();
        let mut client = Client::Unknown(0);
        bytes.chunks_mut(size).for_each(|piece| client.follow(piece));
        bytes.split_off(PREFACE.len())
    }

    #[test]
    fn window_updates_for_streams_after_the_last_are_ignored_and_nothing_else() {
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
        for size in [1, 2, 7, 9, 17, 10_000] {
            let sent = [before.as_slice(), &[update(5)], &after].concat();
            let found = through(&sent, size);
            let ignored = frame(UNKNOWN, 0, 5, &[0, 0, 0, 5]);
            let expected = [before.as_slice(), &[ignored], &after].concat().concat();
            // Cut within the head, it is let through.
            assert!(found == expected || size < 10_000 && found == sent.concat(), "{size}");
        }
    }

    #[test]
    fn http_1_passes_as_it_is() {
        for sent in ["GET / HTTP/1.1\r\n\r\n", "PRI * HTTP/1.1\r\n\r\n", "P"] {
            let (mut bytes, mut client) = (sent.as_bytes().to_vec(), Client::Unknown(0));
            bytes.chunks_mut(3).for_each(|piece| client.follow(piece));
            assert_eq!(bytes, sent.as_bytes());
        }
    }
}
