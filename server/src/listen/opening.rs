//! The first bytes of a connection, which tell what its client speaks.

use std::io;

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt};

use super::http2::PREFACE;

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
    /// What was read of it; with HTTP/2 what came behind the preface.
    pub(super) start: BytesMut,
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

#[cfg(test)]
mod tests {
    use std::pin::Pin;
    use std::task::{Context, Poll};

    use tokio::io::ReadBuf;

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
                let (found, Opened { start, .. }) = open(&mut sender).await.unwrap();
                assert_eq!(found, protocol, "{sent:?}");
                let mut rest = start.to_vec();
                sender.read_to_end(&mut rest).await.unwrap();
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
