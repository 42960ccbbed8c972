//! Which web pages may call the scoring route.

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_REQUEST_HEADERS, ALLOW, ORIGIN, VARY,
};
use http::{HeaderMap, HeaderValue};

use crate::app::App;
use crate::config::Cors;

const METHODS: HeaderValue = HeaderValue::from_static("GET, POST");

impl Cors {
    /// What an answer to `origin` says, if its pages may call.
    fn answer(&self, origin: &HeaderValue) -> Option<HeaderValue> {
        match self {
            Self::Any => Some(HeaderValue::from_static("*")),
            Self::Only(origins) => origins.contains(origin).then(|| origin.clone()),
        }
    }
}

/// Tells the browser that a page of this origin may read the answer.
pub(super) async fn cors(State(app): State<App>, request: Request, next: Next) -> Response {
    let allowed = request.headers().get(ORIGIN).and_then(|origin| app.config.azure.cors.answer(origin));
    let mut response = next.run(request).await;
    if let Some(origin) = allowed {
        response.headers_mut().insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        response.headers_mut().append(VARY, HeaderValue::from(ORIGIN));
    }
    response
}

/// Answers a preflight; [`cors`] adds the origin, without which the browser takes it for a refusal.
pub(super) async fn preflight(headers: HeaderMap) -> Response {
    let wanted = headers.get(ACCESS_CONTROL_REQUEST_HEADERS).cloned();
    let mut response = [(ALLOW, "GET, HEAD, POST, OPTIONS")].into_response();
    response.headers_mut().insert(ACCESS_CONTROL_ALLOW_METHODS, METHODS);
    response.headers_mut().extend(wanted.map(|wanted| (ACCESS_CONTROL_ALLOW_HEADERS, wanted)));
    response
}
