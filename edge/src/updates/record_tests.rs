//! The state machine, step by step and in any order.

use hedef_protocols::bundle::{File, Manifest, Sha256};
use proptest::prelude::*;

use super::record::{Needless, Outcome, Phase, Record, Release};
use super::wanted::Wanted;
use crate::care::LastEnd;

fn wanted(version: u64) -> Wanted {
    let sha256 = Sha256::of(&version.to_le_bytes());
    Wanted { version, url: format!("https://host/{version}"), sha256, size: 7 }
}

fn manifest(version: u64) -> Manifest {
    let file = File { path: format!("{version}/model.onnx"), size: 1, sha256: Sha256::of(b"m") };
    Manifest {
        name: hedef_core::ModelName::new("m").unwrap(),
        version,
        min_runtime: None,
        expires: None,
        allow_downgrade: false,
        golden: vec![],
        files: vec![file],
    }
}

/// One that serves a version.
fn serving(versions: &[u64]) -> Record {
    let mut record = Record::default();
    for version in versions {
        on_trial(&mut record, *version);
        record.confirmed();
    }
    record
}

fn on_trial(record: &mut Record, version: u64) {
    record.begin(wanted(version), true);
    record.downloaded();
    record.verified(false);
    record.passed();
}

fn version(release: Option<&Release>) -> Option<u64> {
    release.map(|release| release.version)
}

#[test]
fn an_update_goes_its_way_and_the_one_before_is_kept() {
    let mut record = Record::default();
    assert_eq!(record.state(), "active");
    record.begin(wanted(3), true);
    assert_eq!((record.state(), record.wanted()), ("downloading", Some(&wanted(3))));
    record.downloaded();
    assert_eq!(record.state(), "verifying");
    record.verified(false);
    assert_eq!((record.state(), version(record.active.as_ref())), ("testing", None));
    record.passed();
    assert_eq!((record.state(), version(record.active.as_ref()), record.last_good), ("trial", Some(3), None));
    record.confirmed();
    assert_eq!((record.state(), record.last_good, record.highest), ("active", Some(3), 3));
    let record = serving(&[3, 5]);
    assert_eq!([version(record.active.as_ref()), version(record.previous.as_ref())], [Some(5), Some(3)]);
    assert_eq!(record.admits(&wanted(5), true), Err(Needless::Here));
}

#[test]
fn what_failed_is_tried_again_only_if_somebody_asks() {
    let mut record = serving(&[3]);
    record.begin(wanted(4), true);
    record.failed("wrong".into(), false);
    assert_eq!(
        (record.state(), version(record.active.as_ref()), record.error.as_deref()),
        ("failed", Some(3), Some("wrong"))
    );
    assert_eq!(record.admits(&wanted(4), false), Err(Needless::Declined));
    assert_eq!([record.admits(&wanted(4), true), record.admits(&wanted(5), false)], [Ok(()), Ok(())]);
    // What was asked for at once does not bring an old wish back.
    record.begin(wanted(5), false);
    record.downloaded();
    record.verified(false);
    record.passed();
    record.confirmed();
    assert_eq!(record.admits(&wanted(4), false), Err(Needless::Declined));
}

#[test]
fn a_trial_that_crashes_twice_is_rolled_back_before_it_is_loaded_again() {
    let mut record = serving(&[3]);
    on_trial(&mut record, 4);
    assert!(!record.restarted(LastEnd::Clean) && !record.restarted(LastEnd::Clean), "clean ends are not counted");
    assert!(!record.restarted(LastEnd::Crash));
    assert_eq!(record.phase, Phase::Trial { tries: 2, cuts: 0 });
    assert!(record.restarted(LastEnd::Crash));
    assert_eq!(
        (record.state(), version(record.active.as_ref()), version(record.previous.as_ref())),
        ("rolledback", Some(3), None)
    );
    assert_eq!(record.admits(&wanted(4), true), Err(Needless::Refused));
    // The very first has nothing to go back to.
    let mut record = Record::default();
    on_trial(&mut record, 1);
    record.restarted(LastEnd::Crash);
    assert!(record.restarted(LastEnd::Crash));
    assert_eq!((record.active.as_ref(), record.outcome), (None, Some(Outcome::RolledBack)));
}

#[test]
fn power_cuts_do_not_blame_a_bundle_but_five_of_them_give_it_up() {
    for tested in [false, true] {
        let mut record = serving(&[3]);
        if tested {
            on_trial(&mut record, 4);
        } else {
            record.begin(wanted(4), true);
            record.downloaded();
        }
        assert!((0..4).all(|_| !record.restarted(LastEnd::PowerCut)));
        // A crash counts for itself.
        assert!(!record.restarted(LastEnd::Crash) && record.restarted(LastEnd::PowerCut));
        assert_eq!(version(record.active.as_ref()), Some(3));
        assert_eq!(record.error.as_deref(), Some("the machine went down 5 times with it"));
        // Not by itself, but if somebody asks.
        assert_eq!(
            [record.admits(&wanted(4), false), record.admits(&wanted(4), true)],
            [Err(Needless::Declined), Ok(())]
        );
    }
}

