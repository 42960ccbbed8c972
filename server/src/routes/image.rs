//! Images: what `/score` does with them, and Custom Vision's `/image`.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use axum::Router;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{options, post};
use hedef_core::Model;
use hedef_protocols::image::{self, Finding, Scored};
use hedef_protocols::{DecodeLimits, Error};
use http::header::CONTENT_TYPE;
use http::{HeaderMap, StatusCode};

use super::azure::{ScoreModel, methods};
use crate::app::App;
use crate::body::{Json, size, work};
use crate::call::Call;
use crate::error::ApiError;
use crate::metrics::Protocol;
use crate::payload::{Limit, read};

/// The most bytes of a body that Custom Vision takes.
const MOST_BYTES: usize = 4 << 20;

/// The field of a form that holds the image.
const FIELD: &str = "imageData";

/// `/image`, below the prefix in the settings.
pub(crate) fn routes(app: &App) -> Router<App> {
    let image = post(predictions).merge(options(methods));
    Router::new().route(&format!("{}/image", app.config.azure.path_prefix), image)
}

/// The media type of a body, in small letters and without its parameters.
fn media_type(headers: &HeaderMap) -> String {
    let value = headers.get(CONTENT_TYPE).map(|value| value.as_bytes()).unwrap_or_default();
    let essence = value.split(|byte| *byte == b';').next().unwrap_or_default();
    String::from_utf8_lossy(essence.trim_ascii()).to_ascii_lowercase()
}

/// Whether a body is said to be an image.
pub(super) fn is_image(headers: &HeaderMap) -> bool {
    let value = headers.get(CONTENT_TYPE).map(|value| value.as_bytes()).unwrap_or_default();
    value.get(..6).is_some_and(|start| start.eq_ignore_ascii_case(b"image/"))
}

/// Answers `/score` with inferences, or with 204 where nothing was found.
pub(super) async fn inferences(
    app: &App,
    call: &Call,
    model: &Arc<Model>,
    request: Request,
) -> Result<Response, ApiError> {
    let findings = findings(app, call, model, request, app.config.body_limits.usual).await?;
    if findings.is_empty() {
        return Ok(StatusCode::NO_CONTENT.into_response());
    }
    Ok(Json(image::inferences(&findings)).into_response())
}

/// `POST /image`: the bytes of an image, or a form with it.
async fn predictions(
    State(app): State<App>,
    call: Call,
    target: Result<ScoreModel, ApiError>,
    request: Request,
) -> Result<Json, ApiError> {
    call.scores(Protocol::CustomVision);
    let ScoreModel(target) = target?;
    let model = app.model(&call, &target).await?;
    let findings = findings(&app, &call, &model, request, MOST_BYTES).await?;
    let id = call.id().to_string();
    // A clock before 1970 tells no time at all.
    let seconds = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    Ok(Json(image::predictions(&findings, Scored { id: &id, model: model.id(), seconds })))
}

/// What the model finds on the image that a request brings in at most so many bytes.
async fn findings(
    app: &App,
    call: &Call,
    model: &Arc<Model>,
    request: Request,
    most: usize,
) -> Result<Vec<Finding>, ApiError> {
    let (head, mut body) = request.into_parts();
    let media = media_type(&head.headers);
    let Some(plan) = model.image() else { return Err(ApiError::NoImages { model: model.id().clone() }) };
    let form = head.headers.get(CONTENT_TYPE).filter(|_| media == "multipart/form-data");
    let form = form.map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
    let limit = Limit { bytes: most, model: Some(model.id()) };
    let mut body = read(app, call, &head.headers, &mut body, limit, &|_| Ok(())).await?;
    let signature = model.signature();
    let decode = |bytes: &[u8], limits: DecodeLimits<'_>| {
        let image = form.as_ref().map_or(Ok(bytes), |form| image::field(bytes, form, FIELD))?;
        image::decode_within(image, plan, signature, limits)
    };
    // A few bytes may be many pixels: other connections go on meanwhile in any case.
    let (request, frame) = body.decode(call, usize::MAX, decode)?;
    // The pixels are gone.
    body.room.shrink_to(plan.input.bytes());
    let response = app.infer(call, model, request, None).await?;
    body.room.force(size(&response));
    work(size(&response), || image::findings(&response, signature, plan, frame)).map_err(|error: Error| error.into())
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use http::Request;

    use crate::testing::house;

    #[tokio::test]
    async fn a_model_that_takes_no_images_says_what_it_lacks() {
        let house = house(|settings| settings.azure.score_model = Some("double".into()));
        for (path, media) in
            [("/score", "image/png"), ("/score", "Image/JPEG; q=1"), ("/image", "application/octet-stream")]
        {
            let request = Request::post(path).header("content-type", media).body(Body::from("x")).unwrap();
            let answer = house.send(request).await;
            assert_eq!(answer.status, 415, "{path}");
            let said = answer.json()["message"].as_str().unwrap().to_owned();
            assert!(said.contains("`double/3`") && said.contains("[image]"), "{said}");
        }
    }

    #[tokio::test]
    async fn the_methods_of_an_image_are_told() {
        let house = house(|_| {});
        let answer = house.send(Request::options("/image").body(Body::empty()).unwrap()).await;
        assert_eq!(answer.status, 200);
        assert_eq!(house.get("/image").await.status, 405);
    }
}
