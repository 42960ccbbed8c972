//! How connections of HTTP/2 end, by a client that writes its frames by hand.

use super::*;

const RST_STREAM: u8 = 0x3;
const PING: u8 = 0x6;
const GOAWAY: u8 = 0x7;

fn frame(kind: u8, flags: u8, stream: u8, payload: &[u8]) -> Vec<u8> {
    let length = u8::try_from(payload.len()).unwrap();
    [&[0, 0, length, kind, flags, 0, 0, 0, stream], payload].concat()
}

/// `POST` of a request that is written in HPACK as it is.
fn post(stream: u8, path: &str) -> Vec<u8> {
    let path = [&[0x04, u8::try_from(path.len()).unwrap()], path.as_bytes()].concat();
    frame(0x1, 0x4, stream, &[&[0x83, 0x86, 0x01, 1, b'x'], path.as_slice()].concat())
}

struct Client(TcpStream);

impl Client {
    async fn open(address: SocketAddr) -> Self {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await.unwrap();
        stream.write_all(&frame(0x4, 0, 0, &[])).await.unwrap();
        Self(stream)
    }

    /// The next frame: its type and flags, and what it holds.
    async fn next(&mut self) -> Option<(u8, u8, Vec<u8>)> {
        let mut head = [0; 9];
        self.0.read_exact(&mut head).await.ok()?;
        let mut payload = vec![0; usize::from(head[1]) << 8 | usize::from(head[2])];
        self.0.read_exact(&mut payload).await.unwrap();
        Some((head[3], head[4], payload))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_that_comes_too_late_costs_no_answer_and_what_a_client_writes_last_no_end() {
    let running = start().await;
    let mut client = Client::open(running.address).await;
    let body = br#"{"inputs":[{"name":"x","datatype":"FP32","shape":[1,2],"data":[1,2]}]}"#;
    client.0.write_all(&post(1, "/v2/models/gated/infer")).await.unwrap();
    client.0.write_all(&frame(0x0, 1, 1, body)).await.unwrap();
    running.house.gate.wait_until_reached();
    running.drain();
    // It is to go; until it has heard of that, the server takes what it sends.
    let mut goes = false;
    let ping = loop {
        match client.next().await.unwrap() {
            // One that came before measures the connection.
            (PING, 0, payload) if goes => break payload,
            (GOAWAY, _, payload) => {
                assert_eq!(payload, [0x7f, 0xff, 0xff, 0xff, 0, 0, 0, 0]);
                goes = true;
            }
            _ => {}
        }
    };
    let late = [post(3, "/v2/models/gated/infer"), frame(0x8, 0, 3, &[0, 0, 0, 5]), frame(0x0, 1, 3, body)];
    client.0.write_all(&[frame(PING, 1, 0, &ping), late.concat()].concat()).await.unwrap();
    let last = loop {
        match client.next().await.unwrap() {
            (GOAWAY, _, payload) => break payload,
            (kind, ..) => assert_ne!(kind, RST_STREAM, "what is ignored is not reset: its client would not ask again"),
        }
    };
    assert_eq!(last, [0, 0, 0, 1, 0, 0, 0, 0], "the first stream is the last");
    running.house.gate.open();
    let mut answer = Vec::new();
    // It goes on writing, as it may, and reads late: none of that takes the answer away.
    for _ in 0..50 {
        client.0.write_all(&frame(0x8, 0, 0, &[0, 0, 0, 1])).await.unwrap();
        sleep(Duration::from_millis(1)).await;
    }
    while let Some((kind, _, payload)) = client.next().await {
        match kind {
            0x0 => answer.extend(payload),
            GOAWAY => assert_eq!(payload[4..8], [0; 4], "no error"),
            RST_STREAM => panic!("a late stream was reset"),
            _ => {}
        }
    }
    assert!(String::from_utf8_lossy(&answer).contains("\"data\":[2"), "{answer:?}");
    drop(client);
    assert_eq!(running.serving.await.unwrap(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_does_not_hear_of_the_stop_holds_it_as_long_as_it_has_a_request_under_way() {
    let running = start_with(|settings| settings.drain.grace = Duration::from_secs(600)).await;
    let mut client = Client::open(running.address).await;
    let body = br#"{"inputs":[{"name":"x","datatype":"FP32","shape":[1,2],"data":[1,2]}]}"#;
    client.0.write_all(&post(1, "/v2/models/gated/infer")).await.unwrap();
    client.0.write_all(&frame(0x0, 1, 1, body)).await.unwrap();
    // One that has asked for nothing yet.
    let mut other = Client::open(running.address).await;
    other.next().await.unwrap();
    running.house.gate.wait_until_reached();
    running.drain();
    while other.next().await.is_some() {}
    assert!(!running.serving.is_finished(), "a request is under way");
    running.house.gate.open();
    let mut answer = Vec::new();
    while let Some((kind, _, payload)) = client.next().await {
        if kind == 0x0 {
            answer.extend(payload);
        }
    }
    assert!(String::from_utf8_lossy(&answer).contains("\"data\":[2"), "{answer:?}");
    assert_eq!(running.serving.await.unwrap(), 0);
}
