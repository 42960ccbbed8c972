use axum::body::Body;
use http::Request;

use super::otlp::{AnyValue, Span, Value};
use crate::config::TraceSettings;
use crate::testing::{House, house};

const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
const BODY: &str = r#"{"inputs":[{"name":"x","datatype":"FP32","shape":[2,2],"data":[1,2,3,4]}]}"#;

fn traced(sample: f64) -> House {
    let endpoint = "http://127.0.0.1:4318/v1/traces".into();
    let settings = TraceSettings { endpoint, sample, service_name: "test".into(), headers: String::new() };
    house(|all| all.traces = Some(settings))
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
    use futures_util::FutureExt;
    let mut house = traced(0.0);
    assert!(Box::pin(house.send(post("/v2/models/gated/infer", PARENT))).now_or_never().is_none());
    house.gate.open();
    let spans = house.exporter.as_mut().unwrap().waiting();
    assert_eq!(attribute(&spans[0], "error.type"), Some(&Value::Text("cancelled".into())));
    assert_eq!((attribute(&spans[0], "http.response.status_code"), spans[0].status.as_ref().unwrap().code), (None, 2));
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
