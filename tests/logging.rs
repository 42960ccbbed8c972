//! The log: which lines there are, and its filter changed while the server runs.

use serde_json::{Value, json};

use crate::binary::{Server, run};
use crate::config;
use crate::wait::until;

const INFER: &str = "/v2/models/iris/infer";
const BODY: &str = r#"{"inputs":[{"name":"features","shape":[1,4],"datatype":"FP32","data":[5.1,3.5,1.4,0.2]}]}"#;

/// Scores under an id, and says whether that id comes up in the log before the failure that follows it.
fn is_logged(server: &Server, id: &str) -> bool {
    let client = server.client();
    client.post_with(INFER, &[("x-request-id", id)], BODY).expect(200);
    let after = format!("after-{id}");
    client.post_with(INFER, &[("x-request-id", &after)], "{").expect(400);
    until("the failure is in the log", || server.log().contains(&after).then_some(()));
    server.log().lines().any(|line| line.contains(id) && !line.contains(&after) && line.contains("200"))
}

#[test]
fn the_filter_is_changed_while_the_server_runs() {
    let server = Server::start(&config::samples(), &["--log", "info", "--log-format", "json"]);
    let client = server.client();
    let told = client.get("/v2/logging").expect(200).json();
    assert_eq!((&told["log_info"], &told["log_verbose_level"]), (&json!(true), &json!(0)));
    assert_eq!(told["log_filter"], "info");
    assert!(!is_logged(&server, "7f-first"));

    let told = client.post("/v2/logging", r#"{"log_verbose_level":1}"#).expect(200).json();
    assert_eq!((&told["log_info"], &told["log_verbose_level"]), (&json!(true), &json!(1)));
    assert!(is_logged(&server, "7f-second"));

    let told = client.post("/v2/logging", r#"{"log_filter":"info,hedef_core=trace"}"#).expect(200).json();
    assert_eq!(told["log_filter"], "info,hedef_core=trace");
    assert!(!is_logged(&server, "7f-third"));

    for wrong in [r#"{"log_filter":"info,=="}"#, r#"{"log_filter":"hedef=loud"}"#, r#"{"log_info":3}"#, r#"{"log":1}"#]
    {
        let error = client.post("/v2/logging", wrong).expect(400).json();
        assert!(error["error"].as_str().unwrap().contains("logging"), "{error}");
    }
    let told = client.get("/v2/logging").expect(200).json();
    assert_eq!(told["log_filter"], "info,hedef_core=trace");
    assert!(server.log().lines().filter_map(|line| serde_json::from_str::<Value>(line).ok()).count() > 3);
}

#[test]
fn successes_are_logged_when_that_is_asked_for() {
    let server = Server::start(&config::samples(), &["--access-log", "1"]);
    assert!(is_logged(&server, "7f-first"));
    server.client().get("/v2/health/live").expect(200);
    assert!(!server.log().contains("/v2/health/live"), "{}", server.log());
}

#[test]
fn only_who_may_change_models_may_change_the_log() {
    let server = Server::start(&config::samples(), &["--admin", "off"]);
    server.client().get("/v2/logging").expect(403);
    server.client().post("/v2/logging", r#"{"log_error":false}"#).expect(403);
}

#[test]
fn a_filter_that_cannot_be_read_stops_the_start() {
    let said = run(&["--log", "hedef=loud", "serve", "--listen", "127.0.0.1:0"], b"");
    assert_ne!(said.code, Some(0), "{said:?}");
    assert!(said.stderr.contains("--log hedef=loud: ") && said.stderr.contains("expected a level"), "{said:?}");
}
