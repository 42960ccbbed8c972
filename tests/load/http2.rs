//! Callers that share a connection of HTTP/2, with JSON or as gRPC.

use std::io;
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use h2::client::{Builder, ResponseFuture, SendRequest};
use h2::{Reason, RecvStream, SendStream};
use http::{HeaderMap, Request, Response};
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::runtime;
use tokio_rustls::TlsConnector;

use super::{IRIS, Load, Outcome, Peer, Protocol};

/// Only a hang takes longer.
const LIMIT: Duration = Duration::from_secs(180);

/// The bytes that may be on their way to a client.
const WINDOW: u32 = 4 << 20;

pub(super) fn ask(load: &Load, peer: &Peer, (protocol, callers): (Protocol, usize), each: usize) {
    let runtime = runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        while !load.is_done() {
            let Some(sender) = load.connected(connect(peer).await) else { return };
            // They are polled by this task, so that they may borrow.
            let callers = (0..callers).map(|_| Box::pin(call(load, peer, protocol, (sender.clone(), each))));
            let together = futures_util::future::join_all(callers);
            if tokio::time::timeout(LIMIT, together).await.is_err() {
                load.count(Outcome::Wrong("no answer came and no end".into()));
            }
        }
    });
}

/// Asks until the connection is not good for another request.
async fn call(load: &Load, peer: &Peer, protocol: Protocol, (sender, each): (SendRequest<Bytes>, usize)) {
    let going_on = |outcome| load.count(outcome) && !load.is_done();
    if protocol == Protocol::GrpcStream {
        let outcome = converse(&sender, peer, each, going_on).await;
        outcome.map_or_else(
            |outcome| {
                load.count(outcome);
            },
            |()| (),
        );
        return;
    }
    for _ in 0..each {
        let outcome = request(&sender, peer, protocol).await.unwrap_or_else(|outcome| outcome);
        if !going_on(outcome) {
            return;
        }
    }
}

async fn connect(peer: &Peer) -> io::Result<SendRequest<Bytes>> {
    let stream = TcpStream::connect(peer.address).await?;
    stream.set_nodelay(true)?;
    match &peer.tls {
        None => greet(stream).await,
        Some(config) => {
            let name = ServerName::from(peer.address.ip());
            greet(TlsConnector::from(config.clone()).connect(name, stream).await?).await
        }
    }
}

pub(crate) async fn greet(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
) -> io::Result<SendRequest<Bytes>> {
    // How many small answers may wait here is counted by the window.
    let mut builder = Builder::new();
    let connecting = builder.initial_connection_window_size(WINDOW).initial_window_size(WINDOW).handshake(stream);
    let (sender, connection) = connecting.await.map_err(io::Error::other)?;
    tokio::spawn(connection);
    Ok(sender)
}

/// What an error of HTTP/2 means for the request that met it: a stream that was refused, or lies beyond the last that the
/// server took when it said that it goes, was not looked at.
fn judge(error: &h2::Error) -> Outcome {
    let refused = error.is_reset() && error.reason() == Some(Reason::REFUSED_STREAM);
    let gone = error.is_go_away() && error.is_remote() && error.reason() == Some(Reason::NO_ERROR);
    if refused || gone { Outcome::Untaken } else { Outcome::Wrong(error.to_string()) }
}

pub(crate) async fn open(
    sender: &SendRequest<Bytes>,
    peer: &Peer,
    (path, media_type): (&str, &str),
) -> Result<(ResponseFuture, SendStream<Bytes>), Outcome> {
    let mut request =
        Request::post(format!("http://x{path}")).header("content-type", media_type).header("te", "trailers");
    if let Some(key) = &peer.key {
        request = request.header("authorization", key);
    }
    let mut sender = sender.clone().ready().await.map_err(|error| judge(&error))?;
    sender.send_request(request.body(()).unwrap(), false).map_err(|error| judge(&error))
}

async fn request(sender: &SendRequest<Bytes>, peer: &Peer, protocol: Protocol) -> Result<Outcome, Outcome> {
    let (target, body) = match protocol {
        Protocol::Http2 => (("/v2/models/iris/infer", "application/json"), Bytes::from_static(IRIS.as_bytes())),
        _ => ((INFER, "application/grpc"), message()),
    };
    let (response, mut sending) = open(sender, peer, target).await?;
    sending.send_data(body, true).map_err(|error| judge(&error))?;
    let response = response.await.map_err(|error| judge(&error))?;
    let status = response.status();
    let mut answer = Answer::of(response);
    while answer.more().await? {}
    if protocol == Protocol::Grpc {
        answer.trailers().await?;
    }
    let text = String::from_utf8_lossy(&answer.read).into_owned();
    Ok(if status == 200 && text.contains("setosa") {
        Outcome::Answered
    } else {
        Outcome::Wrong(format!("{status}: {text}"))
    })
}

