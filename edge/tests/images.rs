//! Images on the device: over HTTP, by a broker and as a module.

use std::fs;
use std::net::SocketAddr;

use serde_json::{Value, json};

use crate::config;
use crate::device::Home;
use crate::http::{agent, get};
use crate::hub::Hub;
use crate::module::start_on;
use crate::mosquitto::Mosquitto;
use crate::wait::until;

fn one() -> Vec<u8> {
    fs::read(config::root().join("models/digits/one.png")).unwrap()
}

fn post(address: SocketAddr, path: &str, media: &str, body: &[u8]) -> (u16, String) {
    let mut answer = agent().post(format!("http://{address}{path}")).header("content-type", media).send(body).unwrap();
    (answer.status().as_u16(), answer.body_mut().read_to_string().unwrap())
}

/// What the answer in inferences says first.
fn first(inferences: &str) -> String {
    let answer: Value = serde_json::from_str(inferences).unwrap();
    answer["inferences"][0]["classification"]["tag"]["value"].as_str().unwrap().to_owned()
}

#[test]
fn both_contracts_of_the_old_samples_are_spoken_over_http() {
    let home = Home::of("digits", "");
    let device = home.start();
    until("the model is loaded", || (get(device.http(), "/v2/health/ready").0 == 200).then_some(()));
    let (status, inferences) = post(device.http(), "/score", "image/png", &one());
    assert_eq!((status, &*first(&inferences)), (200, "1"), "{inferences}");
    let (status, predictions) = post(device.http(), "/image", "application/octet-stream", &one());
    let predictions: Value = serde_json::from_str(&predictions).unwrap();
    assert_eq!((status, &predictions["predictions"][0]["tagName"]), (200, &json!("1")), "{predictions}");
    assert_eq!(get(device.http(), "/"), (200, "Healthy".into()));
    assert_eq!(post(device.http(), "/score", "image/jpeg", b"\xFF\xD8\xFF").0, 400);
    let (status, log) = device.stop();
    assert!(status.success(), "{status}: {log}");
}

#[test]
fn an_image_by_a_broker_is_answered_with_inferences_with_and_without_a_content_type() {
    let Some(broker) = Mosquitto::start("") else { return };
    let home = Home::of(
        "digits",
        &format!(
            "[broker]\nurl = 'mqtt://127.0.0.1:{}'\nclient_id = 'edge'\n\
             [[broker.routes]]\nfrom = 'any/#'\nto = 'out/{{topic}}'\n\
             [[broker.routes]]\nfrom = 'images/#'\nto = 'out/{{topic}}'\ncontent_type = 'image/png'\n",
            broker.port
        ),
    );
    let device = home.start();
    until("the device is connected", || {
        get(device.metrics(), "/metrics").1.contains("hedef_edge_connected{link=\"broker\"} 1").then_some(())
    });
    let follower = broker.follow(&["out/#"]);
    for topic in ["any/a", "images/b"] {
        broker.publish(topic, &one());
        let (from, text) = loop {
            let (from, text) = follower.message();
            if from.ends_with(topic) {
                break (from, text);
            }
        };
        assert_eq!((&*from, &*first(&text)), (&*format!("out/{topic}"), "1"));
    }
    broker.publish("images/c", &one()[..60]);
    let text = loop {
        let (from, text) = follower.message();
        if from.ends_with("images/c") {
            break text;
        }
    };
    assert_eq!(text, r#"{"error":"the image: expected a whole PNG, found one that is cut off"}"#);
    let (status, log) = device.stop();
    assert!(status.success(), "{status}: {log}");
}

#[test]
fn an_image_that_comes_to_the_module_is_answered_with_inferences() {
    let home = Home::of("digits", "");
    let hub = Hub::start(home.path());
    let device = start_on(&hub, home.path(), &home, "");
    hub.input_of("in-1", "image/png", one());
    let sent = until("the answer is sent", || hub.sent().first().cloned());
    assert_eq!([sent.property("$.cid"), sent.property("model")], [Some("in-1"), Some("digits")]);
    assert_eq!(first(std::str::from_utf8(&sent.body).unwrap()), "1");
    hub.input_of("in-2", "image/gif", b"GIF89a");
    let sent = until("the failure is sent", || hub.sent().get(1).cloned());
    assert_eq!([sent.property("$.cid"), sent.property("error")], [Some("in-2"), Some("invalid_argument")]);
    let (status, log) = device.stop();
    assert!(status.success(), "{status}: {log}");
}
