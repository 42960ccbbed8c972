//! HTTP/1.1 by its rules (RFC 9112), byte by byte: what is one request is answered as one, in its turn, and what is none is
//! told so.

use std::io::Write;
use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant};

use crate::binary::Server;
use crate::config;
use crate::http::{Answer, Wire};
use crate::wait::every;

const PATH: &str = "/v2/models/iris/infer";
const BODY: &str = r#"{"inputs":[{"name":"features","shape":[1,4],"datatype":"FP32","data":[5.1,3.5,1.4,0.2]}]}"#;
const HIDDEN: &str = "GET /v2/models/hidden HTTP/1.1\r\nHost: x\r\n\r\n";

/// A request for the server's health.
fn live(version: &str, headers: &str) -> String {
    format!("GET /v2/health/live HTTP/{version}\r\n{headers}\r\n")
}

/// The head of a request to score.
fn post(headers: &str) -> String {
    format!("POST {PATH} HTTP/1.1\r\nHost: x\r\n{headers}\r\n")
}

/// A body in chunks of so many bytes, whose sizes stand there in other ways than one expects.
fn in_chunks(body: &str, size: usize) -> String {
    let chunk = |part: &[u8]| format!("{:03X} ;a=\"b\";c\r\n{}\r\n", part.len(), String::from_utf8_lossy(part));
    let chunks: String = body.as_bytes().chunks(size).map(chunk).collect();
    format!("{chunks}0;last\r\nSum: 1\r\nGET /hidden HTTP/1.1: x\r\n\r\n")
}

/// The last answer of a connection, which closes behind it.
#[track_caller]
fn last(wire: &mut Wire, about: &str) -> Answer {
    let answer = wire.answer().unwrap_or_else(|| panic!("no answer: {about}"));
    assert_eq!(answer.header("connection"), Some("close"), "{about}");
    assert_eq!(String::from_utf8_lossy(&wire.rest()), "", "behind the end: {about}");
    answer
}

#[test]
fn what_is_no_request_is_told_what_was_expected_and_nothing_behind_it_is_answered() {
    let server = Server::start(&config::samples(), &["--header-limit-kib", "16", "--max-headers", "20"]);
    let host = |headers: &str| live("1.1", &format!("Host: x\r\n{headers}\r\n"));
    let chunks = |body: &str| format!("{}{body}", post("Transfer-Encoding: chunked\r\n"));
    for (request, status, told) in [
        (live("1.1", ""), 400, "one header `host`"),
        (host("Host: x"), 400, "one header `host`"),
        (host("content-length : 5"), 400, "a name, a colon and a value"),
        (host("a: b\r\n c"), 400, "a name, a colon and a value"),
        (host("a b"), 400, "a name, a colon and a value"),
        (host("a: \x01"), 400, "without control characters"),
        ("GET  /v2 HTTP/1.1\r\nHost: x\r\n\r\n".into(), 400, "first line"),
        ("GET /v2\r\nHost: x\r\n\r\n".into(), 400, "first line"),
        ("G@T /v2 HTTP/1.1\r\nHost: x\r\n\r\n".into(), 400, "first line"),
        ("\x16\x03\x01\x02".into(), 400, "first line"),
        (host("Content-Length: 5\r\nTransfer-Encoding: chunked"), 400, "expected one of them"),
        (host("Content-Length: 5\r\nContent-Length: 7"), 400, "expected one number"),
        (host("Content-Length: 99999999999999999999"), 400, "expected one number"),
        (host("Transfer-Encoding: gzip, chunked"), 501, "expected `chunked`"),
        (live("1.0", "Transfer-Encoding: chunked\r\n"), 501, "expected `chunked`"),
        (live("2.0", "Host: x\r\n"), 505, "expected HTTP/1.0, HTTP/1.1 or HTTP/2"),
        (live("1.2", "Host: x\r\n"), 505, "expected HTTP/1.0, HTTP/1.1 or HTTP/2"),
        (host(&format!("a: {}", "x".repeat(17 << 10))), 431, "expected at most 16384 bytes"),
        ("GET a b HTTP/1.1\r\nHost: x\r\n\r\n".into(), 400, "first line"),
        (live("1.0", "Host: x\r\nHost: x\r\n"), 400, "one header `host`"),
        (host(&"a: 1\r\n".repeat(20)), 431, "expected at most 20"),
        (chunks("5\nhello\n0\n\n"), 400, "expected a size in hexadecimal digits"),
        (chunks("5\r\nhello0\r\n\r\n"), 400, "expected a size in hexadecimal digits"),
        (chunks("0x5\r\nhello\r\n0\r\n\r\n"), 400, "expected a size in hexadecimal digits"),
        (
            chunks(&format!("5;{}\r\nhello\r\n0\r\n\r\n", "x".repeat(1000))),
            400,
            "expected a size in hexadecimal digits",
        ),
        (chunks(&format!("0\r\n{}\r\n", "a: 1\r\n".repeat(10_000))), 400, "expected a size in hexadecimal digits"),
    ] {
        let mut wire = server.wire();
        wire.send(format!("{request}{HIDDEN}"));
        let refused = last(&mut wire, &request).expect(status);
        assert_eq!(refused.header("content-type"), Some("application/json"), "{request}");
        let message = refused.json()["error"].as_str().unwrap().to_string();
        assert!(message.contains(told), "{request}: {message}");
    }
}

