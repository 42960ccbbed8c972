//! Whether the process is up and whether it can score.

use axum::Router;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use hedef_core::Kind;
use hedef_protocols::v2;
use http::header::RETRY_AFTER;

use crate::app::App;
use crate::body::Json;
use crate::error::status;
use crate::family::Family;

/// `/`, `/v2/health/live` and `/v2/health/ready`.
pub(crate) fn routes() -> Router<App> {
    Router::new().route("/", get(root)).route("/v2/health/live", get(live)).route("/v2/health/ready", get(ready))
}

/// Says `Healthy` when the server is ready, as Azure Machine Learning has it.
pub(super) async fn root(State(app): State<App>) -> Response {
    let ready = app.is_ready();
    verdict(ready, if ready { "Healthy" } else { "Not ready" })
}

/// A process with a run that does not come back has to be replaced.
async fn live(State(app): State<App>) -> Response {
    let live = app.repository.is_live();
    verdict(live, Json(v2::live(live)))
}

async fn ready(State(app): State<App>) -> Response {
    let ready = app.is_ready();
    verdict(ready, Json(v2::ready(ready)))
}

fn verdict(ready: bool, body: impl IntoResponse) -> Response {
    let unavailable = status(Kind::Unavailable, Family::Inference);
    if ready { body.into_response() } else { (unavailable, [(RETRY_AFTER, "1")], body).into_response() }
}

#[cfg(test)]
mod tests {
    use crate::testing::house;

    #[tokio::test]
    async fn a_server_that_stops_is_live_but_not_ready() {
        let house = house(|_| {});
        assert_eq!(house.get("/v2/health/ready").await.text(), r#"{"ready":true}"#);
        assert_eq!(house.get("/").await.text(), "Healthy");
        house.app.lifecycle.stopping.raise();
        let ready = house.get("/v2/health/ready").await;
        assert_eq!((ready.status, ready.text()), (503, r#"{"ready":false}"#));
        assert_eq!(ready.header("retry-after"), Some("1"));
        assert_eq!(house.get("/").await.status, 503);
        assert_eq!(house.get("/v2/health/live").await.status, 200);
    }
}
