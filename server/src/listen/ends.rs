//! How a connection ends: by itself, or because the server wants it.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio_util::sync::CancellationToken;

/// A connection of either protocol, to be run to its end.
pub(super) trait Connection {
    fn poll_end(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>>;

    /// Lets it end once what is under way is answered.
    fn stop(self: Pin<&mut Self>);
}

/// What ends a connection.
pub(super) struct Ends<'a, F, D> {
    /// Ends it when no request has come in time.
    pub(super) first: Pin<&'a mut F>,
    /// The server stops.
    pub(super) draining: Pin<&'a mut D>,
    /// The grace period is over.
    pub(super) expired: &'a CancellationToken,
}

impl<F: Future<Output = ()>, D: Future<Output = ()>> Ends<'_, F, D> {
    /// Runs a connection.
    pub(super) async fn of(self, mut connection: Pin<&mut impl Connection>) -> io::Result<()> {
        tokio::select! {
            biased;
            ended = poll_fn(|context| connection.as_mut().poll_end(context)) => return ended,
            () = self.first => return Ok(()),
            () = self.draining => connection.as_mut().stop(),
        }
        tokio::select! {
            ended = poll_fn(|context| connection.as_mut().poll_end(context)) => ended,
            () = self.expired.cancelled() => Ok(()),
        }
    }
}
