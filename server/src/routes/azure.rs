//! Azure Machine Learning: `/score` and the document that describes it.

mod headers;

use std::collections::BTreeMap;

use axum::Router;
use axum::extract::{FromRequestParts, Query, RawQuery, Request, State};
use axum::middleware::from_fn;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, options};
use hedef_protocols::{DecodeLimits, azure, openapi};
use http::HeaderName;
use http::header::ALLOW;
use http::request::Parts;

use crate::app::App;
use crate::body::{Json, size, work};
use crate::call::Call;
use crate::error::ApiError;
use crate::metrics::Protocol;
use crate::routes::{health, image};
use crate::target::Target;

/// Pins a deployment; here, names a model.
const DEPLOYMENT: HeaderName = HeaderName::from_static("azureml-model-deployment");

/// `/score` and `/swagger.json`, below the prefix in the settings.
pub(crate) fn routes(app: &App) -> Router<App> {
    let prefix = &app.config.azure.path_prefix;
    let score = get(score_query).post(score).route_layer(from_fn(headers::run)).merge(options(methods));
    let router = Router::new()
        .route(&format!("{prefix}/score"), score)
        .route(&format!("{prefix}/swagger.json"), get(swagger))
        .route_layer(from_fn(headers::headers));
    // Without a prefix, this is the route that there is anyway.
    if prefix.is_empty() { router } else { router.route(&format!("{prefix}/"), get(health::root)) }
}

/// Tells the methods, as Azure Machine Learning does.
pub(super) async fn methods() -> impl IntoResponse {
    [(ALLOW, "GET, HEAD, POST, OPTIONS")]
}

async fn score(
    State(app): State<App>,
    call: Call,
    target: Result<ScoreModel, ApiError>,
    request: Request,
) -> Result<Response, ApiError> {
    call.scores(Protocol::Azure);
    let ScoreModel(target) = target?;
    let model = app.model(&call, &target).await?;
    if image::is_image(request.headers()) {
        // In a box, as it is seldom there and every request's future would hold its place.
        return Box::pin(image::inferences(&app, &call, &model, request)).await;
    }
    let (head, mut body) = request.into_parts();
    let mut body = app.body(&call, &model, (&head.headers, &mut body), None).await?;
    let decode = |bytes: &[u8], limits: DecodeLimits<'_>| azure::decode_within(bytes, model.signature(), limits);
    let request = body.decode(&call, body.len(), decode)?;
    let response = app.infer(&call, &model, request, None).await?;
    body.room.force(size(&response));
    Ok(Json(work(size(&response), || azure::encode(&response, model.signature()))).into_response())
}

async fn score_query(
    State(app): State<App>,
    call: Call,
    target: Result<ScoreModel, ApiError>,
    RawQuery(query): RawQuery,
) -> Result<Json, ApiError> {
    call.scores(Protocol::Azure);
    let ScoreModel(target) = target?;
    let model = app.model(&call, &target).await?;
    call.decodes();
    let request = azure::decode_query(&query.unwrap_or_default(), model.signature())?;
    let response = app.infer(&call, &model, request, None).await?;
    Ok(Json(work(size(&response), || azure::encode(&response, model.signature()))))
}

async fn swagger(
    State(app): State<App>,
    call: Call,
    DocumentVersion(version): DocumentVersion,
    ScoreModel(target): ScoreModel,
) -> Result<Json, ApiError> {
    let model = app.loaded(&call, &target).await?;
    let azure = &app.config.azure;
    let service = openapi::Service {
        name: &azure.service_name,
        version: &azure.service_version,
        path_prefix: &azure.path_prefix,
        model: model.id().name.as_str(),
        images: model.image().is_some(),
    };
    Ok(Json(openapi::document(version, service, model.signature()).to_string().into_bytes()))
}

/// Which specification the document is to follow, from `?version=`.
struct DocumentVersion(openapi::Version);

impl FromRequestParts<App> for DocumentVersion {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &App) -> Result<Self, ApiError> {
        let query: Option<Query<BTreeMap<String, String>>> = Query::try_from_uri(&parts.uri).ok();
        let wanted = query.and_then(|Query(mut query)| query.remove("version"));
        let version = openapi::Version::from_query(wanted.as_deref());
        version.map(Self).ok_or_else(|| ApiError::NoDocument(wanted.unwrap_or_default()))
    }
}

