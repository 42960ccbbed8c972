//! Calls of gRPC frame by frame, and the end of a server: what comes behind a body, and what is under way.

use rustix::process::Signal;

use super::client::{Answer, Client, End, INFER, Result, each};
use super::wire::{
    CANCEL, END_HEADERS, HEADERS, NO_ERROR, STREAM_WINDOW, WHOLE, data, fields, frame, head, last, reset, window_update,
};
use crate::binary::Server;
use crate::config;
use crate::load::IRIS;

const CHECK: &str = "/grpc.health.v1.Health/Check";
const WATCH: &str = "/grpc.health.v1.Health/Watch";
/// A message of nothing.
const EMPTY: [u8; 5] = [0; 5];
/// That the server serves.
const SERVING: [u8; 7] = [0, 0, 0, 0, 2, 0x08, 0x01];

fn call(path: &str) -> Vec<u8> {
    head("POST", path, &[("content-type", "application/grpc"), ("te", "trailers")])
}

fn status(answer: &Answer) -> Option<&str> {
    let all = answer.head.iter().chain(&answer.trailers);
    all.filter(|(name, _)| name == "grpc-status").map(|(_, value)| value.as_str()).next()
}

#[test]
fn the_status_of_a_call_comes_behind_its_message_or_alone() {
    let server = Server::samples();
    let mut client = Client::new(&server, &[]).unwrap();
    type Ends = fn(&mut Client, u32);
    let ends: [(&str, Ends); 3] = [
        ("with the message", |client, stream| client.send(last(stream, &EMPTY))),
        ("behind the message", |client, stream| client.send([data(stream, &EMPTY), last(stream, &[])].concat())),
        ("with trailers", |client, stream| {
            client.send(data(stream, &EMPTY));
            client.send(frame(HEADERS, WHOLE, stream, &fields(&[("x-more", "1")])));
        }),
    ];
    each(ends, |end| {
        let stream = client.open(END_HEADERS, &call(CHECK));
        end(&mut client, stream);
        let answer = client.answer(stream)?;
        let right = answer.status() == "200" && answer.body == SERVING && status(&answer) == Some("0");
        (right && !answer.trailers.is_empty()).then_some(()).ok_or_else(|| format!("{answer:?} {:?}", answer.trailers))
    });
    let stream = client.open(END_HEADERS, &call("/grpc.health.v1.Health/Nothing"));
    client.send(last(stream, &EMPTY));
    let answer = client.answer(stream).unwrap();
    assert_eq!((answer.status(), status(&answer), answer.body.len()), ("200", Some("12"), 0), "{answer:?}");
    client.go_on().unwrap();
}

#[test]
fn the_status_of_a_call_waits_for_its_message_and_needs_no_window_itself() {
    let server = Server::samples();
    for window in [0, 3] {
        let mut client = Client::new(&server, &[(STREAM_WINDOW, window)]).unwrap();
        let stream = client.open(END_HEADERS, &call(CHECK));
        client.send(last(stream, &EMPTY));
        let came = |client: &Client| client.streams.get(&stream).map_or(0, |it| it.body.len());
        client.read_until("a head", |client| client.streams.contains_key(&stream)).unwrap();
        client.read_until("what fits", |client| came(client) >= window as usize).unwrap();
        client.heard().unwrap();
        assert!(came(&client) == window as usize && !client.streams[&stream].ended, "{:?}", client.streams);
        client.send(window_update(stream, 7 - window));
        let answer = client.answer(stream).unwrap();
        assert_eq!((&answer.body[..], status(&answer)), (&SERVING[..], Some("0")));
    }
}

#[test]
fn a_call_that_stays_open_speaks_at_once_and_leaves_when_its_client_does() {
    let server = Server::samples();
    let mut client = Client::new(&server, &[]).unwrap();
    let watch = |client: &mut Client| -> Result<u32> {
        let stream = client.open(END_HEADERS, &call(WATCH));
        client.send(last(stream, &EMPTY));
        let first = |client: &Client| client.streams.get(&stream).map(|it| it.body.clone());
        client.read_until("the first message", |client| first(client).is_some_and(|body| body == SERVING))?;
        Ok(stream)
    };
    let kept = watch(&mut client).unwrap();
    // More than there may be at once.
    for _ in 0..300 {
        let stream = watch(&mut client).unwrap();
        client.send(reset(stream, CANCEL));
    }
    client.go_on().unwrap();
    assert!(!client.streams[&kept].ended && client.streams[&kept].reset.is_none());
}

#[test]
fn a_server_that_stops_says_so_and_answers_what_it_took() {
    let server = Server::start(&config::samples(), &["--lame-duck-ms", "0"]);
    let mut client = Client::new(&server, &[]).unwrap();
    let open: Vec<_> = (0..3).map(|_| client.open(END_HEADERS, &head("POST", INFER, &[]))).collect();
    open.iter().for_each(|stream| client.send(data(*stream, &IRIS.as_bytes()[..30])));
    client.heard().unwrap();
    server.signal(Signal::TERM);
    client.read_until("the word that it stops", |client| client.away.is_some()).unwrap();
    assert_eq!((client.away, client.taken >= open[2]), (Some(NO_ERROR), true));
    open.iter().for_each(|stream| client.send(last(*stream, &IRIS.as_bytes()[30..])));
    each(open.iter().map(|stream| (format!("stream {stream}"), *stream)), |stream| match client.end(stream)? {
        End::Answered(answer) => answer.expect("200").map(|_| ()),
        other => Err(format!("{other:?}")),
    });
    assert_eq!(client.closed().unwrap(), Some(NO_ERROR));
    let ended = server.ended();
    assert_eq!(ended.status.code(), Some(0), "{}", ended.log);
}
