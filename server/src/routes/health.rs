//! Whether the process is up and whether it can score.

use axum::Router;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use hedef_core::Kind;
use http::header::{CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderName, StatusCode};

use crate::app::App;
use crate::error::status;
use crate::family::Family;

/// `/`, `/v2/health/live` and `/v2/health/ready`.
pub(crate) fn routes() -> Router<App> {
    Router::new().route("/", get(root)).route("/v2/health/live", get(live)).route("/v2/health/ready", get(ready))
}

async fn root(State(app): State<App>) -> Response {
    verdict(app.is_ready(), "text/plain; charset=utf-8", ["Healthy", "Not ready"])
}

async fn live() -> Response {
    verdict(true, "application/json", [r#"{"live":true}"#, r#"{"live":false}"#])
}

async fn ready(State(app): State<App>) -> Response {
    verdict(app.is_ready(), "application/json", [r#"{"ready":true}"#, r#"{"ready":false}"#])
}

fn verdict(good: bool, media_type: &'static str, [yes, no]: [&'static str; 2]) -> Response {
    let media_type: (HeaderName, &str) = (CONTENT_TYPE, media_type);
    if good {
        (StatusCode::OK, [media_type], yes).into_response()
    } else {
        (status(Kind::Unavailable, Family::Inference), [media_type, (RETRY_AFTER, "1")], no).into_response()
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::house;

    #[tokio::test]
    async fn a_server_that_stops_is_live_but_not_ready() {
        let house = house(|_| {});
        assert_eq!(house.get("/v2/health/ready").await.text(), r#"{"ready":true}"#);
        assert_eq!(house.get("/").await.text(), "Healthy");
        house.app.lifecycle.stopping.cancel();
        let ready = house.get("/v2/health/ready").await;
        assert_eq!((ready.status, ready.text()), (503, r#"{"ready":false}"#));
        assert_eq!(ready.header("retry-after"), Some("1"));
        assert_eq!(house.get("/").await.status, 503);
        assert_eq!(house.get("/v2/health/live").await.status, 200);
    }
}
