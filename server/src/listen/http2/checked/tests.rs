use std::collections::VecDeque;

use fastrand::Rng;
use hedef_protocols::hpack::{Encoder, Indexing};

use super::super::frame::Reason;
use super::super::frame::{
    ACK, CONTINUATION, DATA, END_HEADERS, END_STREAM, FRAME_SIZE, HEADERS, Head, LARGEST, PADDED, PING, PRIORITY,
    RST_STREAM, SETTINGS, STREAM_WINDOW, TABLE_SIZE, WINDOW_UPDATE, WITH_PRIORITY,
};
use super::super::state::State;
use super::{Outcome, outcome};

/// A client that keeps the rules, and does what it does by chance.
struct Chance {
    rng: Rng,
    frames: Vec<u8>,
    encoder: Encoder,
    next: u32,
    /// The last stream.
    last: u32,
    /// Requests whose body goes on.
    open: Vec<u32>,
    /// Requests of which the whole answer has to come.
    expected: Vec<u32>,
}

impl Chance {
    fn new(seed: u64) -> Self {
        let rng = Rng::with_seed(seed);
        let (encoder, expected) = Default::default();
        let mut new = Self { rng, frames: Vec::new(), encoder, next: 1, last: 0, open: Vec::new(), expected };
        new.settings();
        new
    }

    fn frame(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
        self.frames.extend(Head { length: payload.len(), kind, flags, stream }.bytes());
        self.frames.extend_from_slice(payload);
    }

    fn settings(&mut self) {
        let mut payload = Vec::new();
        let mut set = |name: u16, value: u32| payload.extend([&name.to_be_bytes()[..], &value.to_be_bytes()].concat());
        for _ in 0..self.rng.u8(..4) {
            match self.rng.u8(..4) {
                0 => set(STREAM_WINDOW, self.rng.choice([0, 1, 10, 1000, 65_535, 1 << 20]).unwrap()),
                1 => set(FRAME_SIZE, self.rng.choice([16_384, 16_385, 100_000, (1 << 24) - 1]).unwrap()),
                2 => set(TABLE_SIZE, self.rng.choice([0, 50, 100, 4096, 10_000]).unwrap()),
                _ => set(self.rng.u16(7..), self.rng.u32(..)),
            }
        }
        self.frame(SETTINGS, 0, 0, &payload);
    }

    /// With padding, now and then.
    fn padded(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
        if self.rng.u8(..4) > 0 {
            return self.frame(kind, flags, stream, payload);
        }
        let pad = self.rng.u8(..);
        let payload = [&[pad], payload, &vec![0; pad.into()]].concat();
        self.frame(kind, flags | PADDED, stream, &payload);
    }

    fn request(&mut self) {
        let stream = self.next;
        self.last = stream;
        self.next += 2 * self.rng.u32(1..3);
        let digits: [u8; 5] = std::array::from_fn(|_| self.rng.u8(b'@'..=b'O'));
        let [_, _, reads, _, kind] = digits;
        let path: String = ['/'].into_iter().chain(digits.map(char::from)).collect();
        if reads & 15 != 3 && kind & 8 == 0 {
            self.expected.push(stream);
        }
        let has_body = self.rng.bool();
        let mut block = Vec::new();
        self.encoder.begin(&mut block);
        let method = if has_body { "POST" } else { "GET" };
        let fields =
            [(":method", method), (":scheme", "http"), (":path", &path), (":authority", "x"), ("some", "thing")];
        for (name, value) in fields {
            let indexing = self.rng.choice([Indexing::Keep, Indexing::Plain, Indexing::Never]).unwrap();
            self.encoder.field(name.as_bytes(), value.as_bytes(), indexing, &mut block);
        }
        let last = if has_body { 0 } else { END_STREAM };
        let (first, rest) = block.split_at(self.rng.usize(..=block.len()));
        match self.rng.u8(..4) {
            0 => {
                self.padded(HEADERS, last, stream, first);
                self.frame(CONTINUATION, 0, stream, b"");
                self.frame(CONTINUATION, END_HEADERS, stream, rest);
            }
            1 => {
                let block = [&[0, 0, 0, 0, 9], &block[..]].concat();
                self.frame(HEADERS, last | END_HEADERS | WITH_PRIORITY, stream, &block);
            }
            _ => self.padded(HEADERS, last | END_HEADERS, stream, &block),
        }
        if has_body {
            self.open.push(stream);
        }
    }

