//! Open Inference Protocol v2: the server, its models, and inference.

use axum::Router;
use axum::extract::{Request, State};
use axum::routing::{get, post};
use hedef_protocols::{DecodeLimits, v2};
use http::request::Parts;
use http::{HeaderMap, Method};

use crate::app::App;
use crate::body::{Inferred, Json, in_binary, size, work};
use crate::call::Call;
use crate::error::ApiError;
use crate::metrics::Protocol;
use crate::payload::{Source, json_length};
use crate::target::Target;

/// The extensions that work here, under the names that Triton gave them.
pub(crate) const EXTENSIONS: [&str; 6] =
    ["classification", "model_repository", "model_configuration", "binary_tensor_data", "statistics", "logging"];

/// Everything below `/v2` that is about the server or one model, but for its configuration and statistics.
pub(crate) fn routes() -> Router<App> {
    let model = |path: &str| {
        Router::new()
            .route(path, get(metadata))
            .route(&format!("{path}/ready"), get(ready))
            .route(&format!("{path}/infer"), post(infer))
    };
    Router::new()
        .route("/v2", get(server))
        .route("/v2/", get(server))
        .route("/v2/models", get(models))
        .merge(model("/v2/models/{model}"))
        .merge(model("/v2/models/{model}/versions/{version}"))
}

async fn server() -> Json {
    Json(v2::server_metadata(env!("CARGO_PKG_VERSION"), &EXTENSIONS))
}

async fn models(State(app): State<App>, call: Call) -> Json {
    let names = app.model_names(&call);
    Json(v2::models(&names.iter().map(String::as_str).collect::<Vec<_>>()))
}

async fn metadata(State(app): State<App>, target: Target<'static>, call: Call) -> Result<Json, ApiError> {
    let model = app.loaded(&call, &target).await?;
    let versions = app.repository.versions(&target.model)?;
    Ok(Json(v2::metadata(model.id().name.as_str(), &versions, model.signature())))
}

async fn ready(State(app): State<App>, target: Target<'static>) -> Result<Json, ApiError> {
    app.can_score(&target)?;
    Ok(Json(v2::model_ready(&target.model, true)))
}

async fn infer(
    State(app): State<App>,
    call: Call,
    target: Result<Target<'static>, ApiError>,
    request: Request,
) -> Result<Inferred, ApiError> {
    let (head, mut body) = request.into_parts();
    score(&app, &call, target, (&head.headers, &mut body)).await
}

/// The model that a request is to score, if that is what it is for: what the router would find, without its costs. It
/// looks at the paths that this does not know.
pub(crate) fn target(head: &Parts) -> Option<Target<'_>> {
    let model = head.uri.path().strip_prefix("/v2/models/")?.strip_suffix("/infer")?;
    // Byte by byte: to look for a text in one that short takes longer.
    let (model, version) = match model.bytes().position(|byte| byte == b'/') {
        Some(at) => {
            let (model, rest) = model.split_at_checked(at)?;
            (model, Some(rest.strip_prefix("/versions/")?))
        }
        None => (model, None),
    };
    let plain = |part: &str| !part.is_empty() && !part.bytes().any(|byte| matches!(byte, b'/' | b'%'));
    let known = head.method == Method::POST && plain(model) && version.is_none_or(plain);
    known.then(|| Target { model: model.into(), version: version.map(Into::into) })
}

