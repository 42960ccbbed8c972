mod halves;

use std::time::Duration;

use axum::body::Body;
use bytes::{Bytes, BytesMut};
use futures_util::stream;
use futures_util::{FutureExt, StreamExt};
use http::{HeaderMap, Request, Version};
use http_body_util::{BodyExt, Channel, StreamBody};
use hyper::body::Frame;
use tokio::time::timeout;

use crate::config::Admin;
use crate::encoding::{Coding, Unpacked};
use crate::testing::{House, house};

const INFER: &str = "/inference.GRPCInferenceService/ModelInfer";
const STREAM: &str = "/inference.GRPCInferenceService/ModelStreamInfer";

/// `ModelInferRequest` of one row for `model`: `x` FP32 [1,2], raw.
fn request(model: &str, values: &[f32]) -> Vec<u8> {
    let mut message = vec![0x0A, u8::try_from(model.len()).unwrap()];
    message.extend_from_slice(model.as_bytes());
    message.extend_from_slice(b"\x1a\x017\x2a\x0d\x0a\x01x\x12\x04FP32\x1a\x02\x01");
    message.push(u8::try_from(values.len()).unwrap());
    let raw: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
    message.extend_from_slice(&[0x3A, u8::try_from(raw.len()).unwrap()]);
    message.extend_from_slice(&raw);
    message
}

fn framed(packed: u8, message: &[u8]) -> Vec<u8> {
    let length = u32::try_from(message.len()).unwrap().to_be_bytes();
    [&[packed][..], &length, message].concat()
}

fn call(path: &str, headers: &[(&str, &str)], body: impl Into<Body>) -> Request<Body> {
    let mut request = Request::post(path).version(Version::HTTP_2).header("content-type", "application/grpc");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(body.into()).unwrap()
}

/// An answer, read whole.
#[derive(Debug)]
struct Answer {
    headers: HeaderMap,
    messages: Vec<Bytes>,
    /// Those behind the messages, or the headers where there are none.
    trailers: HeaderMap,
}

impl Answer {
    fn status(&self) -> &str {
        self.trailers["grpc-status"].to_str().unwrap()
    }

    fn reason(&self) -> &str {
        self.trailers.get("grpc-message").map_or("", |message| message.to_str().unwrap())
    }

    fn message(&self, at: usize) -> &[u8] {
        &self.messages[at][5..]
    }
}

async fn send(house: &House, request: Request<Body>) -> Answer {
    let (head, body) = house.site().answer(request).await.whole().into_parts();
    assert_eq!((head.status.as_u16(), head.headers["content-type"].as_bytes()), (200, &b"application/grpc"[..]));
    let body = body.collect().await.unwrap();
    let trailers = body.trailers().cloned().unwrap_or_else(|| head.headers.clone());
    let mut bytes = BytesMut::from(&*body.to_bytes());
    let mut messages = Vec::new();
    while !bytes.is_empty() {
        let length = u32::from_be_bytes(bytes[1..5].try_into().unwrap());
        messages.push(bytes.split_to(5 + usize::try_from(length).unwrap()).freeze());
    }
    Answer { headers: head.headers, messages, trailers }
}

fn contains(message: &[u8], part: &[u8]) -> bool {
    message.windows(part.len()).any(|window| window == part)
}

