//! The port: accepts connections, speaks HTTP/1.1 and HTTP/2 on them, within TLS or plain, and ends them without losing a
//! request.

mod body;
#[cfg(any(test, fuzzing))]
mod checked;
mod closing;
mod date;
mod door;
mod ends;
mod http1;
mod http2;
mod mark;
mod opening;
mod outgoing;
mod patience;
mod scatter;
mod socket;
mod stream;
pub(crate) mod young;

#[cfg(fuzzing)]
pub(crate) use {http1::session as http1_session, http2::session as http2_session};

use std::convert::Infallible;
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;
use std::time::Duration;

use http::{Request, StatusCode};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::config::{Caps, Drain};
use crate::grpc;
use crate::lifecycle::Lifecycle;
use crate::middleware::Site;
use crate::router::for_operators;
use crate::tls::Identity;
use body::Body;
use door::{Door, Pass};
use ends::Ends;
use opening::{Opened, Protocol, open};
use patience::Patient;
use socket::Socket;
use stream::Stream;

/// How long a connection may stay silent before or between requests, at least; at most it is twice as long. Longer than the
/// 60 seconds after which common load balancers let go, so that it is they who close first.
const SILENCE: Duration = Duration::from_secs(75);

/// The bytes of a stream of HTTP/2 that may be on their way before the server has read them.
pub(crate) const STREAM_WINDOW: u32 = 1 << 20;

/// The same for all streams of a connection: as much as one client can have a server hold for nothing.
const CONNECTION_WINDOW: u32 = 2 << 20;

/// The bytes of answers of one stream that may wait for their client before more are made, but for the last answer; each
/// of the few hundred streams of a connection may have as many.
const UNSENT: usize = 16 << 10;

/// How long to wait after a failed accept: out of file descriptors, trying again at once would only spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// How long a client may take to agree on TLS.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// How long a connection beyond the limit may stay.
const SPARE_TIME: Duration = Duration::from_secs(5);

/// How long a client of HTTP/2 of which nothing is under way may take to say that it has heard of the stop.
const HEARING: Duration = Duration::from_secs(3);

/// The most connections that can have piled up in the system's queue: what tokio asks for.
const BACKLOG: usize = 1024;

/// A bound port.
pub(crate) struct Port {
    listener: TcpListener,
    tls: Option<Arc<Identity>>,
    tasks: TaskTracker,
}

impl Port {
    /// Binds `address`, within TLS where there is a certificate; port 0 takes a free one.
    pub(crate) async fn bind(address: SocketAddr, tls: Option<Arc<Identity>>) -> io::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        Ok(Self { listener, tls, tasks: TaskTracker::new() })
    }

    /// The address bound.
    pub(crate) fn address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Serves until `lifecycle` drains, then finishes what is under way and returns how many connections
    /// had to be given up.
    pub(crate) async fn serve(self, site: Site, lifecycle: &Lifecycle, drain: Drain, caps: Caps) -> usize {
        let connections = Connections {
            door: Door::new(caps.connections),
            spare: site.with_only(for_operators()),
            site,
            lifecycle: lifecycle.clone(),
            linger: drain.linger,
            caps,
            tls: self.tls,
            tasks: self.tasks,
        };
        connections.accept_until_draining(self.listener).await;
        connections.finish(drain.grace).await
    }
}

struct Connections {
    site: Site,
    /// What a connection beyond the limit finds.
    spare: Site,
    lifecycle: Lifecycle,
    linger: Duration,
    caps: Caps,
    tls: Option<Arc<Identity>>,
    door: Door,
    /// Owns the tasks of all connections and of all HTTP/2 streams.
    tasks: TaskTracker,
}

impl Connections {
    async fn accept_until_draining(&self, listener: TcpListener) {
        tokio::select! {
            never = self.accept_all(&listener) => match never {},
            () = self.lifecycle.draining.raised() => {}
        }
        if closing::refuse_new(&listener).is_ok() {
            let _ = timeout(closing::SETTLING, self.accept_all(&listener)).await;
        }
        if let Err(error) = self.accept_backlog(listener) {
            tracing::warn!(error.detail = %error, "the last connections could not be accepted: {error}");
        }
    }

