//! SIGTERM loses no request.

use std::net::TcpStream;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use rustix::process::Signal;
use ureq::http::Method;

use crate::binary::Server;
use crate::config;
use crate::http::Wire;
use crate::models::Models;
use crate::wait::until;

const IRIS: &str = r#"{"inputs":[{"name":"features","shape":[1,4],"datatype":"FP32","data":[5.1,3.5,1.4,0.2]}]}"#;
const SLOW: &str = r#"{"inputs":[{"name":"x","shape":[1,4],"datatype":"FP32","data":[1,2,3,4]}]}"#;

fn post(path: &str, body: &str) -> String {
    format!("POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}

/// Asks again and again, each time on the connection that the last answer left open, until the server is gone.
/// Returns how many were answered, and what was wrong with those that were not: a request that the server took,
/// on a connection that it did not ask to close, has to be answered with 200.
fn ask_until_the_end(server: &Server, answered: &AtomicUsize) -> Vec<String> {
    let mut wrong = Vec::new();
    while let Ok(stream) = TcpStream::connect(server.address) {
        let mut wire = Wire::of(stream);
        loop {
            wire.send(post("/v2/models/iris/infer", IRIS));
            match wire.answer() {
                Some(answer) if answer.status == 200 => {
                    answered.fetch_add(1, Ordering::Relaxed);
                    if answer.header("connection") == Some("close") {
                        break;
                    }
                }
                Some(answer) => wrong.push(format!("{}: {}", answer.status, answer.text())),
                None => {
                    wrong.push("the connection ended without an answer".into());
                    break;
                }
            }
        }
    }
    wrong
}

#[test]
fn under_a_stream_of_quick_requests_each_accepted_one_is_answered() {
    let server = Server::samples();
    let answered = AtomicUsize::new(0);
    let wrong: Vec<_> = thread::scope(|scope| {
        let clients: Vec<_> = (0..8).map(|_| scope.spawn(|| ask_until_the_end(&server, &answered))).collect();
        until("two hundred answers", || (answered.load(Ordering::Relaxed) > 200).then_some(()));
        server.signal(Signal::TERM);
        clients.into_iter().flat_map(|client| client.join().unwrap()).collect()
    });
    assert!(wrong.is_empty(), "{} requests went wrong, for example {}", wrong.len(), wrong[0]);
    let ended = server.ended();
    assert_eq!(ended.status.code(), Some(0), "{}", ended.log);
    assert!(ended.log.contains("everything accepted was answered"), "{}", ended.log);
}

#[test]
fn slow_requests_that_wait_in_the_queue_are_answered() {
    let models = Models::empty();
    models.make("slow");
    let server = Server::start(models.path(), &["--lame-duck-ms", "0"]);
    let client = server.client();
    let mut wires: Vec<_> = (0..12).map(|_| server.wire()).collect();
    for wire in &mut wires {
        wire.send(post("/v2/models/slow/infer", SLOW));
    }
    let in_flight = || {
        client
            .get("/metrics")
            .text()
            .lines()
            .find_map(|line| line.strip_prefix("hedef_http_requests_in_flight ")?.parse::<u32>().ok())
    };
    // The scrape itself is one of them.
    let answered_or_waiting = |wires: usize| in_flight().is_some_and(|waiting| waiting as usize > wires);
    until("all requests to be with the server", || answered_or_waiting(8).then_some(()));
    server.signal(Signal::TERM);
    for (at, wire) in wires.iter_mut().enumerate() {
        let answer = wire.answer().unwrap_or_else(|| panic!("request {at} got no answer: {}", server.log()));
        assert_eq!(answer.expect(200).json()["outputs"][0]["data"], serde_json::json!([1.0, 2.0, 3.0, 4.0]));
    }
    let ended = server.ended();
    assert_eq!(ended.status.code(), Some(0), "{}", ended.log);
}

#[test]
fn readiness_goes_off_at_once_while_requests_are_still_taken() {
    let server = Server::start(&config::samples(), &["--lame-duck-ms", "2000"]);
    let client = server.client();
    assert_eq!(client.get("/v2/health/ready").status, 200);
    server.signal(Signal::TERM);
    let refused = until("readiness to go off", || {
        let ready = server.client().send(Method::GET, "/v2/health/ready", &[], b"").expect("the server still accepts");
        (ready.status != 200).then_some(ready)
    });
    assert_eq!((refused.status, refused.text().as_str()), (503, r#"{"ready":false}"#));
    assert_eq!(server.client().get("/v2/health/live").status, 200);
    let late = server.client().post("/v2/models/iris/infer", IRIS).expect(200);
    assert_eq!(late.header("connection"), Some("close"));
    let ended = server.ended();
    assert_eq!(ended.status.code(), Some(0), "{}", ended.log);
}

#[test]
fn an_idle_server_stops_on_ctrl_c_too_and_idle_connections_do_not_hold_it() {
    for signal in [Signal::TERM, Signal::INT] {
        let server = Server::start(&config::samples(), &["--lame-duck-ms", "0"]);
        let mut idle = server.wire();
        idle.send("GET /v2 HTTP/1.1\r\nHost: x\r\n\r\n");
        assert_eq!(idle.answer().unwrap().status, 200);
        let _silent = server.wire();
        server.signal(signal);
        let ended = server.ended();
        assert_eq!(ended.status.code(), Some(0), "{}", ended.log);
        assert!(idle.rest().is_empty());
    }
}
