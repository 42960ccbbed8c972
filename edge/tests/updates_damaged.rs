//! What was active and confirmed does not work any more, or what is wanted is not where it was said to be.

use std::fs;

use serde_json::Value;

use crate::bundles::{Does, Recipe};
use crate::device::Home;
use crate::http::post;
use crate::hub::Hub;
use crate::updates::{Place, QUICK, ask};
use crate::wait::until;

/// Its files are there, and no model any more.
fn damage(place: &Place, version: u64) {
    let folder = format!("data/updates/models/m/{version}/{version}/model.onnx");
    fs::write(place.home.path().join(folder), "no model").unwrap();
}

#[test]
fn a_damaged_version_gives_way_to_the_one_before_and_can_come_again() {
    let (place, device) = Place::with_version_1(QUICK);
    let bundle = Recipe::new(2, Does::Neg).make(&place.key);
    place.desire(2, &bundle);
    place.until_active(&device, 2);
    place.hub.desire("models", Value::Null, true);
    device.stop();
    damage(&place, 2);
    let device = place.start();
    assert_eq!(until("the version of before is served", || ask(&device, 2.0)), (1, 2.0));
    let reported = place.until_state("rolledback");
    assert_eq!(reported["active"], 1, "{reported}");
    place.desire(2, &bundle);
    place.until_active(&device, 2);
    device.stop();
    damage(&place, 1);
    damage(&place, 2);
    // It is still wanted, and nothing else is left.
    let device = place.start();
    assert_eq!(until("it came again", || ask(&device, 2.0)), (2, -2.0));
}

#[test]
fn a_bundle_is_looked_for_where_it_is_said_to_be_by_now() {
    let (place, device) = Place::with_version_1(QUICK);
    let bundle = Recipe::new(2, Does::Neg).make(&place.key);
    let good = place.depot.put("m-2.bundle", &bundle);
    place.desire_from(2, &bundle, &good.replace("m-2", "nowhere"));
    until("it is not there", || {
        place.reported()["error"].as_str().is_some_and(|error| error.contains("404")).then_some(())
    });
    place.desire_from(2, &bundle, &good);
    place.until_active(&device, 2);
    // After a restart, too.
    let bundle = Recipe::new(3, Does::Identity).make(&place.key);
    let good = place.depot.put("m-3.bundle", &bundle);
    place.desire_from(3, &bundle, &good.replace("m-3", "nowhere"));
    until("it is not there", || {
        place.reported()["error"].as_str().is_some_and(|error| error.contains("404")).then_some(())
    });
    device.stop();
    place.desire_from(3, &bundle, &good);
    let device = place.start();
    place.until_active(&device, 3);
}

#[test]
fn a_bundle_that_the_disk_lost_comes_again() {
    let (place, device) = Place::with_version_1(QUICK);
    device.stop();
    let mut device = place.start_ending_at(Some("downloaded"));
    place.desire(2, &Recipe::new(2, Does::Neg).make(&place.key));
    until("the process ends", || device.has_ended().then_some(()));
    drop(device);
    let staging = place.home.path().join("data/updates/staging");
    fs::read_dir(&staging).unwrap().for_each(|file| fs::remove_file(file.unwrap().path()).unwrap());
    let device = place.start();
    place.until_active(&device, 2);
}

#[test]
fn starts_that_fail_before_a_model_is_loaded_are_not_its_fault() {
    let (place, device) = Place::with_version_1(QUICK);
    place.write("trial_runs = 1000000");
    device.stop();
    let device = place.start();
    place.desire(2, &Recipe::new(2, Does::Neg).make(&place.key));
    place.until_state("trial");
    // It is killed.
    drop(device);
    for _ in 0..3 {
        let mut command = place.home.command();
        command.envs(Hub::variables(place.home.path())).env("HEDEF_ONNXRUNTIME", "/nowhere");
        assert!(!command.output().unwrap().status.success());
    }
    let device = place.start();
    assert_eq!(until("it is served", || ask(&device, 2.0)), (2, -2.0));
    assert_eq!(place.until_state("trial")["active"], 2);
}

#[test]
fn a_folder_of_updates_that_cannot_be_used_keeps_nothing_from_being_served() {
    let home = Home::new("");
    fs::create_dir_all(home.path().join("data")).unwrap();
    fs::write(home.path().join("data/updates"), "").unwrap();
    let device = home.start();
    let row = "{\"data\": [[5.1, 3.5, 1.4, 0.2]]}";
    until("the model is there", || (post(device.http(), "/score", row).0 == 200).then_some(()));
}
