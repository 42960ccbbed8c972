//! The port: accepts connections, speaks HTTP/1.1 and cleartext HTTP/2 on them, and ends them without losing a request.

mod silence;
mod socket;

use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::time::Duration;

use axum::body::Body;
use http::Version;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{sleep, timeout};
use tokio_util::task::TaskTracker;

use crate::config::Drain;
use crate::lifecycle::Lifecycle;
use crate::middleware::Site;
use silence::Silence;
use socket::Awaited;

/// How long a connection may stay silent before or between requests. Longer than the 60 seconds after which
/// common load balancers let go, so that it is they who close first.
const SILENCE: Duration = Duration::from_secs(75);

/// How long to wait after a failed accept: out of file descriptors, trying again at once would only spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// The most connections that can have piled up in the system's queue: what tokio asks for.
const BACKLOG: usize = 1024;

/// A bound port.
pub(crate) struct Port {
    listener: TcpListener,
    tasks: TaskTracker,
}

impl Port {
    /// Binds `address`; port 0 takes a free one.
    pub(crate) async fn bind(address: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        Ok(Self { listener, tasks: TaskTracker::new() })
    }

    /// The address bound.
    pub(crate) fn address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Serves until `lifecycle` drains, then finishes what is under way and returns how many connections
    /// had to be given up.
    pub(crate) async fn serve(self, site: Site, lifecycle: &Lifecycle, drain: Drain) -> usize {
        let connections = Connections { site, lifecycle: lifecycle.clone(), linger: drain.linger, tasks: self.tasks };
        connections.accept_until_draining(self.listener).await;
        connections.finish(drain.grace).await
    }
}

struct Connections {
    site: Site,
    lifecycle: Lifecycle,
    linger: Duration,
    /// Owns the tasks of all connections and of all HTTP/2 streams.
    tasks: TaskTracker,
}

impl Connections {
    async fn accept_until_draining(&self, listener: TcpListener) {
        loop {
            tokio::select! {
                accepted = listener.accept() => match accepted {
                    Ok((stream, _)) => self.spawn(stream),
                    Err(error) => {
                        tracing::warn!(error.detail = %error, "a connection could not be accepted: {error}");
                        sleep(ACCEPT_PAUSE).await;
                    }
                },
                () = self.lifecycle.draining.raised() => break,
            }
        }
        if let Err(error) = self.accept_backlog(listener) {
            tracing::warn!(error.detail = %error, "the last connections could not be accepted: {error}");
        }
    }

    /// Takes the connections that the system accepted on the server's behalf, then closes the port:
    /// closing it with them inside would reset them.
    fn accept_backlog(&self, listener: TcpListener) -> io::Result<()> {
        let listener = listener.into_std()?;
        for _ in 0..BACKLOG {
            let stream = match listener.accept() {
                Ok((stream, _)) => stream,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            };
            stream.set_nonblocking(true)?;
            self.spawn(TcpStream::from_std(stream)?);
        }
        Ok(())
    }

    fn spawn(&self, stream: TcpStream) {
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(error.detail = %error, "TCP_NODELAY could not be set");
        }
        let site = self.site.clone();
        let (socket, client) = socket::share(stream);
        let service = service_fn(move |request: http::Request<Incoming>| {
            // With HTTP/2 hyper looks after the client, and a request is run by a task that must not read the socket.
            let client = (request.version() < Version::HTTP_2).then(|| client.clone());
            Awaited { answer: site.clone().answer(request.map(Body::new)), client }
        });
        let executor = Executor { tasks: self.tasks.clone(), lifecycle: self.lifecycle.clone() };
        let (lifecycle, linger) = (self.lifecycle.clone(), self.linger);
        self.tasks.spawn(async move {
            let mut builder = auto::Builder::new(executor);
            // A client that closes its end has left: `half_close` only keeps hyper from looking, since `Client` does.
            builder.http1().timer(Silence::default()).header_read_timeout(SILENCE).half_close(true);
            builder.http2().timer(TokioTimer::new()).keep_alive_interval(Some(SILENCE)).adaptive_window(true);
            let mut connection = pin!(builder.serve_connection(TokioIo::new(socket), service));
            // A request may be on its way on an open connection: it gets `linger` to arrive.
            let draining = async {
                lifecycle.draining.raised().await;
                sleep(linger).await;
            };
            let ended = tokio::select! {
                biased;
                ended = connection.as_mut() => ended,
                () = draining => {
                    connection.as_mut().graceful_shutdown();
                    tokio::select! {
                        ended = connection => ended,
                        () = lifecycle.expired.cancelled() => return,
                    }
                }
            };
            if let Err(error) = ended {
                // hyper's own words name the place, their source the reason.
                let error = error.source().unwrap_or(&*error);
                tracing::debug!(error.detail = %error, "a connection ended early: {error}");
            }
        });
    }

    async fn finish(self, grace: Duration) -> usize {
        self.tasks.close();
        if timeout(grace, self.tasks.wait()).await.is_ok() {
            return 0;
        }
        let left = self.tasks.len();
        self.lifecycle.expired.cancel();
        // Every task watches for the end of the grace period, so this wait is short.
        self.tasks.wait().await;
        left
    }
}

/// Runs the streams of HTTP/2 connections as tasks that the port owns.
#[derive(Clone)]
struct Executor {
    tasks: TaskTracker,
    lifecycle: Lifecycle,
}

impl<F> hyper::rt::Executor<F> for Executor
where
    F: Future<Output: Send + 'static> + Send + 'static,
{
    fn execute(&self, future: F) {
        let expired = self.lifecycle.expired.clone();
        self.tasks.spawn(expired.run_until_cancelled_owned(future));
    }
}

#[cfg(test)]
mod tests;
