//! The headers of Azure Machine Learning's scoring contract: ids that answer one another, and how the run went.

use axum::extract::Request;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use hedef_core::Kind;
use http::{HeaderMap, HeaderName, HeaderValue};

use crate::call::Call;
use crate::error::ApiError;
use crate::request_id::REQUEST_ID;

/// The longest id that the contract allows.
const LONGEST_ID: usize = 100;

const CLIENT_REQUEST_ID: HeaderName = HeaderName::from_static("x-ms-client-request-id");
/// The older name of the same thing.
const MS_REQUEST_ID: HeaderName = HeaderName::from_static("x-ms-request-id");
const TRACE_ID: HeaderName = HeaderName::from_static("traceid");
const RUN_FAILED: HeaderName = HeaderName::from_static("x-ms-run-function-failed");
const RUN_MS: HeaderName = HeaderName::from_static("x-ms-run-fn-exec-ms");

/// Stands around the Azure routes.
pub(super) async fn headers(call: Call, request: Request, next: Next) -> Response {
    let ids = ids(request.headers(), &call);
    let trace = request.headers().get(TRACE_ID).cloned();
    let mut response = match too_long(request.headers()) {
        Some(name) => ApiError::HeaderTooLong { name, limit: LONGEST_ID }.into_response(),
        None => next.run(request).await,
    };
    response.headers_mut().extend(ids);
    response.headers_mut().extend(trace.map(|trace| (TRACE_ID, trace)));
    response
}

/// Stands around scoring alone: says whether the model failed and how long it took.
pub(super) async fn run(call: Call, request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    let failed = response.extensions().get::<ApiError>().map(ApiError::kind);
    let failed = matches!(failed, Some(Kind::Internal | Kind::DeadlineExceeded));
    let failed = HeaderValue::from_static(if failed { "True" } else { "False" });
    response.headers_mut().insert(RUN_FAILED, failed);
    let ms = format!("{:.3}", call.received().elapsed().as_secs_f64() * 1e3);
    response.headers_mut().extend(HeaderValue::from_str(&ms).map(|ms| (RUN_MS, ms)));
    response
}

fn too_long(headers: &HeaderMap) -> Option<&'static str> {
    let long = |name: &HeaderName| headers.get(name).is_some_and(|id| id.len() > LONGEST_ID);
    [(CLIENT_REQUEST_ID, "x-ms-client-request-id"), (MS_REQUEST_ID, "x-ms-request-id"), (REQUEST_ID, "x-request-id")]
        .into_iter()
        .find_map(|(name, text)| long(&name).then_some(text))
}

/// Each of the two ids is the client's own, else the other one, else the request's.
fn ids(headers: &HeaderMap, call: &Call) -> [(HeaderName, HeaderValue); 2] {
    let given = |name: HeaderName| headers.get(name).filter(|id| !id.is_empty() && id.len() <= LONGEST_ID);
    let (client, older) = (given(CLIENT_REQUEST_ID), given(MS_REQUEST_ID));
    let first = |one: Option<&HeaderValue>, other| one.or(other).cloned().unwrap_or_else(|| call.id().value());
    [(CLIENT_REQUEST_ID, first(client, older)), (MS_REQUEST_ID, first(older, client))]
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::request_id::RequestId;

    #[test]
    fn the_ids_answer_one_another() {
        let call = Call::new(RequestId::Given(HeaderValue::from_static("id")), Duration::from_secs(1), Ok(None), None);
        let answered = |client: &'static str, older: &'static str| {
            let pairs = [(CLIENT_REQUEST_ID, client), (MS_REQUEST_ID, older)];
            let given = pairs.into_iter().filter(|(_, value)| !value.is_empty());
            let headers = given.map(|(name, value)| (name, HeaderValue::from_static(value))).collect();
            ids(&headers, &call).map(|(_, value)| value.to_str().unwrap().to_owned())
        };
        assert_eq!(answered("", ""), ["id", "id"]);
        assert_eq!(answered("c", ""), ["c", "c"]);
        assert_eq!(answered("", "o"), ["o", "o"]);
        assert_eq!(answered("c", "o"), ["c", "o"]);
    }
}
