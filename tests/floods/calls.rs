//! Floods of calls of gRPC that stay open: each client holds a bounded part of the memory, whether it reads or not.

use std::io::Write;
use std::net;
use std::time::Duration;

use rustix::process::Signal;
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::binary::Server;
use crate::config;
use crate::http2::wire::{
    DATA, END_HEADERS, END_STREAM, HEADERS, MOST, PREFACE, STREAM_WINDOW, frame, head, settings, window_update,
};
use crate::load::http2::{greet, open};
use crate::load::{IRIS, Peer};

/// Only a hang takes longer.
const LIMIT: Duration = Duration::from_secs(180);

const REFLECTION: &str = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo";
const WATCH: &str = "/grpc.health.v1.Health/Watch";

/// The most streams of a connection.
const STREAMS: u32 = 200;

/// A client that opens streams and reads nothing.
struct Silent(net::TcpStream);

impl Silent {
    /// One whose streams may be sent so many bytes before it says more.
    fn connect(server: &Server, window: u32) -> Self {
        let mut stream = net::TcpStream::connect(server.address).unwrap();
        let more = window_update(0, 0x7FFF_0000);
        stream.write_all(&[PREFACE, &settings(&[(STREAM_WINDOW, window)]), &more].concat()).unwrap();
        Self(stream)
    }

    /// Opens the stream of that number.
    fn call(&mut self, number: u32, path: &str) {
        let head = head("POST", path, &[("content-type", "application/grpc"), ("te", "trailers")]);
        // The server may have closed the connection.
        let _ = self.0.write_all(&frame(HEADERS, END_HEADERS, 2 * number + 1, &head));
    }

    fn send(&mut self, number: u32, flags: u8, data: &[u8]) {
        for piece in data.chunks(16 << 10) {
            let _ = self.0.write_all(&frame(DATA, flags, 2 * number + 1, piece));
        }
    }
}

/// A message in its frame.
fn message(bytes: &[u8]) -> Vec<u8> {
    [&[0][..], &u32::try_from(bytes.len()).unwrap().to_be_bytes(), bytes].concat()
}

/// Lets `begin` go on with all streams of some clients whose streams may be sent so many bytes, asks for something else
/// meanwhile, and returns by how many kB the server has grown. Its clients leave then, and it has to stop.
fn hold(clients: usize, window: u32, mut begin: impl FnMut(&mut Silent, u32)) -> u64 {
    let server = Server::start(&config::samples(), &["--lame-duck-ms", "0"]);
    let ask = || server.client().post("/v2/models/iris/infer", IRIS).expect(200);
    ask();
    let before = server.resident_kb();
    let mut clients: Vec<_> = (0..clients).map(|_| Silent::connect(&server, window)).collect();
    for client in &mut clients {
        (0..STREAMS).for_each(|number| begin(client, number));
    }
    // Who comes now stands behind all that the server reads of the others.
    for _ in 0..50 {
        ask();
    }
    let grown = server.resident_kb().saturating_sub(before);
    server.client().get("/v2/health/ready").expect(200);
    server.signal(Signal::TERM);
    drop(clients);
    let ended = server.ended();
    assert_eq!(ended.status.code(), Some(0), "{}", ended.log);
    grown
}

#[test]
fn questions_whose_answers_nobody_reads_take_bounded_memory_and_no_other_s_time() {
    // What services there are, more than a thousand times.
    let questions = message(b"\x3a\x00").repeat(9_000 / 7);
    for window in [MOST, 100_000, 0] {
        let grown = hold(4, window, |client, number| {
            client.call(number, REFLECTION);
            client.send(number, 0, &questions);
        });
        assert!(grown < 96 << 10, "window {window}: {grown} kB");
    }
}

#[test]
fn watches_take_bounded_memory_and_no_other_s_time() {
    for window in [MOST, 0] {
        let grown = hold(25, window, |client, number| {
            client.call(number, WATCH);
            client.send(number, END_STREAM, &message(b""));
        });
        assert!(grown < 96 << 10, "window {window}: {grown} kB");
    }
}

#[test]
fn streams_that_stay_open_leave_room_for_requests() {
    let server = Server::start(&config::samples(), &["--request-memory-mib", "4"]);
    let peer = Peer::new(server.address);
    let asking = async {
        let sender = greet(TcpStream::connect(server.address).await.unwrap()).await.unwrap();
        let mut open_now = Vec::new();
        let refused = loop {
            let (response, mut sending) = open(&sender, &peer, (WATCH, "application/grpc")).await.unwrap();
            sending.send_data(message(b"").into(), true).unwrap();
            let response = response.await.unwrap();
            match response.headers().get("grpc-status") {
                Some(status) => break status.to_str().unwrap().to_owned(),
                None => open_now.push(response),
            }
        };
        // An eighth of 4 MiB, at 8 KiB each.
        assert_eq!((open_now.len(), refused.as_str()), (64, "8"));
        server.client().post("/v2/models/iris/infer", IRIS).expect(200);
        drop(open_now);
        loop {
            let (response, mut sending) = open(&sender, &peer, (WATCH, "application/grpc")).await.unwrap();
            sending.send_data(message(b"").into(), true).unwrap();
            // A stream that is given up is closed when the server has heard of it.
            if !response.await.unwrap().headers().contains_key("grpc-status") {
                break;
            }
        }
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async { timeout(LIMIT, asking).await.unwrap() });
}
