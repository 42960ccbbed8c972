//! Every route.

use axum::Router;
use axum::extract::Request;
use http::header::CONTENT_TYPE;

use crate::app::App;
use crate::error::ApiError;
use crate::grpc;
use crate::middleware::Site;
use crate::routes::{azure, health, image, logging, metrics, model_info, repository, v1, v2};

/// All routes with everything around them.
pub(crate) fn new(app: App) -> Site {
    let routes = Router::new()
        .merge(health::routes())
        .merge(metrics::routes())
        .merge(v2::routes())
        .merge(model_info::routes())
        .merge(repository::routes())
        .merge(logging::routes())
        .merge(v1::routes())
        .merge(azure::routes(&app))
        .merge(image::routes(&app))
        .fallback(no_route)
        .method_not_allowed_fallback(no_method);
    Site::new(routes, app)
}

/// What is left for connections beyond the limit: health and metrics.
pub(crate) fn for_operators() -> Router<App> {
    watching().fallback(async || ApiError::TooManyConnections)
}

/// What a port for metrics has: health and metrics.
pub(crate) fn for_metrics() -> Router<App> {
    watching().fallback(no_route)
}

fn watching() -> Router<App> {
    Router::new().merge(health::routes()).merge(metrics::routes()).method_not_allowed_fallback(no_method)
}

async fn no_route(request: Request) -> ApiError {
    let path = request.uri().path();
    if cfg!(feature = "grpc") && grpc::owns(path) {
        let found = request
            .headers()
            .get(CONTENT_TYPE)
            .map_or("none".into(), |found| String::from_utf8_lossy(found.as_bytes()));
        return ApiError::ContentType { found: found.into(), expected: "application/grpc over HTTP/2" };
    }
    ApiError::NoRoute(path.into())
}

async fn no_method(request: Request) -> ApiError {
    ApiError::NoMethod(request.method().clone())
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use http::Request;

    use crate::testing::house;

    #[tokio::test]
    async fn a_path_that_nobody_owns_is_404_in_json() {
        let answer = house(|_| {}).get("/nothing/here").await;
        assert_eq!((answer.status, answer.header("content-type")), (404, Some("application/json")));
        assert_eq!(answer.json()["error"], "there is nothing at `/nothing/here`");
    }

    #[tokio::test]
    async fn a_wrong_method_is_405_and_told_which_are_right() {
        let answer = house(|_| {}).post("/v2/health/live", "").await;
        assert_eq!((answer.status, answer.header("allow")), (405, Some("GET,HEAD")));
        assert!(answer.json()["error"].as_str().unwrap().starts_with("`POST` is not allowed here"));
    }

    #[tokio::test]
    async fn head_is_get_without_the_body() {
        let answer = house(|_| {}).send(Request::head("/v2/health/live").body(Body::empty()).unwrap()).await;
        assert_eq!((answer.status, answer.header("content-length"), answer.text()), (200, Some("13"), ""));
    }
}
