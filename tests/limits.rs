//! What happens when there is too much to do, too little time, or nobody left to answer.

use crate::binary::Server;
use crate::http::Wire;
use crate::models::Models;
use crate::wait::until;

const PATH: &str = "/v2/models/slow/infer";
const BODY: &str = r#"{"inputs":[{"name":"x","shape":[1,4],"datatype":"FP32","data":[1,2,3,4]}]}"#;

/// A model of which one run takes a while, run one request at a time.
fn slow(settings: &str, flags: &[&str]) -> (Models, Server) {
    let models = Models::empty();
    models.make("slow");
    models.settings("slow", &format!("instances = 1\nthreads = 1\n{settings}\n[batching]\nenabled = false\n"));
    let server = Server::start(models.path(), flags);
    (models, server)
}

fn send(server: &Server, path: &str, body: &str) -> Wire {
    let mut wire = server.wire();
    wire.send(format!("POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n{body}", body.len()));
    wire
}

/// Waits until a gauge or a counter of the slow model has a value that is `right`.
fn until_metric(server: &Server, name: &str, right: impl Fn(u64) -> bool) {
    until_metric_of(server, "slow", name, right);
}

fn until_metric_of(server: &Server, model: &str, name: &str, right: impl Fn(u64) -> bool) {
    let series = format!("{name}{{model=\"{model}\",version=\"1\"}} ");
    until(name, || {
        let text = server.client().get("/metrics").text();
        let value = text.lines().find_map(|line| line.strip_prefix(&series)?.parse().ok());
        value.is_some_and(&right).then_some(())
    });
}

/// A request whose run never ends by itself, and one whose run is short.
const ENDLESS: &str = r#"{"inputs":[{"name":"x","shape":[1,4],"datatype":"FP32","data":[1e12,0,0,0]}]}"#;
const SHORT: &str = r#"{"inputs":[{"name":"x","shape":[1,4],"datatype":"FP32","data":[1,0,0,0]}]}"#;
const PATIENT: &str = "/v2/models/patient/infer";

/// A model whose runs take as long as the request says.
fn patient() -> (Models, Server) {
    let models = Models::empty();
    models.make("patient");
    models.settings("patient", "instances = 1\nthreads = 1\ninline = false\n");
    let server = Server::start(models.path(), &[]);
    (models, server)
}

