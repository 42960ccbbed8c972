//! Trials against servers made for it.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use super::*;
use crate::subject::{Length, Load};

/// Answers the infer request of that number, counted over all connections, on a connection.
type Behaviour = dyn Fn(usize, &mut TcpStream) + Send + Sync;

/// Serves a model on a thread for each connection, until the test is over.
fn server(behaviour: impl Fn(usize, &mut TcpStream) + Send + Sync + 'static) -> Address {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let behaviour: Arc<Behaviour> = Arc::new(behaviour);
    let requests = Arc::new(AtomicUsize::new(0));
    thread::spawn(move || {
        for stream in listener.incoming() {
            let (behaviour, requests) = (Arc::clone(&behaviour), Arc::clone(&requests));
            thread::spawn(move || serve(stream.unwrap(), &requests, &*behaviour));
        }
    });
    format!("http://{address}").parse().unwrap()
}

fn serve(mut stream: TcpStream, requests: &AtomicUsize, behaviour: &Behaviour) -> Option<()> {
    let mut reader = BufReader::new(stream.try_clone().ok()?);
    loop {
        let (mut first, mut length) = (String::new(), 0);
        reader.read_line(&mut first).ok().filter(|count| *count > 0)?;
        loop {
            let mut line = String::new();
            reader.read_line(&mut line).ok().filter(|count| *count > 0)?;
            if line.trim().is_empty() {
                break;
            }
            if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                length = value.trim().parse().unwrap();
            }
        }
        reader.read_exact(&mut vec![0; length]).ok()?;
        if first.starts_with("POST") {
            behaviour(requests.fetch_add(1, Ordering::SeqCst), &mut stream);
        } else if first.contains("/config") {
            answer(&mut stream, 404, "{}");
        } else {
            let tensor = |name| format!(r#"[{{"name":"{name}","datatype":"FP32","shape":[-1,2]}}]"#);
            let metadata = format!(r#"{{"platform":"stub","inputs":{},"outputs":{}}}"#, tensor("x"), tensor("y"));
            answer(&mut stream, 200, &metadata);
        }
    }
}

fn answer(stream: &mut TcpStream, status: u16, body: &str) {
    let head = format!("HTTP/1.1 {status} Status\r\nContent-Length: {}\r\n\r\n", body.len());
    // Callers who have left do not read it.
    let _ = stream.write_all((head + body).as_bytes());
}

fn right(stream: &mut TcpStream) {
    answer(stream, 200, r#"{"outputs":[{"name":"y","datatype":"FP32","shape":[1,2],"data":[1,2]}]}"#);
}

fn run(address: Address, callers: Callers, load: Load, requests: u64) -> Measured {
    let target = Target { address, model: "m".into(), version: None, format: Format::Json, timeout: None };
    let mut subject = HttpSubject::new(target, &Inputs::default(), callers).unwrap();
    let length = Length { duration: Duration::from_secs(60), requests: Some(requests), warm_up: Duration::ZERO };
    let trial = Trial { load, length, bound: None, hopeless: None, seed: 1 };
    subject.run(&trial, &Progress::hidden()).unwrap()
}

#[test]
fn every_request_of_a_closed_load_is_answered_over_as_many_connections_as_callers() {
    let measured = run(server(|_, stream| right(stream)), Callers::default(), Load::Closed { callers: 4 }, 200);
    assert_eq!((measured.requests(), measured.errors(), measured.right()), (200, 0, 200));
    assert!(measured.connections <= 4, "{}", measured.connections);
    let busy = Callers { busy_poll: true, ..Callers::default() };
    assert_eq!(run(server(|_, stream| right(stream)), busy, Load::Closed { callers: 4 }, 200).right(), 200);
}

#[test]
fn a_server_that_stalls_cannot_hide_what_was_due_meanwhile() {
    const REQUESTS: u64 = 100;
    const STALL: Duration = Duration::from_millis(400);
    let (_never, stalled) = mpsc::channel::<()>();
    let stalled = std::sync::Mutex::new(stalled);
    // The number 0 is the first try.
    let stalls = move |number, stream: &mut TcpStream| {
        if number == 1 {
            let _ = stalled.lock().unwrap().recv_timeout(STALL);
        }
        right(stream);
    };
    let callers = Callers { most_connections: 1, ..Callers::default() };
    // Due within about a tenth of a second, while the one connection is stalled.
    let measured = run(server(stalls), callers, Load::Open { rate: 1000.0 }, REQUESTS);
    assert_eq!((measured.requests(), measured.errors(), measured.connections), (REQUESTS, 0, 1));
    // One slow answer delays all: most requests were due long before the stall's end.
    let half = measured.quantile(0.5);
    assert!(half > STALL / 2, "half of the requests took {half:?} at most");
}

#[test]
fn an_open_load_opens_the_connections_that_it_needs() {
    let (started, gate) = (Arc::new(AtomicUsize::new(0)), Arc::new(std::sync::Barrier::new(3)));
    let at_gate = Arc::clone(&started);
    // Three answers come only when all three requests are there.
    let together = move |number, stream: &mut TcpStream| {
        if (1..4).contains(&number) {
            at_gate.fetch_add(1, Ordering::SeqCst);
            gate.wait();
        }
        right(stream);
    };
    let measured = run(server(together), Callers::default(), Load::Open { rate: 500.0 }, 3);
    assert_eq!((measured.right(), measured.connections, started.load(Ordering::SeqCst)), (3, 3, 3));
}

#[test]
fn what_goes_wrong_is_counted_by_its_kind_and_shown_once() {
    let wrong = |number, stream: &mut TcpStream| match number % 4 {
        1 => answer(stream, 503, r#"{"error":"the queue is full"}"#),
        2 => answer(stream, 200, r#"{"outputs":[{"name":"y","shape":[1,2],"data":[9,9]}]}"#),
        _ => right(stream),
    };
    let callers = Callers { expect: Expect::First, ..Callers::default() };
    // One caller, so that the same requests get the same answers; the first answers of all are right or wrong.
    let measured = run(server(wrong), callers, Load::Closed { callers: 1 }, 64 * 4);
    let complaints = measured.complaints();
    assert_eq!(measured.json()["statuses"]["503"], 64);
    assert!(complaints.contains(&("status 503".into(), 64, "the queue is full".into())), "{complaints:?}");
    assert_eq!(measured.requests(), 256);
}

#[test]
fn a_connection_that_the_server_closes_between_requests_is_no_error() {
    let closes = |number, stream: &mut TcpStream| {
        right(stream);
        if number % 3 == 0 {
            let _ = stream.shutdown(std::net::Shutdown::Both);
        }
    };
    let measured = run(server(closes), Callers::default(), Load::Closed { callers: 2 }, 60);
    assert_eq!((measured.right(), measured.errors()), (60, 0), "{:?}", measured.complaints());
    assert!(measured.connections > 15, "{}", measured.connections);
}

#[test]
fn who_leaves_is_not_measured_and_leaves_room() {
    let (never, forever) = mpsc::channel::<()>();
    let forever = std::sync::Mutex::new(forever);
    // Nobody who leaves would ever get an answer to one request in five.
    let slow = move |number: usize, stream: &mut TcpStream| {
        let _keep = &never;
        if number > 0 && number.is_multiple_of(5) {
            let _ = forever.lock().unwrap().recv_timeout(Duration::from_millis(20));
        }
        right(stream);
    };
    let callers = Callers { leave: 0.5, leave_within: Duration::from_millis(2), ..Callers::default() };
    let begun = Instant::now();
    let measured = run(server(slow), callers, Load::Closed { callers: 4 }, 50);
    assert_eq!((measured.requests(), measured.errors()), (50, 0), "{:?}", measured.complaints());
    assert!(measured.left > 10, "{} left in {:?}", measured.left, begun.elapsed());
}

#[test]
fn a_server_that_is_not_there_is_said_at_once() {
    let gone = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let target = Target {
        address: format!("http://{gone}").parse().unwrap(),
        model: "m".into(),
        version: None,
        format: Format::Json,
        timeout: None,
    };
    let error = HttpSubject::new(target, &Inputs::default(), Callers::default()).unwrap_err().to_string();
    assert!(error.contains(&gone.to_string()), "{error}");
}

#[test]
fn queries_are_recorded_when_their_last_sample_is_answered() {
    let measured = run(server(|_, stream| right(stream)), Callers::default(), Load::Queries { samples: 8 }, 10);
    assert_eq!((measured.requests(), measured.errors()), (10, 0));
    assert_eq!(measured.json()["rows"], 80);
}
