//! The dashboard and the alerts in `deploy/`: a real Prometheus scrapes a real server, and every query of theirs finds
//! something in what was scraped.

use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::process::{Child, Command, Stdio};

use serde_json::Value;

use crate::binary::{Server, run};
use crate::config;
use crate::http::Client;
use crate::wait::until;

const GOOD: &str = r#"{"inputs":[{"name":"features","shape":[2,4],"datatype":"FP32","data":[1,2,3,4,5,6,7,8]}]}"#;

/// A running Prometheus, killed when dropped.
struct Prometheus {
    child: Child,
    client: Client,
}

impl Prometheus {
    /// Starts one that scrapes `target`, with the alerts of `deploy/`; `None` where it is not installed.
    fn start(target: SocketAddr, key: &str, folder: &tempfile::TempDir) -> Option<Self> {
        let Some(program) = config::program("prometheus") else {
            assert!(!config::ci(), "prometheus is not on the path: apt-get install prometheus");
            return None;
        };
        let settings = fs::read_to_string(config::root().join("deploy/prometheus/scrape.yml")).unwrap();
        let settings = settings.replace("127.0.0.1:8080", &target.to_string()).replace("15s", "1s");
        let settings = settings.replace("# authorization", "authorization").replace("/etc/prometheus/", "");
        fs::write(folder.path().join("scrape.yml"), settings).unwrap();
        fs::write(folder.path().join("hedef.key"), key).unwrap();
        fs::copy(config::root().join("deploy/prometheus/alerts.yml"), folder.path().join("alerts.yml")).unwrap();
        // Prometheus takes no port 0.
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let child = Command::new(program)
            .current_dir(folder.path())
            .args(["--config.file=scrape.yml", "--storage.tsdb.path=data"])
            .arg(format!("--web.listen-address={address}"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let prometheus = Self { child, client: Client::new(address) };
        until("Prometheus listens", || std::net::TcpStream::connect(address).ok());
        until("Prometheus is ready", || (prometheus.client.get("/-/ready").status == 200).then_some(()));
        Some(prometheus)
    }

    /// The series that a query finds.
    fn query(&self, query: &str) -> Vec<Value> {
        let escaped: String = query.bytes().map(|byte| format!("%{byte:02x}")).collect();
        let answer = self.client.get(&format!("/api/v1/query?query={escaped}"));
        assert_eq!(answer.status, 200, "{query}: {}", answer.text());
        answer.json()["data"]["result"].as_array().unwrap().clone()
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The queries of the dashboard, with what Grafana would put in.
fn dashboard() -> Vec<String> {
    let text = fs::read_to_string(config::root().join("deploy/grafana/hedef.json")).unwrap();
    let board: Value = serde_json::from_str(&text).unwrap();
    let targets = board["panels"].as_array().unwrap().iter().flat_map(|panel| panel["targets"].as_array().unwrap());
    let filled =
        |query: &str| query.replace("$model", ".*").replace("$job", "hedef").replace("$__rate_interval", "10s");
    targets.map(|target| filled(target["expr"].as_str().unwrap())).collect()
}

/// The left side of each alert: what is compared.
fn alerts() -> Vec<String> {
    let text = fs::read_to_string(config::root().join("deploy/prometheus/alerts.yml")).unwrap();
    let expressions = text.lines().filter_map(|line| line.trim().strip_prefix("expr: "));
    let left = |expression: &str| {
        let end = [" == ", " > "].iter().filter_map(|sign| expression.rfind(sign)).max();
        // A rate over minutes has nothing to show yet.
        expression[..end.unwrap()].replace("[5m]", "[10s]").replace("[15m]", "[10s]")
    };
    expressions.map(left).collect()
}

#[test]
fn every_query_of_the_dashboard_and_of_the_alerts_finds_something() {
    let folder = tempfile::tempdir().unwrap();
    let made = run(&["keys", "new", "prometheus", "--allow", "score,metrics"], b"");
    let key = made.stderr.trim().rsplit(' ').next().unwrap();
    let keys = folder.path().join("keys.toml");
    fs::write(&keys, &made.stdout).unwrap();
    let server = Server::start(&config::samples(), &["--api-keys", keys.to_str().unwrap()]);
    let client = server.client();
    let Some(prometheus) = Prometheus::start(server.address, key, &folder) else { return };
    let bearer = format!("Bearer {key}");
    let queries = [dashboard(), alerts()].concat();
    assert!(queries.len() > 25, "{queries:?}");
    let mut missing = queries;
    until("every query finds something", || {
        client.post_with("/v2/models/iris/infer", &[("authorization", &bearer)], GOOD).expect(200);
        client.post("/v2/models/iris/infer", GOOD).expect(401);
        // Failures of each kind that somebody is woken for are not to be had on request.
        missing.retain(|query| {
            let query = query.replace(r#"outcome="internal""#, r#"outcome="ok""#).replace(r#"outcome!="ok""#, "");
            prometheus.query(&query).is_empty()
        });
        missing.is_empty().then_some(())
    });
    assert_eq!(prometheus.query("ALERTS{alertstate=\"firing\"}"), [] as [Value; 0], "nothing is wrong");
    until("every alert is looked at", || {
        let rules = prometheus.client.get("/api/v1/rules").json();
        let rules = rules["data"]["groups"][0]["rules"].as_array().unwrap();
        assert!(rules.iter().all(|rule| rule["health"] != "err"), "{rules:?}");
        rules.iter().all(|rule| rule["health"] == "ok").then_some(())
    });
}
