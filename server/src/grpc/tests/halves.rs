//! Messages that begin to come and do not go on.

use tokio::time::Instant;

use super::*;

const REFLECTION: &str = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo";

/// The question which services there are.
fn question() -> Vec<u8> {
    framed(0, b"\x3a\x00")
}

/// Opens a stream, to which the sender's bytes go.
async fn open(house: &House, path: &str) -> (http_body_util::channel::Sender<Bytes, axum::Error>, Body) {
    let (sender, body) = Channel::new(4);
    (sender, house.site().answer(call(path, &[], Body::new(body))).await.response.into_body())
}

async fn message(answer: &mut Body) -> Bytes {
    answer.frame().await.unwrap().unwrap().into_data().unwrap()
}

/// Runs a test whose clock moves when nothing is left to do. Requests look at another one, so each needs a runtime of its
/// own.
fn paused(test: impl Future<Output = ()>) {
    tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap().block_on(test);
}

#[test]
fn half_a_message_has_the_time_of_a_body() {
    let slow = ("3", "the body came too slowly: at least 10240 bytes are expected in 10 seconds", 10);
    let late = ("4", "the body did not arrive in time", 20);
    for (rate, (status, reason, seconds)) in [(1 << 10, slow), (0, late)] {
        for length in [1, 4, 6] {
            paused(async {
                let house = house(|settings| {
                    (settings.caps.body_rate, settings.request_timeout) = (rate, Duration::from_secs(20));
                });
                let (mut sender, mut answer) = open(&house, REFLECTION).await;
                let start = Instant::now();
                sender.send_data(Bytes::from(question()).slice(..length)).await.unwrap();
                let trailers = answer.frame().await.unwrap().unwrap().into_trailers().unwrap();
                let told = ["grpc-status", "grpc-message"].map(|name| trailers[name].to_str().unwrap());
                assert_eq!(told, [status, reason]);
                assert_eq!((start.elapsed() + Duration::from_millis(500)).as_secs(), seconds, "{length} bytes");
            });
        }
    }
}

#[tokio::test(start_paused = true)]
async fn between_messages_a_stream_may_pause() {
    let house = house(|_| {});
    let (mut sender, mut answer) = open(&house, REFLECTION).await;
    for _ in 0..3 {
        assert!(timeout(Duration::from_secs(3600), answer.frame()).await.is_err());
        sender.send_data(question().into()).await.unwrap();
        assert!(contains(&message(&mut answer).await, b"inference.GRPCInferenceService"));
    }
}

#[tokio::test(start_paused = true)]
async fn a_short_message_that_does_not_go_on_is_answered_so_and_its_stream_goes_on() {
    let house = house(|settings| settings.request_timeout = Duration::from_secs(3600));
    let (mut sender, mut answer) = open(&house, STREAM).await;
    let whole = Bytes::from(framed(0, &request("nothing", &[1.0, 1.0])));
    for length in [5, 6, whole.len() - 1] {
        sender.send_data(whole.slice(..length)).await.unwrap();
        assert!(contains(&message(&mut answer).await, b"the body came too slowly"));
        assert!(answer.frame().now_or_never().is_none());
        sender.send_data(whole.slice(length..)).await.unwrap();
        sender.send_data(whole.clone()).await.unwrap();
        assert!(contains(&message(&mut answer).await, b"\x1a\x017"), "it is for the next request");
    }
    drop(sender);
    assert_eq!(answer.frame().await.unwrap().unwrap().into_trailers().unwrap()["grpc-status"], "0");
}

#[tokio::test(start_paused = true)]
async fn a_call_of_one_message_has_the_same_time() {
    let house = house(|_| {});
    for path in [INFER, "/grpc.health.v1.Health/Watch"] {
        let start = Instant::now();
        let answer = send(&house, call(path, &[], begun(100, &[0; 20]))).await;
        assert_eq!(answer.status(), "3");
        assert!(answer.reason().contains("the body came too slowly"), "{}", answer.reason());
        assert_eq!((start.elapsed() + Duration::from_millis(500)).as_secs(), 10);
    }
}