    async fn accept_all(&self, listener: &TcpListener) -> Infallible {
        loop {
            match listener.accept().await {
                Ok((stream, _)) => self.spawn(stream),
                Err(error) => {
                    tracing::warn!(error.detail = %error, "a connection could not be accepted: {error}");
                    sleep(ACCEPT_PAUSE).await;
                }
            }
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
        // Without a place even for those who only look after the server, closing it is all that can be said.
        let Some(pass) = self.door.enter() else { return self.site.refused_connection() };
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(error.detail = %error, "TCP_NODELAY could not be set");
        }
        let site = if pass.spare { self.spare.clone() } else { self.site.clone() };
        if pass.spare {
            site.refused_connection();
        }
        let seen = Arc::<Seen>::default();
        let first = self.first_head(&pass, Arc::clone(&seen));
        // Each connection is greeted with the certificate of its time.
        let tls = self.tls.as_ref().map(|identity| TlsAcceptor::from(identity.load_full()));
        let (greeted, caps) = (site.clone(), self.caps.clone());
        let socket = Socket::new(stream, Arc::clone(&seen));
        let asked = Arc::clone(&seen);
        let answer = move |mut request: Request<Body>| {
            asked.request();
            if grpc::is_stream(&request) {
                request.extensions_mut().insert(Heard(asked.heard.clone()));
            }
            site.clone().answer(request)
        };
        let single = pass.spare;
        let streams = young::Streams::new(self.tasks.clone(), self.lifecycle.clone());
        let (lifecycle, linger) = (self.lifecycle.clone(), self.linger);
        self.tasks.spawn(async move {
            let _pass = pass;
            let mut first = pin!(first);
            // A request may be on its way on an open connection: it gets `linger` to arrive. With HTTP/2 the client is told
            // first, and what it sent until it heard of it is answered.
            let mut draining = pin!(async {
                lifecycle.draining.raised().await;
                if !seen.is_http2() {
                    sleep(linger).await;
                }
            });
            let opening = async {
                let stream = match tls {
                    None => Stream::Plain(socket),
                    Some(tls) => Box::pin(greet(tls, socket)).await.inspect_err(|_| greeted.refused_handshake())?,
                };
                let opened = open(Patient::new(stream, caps.answer_timeout)).await?;
                Ok::<_, io::Error>(opened)
            };
            let opened = tokio::select! {
                opened = opening => opened,
                () = first.as_mut() => return,
                () = draining.as_mut() => return,
            };
            let ends = Ends { first, draining, expired: &lifecycle.expired };
            let ended = match opened {
                Err(error) => Err(error),
                Ok((Protocol::Http1, Opened { stream, start })) => {
                    let seen = Arc::clone(&seen);
                    ends.of(pin!(http1::Connection::new(stream, start, answer, seen, single, &caps))).await
                }
                Ok((Protocol::Http2, Opened { stream, start })) => {
                    seen.http2.store(true, Ordering::Relaxed);
                    seen.lingers.store(true, Ordering::Relaxed);
                    let seen = Arc::clone(&seen);
                    ends.of(pin!(http2::Connection::new(stream, start, answer, seen, streams, &caps))).await
                }
            };
            if let Err(error) = ended {
                tracing::debug!(error.detail = %error, "a connection ended early: {error}");
            }
        });
    }

    /// Ends when a connection has not brought the head of a request in time, and one beyond the limit in any case.
    fn first_head(&self, pass: &Pass, seen: Arc<Seen>) -> impl Future<Output = ()> + use<> {
        let (spare, limit) = (pass.spare, if pass.spare { SPARE_TIME } else { self.caps.header_timeout });
        let mut alarm = Box::pin(sleep(limit));
        // Once there was a request, which wakes this again and again, the alarm is not looked at any more.
        poll_fn(move |context| if !spare && seen.is_asked() { Poll::Pending } else { alarm.as_mut().poll(context) })
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

/// What is known of a connection's client, for those who look after it.
#[derive(Debug, Default)]
struct Seen {
    asked: AtomicBool,
    http2: AtomicBool,
    /// Whether the client may still write when the connection ends, which then waits for it.
    lingers: AtomicBool,
    /// Whether something was written since somebody looked.
    wrote: AtomicBool,
    /// Cancelled once a client of HTTP/2 has said that it has heard of the stop, and all that it had sent by then was read.
    heard: CancellationToken,
}

/// Comes when a client of HTTP/2 has heard that the server stops, and all that it had sent by then was read: an extension
/// of streams of gRPC.
#[derive(Clone, Debug)]
pub(crate) struct Heard(pub(crate) CancellationToken);

impl Seen {
    fn request(&self) {
        self.asked.store(true, Ordering::Relaxed);
    }

    /// Whether there was a request.
    fn is_asked(&self) -> bool {
        self.asked.load(Ordering::Relaxed)
    }

    /// Whether it speaks HTTP/2.
    fn is_http2(&self) -> bool {
        self.http2.load(Ordering::Relaxed)
    }
}

/// Agrees on TLS with a client.
async fn greet(tls: TlsAcceptor, socket: Socket) -> io::Result<Stream> {
    let greeted = timeout(HANDSHAKE, tls.accept(socket)).await;
    let late = |_| io::Error::new(io::ErrorKind::TimedOut, "the client took too long");
    Ok(Stream::Tls(Box::new(greeted.map_err(late)??)))
}

/// Whether the length of a body says something.
fn may_have_body(status: StatusCode) -> bool {
    !status.is_informational() && status != StatusCode::NO_CONTENT && status != StatusCode::NOT_MODIFIED
}

#[cfg(test)]
mod tests;
