//! API keys, from the command that makes them to the file that is read again.

use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;

use rustix::process::Signal;
use tempfile::TempDir;
use tokio::net::TcpStream;
use ureq::http::Method;

use crate::binary::{Server, run};
use crate::config;
use crate::http::{Answer, Client};
use crate::load::http2::{greet, open};
use crate::load::{Peer, Protocol, while_asking};
use crate::models::Models;
use crate::traces::Collector;
use crate::wait::until;

const INFER: &str = "/v2/models/iris/infer";
const LOAD: &str = "/v2/repository/models/iris/load";
const BODY: &str = r#"{"inputs":[{"name":"features","shape":[1,4],"datatype":"FP32","data":[5.1,3.5,1.4,0.2]}]}"#;

/// A key, and its entry for the file.
struct Made {
    key: String,
    entry: String,
}

fn make(arguments: &[&str]) -> Made {
    let said = run(&[&["keys", "new"], arguments].concat(), b"");
    assert_eq!(said.code, Some(0), "{said:?}");
    let key = said.stderr.trim().rsplit(' ').next().unwrap().to_string();
    assert!(key.starts_with("hedef_") && !said.stdout.contains(&key), "{said:?}");
    Made { key, entry: said.stdout }
}

struct File {
    folder: TempDir,
}

impl File {
    fn of(keys: &[&Made]) -> Self {
        let file = Self { folder: tempfile::tempdir().unwrap() };
        file.write(keys);
        file
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("keys.toml")
    }

    fn write(&self, keys: &[&Made]) {
        fs::write(self.path(), keys.iter().map(|made| made.entry.as_str()).collect::<String>()).unwrap();
    }

    /// A server that looks at the file every so many milliseconds.
    fn serve(&self, milliseconds: &str, flags: &[&str]) -> Server {
        let path = self.path();
        let own = ["--api-keys", path.to_str().unwrap(), "--reload-interval-ms", milliseconds];
        Server::start(&config::samples(), &[&own, flags].concat())
    }
}

fn post(client: &Client, path: &str, key: Option<&str>) -> Answer {
    let key = key.map(|key| format!("Bearer {key}"));
    let headers: Vec<_> = key.iter().map(|key| ("authorization", key.as_str())).collect();
    client.post_with(path, &headers, if path == LOAD { "" } else { BODY })
}

#[test]
fn a_new_key_says_what_it_may() {
    let made = make(&["narrow", "--allow", "score,metrics", "--model", "iris", "--requests-per-second", "5"]);
    let table: toml::Table = made.entry.parse().unwrap();
    let key = table["keys"][0].as_table().unwrap();
    assert_eq!(key["name"].as_str(), Some("narrow"));
    assert_eq!(key["allow"].as_array().unwrap().len(), 2);
    assert_eq!((key["models"][0].as_str(), key["requests_per_second"].as_float()), (Some("iris"), Some(5.0)));
    for wrong in
        [&["two words"][..], &["token"], &["x", "--allow", "all"], &["x", "--burst", "1"], &["x", "--model", "../x"]]
    {
        let said = run(&[&["keys", "new"], wrong].concat(), b"");
        assert!(said.code != Some(0) && said.stdout.is_empty(), "{said:?}");
    }
}

#[test]
fn requests_need_a_key_that_may_and_no_key_is_ever_told() {
    let (score, admin) = (make(&["dashboard"]), make(&["deploy", "--allow", "admin"]));
    let metrics = make(&["prometheus", "--allow", "metrics"]);
    let file = File::of(&[&score, &admin, &metrics]);
    // Nothing is kept from the log.
    let server = file.serve("20", &["--log", "trace"]);
    let client = server.client();
    let (score, admin) = (Some(score.key.as_str()), Some(admin.key.as_str()));
    let unknown = "hedef_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
    let cases = [
        (INFER, score, 200),
        (INFER, admin, 403),
        (INFER, None, 401),
        (INFER, Some(unknown), 401),
        (LOAD, admin, 200),
        (LOAD, score, 403),
        (LOAD, None, 401),
        ("/v1/models/iris:predict", None, 401),
        ("/score", None, 401),
    ];
    for (path, key, status) in cases {
        let answer = post(&client, path, key).expect(status);
        assert_eq!(answer.header("www-authenticate").is_some(), status != 200, "{path}");
        assert!(!answer.text().contains("hedef_"), "{}", answer.text());
    }
    client.get("/v2/health/ready").expect(200);
    client.get("/metrics").expect(401);
    let scrape = client.send(Method::GET, "/metrics", &[("x-api-key", metrics.key.as_str())], b"").unwrap().expect(200);
    for line in [
        r#"hedef_key_requests_total{key="dashboard",outcome="ok"} 1"#,
        r#"hedef_key_requests_total{key="deploy",outcome="invalid_argument"} 1"#,
        r#"hedef_access_refused_total{reason="missing"} 5"#,
        r#"hedef_access_refused_total{reason="unknown_key"} 1"#,
    ] {
        assert!(scrape.text().contains(line), "{line} in {}", scrape.text());
    }
    let log = server.log();
    assert!(log.contains("key=dashboard") && log.contains("key=deploy"), "{log}");
    for key in [score.unwrap(), admin.unwrap(), &metrics.key, unknown] {
        assert!(!log.contains(&key[6..]), "a key stands in the log");
    }
}

