//! The module of Azure IoT Edge through a real broker with TLS, behind which the hub is a client.

use std::collections::{HashMap, HashSet};
use std::ops::Range;
use std::sync::{Arc, Mutex};

use serde_json::Value;

use crate::device::{Device, Home};
use crate::http::get;
use crate::hub::Hub;
use crate::module::{ROW, be_refused_first, call_each_method, change_the_twin, renew_the_token, start_on};
use crate::mosquitto::Mosquitto;
use crate::wait::until;

struct Rig {
    home: Home,
    hub: Hub,
    broker: Arc<Mutex<Mosquitto>>,
}

impl Rig {
    fn new() -> Option<Self> {
        let home = Home::new("");
        let (hub, broker) = Hub::start_behind_broker(home.path())?;
        Some(Self { home, hub, broker })
    }

    fn start(&self, more: &str) -> Device {
        start_on(&self.hub, self.home.path(), &self.home, more)
    }

    /// Sends inputs, and waits until the broker has them.
    fn send(&self, numbers: Range<usize>) {
        for number in numbers {
            self.hub.input(&format!("m{number}"), ROW);
        }
        until("they are sent", || (self.hub.waiting() == 0).then_some(()));
    }

    /// How often each input was answered.
    fn answered(&self) -> HashMap<String, usize> {
        let mut found = HashMap::new();
        for sent in self.hub.sent() {
            *found.entry(sent.property("$.cid").unwrap().to_owned()).or_insert(0) += 1;
        }
        found
    }
}

/// The inputs that the module took in, or the answers that the broker has from it.
fn count(device: &Device, what: &str) -> usize {
    let (text, name) = (get(device.metrics(), "/metrics").1, format!("hedef_edge_{what}_total{{link=\"module\"}} "));
    text.lines().find_map(|line| line.strip_prefix(&*name)).unwrap().parse().unwrap()
}

#[test]
fn inputs_methods_and_the_twin_go_through_a_real_broker() {
    let Some(rig) = Rig::new() else { return };
    let device = rig.start("");
    rig.send(0..100);
    until("all are answered", || (rig.answered().len() == 100).then_some(()));
    let sent = rig.hub.sent();
    let body: Value = serde_json::from_slice(&sent[0].body).unwrap();
    assert_eq!((sent.len(), &body[0]["label"]), (100, &"setosa".into()));
    assert_eq!([sent[0].property("$.on"), sent[0].property("model")], [Some("output1"), Some("iris")]);
    call_each_method(&rig.hub);
    rig.hub.take_sent();
    change_the_twin(&rig.hub);
    let (status, log) = device.stop();
    assert!(status.success() && !log.contains("is lost"), "{status}: {log}");
}

#[test]
fn a_real_broker_is_shown_a_new_token_before_the_old_one_ends() {
    let Some(rig) = Rig::new() else { return };
    let device = rig.start("token_life_s = 5\n");
    renew_the_token(&rig.hub, &device);
    assert_eq!(rig.hub.tokens().iter().collect::<HashSet<_>>().len(), rig.hub.tokens().len());
}

#[test]
fn a_real_broker_refuses_the_wrong_token_and_takes_the_right_one() {
    let Some(rig) = Rig::new() else { return };
    be_refused_first(&rig.home, &rig.hub);
}

/// Whatever the module took in is answered, and no answer comes again but those that were under way. What the broker has
/// and did not hand on dies with it: it writes to its disk once in a second.
#[test]
fn nothing_that_was_taken_in_is_lost_when_the_broker_is_killed() {
    let Some(rig) = Rig::new() else { return };
    let device = rig.start("");
    let (rounds, each) = (3, 400);
    for round in 0..rounds {
        let before = rig.answered().len();
        rig.send(round * each..(round + 1) * each);
        until("some are answered", || (rig.answered().len() > before + 20).then_some(()));
        let connections = rig.hub.connections();
        rig.broker.lock().unwrap().kill();
        let losses = || device.log().matches("the connection to the hub is lost").count();
        until("the loss is noticed", || (losses() > round).then_some(()));
        rig.broker.lock().unwrap().begin();
        until("the module is there again", || (rig.hub.connections() > connections).then_some(()));
    }
    // What was with the broker alone is gone with it, and the hub would send it again.
    rig.send(rounds * each..rounds * each + 1);
    let last = format!("m{}", rounds * each);
    until("what was taken in is answered", || {
        let is_sent = count(&device, "sent") >= count(&device, "received");
        (is_sent && rig.answered().contains_key(&last)).then_some(())
    });
    let (answered, received) = (rig.answered(), count(&device, "received"));
    // What was put into the queue just as the connection was lost is not counted.
    // Of answers that the broker acknowledged, some may have died with it: as many as it hands on at once are allowed.
    let expected = received - rounds * 20..=received + rounds;
    assert!(expected.contains(&answered.len()), "{} of {received}", answered.len());
    let again: usize = answered.values().map(|times| times - 1).sum();
    assert!(again <= rounds * 20, "{again} came again");
    let (status, log) = device.stop();
    assert!(status.success(), "{status}: {log}");
}
