//! Messages through a real MQTT broker.

use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use serde_json::{Value, json};

use crate::device::{Device, Home};
use crate::http::get;
use crate::mosquitto::{Follower, Mosquitto};
use crate::wait::until;

fn settings(port: u16, more: &str) -> String {
    format!(
        "{more}\n[broker]\nurl = 'mqtt://127.0.0.1:{port}'\nclient_id = 'edge'\n\
         [[broker.routes]]\nfrom = 'flowers/+/measured'\nto = 'flowers/{{1}}/scored'\n\
         [[broker.routes]]\nfrom = 'raw/#'\nto = 'out/{{topic}}'\ncontent_type = 'application/octet-stream'\n"
    )
}

fn connected(device: &Device) {
    until("the device is connected", || {
        get(device.metrics(), "/metrics").1.contains("hedef_edge_connected{link=\"broker\"} 1").then_some(())
    });
}

/// A row whose answer tells which one it was.
fn row(number: u32) -> String {
    json!({ "id": number.to_string(), "inputs": [{
        "name": "features", "datatype": "FP32", "shape": [1, 4], "data": [5.1, 3.5, 1.4, 0.2]
    }] })
    .to_string()
}

/// The numbers of the next answers, until all of these have come; how often each came.
fn collect(follower: &Follower, wanted: u32) -> HashMap<u32, u32> {
    let mut found = HashMap::new();
    while found.len() < usize::try_from(wanted).unwrap() {
        let (topic, text) = follower.message();
        assert_eq!(topic, "flowers/f/scored");
        let answer: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(answer["outputs"][0]["data"], json!(["setosa"]), "{text}");
        *found.entry(answer["id"].as_str().unwrap().parse().unwrap()).or_insert(0) += 1;
    }
    found
}

