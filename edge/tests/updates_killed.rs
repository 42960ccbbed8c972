//! The process is killed at every step of an update.

use hedef_edge::steps::Step;

use crate::bundles::{Does, Recipe};
use crate::updates::{Place, ask};
use crate::wait::until;

const fn does(version: u64) -> Does {
    if version % 2 == 1 { Does::Identity } else { Does::Neg }
}

/// Wherever it ends: the next process serves the old version or the new one, and finishes the update.
#[test]
fn an_update_survives_the_end_of_the_process_at_every_step() {
    let place = Place::new("trial_runs = 1");
    let steps = Step::UPDATE.map(Step::name);
    let forwards = steps.iter().take_while(|step| **step != Step::RollbackNoted.name());
    let mut ends: Vec<_> = forwards.map(ToString::to_string).collect();
    // Each journal that an update writes, and bytes in the middle.
    ends.extend((2..=5).map(|time| format!("{}@{time}", Step::JournalHalfWritten.name())));
    ends.push(format!("{}@3", Step::SomeBytes.name()));
    let device = place.start();
    place.desire(1, &Recipe::new(1, does(1)).make(&place.key));
    place.until_active(&device, 1);
    device.stop();
    for (version, end) in (2..).zip(&ends) {
        let mut device = place.start_ending_at(Some(end));
        place.desire(version, &Recipe::new(version, does(version)).make(&place.key));
        until(&format!("the process ends at {end}"), || {
            if !device.has_ended() {
                // Some steps need that somebody asks.
                std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| ask(&device, 2.0))).ok();
            }
            device.has_ended().then_some(())
        });
        drop(device);
        let device = place.start();
        let (served, y) = until("some version is served", || ask(&device, 2.0));
        assert!(served == version || served == version - 1, "after {end}: version {served} for {version}");
        assert!((y - does(served).to(2.0)).abs() < 1e-6, "after {end}: {y} of version {served}");
        let reported = place.until_active(&device, version);
        assert_eq!(reported["previous"], version - 1, "after {end}: {reported}");
        let (status, log) = device.stop();
        assert!(status.success(), "after {end}: {status}: {log}");
    }
}

/// A rollback, too.
#[test]
fn a_rollback_survives_the_end_of_the_process_at_every_step() {
    for end in [Step::RollbackNoted, Step::RolledBack] {
        let place = Place::new("trial_runs = 1");
        let device = place.start();
        for version in 1..=2 {
            place.desire(version, &Recipe::new(version, does(version)).make(&place.key));
            place.until_active(&device, version);
        }
        device.stop();
        let mut device = place.start_ending_at(Some(end.name()));
        until("the model is loaded", || ask(&device, 2.0));
        place.hub.tell_method("rollback", r#"{"model": "m"}"#);
        until("the process ends", || device.has_ended().then_some(()));
        drop(device);
        let device = place.start();
        until("the version of before is served", || (ask(&device, 2.0) == Some((1, 2.0))).then_some(()));
        let reported = place.until_state("rolledback");
        assert_eq!(reported["active"], 1, "after {}: {reported}", end.name());
    }
}
