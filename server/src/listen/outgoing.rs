//! What is to be written to a connection, in order.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use tokio::io::AsyncWrite;

/// Data up to this size is copied behind what is there: the system takes one piece faster than two.
pub(super) const SMALL: usize = 4 << 10;

/// A buffer that has grown beyond this is given back once it is written.
const KEPT: usize = 16 << 10;

/// The most pieces that are handed to the system at once.
const PIECES: usize = 32;

/// What waits to be written.
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

    /// Where what is small goes, behind all that there is.
    pub(super) const fn tail(&mut self) -> &mut Vec<u8> {
        &mut self.tail
    }

    /// Adds `bytes`, which are not copied where they are many.
    pub(super) fn add(&mut self, bytes: Bytes) {
        if bytes.len() <= SMALL {
            return self.tail.extend_from_slice(&bytes);
        }
        let mut tail = Bytes::from(std::mem::take(&mut self.tail));
        tail.advance(std::mem::take(&mut self.written));
        self.length += tail.len() + bytes.len();
        self.pieces.extend([tail, bytes]);
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
                let bytes: Vec<u8> = (0..=255).cycle().skip(at).take(size).collect();
                outgoing.tail().extend_from_slice(b"head");
                outgoing.add(bytes.clone().into());
                expected.extend([&b"head"[..], &bytes].concat());
            }
            assert_eq!(outgoing.len(), expected.len());
            let mut slow = Slow(Vec::new(), taken);
            let context = &mut Context::from_waker(std::task::Waker::noop());
            assert!(matches!(outgoing.poll_write(Pin::new(&mut slow), context), Poll::Ready(Ok(()))));
            assert!(slow.0 == expected && outgoing.len() == 0, "{taken} at once");
        }
    }
}
