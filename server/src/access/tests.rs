use std::fs;
use std::path::PathBuf;

use axum::body::Body;
use http::Request;
use tempfile::TempDir;

use super::keys::{KeyEntry, NewKey};
use super::permission::Permission::{self, Admin as Administer, Metrics, Score};
use super::*;
use crate::config::{Admin, Settings};
use crate::testing::{Answer, House, house};

const BODY: &str = r#"{"inputs":[{"name":"x","datatype":"FP32","shape":[1,2],"data":[1,2]}]}"#;
const INFER: &str = "/v2/models/double/infer";
const LOAD: &str = "/v2/repository/models/double/load";

/// A file of keys.
struct Keyring {
    folder: TempDir,
    text: String,
}

impl Keyring {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap(), text: String::new() }
    }

    /// Adds a key, and returns it.
    fn add(&mut self, name: &str, allow: &[Permission], change: impl FnOnce(&mut KeyEntry)) -> String {
        let mut entry = KeyEntry {
            name: name.into(),
            sha256: String::new(),
            allow: allow.to_vec(),
            models: None,
            requests_per_second: None,
            burst: None,
        };
        change(&mut entry);
        let made = NewKey::make(entry).unwrap();
        self.text.push_str(&made.entry);
        fs::write(self.file(), &self.text).unwrap();
        made.key
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("keys.toml")
    }

    fn house(&self, change: impl FnOnce(&mut Settings)) -> House {
        house(|settings| {
            settings.credentials.api_keys = Some(self.file());
            change(settings);
        })
    }
}

async fn post(house: &House, path: &str, (name, value): (&str, &str)) -> Answer {
    house.send(Request::post(path).header(name, value).body(if path == LOAD { "" } else { BODY }).unwrap()).await
}

fn bearer(key: &str) -> String {
    format!("Bearer {key}")
}

#[tokio::test]
async fn a_key_is_taken_from_any_of_three_headers() {
    let mut ring = Keyring::new();
    let key = ring.add("mine", &[Score], |_| {});
    let house = ring.house(|_| {});
    let (long, loud) = (bearer(&key), format!("BEARER   {key} "));
    for header in [("authorization", &*long), ("authorization", &loud), ("x-api-key", &key), ("api-key", &key)] {
        assert_eq!(post(&house, INFER, header).await.status, 200, "{header:?}");
    }
    let both = Request::post(INFER).header("authorization", "Basic eDp5").header("api-key", &key).body(BODY).unwrap();
    assert_eq!(house.send(both).await.status, 200);
}

