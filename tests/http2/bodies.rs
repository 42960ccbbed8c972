//! Requests that share a connection: bodies in pieces, answers before the end of a body, and streams that are given up.

use std::time::{Duration, Instant};

use serde_json::Value;

use super::client::{Client, End, INFER, Result, each};
use super::windows::many;
use super::wire::{
    CALM, CANCEL, CONTINUATION, END_HEADERS, HEADERS, NO_ERROR, STREAM_WINDOW, WHOLE, data, frame, head, last, reset,
    window_update,
};
use crate::binary::Server;
use crate::config;
use crate::load::IRIS;
use crate::models::Models;
use crate::wait::until;

/// Rows with what they are.
pub(super) const FLOWERS: [(&str, &str); 3] =
    [("5.1,3.5,1.4,0.2", "setosa"), ("7.0,3.2,4.7,1.4", "versicolor"), ("6.3,3.3,6.0,2.5", "virginica")];

pub(super) fn flower(row: &str) -> String {
    IRIS.replace(FLOWERS[0].0, row)
}

pub(super) fn is(client: &mut Client, stream: u32, name: &str) -> Result {
    let answer = client.answer(stream)?.expect("200")?;
    let text = String::from_utf8_lossy(&answer.body).into_owned();
    text.contains(&format!("\"{name}\"")).then_some(()).ok_or_else(|| format!("expected {name}, got {text}"))
}

#[test]
fn requests_that_come_byte_by_byte_in_turns_are_answered_each_its_own() {
    let server = Server::samples();
    let mut client = Client::new(&server, &[]).unwrap();
    let head = head("POST", INFER, &[]);
    let calls: Vec<_> = (0..9).map(|at| FLOWERS[at % 3]).map(|(row, name)| (flower(row), name)).collect();
    let streams: Vec<_> = calls.iter().map(|_| client.open(END_HEADERS, &head)).collect();
    let longest = calls.iter().map(|(body, _)| body.len()).max().unwrap();
    for at in 0..longest {
        for (stream, (body, _)) in streams.iter().zip(&calls) {
            if let Some(byte) = body.as_bytes().get(at..=at) {
                client.send(data(*stream, byte));
            }
        }
    }
    // They end in another order.
    streams.iter().rev().for_each(|stream| client.send(last(*stream, &[])));
    let answers = streams.iter().zip(&calls).map(|(stream, (_, name))| (format!("stream {stream}"), (*stream, *name)));
    each(answers.collect::<Vec<_>>(), |(stream, name)| is(&mut client, stream, name));
    client.go_on().unwrap();
}

/// A server that was built for tests, on a busy machine, may not have short runs for so long.
const PATIENCE: Duration = Duration::from_secs(30);

#[test]
fn short_runs_are_shared_by_requests_that_come_at_the_same_moment() {
    let server = Server::samples();
    let mut client = Client::new(&server, &[]).unwrap();
    let head = head("POST", INFER, &[("hedef-explain", "1")]);
    // Where a machine is busy they may be read one by one, or runs be thought to be long.
    let since = Instant::now();
    let shared = until("some share a run", || {
        let sent: Vec<_> = (0..8).map(|at| (client.reserve(), FLOWERS[at % 3])).collect();
        let frames = sent.iter().flat_map(|(stream, (row, _))| {
            [frame(HEADERS, END_HEADERS, *stream, &head), last(*stream, flower(row).as_bytes())]
        });
        client.send(frames.collect::<Vec<_>>().concat());
        let mut stories = Vec::new();
        for (stream, (_, name)) in sent {
            let answer = client.answer(stream).unwrap().expect("200").unwrap();
            assert!(String::from_utf8_lossy(&answer.body).contains(&format!("\"{name}\"")), "{answer:?}");
            let (_, story) = answer.head.iter().find(|(name, _)| name == "hedef-explain").unwrap();
            stories.push(serde_json::from_str::<Value>(story).unwrap());
        }
        let are_long = stories.iter().all(|story| story["road"] == "queued");
        stories.retain(|story| story["road"] == "inline" && story["batch"]["requests"].as_u64() > Some(1));
        (!stories.is_empty() || (are_long && since.elapsed() > PATIENCE)).then_some(stories)
    });
    if shared.is_empty() {
        eprintln!("skipped: here the runs of this server are not short");
    }
    for story in shared {
        let batch = &story["batch"];
        assert_eq!(
            (&story["road"], &batch["rows"], story["instance"].is_u64()),
            (&"inline".into(), &batch["requests"], false)
        );
        assert_eq!(batch["why"], "run at once, with all that were ready at the same moment");
        assert!(batch["id"].is_u64(), "{story}");
    }
    client.go_on().unwrap();
}