fn floats(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

/// What scores so many rows; the frame is longer than what is looked at before the model is asked for.
fn rows(model: &str, count: u32) -> Vec<u8> {
    // Two bytes are enough for the numbers of rows here, and three for those of bytes.
    let seven = |number: u32| u8::try_from(number & 0x7F).unwrap();
    let size = count * 8;
    let mut message = vec![0x0A, u8::try_from(model.len()).unwrap()];
    message.extend_from_slice(model.as_bytes());
    message.extend_from_slice(b"\x2a\x0e\x0a\x01x\x12\x04FP32\x1a\x03");
    message.extend_from_slice(&[seven(count) | 0x80, seven(count >> 7), 2]);
    message.extend_from_slice(&[0x3A, seven(size) | 0x80, seven(size >> 7) | 0x80, seven(size >> 14)]);
    message.extend(vec![0; usize::try_from(size).unwrap()]);
    message
}

/// A call that is refused: its path, headers and body, and the code and the words of the refusal.
type Refused = (&'static str, &'static [(&'static str, &'static str)], Vec<u8>, &'static str, &'static str);

#[tokio::test]
async fn a_request_is_scored() {
    let house = house(|_| {});
    let answer =
        send(&house, call(INFER, &[("x-request-id", "mine")], framed(0, &request("double", &[1.0, -2.5])))).await;
    assert_eq!((answer.status(), answer.messages.len()), ("0", 1));
    assert!(contains(answer.message(0), &floats(&[2.0, -5.0])) && contains(answer.message(0), b"\x1a\x017"));
    assert_eq!(answer.headers["x-request-id"], "mine");
    assert_eq!(answer.headers.get("content-length"), None);
}

#[tokio::test]
async fn a_request_may_come_in_any_pieces() {
    let house = house(|_| {});
    for bytes in [framed(0, &request("double", &[1.0, 2.0])), framed(0, &rows("double", 900))] {
        for size in [1, 3, 5, 6, 100, 4096] {
            let pieces: Vec<_> =
                bytes.chunks(size).map(|piece| Ok::<_, axum::Error>(Bytes::copy_from_slice(piece))).collect();
            let answer = send(&house, call(INFER, &[], Body::from_stream(stream::iter(pieces)))).await;
            assert_eq!(answer.status(), "0", "{size}: {}", answer.reason());
        }
    }
}

#[tokio::test]
async fn refusals_have_their_code_and_their_reason() {
    let house = house(|settings| (settings.body_limit, settings.admin) = (100_000, Admin::Off));
    let good = request("double", &[1.0, 2.0]);
    let cases: Vec<Refused> = vec![
        (INFER, &[], framed(0, &request("nothing", &[1.0, 2.0])), "5", "no model is named `nothing`"),
        (INFER, &[], framed(0, &request("broken", &[1.0, 2.0])), "14", "it is not an ONNX file"),
        (INFER, &[], framed(0, &request("failing", &[1.0, 2.0])), "13", "the server failed on this request"),
        (INFER, &[], framed(0, &request("double", &[1.0])), "3", "input `x`: expected FP32 [-1,2], got FP32 [1,1]"),
        (INFER, &[], framed(0, b"\x0f"), "3", "no protocol buffer"),
        (INFER, &[], framed(0, &good)[..20].to_vec(), "3", "it ends within a message"),
        (INFER, &[], vec![], "3", "no message came"),
        (INFER, &[], [framed(0, &good), framed(0, &good)].concat(), "3", "more than one message"),
        (INFER, &[], framed(2, &good), "3", "frame is none"),
        (INFER, &[], framed(1, &good), "3", "`grpc-encoding` does not say how"),
        (INFER, &[("grpc-encoding", "snappy")], framed(1, &good), "12", "`snappy`"),
        (INFER, &[("grpc-encoding", "gzip")], framed(1, &good), "3", "Gzip"),
        (INFER, &[("grpc-timeout", "5")], framed(0, &good), "3", "`grpc-timeout`"),
        (INFER, &[], framed(0, &rows("double", 13_000)), "8", "for model `double/3`: at most 100000 bytes"),
        ("/grpc.health.v1.Health/Watch", &[], framed(0, &[0; 16_385]), "8", "at most 16384 bytes"),
        ("/inference.GRPCInferenceService/ModelReady", &[], framed(0, &[0; 16_385]), "8", "at most 16384 bytes"),
        (
            "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
            &[],
            framed(0, &[0; 16_385]),
            "8",
            "at most 16384 bytes",
        ),
        (
            "/inference.GRPCInferenceService/TraceSetting",
            &[],
            framed(0, b""),
            "12",
            "`/inference.GRPCInferenceService/TraceSetting`",
        ),
        ("/inference.GRPCInferenceService/RepositoryModelUnload", &[], framed(0, b"\x12\x06double"), "7", "closed"),
        ("/grpc.health.v1.Health/Check", &[], framed(0, b"\x0a\x06nobody"), "5", "`nobody`"),
    ];
    for (path, headers, body, code, reason) in cases {
        let answer = send(&house, call(path, headers, body)).await;
        assert_eq!((answer.status(), answer.messages.len()), (code, 0), "{reason}: {}", answer.reason());
        assert!(answer.reason().contains(reason), "{reason}: {}", answer.reason());
    }
}

/// A body that says how long its message is, and never sends it.
fn begun(length: u32, start: &[u8]) -> Body {
    let start = [&[0][..], &length.to_be_bytes(), start].concat();
    Body::from_stream(stream::iter([Ok::<_, axum::Error>(Bytes::from(start))]).chain(stream::pending()))
}

#[tokio::test]
async fn what_is_refused_for_its_model_or_its_size_is_not_waited_for() {
    let house = house(|settings| settings.body_limit = 100_000);
    let start = |model| rows(model, 900);
    let large = send(&house, call(INFER, &[], begun(200_000, &start("double")))).await;
    assert_eq!(large.status(), "8");
    assert!(large.reason().contains("for model `double/3`") && large.reason().contains("200000"), "{}", large.reason());
    let unknown = send(&house, call(INFER, &[], begun(50_000, &start("nothing")))).await;
    assert_eq!(unknown.status(), "5");
    let late = send(&house, call(INFER, &[("grpc-timeout", "20m")], begun(50_000, &start("double")))).await;
    assert_eq!((late.status(), late.reason()), ("4", "the body did not arrive in time"));
}

#[tokio::test]
async fn messages_are_compressed_both_ways() {
    let house = house(|settings| settings.body_limit = 1 << 20);
    for (name, coding) in [("gzip", Coding::Gzip), ("deflate", Coding::Deflate)] {
        for count in [900, 16_000] {
            let packed = framed(1, &coding.compress(&rows("double", count)).unwrap());
            let answer = send(&house, call(INFER, &[("grpc-encoding", name)], packed.clone())).await;
            assert_eq!((answer.status(), &answer.headers["grpc-encoding"]), ("0", &name.parse().unwrap()));
            assert_eq!(answer.messages[0][0], 1);
            let unpacked = coding.decompress(answer.message(0), 1 << 20, &|_| true).unwrap();
            let Unpacked::Whole(plain) = unpacked else { panic!("{unpacked:?}") };
            assert!(plain.as_ref().len() > count as usize * 8);
            let refusing = [("grpc-encoding", name), ("grpc-accept-encoding", "identity")];
            let answer = send(&house, call(INFER, &refusing, packed)).await;
            assert_eq!((answer.status(), answer.messages[0][0], answer.headers.get("grpc-encoding")), ("0", 0, None));
        }
        let bomb = framed(1, &coding.compress(&[rows("double", 900), vec![0x7A; 8 << 20]].concat()).unwrap());
        let answer = send(&house, call(INFER, &[("grpc-encoding", name)], bomb)).await;
        assert_eq!(answer.status(), "8", "{}", answer.reason());
    }
}

#[tokio::test]
async fn a_call_takes_no_longer_than_its_deadline() {
    let house = house(|_| {});
    let body = framed(0, &request("gated", &[1.0, 2.0]));
    let answer = send(&house, call(INFER, &[("grpc-timeout", "20m")], body)).await;
    house.gate.open();
    assert_eq!((answer.status(), answer.reason()), ("4", "the request did not finish within 20 ms"));
}

#[tokio::test]
async fn every_request_is_observed_once_under_what_became_of_it() {
    let house = house(|_| {});
    for model in ["double", "nothing", "failing"] {
        send(&house, call(INFER, &[], framed(0, &request(model, &[1.0, 2.0])))).await;
    }
    let two = [framed(0, &request("double", &[1.0, 2.0])), framed(0, &request("nothing", &[1.0, 2.0]))].concat();
    send(&house, call(STREAM, &[], two)).await;
    // The client leaves while its request is being run.
    assert!(send(&house, call(INFER, &[], framed(0, &request("gated", &[1.0, 2.0])))).now_or_never().is_none());
    house.gate.open();
    let metrics = house.get("/metrics").await;
    for (model, version, outcome, count) in [
        ("double", "3", "ok", 2),
        ("unknown", "unknown", "not_found", 2),
        ("failing", "1", "internal", 1),
        ("gated", "1", "cancelled", 1),
    ] {
        let line = format!(
            "hedef_request_duration_seconds_count{{model=\"{model}\",outcome=\"{outcome}\",protocol=\"grpc\",version=\"{version}\"}} {count}"
        );
        assert!(metrics.text().contains(&line), "{line}\n{}", metrics.text());
    }
    assert!(metrics.text().contains("hedef_http_requests_in_flight 1\n"), "the scrape itself");
}

#[tokio::test]
async fn an_error_is_an_answer_in_a_stream_unless_it_is_to_end_it() {
    let house = house(|settings| settings.body_limit = 100_000);
    let all = [
        framed(0, &request("double", &[1.0, 2.0])),
        framed(0, &request("nothing", &[1.0, 2.0])),
        framed(0, &rows("double", 13_000)),
        framed(0, &request("failing", &[1.0, 2.0])),
        framed(0, &request("double", &[3.0, 4.0])),
    ]
    .concat();
    let answer = send(&house, call(STREAM, &[], all.clone())).await;
    assert_eq!((answer.status(), answer.messages.len()), ("0", 5));
    assert!(contains(answer.message(0), &floats(&[2.0, 4.0])) && contains(answer.message(4), &floats(&[6.0, 8.0])));
    for (at, reason) in [(1, "no model is named `nothing`"), (2, "too large"), (3, "the server failed")] {
        assert!(contains(answer.message(at), reason.as_bytes()), "{reason}");
    }
    // An error tells which request it is for.
    assert!(contains(answer.message(1), b"\x12\x03\x1a\x017") && !contains(answer.message(3), b"secret"));
    let answer = send(&house, call(STREAM, &[("triton_grpc_error", "true")], all)).await;
    assert_eq!((answer.status(), answer.messages.len(), answer.reason()), ("5", 1, "no model is named `nothing`"));
}

#[tokio::test]
async fn the_messages_of_a_stream_may_come_in_any_pieces() {
    let house = house(|settings| settings.body_limit = 20_000);
    // Short and long ones, and some that are given up before their end.
    let all = [
        framed(0, &request("double", &[1.0, 2.0])),
        framed(0, &rows("nothing", 900)),
        framed(0, &rows("double", 900)),
        framed(0, &rows("double", 3_000)),
        framed(0, &request("double", &[3.0, 4.0])),
    ]
    .concat();
    let expected =
        [&floats(&[2.0, 4.0])[..], b"no model is named", b"\x12\x04FP32", b"too large", &floats(&[6.0, 8.0])];
    for size in [1, 2, 3, 4, 5, 6, 50, 4096, 4101, 10_000] {
        let pieces: Vec<_> =
            all.chunks(size).map(|piece| Ok::<_, axum::Error>(Bytes::copy_from_slice(piece))).collect();
        let answer = send(&house, call(STREAM, &[], Body::from_stream(stream::iter(pieces)))).await;
        assert_eq!((answer.status(), answer.messages.len()), ("0", expected.len()), "{size}: {}", answer.reason());
        for (at, part) in expected.iter().enumerate() {
            assert!(contains(answer.message(at), part), "{size}: {at}");
        }
    }
    assert_eq!(house.app.memory.held(), 0);
}

#[tokio::test]
async fn a_name_as_long_as_a_body_is_not_repeated_in_an_answer() {
    let house = house(|_| {});
    // `ModelInferRequest` for `double`, with an input of a long name.
    let name = vec![b'n'; 10_000];
    let input = [&[0x0A, 0x90, 0x4E][..], &name, b"\x12\x04FP32\x1a\x02\x01\x02"].concat();
    let length = [u8::try_from(input.len() & 0x7F).unwrap() | 0x80, u8::try_from(input.len() >> 7).unwrap()];
    let message = [b"\x0A\x06double\x2a", &length[..], &input, &[0x3A, 8, 0, 0, 0, 0, 0, 0, 0, 0]].concat();
    for path in [INFER, STREAM] {
        let answer = send(&house, call(path, &[], framed(0, &message))).await;
        let told = answer.messages.first().map_or(answer.reason().as_bytes(), |message| &message[..]);
        assert!(contains(told, b"unknown input `nnn") && (4_000..4_200).contains(&told.len()), "{}", told.len());
    }
}

#[tokio::test]
async fn what_is_no_frame_ends_a_stream_behind_the_answers_before_it() {
    let house = house(|_| {});
    let broken = [framed(0, &request("double", &[1.0, 2.0])), vec![9; 10]].concat();
    let answer = send(&house, call(STREAM, &[], broken)).await;
    assert_eq!((answer.status(), answer.messages.len()), ("3", 1), "{}", answer.reason());
}

#[tokio::test]
async fn a_stream_is_answered_while_it_is_open_and_ended_when_the_server_stops() {
    let house = house(|_| {});
    let one = |value: f32| Bytes::from(framed(0, &request("double", &[value, value])));
    let (mut sender, body) = Channel::<Bytes, axum::Error>::new(4);
    let mut answer = house.site().answer(call(STREAM, &[], Body::new(body))).await.response.into_body();
    for value in [1.0, 2.0] {
        sender.send_data(one(value)).await.unwrap();
        let frame = answer.frame().await.unwrap().unwrap().into_data().unwrap();
        assert!(contains(&frame, &floats(&[value * 2.0; 2])));
    }
    house.app.lifecycle.stopping.raise();
    assert!(answer.frame().now_or_never().is_none());
    house.app.lifecycle.draining.raise();
    let trailers = answer.frame().await.unwrap().unwrap().into_trailers().unwrap();
    assert_eq!(
        (&trailers["grpc-status"], &trailers["grpc-message"]),
        (&"14".parse().unwrap(), &"the server is stopping".parse().unwrap())
    );
    assert!(answer.frame().await.is_none());
}

#[tokio::test]
async fn what_has_come_to_a_stream_when_the_server_stops_is_answered_and_what_comes_later_is_not() {
    // More than are worked on at once, in pieces that are no messages.
    let all: Vec<u8> = (0..100_u8).flat_map(|value| framed(0, &request("double", &[value.into(); 2]))).collect();
    let pieces: Vec<_> = all.chunks(1 + all.len() / 7).map(Bytes::copy_from_slice).collect();
    let later = framed(0, &request("double", &[1.0, 1.0]));
    for (last, status) in [(None, "0"), (Some(later), "14"), (Some(vec![9; 5]), "14")] {
        let house = house(|settings| settings.drain.linger = Duration::from_secs(60));
        let (mut sender, body) = Channel::<Bytes, axum::Error>::new(8);
        let mut answer = house.site().answer(call(STREAM, &[], Body::new(body))).await.response.into_body();
        for piece in &pieces {
            sender.send_data(piece.clone()).await.unwrap();
        }
        house.app.lifecycle.draining.raise();
        for value in 0..100_u8 {
            let frame = answer.frame().await.unwrap().unwrap().into_data().unwrap();
            assert!(contains(&frame, &floats(&[f32::from(value) * 2.0; 2])));
        }
        match last {
            Some(last) => sender.send_data(last.into()).await.unwrap(),
            None => drop(sender),
        }
        let trailers = answer.frame().await.unwrap().unwrap().into_trailers().unwrap();
        assert_eq!(trailers["grpc-status"], status);
    }
}

#[tokio::test]
async fn a_stream_that_is_stopped_in_a_large_message_answers_that_and_what_came_behind_it() {
    let mut large = request("double", &[1.0, 1.0]);
    // A field that nobody knows, of 1,500,000 bytes.
    large.extend_from_slice(&[0xA2, 0x06, 0xE0, 0xC6, 0x5B]);
    large.resize(large.len() + 1_500_000, 0);
    let mut large = framed(0, &large);
    let rest = large.split_off(1_200_000);
    let house = house(|_| {});
    let (mut sender, body) = Channel::<Bytes, axum::Error>::new(4);
    let mut answer = house.site().answer(call(STREAM, &[], Body::new(body))).await.response.into_body();
    sender.send_data(large.into()).await.unwrap();
    // It is read as far as it has come.
    assert!(timeout(Duration::from_millis(50), answer.frame()).await.is_err());
    for more in [rest, framed(0, &request("double", &[2.0, 2.0]))] {
        sender.send_data(more.into()).await.unwrap();
    }
    house.app.lifecycle.draining.raise();
    for value in [2.0, 4.0] {
        let frame = answer.frame().await.unwrap().unwrap().into_data().unwrap();
        assert!(contains(&frame, &floats(&[value; 2])));
    }
    drop(sender);
    let trailers = answer.frame().await.unwrap().unwrap().into_trailers().unwrap();
    assert_eq!(trailers["grpc-status"], "0");
}

#[tokio::test]
async fn a_message_that_does_not_go_on_is_given_up_with_its_memory_and_its_stream_is_not() {
    let house = house(|settings| settings.request_timeout = Duration::from_millis(200));
    let (mut sender, body) = Channel::<Bytes, axum::Error>::new(4);
    let mut answer = house.site().answer(call(STREAM, &[], Body::new(body))).await.response.into_body();
    let long = Bytes::from(framed(0, &rows("double", 13_000)));
    let (start, rest) = long.split_at(10_000);
    sender.send_data(long.slice_ref(start)).await.unwrap();
    let frame = answer.frame().await.unwrap().unwrap().into_data().unwrap();
    assert!(contains(&frame, b"the body did not arrive in time"));
    assert!(answer.frame().now_or_never().is_none());
    assert_eq!(house.app.memory.held(), 0);
    sender.send_data(long.slice_ref(rest)).await.unwrap();
    sender.send_data(framed(0, &request("double", &[1.0, 1.0])).into()).await.unwrap();
    let frame = answer.frame().await.unwrap().unwrap().into_data().unwrap();
    assert!(contains(&frame, b"\x1a\x017"), "it is for the next request");
}

#[tokio::test]
async fn a_stream_lasts_as_long_as_its_client_says() {
    let house = house(|settings| settings.request_timeout = Duration::from_secs(60));
    let open = Body::new(StreamBody::new(stream::pending::<Result<Frame<Bytes>, axum::Error>>()));
    let answer = send(&house, call(STREAM, &[("grpc-timeout", "20m")], open)).await;
    assert_eq!((answer.status(), answer.reason()), ("4", "the request did not finish within 20 ms"));
}

#[tokio::test]
async fn a_watcher_is_told_when_the_server_stops() {
    let house = house(|_| {});
    let watch = call("/grpc.health.v1.Health/Watch", &[], framed(0, b""));
    let mut answer = house.site().answer(watch).await.response.into_body();
    let told = |frame: Frame<Bytes>| frame.into_data().unwrap()[5..].to_vec();
    assert_eq!(told(answer.frame().await.unwrap().unwrap()), [8, 1]);
    house.app.lifecycle.stopping.raise();
    assert_eq!(told(answer.frame().await.unwrap().unwrap()), [8, 2]);
    house.app.lifecycle.draining.raise();
    assert_eq!(answer.frame().await.unwrap().unwrap().into_trailers().unwrap()["grpc-status"], "14");
    let check = |service: &'static [u8]| send(&house, call("/grpc.health.v1.Health/Check", &[], framed(0, service)));
    assert_eq!(check(b"").await.message(0), [8, 2]);
    assert_eq!(check(b"\x0a\x08liveness").await.message(0), [8, 1]);
}

#[tokio::test]
async fn what_is_no_call_is_told_how_to_make_one() {
    let house = house(|_| {});
    let answer = house.post(INFER, framed(0, &request("double", &[1.0, 2.0]))).await;
    assert_eq!(answer.status, 415);
    assert!(answer.text().contains("expected application/grpc over HTTP/2"), "{}", answer.text());
    let web = Request::post(INFER).version(Version::HTTP_2).header("content-type", "application/grpc-web");
    assert_eq!(house.send(web.body(Body::empty()).unwrap()).await.status, 415);
}
