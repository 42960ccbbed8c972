//! The module of Azure IoT Edge, against an emulator of the hub with its quirks.

use std::collections::HashMap;
use std::path::Path;

use serde_json::{Value, json};

use crate::device::{Device, Home};
use crate::http::get;
use crate::hub::Hub;
use crate::wait::until;

pub(crate) const ROW: &str = r#"{"data": [[5.1, 3.5, 1.4, 0.2]]}"#;

pub(crate) fn start(more: &str) -> (Home, Hub, Device) {
    let home = Home::new("");
    let hub = Hub::start(home.path());
    let device = start_on(&hub, home.path(), &home, more);
    (home, hub, device)
}

/// Starts the device of `home` on a hub whose daemon listens in `folder`.
pub(crate) fn start_on(hub: &Hub, folder: &Path, home: &Home, more: &str) -> Device {
    home.write(&format!("[module]\nport = {}\n{more}", hub.port));
    let device = home.start_with(&Hub::variables(folder));
    until("the module is connected and reports", || (hub.reported()["ready"] == json!(true)).then_some(()));
    device
}

#[test]
fn an_input_is_answered_with_what_belongs_to_it() {
    let (_home, hub, device) = start("");
    hub.input("in-1", ROW);
    let sent = until("the answer is sent", || hub.sent().first().cloned());
    let start = "devices/edge1/modules/mod1/messages/events/%24.on=output1&%24.mid=";
    assert!(sent.topic.starts_with(start), "{}", sent.topic);
    let property = |name| sent.property(name);
    assert_eq!([property("$.on"), property("$.cid")], [Some("output1"), Some("in-1")]);
    assert_eq!([property("$.ct"), property("$.ce")], [Some("application/json"), Some("utf-8")]);
    assert_eq!([property("model"), property("model-version")], [Some("iris"), Some("1")]);
    let body: Value = serde_json::from_slice(&sent.body).unwrap();
    assert_eq!(body[0]["label"], "setosa");
    hub.input("in-2", "{");
    let sent = until("the failure is sent", || hub.sent().get(1).cloned());
    assert_eq!([sent.property("$.cid"), sent.property("error")], [Some("in-2"), Some("invalid_argument")]);
    assert_eq!(hub.waiting(), 0);
    let filters = hub.filters();
    let expected = [
        ("$iothub/twin/res/#", 0),
        ("$iothub/twin/PATCH/properties/desired/#", 0),
        ("$iothub/methods/POST/#", 0),
        ("devices/edge1/modules/mod1/inputs/#", 1),
    ];
    assert_eq!(filters, expected.map(|(filter, qos)| (filter.to_owned(), qos)));
    assert_eq!(hub.sessions(), [true]);
    let (status, log) = device.stop();
    assert!(status.success(), "{status}: {log}");
}

#[test]
fn a_connection_string_is_enough_for_development() {
    let home = Home::new("");
    let hub = Hub::start(home.path());
    let file = home.path().join("authority.pem");
    std::fs::write(&file, &hub.authority).unwrap();
    home.write(&format!("[module]\nport = {}\n", hub.port));
    let _device = home.start_with(&Hub::variables_for_development(&file));
    hub.input("in-1", ROW);
    let sent = until("the answer is sent", || hub.sent().first().cloned());
    assert_eq!(sent.property("$.cid"), Some("in-1"));
}

#[test]
fn methods_are_answered() {
    let (_home, hub, _device) = start("");
    call_each_method(&hub);
}