/// The model that `/score` means for one request.
pub(super) struct ScoreModel(pub(super) Target<'static>);

impl FromRequestParts<App> for ScoreModel {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, ApiError> {
        let Some(name) = parts.headers.get(DEPLOYMENT) else {
            return app.score_model(&Call::of(&parts.extensions)?).map(Self);
        };
        let model = String::from_utf8_lossy(name.as_bytes()).into_owned();
        Ok(Self(Target { model: model.into(), version: None }))
    }
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use http::Request;
    use serde_json::json;

    use crate::testing::{House, house, house_of};

    const BODY: &str = r#"{"data":[[1,2],[3,4]]}"#;

    fn single() -> House {
        house_of(&["double/1"], |settings| settings.azure.path_prefix = Some("/api".into()))
    }

    #[tokio::test]
    async fn the_only_model_is_scored_in_body_and_query() {
        let house = single();
        assert_eq!(house.post("/api/score", BODY).await.json(), json!([[2.0, 4.0], [6.0, 8.0]]));
        assert_eq!(house.get("/api/score?x=%5B%5B1,2%5D%5D").await.json(), json!([[2.0, 4.0]]));
        assert_eq!(house.get("/api/").await.text(), "Healthy");
        assert_eq!(house.post("/score", BODY).await.status, 404);
    }

    #[tokio::test]
    async fn among_several_models_one_is_named() {
        let several = house(|_| {});
        let refused = several.post("/score", BODY).await;
        assert_eq!(refused.status, 400);
        let message = refused.json()["message"].as_str().unwrap().to_owned();
        assert!(message.contains("--score-model") && message.contains("`double`, `failing`"), "{message}");
        let pinned = Request::post("/score").header("azureml-model-deployment", "double").body(BODY).unwrap();
        assert_eq!(several.send(pinned).await.status, 200);
        let set = house(|settings| settings.azure.score_model = Some("double".into()));
        assert_eq!(set.post("/score", BODY).await.status, 200);
    }

    #[tokio::test]
    async fn an_answer_tells_its_ids_and_its_run() {
        let request = Request::post("/api/score").header("x-ms-client-request-id", "mine").header("traceid", "t");
        let answer = single().send(request.body(BODY).unwrap()).await;
        let found = ["x-ms-client-request-id", "x-ms-request-id", "traceid", "x-ms-run-function-failed"];
        assert_eq!(found.map(|name| answer.header(name)), [Some("mine"), Some("mine"), Some("t"), Some("False")]);
        assert!(answer.header("x-ms-run-fn-exec-ms").unwrap().parse::<f64>().unwrap() > 0.0);
        assert_eq!(answer.header("x-request-id").map(str::len), Some(32));
    }

    #[tokio::test]
    async fn failures_are_told_in_azures_words() {
        let house = house(|settings| settings.azure.score_model = Some("failing".into()));
        let failed = house.post("/score", BODY).await;
        assert_eq!((failed.status, failed.header("x-ms-run-function-failed")), (500, Some("True")));
        let wrong = house.post("/score", "{").await;
        assert_eq!((wrong.status, wrong.header("x-ms-run-function-failed")), (400, Some("False")));
        assert!(failed.json()["message"].is_string() && wrong.json()["message"].is_string());
        let long = Request::post("/score").header("x-request-id", "x".repeat(101)).body(BODY).unwrap();
        assert_eq!(house.send(long).await.status, 431);
        let put = house.send(Request::put("/score").body(Body::empty()).unwrap()).await;
        assert_eq!((put.status, put.header("allow")), (405, Some("GET,HEAD,POST,OPTIONS")));
        assert!(put.json()["message"].is_string());
    }

    #[tokio::test]
    async fn an_overload_is_429() {
        use futures_util::FutureExt;
        let house = house(|settings| settings.azure.score_model = Some("gated".into()));
        let send = || Box::pin(house.post("/score", r#"[[1,2]]"#));
        let mut under_way = send();
        assert!((&mut under_way).now_or_never().is_none());
        house.gate.wait_until_reached();
        let mut waiting = [send(), send()];
        assert!(waiting.iter_mut().all(|request| request.now_or_never().is_none()));
        assert_eq!(send().await.status, 429);
        house.gate.open();
    }

    #[tokio::test]
    async fn pages_of_the_origins_in_the_settings_may_call() {
        let house = house(|settings| {
            settings.azure.score_model = Some("double".into());
            settings.cors_origins = vec!["https://a.example".into()];
        });
        let preflight = |origin| {
            let request = Request::options("/score").header("origin", origin);
            request.header("access-control-request-headers", "content-type").body(Body::empty()).unwrap()
        };
        let allowed = house.send(preflight("https://a.example")).await;
        assert_eq!(allowed.header("access-control-allow-origin"), Some("https://a.example"));
        assert_eq!(allowed.header("access-control-allow-methods"), Some("GET, POST"));
        assert_eq!(allowed.header("access-control-allow-headers"), Some("content-type"));
        let other = house.send(preflight("https://b.example")).await;
        assert_eq!((other.status, other.header("access-control-allow-origin")), (200, None));
        let score = Request::post("/score").header("origin", "https://a.example").body(BODY).unwrap();
        assert_eq!(house.send(score).await.header("access-control-allow-origin"), Some("https://a.example"));
    }

    #[tokio::test]
    async fn the_document_comes_in_two_versions() {
        let house = single();
        let two = house.get("/api/swagger.json").await.json();
        assert_eq!((&two["swagger"], two["paths"]["/api/score"].is_object()), (&json!("2.0"), true));
        assert_eq!(house.get("/api/swagger.json?version=3").await.json()["openapi"], "3.0.3");
        let four = house.get("/api/swagger.json?version=4").await;
        assert_eq!((four.status, four.json()["message"].is_string()), (404, true));
    }
}
