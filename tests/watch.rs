//! `--watch`: models come, change and go with their files.

use std::fs;

use serde_json::json;

use crate::binary::Server;
use crate::http::Client;
use crate::models::{Models, sample};
use crate::wait::until;

const WATCH: [&str; 3] = ["--watch", "--watch-interval-ms", "50"];

#[test]
fn a_version_appears_when_its_file_is_whole_and_goes_with_it() {
    let models = Models::samples(&["iris"]);
    let server = Server::start(models.path(), &WATCH);
    let client = server.client();
    let versions = || client.get("/v2/models/iris").json()["versions"].clone();
    assert_eq!(versions(), serde_json::json!(["1"]));

    let whole = fs::read(sample("iris")).unwrap();
    let file = models.file("iris", 2);
    fs::create_dir_all(file.parent().unwrap()).unwrap();
    fs::write(&file, &whole[..whole.len() / 2]).unwrap();
    // Half a file that has come to rest is tried, and told; the old version goes on.
    until("the half file to be refused", || server.log().contains("cannot load the model").then_some(()));
    assert_eq!(versions(), serde_json::json!(["1"]));
    fs::write(&file, &whole).unwrap();
    until("version 2", || (versions() == serde_json::json!(["2"])).then_some(()));

    fs::remove_dir_all(models.path().join("iris")).unwrap();
    until("the model to be gone", || (client.get("/v2/models/iris").status == 404).then_some(()));
    server.stop();
}

/// The width of the model's rows, by which the samples can be told apart.
fn width(client: &Client, model: &str) -> i64 {
    client.get(&format!("/v2/models/{model}")).json()["inputs"][0]["shape"][1].as_i64().unwrap_or(0)
}

#[test]
fn a_model_follows_its_file_and_outlives_a_broken_one() {
    let models = Models::samples(&["iris"]);
    let server = Server::start(models.path(), &WATCH);
    let client = server.client();
    assert_eq!(width(&client, "iris"), 4);
    let file = models.file("iris", 1);
    fs::copy(sample("diabetes"), &file).unwrap();
    until("the new file", || (width(&client, "iris") == 10).then_some(()));

    fs::write(&file, "<html>").unwrap();
    let reason = until("the broken file to be told", || {
        let index = client.post("/v2/repository/index", "").json();
        let reason = index[0]["reason"].as_str()?.to_string();
        (!reason.is_empty()).then_some(reason)
    });
    assert!(reason.contains("still serving") && reason.contains("ONNX"), "{reason}");
    let rows = json!({ "instances": [[0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]] });
    client.post("/v1/models/iris:predict", rows.to_string()).expect(200);

    fs::copy(sample("digits"), &file).unwrap();
    until("the mended file", || (width(&client, "iris") == 64).then_some(()));
    let index = client.post("/v2/repository/index", "").json();
    assert_eq!((&index[0]["state"], &index[0]["reason"]), (&json!("READY"), &json!("")));
}

#[test]
fn new_models_appear_and_an_older_version_takes_over_from_one_that_goes() {
    let models = Models::samples(&["iris"]);
    let second = models.file("iris", 2);
    fs::create_dir_all(second.parent().unwrap()).unwrap();
    fs::copy(sample("diabetes"), &second).unwrap();
    let server = Server::start(models.path(), &WATCH);
    let client = server.client();
    assert_eq!(width(&client, "iris"), 10);
    fs::remove_dir_all(second.parent().unwrap()).unwrap();
    until("version 1 again", || (width(&client, "iris") == 4).then_some(()));

    let bare = models.path().join("bare.onnx");
    fs::copy(sample("digits"), &bare).unwrap();
    until("the bare file", || (width(&client, "bare") == 64).then_some(()));
    fs::remove_file(bare).unwrap();
    until("it to be gone", || (client.get("/v2/models/bare").status == 404).then_some(()));
    assert_eq!(width(&client, "iris"), 4);
}
