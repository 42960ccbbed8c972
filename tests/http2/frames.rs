//! The beginning of a connection, and frames that are right or wrong by themselves (RFC 9113, 3.4, 4 and 6).

use super::client::{Client, End, INFER, each};
use super::verdicts::{answers, ends, ignores, resets_or_ends};
use super::wire::{
    ACK, CALM, CONTINUATION, DATA, ENABLE_PUSH, END_HEADERS, END_STREAM, FLOW_CONTROL_ERROR, FRAME_SIZE,
    FRAME_SIZE_ERROR, GOAWAY, HEAD_SIZE, HEADERS, MOST, MOST_STREAMS, PADDED, PING, PREFACE, PRIORITISED, PRIORITY,
    PROTOCOL_ERROR, PUSH_PROMISE, RST_STREAM, SETTINGS, STREAM_WINDOW, TABLE_SIZE, WHOLE, WINDOW_UPDATE, frame, head,
    last, settings,
};
use crate::binary::Server;
use crate::load::IRIS;

fn get() -> Vec<u8> {
    head("GET", "/v2/models/iris", &[])
}

fn post() -> Vec<u8> {
    frame(HEADERS, END_HEADERS, 1, &head("POST", INFER, &[]))
}

/// A payload behind the length of its padding, and the padding.
fn padded(payload: &[u8], padding: u8) -> Vec<u8> {
    [&[padding][..], payload, &vec![0; padding.into()]].concat()
}

#[test]
fn a_connection_begins_with_the_preface_in_whatever_pieces_and_settings_on_both_sides() {
    let server = Server::samples();
    let mut client = Client::silent(&server);
    let greeting = [PREFACE, &settings(&[]), &frame(HEADERS, WHOLE, 1, &get())].concat();
    greeting.iter().for_each(|byte| client.send([*byte]));
    client.go_on_from(3);
    client.answer(1).and_then(|answer| answer.expect("200")).unwrap();
    assert_eq!(client.acknowledged, 1);
    client.go_on().unwrap();
    let wrong: [(&str, Vec<u8>); 5] = [
        ("another word", [b"PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n", &settings(&[])[..]].concat()),
        ("no preface", settings(&[])),
        ("another version", [b"PRI * HTTP/3.0\r\n\r\nSM\r\n\r\n", &settings(&[])[..]].concat()),
        ("a ping in place of the settings", [PREFACE, &frame(PING, 0, 0, &[0; 8])].concat()),
        ("a request in place of the settings", [PREFACE, &frame(HEADERS, WHOLE, 1, &get())].concat()),
    ];
    for (what, bytes) in wrong {
        let mut wire = server.wire();
        wire.send(bytes);
        wire.finish();
        // What is no HTTP/2 may be refused as HTTP/1.1; else there may be settings and a word of farewell.
        let said = wire.rest();
        assert!(!said.windows(6).any(|it| it == b"setosa"), "{what}: {}", String::from_utf8_lossy(&said));
    }
    server.client().get("/v2/health/live").expect(200);
}

#[test]
fn settings_are_taken_and_acknowledged_one_by_one() {
    let server = Server::samples();
    let every = [(TABLE_SIZE, 8192), (ENABLE_PUSH, 0), (MOST_STREAMS, 0), (STREAM_WINDOW, MOST), (HEAD_SIZE, 1 << 20)];
    let mut client = Client::new(&server, &every).unwrap();
    for _ in 0..3 {
        client.send(settings(&[(FRAME_SIZE, (1 << 24) - 1), (0x7777, 5), (FRAME_SIZE, 1 << 14)]));
    }
    client.send(settings(&[]));
    client.read_until("what acknowledges them", |client| client.acknowledged == 5).unwrap();
    client.heard().unwrap();
    assert_eq!(client.acknowledged, 5);
    client.go_on().unwrap();
}

#[test]
fn pings_are_answered_with_what_they_said_and_answers_to_none_are_ignored() {
    let server = Server::samples();
    let mut client = Client::new(&server, &[]).unwrap();
    let said = [*b"01234567", [0; 8], [0xff; 8]];
    client.send(frame(PING, ACK, 0, b"unasked!"));
    said.iter().for_each(|payload| client.send(frame(PING, 0, 0, payload)));
    client.read_until("answers to pings", |client| client.pongs.len() == 3).unwrap();
    assert_eq!(client.pongs, said);
    client.go_on().unwrap();
}