    fn data(&mut self, stream: u32, last: bool) {
        let size = self.rng.choice([0, 1, 100, 4096, 4097, 10_000, LARGEST - 256]).unwrap();
        let bytes: Vec<_> = std::iter::repeat_with(|| self.rng.u8(..)).take(size).collect();
        self.padded(DATA, u8::from(last) * END_STREAM, stream, &bytes);
    }

    /// Ends the body of a request.
    fn last(&mut self, at: usize) {
        let stream = self.open.swap_remove(at);
        if self.rng.bool() {
            self.data(stream, true);
        } else {
            let mut block = Vec::new();
            self.encoder.begin(&mut block);
            self.encoder.field(b"behind", b"it", Indexing::Keep, &mut block);
            self.frame(HEADERS, END_STREAM | END_HEADERS, stream, &block);
        }
    }

    fn step(&mut self) {
        let at = (!self.open.is_empty()).then(|| self.rng.usize(..self.open.len()));
        let stream = self.rng.u32(..self.next / 2 + 1) * 2 + 1;
        match (self.rng.u8(..20), at) {
            (0..5, Some(at)) => self.data(self.open[at], false),
            (5..7, Some(at)) => self.last(at),
            (7, _) => self.settings(),
            (8, _) => self.frame(SETTINGS, ACK, 0, b""),
            (9, _) => self.frame(PING, 0, 0, b"12345678"),
            (10, _) => self.frame(PRIORITY, 0, stream, &[0; 5]),
            (11, Some(at)) => {
                let stream = self.open.swap_remove(at);
                self.expected.retain(|other| *other != stream);
                self.frame(RST_STREAM, 0, stream, &[0, 0, 0, 8]);
            }
            (12, _) => self.frame(0x77, 0xff, stream, b"whatever"),
            (13..16, _) if stream <= self.last => self.widen(stream),
            (16, _) => self.widen(0),
            _ => self.request(),
        }
    }

    fn widen(&mut self, stream: u32) {
        let more = self.rng.u32(1..100_000).to_be_bytes();
        self.frame(WINDOW_UPDATE, 0, stream, &more);
    }

    /// Ends all bodies, and makes room for all answers.
    fn end(&mut self) {
        while !self.open.is_empty() {
            self.last(0);
        }
        let window = [&STREAM_WINDOW.to_be_bytes()[..], &(1_u32 << 24).to_be_bytes()].concat();
        self.frame(SETTINGS, 0, 0, &window);
        self.frame(WINDOW_UPDATE, 0, 0, &(1_u32 << 28).to_be_bytes());
    }

    fn go(seed: u64) -> Self {
        let mut chance = Self::new(seed);
        (0..chance.rng.usize(..60)).for_each(|_| chance.step());
        chance
    }
}

/// The client reads and writes so; it takes all that is written.
fn pace(rng: &mut Rng) -> [u8; 6] {
    std::array::from_fn(|_| rng.u8(..) | 128)
}

#[test]
fn who_keeps_the_rules_is_answered() {
    for seed in 0..400 {
        let mut chance = Chance::go(seed);
        chance.end();
        let session = [&pace(&mut chance.rng)[..], &[0, 0], &chance.frames].concat();
        let Outcome { reason, answered } = outcome(&session);
        let missing: Vec<_> = chance.expected.iter().filter(|stream| !answered.contains(stream)).collect();
        assert!(reason.is_none() && missing.is_empty(), "session {seed}: {reason:?}, not answered: {missing:?}");
    }
}

/// A client that takes as much as there is, and what it says: bodies that are read as a whole, in pieces that are put together.
struct Large {
    rng: Rng,
    frames: Vec<u8>,
}