#[test]
fn messages_are_scored_from_topic_to_topic_in_each_form() {
    let Some(broker) = Mosquitto::start("") else { return };
    let home = Home::new(&settings(broker.port, ""));
    let device = home.start();
    connected(&device);
    let follower = broker.follow(&["flowers/+/scored", "out/#"]);
    let answer = |topic: &str, body: &[u8], expected: &str| {
        broker.publish(topic, body);
        loop {
            let (topic, text) = follower.message();
            if topic == expected {
                return text;
            }
        }
    };
    let rows = answer("flowers/a/measured", br#"{"data": [[5.1, 3.5, 1.4, 0.2]]}"#, "flowers/a/scored");
    assert!(rows.starts_with(r#"[{"label":"setosa""#), "{rows}");
    let v2 = answer("flowers/b/measured", row(7).as_bytes(), "flowers/b/scored");
    assert!(v2.contains(r#""id":"7""#) && v2.contains("setosa"), "{v2}");
    let wrong = answer("flowers/c/measured", br#"{"data": [[1, 2]]}"#, "flowers/c/scored");
    assert!(wrong.starts_with(r#"{"error":"#), "{wrong}");
    let bytes: Vec<_> = [5.1_f32, 3.5, 1.4, 0.2].into_iter().flat_map(f32::to_le_bytes).collect();
    let raw = answer("raw/x/y", &bytes, "out/raw/x/y");
    assert!(raw.contains(r#""model_name":"iris""#) && raw.contains("setosa"), "{raw}");
    let (status, log) = device.stop();
    assert!(status.success(), "{status}: {log}");
}

#[test]
fn nothing_is_lost_when_the_device_is_killed_and_the_broker_too() {
    let Some(mut broker) = Mosquitto::start("max_queued_messages 0") else { return };
    let home = Home::new(&settings(broker.port, ""));
    let mut device = home.start();
    connected(&device);
    let follower = broker.follow(&["flowers/+/scored"]);
    let lines = |range: std::ops::Range<u32>| range.map(|number| row(number) + "\n").collect::<String>();
    broker.publish_lines("flowers/f/measured", &lines(0..300));
    for round in 1..4 {
        // In the midst of it.
        device.kill();
        broker.publish_lines("flowers/f/measured", &lines(round * 300..(round + 1) * 300));
        device = home.start();
    }
    let found = collect(&follower, 1200);
    let repeated = found.values().filter(|times| **times > 1).count();
    assert!(repeated < 300, "{repeated} answers came more than once");
    drop(follower);
    // The broker goes, and the device waits for it.
    broker.kill();
    until("the loss is noticed", || device.log().contains("the connection to the broker is lost").then_some(()));
    broker.begin();
    connected(&device);
    let follower = broker.follow(&["flowers/+/scored"]);
    broker.publish_lines("flowers/f/measured", &lines(2000..2001));
    loop {
        let (_, text) = follower.message();
        if text.contains(r#""id":"2000""#) {
            break;
        }
    }
    let (status, log) = device.stop();
    assert!(status.success(), "{status}: {log}");
}

#[test]
fn a_device_starts_without_its_broker_and_finds_it_when_it_comes() {
    let Some(mut broker) = Mosquitto::start("") else { return };
    broker.kill();
    let home = Home::new(&settings(broker.port, "[queue]\nacknowledge = 'committed'"));
    let device = home.start();
    until("the first try failed", || device.log().contains("there is no connection to the broker").then_some(()));
    until("it scores over HTTP", || (get(device.http(), "/v2/health/ready").0 == 200).then_some(()));
    broker.begin();
    connected(&device);
    let follower = broker.follow(&["flowers/+/scored"]);
    broker.publish_lines("flowers/f/measured", &format!("{}\n{}\n", row(0), row(1)));
    assert_eq!(collect(&follower, 2).len(), 2);
}

#[test]
fn a_refusal_is_told() {
    let Some(broker) = Mosquitto::start("allow_anonymous false") else { return };
    let home = Home::new(&settings(broker.port, ""));
    let device = home.start();
    until("it is refused", || device.log().contains("it does not know the name and password").then_some(()));
    let (status, log) = device.stop();
    assert!(status.success(), "{status}: {log}");
}

#[test]
fn tls_with_a_certificate_that_is_vouched_for_and_no_other() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: String| {
        let path = folder.path().join(name);
        fs::write(&path, text).unwrap();
        // The broker reads them as another user.
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        path
    };
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let other = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let certificate = write("cert.pem", made.cert.pem());
    let key = write("key.pem", made.signing_key.serialize_pem());
    let wrong = write("other.pem", other.cert.pem());
    let tls = format!("certfile {}\nkeyfile {}", certificate.display(), key.display());
    let Some(broker) = Mosquitto::start(&tls) else { return };
    let with = |trusted: &Path| {
        let ca = format!("client_id = 'edge'\nca_file = '{}'", trusted.display());
        let settings = settings(broker.port, "").replace("client_id = 'edge'", &ca);
        settings.replace("mqtt://127.0.0.1", "mqtts://localhost")
    };
    let home = Home::new(&with(&wrong));
    let device = home.start();
    until("it is not trusted", || device.log().contains("there is no connection to the broker").then_some(()));
    assert!(device.log().contains("certificate"), "{}", device.log());
    device.stop();
    home.write(&with(&certificate));
    connected(&home.start());
}

#[test]
fn a_message_that_cannot_be_taken_or_answered_does_not_keep_the_others_waiting() {
    let Some(broker) = Mosquitto::start("") else { return };
    let route = "[[broker.routes]]\nfrom = 'twice/+'\nto = 'flowers/{1}{1}/scored'\n";
    let home = Home::new(&(settings(broker.port, "") + route));
    let device = home.start();
    connected(&device);
    let follower = broker.follow(&["flowers/+/scored"]);
    broker.publish("flowers/f/measured", &vec![b' '; 300 << 10]);
    broker.publish(&format!("twice/{}", "x".repeat(40_000)), row(0).as_bytes());
    broker.publish("flowers/f/measured", row(1).as_bytes());
    assert_eq!(collect(&follower, 1).into_iter().collect::<Vec<_>>(), [(1, 1)]);
    let (status, log) = device.stop();
    assert!(status.success() && !log.contains("is lost"), "{status}: {log}");
}

#[test]
fn only_what_the_filter_lets_through_is_sent() {
    let Some(broker) = Mosquitto::start("") else { return };
    let home = Home::new(&settings(broker.port, "[filter]\nlabel = 'virginica'\nabove = 0.5\nevery = 1000"));
    let device = home.start();
    connected(&device);
    let follower = broker.follow(&["flowers/+/scored"]);
    let flower = |width: f64| format!("{}\n", json!({ "data": [[6.3, 3.3, 6.0, width]] }));
    // The first one is the thousandth before the next.
    let lines: String = [r#"{"data": [[5.1, 3.5, 1.4, 0.2]]}"#, r#"{"data": [[5.0, 3.5, 1.4, 0.2]]}"#].join("\n");
    broker.publish_lines("flowers/f/measured", &format!("{lines}\n{}", flower(2.5)));
    assert!(follower.message().1.starts_with(r#"[{"label":"setosa""#));
    assert!(follower.message().1.starts_with(r#"[{"label":"virginica""#));
    assert!(get(device.metrics(), "/metrics").1.contains("hedef_edge_held_back_total 1"));
}
