//! What Prometheus scrapes.

use axum::Router;
use axum::extract::State;
use axum::response::IntoResponse;
use axum::routing::get;
use http::header::CONTENT_TYPE;

use crate::app::App;
use crate::error::ApiError;

/// `/metrics`.
pub(crate) fn routes() -> Router<App> {
    Router::new().route("/metrics", get(metrics))
}

async fn metrics(State(app): State<App>) -> Result<impl IntoResponse, ApiError> {
    app.repository.observe();
    let text = app.metrics.text().map_err(|error| ApiError::Fault(format!("telling the metrics: {error}")))?;
    Ok(([(CONTENT_TYPE, prometheus::TEXT_FORMAT)], text))
}