#[test]
fn what_is_unknown_or_reserved_is_ignored() {
    let server = Server::samples();
    let reserved = 1 << 31;
    let cases = [
        ("an unknown frame on the connection", frame(0x66, 0xff, 0, b"anything")),
        ("an unknown frame on a stream that nobody opened", frame(0xfe, 0, 77, &[])),
        ("an unknown frame of the largest size", frame(0x66, 0, 1, &vec![1; 128 << 10])),
        ("unknown flags", frame(PING, 0xfe, 0, &[0; 8])),
        ("the reserved bit of the connection", frame(PING, 0, reserved, &[0; 8])),
        ("the reserved bit of an increment", frame(WINDOW_UPDATE, 0, 0, &(reserved | 5).to_be_bytes())),
        ("unknown settings", settings(&[(0x99, u32::MAX), (0, 0)])),
        ("the priority of a stream that nobody opened", frame(PRIORITY, 0, 99, &[0, 0, 0, 0, 7])),
    ];
    each(cases, |bytes| ignores(&server, &bytes));
    each([("the reserved bit of a stream", reserved | 1)], |stream| {
        answers(&server, 1, &frame(HEADERS, WHOLE | 0x40 | 0x80, stream, &get()), "200")
    });
}

#[test]
fn heads_and_bodies_may_be_padded_and_heads_have_priorities_and_parts() {
    let server = Server::samples();
    let head = head("POST", INFER, &[]);
    let priority = [0x80, 0, 0, 0, 200];
    let body = last(1, IRIS.as_bytes());
    let (first, rest) = head.split_at(7);
    let (second, third) = rest.split_at(1);
    let split = [frame(HEADERS, 0, 1, first), frame(CONTINUATION, 0, 1, second)];
    let end = frame(CONTINUATION, END_HEADERS, 1, third);
    let in_bytes = |flags| {
        let bytes = head.iter().enumerate().skip(1);
        let flag = |at| if at + 1 == head.len() { END_HEADERS } else { 0 };
        let rest = bytes.flat_map(|(at, byte)| frame(CONTINUATION, flag(at), 1, &[*byte]));
        [frame(HEADERS, flags, 1, &head[..1]), rest.collect()].concat()
    };
    let padded_data = |padding| frame(DATA, PADDED | END_STREAM, 1, &padded(IRIS.as_bytes(), padding));
    let all = [&[9][..], &priority, &head, &[0; 9]].concat();
    let cases = [
        ("padding of 255", [frame(HEADERS, END_HEADERS | PADDED, 1, &padded(&head, 255)), padded_data(255)].concat()),
        ("padding of 0", [frame(HEADERS, END_HEADERS | PADDED, 1, &padded(&head, 0)), padded_data(0)].concat()),
        ("nothing but padding", [post(), frame(DATA, PADDED, 1, &padded(&[], 100)), body.clone()].concat()),
        ("a priority", [frame(HEADERS, END_HEADERS | PRIORITISED, 1, &all[1..head.len() + 6]), body.clone()].concat()),
        ("both", [frame(HEADERS, END_HEADERS | PADDED | PRIORITISED, 1, &all), body.clone()].concat()),
        ("three parts", [&split.concat()[..], &end, &body].concat()),
        ("an empty part", [&split.concat()[..], &frame(CONTINUATION, 0, 1, &[]), &end, &body].concat()),
        ("the end in another frame", [post(), frame(DATA, 0, 1, IRIS.as_bytes()), last(1, &[])].concat()),
        ("empty frames", [post(), frame(DATA, 0, 1, &[]).repeat(5), body.clone()].concat()),
        ("a priority meanwhile", [post(), frame(PRIORITY, 0, 1, &[0, 0, 0, 9, 1]), body.clone()].concat()),
        ("an unknown frame meanwhile", [post(), frame(0xbb, 0, 1, &[1; 50]), body.clone()].concat()),
    ];
    each(cases, |bytes| answers(&server, 1, &bytes, "200"));
    // So many frames for so little may be too much for a server; then it says so.
    let bytes = [in_bytes(0), body].concat();
    each([("a part for each byte", bytes)], |bytes| {
        let mut client = Client::new(&server, &[])?;
        client.send(bytes);
        match client.end(1)? {
            End::Answered(answer) => answer.expect("200").map(|_| ()),
            End::Gone(Some(CALM)) => Ok(()),
            other => Err(format!("{other:?}")),
        }
    });
    let end_first = [frame(HEADERS, END_STREAM, 1, &get()[..9]), frame(CONTINUATION, END_HEADERS, 1, &get()[9..])];
    each([("the end before the last part", end_first.concat())], |bytes| answers(&server, 1, &bytes, "200"));
}

