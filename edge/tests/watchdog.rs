//! The process ends where it makes no progress, and only there.

use std::process::Stdio;

use crate::device::Home;
use crate::wait::until;

/// A broker that nobody is.
const NOBODY: &str = "watchdog_s = 5\n[broker]\nurl = 'mqtt://127.0.0.1:1'\nclient_id = 'c'\n\
    [[broker.routes]]\nfrom = 'a'\nto = 'b'\n";

#[test]
fn a_loop_that_is_stuck_ends_the_process() {
    let homes = ["queue", "broker-connection", "broker-scoring", "network"].map(|stalled| {
        let home = Home::new(NOBODY);
        let child =
            home.command().env("HEDEF_EDGE_STALLED", stalled).stdout(Stdio::null()).stderr(Stdio::piped()).spawn();
        (stalled, home, child.unwrap())
    });
    for (stalled, home, mut child) in homes {
        let status = until("the process ends", || child.try_wait().unwrap());
        let log = String::from_utf8(child.wait_with_output().unwrap().stderr).unwrap();
        assert!(status.code() == Some(1) && log.contains(&format!("`{stalled}` makes no progress")), "{status}: {log}");
        drop(home);
    }
}

#[test]
fn a_network_that_is_away_does_not() {
    let home = Home::new(NOBODY);
    let mut device = home.start();
    let tries = || device.log().matches("there is no connection to the broker").count();
    // The pauses between them come to more than the limit.
    until("some tries failed", || (tries() >= 5).then_some(()));
    assert!(!device.has_ended());
    let (status, log) = device.stop();
    assert!(status.success(), "{status}: {log}");
}
