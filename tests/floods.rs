//! Floods of HTTP/2 frames and ambiguous heads of HTTP/1.1: each costs its own connection, and nobody else anything.

mod calls;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use crate::binary::Server;
use crate::config;
use crate::http2::wire::{
    self, CALM, CONTINUATION, DATA, END_HEADERS, END_STREAM, GOAWAY, HEADERS, PADDED, PING, PREFACE, PRIORITY,
    RST_STREAM, SETTINGS, WINDOW_UPDATE, frame, header, window_update,
};

/// The head of a request for scoring.
fn head() -> Vec<u8> {
    wire::head("POST", "/v2/models/iris/infer", &[])
}

/// Sends frames until the server closes the connection, or so many are sent; returns the reason that it gave, if it did.
fn flood(server: &Server, count: u32, mut next: impl FnMut(u32) -> Vec<u8>) -> Option<u32> {
    let mut stream = TcpStream::connect(server.address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(180))).unwrap();
    let mut reading = stream.try_clone().unwrap();
    // What comes is read meanwhile: else the answers to the flood would stop it.
    let reader = std::thread::spawn(move || {
        let mut head = [0; 9];
        while reading.read_exact(&mut head).is_ok() {
            let mut payload = vec![0; u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize];
            reading.read_exact(&mut payload).ok()?;
            if head[3] == GOAWAY {
                return Some(u32::from_be_bytes(payload[4..8].try_into().unwrap()));
            }
        }
        None
    });
    stream.write_all(PREFACE).unwrap();
    stream.write_all(&frame(SETTINGS, 0, 0, &[])).unwrap();
    let _ = (0..count).try_for_each(|at| stream.write_all(&next(at)));
    let _ = stream.shutdown(std::net::Shutdown::Write);
    reader.join().unwrap()
}

#[test]
fn floods_of_frames_end_their_connection_and_take_no_memory() {
    let server = Server::start(&config::samples(), &[]);
    let before = server.resident_kb();
    let reset = |at: u32| {
        let stream = 2 * at + 1;
        [frame(HEADERS, END_HEADERS, stream, &head()), frame(RST_STREAM, 0, stream, &[0, 0, 0, 8])].concat()
    };
    assert_eq!(flood(&server, 50_000, reset), Some(CALM), "streams that are reset at once");
    let field = header("x-more", &"y".repeat(100)).repeat(100);
    let endless = |at| if at == 0 { frame(HEADERS, 0, 1, &head()) } else { frame(CONTINUATION, 0, 1, &field) };
    assert_eq!(flood(&server, 50_000, endless), Some(CALM), "a head without an end");
    let empty = |at| if at == 0 { frame(HEADERS, 0, 1, &head()) } else { frame(CONTINUATION, 0, 1, &[]) };
    assert_eq!(flood(&server, 50_000, empty), Some(CALM), "a head of nothing without an end");
    // One entry of the table of headers, named many times.
    let bomb = [head(), [&[0x40], &header("x-bomb", &"a".repeat(120))[1..], &[0xbe; 12_000]].concat()].concat();
    assert_eq!(flood(&server, 1, |_| frame(HEADERS, END_HEADERS, 1, &bomb)), Some(CALM), "a head that unpacks to more");
    // A stream that the server itself has to reset.
    let forced = |at: u32| {
        let stream = 2 * at + 1;
        [frame(HEADERS, END_HEADERS, stream, &head()), frame(WINDOW_UPDATE, 0, stream, &[0; 4])].concat()
    };
    assert!(flood(&server, 50_000, forced).is_some_and(|reason| reason != 0), "streams that have to be reset");
    // These are answered, one by one.
    flood(&server, 50_000, |_| frame(SETTINGS, 0, 0, &[0, 1, 0, 0, 0x10, 0]));
    flood(&server, 50_000, |_| frame(PING, 0, 0, b"anything"));
    let grown = server.resident_kb().saturating_sub(before);
    assert!(grown < 64 << 10, "{grown} kB");
    server.client().get("/v2/health/live").expect(200);
    let ended = server.stop();
    assert!(ended.status.success() && !ended.log.contains("panicked"), "{}", ended.log);
}