#[test]
fn a_frame_that_is_wrong_for_the_connection_ends_it_and_says_why() {
    let server = Server::samples();
    let large = vec![0; (128 << 10) + 1];
    let (protocol, size): (&[u32], &[u32]) = (&[PROTOCOL_ERROR], &[FRAME_SIZE_ERROR]);
    // For these the RFC has no reason of their own.
    let short: &[u32] = &[PROTOCOL_ERROR, FRAME_SIZE_ERROR];
    let cases: [(&str, Vec<u8>, &[u32]); 27] = [
        ("frames of 2^14 - 1", settings(&[(FRAME_SIZE, (1 << 14) - 1)]), protocol),
        ("frames of 2^24", settings(&[(FRAME_SIZE, 1 << 24)]), protocol),
        ("ENABLE_PUSH of 2", settings(&[(ENABLE_PUSH, 2)]), protocol),
        ("SETTINGS on a stream", frame(SETTINGS, 0, 1, &[]), protocol),
        ("PING on a stream", frame(PING, 0, 1, &[0; 8]), protocol),
        ("GOAWAY on a stream", frame(GOAWAY, 0, 1, &[0; 8]), protocol),
        ("RST_STREAM on the connection", frame(RST_STREAM, 0, 0, &[0; 4]), protocol),
        ("PRIORITY on the connection", frame(PRIORITY, 0, 0, &[0; 5]), protocol),
        ("HEADERS on the connection", frame(HEADERS, WHOLE, 0, &get()), protocol),
        ("DATA on the connection", frame(DATA, 0, 0, b"x"), protocol),
        ("PUSH_PROMISE", [post(), frame(PUSH_PROMISE, END_HEADERS, 1, &[0, 0, 0, 2])].concat(), protocol),
        ("CONTINUATION on the connection", frame(CONTINUATION, END_HEADERS, 0, &[]), protocol),
        ("CONTINUATION of nothing", frame(CONTINUATION, END_HEADERS, 1, &get()), protocol),
        ("CONTINUATION of a whole head", [post(), frame(CONTINUATION, END_HEADERS, 1, &[])].concat(), protocol),
        ("a head of one frame that is too large", frame(HEADERS, WHOLE, 1, &large), size),
        ("settings that are too large", frame(SETTINGS, 0, 0, &large), size),
        ("an unknown frame that is too large", frame(0x99, 0, 0, &large), size),
        (
            "a part of a head that is too large",
            { [frame(HEADERS, 0, 1, &get()), frame(CONTINUATION, END_HEADERS, 1, &large)].concat() },
            size,
        ),
        ("a head that is all padding and more", frame(HEADERS, WHOLE | PADDED, 1, &[5, 1, 1, 1, 1]), protocol),
        ("a body that is all padding and more", [post(), frame(DATA, PADDED, 1, &[2, 0])].concat(), protocol),
        ("a padded head without a length", frame(HEADERS, WHOLE | PADDED, 1, &[]), short),
        ("a padded body without a length", [post(), frame(DATA, PADDED, 1, &[])].concat(), short),
        ("a head with half a priority", frame(HEADERS, WHOLE | PRIORITISED, 1, &[0; 4]), short),
        ("a body within a head", [frame(HEADERS, 0, 1, &get()), frame(DATA, 0, 1, b"x")].concat(), protocol),
        ("a ping within a head", [frame(HEADERS, 0, 1, &get()), frame(PING, 0, 0, &[0; 8])].concat(), protocol),
        ("another head within a head", [frame(HEADERS, 0, 1, &get()), frame(HEADERS, WHOLE, 3, &get())].concat(), {
            protocol
        }),
        (
            "another's part within a head",
            { [frame(HEADERS, 0, 1, &get()), frame(CONTINUATION, END_HEADERS, 3, &get())].concat() },
            protocol,
        ),
    ];
    each(cases.map(|(what, bytes, reasons)| (what, (bytes, reasons))), |(bytes, reasons)| {
        ends(&server, &bytes, reasons)
    });
    let unknown = [frame(HEADERS, 0, 1, &get()), frame(0x77, 0, 1, &[])].concat();
    each([("an unknown frame within a head", unknown)], |bytes| ends(&server, &bytes, protocol));
    server.client().get("/v2/health/live").expect(200);
}

