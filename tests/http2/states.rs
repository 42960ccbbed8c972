//! The life of a stream: who may open one, what may come on it, and how many there may be (RFC 9113, 5.1).

use super::client::{Client, End, INFER, each};
use super::verdicts::{ends, ignores, resets_or_ends};
use super::wire::{
    CANCEL, END_HEADERS, HEADERS, MOST_STREAMS, PRIORITY, PROTOCOL_ERROR, REFUSED_STREAM, STREAM_CLOSED, WHOLE, data,
    frame, head, last, reset, window_update,
};
use crate::binary::Server;
use crate::load::IRIS;

fn get(stream: u32) -> Vec<u8> {
    frame(HEADERS, WHOLE, stream, &head("GET", "/v2/models/iris", &[]))
}

fn post(stream: u32) -> Vec<u8> {
    frame(HEADERS, END_HEADERS, stream, &head("POST", INFER, &[]))
}

#[test]
fn streams_are_opened_by_heads_alone_with_odd_and_rising_numbers() {
    let server = Server::samples();
    let cases: [(&str, Vec<u8>, &[u32]); 7] = [
        ("an even number", get(2), &[PROTOCOL_ERROR]),
        ("a lower number", [post(5), get(3)].concat(), &[PROTOCOL_ERROR, STREAM_CLOSED]),
        ("a body on a stream that nobody opened", data(1, b"x"), &[PROTOCOL_ERROR, STREAM_CLOSED]),
        ("a reset of a stream that nobody opened", reset(1, CANCEL), &[PROTOCOL_ERROR]),
        ("a window for a stream that nobody opened", window_update(1, 100), &[PROTOCOL_ERROR]),
        ("a window for a stream of the server's", window_update(2, 100), &[PROTOCOL_ERROR]),
        ("a body on a stream of the server's", data(2, b"x"), &[PROTOCOL_ERROR, STREAM_CLOSED]),
    ];
    each(cases.map(|(what, bytes, reasons)| (what, (bytes, reasons))), |(bytes, reasons)| {
        ends(&server, &bytes, reasons)
    });
    each([("numbers may be left out", [get(1), get(99)].concat())], |bytes| ignores(&server, &bytes));
}

#[test]
fn nothing_follows_the_end_of_a_request() {
    let server = Server::samples();
    let trailer = frame(HEADERS, WHOLE, 1, &super::wire::fields(&[("x-more", "1")]));
    let whole = [post(1), last(1, IRIS.as_bytes())].concat();
    let cases = [
        ("a body behind a head that was all", [get(1), data(1, b"x")].concat()),
        ("no more than an end behind it", [get(1), last(1, &[])].concat()),
        ("a head behind a head that was all", [get(1), get(1)].concat()),
        ("a body behind a body's end", [whole.clone(), data(1, b"x")].concat()),
        ("trailers behind a body's end", [whole, trailer.clone()].concat()),
        ("a body behind trailers", [post(1), data(1, IRIS.as_bytes()), trailer, data(1, b"x")].concat()),
    ];
    each(cases, |bytes| resets_or_ends(&server, 1, &bytes, &[STREAM_CLOSED, PROTOCOL_ERROR]));
}

#[test]
fn what_may_cross_the_end_of_a_stream_on_the_wire_harms_nothing() {
    let server = Server::samples();
    let check = |bytes: Vec<u8>| {
        let mut client = Client::new(&server, &[])?;
        let stream = client.get("/v2/models/iris");
        client.answer(stream)?.expect("200")?;
        client.send(bytes);
        client.go_on()
    };
    let cases = [
        ("a window", window_update(1, 1000)),
        ("a reset", reset(1, CANCEL)),
        ("a reset and another", reset(1, CANCEL).repeat(2)),
        ("a priority", frame(PRIORITY, 0, 1, &[0, 0, 0, 0, 1])),
    ];
    each(cases, check);
    let cases = [
        ("a reset of a request that is whole", [get(1), reset(1, CANCEL)].concat()),
        ("a reset of one that is not", [post(1), reset(1, CANCEL)].concat()),
        ("a window behind the end of the request", [get(1), window_update(1, 1000)].concat()),
        ("a priority behind a reset", [get(1), reset(1, CANCEL), frame(PRIORITY, 0, 1, &[0, 0, 0, 0, 1])].concat()),
        ("a window behind a reset", [post(1), reset(1, CANCEL), window_update(1, 1)].concat()),
    ];
    each(cases, |bytes| ignores(&server, &bytes));
    let behind: &[u32] = &[STREAM_CLOSED, PROTOCOL_ERROR];
    let cases = [
        ("a body behind the client's reset", [post(1), reset(1, CANCEL), data(1, b"x")].concat()),
        ("a head behind the client's reset", [post(1), reset(1, CANCEL), get(1)].concat()),
    ];
    // An error of the stream, of the connection, or nothing: all three are found in the wild and none harms others.
    each(cases, |bytes| {
        let mut client = Client::new(&server, &[])?;
        client.go_on_from(3);
        client.send(bytes);
        match client.go_on() {
            Err(error) => match client.end(1)? {
                End::Reset(reason) | End::Gone(Some(reason)) if behind.contains(&reason) => Ok(()),
                _ => Err(error),
            },
            fine => fine,
        }
    });
}