#[test]
fn frames_that_say_nothing_take_no_memory_however_many_they_are() {
    let server = Server::start(&config::samples(), &[]);
    server.client().get("/v2/health/live").expect(200);
    let before = server.resident_kb();
    let open = frame(HEADERS, END_HEADERS, 1, &head());
    let get = frame(HEADERS, END_HEADERS | END_STREAM, 1, &wire::head("GET", "/v2/health/live", &[]));
    let cases: [(&str, &[u8], Vec<u8>); 9] = [
        ("bodies of nothing", &open, frame(DATA, 0, 1, &[])),
        ("bodies of padding", &open, frame(DATA, PADDED, 1, &[2, 0, 0])),
        ("bodies of a byte", &open, frame(DATA, 0, 1, b" ")),
        ("priorities", &open, frame(PRIORITY, 0, 1, &[0, 0, 0, 0, 1])),
        ("priorities of streams that nobody opened", &open, frame(PRIORITY, 0, 99, &[0, 0, 0, 0, 1])),
        ("windows of the connection", &open, window_update(0, 1)),
        ("windows of a stream", &open, window_update(1, 1)),
        ("windows of a stream that is closed", &get, window_update(1, 1)),
        ("frames that nobody knows", &open, frame(0xfa, 0, 1, &[])),
    ];
    for (what, first, next) in cases {
        // Some are answered by the end of the connection, but none in vain.
        let reason = flood(&server, 500, |at| if at == 0 { first.to_vec() } else { next.repeat(100) });
        let grown = server.resident_kb().saturating_sub(before);
        assert!(grown < 64 << 10, "{what}: {grown} kB, reason {reason:?}");
        server.client().get("/v2/health/live").expect(200);
    }
    // Each is refused, since the first of them stay open.
    let many = |at: u32| frame(HEADERS, END_HEADERS, 2 * at + 1, &head());
    flood(&server, 50_000, many);
    let grown = server.resident_kb().saturating_sub(before);
    assert!(grown < 64 << 10, "{grown} kB for streams that are refused");
    server.client().get("/v2/health/live").expect(200);
}

#[test]
fn what_could_be_two_requests_is_none() {
    let server = Server::start(&config::samples(), &[]);
    let hidden = "GET /v2/models/hidden HTTP/1.1\r\nHost: x\r\n\r\n";
    for (head, body) in [
        ("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n"),
        ("Transfer-Encoding: chunked\r\nContent-Length: 6\r\n", "0\r\n\r\n"),
        ("Content-Length: 5\r\nContent-Length: 6\r\n", "12345"),
        ("Content-Length: 5, 5\r\n", "12345"),
        ("Content-Length: +5\r\n", "12345"),
        ("Content-Length : 5\r\n", "12345"),
        ("Transfer-Encoding: identity\r\n", ""),
        ("Transfer-Encoding: xchunked\r\n", "0\r\n\r\n"),
        ("Transfer-Encoding: chunked, identity\r\n", "0\r\n\r\n"),
        ("Transfer-Encoding: chunked\r\n", "-5\r\n12345\r\n0\r\n\r\n"),
        ("Transfer-Encoding: chunked\r\n", "fffffffffffffffff\r\n12345\r\n0\r\n\r\n"),
        ("X: a\r\n Content-Length: 5\r\n", "12345"),
    ] {
        let mut wire = server.wire();
        wire.send(format!("POST /v2/models/iris/infer HTTP/1.1\r\nHost: x\r\n{head}\r\n{body}{hidden}"));
        let all = String::from_utf8_lossy(&wire.rest()).into_owned();
        assert_eq!(all.matches("HTTP/1.1 ").count(), 1, "{head:?}: {all}");
        // 501 for what it is not in (RFC 9112, section 6.1).
        let is_refused = all.starts_with("HTTP/1.1 400") || all.starts_with("HTTP/1.1 501");
        assert!(is_refused && !all.contains("hidden"), "{head:?}: {all}");
    }
}
