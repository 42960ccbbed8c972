//! Traces: what a collector gets of requests, read by OpenTelemetry's own messages.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::binary::Server;
use crate::certificates::Authority;
use crate::config;
use crate::models::Models;
use crate::python;
use crate::wait::until;

const IRIS: &str = r#"{"inputs":[{"name":"features","shape":[1,4],"datatype":"FP32","data":[1,2,3,4]}]}"#;
const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const CALLER: &str = "b7ad6b7169203331";

/// The `traceparent` of a caller, who records its spans or does not.
fn parent(sampled: bool) -> String {
    format!("00-{TRACE}-{CALLER}-0{}", u8::from(sampled))
}

/// A collector that takes everything, and keeps it. Its threads end with the test's process.
pub(crate) struct Collector {
    address: SocketAddr,
    got: Arc<Mutex<Vec<Posted>>>,
}

pub(crate) struct Posted {
    head: String,
    body: Vec<u8>,
}

impl Collector {
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (address, got) = (listener.local_addr().unwrap(), Arc::<Mutex<Vec<Posted>>>::default());
        let kept = Arc::clone(&got);
        thread::spawn(move || {
            for stream in listener.incoming() {
                let kept = Arc::clone(&kept);
                thread::spawn(move || take(stream.unwrap(), &kept));
            }
        });
        Self { address, got }
    }

    pub(crate) fn endpoint(&self) -> String {
        format!("http://{}/v1/traces", self.address)
    }

    /// Whether something has come.
    fn has_some(&self) -> bool {
        !self.got.lock().unwrap().is_empty()
    }

    /// Whether such bytes stand in something that came.
    pub(crate) fn got(&self, bytes: &[u8]) -> bool {
        self.got.lock().unwrap().iter().any(|posted| posted.body.windows(bytes.len()).any(|found| found == bytes))
    }

    /// Everything that came, as spans.
    fn spans(&self) -> Vec<Span> {
        let (got, folder) = (self.got.lock().unwrap(), TempDir::new().unwrap());
        let mut files = Vec::new();
        for (at, posted) in got.iter().enumerate() {
            assert!(posted.head.contains("POST /v1/traces HTTP/1.1\r\n"), "{}", posted.head);
            assert!(posted.head.contains("content-type: application/x-protobuf\r\n"), "{}", posted.head);
            let file = folder.path().join(at.to_string());
            fs::write(&file, &posted.body).unwrap();
            files.push(file.to_str().unwrap().to_owned());
        }
        let read = python::script("otlp_spans.py", &files.iter().map(String::as_str).collect::<Vec<_>>());
        serde_json::from_str::<Vec<Value>>(&read).unwrap().into_iter().map(Span).collect()
    }
}

/// Takes what is posted on one connection.
fn take(stream: TcpStream, kept: &Mutex<Vec<Posted>>) {
    let mut stream = BufReader::new(stream);
    loop {
        let (mut head, mut length) = (String::new(), 0);
        while !head.ends_with("\r\n\r\n") {
            let before = head.len();
            if stream.read_line(&mut head).unwrap_or(0) == 0 {
                return;
            }
            length = head[before..].trim().strip_prefix("content-length: ").map_or(length, |it| it.parse().unwrap());
        }
        let mut body = vec![0; length];
        stream.read_exact(&mut body).unwrap();
        kept.lock().unwrap().push(Posted { head, body });
        stream.get_mut().write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").unwrap();
    }
}

/// A span as `otlp_spans.py` prints it.
#[derive(Debug)]
struct Span(Value);

impl Span {
    fn text(&self, key: &str) -> &str {
        self.0[key].as_str().unwrap()
    }

    /// Its trace and its own id, as links name it.
    fn id(&self) -> Value {
        json!([self.0["trace"], self.0["span"]])
    }

    fn attribute(&self, key: &str) -> &Value {
        &self.0["attributes"][key]
    }

    fn time(&self, key: &str) -> u64 {
        self.0[key].as_u64().unwrap()
    }
}

