//! Updates of models by the twin: the good way, and every bad one, which ends with the model of before.

use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use hedef_protocols::bundle::{SecretKey, Sha256};
use serde_json::{Value, json};

use crate::bundles::{Does, Recipe};
use crate::depot::Depot;
use crate::device::{Device, Home};
use crate::http::post;
use crate::hub::Hub;
use crate::wait::until;

/// A device that takes bundles of one key, with the hub and a server of bundles.
pub(crate) struct Place {
    pub(crate) home: Home,
    pub(crate) hub: Hub,
    pub(crate) depot: Depot,
    pub(crate) key: SecretKey,
}

impl Place {
    /// One with these settings of updates.
    pub(crate) fn new(settings: &str) -> Self {
        let (home, key) = (Home::new(""), SecretKey::generate().unwrap());
        let hub = Hub::start(home.path());
        let place = Self { home, hub, depot: Depot::start(), key };
        place.write(settings);
        place
    }

    pub(crate) fn write(&self, settings: &str) {
        let (port, key) = (self.hub.port, self.key.public());
        self.home
            .write(&format!("model = 'm'\n[module]\nport = {port}\n[updates]\ntrusted_keys = ['{key}']\n{settings}\n"));
    }

    pub(crate) fn start(&self) -> Device {
        self.start_ending_at(None)
    }

    pub(crate) fn start_ending_at(&self, step: Option<&str>) -> Device {
        let mut variables = Hub::variables(self.home.path());
        variables.extend(step.map(|step| ("HEDEF_EDGE_END_AT", step.into())));
        self.home.start_with(&variables)
    }

    /// Has the twin want this bundle of that version.
    pub(crate) fn desire(&self, version: u64, bundle: &[u8]) {
        let url = self.depot.put(&format!("m-{version}.bundle"), bundle);
        self.desire_from(version, bundle, &url);
    }

    pub(crate) fn desire_from(&self, version: u64, bundle: &[u8], url: &str) {
        let wanted = wanted(version, bundle, url);
        self.hub.desire("models", json!({ "m": wanted }), true);
    }

    /// What is reported of the model.
    pub(crate) fn reported(&self) -> Value {
        self.hub.reported()["models"]["m"].clone()
    }

    pub(crate) fn until_state(&self, state: &str) -> Value {
        until(&format!("the state is {state}"), || {
            let reported = self.reported();
            (reported["state"] == state).then_some(reported)
        })
    }

    /// Waits until a version is active and has proved itself, which needs somebody to ask it.
    pub(crate) fn until_active(&self, device: &Device, version: u64) -> Value {
        until(&format!("version {version} is active"), || {
            let _ = ask(device, 1.0);
            let reported = self.reported();
            (reported["state"] == "active" && reported["active"] == version).then_some(reported)
        })
    }

    /// One that has version 1 of the model, which gives its input back.
    pub(crate) fn with_version_1(settings: &str) -> (Self, Device) {
        let place = Self::new(settings);
        let device = place.start();
        place.desire(1, &Recipe::new(1, Does::Identity).make(&place.key));
        place.until_active(&device, 1);
        (place, device)
    }

    /// One whose version 2 is on trial, which good runs do not end.
    fn on_trial(does: Does) -> (Self, Device) {
        let (place, device) = Self::with_version_1(QUICK);
        device.stop();
        place.write("trial_runs = 1000000");
        let device = place.start();
        place.desire(2, &Recipe::new(2, does).make(&place.key));
        let reported = place.until_state("trial");
        assert_eq!(
            (&reported["active"], &reported["previous"], &reported["lastGood"]),
            (&json!(2), &json!(1), &json!(1))
        );
        (place, device)
    }

    /// Asks the model about a number until it is rolled back.
    fn until_rolled_back(&self, device: &Device, x: f32) {
        until("it is rolled back", || {
            let _ = ask(device, x);
            (self.reported()["state"] == "rolledback").then_some(())
        });
    }

