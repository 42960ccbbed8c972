//! `--watch`: models come, change and go with their files.

use std::fs;

use crate::binary::Server;
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
