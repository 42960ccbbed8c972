mod ending;
mod leaving;
mod tls;

use axum::body::Body;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::JoinHandle;

use super::*;
use crate::config::Settings;
use crate::testing::{House, house};

struct Running {
    house: House,
    address: SocketAddr,
    lifecycle: Lifecycle,
    serving: JoinHandle<usize>,
}

async fn start() -> Running {
    start_with(|_| {}).await
}

async fn start_with(change: impl FnOnce(&mut Settings)) -> Running {
    let house = house(change);
    let tls = house.app.config.tls.as_ref().map(|settings| Arc::new(crate::tls::open(settings).unwrap()));
    let port = Port::bind(house.app.config.listen, tls).await.unwrap();
    let (address, lifecycle) = (port.address().unwrap(), house.app.lifecycle.clone());
    let (site, drain, watched) = (house.site(), house.app.config.drain, lifecycle.clone());
    let caps = house.app.config.caps.clone();
    let serving = tokio::spawn(async move { port.serve(site, &watched, drain, caps).await });
    Running { house, address, lifecycle, serving }
}

impl Running {
    fn drain(&self) {
        self.lifecycle.stopping.raise();
        self.lifecycle.draining.raise();
    }
}

const LIVE: &[u8] = b"GET /v2/health/live HTTP/1.1\r\nhost: x\r\n\r\n";

#[tokio::test]
async fn a_connection_that_the_system_accepted_gets_its_answer_although_the_server_stops() {
    let running = start().await;
    // The test runs on one thread: the server does not see the connection before the stop.
    let mut stream = std::net::TcpStream::connect(running.address).unwrap();
    std::io::Write::write_all(&mut stream, LIVE).unwrap();
    running.drain();
    assert_eq!(running.serving.await.unwrap(), 0);
    let mut answer = String::new();
    std::io::Read::read_to_string(&mut stream, &mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.contains("connection: close"), "{answer}");
    assert!(std::net::TcpStream::connect(running.address).is_err());
}

#[tokio::test]
async fn an_answer_says_once_what_it_says_of_itself() {
    let running = start().await;
    let mut stream = TcpStream::connect(running.address).await.unwrap();
    for (given, id) in [("", None), ("X-Request-Id: mine\r\n", Some("mine"))] {
        stream.write_all(format!("GET /nothing HTTP/1.1\r\nhost: x\r\n{given}\r\n").as_bytes()).await.unwrap();
        let mut answer = vec![0; 4096];
        let length = stream.read(&mut answer).await.unwrap();
        let answer = String::from_utf8_lossy(&answer[..length]);
        let head = answer.split("\r\n\r\n").next().unwrap();
        let told = |name: &str| head.lines().filter_map(|line| line.strip_prefix(name)).collect::<Vec<_>>();
        assert_eq!(told("x-content-type-options: "), ["nosniff"], "{head}");
        assert_eq!(told("cache-control: "), ["no-store"], "{head}");
        let [found] = told("x-request-id: ")[..] else { panic!("{head}") };
        assert!(id.map_or(found.len() == 32, |id| found == id), "{head}");
    }
}