#[tokio::test]
async fn without_a_right_key_nothing_but_health_is_answered() {
    let mut ring = Keyring::new();
    let key = ring.add("mine", &[Score], |_| {});
    let house = ring.house(|_| {});
    for path in ["/", "/v2/health/live", "/v2/health/ready"] {
        assert_eq!(house.get(path).await.status, 200, "{path}");
    }
    for path in ["/v2", "/v2/models", "/v2/models/double/ready", "/v1/models", "/metrics", "/swagger.json", "/nothing"]
    {
        assert_eq!(house.get(path).await.status, 401, "{path}");
    }
    for path in [INFER, "/v1/models/double:predict", LOAD, "/v2/repository/index"] {
        let missing = house.post(path, BODY).await;
        assert_eq!((missing.status, missing.header("www-authenticate")), (401, Some(r#"Bearer realm="hedef""#)));
        assert!(missing.json()["error"].as_str().unwrap().starts_with("a key or token is needed"));
        for wrong in ["x", &key[..48], &format!("{key}x"), "Bearer "] {
            let refused = post(&house, path, ("authorization", &bearer(wrong))).await;
            let challenge = refused.header("www-authenticate").unwrap();
            assert_eq!((refused.status, challenge.contains("invalid_token")), (401, true), "{path} {wrong}");
            assert!(!refused.text().contains(wrong), "{}", refused.text());
        }
    }
    assert_eq!(house.post("/score", BODY).await.json()["message"].as_str().map(|m| &m[..5]), Some("a key"));
    let text = house.app.metrics.text().unwrap();
    let text = String::from_utf8(text).unwrap();
    assert!(text.contains(r#"hedef_access_refused_total{reason="unknown_key"} 16"#), "{text}");
}

#[tokio::test]
async fn a_key_does_what_it_may_and_is_counted_by_its_name() {
    let mut ring = Keyring::new();
    let score = ring.add("dashboard", &[Score], |_| {});
    let admin = ring.add("deploy", &[Administer], |_| {});
    let metrics = ring.add("prometheus", &[Metrics], |_| {});
    let house = ring.house(|settings| settings.listen = "0.0.0.0:0".parse().unwrap());
    let scrape = Request::get("/metrics");
    let cases = [(&score, [200, 403, 403]), (&admin, [403, 200, 403]), (&metrics, [403, 403, 200])];
    for (key, expected) in cases {
        let scrape = Request::get("/metrics").header("x-api-key", key).body(Body::empty()).unwrap();
        let found = [
            post(&house, INFER, ("x-api-key", key)).await.status,
            post(&house, LOAD, ("x-api-key", key)).await.status,
            house.send(scrape).await.status,
        ];
        assert_eq!(found, expected);
    }
    let refused = post(&house, LOAD, ("x-api-key", &score)).await;
    assert_eq!(refused.json()["error"], "`dashboard` has no permission for this: expected `admin`");
    let answer = house.send(scrape.header("x-api-key", &metrics).body(Body::empty()).unwrap()).await;
    for line in [
        r#"hedef_key_requests_total{key="dashboard",outcome="ok"} 1"#,
        r#"hedef_key_requests_total{key="dashboard",outcome="invalid_argument"} 3"#,
        r#"hedef_key_requests_total{key="prometheus",outcome="ok"} 1"#,
        r#"hedef_access_refused_total{reason="permission"} 7"#,
    ] {
        assert!(answer.text().contains(line), "{line} in {}", answer.text());
    }
}

#[tokio::test]
async fn a_key_for_some_models_sees_no_others() {
    let mut ring = Keyring::new();
    let key = ring.add("narrow", &[Score, Administer], |entry| entry.models = Some(vec!["gated".into()]));
    let house = ring.house(|_| {});
    let get = |path: &str| house.send(Request::get(path).header("api-key", &key).body(Body::empty()).unwrap());
    for path in [
        "/v2/models/double",
        "/v2/models/double/ready",
        "/v2/models/double/stats",
        "/v2/models/double/status",
        "/v2/models/double/config",
        "/v2/models/nothing",
        "/v2/models/doubl%65/ready",
        "/v1/models/double",
        "/v1/models/double/metadata",
    ] {
        let refused = get(path).await;
        assert_eq!(refused.status, 403, "{path}: {}", refused.text());
        assert!(refused.text().contains("`narrow` has no permission for model `"), "{}", refused.text());
    }
    for path in [INFER, "/v2/models/doubl%65/infer", "/v1/models/double:predict", LOAD] {
        assert_eq!(post(&house, path, ("api-key", &key)).await.status, 403, "{path}");
    }
    let pinned = Request::post("/score").header("azureml-model-deployment", "double").header("api-key", &key);
    assert_eq!(house.send(pinned.body(BODY).unwrap()).await.status, 403);
    assert_eq!(get("/v2/models").await.text(), r#"{"models":["gated"]}"#);
    assert_eq!(get("/v1/models").await.json()["models"], serde_json::json!(["gated"]));
    assert_eq!(get("/v2/models/gated/ready").await.status, 200);
    assert_eq!(get("/swagger.json").await.status, 200);
    for path in ["/v2/models/stats", "/v2/repository/index"] {
        let method = if path.ends_with("index") { "POST" } else { "GET" };
        let request = Request::builder().method(method).uri(path).header("api-key", &key).body(Body::empty()).unwrap();
        let answer = house.send(request).await;
        assert!(answer.text().contains("gated") && !answer.text().contains("double"), "{}", answer.text());
    }
}

#[tokio::test]
async fn a_key_sends_no_more_than_its_rate() {
    let mut ring = Keyring::new();
    let slow = |entry: &mut KeyEntry| (entry.requests_per_second, entry.burst) = (Some(0.001), Some(2));
    let key = ring.add("slow", &[Score], slow);
    let other = ring.add("other", &[Score], |_| {});
    let house = ring.house(|_| {});
    let statuses = [post(&house, INFER, ("api-key", &key)).await, post(&house, INFER, ("api-key", &key)).await];
    assert_eq!(statuses.map(|answer| answer.status), [200, 200]);
    let refused = post(&house, INFER, ("api-key", &key)).await;
    let wait: u64 = refused.header("retry-after").unwrap().parse().unwrap();
    assert_eq!((refused.status, (900..=1000).contains(&wait)), (429, true), "{wait}");
    assert!(refused.text().contains("`slow` sends more requests than it may"), "{}", refused.text());
    assert_eq!(post(&house, INFER, ("api-key", &other)).await.status, 200);
}

#[tokio::test]
async fn administration_has_its_entrance() {
    let mut ring = Keyring::new();
    let key = ring.add("deploy", &[Administer], |_| {});
    let own = |settings: &mut Settings| settings.admin_listen = Some("127.0.0.1:0".parse().unwrap());
    let load = |key: Option<&str>| {
        let request = key.iter().fold(Request::post(LOAD), |request, key| request.header("api-key", *key));
        request.body(Body::empty()).unwrap()
    };
    let statuses = async |house: &House| {
        let mut found = Vec::new();
        for entrance in [Entrance::Main, Entrance::Admin] {
            for key in [None, Some(&*key)] {
                found.push(house.site().through(entrance).answer(load(key)).await.response.status().as_u16());
            }
        }
        found
    };
    // Each without a key and with it, through the port for everybody and through that for administration.
    assert_eq!(statuses(&house(own)).await, [403, 403, 200, 200]);
    assert_eq!(statuses(&ring.house(own)).await, [401, 403, 401, 200]);
    assert_eq!(statuses(&ring.house(|_| {})).await[..2], [401, 200]);
    assert_eq!(statuses(&ring.house(|settings| settings.admin = Admin::Off)).await[..2], [401, 403]);
}

#[tokio::test]
async fn no_method_gets_round_the_check() {
    let mut ring = Keyring::new();
    let _ = ring.add("mine", &[Score], |_| {});
    let house = ring.house(|_| {});
    for path in [LOAD, INFER, "/metrics", "/v2/models", "/inference.GRPCInferenceService/RepositoryModelUnload"] {
        for method in ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "TRACE", "OPTIONS", "ODD"] {
            for version in [http::Version::HTTP_11, http::Version::HTTP_2] {
                let request = Request::builder().method(method).uri(path).version(version);
                let request = request.header("content-type", "application/grpc").body(Body::empty()).unwrap();
                let answer = house.send(request).await;
                // Those of gRPC stand in its own header.
                let code = answer.header("grpc-status").map_or(answer.status, |code| code.parse::<u16>().unwrap());
                let expected: &[u16] = if method == "OPTIONS" { &[404, 405, 415] } else { &[401, 16] };
                assert!(expected.contains(&code), "{method} {path} {version:?}: {code}");
            }
        }
    }
}

#[tokio::test]
async fn a_file_that_is_wrong_stops_the_start() {
    let ring = Keyring::new();
    let settings = CredentialSettings { api_keys: Some(ring.file()), jwt: None };
    let open = || Access::open(&settings, AdminOpen { main: true, own: false }).err().unwrap().to_string();
    assert!(open().starts_with("the API keys: ") && open().contains("cannot be read"), "{}", open());
    fs::write(ring.file(), "[[keys]]\nname = 1").unwrap();
    assert!(open().starts_with("the API keys: line 2: `name`: invalid type"), "{}", open());
}