pub(crate) fn call_each_method(hub: &Hub) {
    assert_eq!(hub.call("ping", ""), ("200".into(), json!({ "version": env!("CARGO_PKG_VERSION") })));
    let (status, body) = hub.call("status", "{}");
    assert_eq!((status.as_str(), &body["ready"]), ("200", &json!(true)));
    assert_eq!(body["models"]["iris"], json!({ "active": 1, "state": "active" }));
    assert_eq!(body["queue"]["module-input"]["messages"], 0);
    let (status, body) = hub.call("selftest", "null");
    assert_eq!((status.as_str(), &body["models"]["iris"]["right"]), ("200", &json!(4)), "{body}");
    assert_eq!(hub.call("reload", r#"{"model": "iris"}"#), ("200".into(), json!({ "models": { "iris": "loaded" } })));
    assert_eq!(hub.call("reload", r#"{"model": "nobody"}"#).0, "404");
    assert_eq!(hub.call("nothing", "").0, "404");
    assert_eq!(hub.call("ping", "{").0, "400");
}

#[test]
fn the_twin_is_followed_and_reported() {
    let (_home, hub, _device) = start("");
    change_the_twin(&hub);
}

pub(crate) fn change_the_twin(hub: &Hub) {
    assert_eq!(hub.reported()["models"]["iris"], json!({ "active": 1, "state": "active" }));
    let version = || hub.reported()["desired"]["version"].as_u64();
    hub.desire("model", json!("iris"), true);
    until("the change is taken over", || (version() == Some(1)).then_some(()));
    // One is missed, and the next shows it.
    hub.desire("other", json!(1), false);
    hub.desire("model", json!(7), true);
    until("the whole is fetched", || (version() == Some(3)).then_some(()));
    until("what is wrong is told", || hub.reported()["desired"]["error"].is_string().then_some(()));
    hub.desire("model", json!("nobody"), true);
    until("the right one is taken", || (version() == Some(4)).then_some(()));
    hub.input("a", ROW);
    let sent = until("an answer", || hub.sent().first().cloned());
    assert_eq!(sent.property("error"), Some("not_found"));
}

#[test]
fn a_new_token_is_shown_on_a_new_connection_before_the_old_one_ends() {
    let (_home, hub, device) = start("token_life_s = 5\n");
    renew_the_token(&hub, &device);
}

pub(crate) fn renew_the_token(hub: &Hub, device: &Device) {
    until("it came again", || (hub.connections() >= 3).then_some(()));
    let mut tokens = hub.tokens();
    tokens.dedup();
    assert!(tokens.len() >= 3, "{tokens:?}");
    hub.input("a", ROW);
    until("it still answers", || (!hub.sent().is_empty()).then_some(()));
    assert!(!device.log().contains("is lost"), "{}", device.log());
}

#[test]
fn where_there_is_no_way_to_the_hub_s_port_it_is_spoken_to_within_websocket() {
    let home = Home::new("");
    let hub = Hub::start(home.path());
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    home.write(&format!("[module]\nport = {closed}\nwebsocket_port = {}\n", hub.port));
    let device = home.start_with(&Hub::variables(home.path()));
    for number in 0..100 {
        hub.input(&format!("m{number}"), ROW);
    }
    until("all are answered", || (hub.sent().len() == 100).then_some(()));
    assert_eq!(hub.call("ping", "").0, "200");
    let (status, log) = device.stop();
    assert!(status.success() && !log.contains("is lost"), "{status}: {log}");
}

#[test]
fn a_wrong_token_is_tried_anew_until_it_is_right() {
    let home = Home::new("");
    let hub = Hub::start(home.path());
    be_refused_first(&home, &hub);
}

pub(crate) fn be_refused_first(home: &Home, hub: &Hub) {
    hub.wrong_key.store(true, std::sync::atomic::Ordering::SeqCst);
    home.write(&format!("[module]\nport = {}\n", hub.port));
    let device = home.start_with(&Hub::variables(home.path()));
    until("it is refused", || device.log().contains("does not let this client in").then_some(()));
    hub.wrong_key.store(false, std::sync::atomic::Ordering::SeqCst);
    until("it is let in", || (hub.connections() == 1).then_some(()));
}

/// Nothing that was acknowledged is lost, and of what comes again there is only what was under way.
#[test]
fn inputs_survive_lost_connections_and_killed_processes() {
    // In CI as many as the claim says.
    let messages = if crate::config::ci() { 10_000 } else { 2000 };
    let (home, hub, mut device) = start("");
    for number in 0..messages {
        hub.input(&format!("m{number}"), ROW);
    }
    let mut cuts = 0;
    for share in 1..8 {
        until("some are taken", || (hub.waiting() < messages - share * messages / 8).then_some(()));
        if share % 2 == 0 {
            device.kill();
            device = home.start_with(&Hub::variables(home.path()));
        } else {
            hub.cut();
        }
        cuts += 1;
    }
    let mut found = HashMap::new();
    until("every answer comes", || {
        found.clear();
        for sent in hub.sent() {
            *found.entry(sent.property("$.cid").unwrap().to_owned()).or_insert(0) += 1;
        }
        (found.len() == messages).then_some(())
    });
    let again: usize = found.values().map(|times| times - 1).sum();
    assert!(again <= cuts * 20, "{again} came again in {cuts} cuts");
}

#[test]
fn each_message_is_answered_or_skipped_for_its_age() {
    let (_home, hub, device) = start("[queue]\nmax_age_ms = 1\n");
    for number in 0..300 {
        hub.input(&format!("m{number}"), ROW);
    }
    let skipped = || {
        let text = get(device.metrics(), "/metrics").1;
        let value = text.lines().find_map(|line| line.strip_prefix("hedef_edge_skipped_total "));
        value.unwrap().parse::<usize>().unwrap()
    };
    until("each has its end", || (skipped() + hub.sent().len() >= 300).then_some(()));
    assert_eq!((skipped() + hub.sent().len(), hub.waiting()), (300, 0));
    let (status, log) = device.stop();
    assert!(status.success(), "{status}: {log}");
}
