//! Streams over gRPC: what was received is answered when the server stops, and half a message not waited for.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use rustix::process::Signal;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::binary::Server;
use crate::config;
use crate::load::http2::{Answer, STREAM, greet, message, open};
use crate::load::{Outcome, Peer};

/// Only a hang takes longer.
const LIMIT: Duration = Duration::from_secs(180);

/// A connection that counts what the system took of it.
struct Counted(TcpStream, Arc<AtomicUsize>);

impl AsyncRead for Counted {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, to: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(context, to)
    }
}

impl AsyncWrite for Counted {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let wrote = Pin::new(&mut self.0).poll_write(context, bytes);
        if let Poll::Ready(Ok(count)) = wrote {
            self.1.fetch_add(count, Ordering::Relaxed);
        }
        wrote
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(context)
    }
}

/// When a client ends its half of the stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ends {
    /// Before the server stops.
    Before,
    /// When it has all its answers.
    After,
    Never,
    /// Never, and it sends on.
    GoesOn,
}

/// Sends `count` messages in a stream that has had an answer, has the server stopped as soon as the system took them, and
/// wants an answer for each.
async fn stop_behind(server: &Server, count: usize, ends: Ends) {
    let written = Arc::<AtomicUsize>::default();
    let stream = TcpStream::connect(server.address).await.unwrap();
    stream.set_nodelay(true).unwrap();
    let sender = greet(Counted(stream, Arc::clone(&written))).await.unwrap();
    let peer = Peer::new(server.address);
    let (response, mut sending) = open(&sender, &peer, (STREAM, "application/grpc")).await.unwrap();
    sending.send_data(message(), false).unwrap();
    let mut answer = Answer::of(response.await.unwrap());
    answer.message().await.unwrap().unwrap();
    let goal = written.load(Ordering::Relaxed) + count * message().len();
    for at in 1..=count {
        sending.send_data(message(), ends == Ends::Before && at == count).unwrap();
    }
    while written.load(Ordering::Relaxed) < goal {
        tokio::task::yield_now().await;
    }
    server.signal(Signal::TERM);
    for at in 0..count {
        let found = answer.message().await.unwrap();
        assert!(found.is_some_and(|found| String::from_utf8_lossy(&found).contains("setosa")), "{at} of {count}");
    }
    if ends == Ends::After {
        // The stream may be over by now.
        let _ = sending.send_data(Bytes::new(), true);
    }
    let more = || ends == Ends::GoesOn && sending.send_data(message(), false).is_ok();
    take_rest(&mut answer, more).await;
    let ended = answer.trailers().await;
    let (well, badly) = (ended.is_ok(), ended == Err(Outcome::Untaken));
    let right = match ends {
        Ends::Before => well,
        Ends::After => well || badly,
        Ends::Never | Ends::GoesOn => badly,
    };
    assert!(right, "{ends:?}: {ended:?}");
}

/// Reads to the end of a stream, an answer for each message that is sent meanwhile; the last may have come too late.
async fn take_rest(answer: &mut Answer, mut more: impl FnMut() -> bool) {
    while more() && answer.message().await.unwrap().is_some() {}
    assert!(answer.message().await.unwrap().is_none());
}

#[test]
fn a_stream_has_an_answer_for_each_message_that_was_sent_when_the_server_stops() {
    let rounds = config::rounds().unwrap_or(if config::full() { 10 } else { 2 });
    // It looks after connections while nobody here does.
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    for round in 0..rounds {
        let rounds =
            [(Ends::Before, 1), (Ends::Before, 300), (Ends::After, 20), (Ends::Never, 300), (Ends::GoesOn, 50)];
        for (ends, count) in rounds {
            let server = Server::start(&config::samples(), &["--lame-duck-ms", "0"]);
            runtime.block_on(async { timeout(LIMIT, stop_behind(&server, count + round, ends)).await.unwrap() });
            let ended = server.ended();
            assert_eq!(ended.status.code(), Some(0), "{}", ended.log);
            assert!(ended.log.contains("everything accepted was answered"), "{}", ended.log);
        }
    }
}

#[test]
fn half_a_message_is_not_waited_for_longer_than_a_request_and_its_stream_goes_on() {
    let server = Server::start(&config::samples(), &["--request-timeout-ms", "300"]);
    let conversation = async {
        let sender = greet(TcpStream::connect(server.address).await.unwrap()).await.unwrap();
        let (response, mut sending) =
            open(&sender, &Peer::new(server.address), (STREAM, "application/grpc")).await.unwrap();
        sending.send_data(message(), false).unwrap();
        let mut answer = Answer::of(response.await.unwrap());
        let mut next = async || String::from_utf8_lossy(&answer.message().await.unwrap().unwrap()).into_owned();
        assert!(next().await.contains("setosa"));
        for length in [6, 20] {
            sending.send_data(message().slice(..length), false).unwrap();
            let told = next().await;
            assert!(told.contains("the body did not arrive in time"), "{told}");
            sending.send_data(message().slice(length..), false).unwrap();
            sending.send_data(message(), false).unwrap();
            assert!(next().await.contains("setosa"));
        }
        sending.send_data(message().slice(..3), false).unwrap();
        assert!(answer.message().await.unwrap().is_none());
        let ended = answer.trailers().await.unwrap_err();
        assert!(matches!(&ended, Outcome::Wrong(why) if why.contains("did not arrive in time")), "{ended:?}");
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async { timeout(LIMIT, conversation).await.unwrap() });
}