#[test]
fn a_body_of_thousands_of_frames_of_a_byte_is_one_body() {
    let server = Server::samples();
    let body = [" ".repeat(5000).as_bytes(), IRIS.as_bytes(), " ".repeat(3000).as_bytes()].concat();
    let frames = |stream| body.iter().flat_map(move |byte| data(stream, &[*byte])).collect::<Vec<u8>>();
    let mut client = Client::new(&server, &[]).unwrap();
    for _ in 0..2 {
        let stream = client.open(END_HEADERS, &head("POST", INFER, &[]));
        // None before those before them were read.
        for piece in frames(stream).chunks(10 * 200) {
            client.send(piece);
            client.heard().unwrap();
        }
        client.send(last(stream, &[]));
        is(&mut client, stream, "setosa").unwrap();
    }
    client.go_on().unwrap();
    // Sent without a pause, they may be more than a server wants to hold (RFC 9113, 10.5).
    let stream = client.open(END_HEADERS, &head("POST", INFER, &[]));
    client.send([frames(stream), last(stream, &[])].concat());
    match client.end(stream).unwrap() {
        End::Answered(answer) => assert_eq!(answer.status(), "200"),
        other => assert!(matches!(other, End::Gone(Some(CALM)) | End::Reset(CALM)), "{other:?}"),
    }
}

#[test]
fn frames_are_found_however_the_network_cuts_them() {
    let server = Server::samples();
    let mut client = Client::new(&server, &[]).unwrap();
    let whole = head("POST", INFER, &[]);
    let (first, rest) = whole.split_at(40);
    let one = client.reserve();
    let two = client.reserve();
    let bytes = [
        frame(HEADERS, 0, one, first),
        frame(CONTINUATION, END_HEADERS, one, rest),
        data(one, &IRIS.as_bytes()[..20]),
        frame(HEADERS, WHOLE, two, &head("GET", "/v2/models/iris", &[])),
        last(one, &IRIS.as_bytes()[20..]),
    ]
    .concat();
    bytes.iter().for_each(|byte| client.send([*byte]));
    is(&mut client, one, "setosa").unwrap();
    client.answer(two).and_then(|answer| answer.expect("200")).unwrap();
}

#[test]
fn requests_without_a_body_and_all_at_once_are_answered() {
    let server = Server::samples();
    let mut client = Client::new(&server, &[]).unwrap();
    let plain = server.client().get("/v2/models/iris").body;
    let head_only = client.open(WHOLE, &head("HEAD", "/v2/models/iris", &[]));
    let nowhere = client.open(WHOLE, &head("HEAD", "/nothing", &[]));
    let get = client.get("/v2/models/iris");
    // An end of nothing behind the head is the same.
    let late = client.open(END_HEADERS, &head("GET", "/v2/models/iris", &[]));
    client.send(last(late, &[]));
    let (missing, wrong) = (client.get("/nothing"), client.get(INFER));
    let answer = client.answer(head_only).unwrap();
    assert_eq!((answer.status(), answer.body.len()), ("200", 0), "HEAD");
    assert_eq!(answer.header("content-length"), Some(plain.len().to_string().as_str()), "HEAD");
    let answer = client.answer(nowhere).unwrap();
    assert_eq!((answer.status(), answer.body.len()), ("404", 0), "HEAD of what is not there");
    assert!(answer.header("content-length").is_some_and(|length| length != "0"), "HEAD of what is not there");
    for (what, stream) in [("GET", get), ("GET and an end", late)] {
        assert_eq!(client.answer(stream).and_then(|answer| answer.expect("200")).unwrap().body, plain, "{what}");
    }
    client.answer(missing).and_then(|answer| answer.expect("404")).unwrap();
    let answer = client.answer(wrong).and_then(|answer| answer.expect("405")).unwrap();
    assert_eq!(answer.header("allow"), Some("POST"));
    // A hundred in one write.
    let streams: Vec<_> = (0..100).map(|_| client.reserve()).collect();
    let head = head("POST", INFER, &[]);
    let all = streams.iter().flat_map(|it| [frame(HEADERS, END_HEADERS, *it, &head), last(*it, IRIS.as_bytes())]);
    client.send(all.collect::<Vec<_>>().concat());
    let streams = streams.into_iter().map(|stream| (format!("stream {stream}"), stream));
    each(streams.collect::<Vec<_>>(), |stream| is(&mut client, stream, "setosa"));
}