#[test]
fn a_journal_of_before_knows_of_no_power_cuts() {
    let phase: Phase = serde_json::from_str(r#"{"trial": {"tries": 2}}"#).unwrap();
    assert_eq!(phase, Phase::Trial { tries: 2, cuts: 0 });
}

#[test]
fn a_bundle_that_ends_the_process_while_it_is_tested_is_blamed() {
    let mut record = serving(&[3]);
    record.begin(wanted(4), true);
    record.downloaded();
    assert!(!record.restarted(LastEnd::Crash) && record.restarted(LastEnd::Crash));
    assert_eq!((record.state(), record.admits(&wanted(4), true)), ("failed", Err(Needless::Refused)));
    record.begin(wanted(5), true);
    assert!((0..9).all(|_| !record.restarted(LastEnd::Crash)), "a download harms nobody");
}

#[test]
fn a_step_back_has_to_be_signed() {
    let mut record = serving(&[3, 7]);
    record.roll_back("somebody asked".into(), false);
    assert_eq!((version(record.active.as_ref()), record.highest), (Some(3), 7));
    let check = |record: &Record, version, allow_downgrade| {
        record.check("m", &wanted(version), &Manifest { allow_downgrade, ..manifest(version) })
    };
    assert!(check(&record, 5, false).unwrap_err().contains("expected version 7 or higher"));
    assert_eq!([check(&record, 7, false), check(&record, 5, true)], [Ok(()), Ok(())]);
    record.begin(wanted(5), true);
    record.downloaded();
    record.verified(true);
    record.passed();
    record.confirmed();
    assert_eq!((record.highest, check(&record, 6, false)), (5, Ok(())));
}

#[test]
fn a_manifest_is_of_what_was_wanted() {
    let record = serving(&[3]);
    assert!(record.check("other", &wanted(4), &manifest(4)).unwrap_err().contains("`other`"));
    assert!(record.check("m", &wanted(4), &manifest(5)).unwrap_err().contains("expected version 4, found 5"));
    let other = Wanted { sha256: Sha256::of(b"other"), ..wanted(3) };
    assert!(record.check("m", &other, &manifest(3)).unwrap_err().contains("other contents"));
}

#[test]
fn the_journal_brings_it_back() {
    let mut record = serving(&[3]);
    on_trial(&mut record, 4);
    record.roll_back("NaN".into(), true);
    record.begin(wanted(5), true);
    record.downloaded();
    record.verified(true);
    let text = serde_json::to_string(&record).unwrap();
    assert_eq!(serde_json::from_str::<Record>(&text).unwrap(), record, "{text}");
}

proptest! {
    /// Whatever happens: what is active was tested, and what is to go back to proved itself.
    #[test]
    fn no_order_of_events_leads_astray(events in prop::collection::vec((0_u8..9, 1_u64..6), 0..40)) {
        let (mut record, mut tested, mut good) = (Record::default(), vec![], vec![]);
        for (event, number) in events {
            let resting = record.phase == Phase::Rest;
            match event {
                0 if resting && record.admits(&wanted(number), false).is_ok() => record.begin(wanted(number), true),
                1 => record.downloaded(),
                2 => record.verified(false),
                3 => {
                    if let Phase::Testing { wanted, .. } = &record.phase {
                        tested.push(wanted.version);
                    }
                    record.passed();
                }
                4 if matches!(record.phase, Phase::Trial { .. }) => {
                    record.confirmed();
                    good.extend(version(record.active.as_ref()));
                }
                5 if matches!(record.phase, Phase::Trial { .. }) => record.roll_back("bad".into(), true),
                6 if record.wanted().is_some() => record.failed("bad".into(), false),
                7 => { record.restarted([LastEnd::Clean, LastEnd::Crash, LastEnd::PowerCut][usize::try_from(number % 3).unwrap()]); }
                8 => record.abandoned(),
                _ => (),
            }
            let active = version(record.active.as_ref());
            prop_assert!(active.is_none_or(|active| tested.contains(&active)));
            prop_assert!(version(record.previous.as_ref()).is_none_or(|previous| good.contains(&previous)));
            let on_trial = matches!(record.phase, Phase::Trial { .. });
            prop_assert!(on_trial || active.is_none_or(|active| good.contains(&active)));
            prop_assert!(record.active.iter().all(|active| !record.refused.contains(&active.sha256)));
        }
    }
}
