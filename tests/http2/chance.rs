//! What comes by chance: right frames in any order are answered rightly, and wrong ones cost nobody else anything. The
//! same chance every time.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::Duration;

use super::bodies::{FLOWERS, flower, is};
use super::client::{Client, INFER, Result, each};
use super::wire::{
    CANCEL, CONTINUATION, DATA, END_HEADERS, HEADERS, PADDED, PING, PREFACE, PRIORITY, STREAM_WINDOW, WHOLE, data,
    frame, head, last, reset, settings, window_update,
};
use crate::binary::Server;
use crate::config;
use crate::load::IRIS;

/// A linear congruential generator, of which the upper half is used.
struct Chance(u64);

impl Chance {
    /// A number below that.
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap() % end
    }

    fn number(&mut self, end: u32) -> u32 {
        u32::try_from(self.below(end as usize)).unwrap()
    }
}

/// A request whose body is on its way.
struct Upload {
    stream: u32,
    rest: Vec<u8>,
    name: &'static str,
}

impl Upload {
    fn begin(client: &mut Client, chance: &mut Chance) -> Self {
        let (row, name) = FLOWERS[chance.below(3)];
        let block = head("POST", INFER, &[("x-filler", &"f".repeat(chance.below(300)))]);
        let stream = client.reserve();
        let (first, rest) = block.split_at(chance.below(block.len()));
        match chance.below(3) {
            0 => {
                client.send([frame(HEADERS, 0, stream, first), frame(CONTINUATION, END_HEADERS, stream, rest)].concat())
            }
            _ => client.send(frame(HEADERS, END_HEADERS, stream, &block)),
        }
        Self { stream, rest: flower(row).into_bytes(), name }
    }

    fn go_on(&mut self, client: &mut Client, chance: &mut Chance) {
        let piece: Vec<u8> = self.rest.drain(..chance.below(self.rest.len() + 1)).collect();
        let padding = chance.below(256);
        let padded = || [&[u8::try_from(padding).unwrap()][..], &piece, &vec![0; padding]].concat();
        match chance.below(4) {
            // Many frames of nothing would be a flood.
            _ if piece.is_empty() => (),
            0 => client.send(frame(DATA, PADDED, self.stream, &padded())),
            _ => client.send(data(self.stream, &piece)),
        }
    }
}

/// Requests begin, go on, end and are given up by chance, in windows that change by chance.
fn live(server: &Server, seed: u64) -> Result {
    let mut chance = Chance(seed);
    let first_window = chance.number(400);
    let mut client = Client::new(server, &[(STREAM_WINDOW, first_window)])?;
    let (mut uploads, mut whole) = (Vec::<Upload>::new(), Vec::<Upload>::new());
    // Many resets would be a flood.
    let mut resets = 0;
    for _ in 0..400 {
        match chance.below(16) {
            0..4 if uploads.len() + whole.len() < 90 => uploads.push(Upload::begin(&mut client, &mut chance)),
            4..9 if !uploads.is_empty() => {
                let at = chance.below(uploads.len());
                uploads[at].go_on(&mut client, &mut chance);
            }
            9..12 if !uploads.is_empty() => {
                let mut upload = uploads.swap_remove(chance.below(uploads.len()));
                client.send(last(upload.stream, &std::mem::take(&mut upload.rest)));
                whole.push(upload);
            }
            12 if !whole.is_empty() && !uploads.is_empty() && resets < 8 => {
                resets += 1;
                let given_up = uploads.swap_remove(chance.below(uploads.len()));
                let forgotten = whole.swap_remove(chance.below(whole.len()));
                // What was answered meanwhile may be reset too.
                client.send([reset(given_up.stream, CANCEL), reset(forgotten.stream, CANCEL)].concat());
                client.heard()?;
            }
            13 => client.send(settings(&[(STREAM_WINDOW, chance.number(400))])),
            14 if !whole.is_empty() => {
                let stream = whole[chance.below(whole.len())].stream;
                client.send(window_update(stream, 1 + chance.number(300)));
            }
            15 => client.send(frame(PING, 0, 0, b"anything")),
            _ => client.heard()?,
        }
    }
    client.send(settings(&[(STREAM_WINDOW, 1 << 20)]));
    for mut upload in uploads {
        client.send(last(upload.stream, &std::mem::take(&mut upload.rest)));
        whole.push(upload);
    }
    whole.iter().try_for_each(|upload| is(&mut client, upload.stream, upload.name))?;
    client.go_on()
}

#[test]
fn requests_in_any_order_and_any_windows_are_answered_each_its_own() {
    let server = Server::samples();
    let rounds = if config::full() { 300 } else { 40 };
    each((0..rounds).map(|seed| (format!("seed {seed}"), seed)), |seed| live(&server, seed));
}

/// A body of which some is sent.
struct Large {
    stream: u32,
    body: Vec<u8>,
    sent: usize,
}

