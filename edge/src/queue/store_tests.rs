//! Lanes that share the room there is.

use super::memory::Memory;
use super::store::{LaneSettings, PushError, Store, WhenFull};

fn settings(name: &str, priority: u8, when_full: WhenFull) -> (LaneSettings, Memory) {
    (LaneSettings { name: name.into(), priority, when_full, share: 1, max_age: None }, Memory::default())
}

fn numbers(store: &mut Store<Memory>, lane: usize) -> Vec<u64> {
    let lane = store.lane(lane).unwrap();
    lane.rewind();
    std::iter::from_fn(|| lane.take().unwrap()).map(|(number, _)| number).collect()
}

const CAPACITY: u64 = 64 << 10;

/// Adds messages of 1000 bytes.
fn fill(store: &mut Store<Memory>, lane: usize, count: usize) -> usize {
    (0..count).filter(|_| store.push(lane, &[7; 1000]).is_ok()).count()
}

#[test]
fn the_oldest_give_way_and_are_counted() {
    let mut store = Store::open(vec![settings("a", 0, WhenFull::DropOldest)], CAPACITY).unwrap();
    assert_eq!(fill(&mut store, 0, 500), 500);
    let kept = numbers(&mut store, 0);
    let (_, dropped, lane) = store.lanes().next().unwrap();
    assert_eq!(kept.last(), Some(&499));
    assert!(kept.windows(2).all(|pair| pair[0] + 1 == pair[1]) && kept.len() > 50, "{kept:?}");
    assert!(dropped == 500 - kept.len() as u64 && lane.bytes() <= CAPACITY);
}

#[test]
fn a_lane_that_keeps_what_it_has_refuses() {
    let mut store = Store::open(vec![settings("a", 0, WhenFull::DropNew)], CAPACITY).unwrap();
    let taken = fill(&mut store, 0, 500);
    assert!(taken > 50 && taken <= 60, "{taken}");
    assert!(matches!(store.push(0, &[7; 1000]), Err(PushError::Full)));
    assert_eq!(numbers(&mut store, 0).len(), taken);
    // What is delivered makes room.
    for number in 0..20 {
        store.lane(0).unwrap().finish(number).unwrap();
    }
    assert!(store.push(0, &[7; 1000]).is_ok());
}

#[test]
fn the_less_important_give_way_first_and_never_push_out_the_others() {
    let lanes = vec![settings("alerts", 0, WhenFull::DropOldest), settings("results", 5, WhenFull::DropOldest)];
    let mut store = Store::open(lanes, CAPACITY).unwrap();
    fill(&mut store, 1, 100);
    assert_eq!(fill(&mut store, 0, 40), 40);
    assert_eq!(numbers(&mut store, 0).len(), 40);
    fill(&mut store, 1, 100);
    assert_eq!(numbers(&mut store, 0).len(), 40);
    assert!(!numbers(&mut store, 1).is_empty());
}

#[test]
fn a_lane_with_a_share_leaves_room_for_others() {
    let (mut inputs, disk) = settings("input", 0, WhenFull::DropNew);
    inputs.share = 2;
    let answers = settings("output", 0, WhenFull::DropNew);
    let mut store = Store::open(vec![(inputs, disk), answers], CAPACITY).unwrap();
    let taken = fill(&mut store, 0, 500);
    assert!(taken < 32 && fill(&mut store, 1, taken) == taken, "{taken}");
    assert!(matches!(store.push(0, &[0; 33 << 10]), Err(PushError::TooLarge { .. })));
}

#[test]
fn notes_of_what_is_done_stay_within_the_limit() {
    for size in [1, 20, 200] {
        let mut store = Store::open(vec![settings("a", 0, WhenFull::DropNew)], CAPACITY).unwrap();
        let (mut first, mut next, mut most) = (0, 0, 0);
        for _ in 0..20_000 {
            // What is done is made up for until there is no room.
            while store.push(0, &vec![7; size]).is_ok() {
                next += 1;
            }
            assert!(first < next);
            store.lane(0).unwrap().finish(first).unwrap();
            first += 1;
            most = most.max(store.bytes());
        }
        assert!(most <= CAPACITY, "{most} bytes of {CAPACITY} with messages of {size}");
    }
}

#[test]
fn what_can_never_fit_is_refused_at_once() {
    let mut store = Store::open(vec![settings("a", 0, WhenFull::DropOldest)], CAPACITY).unwrap();
    assert!(matches!(store.push(0, &[0; 65 << 10]), Err(PushError::TooLarge { found: 66_560, .. })));
}

#[test]
fn a_full_disk_counts_as_a_full_queue() {
    let (settings, disk) = settings("a", 0, WhenFull::DropOldest);
    disk.0.borrow_mut().capacity = Some(20 << 10);
    let mut store = Store::open(vec![(settings, disk.clone())], CAPACITY).unwrap();
    assert_eq!(fill(&mut store, 0, 100), 100);
    assert_eq!(numbers(&mut store, 0).last(), Some(&99));
    assert!(disk.0.borrow().used() <= 20 << 10);
}

#[test]
fn files_are_made_safe_once_each_not_for_every_message() {
    let (settings, disk) = settings("a", 0, WhenFull::DropOldest);
    let mut store = Store::open(vec![(settings, disk.clone())], 64 << 20).unwrap();
    fill(&mut store, 0, 1000);
    assert_eq!(disk.0.borrow().syncs, 0);
    assert_eq!(store.commit().unwrap(), [1000]);
    assert!(disk.0.borrow().syncs == 1 && !store.is_dirty());
}
