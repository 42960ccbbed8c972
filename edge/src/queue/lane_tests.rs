//! The lane on a disk that is killed, cut off from power, filled up and damaged.

use proptest::prelude::*;

use super::lane::{BEGIN, Lane};
use super::memory::Memory;

const SEGMENT: u64 = 200;

fn open(disk: &Memory) -> Lane<Memory> {
    Lane::open(disk.clone(), SEGMENT).unwrap()
}

/// A message that tells its number, of some length.
fn body(number: u64, length: usize) -> Vec<u8> {
    let mut body = number.to_le_bytes().to_vec();
    body.resize(8 + length, u8::try_from(number % 251).unwrap());
    body
}

/// The numbers of all messages that are there, each of which has to be as it was written.
fn content(lane: &mut Lane<Memory>) -> Vec<u64> {
    lane.rewind();
    let mut numbers = Vec::new();
    while let Some((number, found)) = lane.take().unwrap() {
        assert_eq!(found, body(number, found.len() - 8));
        numbers.push(number);
    }
    assert_eq!(lane.messages(), numbers.len() as u64);
    numbers
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Push(usize),
    Finish(u64),
    DropOldest,
    Commit,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0_usize..120).prop_map(Step::Push),
        1 => (250_usize..400).prop_map(Step::Push),
        4 => (0_u64..4).prop_map(Step::Finish),
        1 => Just(Step::DropOldest),
        2 => Just(Step::Commit),
    ]
}

/// What has to be in the lane.
#[derive(Clone, Debug, Default)]
struct Expected {
    undone: Vec<u64>,
    next: u64,
    /// The undone messages at the last commit, and the number below which all was safe.
    committed: u64,
}

/// Runs steps until one fails. Returns what has to be there before and after the last step.
fn run(lane: &mut Lane<Memory>, steps: &[Step]) -> (Expected, Expected, bool) {
    let mut before = Expected::default();
    for step in steps {
        let mut after = before.clone();
        let done = match *step {
            Step::Push(length) => {
                after.undone.push(after.next);
                after.next += 1;
                lane.push(&body(before.next, length)).map(|number| assert_eq!(number, before.next))
            }
            Step::Finish(ahead) => {
                let at = usize::try_from(ahead).unwrap();
                match before.undone.get(at) {
                    Some(number) => {
                        after.undone.remove(at);
                        lane.finish(*number)
                    }
                    None => Ok(()),
                }
            }
            Step::DropOldest => lane.drop_oldest().map(|dropped| {
                let dropped = usize::try_from(dropped.unwrap_or(0)).unwrap();
                after.undone.drain(..dropped);
            }),
            Step::Commit => lane.commit().map(|next| after.committed = next),
        };
        if done.is_err() {
            return (before, after, false);
        }
        before = after;
    }
    (before.clone(), before, true)
}

/// Whether `found` is `undone`, but for messages at the start that were done or dropped and come again.
fn repeats_at_most(found: &[u64], undone: &[u64]) -> bool {
    let is_run = found.windows(2).all(|pair| pair[0] < pair[1]);
    is_run && undone.iter().all(|number| found.contains(number))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn what_is_undone_is_there_in_order_and_after_a_restart_too(steps in prop::collection::vec(step(), 0..80)) {
        let disk = Memory::default();
        let mut lane = open(&disk);
        let (expected, _, whole) = run(&mut lane, &steps);
        prop_assert!(whole);
        prop_assert_eq!(content(&mut lane), expected.undone.clone());
        // Only what is done out of order comes again.
        let mut again = open(&disk);
        let found = content(&mut again);
        prop_assert!(repeats_at_most(&found, &expected.undone), "{:?} for {:?}", found, expected.undone);
        prop_assert_eq!(again.damaged(), 0);
    }

    #[test]
    fn a_kill_at_any_step_leaves_what_was_there_before_or_after_it(
        steps in prop::collection::vec(step(), 1..40),
        at in 0_usize..120,
    ) {
        let disk = Memory::default();
        let mut lane = open(&disk);
        disk.0.borrow_mut().steps = Some(at);
        let (before, after, _) = run(&mut lane, &steps);
        drop(lane);
        disk.0.borrow_mut().steps = None;
        let mut lane = open(&disk);
        let found = content(&mut lane);
        // Nothing that was accepted and not yet done is missing, but for what the last step may have dropped.
        let kept: Vec<_> = before.undone.iter().filter(|number| after.undone.contains(number)).collect();
        for number in kept {
            prop_assert!(found.contains(number) || matches!(steps.last(), Some(Step::DropOldest)), "{:?} lacks {}", found, number);
        }
        prop_assert!(found.iter().all(|number| *number < after.next));
        prop_assert!(found.windows(2).all(|pair| pair[0] + 1 == pair[1]), "{:?}", found);
        // And it goes on.
        let number = lane.push(&body(found.last().map_or(0, |last| last + 1).max(before.next), 5));
        prop_assert!(number.is_ok());
    }

    #[test]
    fn a_power_cut_leaves_a_prefix_with_all_that_was_committed(
        steps in prop::collection::vec(step(), 1..60),
        keep in prop::collection::vec(0_usize..500, 1..20),
    ) {
        let disk = Memory::default();
        let mut lane = open(&disk);
        let (expected, _, _) = run(&mut lane, &steps);
        drop(lane);
        let mut keep = keep.into_iter().cycle();
        disk.0.borrow_mut().cut(|_| keep.next().unwrap());
        let mut lane = open(&disk);
        let found = content(&mut lane);
        prop_assert!(found.windows(2).all(|pair| pair[0] + 1 == pair[1]), "{:?}", found);
        let committed = expected.undone.iter().filter(|number| **number < expected.committed);
        for number in committed {
            prop_assert!(found.contains(number), "{:?} lacks {} of {:?}", found, number, expected);
        }
        prop_assert!(found.iter().all(|number| *number < expected.next));
        prop_assert_eq!(lane.damaged(), 0);
    }

    #[test]
    fn a_full_disk_refuses_and_loses_nothing(
        steps in prop::collection::vec(step(), 1..60),
        capacity in 0_usize..2000,
    ) {
        let disk = Memory::default();
        let mut lane = open(&disk);
        disk.0.borrow_mut().capacity = Some(capacity);
        let mut accepted = Vec::new();
        for step in &steps {
            if let Step::Push(length) = step {
                let next = accepted.len() as u64;
                if lane.push(&body(next, *length)).is_ok() {
                    accepted.push(next);
                }
            }
        }
        prop_assert_eq!(content(&mut lane), accepted.clone());
        prop_assert_eq!(content(&mut open(&disk)), accepted.clone());
        // With room it goes on where it was.
        disk.0.borrow_mut().capacity = None;
        let next = accepted.len() as u64;
        prop_assert_eq!(lane.push(&body(next, 1)).unwrap(), next);
        accepted.push(next);
        prop_assert_eq!(content(&mut open(&disk)), accepted);
    }
}

