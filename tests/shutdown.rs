//! SIGTERM loses no request.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Instant;

use rustix::process::Signal;
use ureq::http::Method;

use crate::binary::Server;
use crate::config;
use crate::load::{IRIS, Load, Peer, Protocol};
use crate::models::Models;
use crate::wait::until;

const SLOW: &str = r#"{"inputs":[{"name":"x","shape":[1,4],"datatype":"FP32","data":[1,2,3,4]}]}"#;

fn post(path: &str, body: &str) -> String {
    format!("POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}

/// Stops a server under the load of such clients: each sends so many requests, of all its callers, on a connection.
/// Every request that the server took has to be answered, and clients have to find it until it takes no connections.
fn stop_under_load(clients: &[(Protocol, usize, usize)]) {
    for _ in 0..config::rounds().unwrap_or(if config::full() { 3 } else { 1 }) {
        // Long enough for a machine that has other things to do.
        let server = Server::start(&config::samples(), &["--lame-duck-ms", "1500"]);
        let (peer, load) = (Peer::new(server.address), Load::default());
        thread::scope(|scope| {
            for &(protocol, callers, each) in clients {
                load.start(scope, &peer, (protocol, callers), each);
            }
            let started = Instant::now();
            let seconds = config::seconds();
            until("some load", || (load.answered() > 500 && started.elapsed().as_secs() >= seconds).then_some(()));
            server.signal(Signal::TERM);
            let before = (load.answered(), load.connections());
            until("readiness to go off", || {
                let ready = server.client().send(Method::GET, "/v2/health/ready", &[], b"").unwrap();
                (ready.status == 503).then_some(())
            });
            until("clients to go on", || (load.answered() > before.0 && load.connections() > before.1).then_some(()));
        });
        let (answered, wrong) = (load.answered(), load.wrong());
        println!("{answered} answered on {} connections, {} failed", load.connections(), wrong.len());
        assert!(wrong.is_empty(), "{} of {answered} went wrong, for example {}", wrong.len(), wrong[0]);
        let ended = server.ended();
        assert_eq!(ended.status.code(), Some(0), "{}", ended.log);
        assert!(ended.log.contains("everything accepted was answered"), "{}", ended.log);
    }
}

/// More than anybody sends on one connection.
const KEPT: usize = usize::MAX;

#[test]
fn under_load_over_http_1_each_accepted_request_is_answered() {
    stop_under_load(&[
        (Protocol::Http1, 1, KEPT),
        (Protocol::Http1, 1, KEPT),
        (Protocol::Http1, 1, KEPT),
        (Protocol::Http1, 1, 3),
        (Protocol::Http1, 1, 1),
    ]);
}

#[test]
fn under_load_over_http_2_each_accepted_request_is_answered() {
    stop_under_load(&[(Protocol::Http2, 8, KEPT), (Protocol::Http2, 1, KEPT), (Protocol::Http2, 4, 5)]);
}

#[test]
fn under_load_over_grpc_each_accepted_request_is_answered() {
    stop_under_load(&[
        (Protocol::Grpc, 8, KEPT),
        (Protocol::Grpc, 4, 5),
        (Protocol::GrpcStream, 4, KEPT),
        (Protocol::GrpcStream, 2, 5),
    ]);
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

/// However a client's connection and the end of the port meet.
#[test]
fn who_has_a_connection_has_an_answer() {
    let rounds = if config::full() { 10 } else { 2 };
    for _ in 0..rounds {
        let server = Server::start(&config::samples(), &["--lame-duck-ms", "50"]);
        let address = server.address;
        let answered = Arc::new(AtomicUsize::new(0));
        // Each ends when it is refused a connection.
        let asking: Vec<_> = (0..4)
            .map(|_| {
                let answered = Arc::clone(&answered);
                thread::spawn(move || {
                    loop {
                        let mut stream = match TcpStream::connect(address) {
                            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => return,
                            stream => stream.unwrap(),
                        };
                        stream
                            .write_all(b"GET /v2/health/live HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
                            .unwrap();
                        let mut answer = String::new();
                        stream.read_to_string(&mut answer).unwrap();
                        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
                        answered.fetch_add(1, Ordering::Relaxed);
                    }
                })
            })
            .collect();
        until("connections to come and go", || (answered.load(Ordering::Relaxed) > 200).then_some(()));
        server.signal(Signal::TERM);
        let ended = server.ended();
        assert_eq!(ended.status.code(), Some(0), "{}", ended.log);
        asking.into_iter().for_each(|one| one.join().unwrap());
    }
}
