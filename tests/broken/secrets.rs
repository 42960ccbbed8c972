//! What an error says is for its caller: it names nothing of the machine, of how the server is made, or of what it is made of.

use std::fs;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use ureq::http::Method;

use super::{GOOD, framing, iris, tensors};
use crate::binary::Server;
use crate::config;
use crate::http::{Answer, Client};
use crate::models::Models;
use crate::python;

/// Models that cannot be loaded, each for a reason of its own.
const BROKEN: [&str; 12] = [
    "not_onnx",
    "truncated",
    "ir_future",
    "opset_future",
    "unknown_op",
    "external_missing",
    "external_outside",
    "sequence_output",
    "locale",
    "too_large",
    "huge",
    "nan_out",
];

/// Words that no error may hold, besides the folders of this machine.
const WORDS: [&str; 19] = [
    "/home",
    "/root",
    "/usr",
    "/tmp",
    "/etc/",
    "/proc",
    ".rs",
    ".cc:",
    ".h:",
    "panicked",
    "RUST_BACKTRACE",
    "axum",
    "hyper",
    "serde",
    "tokio",
    "rustls",
    "prost",
    "::",
    "0x",
];

/// What in a message is not for callers.
fn secret(message: &str, folders: &[String]) -> Option<String> {
    let word = WORDS.into_iter().map(str::to_string).chain(folders.iter().cloned()).find(|word| message.contains(word));
    word.or_else(|| version(message))
}

/// Three numbers with dots between them: nothing else that is told looks like the version of a dependency.
fn version(message: &str) -> Option<String> {
    let words = message.split(|letter: char| !letter.is_ascii_digit() && letter != '.');
    let numbers = |word: &str| word.trim_matches('.').split('.').filter(|part| !part.is_empty()).count();
    words.filter(|word| numbers(word) >= 3).map(str::to_string).next()
}

/// A repository of models that are broken in every way that files can be.
fn broken_models() -> Models {
    let models = Models::samples(&["iris", "diabetes", "digits", "language"]);
    python::script("triton_client.py", &["prepare", "--models", models.path().to_str().unwrap()]);
    for kind in BROKEN {
        models.make(kind);
    }
    models.settings("diabetes", "devise = \"cpu\"");
    models.settings("digits", "[labels]\nprobabilities = \"nowhere.txt\"");
    models.settings("language", "device = \"cuda:7\"");
    let file = |name: &str| models.file(name, 1);
    fs::create_dir_all(file("folder")).unwrap();
    fs::create_dir_all(file("dangling").parent().unwrap()).unwrap();
    std::os::unix::fs::symlink("/nowhere/at/all", file("dangling")).unwrap();
    fs::create_dir_all(file("empty").parent().unwrap()).unwrap();
    fs::create_dir_all(models.path().join("versionless")).unwrap();
    models
}

/// Every answer that is an error, with what was asked, and every text in which the server tells of one.
#[derive(Default)]
struct Told(Vec<(String, String)>);

impl Told {
    fn error(&mut self, asked: impl Into<String>, answer: &Answer) {
        let asked = asked.into();
        assert!(answer.status >= 400, "{asked}: {} {}", answer.status, answer.text());
        let headers: Vec<_> = answer.headers.iter().map(|(name, value)| format!("{name}: {value:?}")).collect();
        self.0.push((asked, format!("{} {}", headers.join(" "), answer.text())));
    }
}

