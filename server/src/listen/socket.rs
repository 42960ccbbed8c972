//! A connection's socket, in two hands: hyper reads and writes, and the request under way looks whether its client is
//! still there.
//!
//! hyper would look by itself, but with a read, for which it has a new buffer made while the request still holds the
//! last one: 8 KiB for every request. Looking here costs nothing while nothing comes.

use std::io::{self, IoSlice, Write};
use std::net::Shutdown;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use pin_project_lite::pin_project;
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::time::{Sleep, sleep};

use super::Seen;

/// How long the client of a connection of HTTP/2 that the server has ended may take to close its side.
const FAREWELL: Duration = Duration::from_secs(1);

/// Answers up to this size are written in one piece, which the system takes faster than the same in parts.
const SMALL: usize = 1 << 10;

/// What hyper reads and writes. Shut down and closed when it and the [`Client`]s are dropped.
#[derive(Debug)]
pub(super) struct Socket {
    /// tokio's own half, because it knows that a read that did not fill its buffer has emptied the socket.
    /// With `TcpStream::try_read` a second read would have to find that out.
    reading: OwnedReadHalf,
    writing: Arc<OwnedWriteHalf>,
    seen: Arc<Seen>,
    /// Until when to wait for the client, once nothing more is written.
    farewell: Option<Pin<Box<Sleep>>>,
}

/// The other end of an HTTP/1.1 connection, as the request under way sees it.
#[derive(Clone, Debug)]
pub(super) struct Client(Arc<OwnedWriteHalf>);

pin_project! {
    /// An answer on its way. With a `client` it is given up when that leaves; one that is there at once is given without
    /// a look.
    ///
    /// To be polled by the task that reads the connection, since a socket wakes one reader only.
    pub(super) struct Awaited<F> {
        #[pin]
        pub(super) answer: F,
        pub(super) client: Option<Client>,
    }
}

/// There is nobody left to answer.
#[derive(Debug, thiserror::Error)]
#[error("the client left")]
pub(super) struct Left;

/// Puts `stream` into two hands; `seen` is what its requests were.
pub(super) fn share(stream: TcpStream, seen: Arc<Seen>) -> (Socket, Client) {
    let (reading, writing) = stream.into_split();
    let writing = Arc::new(writing);
    let client = Client(Arc::clone(&writing));
    (Socket { reading, writing, seen, farewell: None }, client)
}

impl Client {
    /// Ready when the client has closed its end or reset the connection.
    fn poll_left(&self, context: &mut Context<'_>) -> Poll<Left> {
        let stream: &TcpStream = (*self.0).as_ref();
        match ready!(stream.poll_peek(context, &mut ReadBuf::new(&mut [0]))) {
            Ok(0) | Err(_) => Poll::Ready(Left),
            // The rest of the body, or the next request. What is behind it shows once hyper has read it: that wakes
            // this task, and so does the answer, so that nothing has to wake it here.
            Ok(_) => Poll::Pending,
        }
    }
}

impl<F: Future> Future for Awaited<F> {
    type Output = Result<F::Output, Left>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        match (this.answer.poll(context), this.client) {
            (Poll::Ready(answer), _) => Poll::Ready(Ok(answer)),
            (Poll::Pending, Some(client)) => client.poll_left(context).map(Err),
            (Poll::Pending, None) => Poll::Pending,
        }
    }
}

impl Socket {
    /// Tries `write` whenever the socket can take something.
    fn poll_writing(
        &self,
        context: &mut Context<'_>,
        write: impl Fn(&TcpStream) -> io::Result<usize>,
    ) -> Poll<io::Result<usize>> {
        let stream: &TcpStream = (*self.writing).as_ref();
        loop {
            ready!(stream.poll_write_ready(context))?;
            match write(stream) {
                // tokio has noted that the socket is full.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                written => return Poll::Ready(written),
            }
        }
    }
}

/// Copies `parts` one behind the other into `whole`, if they fit.
fn put_together<'a>(parts: &[IoSlice<'_>], whole: &'a mut [u8]) -> Option<&'a [u8]> {
    let size = parts.iter().map(|part| part.len()).sum();
    let mut rest = whole.get_mut(..size)?;
    for part in parts {
        rest.write_all(part).ok()?;
    }
    whole.get(..size)
}

impl AsyncRead for Socket {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.reading).poll_read(context, buf)
    }
}

impl AsyncWrite for Socket {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_writing(context, |stream| stream.try_write(bytes))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let mut whole = [0; SMALL];
        match put_together(parts, &mut whole) {
            Some(whole) => self.poll_writing(context, |stream| stream.try_write(whole)),
            None => self.poll_writing(context, |stream| stream.try_write_vectored(parts)),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    /// With HTTP/1.1 it is left to the drop of tokio's half, which shuts down and comes next: hyper ends with this.
    ///
    /// A client of HTTP/2 may write at any time, if only to make room for what it reads. What reaches a closed socket
    /// resets the connection, and takes with it what the client has not read yet: the last answers. So it is its turn to
    /// close.
    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.seen.is_http2() {
            return Poll::Ready(Ok(()));
        }
        let this = &mut *self;
        let alarm = this.farewell.get_or_insert_with(|| {
            let stream: &TcpStream = (*this.writing).as_ref();
            // One that is closed already shows when it is read.
            let _ = SockRef::from(stream).shutdown(Shutdown::Write);
            Box::pin(sleep(FAREWELL))
        });
        loop {
            let (mut bytes, reading) = ([0; 1024], Pin::new(&mut this.reading));
            let mut rest = ReadBuf::new(&mut bytes);
            match reading.poll_read(context, &mut rest) {
                Poll::Ready(Ok(())) if !rest.filled().is_empty() => {}
                Poll::Ready(_) => return Poll::Ready(Ok(())),
                Poll::Pending => return alarm.as_mut().poll(context).map(Ok),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_parts_are_put_together_and_large_ones_are_not() {
        for sizes in [&[][..], &[0], &[0, 3, 0, 4], &[SMALL], &[1, SMALL - 1], &[SMALL - 1, 0, 1]] {
            let bytes: Vec<u8> = (0..=250).cycle().take(SMALL).collect();
            let mut left = &*bytes;
            let parts: Vec<_> = sizes.iter().map(|size| IoSlice::new(left.split_off(..*size).unwrap())).collect();
            let whole = sizes.iter().sum();
            assert_eq!(put_together(&parts, &mut [0; SMALL]), Some(&bytes[..whole]), "{sizes:?}");
        }
        let part = [0; SMALL];
        for parts in [[&part[..], &part[..1]], [&part[..1], &part[..]]] {
            assert_eq!(put_together(&parts.map(IoSlice::new), &mut [0; SMALL]), None);
        }
    }
}
