//! The first bytes of a connection, which tell what its client speaks.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Buf, Bytes, BytesMut};
use hyper::body::{Body as HttpBody, Frame, Incoming, SizeHint};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};

use super::http2::{self, PREFACE};
use crate::payload::Source;
use crate::piece::Piece;

/// A protocol that a client may speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Protocol {
    Http1,
    Http2,
}

/// A connection of which the start was read.
#[derive(Debug)]
pub(super) struct Opened<S> {
    pub(super) stream: S,
    /// What was read; with HTTP/2 what came behind the preface.
    pub(super) start: BytesMut,
}

/// The body of a request, as its protocol brings it.
pub(super) enum Body {
    Http1(Incoming),
    Http2(http2::Body),
}

/// Waits until it is known what the client speaks.
pub(super) async fn open<S: AsyncRead + Unpin>(mut stream: S) -> io::Result<(Protocol, Opened<S>)> {
    let mut start = BytesMut::with_capacity(1024);
    loop {
        let expected = PREFACE.get(..start.len()).unwrap_or(PREFACE);
        if !start.starts_with(expected) {
            return Ok((Protocol::Http1, Opened { stream, start }));
        }
        if start.len() >= PREFACE.len() {
            start.advance(PREFACE.len());
            return Ok((Protocol::Http2, Opened { stream, start }));
        }
        if stream.read_buf(&mut start).await? == 0 {
            // It has ended; what it speaks says so.
            return Ok((Protocol::Http1, Opened { stream, start }));
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Opened<S> {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, to: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.start.is_empty() {
            return Pin::new(&mut self.stream).poll_read(context, to);
        }
        let count = self.start.len().min(to.remaining());
        to.put_slice(&self.start.split_to(count));
        if self.start.is_empty() {
            self.start = BytesMut::new();
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Opened<S> {
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

impl HttpBody for Body {
    type Data = Bytes;
    type Error = axum::BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::BoxError>>> {
        match self.get_mut() {
            Self::Http1(body) => Pin::new(body).poll_frame(context).map_err(Into::into),
            Self::Http2(body) => Pin::new(body).poll_frame(context).map_err(Into::into),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Http1(body) => body.is_end_stream(),
            Self::Http2(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Http1(body) => body.size_hint(),
            Self::Http2(body) => body.size_hint(),
        }
    }
}

impl Source for Body {
    fn gather(&mut self, start: &mut Bytes, piece: Piece) {
        if let Self::Http2(body) = self {
            body.gather(start, piece);
        }
    }

    fn here(&self) -> usize {
        if let Self::Http2(body) = self { body.here() } else { 0 }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt;

    use super::*;

    #[tokio::test]
    async fn the_first_bytes_tell_what_a_client_speaks() {
        let request = b"PRI * HTTP/1.1\r\nhost: x\r\n\r\n";
        for (sent, protocol, left) in [
            (&b"GET / HTTP/1.1\r\n\r\n"[..], Protocol::Http1, &b"GET / HTTP/1.1\r\n\r\n"[..]),
            (request, Protocol::Http1, request),
            (b"PRI", Protocol::Http1, b"PRI"),
            (b"", Protocol::Http1, b""),
            (PREFACE, Protocol::Http2, b""),
            (&[PREFACE, b"frames"].concat(), Protocol::Http2, b"frames"),
        ] {
            for piece in [1, 5, 1000] {
                let mut sender = in_pieces(sent, piece);
                let (found, mut opened) = open(&mut sender).await.unwrap();
                assert_eq!(found, protocol, "{sent:?}");
                let mut rest = Vec::new();
                opened.read_to_end(&mut rest).await.unwrap();
                assert_eq!(rest, left);
            }
        }
    }

    /// A client whose bytes come in pieces of such a size.
    fn in_pieces(sent: &[u8], piece: usize) -> impl AsyncRead + Unpin {
        struct Pieces(BytesMut, usize);
        impl AsyncRead for Pieces {
            fn poll_read(mut self: Pin<&mut Self>, _: &mut Context<'_>, to: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
                let count = self.1.min(to.remaining()).min(self.0.len());
                to.put_slice(&self.0.split_to(count));
                Poll::Ready(Ok(()))
            }
        }
        Pieces(sent.into(), piece)
    }
}