#[test]
fn requests_of_any_framing_are_answered_in_order_however_their_bytes_come() {
    let server = Server::samples();
    let length = BODY.len();
    let requests = [
        format!("{}{BODY}", post(&format!("x-request-id: 0\r\nContent-Length: {length}\r\n"))),
        format!("{}{}", post("x-request-id: 1\r\nTransfer-Encoding: chunked\r\n"), in_chunks(BODY, 7)),
        // Empty lines before a request do not belong to it, and each end of a line may be a line feed alone.
        format!("\r\n\r\n{}", live("1.1", "x-request-id: 2\r\nHost: x\r\n")),
        live("1.1", "x-request-id: 3\r\nHost: x\r\n").replace("\r\n", "\n"),
        format!("{}not json", post("x-request-id: 4\r\nContent-Length: 8\r\nContent-Length: 8\r\n")),
        format!("{}{}", post("x-request-id: 5\r\nTransfer-Encoding: CHUNKED\r\n"), in_chunks(BODY, 1000)),
        live("1.1", "x-request-id: 6\r\nHost: x\r\nConnection: Close, x\r\n"),
    ];
    let all = requests.concat();
    for size in [1, 2, 100, all.len()] {
        let stream = TcpStream::connect(server.address).unwrap();
        stream.set_nodelay(true).unwrap();
        let mut wire = Wire::of(stream);
        all.as_bytes().chunks(size).for_each(|part| wire.send(part));
        for (at, status) in [200, 200, 200, 200, 400, 200].into_iter().enumerate() {
            let answer = wire.answer().unwrap_or_else(|| panic!("no answer {at}, {size} bytes at once")).expect(status);
            assert_eq!(answer.header("x-request-id"), Some(&*at.to_string()), "{size} bytes at once");
            if [0, 1, 5].contains(&at) {
                assert_eq!(answer.json()["outputs"][0]["data"][0], "setosa");
            }
        }
        assert_eq!(last(&mut wire, "all of them").expect(200).header("x-request-id"), Some("6"));
    }
}

#[test]
fn a_client_of_http_1_0_is_answered_once_unless_it_asks_for_more() {
    let server = Server::samples();
    let mut wire = server.wire();
    wire.send(live("1.0", "") + HIDDEN);
    last(&mut wire, "without keep-alive").expect(200);
    let mut wire = server.wire();
    for _ in 0..3 {
        wire.send(live("1.0", "Connection: Keep-Alive\r\n"));
        assert_eq!(wire.answer().unwrap().expect(200).header("connection"), Some("keep-alive"));
    }
    // One that cannot know of it is not told to go on.
    let length = BODY.len();
    wire.send(format!("POST {PATH} HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: {length}\r\n\r\n{BODY}"));
    last(&mut wire, "a body").expect(200);
}