impl Large {
    /// Some frames of one size, as clients send large bodies in, and perhaps another one; says whether they are the last.
    fn frames(&mut self, chance: &mut Chance, bytes: &mut Vec<u8>) -> bool {
        let size = [8 << 10, 10_000, 16 << 10, 16 << 10, 64 << 10, 128 << 10][chance.below(6)];
        for _ in 0..1 + chance.below(6) {
            let piece = &self.body[self.sent..self.body.len().min(self.sent + size)];
            self.sent += piece.len();
            if self.sent < self.body.len() {
                bytes.extend(data(self.stream, piece));
            } else if chance.below(2) == 0 {
                bytes.extend(last(self.stream, piece));
                return true;
            } else {
                bytes.extend([data(self.stream, piece), last(self.stream, &[])].concat());
                return true;
            }
        }
        match chance.below(8) {
            0 => bytes.extend(frame(PING, 0, 0, b"between!")),
            1 => bytes.extend(window_update(0, 1)),
            2 => bytes.extend(data(self.stream, &[])),
            3 if self.sent + 1 < self.body.len() => {
                bytes.extend(frame(DATA, PADDED, self.stream, &[2, self.body[self.sent], 0, 0]));
                self.sent += 1;
            }
            _ => {}
        }
        false
    }
}

#[test]
fn large_bodies_are_put_together_whatever_comes_between_their_frames() {
    let server = Server::samples();
    let mut client = Client::new(&server, &[]).unwrap();
    for seed in 0..if config::full() { 2000 } else { 100 } {
        let chance = &mut Chance(seed);
        let (mut coming, mut asked, mut bytes) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..1 + chance.below(3) {
            let (row, name) = FLOWERS[chance.below(3)];
            let body = [" ".repeat(chance.below(250_000)), flower(row)].concat().into_bytes();
            let length = body.len().to_string();
            let fields = [("content-length", &*length)];
            let fields = if chance.below(4) > 0 { &fields[..] } else { &[] };
            let stream = client.open(END_HEADERS, &head("POST", INFER, fields));
            coming.push(Large { stream, body, sent: 0 });
            asked.push((stream, name));
        }
        while !coming.is_empty() {
            let at = chance.below(coming.len());
            if coming[at].frames(chance, &mut bytes) {
                coming.swap_remove(at);
            }
        }
        for piece in bytes.chunks(1 + chance.below(500_000)) {
            client.send(piece);
        }
        for (stream, name) in asked {
            is(&mut client, stream, name).unwrap_or_else(|error| panic!("with seed {seed}: {error}"));
        }
    }
    client.go_on().unwrap();
}

/// What a client may send, in frames.
fn session(chance: &mut Chance) -> Vec<Vec<u8>> {
    let (get, post) = (head("GET", "/v2/models/iris", &[("x-more", "1")]), head("POST", INFER, &[]));
    let mut frames = vec![PREFACE.to_vec(), settings(&[(STREAM_WINDOW, 500)])];
    let others = [
        frame(PING, 0, 0, b"anything"),
        window_update(0, 1000),
        window_update(1, 1000),
        reset(1, CANCEL),
        frame(PRIORITY, 0, 1, &[0, 0, 0, 0, 1]),
        settings(&[(STREAM_WINDOW, 100)]),
    ];
    for at in 0..4 {
        let stream = 4 * at + 1;
        frames.push(frame(HEADERS, WHOLE, stream, &get));
        frames.push(others[chance.below(others.len())].clone());
        frames.push(frame(HEADERS, 0, stream + 2, &post[..20]));
        frames.push(frame(CONTINUATION, END_HEADERS, stream + 2, &post[20..]));
        frames.push(data(stream + 2, &IRIS.as_bytes()[..40]));
        frames.push(last(stream + 2, &IRIS.as_bytes()[40..]));
    }
    frames
}

#[test]
fn sessions_with_wrong_bytes_end_and_cost_nobody_else_anything() {
    let server = Server::samples();
    let mut chance = Chance(1);
    for round in 0..if config::full() { 20_000 } else { 1500 } {
        let mut frames = session(&mut chance);
        match chance.below(4) {
            0 => frames.truncate(chance.below(frames.len()) + 1),
            1 => frames.swap(chance.below(24) + 1, 2),
            2 => frames.insert(2, frames[chance.below(24) + 1].clone()),
            _ => (),
        }
        let mut bytes = frames.concat();
        // Most often behind the greeting, and in the heads of frames as often as elsewhere.
        for _ in 0..chance.below(4) {
            let from = if chance.below(10) == 0 { 0 } else { PREFACE.len() };
            let at = from + chance.below(bytes.len().saturating_sub(from).max(1));
            if let Some(byte) = bytes.get_mut(at) {
                *byte = [0, 1, 0x7f, 0x80, 0xff, *byte ^ 1 << chance.below(8)][chance.below(6)];
            }
        }
        let mut stream = TcpStream::connect(server.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        // The server may have ended the connection already, even by a reset.
        let _ = stream.write_all(&bytes).and_then(|()| stream.shutdown(Shutdown::Write));
        let ended = stream.read_to_end(&mut Vec::new()).map_err(|error| error.kind());
        let in_time = !matches!(ended, Err(ErrorKind::WouldBlock | ErrorKind::TimedOut));
        assert!(in_time, "round {round}: the server holds a connection without end that was sent {bytes:?}");
    }
    server.client().post(INFER, IRIS).expect(200);
    Client::new(&server, &[]).and_then(|mut client| client.go_on()).unwrap();
    let ended = server.stop();
    assert!(ended.status.success() && !ended.log.contains("panicked"), "{}", ended.log);
}
