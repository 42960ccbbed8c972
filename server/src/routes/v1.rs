//! KServe v1 and TensorFlow Serving.

use axum::Router;
use axum::extract::{Request, State};
use axum::routing::get;
use hedef_core::repository::{IndexEntry, State as ModelState};
use hedef_protocols::{DecodeLimits, v1};

use crate::app::App;
use crate::body::{Json, size, work};
use crate::call::Call;
use crate::error::ApiError;
use crate::metrics::Protocol;
use crate::target::{Predict, Target};

/// Everything below `/v1/models`. A `:predict` is the end of the last segment, so it shares its route with the
/// model's status.
pub(crate) fn routes() -> Router<App> {
    let model = |path: &str| {
        Router::new().route(path, get(status).post(predict)).route(&format!("{path}/metadata"), get(metadata))
    };
    Router::new()
        .route("/v1/models", get(models))
        .merge(model("/v1/models/{model}"))
        .merge(model("/v1/models/{model}/versions/{version}"))
}

async fn models(State(app): State<App>, call: Call) -> Json {
    let names = app.model_names(&call);
    Json(v1::models(&names.iter().map(String::as_str).collect::<Vec<_>>()))
}

async fn status(State(app): State<App>, target: Target<'static>) -> Result<Json, ApiError> {
    let entries = app.entries(&target)?;
    Ok(Json(v1::status(&target.model, &entries.iter().filter_map(told).collect::<Vec<_>>())))
}

fn told(entry: &IndexEntry) -> Option<v1::VersionStatus<'_>> {
    let state = match entry.state {
        ModelState::Loading => v1::State::Loading,
        ModelState::Ready => v1::State::Available,
        ModelState::Unavailable => v1::State::End,
    };
    Some(v1::VersionStatus { version: entry.version?, state, reason: &entry.reason })
}

async fn metadata(State(app): State<App>, target: Target<'static>, call: Call) -> Result<Json, ApiError> {
    let model = app.loaded(&call, &target).await?;
    Ok(Json(v1::metadata(model.id(), model.signature())))
}

async fn predict(
    State(app): State<App>,
    call: Call,
    target: Result<Predict, ApiError>,
    request: Request,
) -> Result<Json, ApiError> {
    call.scores(Protocol::V1);
    let Predict(target) = target?;
    let model = app.model(&call, &target).await?;
    let (head, mut body) = request.into_parts();
    let mut body = app.body(&call, &model, (&head.headers, &mut body), None).await?;
    let decode = |bytes: &[u8], limits: DecodeLimits<'_>| v1::decode_within(bytes, model.signature(), limits);
    let (request, form) = body.decode(&call, body.len(), decode)?;
    let response = app.infer(&call, &model, request, None).await?;
    body.room.force(size(&response));
    Ok(Json(work(size(&response), || v1::encode(&response, form))))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::testing::house;

    #[tokio::test]
    async fn rows_and_columns_are_scored() {
        let house = house(|_| {});
        let rows = house.post("/v1/models/double:predict", r#"{"instances":[[1,2],[3,4]]}"#).await;
        assert_eq!(rows.json(), json!({ "predictions": [[2.0, 4.0], [6.0, 8.0]] }));
        let columns = house.post("/v1/models/double/versions/1:predict", r#"{"inputs":[[1,2]]}"#).await;
        assert_eq!(columns.json(), json!({ "outputs": [[2.0, 4.0]] }));
    }

    #[tokio::test]
    async fn a_verb_is_predict_or_refused() {
        let house = house(|_| {});
        for (path, status) in [
            ("/v1/models/double:classify", 501),
            ("/v1/models/double:explain", 501),
            ("/v1/models/double:nonsense", 404),
            ("/v1/models/double", 404),
            ("/v1/models/nothing:predict", 404),
            ("/v1/models/double/versions/2:predict", 404),
            ("/v1/models/broken:predict", 503),
        ] {
            let answer = house.post(path, r#"{"instances":[[1,2]]}"#).await;
            assert_eq!(answer.status, status, "{path}");
            assert!(answer.json()["error"].is_string());
        }
    }

    #[tokio::test]
    async fn models_tell_their_state() {
        let house = house(|_| {});
        assert_eq!(house.get("/v1/models").await.json()["models"], json!(["double", "failing", "gated"]));
        let double = house.get("/v1/models/double").await.json();
        assert_eq!((&double["ready"], double["model_version_status"].as_array().unwrap().len()), (&json!(true), 2));
        let one = house.get("/v1/models/double/versions/1").await.json();
        assert_eq!(one["model_version_status"][0]["version"], "1");
        let broken = house.get("/v1/models/broken").await.json();
        assert_eq!(broken["model_version_status"][0]["state"], "END");
        assert_eq!(house.get("/v1/models/nothing").await.status, 404);
        assert_eq!(house.get("/v1/models/double/versions/2").await.status, 404);
        let metadata = house.get("/v1/models/double/metadata").await.json();
        assert_eq!(metadata["model_spec"]["name"], "double");
    }
}