/// Scores one request.
pub(crate) async fn score(
    app: &App,
    call: &Call,
    target: Result<Target<'_>, ApiError>,
    (headers, body): (&HeaderMap, &mut impl Source),
) -> Result<Inferred, ApiError> {
    call.scores(Protocol::V2);
    let model = app.model(call, &target?).await?;
    let json_length = json_length(headers)?;
    app.admits(call, &model, usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX))?;
    let mut body = app.body(call, &model, (headers, body), json_length).await?;
    app.admits(call, &model, body.len())?;
    let weight = json_length.map_or(body.len(), |json| json.saturating_add(in_binary(body.len())));
    let decode =
        |bytes: &[u8], limits: DecodeLimits<'_>| v2::decode_within(bytes, json_length, model.signature(), limits);
    let decoded = body.decode(call, weight, decode)?;
    let response = app.infer(call, &model, decoded.request, decoded.timeout_us).await?;
    let size = size(&response);
    body.room.force(size);
    let weight = if decoded.reply.binary { in_binary(size) } else { size };
    let encoded = work(weight, || v2::encode(&response, model.signature(), &decoded.reply));
    Ok(Inferred(encoded?))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use axum::body::Body;
    use futures_util::FutureExt;
    use http::Request;
    use serde_json::json;

    use crate::testing::house;

    const INFER: &str = "/v2/models/double/infer";

    fn request(shape: [usize; 2], data: &[f32]) -> String {
        json!({ "id": "7", "inputs": [{ "name": "x", "datatype": "FP32", "shape": shape, "data": data }] }).to_string()
    }

    #[tokio::test]
    async fn the_server_and_its_models_describe_themselves() {
        let house = house(|_| {});
        let server = house.get("/v2").await.json();
        assert_eq!((&server["name"], &server["extensions"][3]), (&json!("hedef"), &json!("binary_tensor_data")));
        assert_eq!(house.get("/v2/models").await.json(), json!({ "models": ["double", "failing", "gated"] }));
        let model = house.get("/v2/models/double/versions/1").await.json();
        assert_eq!(model["versions"], json!(["1", "3"]));
        assert_eq!(model["inputs"], json!([{ "name": "x", "datatype": "FP32", "shape": [-1, 2] }]));
        let ready = house.get("/v2/models/double/ready").await.json();
        assert_eq!(ready, json!({ "name": "double", "ready": true }));
    }

    #[tokio::test]
    async fn a_request_is_scored_by_the_version_asked_for() {
        let house = house(|_| {});
        let highest = house.post(INFER, request([1, 2], &[1.0, -2.5])).await.json();
        let output = json!([{ "name": "y", "datatype": "FP32", "shape": [1, 2], "data": [2.0, -5.0] }]);
        assert_eq!((&highest["outputs"], &highest["id"]), (&output, &json!("7")));
        assert_eq!((&highest["model_name"], &highest["model_version"]), (&json!("double"), &json!("3")));
        let first = house.post("/v2/models/double/versions/1/infer", request([1, 2], &[0.0, 0.0])).await.json();
        assert_eq!(first["model_version"], "1");
    }

    #[tokio::test]
    async fn tensors_in_binary_are_answered_in_binary() {
        let head = json!({
            "inputs": [{ "name": "x", "datatype": "FP32", "shape": [1, 2], "parameters": { "binary_data_size": 8 } }],
            "parameters": { "binary_data_output": true },
        })
        .to_string();
        let mut body = head.clone().into_bytes();
        body.extend([1.5_f32, -1.0].into_iter().flat_map(f32::to_le_bytes));
        let request = Request::post(INFER).header("inference-header-content-length", head.len());
        let answer = house(|_| {}).send(request.body(body).unwrap()).await;
        let json: usize = answer.header("inference-header-content-length").unwrap().parse().unwrap();
        assert_eq!(answer.header("content-type"), Some("application/octet-stream"));
        let expected: Vec<u8> = [3.0_f32, -2.0].into_iter().flat_map(f32::to_le_bytes).collect();
        assert_eq!(answer.body[json..], expected);
    }

    #[tokio::test]
    async fn refusals_have_their_status_and_their_reason() {
        let house = house(|settings| settings.body_limit = 1000);
        let large = "x".repeat(1001);
        let good = request([1, 2], &[1.0, 2.0]);
        let post = |path: &str| Request::post(path);
        let cases = [
            (post("/v2/models/nothing/infer"), good.clone(), 404, "no model is named `nothing`"),
            (post("/v2/models/double/versions/2/infer"), good.clone(), 404, "no version `2`"),
            (post("/v2/models/double/versions/x/infer"), good.clone(), 404, "no version `x`"),
            (post("/v2/models/broken/infer"), good.clone(), 503, "it is not an ONNX file"),
            (post("/v2/models/failing/infer"), good.clone(), 500, "the server failed on this request"),
            (post(INFER), "{".into(), 400, "JSON"),
            (post(INFER), request([1, 3], &[1.0, 2.0, 3.0]), 400, "input `x`: expected FP32 [-1,2], got FP32 [1,3]"),
            (
                post(INFER),
                large,
                413,
                "for model `double/3`: at most 1000 bytes are allowed, counted after decompression, and it has 1001",
            ),
            (post(INFER).header("content-type", "text/csv"), good.clone(), 415, "`text/csv`"),
            (post(INFER).header("content-encoding", "br"), good.clone(), 415, "`br`"),
            (post(INFER).header("content-encoding", "gzip"), good.clone(), 400, "Gzip"),
            (post(INFER).header("inference-header-content-length", "x"), good.clone(), 400, "number of bytes"),
            (post(INFER).header("inference-header-content-length", "9999"), good, 400, "9999"),
        ];
        for (request, body, status, reason) in cases {
            let answer = house.send(request.body(body).unwrap()).await;
            assert_eq!(answer.status, status, "{reason}: {}", answer.text());
            assert!(answer.json()["error"].as_str().unwrap().contains(reason), "{reason}: {}", answer.text());
            assert_eq!(answer.header("accept-encoding").is_some(), reason == "`br`");
        }
    }

    #[tokio::test]
    async fn a_full_queue_says_when_to_come_again() {
        let house = house(|_| {});
        let send = || Box::pin(house.post("/v2/models/gated/infer", request([1, 2], &[1.0, 2.0])));
        let mut under_way = send();
        assert!((&mut under_way).now_or_never().is_none());
        house.gate.wait_until_reached();
        let mut waiting = [send(), send()];
        assert!(waiting.iter_mut().all(|request| request.now_or_never().is_none()));
        let refused = send().await;
        assert_eq!((refused.status, refused.header("retry-after")), (503, Some("1")));
        house.gate.open();
        assert_eq!(under_way.await.status, 200);
        for request in waiting {
            assert_eq!(request.await.status, 200);
        }
    }

    #[tokio::test]
    async fn a_request_that_takes_too_long_is_told_so() {
        let house = house(|settings| settings.request_timeout = Duration::from_millis(20));
        let answer = house.post("/v2/models/gated/infer", request([1, 2], &[1.0, 2.0])).await;
        house.gate.open();
        assert_eq!(
            (answer.status, answer.json()["error"].as_str()),
            (504, Some("the request did not finish within 20 ms"))
        );
    }

    #[tokio::test]
    async fn every_request_is_observed_once_under_what_became_of_it() {
        let house = house(|_| {});
        let good = request([1, 2], &[1.0, 2.0]);
        for path in [INFER, "/v2/models/nothing/infer", "/v2/models/failing/infer"] {
            house.post(path, good.clone()).await;
        }
        house.post(INFER, "{").await;
        let gone = Request::post("/v2/models/gated/infer").body(Body::from(good)).unwrap();
        // The client leaves while its request is being run.
        assert!(house.send(gone).now_or_never().is_none());
        house.gate.open();
        let metrics = house.get("/metrics").await;
        assert_eq!(metrics.header("content-type"), Some("text/plain; version=0.0.4"));
        for (model, version, outcome) in [
            ("double", "3", "ok"),
            ("double", "3", "invalid_argument"),
            ("unknown", "unknown", "not_found"),
            ("failing", "1", "internal"),
            ("gated", "1", "cancelled"),
        ] {
            let line = format!(
                "hedef_request_duration_seconds_count{{model=\"{model}\",outcome=\"{outcome}\",protocol=\"v2\",version=\"{version}\"}} 1"
            );
            assert!(metrics.text().contains(&line), "{line}\n{}", metrics.text());
        }
        assert!(metrics.text().contains("hedef_http_requests_in_flight 1\n"), "the scrape itself");
    }
}