#[test]
fn a_file_cut_at_any_byte_is_read_to_its_last_whole_message() {
    let lengths = [0, 3, 40, 1];
    let mut ends = vec![BEGIN];
    for length in lengths {
        ends.push(ends.last().unwrap() + 17 + 8 + length);
    }
    for cut in 0..=*ends.last().unwrap() {
        let disk = Memory::default();
        let mut lane = Lane::open(disk.clone(), 10_000).unwrap();
        for (number, length) in lengths.iter().enumerate() {
            lane.push(&body(number as u64, *length)).unwrap();
        }
        drop(lane);
        disk.0.borrow_mut().last().unwrap().truncate(cut);
        let whole = ends.iter().skip(1).filter(|end| **end <= cut).count() as u64;
        let mut lane = Lane::open(disk, 10_000).unwrap();
        assert_eq!(content(&mut lane), (0..whole).collect::<Vec<_>>(), "cut at {cut}");
        assert_eq!(lane.push(&body(whole, 9)).unwrap(), whole);
        assert_eq!(content(&mut lane), (0..=whole).collect::<Vec<_>>());
    }
}

#[test]
fn damage_in_an_old_file_costs_its_rest_only() {
    let disk = Memory::default();
    let mut lane = open(&disk);
    for number in 0..12 {
        lane.push(&body(number, 30)).unwrap();
    }
    let found = |lane: &mut Lane<Memory>| {
        let found = content(lane);
        assert!(found.starts_with(&[0]) && found.ends_with(&[10, 11]) && found.len() as u64 + lane.damaged() == 12);
    };
    // The second message of the first file.
    disk.0.borrow_mut().first().unwrap()[BEGIN + 55 + 20] ^= 1;
    found(&mut lane);
    found(&mut open(&disk));
}

#[test]
fn a_tail_of_zeros_is_cut_off() {
    let disk = Memory::default();
    let mut lane = open(&disk);
    lane.push(&body(0, 1)).unwrap();
    disk.0.borrow_mut().last().unwrap().extend([0; 50]);
    let mut lane = open(&disk);
    lane.push(&body(1, 1)).unwrap();
    assert_eq!(content(&mut open(&disk)), [0, 1]);
}

#[test]
fn what_is_taken_comes_again_only_after_a_rewind() {
    let mut lane = open(&Memory::default());
    for number in 0..3 {
        lane.push(&body(number, 80)).unwrap();
    }
    let taken = |lane: &mut Lane<Memory>| lane.take().unwrap().map(|(number, _)| number);
    assert_eq!([taken(&mut lane), taken(&mut lane)], [Some(0), Some(1)]);
    lane.finish(1).unwrap();
    lane.rewind();
    assert_eq!([taken(&mut lane), taken(&mut lane), taken(&mut lane)], [Some(0), Some(2), None]);
    lane.push(&body(3, 1)).unwrap();
    assert_eq!(taken(&mut lane), Some(3));
}

#[test]
fn files_go_when_all_in_them_is_done() {
    let disk = Memory::default();
    let mut lane = open(&disk);
    for number in 0..1000 {
        lane.push(&body(number, 60)).unwrap();
        lane.take().unwrap();
        lane.finish(number).unwrap();
    }
    assert!(disk.0.borrow().used() < 3 * 200, "{}", disk.0.borrow().used());
    assert_eq!(open(&disk).push(&body(1000, 0)).unwrap(), 1000);
}
