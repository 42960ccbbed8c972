//! Clients that leave while their request is under way, and those that only look as if they did.

use super::*;

const BODY: &str = r#"{"inputs":[{"name":"x","datatype":"FP32","shape":[1,2],"data":[1,2]}]}"#;
const CANCELLED: &str =
    r#"hedef_request_duration_seconds_count{model="gated",outcome="cancelled",protocol="v2",version="1"} "#;

/// The head of a request to the model whose runs wait at the gate.
fn head(length: usize) -> String {
    format!("POST /v2/models/gated/infer HTTP/1.1\r\nhost: x\r\ncontent-length: {length}\r\n\r\n")
}

fn request() -> String {
    format!("{}{BODY}", head(BODY.len()))
}

impl Running {
    async fn send(&self, bytes: impl AsRef<[u8]>) -> TcpStream {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        stream.write_all(bytes.as_ref()).await.unwrap();
        stream
    }

    /// A request that is being run until the gate opens.
    async fn send_one_that_runs(&self) -> TcpStream {
        let stream = self.send(request()).await;
        self.house.gate.wait_until_reached();
        stream
    }

    fn metric(&self, series: &str) -> usize {
        let text = String::from_utf8(self.house.app.metrics.text().unwrap()).unwrap();
        text.lines().find_map(|line| line.strip_prefix(series)?.parse().ok()).unwrap_or(0)
    }

    async fn until(&self, what: &str, seen: impl Fn() -> bool) {
        let seen = async {
            while !seen() {
                tokio::task::yield_now().await;
            }
        };
        assert!(timeout(Duration::from_secs(20), seen).await.is_ok(), "{what} never came");
    }

    async fn until_in_flight(&self, count: i64) {
        self.until("the count of requests", || self.house.app.metrics.in_flight.get() == count).await;
    }

    async fn until_waiting(&self, count: usize) {
        let series = r#"hedef_queue_depth{model="gated",version="1"} "#;
        self.until("the depth of the queue", || self.metric(series) == count).await;
    }

    async fn finish(self) {
        self.house.gate.open();
        self.drain();
        assert_eq!(self.serving.await.unwrap(), 0);
    }
}

/// The statuses of all answers until the server closes.
async fn statuses(mut stream: TcpStream) -> Vec<String> {
    let mut answers = String::new();
    stream.read_to_string(&mut answers).await.unwrap();
    answers.split("HTTP/1.1 ").skip(1).map(|answer| answer[..3].to_string()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_leaves_while_its_request_waits_gives_its_place_back() {
    let running = start().await;
    let first = running.send_one_that_runs().await;
    let ways: [fn(TcpStream) -> Option<TcpStream>; 3] = [
        |stream| {
            drop(stream);
            None
        },
        |stream| {
            stream.set_zero_linger().unwrap();
            None
        },
        // One that closes its end and listens on counts as gone too.
        |stream| {
            let stream = stream.into_std().unwrap();
            stream.shutdown(std::net::Shutdown::Write).unwrap();
            Some(TcpStream::from_std(stream).unwrap())
        },
    ];
    for (left, leave) in ways.into_iter().enumerate() {
        let waiting = running.send(request()).await;
        running.until_waiting(1).await;
        let kept = leave(waiting);
        running.until_waiting(0).await;
        running.until("the count of those who left", || running.metric(CANCELLED) == left + 1).await;
        if let Some(stream) = kept {
            assert!(statuses(stream).await.is_empty());
        }
    }
    running.until_in_flight(1).await;
    drop(first);
    running.until_in_flight(0).await;
    running.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_is_missed_however_its_body_came() {
    let running = start().await;
    let first = running.send_one_that_runs().await;
    // Larger than what is read at once, so that reads fill their buffer and something is left in the socket.
    let large = format!("{BODY}{}", " ".repeat(300_000));
    for (body, part) in [(BODY, 20), (&large, 1_000), (&large, 8_192), (&large, 300_000)] {
        let mut waiting = running.send(head(body.len())).await;
        running.until_in_flight(2).await;
        for part in body.as_bytes().chunks(part) {
            waiting.write_all(part).await.unwrap();
            tokio::task::yield_now().await;
        }
        running.until_waiting(1).await;
        drop(waiting);
        running.until_waiting(0).await;
        running.until_in_flight(1).await;
    }
    drop(first);
    running.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_that_comes_while_another_is_run_is_no_farewell() {
    let running = start().await;
    let mut stream = running.send_one_that_runs().await;
    stream.write_all(request().as_bytes()).await.unwrap();
    let together = running.send([request(), request(), request()].concat()).await;
    running.until_waiting(1).await;
    let last = "GET /v2/health/live HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
    let mut streams = [stream, together];
    for stream in &mut streams {
        stream.write_all(last.as_bytes()).await.unwrap();
    }
    running.house.gate.open();
    let [one, other] = streams;
    assert_eq!(statuses(one).await, ["200"; 3]);
    assert_eq!(statuses(other).await, ["200"; 4]);
    assert_eq!(running.metric(CANCELLED), 0);
    running.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_leaves_within_its_body_leaves_nothing_behind() {
    let running = start().await;
    for expect in ["", "expect: 100-continue\r\n"] {
        let head = format!("POST /v2/models/gated/infer HTTP/1.1\r\nhost: x\r\n{expect}content-length: 300000\r\n\r\n");
        let mut stream = running.send(head).await;
        running.until_in_flight(1).await;
        for _ in 0..20 {
            stream.write_all(&[b' '; 1000]).await.unwrap();
            tokio::task::yield_now().await;
        }
        drop(stream);
        running.until_in_flight(0).await;
    }
    running.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_http2_client_that_leaves_is_missed_and_one_that_stays_is_answered() {
    let running = start().await;
    let first = running.send_one_that_runs().await;
    let connect = async || {
        let stream = TokioIo::new(TcpStream::connect(running.address).await.unwrap());
        let (mut client, connection) =
            hyper::client::conn::http2::handshake(TokioExecutor::new(), stream).await.unwrap();
        let connection = tokio::spawn(connection);
        let request = http::Request::post("http://x/v2/models/gated/infer").body(Body::from(BODY)).unwrap();
        (tokio::spawn(async move { client.send_request(request).await.unwrap().status() }), connection)
    };
    let (leaving, _connection) = connect().await;
    running.until_waiting(1).await;
    leaving.abort();
    running.until_waiting(0).await;
    let (staying, _connection) = connect().await;
    running.until_waiting(1).await;
    running.house.gate.open();
    assert_eq!(staying.await.unwrap(), 200);
    drop(first);
    running.finish().await;
}
