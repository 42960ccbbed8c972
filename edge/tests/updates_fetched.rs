//! Bundles come from servers and to disks as both are.

use std::fs;

use hedef_protocols::bundle::Sha256;
use serde_json::{Value, json};

use crate::bundles::{Does, Recipe};
use crate::depot::Faults;
use crate::updates::{Place, QUICK, wanted};
use crate::wait::until;

#[test]
fn a_download_goes_on_where_it_ended() {
    let (place, mut device) = Place::with_version_1(QUICK);
    let bundle = Recipe { ballast: 3_000_000, ..Recipe::new(2, Does::Neg) }.make(&place.key);
    place.depot.fail(Faults { cut_after: Some(1_000_000), ..Faults::default() });
    let before = place.depot.log().len();
    place.desire(2, &bundle);
    let tag = format!("\"{}\"", Sha256::of(&bundle));
    // Within a process, and over the end of one.
    until("it goes on", || (place.depot.log().len() > before + 1).then_some(()));
    device.kill();
    device = place.start();
    place.until_active(&device, 2);
    let log = place.depot.log()[before..].to_vec();
    assert!(log[0].ends_with("range=none if=none"), "{log:?}");
    assert!(log.len() >= 4 && log[1..].iter().all(|line| line.ends_with(&format!("- if={tag}"))), "{log:?}");
    let from = |line: &str| line.split("bytes=").nth(1).unwrap().split('-').next().unwrap().parse::<u64>().unwrap();
    assert!(log[1..].is_sorted_by_key(|line| from(line)), "{log:?}");
}

#[test]
fn servers_without_ranges_or_lengths_or_at_another_place_are_understood() {
    let (place, device) = Place::with_version_1(QUICK);
    let bundle = Recipe::new(2, Does::Neg).make(&place.key);
    place.depot.fail(Faults { no_ranges: true, cut_after: Some(100_000), redirects: true, ..Faults::default() });
    let before = place.depot.log().len();
    place.desire(2, &bundle);
    until("it is asked for the rest", || {
        place.depot.log()[before..].iter().any(|line| line.contains("?moved range=bytes=100000-")).then_some(())
    });
    place.depot.fail(Faults { no_ranges: true, no_length: true, ..Faults::default() });
    place.until_active(&device, 2);
}

#[test]
fn a_size_that_is_a_lie_is_never_exceeded_on_disk() {
    let (place, device) = Place::with_version_1(QUICK);
    let bundle = Recipe::new(2, Does::Neg).make(&place.key);
    for faults in [Faults::default(), Faults { no_length: true, ..Faults::default() }] {
        place.depot.fail(faults);
        for size in [bundle.len() - 1000, bundle.len() + 1000] {
            let url = place.depot.put("lie.bundle", &bundle);
            let mut lie = wanted(2, &bundle, &url);
            lie["size"] = size.into();
            place.hub.desire("models", Value::Null, true);
            place.hub.desire("models", json!({ "m": lie }), true);
            let expected = format!("expected a bundle of {size} bytes");
            until("it is found out", || (place.reported()["error"].as_str()?.contains(&expected)).then_some(()));
            place.until_failed(&device, "failed", &expected);
            assert_eq!(fs::read_dir(place.home.path().join("data/updates/staging")).unwrap().count(), 0);
            // Another one is wanted in between, or this would be the same again.
            lie["url"] = "file:///nothing".into();
            lie["sha256"] = Sha256::of(b"nothing").to_string().into();
            place.hub.desire("models", json!({ "m": lie }), true);
            until("it is another", || (place.reported()["state"] == "downloading").then_some(()));
        }
    }
}

#[test]
fn a_disk_that_is_too_small_is_told_before_the_first_byte() {
    let (place, device) = Place::with_version_1(QUICK);
    let bundle = Recipe::new(2, Does::Neg).make(&place.key);
    let url = place.depot.put("large.bundle", &bundle);
    let mut large = wanted(2, &bundle, &url);
    large["size"] = (1_u64 << 50).into();
    place.hub.desire("models", json!({ "m": large }), true);
    place.until_failed(&device, "failed", "the disk is full");
    assert!(!place.depot.log().iter().any(|line| line.contains("large")), "{:?}", place.depot.log());
}

#[test]
fn a_disk_that_fills_up_changes_nothing_and_is_tried_again() {
    let (place, device) = Place::with_version_1(QUICK);
    let bundle = Recipe::new(2, Does::Neg).make(&place.key);
    // What is written there has no room.
    let part = place.home.path().join(format!("data/updates/staging/{}.part", Sha256::of(&bundle)));
    let full = place.home.path().join("full");
    std::os::unix::fs::symlink("/dev/full", &full).unwrap();
    std::os::unix::fs::symlink(&full, &part).unwrap();
    // Read, it is a file without an end: longer than the bundle.
    place.desire(2, &bundle);
    place.until_failed(&device, "failed", "the disk");
    fs::remove_file(&part).unwrap();
    place.until_active(&device, 2);
}

#[test]
fn answers_that_end_early_without_a_word_are_gone_on_with() {
    let (place, device) = Place::with_version_1(QUICK);
    let bundle = Recipe::new(2, Does::Neg).make(&place.key);
    let cut_after = Some(bundle.len() / 5 + 1);
    place.depot.fail(Faults { no_length: true, cut_after, ..Faults::default() });
    place.desire(2, &bundle);
    place.until_active(&device, 2);
    let goes: Vec<_> = place.depot.log().into_iter().filter(|line| line.starts_with("/m-2")).collect();
    assert_eq!(goes.len(), 5, "{goes:?}");
}

#[test]
fn what_is_not_wanted_any_more_does_not_come() {
    let (place, device) = Place::with_version_1(QUICK);
    let bundle = Recipe::new(2, Does::Neg).make(&place.key);
    let good = place.depot.put("m-2.bundle", &bundle);
    place.desire_from(2, &bundle, &good.replace("m-2", "nowhere"));
    place.until_state("downloading");
    place.hub.desire("models", Value::Null, true);
    place.until_state("active");
    // Nor after a restart; but it can be wanted again.
    place.desire_from(2, &bundle, &good.replace("m-2", "nowhere"));
    place.until_state("downloading");
    device.stop();
    place.hub.desire("models", Value::Null, true);
    let device = place.start();
    place.until_state("active");
    device.stop();
    place.desire(2, &bundle);
    let device = place.start();
    place.until_active(&device, 2);
}
