//! What is to be written to a connection, in order.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use tokio::io::AsyncWrite;

use super::frame::{CONTINUATION, END_HEADERS, HEAD, HEADERS, Head};

/// Data up to this size is copied behind what is there: the system takes one piece faster than two.
const SMALL: usize = 4 << 10;

/// A buffer that has grown beyond this is given back once it is written.
const KEPT: usize = 16 << 10;

/// The most pieces that are handed to the system at once.
const PIECES: usize = 32;

/// Frames that wait to be written.
#[derive(Debug, Default)]
pub(super) struct Outgoing {
    pieces: VecDeque<Bytes>,
    /// Behind the pieces.
    tail: Vec<u8>,
    /// So much of the tail is written.
    written: usize,
    /// The bytes of all pieces.
    length: usize,
}

impl Outgoing {
    /// How many bytes wait.
    pub(super) fn len(&self) -> usize {
        self.length + self.tail.len() - self.written
    }

    /// Adds a frame.
    pub(super) fn frame(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
        self.tail.extend_from_slice(&Head { length: payload.len(), kind, flags, stream }.bytes());
        self.tail.extend_from_slice(payload);
    }

    /// Adds a frame of what `bytes` are, which are not copied where they are many.
    pub(super) fn large(&mut self, kind: u8, flags: u8, stream: u32, bytes: Bytes) {
        if bytes.len() <= SMALL {
            return self.frame(kind, flags, stream, &bytes);
        }
        self.tail.extend_from_slice(&Head { length: bytes.len(), kind, flags, stream }.bytes());
        let mut tail = Bytes::from(std::mem::take(&mut self.tail));
        tail.advance(std::mem::take(&mut self.written));
        self.length += tail.len() + bytes.len();
        self.pieces.extend([tail, bytes]);
    }

    /// Adds a block of fields that `write` writes, in frames of no more than `largest` bytes.
    pub(super) fn block(&mut self, flags: u8, stream: u32, largest: usize, write: impl FnOnce(&mut Vec<u8>)) {
        let start = self.tail.len();
        self.tail.extend_from_slice(&[0; HEAD]);
        write(&mut self.tail);
        let length = self.tail.len() - start - HEAD;
        if length <= largest {
            let head = Head { length, kind: HEADERS, flags: flags | END_HEADERS, stream };
            if let Some(place) = self.tail.get_mut(start..start + HEAD) {
                place.copy_from_slice(&head.bytes());
            }
            return;
        }
        let block = self.tail.split_off(start);
        let mut parts = block.get(HEAD..).unwrap_or_default().chunks(largest).peekable();
        let (mut kind, mut flags) = (HEADERS, flags);
        while let Some(part) = parts.next() {
            let last = if parts.peek().is_none() { END_HEADERS } else { 0 };
            self.frame(kind, flags | last, stream, part);
            (kind, flags) = (CONTINUATION, 0);
        }
    }

    /// Writes all of it.
    pub(super) fn poll_write(
        &mut self,
        mut stream: Pin<&mut impl AsyncWrite>,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        while self.len() > 0 {
            let wrote = if self.pieces.is_empty() {
                stream.as_mut().poll_write(context, self.tail.get(self.written..).unwrap_or_default())
            } else {
                let mut slices = [IoSlice::new(&[]); PIECES];
                let tail = self.tail.get(self.written..).unwrap_or_default();
                let parts = self.pieces.iter().map(|piece| &**piece).chain([tail]);
                let count = slices.iter_mut().zip(parts).map(|(slice, part)| *slice = IoSlice::new(part)).count();
                stream.as_mut().poll_write_vectored(context, slices.get(..count).unwrap_or_default())
            };
            match ready!(wrote)? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                count => self.advance(count),
            }
        }
        if self.tail.capacity() > KEPT {
            self.tail = Vec::new();
        }
        self.tail.clear();
        self.written = 0;
        Poll::Ready(Ok(()))
    }

    fn advance(&mut self, mut count: usize) {
        while let Some(first) = self.pieces.front_mut().filter(|_| count > 0) {
            let part = count.min(first.len());
            first.advance(part);
            self.length -= part;
            count -= part;
            if first.is_empty() {
                self.pieces.pop_front();
            }
        }
        self.written += count;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes so many bytes at once.
    struct Slow(Vec<u8>, usize);

    impl AsyncWrite for Slow {
        fn poll_write(mut self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
            let count = bytes.len().min(self.1);
            self.0.extend_from_slice(&bytes[..count]);
            Poll::Ready(Ok(count))
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_write_vectored(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
            parts: &[IoSlice<'_>],
        ) -> Poll<io::Result<usize>> {
            let whole = parts.iter().flat_map(|part| part.iter()).take(self.1).copied().collect::<Vec<_>>();
            self.0.extend_from_slice(&whole);
            Poll::Ready(Ok(whole.len()))
        }
    }

    #[test]
    fn all_is_written_in_order_however_little_is_taken_at_once() {
        for taken in [1, 7, 5000, usize::MAX] {
            let (mut outgoing, mut expected) = (Outgoing::default(), Vec::new());
            for (at, size) in [0, 10, SMALL, SMALL + 1, 3, 2 * SMALL, SMALL + 5].into_iter().enumerate() {
                let stream = u32::try_from(at).unwrap();
                let bytes: Vec<u8> = (0..=255).cycle().skip(at).take(size).collect();
                expected.extend(Head { length: size, kind: 0, flags: 1, stream }.bytes());
                expected.extend(&bytes);
                outgoing.large(0, 1, stream, bytes.into());
            }
            assert_eq!(outgoing.len(), expected.len());
            let mut slow = Slow(Vec::new(), taken);
            let context = &mut Context::from_waker(std::task::Waker::noop());
            assert!(matches!(outgoing.poll_write(Pin::new(&mut slow), context), Poll::Ready(Ok(()))));
            assert!(slow.0 == expected && outgoing.len() == 0, "{taken} at once");
        }
    }

    #[test]
    fn a_block_that_is_too_long_for_a_frame_goes_on_in_others() {
        for (length, frames) in [(0, 1), (10, 1), (11, 2), (20, 2), (25, 3)] {
            let mut outgoing = Outgoing::default();
            outgoing.frame(6, 0, 0, b"before");
            let before = outgoing.len();
            outgoing.block(1, 7, 10, |block| block.extend(vec![b'x'; length]));
            let mut rest = &outgoing.tail[before..];
            let mut found = Vec::new();
            while let Some((head, behind)) = rest.split_first_chunk::<HEAD>() {
                let head = Head::read(*head);
                found.push((head.kind, head.flags, head.length));
                rest = &behind[head.length..];
            }
            assert_eq!(found.len(), frames, "{found:?}");
            assert_eq!(found.iter().map(|(_, _, length)| length).sum::<usize>(), length);
            assert_eq!((found[0].0, found[0].1 & 1), (HEADERS, 1));
            assert!(found[1..].iter().all(|(kind, flags, _)| *kind == CONTINUATION && flags & 1 == 0));
            assert!(found.iter().enumerate().all(|(at, frame)| (frame.1 & END_HEADERS != 0) == (at + 1 == frames)));
        }
    }
}
