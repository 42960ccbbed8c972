//! Everything that happens around a handler, in order: [`Site::answer`] is the table of contents.

pub(crate) mod answer;
mod cors;
mod drain;
mod flood;
pub(crate) mod observe;

use std::sync::Arc;

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use axum::{BoxError, Router};
use futures_util::FutureExt;
use http::header::{CONNECTION, EXPECT};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, Request, Version};
use hyper::body::Body as _;
use tower::ServiceExt;
use tracing::Instrument;

use crate::access::Entrance;
use crate::access::permission::Permission;
use crate::app::App;
use crate::call::Call;
use crate::deadline;
use crate::encoding::Coding;
use crate::error::{self, ApiError};
use crate::family::Family;
use crate::grpc;
use crate::payload::Source;
use crate::request_id::RequestId;
use crate::routes::v2;
use crate::seen::Seen;
use crate::seldom;
use answer::{Answered, Own};
pub(crate) use flood::Flood;
use observe::Watch;

/// All routes, and what happens around each of them. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Site {
    house: Arc<House>,
    entrance: Entrance,
}

/// What every entrance leads to.
struct House {
    app: App,
    routes: Router,
    /// Whether scoring has a way beside the router.
    scores: bool,
}

impl Site {
    /// Puts everything that happens around a handler around `routes`.
    pub(crate) fn new(routes: Router<App>, app: App) -> Self {
        Self::of(routes, app, true, Entrance::Main)
    }

    /// The same for requests that come through another entrance.
    pub(crate) fn through(&self, entrance: Entrance) -> Self {
        Self { entrance, ..self.clone() }
    }

    /// The same house with these routes only.
    pub(crate) fn with_only(&self, routes: Router<App>) -> Self {
        Self::of(routes, self.house.app.clone(), false, self.entrance)
    }

    fn of(routes: Router<App>, app: App, scores: bool, entrance: Entrance) -> Self {
        let house = House { routes: routes.with_state(app.clone()), app, scores };
        Self { house: Arc::new(house), entrance }
    }

    /// Counts a connection that did not agree on TLS.
    pub(crate) fn refused_handshake(&self) {
        self.house.app.metrics.refused_handshakes.inc();
    }

    /// Counts a connection beyond the limit.
    pub(crate) fn refused_connection(&self) {
        self.house.app.metrics.refused_connections.inc();
    }