#[test]
fn a_full_queue_refuses_at_once_and_those_in_it_are_answered() {
    let (_models, server) = slow("queue_capacity = 2", &[]);
    for (path, body, refusal, key) in
        [(PATH, BODY, 503, "error"), ("/score", r#"{"data":[[1,2,3,4]]}"#, 429, "message")]
    {
        let mut wires: Vec<_> = (0..10).map(|_| send(&server, path, body)).collect();
        let answers: Vec<_> = wires.iter_mut().map(|wire| wire.answer().unwrap()).collect();
        let answered = answers.iter().filter(|answer| answer.status == 200).count();
        assert!((1..=5).contains(&answered), "{answered} of ten fit one run and a queue of two");
        for refused in answers.iter().filter(|answer| answer.status != 200) {
            let message = refused.json()[key].as_str().unwrap().to_string();
            assert_eq!(refused.status, refusal, "{message}");
            assert!(refused.header("retry-after").unwrap().parse::<u32>().unwrap() >= 1);
            assert!(message.contains("queue of model `slow/1` is full"), "{message}");
        }
    }
}

#[test]
fn a_request_waits_no_longer_than_it_allows() {
    let (_models, server) = slow("", &[]);
    let mut busy = send(&server, PATH, BODY);
    until_metric(&server, "hedef_instances_busy", |busy| busy == 1);
    let hurried = BODY.replace(r#"{"inputs""#, r#"{"parameters":{"timeout":1},"inputs""#);
    let answer = server.client().post_with(PATH, &[("hedef-explain", "1")], hurried).expect(504);
    let refused = answer.json();
    assert!(refused["error"].as_str().unwrap().contains("ran out while the request was waiting"), "{refused}");
    assert!(answer.header("hedef-explain").unwrap().contains(r#""turned_away":"its time ran out""#));
    assert_eq!(busy.answer().unwrap().status, 200);
}

#[test]
fn no_request_takes_longer_than_the_server_allows() {
    let (_models, server) = slow("", &["--request-timeout-ms", "5"]);
    let refused = server.client().post(PATH, BODY).expect(504).json();
    let message = refused["error"].as_str().unwrap();
    assert!(message.contains("5 ms") || message.contains("ran out"), "{message}");
    server.client().get("/v2/health/ready").expect(200);
}

#[test]
fn requests_of_clients_that_left_are_not_run() {
    let (_models, server) = slow("", &[]);
    let mut staying: Vec<_> = (0..6).map(|_| send(&server, PATH, BODY)).collect();
    until_metric(&server, "hedef_queue_depth", |waiting| waiting >= 4);
    let leaving: Vec<_> = (0..4).map(|_| send(&server, PATH, BODY)).collect();
    until_metric(&server, "hedef_queue_depth", |waiting| waiting >= 4);
    drop(leaving);
    for wire in &mut staying {
        assert_eq!(wire.answer().unwrap().status, 200);
    }
    server.client().post(PATH, BODY).expect(200);
    until_metric(&server, "hedef_cancelled_requests_total", |left| left >= 1);
    until_metric(&server, "hedef_queue_depth", |waiting| waiting == 0);
}

#[test]
fn a_run_whose_client_leaves_is_ended() {
    let (_models, server) = patient();
    for left in 1..=3 {
        let wire = send(&server, PATIENT, ENDLESS);
        until_metric_of(&server, "patient", "hedef_instances_busy", |busy| busy == 1);
        drop(wire);
        until_metric_of(&server, "patient", "hedef_stopped_runs_total", |stopped| stopped == left);
    }
    server.client().post(PATIENT, SHORT).expect(200);
}

#[test]
fn a_run_whose_time_is_over_is_ended_whoever_limited_it() {
    let (_models, server) = patient();
    let parameter = ENDLESS.replace(r#"{"inputs""#, r#"{"parameters":{"timeout":200000},"inputs""#);
    let json = ("content-type", "application/json");
    for (headers, body, left) in [(vec![json, ("grpc-timeout", "200m")], ENDLESS, 1), (vec![json], &parameter, 2)] {
        let refused = server.client().post_with(PATIENT, &headers, body).expect(504).json();
        assert_eq!(refused["error"], "the request did not finish within 200 ms");
        until_metric_of(&server, "patient", "hedef_stopped_runs_total", |stopped| stopped == left);
    }
    server.client().post(PATIENT, SHORT).expect(200);
    let wrong = server.client().post_with(PATIENT, &[json, ("grpc-timeout", "soon")], SHORT).expect(400).json();
    assert!(wrong["error"].as_str().unwrap().contains("such as `500m`, got `soon`"), "{wrong}");
}

#[test]
fn a_request_without_hope_is_refused_at_once_and_told_when_to_come_again() {
    let (_models, server) = slow("", &[]);
    server.client().post(PATH, BODY).expect(200);
    let mut waiting: Vec<_> = (0..8).map(|_| send(&server, PATH, BODY)).collect();
    until_metric(&server, "hedef_queue_depth", |waiting| waiting >= 6);
    let headers = [("content-type", "application/json"), ("grpc-timeout", "50m")];
    let refused = server.client().post_with(PATH, &headers, BODY).expect(503);
    assert!(refused.header("retry-after").unwrap().parse::<u32>().unwrap() >= 1);
    let message = refused.json()["error"].as_str().unwrap().to_string();
    assert!(message.contains("too busy to answer in time"), "{message}");
    for wire in &mut waiting {
        assert_eq!(wire.answer().unwrap().status, 200);
    }
}

#[test]
fn a_request_without_hope_is_refused_before_its_tensors_have_come() {
    let (_models, server) = slow("", &[]);
    server.client().post(PATH, BODY).expect(200);
    let mut waiting: Vec<_> = (0..8).map(|_| send(&server, PATH, BODY)).collect();
    until_metric(&server, "hedef_queue_depth", |waiting| waiting >= 6);
    let json = r#"{"parameters":{"timeout":50000},"inputs":[{"name":"x","shape":[65536,4],"datatype":"FP32","parameters":{"binary_data_size":1048576}}]}"#;
    let (json_length, length) = (json.len(), json.len() + (1 << 20));
    let mut hurried = server.wire();
    let headers = format!("Content-Length: {length}\r\nInference-Header-Content-Length: {json_length}");
    hurried.send(format!("POST {PATH} HTTP/1.1\r\nHost: x\r\n{headers}\r\n\r\n{json}"));
    let refused = hurried.answer().unwrap();
    assert_eq!(refused.status, 503, "{}", refused.text());
    assert!(refused.text().contains("too busy to answer in time"), "{}", refused.text());
    for wire in &mut waiting {
        assert_eq!(wire.answer().unwrap().status, 200);
    }
}