impl Large {
    fn new(seed: u64) -> Self {
        let mut large = Self { rng: Rng::with_seed(seed), frames: Vec::new() };
        let window = (1_u32 << 24).to_be_bytes();
        large.add(SETTINGS, 0, 0, &[&STREAM_WINDOW.to_be_bytes()[..], &window].concat());
        large.add(WINDOW_UPDATE, 0, 0, &window);
        large
    }

    fn add(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
        self.frames.extend(Head { length: payload.len(), kind, flags, stream }.bytes());
        self.frames.extend_from_slice(payload);
    }

    fn head(&mut self, stream: u32) {
        self.add(HEADERS, END_HEADERS, stream, b"\x83\x86\x04\x06/@@F@@");
    }

    /// Says it at some pace; the streams that are answered come in order.
    fn outcome(mut self) -> Outcome {
        let mut outcome = outcome(&[&pace(&mut self.rng)[..], &[0, 0], &self.frames].concat());
        outcome.answered.sort_unstable();
        outcome
    }
}

#[test]
fn large_frames_in_a_row_are_read_to_their_place_as_the_windows_say() {
    for seed in 0..300 {
        let mut client = Large::new(seed);
        client.head(1);
        let count = client.rng.u8(2..20);
        for number in 0..count {
            let last = number + 1 == count;
            let length = if last { client.rng.usize(1..=LARGEST) } else { LARGEST };
            client.add(DATA, if last { END_STREAM } else { 0 }, 1, &vec![number; length]);
            if client.rng.u8(..8) == 0 {
                client.add(PING, 0, 0, b"between!");
            }
        }
        assert_eq!(client.outcome(), Outcome { reason: None, answered: vec![1] }, "session {seed}");
    }
}

#[test]
fn large_frames_of_streams_in_turn_are_read_to_their_places() {
    for seed in 0..200 {
        let mut client = Large::new(seed);
        let (mut answered, mut opened) = (Vec::new(), 0);
        // A stream and the frames that it has to send.
        let mut line = VecDeque::new();
        while opened < 7 || !line.is_empty() {
            if opened < 7 && (line.len() < 2 || client.rng.u8(..8) == 0) {
                opened += 1;
                client.head(2 * opened - 1);
                line.push_back((2 * opened - 1, client.rng.u8(2..12)));
            }
            // Most have their turn, and some pause.
            line.rotate_left(usize::from(client.rng.u8(..10) == 0) % line.len());
            let Some((stream, left)) = line.pop_front() else { break };
            let content = client.rng.u8(..);
            match left {
                _ if client.rng.u8(..60) == 0 => client.add(RST_STREAM, 0, stream, &[0, 0, 0, 8]),
                1 => {
                    let length = client.rng.usize(..=LARGEST);
                    match client.rng.u8(..4) {
                        0 => client.add(HEADERS, END_STREAM | END_HEADERS, stream, b"\x00\x01a\x01b"),
                        1 => client.add(DATA, END_STREAM | PADDED, stream, &[2, content, content, 0, 0]),
                        _ => client.add(DATA, END_STREAM, stream, &vec![content; length]),
                    }
                    answered.push(stream);
                }
                _ => {
                    let length = if client.rng.u8(..20) == 0 { 9000 } else { LARGEST };
                    client.add(DATA, 0, stream, &vec![content; length]);
                    line.push_back((stream, left - 1));
                }
            }
        }
        answered.sort_unstable();
        assert_eq!(client.outcome(), Outcome { reason: None, answered }, "session {seed}");
    }
}

#[test]
fn whatever_a_client_does_and_however_it_leaves_nothing_is_left_of_it() {
    for seed in 0..1000 {
        let Chance { mut rng, mut frames, .. } = Chance::go(seed);
        for _ in 0..rng.u8(..5) {
            let (at, byte) = (rng.usize(..frames.len()), rng.u8(..));
            match rng.u8(..3) {
                0 => frames[at] = byte,
                1 => frames.insert(at, byte),
                _ => drop(frames.remove(at)),
            }
        }
        let plan: [u8; 8] = std::array::from_fn(|_| rng.u8(..));
        outcome(&[&plan[..], &frames].concat());
    }
}