#[test]
fn an_answer_before_the_end_of_a_body_is_whole_and_the_rest_of_the_body_no_error() {
    let server = Server::start(&config::samples(), &["--body-limit-mib", "1"]);
    let large = (5 << 20).to_string();
    type Heads<'a> = (&'a str, &'a str, &'a [(&'a str, &'a str)], &'a str);
    let cases: [Heads<'_>; 5] = [
        ("POST", "/nothing", &[], "404"),
        ("PUT", INFER, &[], "405"),
        ("POST", "/v2/models/nothing/infer", &[], "404"),
        ("POST", INFER, &[("content-encoding", "br")], "415"),
        ("POST", INFER, &[("content-length", &large)], "413"),
    ];
    let check = |client: &mut Client, how: usize, (method, path, more, status): Heads<'_>| {
        let body = vec![b' '; 5 << 20];
        let stream = client.open(END_HEADERS, &head(method, path, more));
        match how {
            // All of it, if the server lets it.
            0 => client.upload(stream, &body, 16 << 10)?,
            // A little of it.
            1 => client.send(data(stream, &body[..1000])),
            // What no window has to be granted for, in one write.
            2 => {
                let room = usize::try_from((*client.credit_of(0)).min(*client.credit_of(stream))).unwrap();
                let frames: Vec<_> = body[..room].chunks(16 << 10).map(|piece| data(stream, piece)).collect();
                client.send(frames.concat());
                client.spend(stream, room);
            }
            _ => (),
        }
        client.answer(stream)?.expect(status)?;
        // Behind the answer, the server may say that it reads no more; then it is no error of the client's.
        client.heard()?;
        match client.streams[&stream].reset {
            None => client.send(reset(stream, NO_ERROR)),
            Some(NO_ERROR | CANCEL) => (),
            Some(reason) => return Err(format!("reset for reason {reason} behind the answer")),
        }
        client.go_on()
    };
    for (how, what) in
        ["the body as it may come", "a little of the body", "a window full", "no body"].iter().enumerate()
    {
        let mut client = Client::new(&server, &[]).unwrap();
        each(cases.map(|case| (format!("{what}, {} {} {}", case.0, case.1, case.3), case)), |case| {
            check(&mut client, how, case)
        });
    }
}

#[test]
fn a_body_beyond_the_limit_is_refused_when_that_is_known() {
    let server = Server::start(&config::samples(), &["--body-limit-mib", "1"]);
    let mut client = Client::new(&server, &[]).unwrap();
    for round in 0..3 {
        let stream = client.open(END_HEADERS, &head("POST", INFER, &[]));
        client.upload(stream, &vec![b' '; 8 << 20], 16 << 10).unwrap();
        let answer = client.answer(stream).and_then(|answer| answer.expect("413"));
        assert!(answer.is_ok(), "round {round}: {answer:?}");
        client.go_on().unwrap();
    }
}

#[test]
fn a_stream_that_is_given_up_on_its_way_in_or_out_costs_the_others_nothing() {
    let server = Server::samples();
    let mut client = Client::narrow(&server, &[(STREAM_WINDOW, 40_000)]).unwrap();
    let (body, post) = (many(), head("POST", INFER, &[]));
    for round in 0..6 {
        let uploading = client.open(END_HEADERS, &post);
        let slow = client.open(END_HEADERS, &post);
        client.send(data(slow, &IRIS.as_bytes()[..10]));
        client.send(data(uploading, &body[..10_000]));
        client.spend(uploading, 10_000);
        let large = client.open(END_HEADERS, &post);
        client.upload(large, &body, 10_000).unwrap();
        let got = |client: &mut Client, stream: u32| client.streams.get(&stream).map_or(0, |it| it.body.len());
        client.read_until("some of a large answer", |client| got(client, large) >= 40_000).unwrap();
        client.send([reset(uploading, CANCEL), reset(large, CANCEL)].concat());
        client.send(window_update(0, 40_000));
        client.send(last(slow, &IRIS.as_bytes()[10..]));
        is(&mut client, slow, "setosa").unwrap();
        client.heard().unwrap();
        assert!(got(&mut client, large) == 40_000, "round {round}: more of an answer that was given up");
        client.go_on().unwrap();
        client.send(window_update(0, 2000));
    }
    // A large answer comes whole behind all of that.
    let stream = client.open(END_HEADERS, &post);
    client.upload(stream, &body, 16 << 10).unwrap();
    client.send([window_update(0, 1 << 30), window_update(stream, 1 << 30)].concat());
    client.answer(stream).and_then(|answer| answer.expect("200")).unwrap();
}

#[test]
fn a_request_that_is_given_up_while_it_runs_costs_the_others_nothing() {
    let models = Models::empty();
    models.make("slow");
    models.settings("slow", "instances = 1\nthreads = 1\n[batching]\nenabled = false\n");
    let server = Server::start(models.path(), &[]);
    let mut client = Client::new(&server, &[]).unwrap();
    let body = br#"{"inputs":[{"name":"x","shape":[1,4],"datatype":"FP32","data":[1,2,3,4]}]}"#;
    let streams: Vec<_> = (0..6).map(|_| client.post("/v2/models/slow/infer", body)).collect();
    let (given_up, kept): (Vec<_>, Vec<_>) = streams.iter().partition(|stream| **stream % 4 == 1);
    given_up.iter().for_each(|stream| client.send(reset(*stream, CANCEL)));
    // What needs no model is answered before the slow ones.
    let quick = client.get("/v2/health/live");
    client.answer(quick).and_then(|answer| answer.expect("200")).unwrap();
    let kept = kept.into_iter().map(|stream| (format!("stream {stream}"), stream));
    each(kept.collect::<Vec<_>>(), |stream| match client.end(stream)? {
        End::Answered(answer) => answer.expect("200").map(|_| ()),
        other => Err(format!("{other:?}")),
    });
}
