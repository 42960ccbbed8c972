//! The model repository extension: what there is, and loading and unloading it.

use axum::Router;
use axum::extract::State;
use axum::routing::post;
use hedef_core::Error;
use hedef_core::repository::{IndexEntry, State as ModelState};
use hedef_protocols::v2;
use tokio::task::spawn_blocking;

use crate::app::App;
use crate::body::Json;
use crate::call::Call;
use crate::error::ApiError;
use crate::overrides::overrides;
use crate::payload::Payload;
use crate::target::Target;

/// `…/index`, `…/load` and `…/unload`, with and without the name of a repository: there is one, whatever its name.
pub(crate) fn routes() -> Router<App> {
    let repository = |path: &str| {
        Router::new()
            .route(&format!("{path}/index"), post(index))
            .route(&format!("{path}/models/{{model}}/load"), post(load))
            .route(&format!("{path}/models/{{model}}/unload"), post(unload))
    };
    repository("/v2/repository").merge(repository("/v2/repository/{repository}"))
}

async fn index(State(app): State<App>, call: Call, Payload(body): Payload) -> Result<Json, ApiError> {
    Ok(Json(list(&app, &call, v2::decode_index(&body)?, v2::index)))
}

/// Hands the lines of the index that are asked for, of models that the request may use, to `write`.
pub(crate) fn list<T>(app: &App, call: &Call, query: v2::IndexQuery, write: impl Fn(&[v2::IndexEntry<'_>]) -> T) -> T {
    let index = app.repository.index();
    let wanted =
        |entry: &&IndexEntry| (!query.ready || entry.state == ModelState::Ready) && call.may_use(entry.name.as_str());
    write(&index.iter().filter(wanted).map(told).collect::<Vec<_>>())
}

fn told(entry: &IndexEntry) -> v2::IndexEntry<'_> {
    let state = match entry.state {
        ModelState::Loading => v2::State::Loading,
        ModelState::Ready => v2::State::Ready,
        ModelState::Unavailable => v2::State::Unavailable,
    };
    v2::IndexEntry { name: entry.name.as_str(), version: entry.version, state, reason: &entry.reason }
}

async fn load(State(app): State<App>, target: Target<'static>, Payload(body): Payload) -> Result<(), ApiError> {
    load_model(app, target.model.into_owned(), v2::decode_load(&body)?).await
}

/// Loads a model.
pub(crate) async fn load_model(app: App, model: String, request: v2::LoadRequest) -> Result<(), ApiError> {
    let with = overrides(request, app.device_of(&model).as_deref())?;
    blocking(move || app.repository.load(&model, with)).await
}

async fn unload(State(app): State<App>, target: Target<'static>, Payload(body): Payload) -> Result<(), ApiError> {
    v2::decode_unload(&body)?;
    unload_model(app, target.model.into_owned()).await
}

/// Unloads a model.
pub(crate) async fn unload_model(app: App, model: String) -> Result<(), ApiError> {
    blocking(move || app.repository.unload(&model)).await
}

/// Loading takes seconds and waits for old requests: not a thing for a thread that answers others.
async fn blocking(change: impl FnOnce() -> Result<(), Error> + Send + 'static) -> Result<(), ApiError> {
    let ended = spawn_blocking(change).await;
    Ok(ended.map_err(|error| ApiError::Fault(format!("changing the repository: {error}")))??)
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use http::Request;

    use crate::config::Admin;
    use crate::testing::house;

    const LOAD: &str = "/v2/repository/models/double/load";
    const UNLOAD: &str = "/v2/repository/models/double/unload";

    #[tokio::test]
    async fn a_model_is_unloaded_and_loaded_again() {
        let house = house(|_| {});
        assert_eq!(house.post(UNLOAD, "").await.status, 200);
        assert_eq!(house.get("/v2/models/double/ready").await.status, 503);
        let index = house.post("/v2/repository/index", r#"{"ready":true}"#).await;
        assert!(!index.text().contains("double"), "{}", index.text());
        let answer = house.post(LOAD, r#"{"parameters":{"config":"{\"max_batch_size\":4}"}}"#).await;
        assert_eq!((answer.status, answer.text()), (200, ""));
        assert_eq!(house.get("/v2/models/double/ready").await.status, 200);
    }

    #[tokio::test]
    async fn the_index_tells_why_a_model_cannot_score() {
        let house = house(|_| {});
        for path in ["/v2/repository/index", "/v2/repository/main/index"] {
            let index = house.post(path, "").await.json();
            let broken = index.as_array().unwrap().iter().find(|entry| entry["name"] == "broken").unwrap();
            assert_eq!((&broken["state"], &broken["version"]), (&"UNAVAILABLE".into(), &"1".into()));
            assert_eq!(broken["reason"], "it is not an ONNX file");
        }
    }

    #[tokio::test]
    async fn loading_needs_the_door_open_and_no_web_page() {
        let closed = house(|settings| settings.admin = Admin::Off);
        assert_eq!(closed.post(UNLOAD, "").await.status, 403);
        assert_eq!(closed.post("/v2/repository/index", "").await.status, 200);
        let request = Request::post(UNLOAD).header("origin", "https://example.com").body(Body::empty()).unwrap();
        assert_eq!(house(|_| {}).send(request).await.status, 403);
    }

    #[tokio::test]
    async fn a_model_that_is_not_there_or_cannot_be_loaded_is_told_so() {
        let house = house(|_| {});
        assert_eq!(house.post("/v2/repository/models/nothing/load", "").await.status, 404);
        let broken = house.post("/v2/repository/models/broken/load", "").await;
        assert_eq!(broken.status, 400);
        assert!(broken.json()["error"].as_str().unwrap().contains("it is not an ONNX file"));
    }
}
