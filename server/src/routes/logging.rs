//! The logging extension: what the server logs, asked and changed while it runs.

use axum::Router;
use axum::extract::State;
use axum::routing::get;
use hedef_protocols::v2;

use crate::app::App;
use crate::body::Json;
use crate::error::ApiError;
use crate::log::{self, Log};
use crate::payload::Payload;

/// `/v2/logging`.
pub(crate) fn routes() -> Router<App> {
    Router::new().route("/v2/logging", get(tell).post(change))
}

async fn tell(State(app): State<App>) -> Result<Json, ApiError> {
    Ok(answer(of(&app)?))
}

async fn change(State(app): State<App>, Payload(body): Payload) -> Result<Json, ApiError> {
    let log = of(&app)?;
    log::change(log, v2::decode_logging(&body)?)?;
    Ok(answer(log))
}

fn of(app: &App) -> Result<&dyn Log, ApiError> {
    app.config.log.as_deref().ok_or_else(|| ApiError::NoRoute("/v2/logging".into()))
}

fn answer(log: &dyn Log) -> Json {
    Json(v2::logging(&log::settings(log)))
}