    /// Waits until the update has failed for that reason, and asks the old version.
    pub(crate) fn until_failed(&self, device: &Device, state: &str, reason: &str) {
        let reported = until(&format!("it is {state}: {reason}"), || {
            let reported = self.reported();
            (reported["state"] == state && reported["error"].as_str()?.contains(reason)).then_some(reported)
        });
        assert_eq!((&reported["active"], &reported["lastGood"]), (&json!(1), &json!(1)), "{reported}");
        assert_eq!(ask(device, 3.0), Some((1, 3.0)));
    }
}

pub(crate) fn wanted(version: u64, bundle: &[u8], url: &str) -> Value {
    json!({ "version": version, "url": url, "sha256": Sha256::of(bundle).to_string(), "size": bundle.len() })
}

/// Asks the model: the version that answers, and what.
pub(crate) fn ask(device: &Device, x: f32) -> Option<(u64, f32)> {
    let request = json!({ "inputs": [{ "name": "x", "datatype": "FP32", "shape": [1], "data": [x] }] });
    let (status, answer) = post(device.http(), "/v2/models/m/infer", &request.to_string());
    let version = answer["model_version"].as_str().and_then(|version| version.parse().ok());
    #[expect(clippy::cast_possible_truncation, reason = "it was a f32")]
    let y = answer["outputs"][0]["data"][0].as_f64().map(|y| y as f32);
    (status == 200).then_some((version?, y.unwrap_or(f32::NAN)))
}

pub(crate) const QUICK: &str = "trial_runs = 1";

#[test]
fn a_version_comes_is_tried_and_the_one_before_is_kept() {
    let (place, device) = Place::with_version_1(QUICK);
    assert_eq!(ask(&device, 2.0), Some((1, 2.0)));
    place.desire(2, &Recipe::new(2, Does::Neg).make(&place.key));
    let reported = place.until_active(&device, 2);
    assert_eq!((&reported["previous"], &reported["lastGood"]), (&json!(1), &json!(2)), "{reported}");
    assert_eq!(ask(&device, 2.0), Some((2, -2.0)));
    let (status, body) = place.hub.call("status", "");
    assert_eq!((status.as_str(), &body["models"]["m"]["active"]), ("200", &json!(2)), "{body}");
    assert_eq!(place.hub.call("selftest", "").1["models"]["m"]["right"], 1);
    place.desire(3, &Recipe::new(3, Does::Identity).make(&place.key));
    place.until_active(&device, 3);
    let kept = place.home.path().join("data/updates/models/m");
    until("what is older than the one before is removed", || (!kept.join("1").exists()).then_some(()));
    assert!(kept.join("2").is_dir() && kept.join("3").is_dir());
    assert_eq!(fs::read_dir(place.home.path().join("data/updates/staging")).unwrap().count(), 0);
    let (status, log) = device.stop();
    assert!(status.success(), "{status}: {log}");
    // A new process finds it so, without the hub.
    let device = place.start();
    until("the model is loaded", || (ask(&device, 2.0) == Some((3, 2.0))).then_some(()));
}