#[test]
fn a_frame_of_a_wrong_size_ends_the_connection_and_is_told_its_size_is_wrong() {
    let server = Server::samples();
    let cases = [
        ("SETTINGS of 5 bytes", frame(SETTINGS, 0, 0, &[0; 5])),
        ("SETTINGS of 7 bytes", frame(SETTINGS, 0, 0, &[0; 7])),
        ("SETTINGS that acknowledge and say something", frame(SETTINGS, ACK, 0, &[0, 1, 0, 0, 0, 0])),
        ("PING of 7 bytes", frame(PING, 0, 0, &[0; 7])),
        ("PING of 9 bytes", frame(PING, 0, 0, &[0; 9])),
        ("GOAWAY of 7 bytes", frame(GOAWAY, 0, 0, &[0; 7])),
        ("WINDOW_UPDATE of 3 bytes", frame(WINDOW_UPDATE, 0, 0, &[0, 0, 1])),
        ("WINDOW_UPDATE of 5 bytes on a stream", [post(), frame(WINDOW_UPDATE, 0, 1, &[0, 0, 0, 1, 0])].concat()),
        ("RST_STREAM of 3 bytes", [post(), frame(RST_STREAM, 0, 1, &[0; 3])].concat()),
    ];
    each(cases, |bytes| ends(&server, &bytes, &[FRAME_SIZE_ERROR]));
    each([("a window of 2^31", settings(&[(STREAM_WINDOW, 1 << 31)]))], |bytes| {
        ends(&server, &bytes, &[FLOW_CONTROL_ERROR])
    });
    let cases = [
        ("PRIORITY of 4 bytes", [post(), frame(PRIORITY, 0, 1, &[0; 4])].concat()),
        ("PRIORITY of 6 bytes", [post(), frame(PRIORITY, 0, 1, &[0; 6])].concat()),
    ];
    each(cases, |bytes| resets_or_ends(&server, 1, &bytes, &[FRAME_SIZE_ERROR]));
}

#[test]
fn the_end_of_a_connection_tells_what_was_taken() {
    let server = Server::samples();
    let mut client = Client::new(&server, &[]).unwrap();
    for _ in 0..3 {
        client.go_on().unwrap();
    }
    client.send(frame(PING, 0, 1, &[0; 8]));
    assert_eq!(client.closed().unwrap(), Some(PROTOCOL_ERROR));
    assert!(client.taken >= 5, "{}", client.taken);
}

#[test]
fn a_client_that_takes_its_leave_is_answered_what_it_asked() {
    let server = Server::samples();
    let mut client = Client::new(&server, &[]).unwrap();
    let stream = client.open(END_HEADERS, &head("POST", INFER, &[]));
    client.send(frame(GOAWAY, 0, 0, &[0; 8]));
    client.send(last(stream, IRIS.as_bytes()));
    client.answer(stream).and_then(|answer| answer.expect("200")).unwrap();
}

#[test]
fn a_frame_that_is_wrong_for_its_stream_ends_no_more_than_the_connection() {
    let server = Server::samples();
    let large = vec![0; (128 << 10) + 1];
    let cases: [(&str, Vec<u8>, &[u32]); 3] = [
        ("a body of one frame that is too large", [post(), frame(DATA, 0, 1, &large)].concat(), &[FRAME_SIZE_ERROR]),
        ("no increment of a window", [post(), frame(WINDOW_UPDATE, 0, 1, &[0; 4])].concat(), &[PROTOCOL_ERROR]),
        ("an increment of the reserved bit", [post(), frame(WINDOW_UPDATE, 0, 1, &[0x80, 0, 0, 0])].concat(), {
            &[PROTOCOL_ERROR]
        }),
    ];
    each(cases.map(|(what, bytes, reasons)| (what, (bytes, reasons))), |(bytes, reasons)| {
        resets_or_ends(&server, 1, &bytes, reasons)
    });
}