    /// Answers one request. It is one future rather than a stack of layers, each of which would copy the layers below
    /// it and allocate a future of its own for every request.
    pub(crate) fn answer<B>(self, request: Request<B>) -> impl Future<Output = Answered> + Send
    where
        B: Source<Error: Into<BoxError>> + 'static,
    {
        // Outside of the future, which would keep the place of the request beside those of its parts.
        let (Self { house, entrance }, (head, mut body)) = (self, request.into_parts());
        async move {
            let House { app, routes, scores } = &*house;
            let (call, trace, waits) = {
                let none = HeaderMap::new();
                let seldom = if seldom::is_among(&head.headers) { &head.headers } else { &none };
                let (id, asked) = (RequestId::of(seldom), deadline::asked(seldom));
                let call = Call::new(id, app.config.request_timeout, asked, Seen::of(seldom, app.traces.as_ref()));
                // One that waits for `100 Continue` has sent nothing, and asking it to would be a lie.
                (call, observe::trace(seldom), seldom.contains_key(EXPECT))
            };
            let mut watch = Watch::begin(app, &call, (&head.method, &head.uri));
            let wanted = Coding::for_response(&head.headers);
            let http1 = head.version <= Version::HTTP_11;

            let span = tracing::debug_span!("request", request.id = %call.id());
            let is_grpc = cfg!(feature = "grpc") && grpc::is_call(&head);
            let permission = Permission::of(head.uri.path(), &app.config.azure.path_prefix);
            let page = app.config.cors.page(permission, &head.headers);
            // No route does anything for this method but tell which others there are, and pages ask by it without a key.
            let needed = permission.filter(|_| head.method != Method::OPTIONS || is_grpc);
            let response = if let Err(refused) = app.access.admit(needed, entrance, &head.headers, &call) {
                leave(&call, body);
                refused.into_response()
            } else {
                match v2::target(&head).filter(|_| *scores) {
                    #[cfg(feature = "grpc")]
                    _ if is_grpc && *scores && grpc::is_infer(&head) => {
                        let scored = grpc::infer(app, &call, &head.headers, &mut body);
                        answer::catch_panic(scored.map(IntoResponse::into_response)).instrument(span).await
                    }
                    #[cfg(feature = "grpc")]
                    _ if is_grpc && *scores => {
                        let answering = grpc::answer(app.clone(), call.clone(), head, body);
                        Box::pin(answer::catch_panic(answering.map(IntoResponse::into_response))).instrument(span).await
                    }
                    // Beside the router, which allocates some fifteen times for a request.
                    Some(target) => {
                        let scored = v2::score(app, &call, Ok(target), (&head.headers, &mut body));
                        let scored =
                            answer::catch_panic(scored.map(IntoResponse::into_response)).instrument(span).await;
                        leave(&call, body);
                        scored
                    }
                    None => match page.preflight(&head) {
                        Some(answer) => answer,
                        None => {
                            Box::pin(answer::catch_panic(route(routes.clone(), &call, head, body)))
                                .instrument(span)
                                .await
                        }
                    },
                }
            };
            let response = answer::compress(response, wanted).await;

            // Gives errors their status and body in the words of the path's protocols.
            let failure = response.extensions().get::<ApiError>().cloned();
            let mut response = match &failure {
                Some(error) => {
                    let family = if is_grpc { Family::Grpc } else { Family::of(watch.path(), &app.config.azure) };
                    error::render(error, response, family, &call)
                }
                None => response,
            };
            let mut last = http1 && app.lifecycle.is_stopping();
            if http1 && let Some(mut body) = call.unread() {
                // In a box, as it is seldom there and every request's future would hold its place.
                let reading = Box::pin(drain::read_on(&mut body, app.config.body_limits.usual, call.deadline()));
                last |= waits || !reading.await;
            }
            if last {
                response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
            }
            page.tell(response.headers_mut());
            response.headers_mut().extend(trace);
            observe::tell(&call, failure.as_ref(), response.headers_mut());
            let response = answer::count(response, app);
            app.metrics.response_bytes.inc_by(response.body().size_hint().lower());
            watch.answered(response.status(), failure.as_ref());
            // No browser speaks gRPC.
            Answered { response, own: Own { id: Some(call.id().clone()), hardened: !is_grpc } }
        }
    }
}

/// Keeps what nobody read of a body.
fn leave<B>(call: &Call, body: B)
where
    B: Source<Error: Into<BoxError>> + 'static,
{
    if !body.is_end_stream() {
        call.leave(Body::new(body));
    }
}

