//! Reloads cost no request.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use ureq::http::Method;

use crate::binary::Server;
use crate::wait::every;

const REQUESTS: usize = 10_000;
const BODY: &str = r#"{"inputs":[{"name":"features","shape":[1,4],"datatype":"FP32","data":[5.1,3.5,1.4,0.2]}]}"#;

#[test]
fn ten_thousand_requests_under_reloads_every_100_ms_all_get_their_answer() {
    let server = Server::samples();
    let (sent, finished, reloads) = (AtomicUsize::new(0), AtomicUsize::new(0), AtomicUsize::new(0));
    const CLIENTS: usize = 4;
    thread::scope(|scope| {
        let client = || {
            let client = server.client();
            let mut failures = Vec::new();
            while sent.fetch_add(1, Ordering::Relaxed) < REQUESTS {
                let headers = [("content-type", "application/json")];
                match client.send(Method::POST, "/v2/models/iris/infer", &headers, BODY.as_bytes()) {
                    Ok(answer) if answer.status == 200 && answer.text().contains("\"setosa\"") => {}
                    Ok(answer) => failures.push(format!("{}: {}", answer.status, answer.text())),
                    Err(error) => failures.push(error.to_string()),
                }
            }
            finished.fetch_add(1, Ordering::Relaxed);
            failures
        };
        let clients: Vec<_> = (0..CLIENTS).map(|_| scope.spawn(client)).collect();
        let admin = server.client();
        // A client that panicked is done too, or this would never end.
        let done = || clients.iter().all(|client| client.is_finished());
        every(Duration::from_millis(100), done, || {
            admin.post("/v2/repository/models/iris/load", "").expect(200);
            reloads.fetch_add(1, Ordering::Relaxed);
        });
        let failures: Vec<_> = clients.into_iter().flat_map(|client| client.join().unwrap()).collect();
        assert!(failures.is_empty(), "{} of {REQUESTS} failed, for example {}", failures.len(), failures[0]);
    });
    assert!(reloads.load(Ordering::Relaxed) >= 3, "the requests were over after {reloads:?} reloads");
    // The log has a line for each load, which shows that the loads did happen.
    assert!(server.log().matches("model is ready model=iris/1").count() > reloads.load(Ordering::Relaxed));
}
