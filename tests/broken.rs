//! Broken requests: each gets the right status and a message that names the tensor, the expectation and the finding.

mod framing;
mod secrets;
mod tensors;

use crate::binary::Server;
use crate::config;
use crate::http::Client;
use crate::models::Models;
use crate::python;

const IRIS: &str = "iris";
const SIMPLE: &str = "simple";

/// What is wrong, the model, the body, the status, and what the message has to contain.
type Case = (&'static str, &'static str, String, u16, &'static [&'static str]);

/// A request with one input for `iris`, of which `rest` says all but the name.
fn iris(rest: &str) -> String {
    format!(r#"{{"inputs":[{{"name":"features",{rest}}}]}}"#)
}

const GOOD: &str = r#""shape":[1,4],"datatype":"FP32","data":[5.1,3.5,1.4,0.2]"#;
const FEATURES: &str = "`features`";

/// The faults of one answer, in words.
fn faults(name: &str, answer: &crate::http::Answer, status: u16, words: &[&str]) -> Option<String> {
    let message = answer.json()["error"].as_str().unwrap_or_default().to_string();
    let missing: Vec<_> = words.iter().filter(|word| !message.contains(*word)).collect();
    let right = answer.status == status && missing.is_empty() && message.len() < 2000;
    (!right).then(|| format!("{name}: expected {status} and {missing:?}, got {} `{message}`", answer.status))
}

fn still_good(client: &Client) {
    let answer = client.post("/v2/models/iris/infer", iris(GOOD)).expect(200).json();
    assert_eq!(answer["outputs"][0]["data"][0], "setosa");
}

#[test]
fn every_broken_request_is_refused_with_the_tensor_the_expectation_and_the_finding() {
    let models = Models::empty();
    python::script("triton_client.py", &["prepare", "--models", models.path().to_str().unwrap()]);
    let samples = config::samples();
    // Dropped at the end, it fails the test if its log tells of a panic.
    let server = Server::start(models.path(), &[samples.to_str().unwrap(), "--body-limit-mib", "1"]);
    let client = server.client();
    let mut wrong = Vec::new();
    let mut kinds = 0;
    for (name, model, body, status, words) in tensors::cases().into_iter().chain(framing::texts()) {
        let answer = client.post(&format!("/v2/models/{model}/infer"), body);
        wrong.extend(faults(name, &answer, status, words));
        kinds += 1;
    }
    for (name, headers, body, status, words) in framing::framed() {
        let headers: Vec<_> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let answer = client.post_with("/v2/models/iris/infer", &headers, body);
        wrong.extend(faults(name, &answer, status, words));
        kinds += 1;
    }
    for (name, body, words) in framing::strings() {
        let length = body.windows(2).position(|pair| pair == b"]}").unwrap() + 2;
        let headers = [("inference-header-content-length", &*length.to_string())];
        let answer = client.post_with("/v2/models/identity_bytes/infer", &headers, body);
        wrong.extend(faults(name, &answer, 400, words));
        kinds += 1;
    }
    assert!(wrong.is_empty(), "{} of {kinds} are answered otherwise:\n  {}", wrong.len(), wrong.join("\n  "));
    assert!(kinds >= 40, "only {kinds}");
    still_good(&client);
}

#[test]
fn a_refusal_by_the_model_itself_is_told_without_paths() {
    let models = Models::empty();
    python::script("triton_client.py", &["prepare", "--models", models.path().to_str().unwrap()]);
    let samples = config::samples();
    let server = Server::start(models.path(), &[samples.to_str().unwrap()]);
    let client = server.client();
    let request =
        |index: i64| format!(r#"{{"inputs":[{{"name":"index","shape":[1,1],"datatype":"INT64","data":[{index}]}}]}}"#);
    client.post("/v2/models/pick/infer", request(3)).expect(200);
    let refused = client.post("/v2/models/pick/infer", request(99)).expect(400).json();
    let message = refused["error"].as_str().unwrap();
    assert!(message.contains("`pick") && message.contains("99") && !message.contains(".cc"), "{message}");
    client.post("/v2/models/pick/infer", request(0)).expect(200);
    still_good(&client);
}
