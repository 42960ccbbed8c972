//! A day without anybody who takes the answers. No clock is moved: as many messages come as a day has seconds, as fast as they
//! are taken, and fewer where the time for tests is short.

use std::fs;
use std::path::Path;

use serde_json::json;

use crate::config;
use crate::device::{Device, Home};
use crate::http::get;
use crate::hub::Hub;
use crate::module::start_on;
use crate::wait::until;

const CAPACITY: u64 = 1 << 20;

/// The bytes of the files in a folder, and in those in it.
fn size(folder: &Path) -> u64 {
    let entries = fs::read_dir(folder).unwrap().map_while(Result::ok);
    entries
        .map(|entry| match entry.metadata() {
            Ok(facts) if facts.is_dir() => size(&entry.path()),
            Ok(facts) => facts.len(),
            // It is gone by now.
            Err(_) => 0,
        })
        .sum()
}

/// The value of a metric of the lane of answers.
fn metric(device: &Device, name: &str) -> usize {
    let text = get(device.metrics(), "/metrics").1;
    let start = format!("{name}{{lane=\"module-output-output1\"}} ");
    text.lines().find_map(|line| line.strip_prefix(&start)).map_or(0, |value| value.parse().unwrap())
}

fn number(id: &str) -> usize {
    id.strip_prefix('m').unwrap().parse().unwrap()
}

#[test]
fn a_day_offline_costs_neither_memory_nor_disk_beyond_the_limit_and_what_is_kept_comes_in_order() {
    let messages = config::messages_of_a_day();
    let home = Home::new("");
    let hub = Hub::start(home.path());
    hub.take_no_answers(true);
    let device = start_on(&hub, home.path(), &home, "[queue]\ncapacity_mib = 1\n");
    let rows: Vec<_> = (0..40).map(|_| [5.1, 3.5, 1.4, 0.2]).collect();
    let body = json!({ "data": rows }).to_string();
    // The first of them fill the queue, and whatever memory is taken once.
    let (mut sent, mut before, mut most) = (0, None, 0);
    while sent < messages {
        let share = (messages / 8).min(1000);
        for _ in 0..share {
            hub.input(&format!("m{sent}"), body.as_str());
            sent += 1;
        }
        until("the messages are taken", || (hub.waiting() == 0).then_some(()));
        most = most.max(size(&home.path().join("data/queue")));
        if before.is_none() && metric(&device, "hedef_edge_queue_dropped_total") > 0 {
            before = Some(device.resident());
        }
    }
    let messages = sent;
    let nothing_waits = "hedef_edge_queue_messages{lane=\"module-input\"} 0\n";
    until("all are scored", || get(device.metrics(), "/metrics").1.contains(nothing_waits).then_some(()));
    let (before, after) = (before.expect("some had to give way"), device.resident());
    assert!(after < before + (4 << 20), "{before} bytes of memory became {after}");
    assert!(most > CAPACITY / 2 && most <= CAPACITY, "{most} bytes on disk");
    let (dropped, kept) =
        (metric(&device, "hedef_edge_queue_dropped_total"), metric(&device, "hedef_edge_queue_messages"));
    // An input comes again where the hub's end of a connection does not hear that it was taken.
    let again = (dropped + kept).checked_sub(messages).expect("an answer for each");
    assert!(again < hub.connections(), "{again} came again");
    hub.take_no_answers(false);
    hub.cut();
    until("what was kept is sent", || (metric(&device, "hedef_edge_queue_messages") == 0).then_some(()));
    let mut found: Vec<_> = hub.sent().iter().map(|sent| number(sent.property("$.cid").unwrap())).collect();
    assert_eq!(found.len(), kept);
    found.dedup();
    let first = *found.first().unwrap();
    assert!(first <= dropped && found == (first..messages).collect::<Vec<_>>(), "{found:?}");
    let (status, log) = device.stop();
    assert!(status.success(), "{status}: {log}");
}