/// Lets the router find who answers.
async fn route<B>(routes: Router, call: &Call, head: Parts, body: B) -> Response
where
    B: Source<Error: Into<BoxError>> + 'static,
{
    let mut request = Request::from_parts(head, Body::new(body));
    request.extensions_mut().insert(call.clone());
    match routes.oneshot(drain::lend(request, call)).await {
        Ok(response) => response,
        Err(never) => match never {},
    }
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use axum::response::Response;
    use axum::routing::{get, post};
    use http::Request;

    use super::*;
    use crate::encoding::{Coding, Unpacked};
    use crate::payload::Payload;
    use crate::testing::{Answer, House, house};

    /// Sends a request through the stack to handlers that core would never have.
    async fn send(house: &House, request: Request<Body>) -> Answer {
        let routes = Router::new()
            .route(
                "/panic",
                get(|| async {
                    if true {
                        panic!("the secret words")
                    }
                }),
            )
            .route("/echo", post(|Payload(body): Payload| async { Response::new(Body::from(body)) }));
        Answer::read(Site::new(routes, house.app.clone()).answer(request).await).await
    }

    fn echo(body: impl Into<Body>, headers: &[(&str, &str)]) -> Request<Body> {
        let mut request = Request::post("/echo");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(body.into()).unwrap()
    }

    #[tokio::test]
    async fn a_request_keeps_its_id_and_its_trace() {
        let trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        let request = echo("", &[("x-request-id", "mine:1"), ("traceparent", trace), ("tracestate", "a=b")]);
        let answer = send(&house(|_| {}), request).await;
        let found = ["x-request-id", "traceparent", "tracestate"].map(|name| answer.header(name));
        assert_eq!(found, [Some("mine:1"), Some(trace), Some("a=b")]);
    }

    #[tokio::test]
    async fn a_request_without_a_fit_id_gets_one() {
        let house = house(|_| {});
        let long = "x".repeat(129);
        for unfit in ["", "two words", "<script>", "a\"b", &long] {
            let answer = send(&house, echo("", &[("x-request-id", unfit)])).await;
            let id = answer.header("x-request-id").unwrap();
            assert!(id.len() == 32 && id.chars().all(|c| c.is_ascii_hexdigit()), "{id}");
        }
    }

    #[tokio::test]
    async fn bodies_are_compressed_both_ways() {
        let house = house(|settings| settings.body_limit = 100_000);
        for (name, coding) in [("gzip", Coding::Gzip), ("deflate", Coding::Deflate)] {
            for size in [2_000, 100_000] {
                let plain = "ab".repeat(size / 2);
                let packed = coding.compress(plain.as_bytes()).unwrap();
                let answer = send(&house, echo(packed, &[("content-encoding", name), ("accept-encoding", name)])).await;
                assert_eq!(
                    (answer.header("content-encoding"), answer.header("vary")),
                    (Some(name), Some("accept-encoding"))
                );
                let body = coding.decompress(&answer.body, size, &|_| true).unwrap();
                assert_eq!(body, Unpacked::Whole(plain.into_bytes().into()));
            }
        }
    }

    #[tokio::test]
    async fn an_answer_is_left_plain_when_it_is_small_or_nobody_asked() {
        let house = house(|_| {});
        let small = send(&house, echo("x".repeat(1023), &[("accept-encoding", "gzip")])).await;
        assert_eq!((small.header("content-encoding"), small.body.len()), (None, 1023));
        let large = send(&house, echo("x".repeat(5000), &[])).await;
        assert_eq!((large.header("content-encoding"), large.body.len()), (None, 5000));
    }

    #[tokio::test]
    async fn a_large_answer_tells_its_length_and_is_counted() {
        let house = house(|_| {});
        let routes = Router::new().route("/large", get(|| async { vec![b'x'; 1 << 20] }));
        let request = Request::get("/large").body(Body::empty()).unwrap();
        let answer = Site::new(routes, house.app.clone()).answer(request).await.whole();
        assert_eq!(answer.body().size_hint().exact(), Some(1 << 20));
        assert_eq!(house.app.metrics.response_bytes.get(), 1 << 20);
    }

    #[tokio::test]
    async fn a_decompression_bomb_is_refused() {
        let house = house(|settings| settings.body_limit = 1 << 20);
        let bomb = Coding::Gzip.compress(&vec![0; 8 << 20]).unwrap();
        assert!(bomb.len() < 1 << 20);
        assert_eq!(send(&house, echo(bomb, &[("content-encoding", "gzip")])).await.status, 413);
    }

    #[tokio::test]
    async fn a_panic_costs_one_request_and_tells_nothing() {
        let house = house(|_| {});
        let answer = send(&house, Request::get("/panic").body(Body::empty()).unwrap()).await;
        assert_eq!(answer.status, 500);
        assert!(!answer.text().contains("secret") && answer.json()["error"].is_string());
        assert_eq!(send(&house, echo("still here", &[])).await.text(), "still here");
    }

    #[tokio::test]
    async fn a_server_that_stops_asks_its_clients_to_leave() {
        let house = house(|_| {});
        assert_eq!(send(&house, echo("", &[])).await.header("connection"), None);
        house.app.lifecycle.stopping.raise();
        assert_eq!(send(&house, echo("", &[])).await.header("connection"), Some("close"));
    }

    #[tokio::test]
    async fn every_answer_is_what_it_says_and_for_nobody_else() {
        let house = house(|_| {});
        for path in ["/v2/health/live", "/v2/models/double", "/nothing", "/metrics"] {
            let answer = house.get(path).await;
            let found = (answer.header("x-content-type-options"), answer.header("cache-control"));
            assert_eq!(found, (Some("nosniff"), Some("no-store")), "{path}");
        }
    }

    /// It is moved for every request, and a network thread holds one for each connection.
    #[test]
    fn the_future_of_a_request_is_small() {
        let site = Site::new(Router::new(), house(|_| {}).app.clone());
        let size = size_of_val(&site.answer(echo("", &[])));
        assert!(size <= 2048, "{size} bytes");
    }
}