#[test]
fn a_stream_that_depends_on_itself_is_an_error_or_taken() {
    let server = Server::samples();
    let cases = [
        ("a priority", [post(1), frame(PRIORITY, 0, 1, &[0, 0, 0, 1, 1]), last(1, IRIS.as_bytes())].concat()),
        ("a priority of a stream that nobody opened", [get(1), frame(PRIORITY, 0, 3, &[0, 0, 0, 3, 1])].concat()),
        ("a head", {
            let block = [&[0, 0, 0, 1, 1][..], &head("GET", "/v2/models/iris", &[])].concat();
            frame(HEADERS, WHOLE | super::wire::PRIORITISED, 1, &block)
        }),
    ];
    each(cases, |bytes| {
        let mut client = Client::new(&server, &[])?;
        client.send(bytes);
        match client.end(1)? {
            End::Answered(answer) => answer.expect("200").map(|_| ()),
            End::Reset(PROTOCOL_ERROR) | End::Gone(Some(PROTOCOL_ERROR)) => Ok(()),
            other => Err(format!("{other:?}")),
        }
    });
}

#[test]
fn more_streams_than_were_announced_are_refused_one_by_one() {
    let server = Server::samples();
    let mut client = Client::new(&server, &[]).unwrap();
    let most = *client.settings.get(&MOST_STREAMS).expect("the server has to bound the streams of a connection");
    assert!((100..=1000).contains(&most), "{most} streams at once: too few for clients, or too many for memory");
    let head = head("POST", INFER, &[]);
    let open: Vec<_> = (0..most).map(|_| client.open(END_HEADERS, &head)).collect();
    client.heard().unwrap();
    assert!(client.streams.values().all(|it| it.reset.is_none() && !it.ended), "{:?}", client.streams);
    let more: Vec<_> = (0..3).map(|_| client.open(END_HEADERS, &head)).collect();
    each(more.into_iter().map(|stream| (format!("stream {stream}, beyond {most}"), stream)), |stream| {
        match client.end(stream)? {
            End::Reset(REFUSED_STREAM | PROTOCOL_ERROR) => Ok(()),
            other => Err(format!("expected a refusal, got {other:?}")),
        }
    });
    for stream in open {
        client.send(last(stream, IRIS.as_bytes()));
        client.answer(stream).and_then(|answer| answer.expect("200")).unwrap();
    }
    client.go_on().unwrap();
    // Streams that the client gives up leave room for others; too many at once would be a flood.
    for _ in 0..most / 10 + 5 {
        let open: Vec<_> = (0..10).map(|_| client.open(END_HEADERS, &head)).collect();
        client.heard().unwrap();
        open.iter().for_each(|stream| client.send(reset(*stream, CANCEL)));
        client.go_on().unwrap();
    }
}

#[test]
fn thousands_of_requests_may_follow_one_another_on_a_connection() {
    let server = Server::samples();
    let mut client = Client::new(&server, &[]).unwrap();
    for _ in 0..50 {
        let streams: Vec<_> = (0..50).map(|_| client.get("/v2/health/live")).collect();
        for stream in streams {
            client.answer(stream).and_then(|answer| answer.expect("200")).unwrap();
        }
    }
    client.go_on().unwrap();
    // Numbers end with the last of them.
    client.go_on_from((1 << 31) - 3);
    client.go_on().unwrap();
    client.go_on().unwrap();
}