/// Posts to each target over HTTP/2, as JSON and as gRPC, and returns the statuses and everything that was answered.
fn post_over_http2(server: &Server, targets: &[String]) -> (Vec<u16>, String) {
    let asking = async {
        let (mut statuses, mut told) = (Vec::new(), String::new());
        let sender = greet(TcpStream::connect(server.address).await.unwrap()).await.unwrap();
        for target in targets {
            for media_type in ["application/json", "application/grpc"] {
                let asked = open(&sender, &Peer::new(server.address), (target, media_type)).await;
                let (response, mut sending) = asked.unwrap();
                // Who is refused by the head may have its answer already.
                let _ = sending.send_data(BODY.into(), true);
                let (head, mut body) = response.await.unwrap().into_parts();
                statuses.push(head.status.as_u16());
                write!(told, "{:?} ", head.headers).unwrap();
                while let Some(data) = body.data().await {
                    told.push_str(&String::from_utf8_lossy(&data.unwrap()));
                }
                write!(told, "{:?}", body.trailers().await.unwrap()).unwrap();
            }
        }
        (statuses, told)
    };
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(asking)
}

#[test]
fn a_key_in_a_query_opens_nothing_and_stands_nowhere() {
    let made = make(&["all", "--allow", "score,admin,metrics"]);
    let file = File::of(&[&made]);
    let collector = Collector::start();
    let traces = ["--traces-endpoint", &collector.endpoint(), "--traces-sample", "1"];
    // Nothing is kept from the log.
    let server = file.serve("20", &[&["--log", "trace", "--access-log", "1"], &traces[..]].concat());
    let client = server.client();
    let queries = ["api_key", "api-key", "x-api-key", "key", "subscription-key", "access_token", "Authorization"];
    let queries: Vec<_> = queries
        .iter()
        .flat_map(|name| ["", "Bearer%20", "Bearer+"].map(|scheme| format!("{name}={scheme}{}", made.key)))
        .collect();
    let closed =
        [INFER, LOAD, "/v1/models/iris:predict", "/score", "/v2/models", "/v2/logging", "/v2/repository/index"];
    let (mut told, mut targets) = (String::new(), Vec::new());
    for query in &queries {
        for path in closed {
            let answer = client.post(&format!("{path}?{query}"), BODY);
            assert!([401, 405].contains(&answer.status), "{path}: {} {}", answer.status, answer.text());
            write!(told, "{} {:?}", answer.text(), answer.headers).unwrap();
        }
        for (path, status) in
            [("/metrics", 401), ("/v2/models/iris", 401), ("/nothing", 401), ("/v2/health/ready", 200)]
        {
            let answer = client.get(&format!("{path}?{query}")).expect(status);
            write!(told, "{} {:?}", answer.text(), answer.headers).unwrap();
        }
        targets.extend(
            [INFER, "/metrics", "/inference.GRPCInferenceService/ModelInfer"].map(|path| format!("{path}?{query}")),
        );
    }
    let (statuses, more) = post_over_http2(&server, &targets);
    assert!(!more.contains("setosa"), "{more}");
    assert!(statuses.iter().all(|status| [200, 401, 405, 415].contains(status)), "{statuses:?}");
    assert_eq!(more.matches("\"grpc-status\": \"16\"").count(), queries.len() * 3, "{more}");
    // Where a key is asked for, a query is no matter.
    let good = client.post_with(&format!("{INFER}?{}", queries[0]), &[("x-api-key", &made.key)], BODY).expect(200);
    told.push_str(&good.text());
    let scrape = client.send(Method::GET, "/metrics", &[("x-api-key", &made.key)], b"").unwrap().expect(200);
    told.push_str(&scrape.text());
    let ended = server.stop();
    assert!(ended.status.success() && ended.log.contains("POST /score 401"), "{}", ended.log);
    assert!(collector.got(b"/v2/models/iris/infer"), "something is traced");
    assert!(!collector.got(&made.key.as_bytes()[6..]), "a key stands in a trace");
    for (what, text) in [("the log", &ended.log), ("an answer", &told), ("an answer over HTTP/2", &more)] {
        if let Some(at) = text.find(&made.key[6..]) {
            panic!("a key stands in {what}: {}", &text[at.saturating_sub(400)..at]);
        }
    }
}