#[test]
fn no_request_fails_while_versions_change() {
    let (place, device) = Place::with_version_1(QUICK);
    let device = Arc::new(device);
    let (stop, failures) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(Vec::new())));
    let callers: Vec<_> = (0..3)
        .map(|_| {
            let (device, stop, failures) = (Arc::clone(&device), Arc::clone(&stop), Arc::clone(&failures));
            thread::spawn(move || {
                let mut asked = 0;
                while !stop.load(Ordering::Relaxed) {
                    asked += 1;
                    match ask(&device, 2.0) {
                        // Odd versions give it back.
                        Some((version, y)) if (y > 0.0) == (version % 2 == 1) => (),
                        other => failures.lock().unwrap().push(other),
                    }
                }
                asked
            })
        })
        .collect();
    // Messages are scored by it, too.
    for number in 0..2000 {
        place.hub.input(
            &format!("in-{number}"),
            r#"{"inputs": [{"name": "x", "datatype": "FP32", "shape": [1], "data": [2]}]}"#,
        );
    }
    for version in 2..=4 {
        let does = if version % 2 == 0 { Does::Neg } else { Does::Identity };
        place.desire(version, &Recipe::new(version, does).make(&place.key));
        place.until_active(&device, version);
    }
    let (status, body) = place.hub.call("rollback", r#"{"model": "m"}"#);
    assert_eq!((status.as_str(), &body["version"]), ("202", &json!(3)), "{body}");
    let reported = until("it is rolled back", || {
        let reported = place.reported();
        (reported["state"] == "rolledback").then_some(reported).filter(|_| !device.log().is_empty())
    });
    assert_eq!(reported["active"], 3, "{reported}");
    stop.store(true, Ordering::Relaxed);
    until("every message is answered", || (place.hub.sent().len() == 2000).then_some(()));
    let sent = place.hub.sent();
    let bad: Vec<_> = sent.iter().filter(|sent| sent.property("error").is_some()).collect();
    assert!(bad.is_empty(), "{bad:?}");
    let versions: std::collections::BTreeSet<_> =
        sent.iter().filter_map(|sent| sent.property("model-version")).collect();
    assert!(versions.len() > 1, "{versions:?}");
    let asked: usize = callers.into_iter().map(|caller| caller.join().unwrap()).sum();
    assert!(failures.lock().unwrap().is_empty(), "{:?} of {asked}", failures.lock().unwrap());
}

#[test]
fn bundles_that_are_not_to_be_trusted_change_nothing() {
    let (place, device) = Place::with_version_1(QUICK);
    let good = Recipe::new(2, Does::Neg).make(&place.key);
    // The hash is right and the signature is not.
    let other = SecretKey::generate().unwrap();
    place.desire(2, &Recipe::new(2, Does::Neg).make(&other));
    place.until_failed(&device, "failed", "none of the 1 public keys");
    // Somebody changed a byte, and says so honestly.
    let mut tampered = good.clone();
    let last = tampered.len() - 2000;
    tampered[last] ^= 1;
    place.desire(2, &tampered);
    until("the hash in the manifest is missed", || {
        (place.reported()["error"].as_str()?.contains("ballast.bin")).then_some(())
    });
    place.until_failed(&device, "failed", "SHA-256");
    // Its end is missing.
    place.desire(2, &good[..good.len() - 1024 - 512]);
    until("it is truncated", || (place.reported()["error"].as_str()?.contains("ends within")).then_some(()));
    // It is another version than was said.
    place.desire(3, &good);
    until("it is another", || (place.reported()["error"].as_str()?.contains("expected version 3")).then_some(()));
    // It has expired.
    let expired = Recipe { expires: Some("2020-01-01T00:00:00Z"), ..Recipe::new(2, Does::Neg) };
    place.desire(2, &expired.make(&place.key));
    until("it has expired", || (place.reported()["error"].as_str()?.contains("has expired")).then_some(()));
    place.until_failed(&device, "failed", "2020-01-01");
    // After all that the good one is taken.
    place.desire(2, &good);
    place.until_active(&device, 2);
}