#[tokio::test]
async fn an_idle_connection_does_not_hold_up_the_stop() {
    let running = start().await;
    let mut stream = TcpStream::connect(running.address).await.unwrap();
    stream.write_all(LIVE).await.unwrap();
    let mut answer = [0; 1024];
    assert!(stream.read(&mut answer).await.unwrap() > 0);
    running.drain();
    assert_eq!(running.serving.await.unwrap(), 0);
    assert_eq!(stream.read(&mut answer).await.unwrap(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_under_way_is_answered_although_the_server_stops() {
    let running = start().await;
    let mut stream = TcpStream::connect(running.address).await.unwrap();
    let body = r#"{"inputs":[{"name":"x","datatype":"FP32","shape":[1,2],"data":[1,2]}]}"#;
    let head = "POST /v2/models/gated/infer HTTP/1.1\r\nhost: x";
    let request = format!("{head}\r\ncontent-length: {}\r\n\r\n{body}", body.len());
    stream.write_all(request.as_bytes()).await.unwrap();
    running.house.gate.wait_until_reached();
    running.drain();
    running.house.gate.open();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.contains("\"data\":[2"), "{answer}");
    assert_eq!(running.serving.await.unwrap(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_does_not_end_in_the_grace_period_is_given_up() {
    let running = start_with(|settings| settings.drain.grace = Duration::from_millis(100)).await;
    let mut stream = TcpStream::connect(running.address).await.unwrap();
    let head = b"POST /v2/models/double/infer HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\nonly this";
    stream.write_all(head).await.unwrap();
    running.drain();
    assert_eq!(running.serving.await.unwrap(), 1);
}

#[tokio::test]
async fn http2_without_tls_is_spoken_and_ended_gracefully() {
    let running = start().await;
    let stream = TokioIo::new(TcpStream::connect(running.address).await.unwrap());
    let (mut client, connection) = hyper::client::conn::http2::handshake(TokioExecutor::new(), stream).await.unwrap();
    let connection = tokio::spawn(connection);
    let request = || http::Request::get("http://x/v2/health/live").body(Body::empty()).unwrap();
    let answer = client.send_request(request()).await.unwrap();
    assert_eq!((answer.status().as_u16(), answer.version()), (200, http::Version::HTTP_2));
    running.lifecycle.stopping.raise();
    let answer = client.send_request(request()).await.unwrap();
    assert_eq!(answer.headers().get("connection"), None);
    running.drain();
    assert_eq!(running.serving.await.unwrap(), 0);
    connection.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_connection_outlives_a_refused_request() {
    let running = start().await;
    let mut stream = TcpStream::connect(running.address).await.unwrap();
    let refused = "POST /v2/models/double/infer HTTP/1.1\r\nhost: x\r\ncontent-length: 4\r\n\r\nnope";
    let chunked = "POST /nothing HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n4\r\nnope\r\n0\r\n\r\n";
    let last = "GET /v2/health/live HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
    stream.write_all([refused, chunked, last].concat().as_bytes()).await.unwrap();
    let mut answers = String::new();
    stream.read_to_string(&mut answers).await.unwrap();
    let statuses: Vec<_> = answers.split("HTTP/1.1 ").skip(1).map(|answer| &answer[..3]).collect();
    assert_eq!(statuses, ["400", "404", "200"], "{answers}");
}

#[tokio::test]
async fn a_connection_outlives_a_request_that_is_refused_before_its_body_has_come() {
    let running = start().await;
    let mut stream = TcpStream::connect(running.address).await.unwrap();
    stream.write_all(b"POST /nothing HTTP/1.1\r\nhost: x\r\ncontent-length: 4\r\n\r\n").await.unwrap();
    // The server has had every chance to answer before the body comes.
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    let last = "nopeGET /v2/health/live HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
    stream.write_all(last.as_bytes()).await.unwrap();
    let mut answers = String::new();
    stream.read_to_string(&mut answers).await.unwrap();
    let statuses: Vec<_> = answers.split("HTTP/1.1 ").skip(1).map(|answer| &answer[..3]).collect();
    assert_eq!(statuses, ["404", "200"], "{answers}");
}

/// Scores over and over, on one connection as long as the server keeps it, until nobody listens any more.
/// Returns how many requests were answered; fails if one was not.
fn keep_scoring(address: SocketAddr) -> usize {
    let body = r#"{"inputs":[{"name":"x","datatype":"FP32","shape":[1,2],"data":[1,2]}]}"#;
    let head = "POST /v2/models/double/infer HTTP/1.1\r\nhost: x";
    let request = format!("{head}\r\ncontent-length: {}\r\n\r\n{body}", body.len());
    let mut answered = 0;
    while let Ok(mut stream) = std::net::TcpStream::connect(address) {
        let mut on_this_one = 0;
        loop {
            let mut answer = [0; 4096];
            let sent = io::Write::write_all(&mut stream, request.as_bytes());
            let length = sent.and_then(|()| io::Read::read(&mut stream, &mut answer)).unwrap_or(0);
            let answer = String::from_utf8_lossy(&answer[..length]).into_owned();
            if length == 0 {
                // The port closed just when the system took this connection: the server never saw it.
                assert_eq!(on_this_one, 0, "a connection that was kept open lost a request");
                break;
            }
            assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
            (answered, on_this_one) = (answered + 1, on_this_one + 1);
            if answer.contains("connection: close") {
                break;
            }
        }
    }
    answered
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_under_load_loses_no_request() {
    let running = start_with(|settings| settings.drain.linger = Duration::from_secs(10)).await;
    let address = running.address;
    let clients: Vec<_> = (0..4).map(|_| std::thread::spawn(move || keep_scoring(address))).collect();
    let scored = || running.house.app.metrics.response_bytes.get() > 100_000;
    while !scored() {
        tokio::task::yield_now().await;
    }
    running.drain();
    let answered: usize = clients.into_iter().map(|client| client.join().unwrap()).sum();
    assert!(answered > 100, "{answered}");
    assert_eq!(running.serving.await.unwrap(), 0);
}