/// A session of a client that says these frames, bit by bit, and nothing else.
fn of(frames: &[(u8, u8, u32, &[u8])]) -> Outcome {
    let frames = frames.iter().flat_map(|(kind, flags, stream, payload)| {
        let head = Head { length: payload.len(), kind: *kind, flags: *flags, stream: *stream };
        [&head.bytes(), *payload].concat()
    });
    outcome(&[8, 8, 8, 255, 255, 255, 0, 0].into_iter().chain(frames).collect::<Vec<_>>())
}

#[test]
fn a_stream_that_was_not_opened_is_not_reset() {
    const BEGIN: (u8, u8, u32, &[u8]) = (SETTINGS, 0, 0, b"");
    const GET: (u8, u8, u32, &[u8]) = (HEADERS, END_STREAM | END_HEADERS, 5, b"\x82\x86\x84");
    assert_eq!(of(&[BEGIN, GET]), Outcome { reason: None, answered: vec![5] });
    for (frame, reason) in [
        ((DATA, 0, 4, &b"x"[..]), Reason::Protocol),
        ((RST_STREAM, 0, 4, &[0; 4]), Reason::Protocol),
        ((WINDOW_UPDATE, 0, 4, &[1; 4]), Reason::Protocol),
        ((HEADERS, END_STREAM | END_HEADERS, 4, b""), Reason::Protocol),
        ((PRIORITY, 0, 7, &[0; 4]), Reason::FrameSize),
    ] {
        assert_eq!(of(&[BEGIN, GET, frame]), Outcome { reason: Some(reason as u32), answered: vec![5] }, "{frame:?}");
    }
}

#[test]
fn a_stream_whose_window_closes_while_it_waits_for_the_connection_says_nothing() {
    let window = |size: u32| [&STREAM_WINDOW.to_be_bytes()[..], &size.to_be_bytes()].concat();
    // Its answer has one byte more than the connection has room for.
    let outcome = of(&[
        (SETTINGS, 0, 0, &window(70_000)),
        (HEADERS, END_STREAM | END_HEADERS, 1, b"\x82\x86\x04\x02/L"),
        (SETTINGS, 0, 0, &window(0)),
        (WINDOW_UPDATE, 0, 0, &[0, 1, 0, 0]),
        (SETTINGS, 0, 0, &window(70_000)),
    ]);
    assert_eq!(outcome, Outcome { reason: None, answered: vec![1] });
}

#[test]
fn a_connection_that_has_failed_is_not_told_that_the_server_stops() {
    // The client is slow to take the last word; the stop comes meanwhile.
    for at in 0..10 {
        let session = [&[255, 255, 255, 5, 1, 1, 4, at][..], &[0, 0, 0, PING, 0, 0, 0, 0, 0]].concat();
        assert_eq!(outcome(&session), Outcome { reason: Some(Reason::Protocol as u32), answered: vec![] }, "{at}");
    }
}

#[test]
fn an_answer_that_fails_resets_no_stream_that_is_gone() {
    let mut state = State::default();
    let mut said = |act: &dyn Fn(&mut State)| {
        let before = state.out.len();
        act(&mut state);
        state.out.len() - before
    };
    said(&|state| assert!(!state.open(1, None).gone));
    assert!(said(&|state| state.break_off(1)) > 0);
    assert_eq!(said(&|state| state.break_off(1)), 0);
}

/// The seeds of the fuzz target.
#[test]
fn sessions_of_many_kinds_are_right() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/seeds/http2_session");
    let seeds = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut count = 0;
    for path in seeds {
        let Outcome { reason, answered } = outcome(&std::fs::read(&path).unwrap());
        assert!(reason.is_none(), "{}: {reason:?}", path.display());
        count += answered.len();
    }
    assert!(count >= 10, "{count}");
}