#[test]
fn a_model_that_does_not_know_its_golden_answers_is_not_served() {
    let (place, device) = Place::with_version_1(QUICK);
    let wrong = Recipe { knows: Does::Identity, ..Recipe::new(2, Does::Neg) };
    place.desire(2, &wrong.make(&place.key));
    place.until_failed(&device, "failed", "a golden request was answered wrong: golden/one.json");
    assert!(!place.home.path().join("data/updates/models/m/2").exists());
    // Nobody asked again, so it is not tried again after a restart.
    drop(device);
    let before = place.depot.log().len();
    let device = place.start();
    until("the model is loaded", || ask(&device, 3.0));
    place.until_failed(&device, "failed", "golden");
    assert_eq!(place.depot.log().len(), before);
    // Somebody asks, and it fails again.
    until("the twin is known", || (place.hub.call("activate", r#"{"model": "m"}"#).0 == "202").then_some(()));
    until("it is fetched again", || (place.depot.log().len() > before).then_some(()));
    place.until_failed(&device, "failed", "golden");
}

#[test]
fn an_older_version_is_taken_only_if_that_is_signed() {
    let (place, device) = Place::with_version_1(QUICK);
    place.desire(3, &Recipe::new(3, Does::Neg).make(&place.key));
    place.until_active(&device, 3);
    place.desire(2, &Recipe::new(2, Does::Identity).make(&place.key));
    let reported = place.until_state("failed");
    assert!(reported["error"].as_str().unwrap().contains("expected version 3 or higher"), "{reported}");
    assert_eq!(ask(&device, 2.0), Some((3, -2.0)));
    let back = Recipe { downgrade: true, ..Recipe::new(2, Does::Identity) };
    place.desire(2, &back.make(&place.key));
    place.until_active(&device, 2);
}

#[test]
fn a_trial_that_gives_nan_is_rolled_back_and_never_taken_again() {
    let (place, device) = Place::on_trial(Does::Log);
    place.until_rolled_back(&device, -1.0);
    place.until_failed(&device, "rolledback", "gave NaN or infinity");
    let bad = Recipe::new(2, Does::Log).make(&place.key);
    let url = place.depot.put("again.bundle", &bad);
    let mut again = wanted(2, &bad, &url);
    again["model"] = "m".into();
    let (status, body) = place.hub.call("activate", &again.to_string());
    assert_eq!(status, "409", "{body}");
}

/// It loads, knows its golden answers and answers some requests. Others fail in ONNX Runtime, in the middle of the model.
#[test]
fn a_trial_whose_runs_fail_is_rolled_back() {
    let (place, device) = Place::on_trial(Does::Fails);
    assert_eq!(ask(&device, 3.0), Some((2, 3.0)));
    assert_eq!(ask(&device, -3.0), None);
    place.until_rolled_back(&device, -3.0);
    let reported = place.reported();
    let error = reported["error"].as_str().unwrap();
    assert!(error.contains(" 3 failed, 0 gave NaN or infinity, 0 took too long"), "{error}");
    // What the bad version failed for is no matter to the one of before.
    until("the version before answers", || (ask(&device, -3.0) == Some((1, -3.0))).then_some(()));
    place.until_failed(&device, "rolledback", "runs 3 failed");
}

#[test]
fn a_trial_that_crashes_again_and_again_is_rolled_back_before_it_is_loaded() {
    let (place, mut device) = Place::on_trial(Does::Neg);
    for _ in 0..2 {
        until("the new version is served", || (ask(&device, 2.0)?.0 == 2).then_some(()));
        device.kill();
        device = place.start();
    }
    until("the model is loaded", || ask(&device, 3.0));
    place.until_failed(&device, "rolledback", "the process ended 2 times with it");
    // It is wanted still, and not taken.
    let (status, _) = place.hub.call("ping", "");
    assert_eq!((status.as_str(), ask(&device, 3.0)), ("200", Some((1, 3.0))));
}

#[test]
fn a_trial_goes_on_after_power_cuts_but_not_for_ever() {
    let (place, mut device) = Place::on_trial(Does::Neg);
    let sign = place.home.path().join("data/working");
    assert_eq!(fs::read(&sign).unwrap(), fs::read("/proc/sys/kernel/random/boot_id").unwrap());
    for _ in 0..5 {
        until("the new version is served", || (ask(&device, 2.0)?.0 == 2).then_some(()));
        device.kill();
        // As if the machine had been started anew since.
        fs::write(&sign, "7f0e5f6e-2f0b-4a51-9d8e-3c1d2b4a5968\n").unwrap();
        device = place.start();
    }
    until("the model is loaded", || ask(&device, 3.0));
    place.until_failed(&device, "rolledback", "the machine went down 5 times with it");
    assert_eq!(ask(&device, 3.0), Some((1, 3.0)));
}

#[test]
fn a_first_version_that_fails_leaves_nothing() {
    let place = Place::new("trial_runs = 1000");
    let device = place.start();
    place.desire(1, &Recipe::new(1, Does::Log).make(&place.key));
    place.until_state("trial");
    place.until_rolled_back(&device, -1.0);
    until("it is not served", || ask(&device, 1.0).is_none().then_some(()));
    assert_eq!(place.reported()["active"], Value::Null);
    assert_eq!(place.hub.call("rollback", r#"{"model": "m"}"#).0, "409");
}

#[test]
fn a_version_that_does_not_fit_beside_the_old_one_takes_its_place() {
    let place = Place::new(QUICK);
    let settings = fs::read_to_string(place.home.path().join("edge.toml")).unwrap();
    fs::write(place.home.path().join("edge.toml"), format!("memory_budget_mib = 28\n{settings}")).unwrap();
    let device = place.start();
    let recipe = |version, does| Recipe { weights: 4 << 20, ..Recipe::new(version, does) };
    place.desire(1, &recipe(1, Does::Identity).make(&place.key));
    place.until_active(&device, 1);
    place.desire(2, &Recipe { knows: Does::Identity, ..recipe(2, Does::Neg) }.make(&place.key));
    place.until_failed(&device, "failed", "a golden request was answered wrong");
    assert!(device.log().contains("makes room for the new one"), "{}", device.log());
    place.desire(2, &recipe(2, Does::Neg).make(&place.key));
    place.until_active(&device, 2);
    assert_eq!(ask(&device, 2.0), Some((2, -2.0)));
}

#[test]
fn without_a_key_nothing_is_taken() {
    let (place, device) = Place::with_version_1(QUICK);
    device.stop();
    place.home.write(&format!("[module]\nport = {}\n", place.hub.port));
    let device = place.start();
    until("the model is loaded", || ask(&device, 3.0));
    place.desire(2, &Recipe::new(2, Does::Neg).make(&place.key));
    place.until_failed(&device, "failed", "no public key is trusted");
    // With it, what is wanted is taken.
    device.stop();
    place.write(QUICK);
    let device = place.start();
    place.until_active(&device, 2);
}

#[test]
fn methods_refuse_what_makes_no_sense() {
    let (place, device) = Place::with_version_1(QUICK);
    let status = |name: &str, payload: &str| place.hub.call(name, payload).0;
    assert_eq!([status("activate", "{}"), status("rollback", r#"{"model": 7}"#)], ["400", "400"]);
    assert_eq!(
        [status("activate", r#"{"model": "nobody"}"#), status("rollback", r#"{"model": "nobody"}"#)],
        ["404", "404"]
    );
    assert_eq!(status("activate", r#"{"model": "m", "version": 2}"#), "400");
    assert_eq!([status("rollback", r#"{"model": "m"}"#), status("rollback", r#"{"model": "iris"}"#)], ["409", "409"]);
    // By method, what no twin wants.
    let bundle = Recipe::new(2, Does::Neg).make(&place.key);
    let mut wanted = wanted(2, &bundle, &place.depot.put("by-method.bundle", &bundle));
    wanted["model"] = "m".into();
    assert_eq!(status("activate", &wanted.to_string()), "202");
    place.until_active(&device, 2);
    // The twin's wrong wishes are told.
    place.hub.desire("models", json!({ "m": { "version": 3 }, "b d": {} }), true);
    until("what is wrong is told", || {
        (place.hub.reported()["desired"]["error"].as_str()?.contains("`models.")).then_some(())
    });
}