#[test]
fn an_answer_to_head_has_no_body() {
    let server = Server::samples();
    let head = |path: &str, headers: &str| format!("HEAD {path} HTTP/1.1\r\nHost: x\r\n{headers}\r\n");
    let mut wire = server.wire();
    wire.send(head("/v2/health/live", "") + &head("/nothing", "") + &head("/metrics", "Connection: close\r\n"));
    let all = String::from_utf8(wire.rest()).unwrap();
    let answers: Vec<_> = all.split_inclusive("\r\n\r\n").collect();
    let statuses: Vec<_> = answers.iter().filter_map(|answer| answer.split(' ').nth(1)).collect();
    assert_eq!(statuses, ["200", "404", "200"], "{all}");
    assert!(answers[0].contains("\r\ncontent-length: 13\r\n"), "{all}");
    assert!(answers.iter().all(|answer| answer.starts_with("HTTP/1.1 ") && answer.ends_with("\r\n\r\n")), "{all}");
}

#[test]
fn who_waits_to_be_told_to_go_on_is_told_once_for_each_request() {
    let server = Server::samples();
    let mut wire = server.wire();
    let length = format!("Content-Length: {}\r\n", BODY.len());
    for (framing, body) in [
        (&*length, BODY.to_string()),
        ("Transfer-Encoding: chunked\r\n", in_chunks(BODY, 10)),
        (&*length, BODY.to_string()),
    ] {
        wire.send(post(&format!("Expect: 100-Continue\r\n{framing}")));
        wire.answer().unwrap().expect(100);
        for part in body.as_bytes().chunks(30) {
            wire.send(part);
        }
        assert_eq!(wire.answer().unwrap().expect(200).json()["outputs"][0]["data"][0], "setosa");
    }
    // Nobody is told who has nothing to send.
    wire.send(live("1.1", "Host: x\r\nExpect: 100-continue\r\n"));
    wire.answer().unwrap().expect(200);
    // One whose body is not wanted is refused, and not told to send it.
    wire.send(format!("POST /nothing HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\n{length}\r\n"));
    last(&mut wire, "a body that nobody wants").expect(404);
}

#[test]
fn who_is_still_sending_gets_its_refusal_whole() {
    const REST: usize = 8 << 20;
    let server = Server::start(&config::samples(), &["--body-limit-mib", "1"]);
    for (head, status) in [
        (post(&format!("Content-Length: {REST}\r\n")), 413),
        (post("Transfer-Encoding: chunked\r\n") + "what is no chunk\r\n", 400),
        (live("1.1", ""), 400),
        (live("1.1", "Host: x\r\nTransfer-Encoding: gzip\r\n"), 501),
        (format!("POST /nothing HTTP/1.1\r\nHost: x\r\nContent-Length: {REST}\r\n\r\n"), 404),
    ] {
        let mut stream = TcpStream::connect(server.address).unwrap();
        let sending = stream.try_clone().unwrap();
        // It reads when all is sent, as simple clients do.
        stream.write_all(head.as_bytes()).unwrap();
        let sent = stream.write_all(&vec![b'x'; REST]);
        assert!(sent.is_ok(), "{head}: {sent:?}");
        let mut wire = Wire::of(sending);
        last(&mut wire, &head).expect(status);
    }
    // One that never ends is left at last.
    let started = Instant::now();
    let mut stream = TcpStream::connect(server.address).unwrap();
    stream.write_all(live("1.1", "").as_bytes()).unwrap();
    while stream.write_all(&[b'x'; 64 << 10]).is_ok() {
        assert!(started.elapsed() < Duration::from_secs(60), "it is still listened to");
    }
}

#[test]
fn a_head_may_take_its_time_and_no_more() {
    let server = Server::start(&config::samples(), &["--header-timeout-ms", "3000"]);
    let started = Instant::now();
    let slowly = |text: &str| {
        let stream = TcpStream::connect(server.address).unwrap();
        let mut sending = stream.try_clone().unwrap();
        let mut wire = Wire::of(stream);
        thread::scope(|scope| {
            let hearing = scope.spawn(move || wire.answer());
            let mut bytes = text.bytes();
            every(
                Duration::from_millis(10),
                || hearing.is_finished(),
                || {
                    let _ = bytes.next().map(|byte| sending.write_all(&[byte]));
                },
            );
            hearing.join().unwrap()
        })
    };
    slowly(&live("1.1", "Host: x\r\nConnection: close\r\n")).unwrap().expect(200);
    assert!(started.elapsed() > Duration::from_millis(500));
    let never = live("1.1", &format!("Host: x\r\na: {}\r\n", "x".repeat(100_000)));
    assert!(slowly(&never).is_none());
}
