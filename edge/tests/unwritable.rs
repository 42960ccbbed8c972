//! A data folder that cannot be written.

use std::fs;
use std::process::Command;

use serde_json::json;

use crate::bundles::{Does, Recipe};
use crate::http::{get, post};
use crate::module::ROW;
use crate::updates::Place;
use crate::wait::until;

/// It keeps nothing from being scored over HTTP. Messages wait where they are, updates are refused with the reason, and both
/// go on when the folder can be written, without a restart.
#[test]
fn without_a_data_folder_what_needs_none_works_and_the_rest_waits() {
    let place = Place::new("trial_runs = 1");
    let text = fs::read_to_string(place.home.path().join("edge.toml")).unwrap();
    fs::write(place.home.path().join("edge.toml"), text.replace("model = 'm'", "model = 'iris'")).unwrap();
    // Whoever runs this, nothing can be written there.
    let data = place.home.path().join("data");
    fs::write(&data, "in the way").unwrap();
    let device = place.start();
    until("it scores over HTTP", || (get(device.http(), "/v2/health/ready").0 == 200).then_some(()));
    assert_eq!(post(device.http(), "/score", ROW).0, 200);
    assert!(device.log().contains("the queue cannot be opened"), "{}", device.log());
    let writable = || get(device.metrics(), "/metrics").1.contains("hedef_edge_data_writable 1\n");
    assert!(!writable());
    place.hub.input("m0", ROW);
    let (_, status) = place.hub.call("status", "");
    assert_eq!((&status["data"]["writable"], &status["ready"]), (&json!(false), &json!(true)), "{status}");
    assert!(status["data"]["error"].as_str().unwrap().starts_with("the queue cannot be opened"), "{status}");
    until("the twin tells", || (place.hub.reported()["data"] == status["data"]).then_some(()));
    let mut health = Command::new(env!("CARGO_BIN_EXE_hedef-edge"));
    health.args(["health", "edge.toml"]).current_dir(place.home.path());
    let said = health.env("HEDEF_METRICS_LISTEN", device.metrics().to_string()).output().unwrap();
    let words = String::from_utf8(said.stderr).unwrap();
    assert!(said.status.success() && words.contains("the data folder cannot be written"), "{words}");
    place.desire(1, &Recipe::new(1, Does::Identity).make(&place.key));
    let reported = until("the update is refused", || {
        let reported = place.reported();
        reported["error"].is_string().then_some(reported)
    });
    assert_eq!((reported["state"].as_str(), reported["active"].as_u64()), (Some("failed"), None), "{reported}");
    // It was not acknowledged, so the hub has it still.
    assert_eq!((place.hub.waiting(), place.hub.sent().len()), (1, 0));
    fs::remove_file(&data).unwrap();
    let sent = until("the message is answered", || place.hub.sent().first().cloned());
    assert_eq!((sent.property("$.cid"), sent.property("error")), (Some("m0"), None));
    place.until_active(&device, 1);
    assert!(writable());
    until("the twin tells", || (place.hub.reported()["data"]["writable"] == true).then_some(()));
    assert!(place.hub.reported()["data"].get("error").is_none_or(serde_json::Value::is_null));
    let (status, log) = device.stop();
    assert!(status.success(), "{status}: {log}");
}
