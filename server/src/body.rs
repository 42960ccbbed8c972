//! The bodies that protocols write, on their way into responses.

use axum::response::{IntoResponse, Response};
use hedef_protocols::v2;
use http::header::CONTENT_TYPE;

use crate::payload::JSON_LENGTH;

/// A document in JSON.
#[derive(Debug)]
pub(crate) struct Json(pub(crate) Vec<u8>);

impl IntoResponse for Json {
    fn into_response(self) -> Response {
        ([(CONTENT_TYPE, "application/json")], self.0).into_response()
    }
}

/// A scored request of the Open Inference Protocol: JSON, or JSON with tensors in binary behind it.
#[derive(Debug)]
pub(crate) struct Inferred(pub(crate) v2::Encoded);

impl IntoResponse for Inferred {
    fn into_response(self) -> Response {
        let json = Json(self.0.body);
        let Some(length) = self.0.json_length else { return json.into_response() };
        let headers = [(CONTENT_TYPE, "application/octet-stream".into()), (JSON_LENGTH, length.to_string())];
        (headers, json.0).into_response()
    }
}
