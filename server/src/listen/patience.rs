//! A connection whose other side has to take what is written within a time.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use socket2::MaybeUninitSlice;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep_until};

use super::scatter::Scatter;

/// Fails with [`io::ErrorKind::TimedOut`] when the other side takes nothing for too long. A write that succeeds at
/// once costs nothing.
#[derive(Debug)]
pub(super) struct Patient<S> {
    stream: S,
    limit: Duration,
    /// Until when the other side has to take something; `None` while nothing waits to be written.
    due: Option<Instant>,
    /// Whether that is what a flush waits for.
    flushes: bool,
    /// Made when it is first needed, and kept.
    alarm: Option<Pin<Box<Sleep>>>,
}

impl<S> Patient<S> {
    pub(super) const fn new(stream: S, limit: Duration) -> Self {
        Self { stream, limit, due: None, flushes: false, alarm: None }
    }

    /// What came of writing, or the end of patience.
    fn judge<T>(&mut self, wrote: Poll<io::Result<T>>, context: &mut Context<'_>) -> Poll<io::Result<T>> {
        if wrote.is_ready() {
            self.due = None;
            return wrote;
        }
        let limit = self.limit;
        let due = *self.due.get_or_insert_with(|| Instant::now() + limit);
        let alarm = self.alarm.get_or_insert_with(|| Box::pin(sleep_until(due)));
        if alarm.deadline() != due {
            alarm.as_mut().reset(due);
        }
        match alarm.as_mut().poll(context) {
            Poll::Ready(()) => {
                let told = format!("the client took nothing of its answer for {} ms", limit.as_millis());
                Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, told)))
            }
            Poll::Pending => Poll::Pending,
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Patient<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl<S: Scatter + Unpin> Scatter for Patient<S> {
    fn poll_scatter(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        places: &mut [MaybeUninitSlice<'_>],
    ) -> Option<Poll<io::Result<usize>>> {
        Pin::new(&mut self.stream).poll_scatter(context, places)
    }

    fn expect(&mut self, bytes: usize) {
        self.stream.expect(bytes);
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Patient<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let wrote = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.judge(wrote, context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let wrote = Pin::new(&mut self.stream).poll_write_vectored(context, slices);
        self.judge(wrote, context)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        // One that writes through has nothing to flush: that is no sign of a reader.
        match Pin::new(&mut self.stream).poll_flush(context) {
            Poll::Ready(flushed) => {
                if std::mem::take(&mut self.flushes) {
                    self.due = None;
                }
                Poll::Ready(flushed)
            }
            Poll::Pending => {
                self.flushes |= self.due.is_none();
                self.judge(Poll::Pending, context)
            }
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let shut = Pin::new(&mut self.stream).poll_shutdown(context);
        self.judge(shut, context)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, BufWriter, duplex};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_reader_that_takes_nothing_is_given_up_and_a_slow_one_is_not() {
        let (ours, mut theirs) = duplex(10);
        let mut ours = Patient::new(ours, Duration::from_secs(60));
        let reading = async {
            let mut taken = [0; 10];
            for _ in 0..5 {
                tokio::time::sleep(Duration::from_secs(50)).await;
                theirs.read_exact(&mut taken).await.unwrap();
            }
            Instant::now()
        };
        let writing = async { (ours.write_all(&[0; 100]).await, Instant::now()) };
        let (last, (wrote, ended)) = tokio::join!(reading, writing);
        assert_eq!(wrote.unwrap_err().kind(), io::ErrorKind::TimedOut);
        assert_eq!(ended - last, Duration::from_secs(60));
    }

    #[tokio::test(start_paused = true)]
    async fn a_flush_that_came_to_its_end_is_not_held_against_the_next() {
        let (ours, mut theirs) = duplex(10);
        let mut ours = Patient::new(BufWriter::new(ours), Duration::from_secs(60));
        for _ in 0..3 {
            ours.write_all(&[0; 30]).await.unwrap();
            let reading = async {
                tokio::time::sleep(Duration::from_secs(50)).await;
                theirs.read_exact(&mut [0; 30]).await.unwrap();
            };
            let (flushed, ()) = tokio::join!(ours.flush(), reading);
            flushed.unwrap();
            tokio::time::sleep(Duration::from_secs(500)).await;
        }
        // Nothing is written before this one: only what stays of the last flush could end it.
        ours.stream.write_all(&[0; 30]).await.unwrap();
        let reading = async {
            tokio::time::sleep(Duration::from_secs(50)).await;
            theirs.read_exact(&mut [0; 30]).await.unwrap();
        };
        let (flushed, ()) = tokio::join!(ours.flush(), reading);
        flushed.unwrap();
    }
}
