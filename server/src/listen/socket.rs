//! A connection's socket.

use std::io::{self, IoSlice, Write};
use std::mem::MaybeUninit;
use std::net::Shutdown;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use socket2::{MaybeUninitSlice, SockRef};
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Sleep, sleep};

use super::Seen;
use super::mark::Mark;

/// How long the client of a connection that the server has ended may take to close its side, if it may still write.
const FAREWELL: Duration = Duration::from_secs(1);

/// So often it is read in a turn meanwhile.
const AT_ONCE: usize = 4;

/// Linux's flag of a read that throws away what it reads.
const MSG_TRUNC: i32 = 0x20;

/// Answers up to this size are written in one piece, which the system takes faster than the same in parts.
const SMALL: usize = 1 << 10;

/// What a connection reads and writes. Shut down and closed when it is dropped.
#[derive(Debug)]
pub(super) struct Socket {
    stream: TcpStream,
    seen: Arc<Seen>,
    /// Until when to wait for the client, once nothing more is written.
    farewell: Option<Pin<Box<Sleep>>>,
    mark: Mark,
}

impl Socket {
    /// The socket of a connection of which so much is `seen`.
    pub(super) const fn new(stream: TcpStream, seen: Arc<Seen>) -> Self {
        Self { stream, seen, farewell: None, mark: Mark::new() }
    }

    /// The next read needs so many bytes.
    pub(super) fn expect(&mut self, bytes: usize) {
        self.mark.expect(bytes);
    }

    /// Sees to it that a read that has to wait is woken in time.
    fn reads<T>(&mut self, read: Poll<T>, context: &mut Context<'_>) -> Poll<T> {
        match read {
            Poll::Ready(_) => self.mark.moves(),
            Poll::Pending => self.mark.wait(&self.stream, context),
        }
        read
    }

    /// Reads to `places`, one after the other.
    pub(super) fn poll_scatter(
        &mut self,
        context: &mut Context<'_>,
        places: &mut [MaybeUninitSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let read = self.poll_places(context, places);
        self.reads(read, context)
    }

    fn poll_places(&self, context: &mut Context<'_>, places: &mut [MaybeUninitSlice<'_>]) -> Poll<io::Result<usize>> {
        let room = places.iter().map(|place| place.len()).sum();
        loop {
            ready!(self.stream.poll_read_ready(context))?;
            let mut came = None;
            let read = self.stream.try_io(Interest::READABLE, || {
                let (count, _) = SockRef::from(&self.stream).recv_vectored(places)?;
                came = Some(count);
                // Nothing is left: tokio need not look again before more has come.
                if (1..room).contains(&count) { Err(io::ErrorKind::WouldBlock.into()) } else { Ok(()) }
            });
            match (came, read) {
                (Some(count), _) => return Poll::Ready(Ok(count)),
                (None, Err(error)) if error.kind() != io::ErrorKind::WouldBlock => return Poll::Ready(Err(error)),
                (None, _) => {}
            }
        }
    }

    /// Tries `write` whenever the socket can take something.
    fn poll_writing(
        &self,
        context: &mut Context<'_>,
        write: impl Fn(&TcpStream) -> io::Result<usize>,
    ) -> Poll<io::Result<usize>> {
        loop {
            ready!(self.stream.poll_write_ready(context))?;
            match write(&self.stream) {
                // tokio has noted that the socket is full.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                written => return Poll::Ready(written),
            }
        }
    }
}

/// Takes something of what has come, and lets it go: Linux does not even copy it (tcp(7)).
fn discard(stream: &TcpStream) -> io::Result<usize> {
    let mut bytes = [const { MaybeUninit::uninit() }; 64 << 10];
    SockRef::from(stream).recv_with_flags(&mut bytes, if cfg!(target_os = "linux") { MSG_TRUNC } else { 0 })
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
        let read = Pin::new(&mut self.stream).poll_read(context, buf);
        self.reads(read, context)
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

    /// As a rule it is left to the drop, which comes next.
    ///
    /// A client of HTTP/2 may write at any time, if only to make room for what it reads, and one of HTTP/1.1 may still send
    /// what was not read of its request. What reaches a closed socket resets the connection, and takes with it what the
    /// client has not read yet: the last answers. So it is its turn to close.
    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.seen.lingers.load(Ordering::Relaxed) {
            return Poll::Ready(Ok(()));
        }
        let this = &mut *self;
        let alarm = this.farewell.get_or_insert_with(|| {
            // One that is closed already shows when it is read.
            let _ = SockRef::from(&this.stream).shutdown(Shutdown::Write);
            this.mark.lower(&this.stream);
            Box::pin(sleep(FAREWELL))
        });
        // Before reading, of which a client that floods brings as much as a turn allows.
        if alarm.as_mut().poll(context).is_ready() {
            return Poll::Ready(Ok(()));
        }
        for _ in 0..AT_ONCE {
            ready!(this.stream.poll_read_ready(context))?;
            match this.stream.try_io(Interest::READABLE, || discard(&this.stream)) {
                Ok(0) => return Poll::Ready(Ok(())),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(_) => return Poll::Ready(Ok(())),
            }
        }
        context.waker().wake_by_ref();
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use tokio::task::yield_now;

    use super::*;

    #[cfg(target_os = "linux")]
    #[tokio::test(start_paused = true)]
    async fn what_a_client_still_sends_is_taken_though_more_was_expected() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let mut client = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (ours, _) = listener.accept().unwrap();
        ours.set_nonblocking(true).unwrap();
        let seen = Arc::<Seen>::default();
        seen.lingers.store(true, Ordering::Relaxed);
        let mut socket = Socket::new(TcpStream::from_std(ours).unwrap(), seen);
        let mut bytes = [0; 100];
        socket.expect(100_000);
        let read = poll_fn(|context| {
            Poll::Ready(Pin::new(&mut socket).poll_read(context, &mut ReadBuf::new(&mut bytes)).is_pending())
        });
        assert!(read.await);
        client.write_all(&[0; 10]).unwrap();
        for _ in 0..20 {
            yield_now().await;
            let ended = poll_fn(|context| Poll::Ready(Pin::new(&mut socket).poll_shutdown(context).is_ready()));
            assert!(!ended.await);
        }
        let left = SockRef::from(&socket.stream).peek(&mut [MaybeUninit::uninit(); 100]);
        assert_eq!(left.unwrap_err().kind(), io::ErrorKind::WouldBlock);
    }

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
