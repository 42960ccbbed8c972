use std::pin::pin;
use std::time::Duration;

use axum::body::Body;
use futures_util::FutureExt;
use http::Request;

use super::otlp::{AnyValue, Span, Value};
use crate::config::{Settings, TraceSettings};
use crate::testing::{House, house};

const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
const BODY: &str = r#"{"inputs":[{"name":"x","datatype":"FP32","shape":[2,2],"data":[1,2,3,4]}]}"#;

fn traced(sample: f64) -> House {
    traced_with(sample, |_| {})
}

fn traced_with(sample: f64, change: impl FnOnce(&mut Settings)) -> House {
    let endpoint = "http://127.0.0.1:4318/v1/traces".into();
    let settings = TraceSettings { endpoint, sample, service_name: "test".into(), headers: String::new() };
    house(|all| {
        all.traces = Some(settings);
        change(all);
    })
}

fn post(path: &str, parent: &str) -> Request<Body> {
    Request::post(path).header("traceparent", parent).body(BODY.into()).unwrap()
}

fn attribute<'a>(span: &'a Span, key: &str) -> Option<&'a Value> {
    let found = span.attributes.iter().find(|attribute| attribute.key == key)?;
    let AnyValue { value } = found.value.as_ref()?;
    value.as_ref()
}

#[tokio::test]
async fn who_is_followed_is_decided_by_the_caller_and_else_by_chance() {
    for (sample, parent, followed) in [
        (0.0, None, false),
        (1.0, None, true),
        (0.0, Some(PARENT), true),
        (1.0, Some("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00"), false),
        (0.0, Some("nonsense"), false),
        (1.0, Some("nonsense"), true),
    ] {
        let mut house = traced(sample);
        let answer = house.send(post("/v2/models/double/infer", parent.unwrap_or_default())).await;
        let spans = house.exporter.as_mut().unwrap().waiting();
        assert_eq!((answer.status, !spans.is_empty()), (200, followed), "{sample} {parent:?}");
        let own = answer.header("traceparent").filter(|own| !own.is_empty());
        assert_eq!(own != parent.filter(|parent| !parent.is_empty()), followed, "the server's own: {own:?}");
    }
}

#[tokio::test]
async fn failures_of_the_server_are_errors_and_tell_no_secret() {
    let mut house = traced(0.0);
    assert_eq!(house.send(post("/v2/models/failing/infer", PARENT)).await.status, 500);
    let spans = house.exporter.as_mut().unwrap().waiting();
    let names: Vec<_> = spans.iter().map(|span| span.name.as_str()).collect();
    assert_eq!(names, ["POST /v2/models/{model}/infer", "decode", "queue", "batch", "compute"]);
    for failed in [0, 3, 4] {
        let status = spans[failed].status.as_ref().unwrap();
        assert!(status.code == 2 && !status.message.contains("secret"), "{status:?}");
    }
    assert_eq!([&spans[1].status, &spans[2].status], [&None; 2], "it was decoded, and waited, without a fault");
    assert_eq!(attribute(&spans[0], "error.type"), Some(&Value::Text("internal".into())));
    assert_eq!(attribute(&spans[0], "hedef.rows"), Some(&Value::Number(2)));
    house.send(post("/v2/models/nothing/infer", PARENT)).await;
    assert_eq!(house.exporter.as_mut().unwrap().waiting()[0].status, None, "that is the caller's");
}

#[tokio::test]
async fn a_caller_who_leaves_ends_the_span_with_an_error() {
    let mut house = traced(0.0);
    assert!(Box::pin(house.send(post("/v2/models/gated/infer", PARENT))).now_or_never().is_none());
    house.gate.open();
    let spans = house.exporter.as_mut().unwrap().waiting();
    assert_eq!(attribute(&spans[0], "error.type"), Some(&Value::Text("cancelled".into())));
    assert_eq!((attribute(&spans[0], "http.response.status_code"), spans[0].status.as_ref().unwrap().code), (None, 2));
}

#[tokio::test]
async fn a_request_that_waited_for_nothing_has_its_queue_and_why_it_was_not_run() {
    let mut house = traced_with(0.0, |settings| settings.request_timeout = Duration::from_secs(3600));
    let mut exporter = house.exporter.take().unwrap();
    let path = "/v2/models/gated/infer";
    // One is run and one waits; there is place for another.
    let mut running = pin!(house.post(path, BODY));
    assert!(running.as_mut().now_or_never().is_none());
    house.gate.wait_until_reached();
    let mut waiting = pin!(house.post(path, BODY));
    assert!(waiting.as_mut().now_or_never().is_none());
    assert!(Box::pin(house.send(post(path, PARENT))).now_or_never().is_none(), "its caller leaves");
    let mut hurried = post(path, PARENT);
    hurried.headers_mut().insert("grpc-timeout", "300m".parse().unwrap());
    hurried.headers_mut().insert("hedef-explain", "1".parse().unwrap());
    let late = house.send(hurried).await;
    assert_eq!(late.status, 504);
    let mut last = pin!(house.post(path, BODY));
    assert!(last.as_mut().now_or_never().is_none());
    let mut asking = post(path, PARENT);
    asking.headers_mut().insert("hedef-explain", "1".parse().unwrap());
    let full = house.send(asking).await;
    assert_eq!(full.status, 503);
    house.gate.open();
    for answered in [running.await, waiting.await, last.await] {
        assert_eq!(answered.status, 200);
    }
    let stories = [late, full]
        .map(|answer| serde_json::from_str::<serde_json::Value>(answer.header("hedef-explain").unwrap()).unwrap());
    let told = stories.each_ref().map(|story| story["turned_away"].as_str().unwrap());
    assert_eq!(told, ["its time ran out", "the queue was full"]);
    let [waited, at_once] = stories.each_ref().map(|story| story["queue_us"].as_f64().unwrap());
    assert!((1.0..60e6).contains(&waited) && at_once == 0.0, "{stories:?}");
    assert_eq!(stories.each_ref().map(|story| &story["road"]), ["queued"; 2]);

    let spans = exporter.waiting();
    let names: Vec<_> = spans.iter().map(|span| span.name.split(' ').next().unwrap()).collect();
    assert_eq!(names, ["POST", "decode", "queue", "POST", "decode", "queue", "POST", "decode"]);
    let why = |at: usize| match attribute(&spans[at], "hedef.turned_away") {
        Some(Value::Text(text)) => text.as_str(),
        other => panic!("{other:?}"),
    };
    for (at, reason) in [(0, "its caller left"), (3, "its time ran out")] {
        let (server, queue) = (&spans[at], &spans[at + 2]);
        assert_eq!([why(at), why(at + 2)], [reason; 2]);
        assert_eq!(queue.parent_span_id, server.span_id);
        let times = [server.start_time_unix_nano, queue.start_time_unix_nano, queue.end_time_unix_nano];
        assert!(times.is_sorted() && queue.end_time_unix_nano <= server.end_time_unix_nano, "{times:?}");
    }
    assert_eq!(why(6), "the queue was full");
}

#[tokio::test]
async fn what_there_is_no_room_for_is_dropped_and_counted() {
    let house = traced(1.0);
    for _ in 0..super::WAITING + 1 {
        house.post("/v2/models/double/infer", BODY).await;
    }
    assert!(house.app.metrics.dropped_spans.get() >= 4);
}

#[tokio::test]
async fn without_traces_nothing_is_seen() {
    let house = house(|_| {});
    let answer = house.send(post("/v2/models/double/infer", PARENT)).await;
    assert_eq!((answer.header("traceparent"), house.exporter.is_none()), (Some(PARENT), true));
}