#[test]
fn keys_come_and_go_under_load_without_a_failed_request() {
    let (kept, passing) = (make(&["kept"]), make(&["passing"]));
    let file = File::of(&[&kept]);
    let server = file.serve("20", &[]);
    let peer = Peer::new(server.address).showing(&kept.key);
    let callers = [
        (Protocol::Http1, 1, 1),
        (Protocol::Http1, 1, usize::MAX),
        (Protocol::Http2, 2, usize::MAX),
        (Protocol::Http2, 2, 3),
        (Protocol::Grpc, 2, 3),
        (Protocol::GrpcStream, 2, usize::MAX),
    ];
    while_asking(&peer, &callers, &[], |load| {
        let client = server.client();
        let status = || post(&client, INFER, Some(&passing.key)).status;
        for turn in 1..=5 {
            assert_eq!(status(), 401);
            file.write(&[&passing, &kept]);
            until("the key to come", || (status() == 200).then_some(()));
            // A file that is wrong changes nothing; nor does one that is empty while it is written.
            fs::write(file.path(), "[[keys]]\nname = \"half").unwrap();
            until("it to be told", || {
                (server.log().matches("not read again, the old goes on: line 2").count() == turn).then_some(())
            });
            assert_eq!(status(), 200);
            file.write(&[&kept]);
            until("the key to go", || (status() == 401).then_some(()));
            load.goes_on();
        }
    });
}

#[test]
fn a_hangup_reads_the_keys_at_once_and_without_keys_ends_the_server() {
    let (one, two) = (make(&["one"]), make(&["two"]));
    let file = File::of(&[&one]);
    let server = file.serve("3600000", &[]);
    let client = server.client();
    file.write(&[&two]);
    server.signal(Signal::HUP);
    until("the other key", || (post(&client, INFER, Some(&two.key)).status == 200).then_some(()));
    post(&client, INFER, Some(&one.key)).expect(401);
    assert!(server.stop().status.success());

    // Under `nohup` nothing ends by it.
    if !ignores_hangups() {
        let plain = Server::samples();
        plain.signal(Signal::HUP);
        assert_eq!(plain.ended().status.code(), None);
    }
}

/// Whether this process, and so every one that it starts, was told to ignore SIGHUP, which is signal 1.
fn ignores_hangups() -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:")).unwrap();
    u64::from_str_radix(ignored.trim(), 16).unwrap() & 1 == 1
}

#[test]
fn a_key_sends_no_more_than_its_rate() {
    let made = make(&["slow", "--requests-per-second", "0.001", "--burst", "3"]);
    let file = File::of(&[&made]);
    let server = file.serve("20", &[]);
    let client = server.client();
    let statuses: Vec<_> = (0..5).map(|_| post(&client, INFER, Some(&made.key)).status).collect();
    assert_eq!(statuses, [200, 200, 200, 429, 429]);
    let wait: u64 = post(&client, INFER, Some(&made.key)).header("retry-after").unwrap().parse().unwrap();
    assert!((1..=1000).contains(&wait), "{wait}");
}

#[test]
fn a_port_for_administration_closes_the_others_for_it() {
    let models = Models::samples(&["iris"]);
    let server = Server::start(models.path(), &["--admin-listen", "127.0.0.1:0"]);
    let refused = server.client().post(LOAD, "").expect(403);
    assert!(refused.text().contains("closed here"), "{}", refused.text());
    server.client().post(INFER, BODY).expect(200);
    let own = Client::new(server.address_for("administration"));
    own.post(LOAD, "").expect(200);
    own.get("/metrics").expect(200);
    own.post(INFER, BODY).expect(200);
    assert!(server.stop().status.success());
}

#[test]
fn without_keys_administration_is_closed_to_the_network() {
    let models = Models::samples(&["iris"]);
    let server = Server::start(models.path(), &["--grpc-listen", "0.0.0.0:0"]);
    let client = server.client();
    client.post(LOAD, "").expect(403);
    client.post(INFER, BODY).expect(200);
}