fn requests(client: &Client, told: &mut Told) {
    for (name, model, body, ..) in tensors::cases().into_iter().chain(framing::texts()) {
        told.error(name, &client.post(&format!("/v2/models/{model}/infer"), body));
    }
    for (name, headers, body, ..) in framing::framed() {
        let headers: Vec<_> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
        told.error(name, &client.post_with("/v2/models/iris/infer", &headers, body));
    }
    for (name, headers) in [
        ("an unknown coding", ("content-encoding", "br")),
        ("no gzip", ("content-encoding", "gzip")),
        ("no deflate", ("content-encoding", "deflate")),
        ("no time", ("grpc-timeout", "soon")),
        ("a model that is not there", ("azureml-model-deployment", "nothing")),
    ] {
        let path = if headers.0.starts_with("azure") { "/score" } else { "/v2/models/iris/infer" };
        told.error(name, &client.post_with(path, &[headers], iris(GOOD)));
    }
    for (path, body) in [
        ("/v1/models/iris:predict", "{"),
        ("/v1/models/iris:predict", r#"{"instances":[["x"]]}"#),
        ("/v1/models/iris:predict", r#"{"instances":[[1,2],[1]]}"#),
        ("/v1/models/iris:explain", "{}"),
        ("/v1/models/iris", "{}"),
        ("/v1/models/nothing:predict", "{}"),
        ("/score", "{"),
        ("/v2/repository/index", "{"),
        ("/v2/repository/models/nothing/load", "{"),
        ("/v2/repository/models/..%2Fx/load", ""),
        ("/v2/repository/models/nothing/load", ""),
        ("/v2/repository/models/nothing/unload", "{"),
        ("/inference.GRPCInferenceService/ModelInfer", "x"),
        ("/v2/health/live", ""),
    ] {
        told.error(format!("POST {path} {body}"), &client.post(path, body));
    }
    for path in [
        "/nothing",
        "/v2/nothing",
        "/v2/models/nothing",
        "/v2/models/..%2f..%2fetc%2fpasswd",
        "/v2/models/%00",
        "/v2/models/%ff/config",
        "/v2/models/iris/versions/9/stats",
        "/v2/models/iris/infer",
        "/v1/models/nothing",
        "/swagger.json?version=9",
    ] {
        told.error(format!("GET {path}"), &client.send(Method::GET, path, &[], b"").unwrap());
    }
    let index = json!({ "inputs": [{ "name": "index", "shape": [1, 1], "datatype": "INT64", "data": [99] }] });
    told.error("a refusal by the model", &client.post("/v2/models/pick/infer", index.to_string()));
}

fn malformed(server: &Server, told: &mut Told) {
    for text in
        ["GET / HTTP/9.9\r\n\r\n", "hello\r\n\r\n", "GET /\0 HTTP/1.1\r\n\r\n", "GET / HTTP/1.1\r\nno header\r\n\r\n"]
    {
        let mut wire = server.wire();
        wire.send(text);
        wire.finish();
        told.0.push((format!("{text:?}"), String::from_utf8_lossy(&wire.rest()).into_owned()));
    }
    for path in ["/v2/models/language/infer", "/v2/repository/index", "/v2/repository/models/iris/load"] {
        let mut wire = server.wire();
        wire.send(format!("POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 10000000000\r\n\r\n"));
        told.error(format!("too much for {path}"), &wire.answer().unwrap());
    }
}

/// Loads everything that is broken, from its folder and as an upload, and asks what is known of it.
fn loads(client: &Client, models: &Models, told: &mut Told) {
    let names =
        BROKEN.into_iter().chain(["diabetes", "digits", "folder", "dangling", "empty", "versionless", "language"]);
    for name in names.filter(|name| *name != "nan_out") {
        told.error(format!("load {name}"), &client.post(&format!("/v2/repository/models/{name}/load"), ""));
        for path in ["", "/ready", "/config", "/stats", "/status"] {
            let answer = client.get(&format!("/v2/models/{name}{path}"));
            told.0.push((format!("{name}{path}"), answer.text()));
        }
        told.error(format!("score {name}"), &client.post(&format!("/v2/models/{name}/infer"), iris(GOOD)));
        told.error(format!("predict {name}"), &client.post(&format!("/v1/models/{name}:predict"), "{}"));
    }
    let upload = |parameters: Value| {
        client.post("/v2/repository/models/uploaded/load", json!({ "parameters": parameters }).to_string())
    };
    // The file of 1 TiB is too large for that.
    for name in BROKEN.into_iter().filter(|name| !["huge", "nan_out"].contains(name)) {
        let file = STANDARD.encode(fs::read(models.file(name, 1)).unwrap());
        told.error(format!("upload {name}"), &upload(json!({ "config": "{}", "file:1/model.onnx": file })));
    }
    let good = STANDARD.encode(fs::read(models.file("iris", 1)).unwrap());
    for (name, parameters) in [
        ("a config that is no JSON", json!({ "config": "{", "file:1/model.onnx": good })),
        ("a config of another kind", json!({ "config": r#"{"max_batch_size":"x"}"#, "file:1/model.onnx": good })),
        ("no config", json!({ "file:1/model.onnx": good })),
        ("no base64", json!({ "config": "{}", "file:1/model.onnx": "?" })),
        ("no place", json!({ "config": "{}", "file:../../x": good })),
        ("an absolute place", json!({ "config": "{}", "file:/x": good })),
        ("an unknown parameter", json!({ "x": 1 })),
    ] {
        told.error(name, &upload(parameters));
    }
    for (name, answer) in [("index", client.post("/v2/repository/index", "")), ("models", client.get("/v2/models"))] {
        told.0.push((name.into(), answer.text()));
    }
}

#[test]
fn no_error_tells_of_the_machine_or_of_what_the_server_is_made_of() {
    let models = broken_models();
    let flags = ["--body-limit-mib", "1", "--body-limit-cap-mib", "1", "--quarantine-timeout-s", "60"];
    let server = Server::start(models.path(), &flags);
    let client = server.client();
    let mut told = Told::default();
    requests(&client, &mut told);
    malformed(&server, &mut told);
    loads(&client, &models, &mut told);
    // Each line is what was asked and what was told.
    let names = [&BROKEN[..], &["diabetes", "digits", "folder", "dangling", "empty", "nothing"]].concat().join(",");
    let over_grpc = python::script("grpc_errors.py", &["--url", &server.address.to_string(), "--models", &names]);
    told.0.extend(over_grpc.lines().map(|line| serde_json::from_str::<(String, String)>(line).unwrap()));

    let folders = [models.path(), config::root(), config::target()].map(|path| path.to_str().unwrap().to_string());
    let found = told.0.iter().filter_map(|(asked, text)| {
        // What the caller sent may come back.
        let said = text.replace("../../etc/passwd", "");
        secret(&said, &folders).map(|word| format!("{asked}: `{word}` in {text}"))
    });
    let found: Vec<_> = found.collect();
    println!("{} errors, of which {} tell too much", told.0.len(), found.len());
    assert!(found.is_empty(), "{}", found.join("\n"));
    assert!(told.0.len() > 250, "only {}", told.0.len());
}
