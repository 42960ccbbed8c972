//! A device that is too hot.

use std::fs;

use crate::device::Home;
use crate::http::get;
use crate::wait::until;

#[test]
fn a_hot_device_scores_fewer_messages_at_a_time_and_tells_it() {
    let zones = tempfile::tempdir().unwrap();
    let zone = zones.path().join("thermal_zone0");
    fs::create_dir(&zone).unwrap();
    fs::write(zone.join("temp"), "91000\n").unwrap();
    let home =
        Home::new(&format!("[queue]\nparallel = 2\n[thermal]\nlimit_c = 80\nzones = '{}'\n", zones.path().display()));
    let device = home.start();
    let told = |line: &str| get(device.metrics(), "/metrics").1.lines().any(|found| found == line);
    until("it does half of it", || told("hedef_edge_parallel 1").then_some(()));
    assert!(told("hedef_edge_temperature_celsius 91"));
    fs::write(zone.join("temp"), "60000\n").unwrap();
    until("it does all of it", || told("hedef_edge_parallel 2").then_some(()));
    let (status, log) = device.stop();
    assert!(status.success() && log.contains("at 91 °C 1 messages"), "{status}: {log}");
}
