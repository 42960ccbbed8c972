//! Everything that happens around a handler, in order: [`wrap`] is the table of contents.

mod answer;
mod drain;
mod observe;
mod scoring;

use axum::Router;
use axum::middleware::{from_fn, from_fn_with_state};

use crate::app::App;
pub(crate) use observe::REQUEST_ID;
pub(crate) use scoring::scoring;

/// Puts the whole stack around `routes`. A request walks it from the first line down, its answer back up.
pub(crate) fn wrap(routes: Router<App>, app: &App) -> Router<App> {
    let stack = tower::ServiceBuilder::new()
        // Takes or makes the request id, opens the span; writes the line in the log and echoes the trace headers.
        .layer(from_fn_with_state(app.clone(), observe::observe))
        // While stopping, asks HTTP/1.1 clients to close the connection.
        .layer(from_fn_with_state(app.clone(), answer::say_goodbye))
        // Reads what a refusal left of the body, so that the connection can go on.
        .layer(from_fn(drain::drain))
        // Gives errors their status and body.
        .layer(from_fn_with_state(app.clone(), answer::render_errors))
        // Compresses the answer for a client that asked for it.
        .layer(from_fn(answer::compress))
        // Turns a panic into an answer to the one request that caused it.
        .layer(from_fn(answer::catch_panic));
    routes.layer(stack)
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use axum::response::Response;
    use axum::routing::{get, post};
    use http::Request;
    use tower::ServiceExt;

    use super::*;
    use crate::encoding::Coding;
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
        Answer::read(wrap(routes, &house.app).with_state(house.app.clone()).oneshot(request).await.unwrap()).await
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
                let body = coding.decompress(&answer.body, size).unwrap().unwrap();
                assert_eq!(body, plain.as_bytes());
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
        house.app.lifecycle.stopping.cancel();
        assert_eq!(send(&house, echo("", &[])).await.header("connection"), Some("close"));
    }
}