/// Sends message after message, each when the last is answered, then ends the stream.
async fn converse(
    sender: &SendRequest<Bytes>,
    peer: &Peer,
    each: usize,
    going_on: impl Fn(Outcome) -> bool,
) -> Result<(), Outcome> {
    let (response, mut sending) = open(sender, peer, (STREAM, "application/grpc")).await?;
    sending.send_data(message(), false).map_err(|error| judge(&error))?;
    let mut answer = Answer::of(response.await.map_err(|error| judge(&error))?);
    for sent in 1.. {
        let Some(found) = answer.message().await? else {
            // The answers come in the order of the requests, so the last request is the one without.
            answer.trailers().await?;
            return Err(Outcome::Wrong("the stream ended well, with a request unanswered".into()));
        };
        let text = String::from_utf8_lossy(&found).into_owned();
        if !going_on(if text.contains("setosa") { Outcome::Answered } else { Outcome::Wrong(text) }) || sent == each {
            break;
        }
        // Where the stream is over, its trailers tell why.
        let _ = sending.send_data(message(), false);
    }
    let _ = sending.send_data(Bytes::new(), true);
    while answer.more().await? {}
    match answer.trailers().await {
        // It had nothing left to answer.
        Err(Outcome::Untaken) => Ok(()),
        ended => ended,
    }
}

/// An answer on its way.
pub(crate) struct Answer {
    head: HeaderMap,
    body: RecvStream,
    read: BytesMut,
}

impl Answer {
    pub(crate) fn of(response: Response<RecvStream>) -> Self {
        let (head, body) = response.into_parts();
        Self { head: head.headers, body, read: BytesMut::new() }
    }

    async fn more(&mut self) -> Result<bool, Outcome> {
        let Some(data) = self.body.data().await else { return Ok(false) };
        let data = data.map_err(|error| judge(&error))?;
        let _ = self.body.flow_control().release_capacity(data.len());
        self.read.extend_from_slice(&data);
        Ok(true)
    }

    /// The next message of gRPC, or the end.
    pub(crate) async fn message(&mut self) -> Result<Option<Bytes>, Outcome> {
        loop {
            if let Some((mut prefix, _)) = self.read.split_at_checked(5) {
                prefix.advance(1);
                let length = prefix.get_u32() as usize;
                if self.read.len() >= 5 + length {
                    self.read.advance(5);
                    return Ok(Some(self.read.split_to(length).freeze()));
                }
            }
            if !self.more().await? {
                return Ok(None);
            }
        }
    }

    /// Whether the call ended well. A stream that the server ends because it stops has answered all that it took.
    pub(crate) async fn trailers(&mut self) -> Result<(), Outcome> {
        let trailers = self.body.trailers().await.map_err(|error| judge(&error))?;
        let trailers = trailers.as_ref().unwrap_or(&self.head);
        let text = |name| trailers.get(name).map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
        match (text("grpc-status").as_deref(), text("grpc-message").as_deref()) {
            (Some("0"), _) => Ok(()),
            (Some("14"), Some("the server is stopping")) => Err(Outcome::Untaken),
            (status, message) => Err(Outcome::Wrong(format!("gRPC status {status:?}: {message:?}"))),
        }
    }
}

const INFER: &str = "/inference.GRPCInferenceService/ModelInfer";
pub(crate) const STREAM: &str = "/inference.GRPCInferenceService/ModelStreamInfer";

/// A `ModelInferRequest` with a setosa for `iris`, behind the prefix of gRPC.
pub(crate) fn message() -> Bytes {
    fn field(number: u8, value: &[u8]) -> Vec<u8> {
        [&[number << 3 | 2, u8::try_from(value.len()).unwrap()], value].concat()
    }
    let features: Vec<u8> = [5.1_f32, 3.5, 1.4, 0.2].iter().flat_map(|feature| feature.to_le_bytes()).collect();
    let input = [field(1, b"features"), field(2, b"FP32"), field(3, &[1, 4])].concat();
    let request = [field(1, b"iris"), field(5, &input), field(7, &features)].concat();
    let prefix = [&[0][..], &u32::try_from(request.len()).unwrap().to_be_bytes()].concat();
    [prefix, request].concat().into()
}
