//! Flow control: what may be sent, to the byte, in both directions (RFC 9113, 5.2 and 6.9).

use super::client::{Client, INFER, Result, each};
use super::verdicts::{ends, ignores, resets_or_ends};
use super::wire::{
    CANCEL, DATA, END_HEADERS, END_STREAM, FLOW_CONTROL_ERROR, FRAME_SIZE, HEADERS, MOST, PADDED, PROTOCOL_ERROR,
    STREAM_WINDOW, WHOLE, WINDOW, data, frame, head, last, reset, settings, window_update,
};
use crate::binary::Server;
use crate::load::IRIS;

const PATH: &str = "/v2/models/iris";

/// What is sent, and how many bytes of the answer there are then.
type Steps = Vec<(Vec<u8>, usize)>;

/// Sends the body of a request in some way.
type Sends = fn(&mut Client, &[u8]) -> Result;

/// A request whose answer is larger than the windows that go without saying.
pub(crate) fn many() -> Vec<u8> {
    let rows = vec!["5.1,3.5,1.4,0.2"; 5000].join(",");
    let input = format!(r#"{{"name":"features","shape":[5000,4],"datatype":"FP32","data":[{rows}]}}"#);
    format!(r#"{{"inputs":[{input}]}}"#).into_bytes()
}

/// Whether so much of the body came, no more, and no end before all of it.
fn came(client: &mut Client, stream: u32, count: usize) -> Result {
    let length = |client: &mut Client| client.streams.get(&stream).map_or(0, |it| it.body.len());
    client.read_until(&format!("{count} bytes on stream {stream}"), |client| length(client) >= count)?;
    // The answer to a ping may overtake what is sent wrongly, so there are several.
    (0..3).try_for_each(|_| client.heard())?;
    let (length, ended) = (length(client), client.streams.get(&stream).is_some_and(|it| it.ended));
    (length == count && !ended).then_some(()).ok_or_else(|| format!("{length} bytes for {count}, ended: {ended}"))
}

#[test]
fn an_answer_takes_the_window_of_its_stream_to_the_byte() {
    let server = Server::samples();
    let whole = server.client().get(PATH).body;
    assert!(whole.len() > 150, "{}", whole.len());
    let window = |size| settings(&[(STREAM_WINDOW, size)]);
    // The window at first, and what is said then with what has come after it.
    let cases: [(&str, u32, Steps); 8] = [
        ("a window of 1", 1, vec![(vec![], 1), (window_update(1, 5), 6), (window_update(1, 1).repeat(10), 16)]),
        ("no window", 0, vec![(vec![], 0), (window_update(1, 1), 1), (window_update(1, 99), 100)]),
        ("no window, then one for all", 0, vec![(vec![], 0), (window(3), 3), (window(4), 4), (window(100), 100)]),
        (
            "a smaller window",
            100,
            vec![(vec![], 100), (window(10), 100), (window_update(1, 90), 100), { (window_update(1, 1), 101) }],
        ),
        (
            "a window that was taken away",
            100,
            vec![(vec![], 100), (window(0), 100), (window(100), 100), { (window(102), 102) }],
        ),
        (
            "a window that is negative for long",
            50,
            vec![
                (vec![], 50),
                (window(0), 50),
                (window_update(1, 49), 50),
                { (window_update(1, 1), 50) },
                (window_update(1, 7), 57),
                (window(3), 60),
            ],
        ),
        ("a window twice in one frame", 0, vec![(settings(&[(STREAM_WINDOW, 90), (STREAM_WINDOW, 20)]), 20)]),
        ("a window that is said again", 10, vec![(window(10), 10), (window(10), 10)]),
    ];
    each(cases.map(|(what, first, steps)| (what, (first, steps))), |(first, steps)| {
        let mut client = Client::new(&server, &[(STREAM_WINDOW, first)])?;
        let stream = client.get(PATH);
        client.read_until("the head", |client| client.streams.contains_key(&stream))?;
        for (bytes, count) in steps {
            client.send(bytes);
            came(&mut client, stream, count)?;
        }
        client.send(window_update(stream, 1 << 20));
        let body = client.answer(stream)?.expect("200")?.body;
        (body == whole).then_some(()).ok_or("another body")?;
        client.send(window(WINDOW));
        client.go_on()
    });
}

#[test]
fn a_window_that_fits_exactly_and_bodies_of_nothing_need_no_more() {
    let server = Server::samples();
    let whole = server.client().get(PATH).body;
    let length = u32::try_from(whole.len()).unwrap();
    let mut client = Client::new(&server, &[(STREAM_WINDOW, length)]).unwrap();
    let stream = client.get(PATH);
    assert_eq!(client.answer(stream).and_then(|answer| answer.expect("200")).unwrap().body, whole);
    client.send(settings(&[(STREAM_WINDOW, 0)]));
    let stream = client.open(WHOLE, &head("HEAD", "/v2/health/live", &[]));
    assert_eq!(client.answer(stream).unwrap().status(), "200");
    let stream = client.open(WHOLE, &head("HEAD", PATH, &[]));
    let answer = client.answer(stream).unwrap();
    assert_eq!((answer.status(), answer.header("content-length")), ("200", Some(length.to_string().as_str())));
    assert!(answer.body.is_empty());
}

#[test]
fn answers_share_the_window_of_the_connection_to_the_byte() {
    let server = Server::samples();
    let mut client = Client::narrow(&server, &[(STREAM_WINDOW, 1 << 24)]).unwrap();
    let body = many();
    let streams: Vec<_> = (0..2).map(|_| client.open(END_HEADERS, &head("POST", INFER, &[]))).collect();
    for stream in &streams {
        client.upload(*stream, &body, 16 << 10).unwrap();
    }
    let total = |client: &Client| client.streams.values().map(|it| it.body.len()).sum::<usize>();
    let mut allowed = 65_535;
    for more in [0, 1, 1000, 20_000, 3] {
        if more > 0 {
            client.send(window_update(0, more));
        }
        allowed += usize::try_from(more).unwrap();
        client.read_until(&format!("{allowed} bytes"), |client| total(client) >= allowed).unwrap();
        client.heard().unwrap();
        assert_eq!(total(&client), allowed, "after {more} more");
    }
    // What needs no window is answered meanwhile.
    let other = client.open(WHOLE, &head("HEAD", PATH, &[]));
    client
        .answer(other)
        .and_then(|answer| if answer.status() == "200" { Ok(()) } else { Err(format!("{answer:?}")) })
        .unwrap();
    client.send(window_update(0, 1 << 30));
    let answers: Vec<_> = streams.iter().map(|stream| client.answer(*stream).unwrap().expect("200").unwrap()).collect();
    assert!(answers[0].body.len() > 100_000, "{}", answers[0].body.len());
    assert_eq!(String::from_utf8_lossy(&answers[0].body).matches("setosa").count(), 5000);
    client.go_on().unwrap();
}

#[test]
fn frames_are_no_larger_than_the_client_takes_whatever_it_took_once() {
    let server = Server::samples();
    // The client itself checks what comes against 16 KiB.
    let mut client = Client::new(&server, &[(STREAM_WINDOW, 1 << 24), (FRAME_SIZE, 16 << 10)]).unwrap();
    let stream = client.open(END_HEADERS, &head("POST", INFER, &[]));
    client.upload(stream, &many(), 16 << 10).unwrap();
    client.answer(stream).and_then(|answer| answer.expect("200")).unwrap();
}

#[test]
fn windows_of_nothing_and_beyond_the_largest_are_errors_of_whose_window_it_is() {
    let server = Server::samples();
    let get = frame(HEADERS, WHOLE, 1, &head("GET", PATH, &[]));
    let post = frame(HEADERS, END_HEADERS, 1, &head("POST", INFER, &[]));
    let (flow, protocol): (&[u32], &[u32]) = (&[FLOW_CONTROL_ERROR], &[PROTOCOL_ERROR]);
    let most = settings(&[(STREAM_WINDOW, MOST)]);
    let cases = [
        ("nothing more on the connection", window_update(0, 0), protocol),
        ("too much on the connection", window_update(0, MOST), flow),
        ("too much in two steps", [window_update(0, MOST - WINDOW - (1 << 30)), window_update(0, 1)].concat(), flow),
        ("too much by the settings", [post.clone(), window_update(1, 1), most.clone()].concat(), flow),
    ];
    each(cases.map(|(what, bytes, reasons)| (what, (bytes, reasons))), |(bytes, reasons)| {
        ends(&server, &bytes, reasons)
    });
    let cases = [
        ("nothing more on a stream", [post.clone(), window_update(1, 0)].concat(), protocol),
        ("nothing more behind the request", [get.clone(), window_update(1, 0)].concat(), protocol),
        ("too much on a stream", [post.clone(), window_update(1, MOST), window_update(1, 1)].concat(), flow),
        ("too much behind the request", [get, window_update(1, MOST), window_update(1, 1)].concat(), flow),
    ];
    each(cases.map(|(what, bytes, reasons)| (what, (bytes, reasons))), |(bytes, reasons)| {
        resets_or_ends(&server, 1, &bytes, reasons)
    });
    let fits = [post, most, last(1, IRIS.as_bytes()), window_update(0, MOST - WINDOW - (1 << 30))].concat();
    each([("all that fits", fits)], |bytes| ignores(&server, &bytes));
}

#[test]
fn what_is_sent_beyond_the_server_s_windows_is_taken_or_an_error_of_flow_control() {
    let server = Server::samples();
    let mut client = Client::new(&server, &[]).unwrap();
    let streams: Vec<_> = (0..4).map(|_| client.open(END_HEADERS, &head("POST", INFER, &[]))).collect();
    let piece = vec![b' '; 16 << 10];
    for _ in 0..256 {
        streams.iter().for_each(|stream| client.send(data(*stream, &piece)));
    }
    // How much was too much depends on how fast the server has read.
    let went_on = client.go_on();
    let reasons = client.streams.values().filter_map(|it| it.reset).chain(client.away);
    let wrong: Vec<_> = reasons.filter(|reason| *reason != FLOW_CONTROL_ERROR).collect();
    assert!(wrong.is_empty() && (went_on.is_ok() || client.away.is_some()), "{wrong:?} {went_on:?}");
    server.client().get("/v2/health/live").expect(200);
}

#[test]
fn a_body_beyond_the_server_s_window_comes_as_its_windows_allow() {
    let server = Server::start(&crate::config::samples(), &["--body-limit-mib", "4"]);
    for (megabytes, statuses) in [(3, "400"), (10, "413")] {
        for piece in [128 << 10, 16 << 10, 1000] {
            let mut client = Client::new(&server, &[]).unwrap();
            // Not JSON, but that only its end tells.
            let body = vec![b' '; megabytes << 20];
            for _ in 0..2 {
                let stream = client.open(END_HEADERS, &head("POST", INFER, &[]));
                client.upload(stream, &body, piece).unwrap();
                client.answer(stream).and_then(|answer| answer.expect(statuses)).unwrap();
                client.go_on().unwrap();
            }
            // The windows are as large as before, for one who sends as much again.
            let stream = client.open(END_HEADERS, &head("POST", INFER, &[]));
            let right = [IRIS.as_bytes(), &vec![b' '; 3 << 20]].concat();
            client.upload(stream, &right, piece.max(16 << 10)).unwrap();
            client.answer(stream).and_then(|answer| answer.expect("200")).unwrap();
        }
    }
}

#[test]
fn the_window_of_the_connection_comes_back_for_bodies_that_nobody_reads() {
    let server = Server::samples();
    let size = 300 << 10;
    let body = vec![b' '; size];
    // A request whose body is sent in a way that may lose some of the window; twenty times is more than the window has.
    let sends: [(&str, Sends); 6] = [
        ("refused at once, and sent whole", |client, body| {
            let stream = client.open(END_HEADERS, &head("POST", "/nothing", &[]));
            client.upload(stream, body, 16 << 10)?;
            client.answer(stream)?.expect("404").map(|_| ())
        }),
        ("reset by the client", |client, body| {
            let stream = client.open(END_HEADERS, &head("POST", INFER, &[]));
            send(client, stream, body)?;
            client.send(reset(stream, CANCEL));
            Ok(())
        }),
        ("malformed, so reset by the server", |client, body| {
            let stream = client.open(END_HEADERS, &head("POST", INFER, &[("connection", "close")]));
            send(client, stream, body)
        }),
        ("without a word about its end", |client, body| {
            let stream = client.open(END_HEADERS, &head("POST", "/nothing", &[]));
            send(client, stream, body)?;
            client.answer(stream)?.expect("404")?;
            client.send(reset(stream, CANCEL));
            Ok(())
        }),
        ("padding for the most part", |client, body| {
            let stream = client.open(END_HEADERS, &head("POST", INFER, &[]));
            let padded = [&[255][..], &[b' '; 100], &[0; 255]].concat();
            for _ in 0..body.len() / padded.len() {
                let least = 356;
                let fits = |client: &mut Client| *client.credit_of(0) > least && *client.credit_of(stream) > least;
                client.read_until("window for padding", fits)?;
                client.send(frame(DATA, PADDED, stream, &padded));
                client.spend(stream, padded.len());
            }
            client.send(last(stream, IRIS.as_bytes()));
            client.spend(stream, IRIS.len());
            client.answer(stream)?.expect("200").map(|_| ())
        }),
        ("of another length than was said", |client, body| {
            let stream = client.open(END_HEADERS, &head("POST", INFER, &[("content-length", "5")]));
            send(client, stream, body)
        }),
    ];
    each(sends, |begin| {
        let mut client = Client::new(&server, &[])?;
        for count in 0..20 {
            begin(&mut client, &body).map_err(|error| format!("round {count}: {error}"))?;
        }
        client.go_on()?;
        let stream = client.open(END_HEADERS, &head("POST", INFER, &[]));
        client.upload(stream, &[IRIS.as_bytes(), &vec![b' '; 3 << 20]].concat(), 16 << 10)?;
        client.answer(stream)?.expect("200").map(|_| ())
    });
}

/// Sends a body whatever the server says of its stream meanwhile, within the windows.
fn send(client: &mut Client, stream: u32, body: &[u8]) -> Result {
    for piece in body.chunks(8 << 10) {
        let length = i64::try_from(piece.len()).unwrap();
        // A stream that is over is granted no more, and none of the bodies is larger than what it was granted first.
        client.read_until("the connection's window", |client| *client.credit_of(0) >= length)?;
        client.send(data(stream, piece));
        client.spend(stream, piece.len());
    }
    Ok(())
}

#[test]
fn ends_of_nothing_take_no_window() {
    let server = Server::samples();
    let empty = frame(DATA, END_STREAM, 1, &[]);
    let cases = [("a body of no bytes", [frame(HEADERS, END_HEADERS, 1, &head("POST", INFER, &[])), empty].concat())];
    each(cases, |bytes| super::verdicts::answers(&server, 1, &bytes, "400"));
}
