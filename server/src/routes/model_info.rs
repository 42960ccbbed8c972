//! A model's configuration and statistics, the extensions that `perf_analyzer` reads, and its status, one of our own.

use axum::Router;
use axum::extract::State;
use axum::routing::get;
use hedef_core::statistics::Snapshot;
use hedef_core::{Model, ModelId};
use hedef_protocols::v2;

use crate::app::App;
use crate::body::Json;
use crate::call::Call;
use crate::error::ApiError;
use crate::overrides::{gpus, kind_of};
use crate::target::Target;

/// `…/config`, `…/stats` and `…/status`.
pub(crate) fn routes() -> Router<App> {
    let model = |path: &str| {
        Router::new()
            .route(&format!("{path}/config"), get(config))
            .route(&format!("{path}/stats"), get(statistics))
            .route(&format!("{path}/status"), get(status))
    };
    Router::new()
        .route("/v2/models/stats", get(all_statistics))
        .merge(model("/v2/models/{model}"))
        .merge(model("/v2/models/{model}/versions/{version}"))
}

async fn config(State(app): State<App>, target: Target<'static>, call: Call) -> Result<Json, ApiError> {
    configuration(&app, &call, &target, v2::config).await.map(Json)
}

/// Hands the configuration of a model to `write`.
pub(crate) async fn configuration<T>(
    app: &App,
    call: &Call,
    target: &Target<'_>,
    write: impl Fn(&v2::ModelConfig<'_>) -> T,
) -> Result<T, ApiError> {
    let model = app.loaded(call, target).await?;
    let versions = app.repository.versions(&target.model)?;
    let device = &model.status().device;
    Ok(write(&v2::ModelConfig {
        name: model.id().name.as_str(),
        max_batch_size: model.status().max_batch_rows,
        signature: model.signature(),
        instances: model.status().instances,
        kind: kind_of(device),
        gpus: &gpus(device),
        version_policy: v2::VersionPolicy::Specific(versions),
        dynamic_batching: model.status().max_batch_rows > 1,
        default_model_filename: "model.onnx",
    }))
}

async fn statistics(State(app): State<App>, target: Target<'static>) -> Result<Json, ApiError> {
    Ok(Json(v2::statistics(&[snapshot(&app, &target)?])))
}

async fn status(State(app): State<App>, target: Target<'static>) -> Result<Json, ApiError> {
    let model = app.repository.model(&target.model, target.version.as_deref())?;
    Ok(Json(v2::status(&model)))
}

async fn all_statistics(State(app): State<App>, call: Call) -> Json {
    Json(v2::statistics(&snapshots(&app, &call)))
}

/// The statistics of one model.
pub(crate) fn snapshot(app: &App, target: &Target<'_>) -> Result<(ModelId, Snapshot), ApiError> {
    Ok(counted(&*app.repository.model(&target.model, target.version.as_deref())?))
}

/// The statistics of all models that the request may use.
pub(crate) fn snapshots(app: &App, call: &Call) -> Vec<(ModelId, Snapshot)> {
    let models = app.repository.models();
    let models = models.iter().filter(|model| call.may_use(model.id().name.as_str()));
    models.map(|model| counted(model)).collect()
}

fn counted(model: &Model) -> (ModelId, Snapshot) {
    (model.id().clone(), model.statistics().snapshot())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::testing::house;

    #[tokio::test]
    async fn the_configuration_tells_what_runs() {
        let config = house(|_| {}).get("/v2/models/double/config").await.json();
        assert_eq!((&config["max_batch_size"], &config["input"][0]["dims"]), (&json!(8), &json!([2])));
        assert_eq!(config["instance_group"][0]["kind"], "KIND_CPU");
        assert_eq!(config["version_policy"], json!({ "specific": { "versions": [1, 3] } }));
    }

    #[tokio::test]
    async fn the_status_tells_how_a_model_runs_and_why() {
        let house = house(|_| {});
        let status = house.get("/v2/models/double/versions/3/status").await.json();
        assert_eq!((&status["name"], &status["version"]), (&json!("double"), &json!("3")));
        assert_eq!(status["road"], json!({ "is": "queue", "reason": "no run of one row has been timed" }));
        assert_eq!(status["queue"], json!({ "waiting": 0, "capacity": 64, "predicted_wait_ms": 0.0 }));
        let body = r#"{"inputs":[{"name":"x","datatype":"FP32","shape":[1,2],"data":[1,2]}]}"#;
        assert_eq!(house.post("/v2/models/double/infer", body).await.status, 200);
        let status = house.get("/v2/models/double/status").await.json();
        assert_eq!(status["memory"], json!({ "mapped_bytes": 0, "private_bytes": 0 }));
        assert!(status["load"]["session_ms"].is_number() && status["load"]["graph"].is_string());
        assert_eq!(status["batching"]["row_sizes"][0]["max_rows"], 8);
        assert_eq!(status["batching"]["row_sizes"][0]["curve"][0]["rows"], 1);
        assert!(status["road"]["reason"].as_str().unwrap().starts_with("a run of one row takes"));
    }

    #[tokio::test]
    async fn statistics_count_rows_and_runs() {
        let house = house(|_| {});
        let body = r#"{"inputs":[{"name":"x","datatype":"FP32","shape":[3,2],"data":[1,2,3,4,5,6]}]}"#;
        assert_eq!(house.post("/v2/models/double/infer", body).await.status, 200);
        let one = house.get("/v2/models/double/versions/3/stats").await.json();
        let stats = &one["model_stats"][0];
        assert_eq!((&stats["inference_count"], &stats["execution_count"]), (&json!(3), &json!(1)));
        let all = house.get("/v2/models/stats").await.json();
        assert_eq!(all["model_stats"].as_array().unwrap().len(), 4);
    }
}
