use fastrand::Rng;

use super::plan::Plan;
use super::{Outcome, outcome};

/// What a session's seventh byte says of what follows.
const PLANNED: u8 = 8;
const WITH_MISTAKE: u8 = 16;
const SINGLE: u8 = 32;

/// The client reads and writes so; it takes all that is written.
fn pace(rng: &mut Rng) -> [u8; 6] {
    std::array::from_fn(|_| rng.u8(..) | 128)
}

fn some(rng: &mut Rng) -> Vec<u8> {
    let size = rng.usize(..100);
    std::iter::repeat_with(|| rng.u8(..)).take(size).collect()
}

#[test]
fn who_keeps_the_rules_is_answered() {
    let mut answered = 0;
    for seed in 0..700 {
        let rng = &mut Rng::with_seed(seed);
        let session = [&pace(rng)[..], &[PLANNED, rng.u8(..)], &some(rng)].concat();
        answered += outcome(&session).answered;
    }
    assert!(answered > 1500, "{answered}");
}

#[test]
fn whatever_a_client_does_and_however_it_leaves_nothing_is_left_of_it() {
    let (mut answered, mut refused) = (0, 0);
    let mut count = |outcome: Outcome| {
        answered += outcome.answered;
        refused += usize::from(outcome.refused.is_some());
    };
    for seed in 0..700 {
        let rng = &mut Rng::with_seed(seed);
        let manner: [u8; 8] = std::array::from_fn(|_| rng.u8(..));
        count(outcome(&[&manner[..], &some(rng)].concat()));
        let [pace @ .., ending, at] = manner;
        count(outcome(&[&pace[..], &[(ending % 8) | WITH_MISTAKE, at], &some(rng)].concat()));
        let mut bytes = Plan::new(&some(rng)).bytes;
        for _ in 0..rng.u8(1..4) {
            let (at, other) = (rng.usize(..=bytes.len()), rng.usize(..=bytes.len()));
            let (from, to) = (at.min(other), at.max(other));
            match rng.u8(..4) {
                0 => bytes.insert(at, rng.choice(*b"\r\n\t\0 :;,0af").unwrap()),
                1 => bytes.extend_from_within(from..to.min(from + 100)),
                2 => drop(bytes.drain(from..to.min(from + 3))),
                _ => bytes.truncate(to),
            }
        }
        count(outcome(&[&pace[..], &[ending & (7 | SINGLE), at], &bytes].concat()));
    }
    assert!(answered > 1500 && refused > 200, "{answered} {refused}");
}

/// A session of a client that says this, byte by byte, and nothing else.
fn of(text: &str) -> Outcome {
    outcome(&[&[4, 4, 4, 255, 255, 255, 0, 0], text.as_bytes()].concat())
}

/// What is answered with `size` and so many in a piece, after all of the body was read.
const ECHO: &str = "POST /@@D@@ HTTP/1.1\r\nhost: x\r\n";

#[test]
fn requests_in_a_row_are_answered_in_a_row_up_to_the_first_that_is_none() {
    let (chunked, length) = ("transfer-encoding: chunked\r\n\r\n", "content-length: 5\r\n\r\n");
    for (text, answered, refused) in [
        (format!("{ECHO}{length}GET /{ECHO}\r\n"), 2, None),
        (format!("{ECHO}{chunked}5;a=b\r\nGET /\r\n0\r\na: 1\r\n\r\n{ECHO}\r\n"), 2, None),
        (format!("{ECHO}\r\n{ECHO}{chunked}0\r\n\r\n\r\n{ECHO}connection: close\r\n\r\n{ECHO}\r\n"), 3, None),
        (format!("{ECHO}content-length: 5\r\n{chunked}0\r\n\r\n{ECHO}\r\n"), 0, Some(400)),
        (format!("{ECHO}content-length: 4\r\n{length}GET /{ECHO}\r\n"), 0, Some(400)),
        (format!("{ECHO}\r\nGET / HTTP/1.1\r\n\r\n{ECHO}\r\n"), 1, Some(400)),
        (format!("{ECHO}\r\n{ECHO}host: y\r\n\r\n{ECHO}\r\n"), 1, Some(400)),
        (format!("{ECHO}\r\n{ECHO}transfer-encoding: gzip\r\n\r\n{ECHO}\r\n"), 1, Some(501)),
        (format!("{ECHO}\r\nGET / HTTP/3.0\r\nhost: x\r\n\r\n{ECHO}\r\n"), 1, Some(505)),
        (format!("{ECHO}\r\n{ECHO}{}\r\n{ECHO}\r\n", "a: 1\r\n".repeat(20)), 1, Some(431)),
        (format!("{ECHO}\r\n{ECHO}a: {}\r\n\r\n{ECHO}\r\n", "a".repeat(2100)), 1, Some(431)),
        (format!("{ECHO}\r\n{ECHO}a: {}", "a".repeat(60_000)), 1, Some(431)),
        // Its body is no body: that is told, and what follows is not taken for a request.
        (format!("{ECHO}\r\n{ECHO}{chunked}5\r\nGET /x\r\n{ECHO}\r\n"), 2, None),
        (format!("{ECHO}\r\n{ECHO}{chunked}-5\r\n\r\n{ECHO}\r\n"), 2, None),
    ] {
        assert_eq!(of(&text), Outcome { refused, answered }, "{text}");
    }
}

#[test]
fn a_body_that_nobody_reads_ends_the_connection_unless_it_was_there() {
    // This one's answer comes after a while, which is the time that the second body has.
    for (path, behind, answered) in [("/@@@@@", 5, 1), ("/@@@D@", 5, 2), ("/@@@D@", 70_000, 1)] {
        let body = "x".repeat(behind);
        let text = format!("POST {path} HTTP/1.1\r\nhost: x\r\ncontent-length: {behind}\r\n\r\n{body}{ECHO}\r\n");
        assert_eq!(of(&text), Outcome { refused: None, answered }, "{path} {behind}");
    }
}

/// The seeds of the fuzz target.
#[test]
fn sessions_of_many_kinds_are_right() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/seeds/http1_session");
    let seeds = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let outcomes: Vec<_> = seeds.map(|path| outcome(&std::fs::read(&path).unwrap())).collect();
    let answered: usize = outcomes.iter().map(|outcome| outcome.answered).sum();
    let refused: Vec<_> = outcomes.iter().filter_map(|outcome| outcome.refused).collect();
    assert!(answered >= 20 && refused.contains(&400), "{answered} {refused:?}");
}
