//! HTTP on the device, its start and its stop.

use serde_json::{Value, json};

use crate::device::{Device, Home};
use crate::wait::until;

const ROW: &str = r#"{"data": [[5.1, 3.5, 1.4, 0.2]]}"#;

pub(crate) fn agent() -> ureq::Agent {
    ureq::Agent::config_builder().http_status_as_error(false).build().into()
}

/// The status and the text of an answer.
pub(crate) fn get(address: std::net::SocketAddr, path: &str) -> (u16, String) {
    let mut answer = agent().get(format!("http://{address}{path}")).call().unwrap();
    (answer.status().as_u16(), answer.body_mut().read_to_string().unwrap())
}

pub(crate) fn post(address: std::net::SocketAddr, path: &str, body: &str) -> (u16, Value) {
    let mut answer = agent().post(format!("http://{address}{path}")).send(body).unwrap();
    (answer.status().as_u16(), serde_json::from_str(&answer.body_mut().read_to_string().unwrap()).unwrap())
}

fn ready(device: &Device) {
    until("the model is loaded", || (get(device.http(), "/v2/health/ready").0 == 200).then_some(()));
}

#[test]
fn a_device_without_any_connection_scores_over_http() {
    let home = Home::new("");
    let device = home.start();
    ready(&device);
    let (status, answer) = post(device.http(), "/score", ROW);
    assert_eq!((status, &answer[0]["label"]), (200, &json!("setosa")));
    let v2 = r#"{"inputs": [{"name": "features", "datatype": "FP32", "shape": [1, 4], "data": [5.1, 3.5, 1.4, 0.2]}]}"#;
    assert_eq!(post(device.http(), "/v2/models/iris/infer", v2).1["outputs"][0]["data"], json!(["setosa"]));
    assert_eq!(get(device.http(), "/v2/models/iris").0, 200);
    let (status, log) = device.stop();
    assert!(status.success(), "{status}: {log}");
}

#[test]
fn the_port_for_metrics_has_health_and_metrics_alone() {
    let home = Home::new("");
    let device = home.start();
    ready(&device);
    let (status, text) = get(device.metrics(), "/metrics");
    assert_eq!(status, 200);
    for line in text.lines().filter(|line| !line.starts_with('#') && !line.is_empty()) {
        // What the metrics collector of Azure IoT Edge can read.
        let (_, value) = line.rsplit_once(' ').unwrap();
        assert!(
            value.bytes().all(|byte| byte.is_ascii_digit() || b".eE+-".contains(&byte)) || value == "NaN",
            "{line}"
        );
    }
    assert_eq!(get(device.metrics(), "/v2/health/live").0, 200);
    assert_eq!(get(device.metrics(), "/v2/models/iris").0, 404);
    assert_eq!(post(device.metrics(), "/score", ROW).0, 404);
    assert_eq!(post(device.metrics(), "/v2/models/iris/infer", "{}").0, 404);
}

#[test]
fn what_is_wrong_with_the_settings_is_said_and_ends_it() {
    for (settings, expected) in
        [("modle = 'x'", "modle"), ("[broker]\nurl = 'http://x'\nclient_id = 'c'\nroutes = []", "broker.url")]
    {
        let output = Home::new(settings).command().output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.code() == Some(1) && said.contains(expected), "{said}");
    }
    let output = Home::new("").command().arg("more").output().unwrap();
    assert_eq!(output.status.code(), Some(1));
}
