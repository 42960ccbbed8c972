//! What the settings of updates allow: hours in which bundles come, and runs that may be bad on trial.

use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::json;

use crate::bundles::{Does, Recipe};
use crate::device::Device;
use crate::http::post;
use crate::updates::{Place, QUICK, ask};
use crate::wait::until;

/// A device that serves version 1, with these settings from then on.
fn serving(settings: &str) -> (Place, Device) {
    let (place, device) = Place::with_version_1(QUICK);
    device.stop();
    place.write(settings);
    let device = place.start();
    until("the model is loaded", || ask(&device, 1.0));
    (place, device)
}

#[test]
fn a_bundle_waits_for_the_hours_in_which_it_may_come() {
    let hour = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() / 3600 % 24;
    let window = |from: u64, to: u64| format!("{}-{}", (hour + from) % 24, (hour + to) % 24);
    let (place, device) = serving(&format!("trial_runs = 1\nwindow = '{}'", window(3, 4)));
    let before = place.depot.log().len();
    place.desire(2, &Recipe::new(2, Does::Neg).make(&place.key));
    place.until_state("downloading");
    // Whatever was to be done is done before this is answered, and its request would be among these.
    assert_eq!(place.hub.call("selftest", r#"{"model": "m"}"#).0, "200");
    assert_eq!((place.depot.log().len(), ask(&device, 2.0)), (before, Some((1, 2.0))));
    // The twin opens it.
    place.hub.desire("updates", json!({ "window": window(23, 12) }), true);
    place.until_active(&device, 2);
    assert!(place.depot.log().len() > before);
}

#[test]
fn some_bad_runs_are_borne_on_trial_and_too_many_are_not() {
    let (place, device) = serving("trial_runs = 60\ntrial_bad = 0.1");
    let run = |good: usize, bad: usize| {
        for number in 0..good + bad {
            // The logarithm of what is negative.
            until("it is answered", || ask(&device, if number < good { 1.0 } else { -1.0 }));
        }
    };
    place.desire(2, &Recipe::new(2, Does::Log).make(&place.key));
    place.until_state("trial");
    run(45, 3);
    place.until_active(&device, 2);
    place.desire(3, &Recipe { ballast: 1, ..Recipe::new(3, Does::Log) }.make(&place.key));
    place.until_state("trial");
    run(12, 3);
    let reported = place.until_state("rolledback");
    assert_eq!((&reported["active"], &reported["lastGood"]), (&json!(2), &json!(2)), "{reported}");
    assert!(reported["error"].as_str().unwrap().contains("3 gave NaN or infinity"), "{reported}");
}

#[test]
fn a_version_that_takes_too_long_on_trial_goes() {
    let (place, device) = serving("trial_runs = 1000000\ntrial_latency_ms = 1");
    place.desire(2, &Recipe::new(2, Does::Log).make(&place.key));
    place.until_state("trial");
    // Nobody takes a million logarithms in a millisecond.
    let count = 1_000_000;
    let data = vec!["2"; count].join(",");
    let request =
        format!(r#"{{"inputs": [{{"name": "x", "datatype": "FP32", "shape": [{count}], "data": [{data}]}}]}}"#);
    for _ in 0..3 {
        assert_eq!(post(device.http(), "/v2/models/m/versions/2/infer", &request).0, 200);
    }
    place.until_failed(&device, "rolledback", "took too long");
    until("version 1 is served", || (ask(&device, 2.0) == Some((1, 2.0))).then_some(()));
}