fn servers(spans: &[Span]) -> Vec<&Span> {
    spans.iter().filter(|span| span.0["kind"] == 2).collect()
}

/// Checks the spans below that of a request that was run, and returns their names in the order of their starts.
#[track_caller]
fn check_stages(spans: &[Span], server: &Span) -> Vec<String> {
    let mut below: Vec<_> = spans.iter().filter(|span| span.0["parent"] == server.0["span"]).collect();
    below.sort_by_key(|span| (span.time("start"), span.time("end")));
    for stage in &below {
        assert_eq!((stage.text("trace"), &stage.0["kind"]), (server.text("trace"), &json!(1)));
        let times = [server.time("start"), stage.time("start"), stage.time("end"), server.time("end")];
        assert!(times.is_sorted(), "{times:?}: {stage:?} in {server:?}");
    }
    assert!(below.windows(2).all(|two| two[0].time("end") <= two[1].time("start")), "{below:?}");
    below.iter().map(|stage| stage.text("name").to_owned()).collect()
}

#[test]
fn a_request_whose_caller_is_traced_becomes_spans_below_it() {
    let collector = Collector::start();
    let base = format!("http://{}", collector.address);
    let variables = [("OTEL_EXPORTER_OTLP_ENDPOINT", base.as_str()), ("OTEL_SERVICE_NAME", "shop")];
    let secret = ("OTEL_EXPORTER_OTLP_HEADERS", "x-tenant=a%20b");
    let flags = ["--traces-sample", "0"];
    let server = Server::start_in(&config::samples(), &flags, &[variables[0], variables[1], secret]);
    let (client, followed) = (server.client(), parent(true));
    let headers = [("traceparent", followed.as_str()), ("tracestate", "vendor=x"), ("x-request-id", "mine")];
    let answer = client.post_with("/v2/models/iris/infer", &headers, IRIS).expect(200);
    let own = answer.header("traceparent").unwrap().to_owned();
    assert!(own.starts_with(&format!("00-{TRACE}-")) && own.ends_with("-01") && own != followed, "{own}");
    assert_eq!(answer.header("tracestate"), Some("vendor=x"));
    client.post_with("/v2/models/iris/versions/1/infer", &headers, "{").expect(400);
    client.post_with("/v1/models/iris:predict", &headers, r#"{"instances":[[1,2,3,4],[1,2,3,4]]}"#).expect(200);
    client.post_with("/v1/models/nothing:predict", &headers, "").expect(404);
    let others = client.post_with("/v2/models/iris/infer", &[("traceparent", &parent(false))], IRIS).expect(200);
    assert_eq!(others.header("traceparent"), Some(parent(false).as_str()), "its caller is not traced");
    client.post("/v2/models/iris/infer", IRIS).expect(200);
    let ready = client.send(ureq::http::Method::GET, "/v2/health/ready", &headers, b"").unwrap();
    assert_eq!(ready.header("traceparent"), Some(followed.as_str()), "no span is made of it");
    until("spans to be sent", || collector.has_some().then_some(()));
    assert_eq!(server.stop().status.code(), Some(0));

    assert!(collector.got.lock().unwrap()[0].head.contains("x-tenant: a b\r\n"));
    let spans = collector.spans();
    let all = servers(&spans);
    let names: Vec<_> = all.iter().map(|span| span.text("name")).collect();
    let infer = "POST /v2/models/{model}/infer";
    let versioned = "POST /v2/models/{model}/versions/{version}/infer";
    let predict = "POST /v1/models/{model}:predict";
    assert_eq!(names, [infer, versioned, predict, predict]);
    for span in &all {
        assert_eq!((span.text("trace"), span.text("parent"), span.text("state")), (TRACE, CALLER, "vendor=x"));
        assert_eq!((span.text("service"), span.text("scope"), &span.0["flags"]), ("shop", "hedef", &json!(0x301)));
        assert_eq!((&span.0["status"], span.attribute("hedef.request_id")), (&json!(0), &json!("mine")));
    }
    let [first, broken, rows, unknown] = all[..] else { panic!("{all:?}") };
    assert_eq!(own, format!("00-{TRACE}-{}-01", first.text("span")));
    for (key, value) in [
        ("http.request.method", json!("POST")),
        ("http.route", json!("/v2/models/{model}/infer")),
        ("url.path", json!("/v2/models/iris/infer")),
        ("url.scheme", json!("http")),
        ("http.response.status_code", json!(200)),
        ("hedef.model", json!("iris")),
        ("hedef.version", json!(1)),
        ("hedef.rows", json!(1)),
        ("hedef.protocol", json!("v2")),
        ("error.type", Value::Null),
    ] {
        assert_eq!(first.attribute(key), &value, "{key}");
    }
    assert_eq!((rows.attribute("hedef.rows"), rows.attribute("hedef.protocol")), (&json!(2), &json!("v1")));
    assert_eq!(broken.attribute("http.response.status_code"), &json!(400));
    assert_eq!(
        (broken.attribute("error.type"), broken.attribute("hedef.rows")),
        (&json!("invalid_argument"), &Value::Null)
    );
    assert_eq!(
        (unknown.attribute("error.type"), unknown.attribute("hedef.model")),
        (&json!("not_found"), &Value::Null)
    );
    for answered in [first, rows] {
        let stages = check_stages(&spans, answered);
        assert!(stages.iter().filter(|stage| *stage != "queue").eq(["decode", "compute", "encode"]), "{stages:?}");
    }
    assert!(check_stages(&spans, broken).is_empty());
}

#[test]
fn calls_of_grpc_and_requests_in_their_streams_are_traced_too() {
    let collector = Collector::start();
    let flags = ["--traces-endpoint", &collector.endpoint(), "--traces-sample", "0"];
    let server = Server::start(&config::samples(), &flags);
    let url = server.address.to_string();
    let trace = format!("traceparent={}", parent(true));
    let ask = |model: &str, more: &[&str]| -> Value {
        let arguments = [&[model, "--url", &url, &trace], more].concat();
        serde_json::from_str(&python::script("grpc_headers.py", &arguments)).unwrap()
    };
    let good = ask("iris", &[]);
    assert_eq!(ask("nothing", &[])["code"], "NOT_FOUND");
    ask("iris", &["--stream"]);
    assert_eq!(server.stop().status.code(), Some(0));
    let spans = collector.spans();
    let all = servers(&spans);
    let [call, unknown, streamed @ ..] = &all[..] else { panic!("{all:?}") };
    assert_eq!(good["traceparent"], format!("00-{TRACE}-{}-01", call.text("span")));
    assert_eq!(call.text("name"), "inference.GRPCInferenceService/ModelInfer");
    for (key, value) in [
        ("rpc.system", json!("grpc")),
        ("rpc.service", json!("inference.GRPCInferenceService")),
        ("rpc.method", json!("ModelInfer")),
        ("rpc.grpc.status_code", json!(0)),
        ("hedef.model", json!("iris")),
        ("hedef.protocol", json!("grpc")),
    ] {
        assert_eq!(call.attribute(key), &value, "{key}");
    }
    assert_eq!((unknown.attribute("rpc.grpc.status_code"), &unknown.0["status"]), (&json!(5), &json!(0)));
    assert!(streamed.len() == 2 && streamed[0].id() != streamed[1].id(), "{streamed:?}");
    for span in [&[*call], streamed].concat() {
        assert_eq!((span.text("trace"), span.text("parent")), (TRACE, CALLER));
        let stages = check_stages(&spans, span);
        assert!(stages.iter().filter(|stage| *stage != "queue").eq(["decode", "compute", "encode"]), "{stages:?}");
    }
}

#[test]
fn a_run_that_requests_share_is_a_span_that_links_to_them_and_they_to_it() {
    let models = Models::empty();
    models.make("slow");
    models.settings("slow", "instances = 1\nthreads = 1\ninline = false\n[batching]\nenabled = true\nmax_rows = 4\n");
    let collector = Collector::start();
    let flags = ["--traces-endpoint", &collector.endpoint(), "--traces-sample", "1"];
    let server = Server::start(models.path(), &flags);
    let body = r#"{"inputs":[{"name":"x","shape":[1,4],"datatype":"FP32","data":[1,2,3,4]}]}"#;
    let ask = || {
        let answer = server.client().post_with("/v2/models/slow/infer", &[("hedef-explain", "1")], body).expect(200);
        assert!(answer.header("traceparent").unwrap().ends_with("-01"));
        answer.header("hedef-explain").unwrap().contains(r#""requests":4"#)
    };
    until("requests to share a run", || {
        thread::scope(|scope| {
            let threads: Vec<_> = (0..9).map(|_| scope.spawn(ask)).collect();
            threads.into_iter().any(|thread| thread.join().unwrap()).then_some(())
        })
    });
    assert_eq!(server.stop().status.code(), Some(0));
    let spans = collector.spans();
    let (all, batches): (_, Vec<_>) =
        (servers(&spans), spans.iter().filter(|span| span.text("name") == "batch").collect());
    let mut linked = 0;
    for batch in &batches {
        let links = batch.0["links"].as_array().unwrap();
        assert_eq!(batch.attribute("hedef.batch.requests"), &json!(links.len()), "all are traced");
        assert_eq!((batch.text("parent"), batch.attribute("hedef.model")), ("", &json!("slow")));
        assert!(batch.attribute("hedef.batch.reason").is_string() && batch.attribute("hedef.instance").is_u64());
        for link in links {
            let request = all.iter().find(|span| span.id() == *link).unwrap();
            assert_eq!(check_stages(&spans, request), ["decode", "queue", "compute", "encode"]);
            let compute =
                spans.iter().find(|span| span.text("name") == "compute" && span.0["parent"] == request.0["span"]);
            assert_eq!(compute.unwrap().0["links"], json!([batch.id()]));
            linked += 1;
        }
    }
    assert_eq!(linked, all.len(), "each request was in one run");
    assert!(batches.iter().any(|batch| batch.attribute("hedef.batch.requests") == &json!(4)));
    assert!(batches.iter().all(|batch| all.iter().all(|span| span.text("trace") != batch.text("trace"))));
}

#[test]
fn a_run_that_failed_is_told_too() {
    let models = Models::empty();
    models.make("brittle");
    models.make_as("quick", "brittle", &[]);
    models.settings("brittle", "inline = false\n[batching]\nenabled = true\n");
    models.settings("quick", "inline = true\n");
    let collector = Collector::start();
    let server = Server::start(models.path(), &["--traces-endpoint", &collector.endpoint(), "--traces-sample", "1"]);
    let body = r#"{"inputs":[{"name":"x","shape":[1,4],"datatype":"FP32","data":[1,2,3,1e9]}]}"#;
    let ask = |model: &str| {
        let answer = server.client().post_with(&format!("/v2/models/{model}/infer"), &[("hedef-explain", "1")], body);
        assert!(answer.status >= 400, "{}", answer.text());
        let told: Value = serde_json::from_str(answer.header("hedef-explain").unwrap()).unwrap();
        (answer.json()["error"].as_str().unwrap().to_owned(), told)
    };
    let ((queued, story), (at_once, short)) = (ask("brittle"), ask("quick"));
    assert_eq!((&story["road"], &short["road"]), (&json!("queued"), &json!("inline")));
    for story in [story, short] {
        assert!(story["outcome"] != "ok" && story["compute_us"].as_f64().unwrap() > 0.0, "{story}");
        assert!(story["queue_us"].is_f64() && story["encode_us"].is_null(), "{story}");
    }
    assert_eq!(server.stop().status.code(), Some(0));
    let spans = collector.spans();
    let all = servers(&spans);
    let of = |name: &str| spans.iter().filter(|span| span.text("name") == name).collect::<Vec<_>>();
    assert_eq!(check_stages(&spans, all[0]), ["decode", "queue", "compute"]);
    assert_eq!(check_stages(&spans, all[1]), ["decode", "compute"]);
    let (computed, batch) = (of("compute"), of("batch")[0]);
    for (span, told) in [(computed[0], &queued), (computed[1], &at_once), (batch, &queued)] {
        assert_eq!((&span.0["status"], span.text("message")), (&json!(2), told.as_str()));
    }
    assert_eq!(computed[0].0["links"], json!([batch.id()]));
    assert_eq!(batch.0["links"], json!([all[0].id()]));
    for stage in ["decode", "queue"] {
        assert!(of(stage).iter().all(|span| span.0["status"] == 0), "{stage} went well");
    }
}

#[test]
fn nothing_is_sent_of_requests_that_are_not_traced() {
    let collector = Collector::start();
    let server =
        Server::start(&config::samples(), &["--traces-endpoint", &collector.endpoint(), "--traces-sample", "0"]);
    let client = server.client();
    for _ in 0..100 {
        assert_eq!(client.post("/v2/models/iris/infer", IRIS).expect(200).header("traceparent"), None);
    }
    assert_eq!(server.stop().status.code(), Some(0));
    assert!(!collector.has_some());
}

#[test]
fn a_collector_that_is_not_there_costs_no_request_anything() {
    let gone = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let endpoint = format!("http://{gone}/v1/traces");
    let server = Server::start(&config::samples(), &["--traces-endpoint", &endpoint, "--traces-sample", "1"]);
    let client = server.client();
    until("spans to be dropped", || {
        client.post("/v2/models/iris/infer", IRIS).expect(200);
        let text = client.get("/metrics").text();
        let dropped = text.lines().find_map(|line| line.strip_prefix("hedef_traces_dropped_total ")).unwrap();
        (dropped.parse::<f64>().unwrap() > 0.0).then_some(())
    });
    let ended = server.stop();
    assert_eq!(ended.status.code(), Some(0), "{}", ended.log);
    let complaints = ended.log.lines().filter(|line| line.contains("the collector of traces did not take")).count();
    assert_eq!(complaints, 1, "{}", ended.log);
}

#[test]
fn a_collector_within_tls_is_trusted_by_the_authorities_of_the_machine() {
    // Another server is a collector that answers: there is nothing at that path.
    let (authority, stranger) = (Authority::new(), Authority::new());
    let folder = tempfile::tempdir().unwrap();
    authority.server().write(folder.path());
    let file = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let (certificate, key) = (file("cert.pem"), file("key.pem"));
    let other = Server::start(&config::samples(), &["--tls-cert", &certificate, "--tls-key", &key]);
    let endpoint = format!("https://localhost:{}/v1/traces", other.address.port());
    for (authority, reason) in [(&authority, "it answered 404"), (&stranger, "it cannot be reached: invalid peer")] {
        let trusted = file("trusted.pem");
        fs::write(&trusted, &authority.pem).unwrap();
        let flags = ["--traces-endpoint", &endpoint, "--traces-sample", "1"];
        let server = Server::start_in(&config::samples(), &flags, &[("SSL_CERT_FILE", &trusted)]);
        server.client().post("/v2/models/iris/infer", IRIS).expect(200);
        let ended = server.stop();
        assert_eq!(ended.status.code(), Some(0), "{}", ended.log);
        assert!(ended.log.contains(reason), "{reason}: {}", ended.log);
    }
}

#[test]
fn a_collector_that_cannot_be_is_refused_at_the_start() {
    for (flag, value, reason) in [
        ("--traces-endpoint", "collector:4318", "endpoint for traces `collector:4318`"),
        ("--traces-sample", "2", "expected a number from 0 to 1, got 2"),
        ("--traces-headers", "secret", "header `secret` for the collector"),
    ] {
        let arguments = ["serve", "models", "--traces-endpoint", "http://127.0.0.1:1", flag, value];
        let arguments = if flag == "--traces-endpoint" { &["serve", "models", flag, value][..] } else { &arguments };
        let said = crate::binary::run(arguments, b"");
        assert!(said.code != Some(0) && said.stderr.contains(reason), "{}", said.stderr);
    }
}
