//! Heads of requests: what is malformed costs its stream and no more (RFC 9113, 8.1 to 8.3), and how heads are packed
//! (RFC 7541).

use super::client::{Client, End, INFER, Result, each};
use super::hpack::{coded, huffman, kept, number};
use super::verdicts::{answers, ends, refuses, refuses_or_ends};
use super::wire::{
    CALM, COMPRESSION_ERROR, CONTINUATION, END_HEADERS, HEAD_SIZE, HEADERS, PROTOCOL_ERROR, TABLE_SIZE, WHOLE, data,
    fields, frame, head, header, last,
};
use crate::binary::Server;
use crate::load::IRIS;

const PATH: &str = "/v2/models/iris";
const USUAL: [(&str, &str); 3] = [(":method", "GET"), (":scheme", "http"), (":path", PATH)];

/// A whole request of these headers.
fn request(fields: &[(&str, &str)]) -> Vec<u8> {
    frame(HEADERS, WHOLE, 1, &super::wire::fields(fields))
}

/// One without a body, with more headers.
fn with(more: &[(&str, &str)]) -> Vec<u8> {
    frame(HEADERS, WHOLE, 1, &head("GET", PATH, more))
}

/// One for scoring with more headers, and what follows.
fn post(more: &[(&str, &str)], rest: &[Vec<u8>]) -> Vec<u8> {
    [frame(HEADERS, END_HEADERS, 1, &head("POST", INFER, more)), rest.concat()].concat()
}

#[test]
fn a_malformed_head_costs_its_stream_and_no_more() {
    let server = Server::samples();
    let [method, scheme, path] = USUAL;
    let cases = [
        ("the pseudo-header of an answer", request(&[method, scheme, path, (":status", "200")])),
        ("a pseudo-header behind the others", request(&[method, scheme, ("x-more", "1"), path])),
        ("no method", request(&[scheme, path])),
        ("no scheme", request(&[method, path])),
        ("no path", request(&[method, scheme])),
        ("nothing", request(&[])),
        ("an empty path", request(&[method, scheme, (":path", "")])),
        ("a path without a slash", request(&[method, scheme, (":path", "v2")])),
        ("two methods", request(&[method, method, scheme, path])),
        ("two schemes", request(&[method, scheme, scheme, path])),
        ("two paths", request(&[method, scheme, path, path])),
        ("two authorities", request(&[method, scheme, path, (":authority", "x"), (":authority", "x")])),
        ("Connection", with(&[("connection", "keep-alive")])),
        ("Transfer-Encoding", with(&[("transfer-encoding", "chunked")])),
        ("Keep-Alive", with(&[("keep-alive", "timeout=5")])),
        ("Upgrade", with(&[("upgrade", "h2c")])),
        ("Proxy-Connection", with(&[("proxy-connection", "keep-alive")])),
        ("TE of something else", with(&[("te", "trailers, deflate")])),
    ];
    each(cases, |bytes| refuses(&server, 1, &bytes, &[PROTOCOL_ERROR]));
    // What no header may consist of costs the whole connection with some servers (RFC 9113, 5.4.1).
    let cases = [
        ("a name in capitals", with(&[("X-More", "1")])),
        ("one capital", with(&[("x-morE", "1")])),
        ("a pseudo-header in capitals", request(&[(":METHOD", "GET"), scheme, path])),
        ("an unknown pseudo-header", request(&[method, scheme, path, (":more", "1")])),
        ("a line's end in a value", with(&[("x-more", "a\r\nx-forged: 1")])),
        ("a zero in a value", with(&[("x-more", "a\0b")])),
        ("a space in a name", with(&[("x more", "1")])),
        ("a colon in a name", with(&[("x:more", "1")])),
        ("no name", with(&[("", "1")])),
    ];
    each(cases, |bytes| refuses_or_ends(&server, 1, &bytes, &[PROTOCOL_ERROR]));
    assert!(!server.log().contains("x-forged"), "{}", server.log());
}

#[test]
fn a_body_of_another_length_than_was_said_is_malformed() {
    let server = Server::samples();
    let length = IRIS.len().to_string();
    let (more, less) = ((IRIS.len() + 1).to_string(), (IRIS.len() - 1).to_string());
    let body = || last(1, IRIS.as_bytes());
    let said = |value: &str, rest: &[Vec<u8>]| post(&[("content-length", value)], rest);
    let cases = [
        ("too few bytes", said(&more, &[body()])),
        ("too many bytes", said(&less, &[body()])),
        ("too many bytes in two frames", said(&less, &[data(1, IRIS.as_bytes()), last(1, &[])])),
        ("none of some", said("5", &[last(1, &[])])),
        ("some of none", said("0", &[body()])),
        ("none of some, as the head says", with(&[("content-length", "5")])),
        ("a length that is no number", said("many", &[body()])),
        ("a length with a sign", said(&format!("+{length}"), &[body()])),
        ("two lengths", post(&[("content-length", &length), ("content-length", &more)], &[body()])),
        ("a length beyond all numbers", said("99999999999999999999999", &[body()])),
    ];
    each(cases, |bytes| refuses(&server, 1, &bytes, &[PROTOCOL_ERROR]));
    each([("the right length", said(&length, &[body()]))], |bytes| answers(&server, 1, &bytes, "200"));
    each([("none of none", with(&[("content-length", "0")]))], |bytes| answers(&server, 1, &bytes, "200"));
}

#[test]
fn trailers_end_a_request_and_are_no_head() {
    let server = Server::samples();
    let trailers = |flags, trailers: &[(&str, &str)]| {
        post(&[], &[data(1, IRIS.as_bytes()), frame(HEADERS, flags, 1, &fields(trailers))])
    };
    let split = {
        let block = fields(&[("x-more", "1")]);
        let (first, rest) = block.split_at(3);
        let parts = [frame(HEADERS, 1, 1, first), frame(CONTINUATION, END_HEADERS, 1, rest)];
        post(&[], &[data(1, IRIS.as_bytes()), parts.concat()])
    };
    let cases = [
        ("trailers", trailers(WHOLE, &[("x-more", "1")])),
        ("trailers of nothing", trailers(WHOLE, &[])),
        ("trailers in parts", split),
    ];
    each(cases, |bytes| answers(&server, 1, &bytes, "200"));
    let cases = [
        ("trailers that do not end", trailers(END_HEADERS, &[("x-more", "1")])),
        ("the status in trailers", trailers(WHOLE, &[("x-more", "1"), (":status", "200")])),
    ];
    each(cases, |bytes| refuses(&server, 1, &bytes, &[PROTOCOL_ERROR]));
    each([("capitals in trailers", trailers(WHOLE, &[("X-More", "1")]))], |bytes| {
        refuses_or_ends(&server, 1, &bytes, &[PROTOCOL_ERROR])
    });
}

#[test]
fn pseudo_headers_in_trailers_are_malformed() {
    let server = Server::samples();
    let cases = [":method", ":path", ":authority", ":status"].map(|name| {
        let trailers = frame(HEADERS, WHOLE, 1, &fields(&[(name, "1")]));
        (name, post(&[], &[data(1, IRIS.as_bytes()), trailers]))
    });
    each(cases, |bytes| refuses(&server, 1, &bytes, &[PROTOCOL_ERROR]));
}

#[test]
fn heads_that_are_unusual_are_answered() {
    let server = Server::samples();
    let [method, scheme, path] = USUAL;
    let order = [("user-agent", "x"), ("accept", "*/*"), ("cookie", "a=1"), ("cookie", "b=2"), ("te", "trailers")];
    let long = "y".repeat(4000);
    let cases = [
        ("pseudo-headers in another order", request(&[path, scheme, (":authority", "x:80"), method])),
        ("no authority", request(&[method, scheme, path])),
        ("a host in place of the authority", request(&[method, scheme, path, ("host", "x")])),
        ("both", with(&[("host", "x")])),
        ("a query", request(&[method, scheme, (":path", "/v2/models/iris?a=b&c")])),
        ("another scheme", request(&[method, (":scheme", "https"), path, (":authority", "x")])),
        ("several headers of a name, and TE", with(&order)),
        ("an empty value", with(&[("x-more", "")])),
        ("a long value", with(&[("x-more", &long)])),
        ("a hundred headers", with(&[("x-more", "1"); 90])),
    ];
    each(cases, |bytes| answers(&server, 1, &bytes, "200"));
    let expecting = post(&[("expect", "100-continue")], &[last(1, IRIS.as_bytes())]);
    each([("a wish to be told to go on", expecting)], |bytes| answers(&server, 1, &bytes, "200"));
    // What the server calls wrong is told in its own words, and never by a lost stream.
    let cases = [
        ("OPTIONS of all", request(&[(":method", "OPTIONS"), scheme, (":path", "*")])),
        ("a method that nobody knows", request(&[(":method", "BREW"), scheme, path])),
        ("CONNECT", request(&[(":method", "CONNECT"), (":authority", "x:80")])),
        ("CONNECT with a path", request(&[(":method", "CONNECT"), scheme, path, (":authority", "x:80")])),
        ("a path that escapes", request(&[method, scheme, (":path", "/v2/%00/../..")])),
        ("a whole address for a path", request(&[method, scheme, (":path", "http://x/v2")])),
        ("user and password", request(&[method, scheme, path, (":authority", "a:b@x")])),
    ];
    each(cases, |bytes| {
        let mut client = Client::new(&server, &[])?;
        client.go_on_from(3);
        client.send(bytes);
        match client.end(1)? {
            End::Answered(answer) if answer.status() == "200" || answer.status().starts_with('4') => (),
            End::Reset(PROTOCOL_ERROR) => (),
            other => return Err(format!("{other:?}")),
        }
        client.go_on()
    });
}

#[test]
fn heads_come_in_huffman_s_code_and_by_the_tables() {
    let server = Server::samples();
    let usual = [(":method", "POST"), (":scheme", "http"), (":path", INFER), (":authority", "x.example:8080")];
    let all: String = (' '..='~').filter(|c| *c != '\\').collect();
    let more = [("x-request-id", "Mine-0123456789_abcXYZ"), ("x-all", all.trim())];
    let of = |block: Vec<u8>| [frame(HEADERS, END_HEADERS, 1, &block), last(1, IRIS.as_bytes())].concat();
    let all_coded: Vec<u8> = usual.iter().chain(&more).flat_map(|(name, value)| coded(name, value)).collect();
    let path = [vec![0x44], number(7, 0x80, huffman(INFER).len()), huffman(INFER)].concat();
    let never = [&[0x10][..], &header("x-request-id", more[0].1)[1..]].concat();
    let cases = [
        ("all in Huffman's code", of([all_coded.clone()].concat())),
        ("entries of the static table", of([&[0x83, 0x86][..], &path, &never].concat())),
        ("a table that grows and shrinks first", of([&[0x20, 0x3f, 0xe1, 0x1f][..], &all_coded].concat())),
        ("a table of nothing, and entries for it", of([&[0x20][..], &all_coded, &kept("x-gone", "1")].concat())),
    ];
    each(cases.clone(), |bytes| answers(&server, 1, &bytes, "200"));
    each(cases, |bytes| {
        let mut client = Client::new(&server, &[])?;
        client.send(bytes);
        let answer = client.answer(1)?;
        let id = answer.header("x-request-id");
        let right = id == Some(more[0].1) || id.is_some_and(|id| id.len() == 32);
        right.then_some(()).ok_or_else(|| format!("{:?}", answer.head))
    });
}

#[test]
fn what_a_head_leaves_in_the_table_stands_for_it_in_the_next() {
    let server = Server::samples();
    let mut client = Client::new(&server, &[]).unwrap();
    let ask = |client: &mut Client, block: &[u8]| -> Result<Option<String>> {
        let stream = client.open(WHOLE, block);
        let answer = client.answer(stream)?.expect("200")?;
        Ok(answer.header("x-request-id").map(str::to_owned))
    };
    let first = [kept(":path", PATH), vec![0x82, 0x86], kept("x-request-id", "mine-1")].concat();
    assert_eq!(ask(&mut client, &first).unwrap().as_deref(), Some("mine-1"));
    // 62 is the newest: the id, then the path.
    assert_eq!(ask(&mut client, &[0x82, 0x86, 0xbf, 0xbe]).unwrap().as_deref(), Some("mine-1"));
    // The name alone, with another value that is kept: then all stand one further.
    let other = [vec![0x82, 0x86, 0xbf, 0x7e], number(7, 0, 6), b"mine-2".to_vec()].concat();
    assert_eq!(ask(&mut client, &other).unwrap().as_deref(), Some("mine-2"));
    assert_eq!(ask(&mut client, &[0x82, 0x86, 0xc0, 0xbe]).unwrap().as_deref(), Some("mine-2"));
    assert_eq!(ask(&mut client, &[0x82, 0x86, 0xc0, 0xbf]).unwrap().as_deref(), Some("mine-1"));
    // What a refused or malformed request leaves counts too.
    let malformed = [&head("GET", PATH, &[("connection", "close")])[..], &kept("x-request-id", "mine-3")].concat();
    let stream = client.open(WHOLE, &malformed);
    assert!(matches!(client.end(stream), Ok(End::Reset(_) | End::Answered(_))));
    assert_eq!(ask(&mut client, &[0x82, 0x86, 0xc1, 0xbe]).unwrap().as_deref(), Some("mine-3"));
    // Trailers use the same table.
    let stream = client.open(END_HEADERS, &[&[0x83, 0x86][..], &header(":path", INFER)].concat());
    client.send(data(stream, IRIS.as_bytes()));
    client.send(frame(HEADERS, WHOLE, stream, &kept("x-more", "1")));
    client.answer(stream).and_then(|answer| answer.expect("200")).unwrap();
    assert_eq!(ask(&mut client, &[0x82, 0x86, 0xc2, 0xbf]).unwrap().as_deref(), Some("mine-3"));
    // Entries are thrown out by what is larger: nothing stands at 62 any more.
    let large = kept("x-large", &"z".repeat(5000));
    let stream = client.open(WHOLE, &[&head("GET", PATH, &[])[..], &large].concat());
    client.answer(stream).and_then(|answer| answer.expect("200")).unwrap();
    let stream = client.open(WHOLE, &[0x82, 0x86, 0xbe]);
    let end = client.end(stream).unwrap();
    assert!(matches!(end, End::Gone(Some(COMPRESSION_ERROR | PROTOCOL_ERROR))), "{end:?}");
}

#[test]
fn a_table_that_turns_over_again_and_again_stays_right() {
    let server = Server::samples();
    let mut client = Client::new(&server, &[]).unwrap();
    for round in 0..300 {
        // Entries of many sizes, the oldest of which are always on their way out.
        let filler = kept("x-filler", &"f".repeat(round * 37 % 700));
        let id = format!("mine-{round}");
        let block = [&head("GET", PATH, &[])[..], &kept("x-request-id", &id), &filler, &[0xbf]].concat();
        // Twice the same id: from the entry too, where the filler did not throw it out.
        let stream = client.open(WHOLE, &block);
        let answer = client.answer(stream).and_then(|answer| answer.expect("200")).unwrap();
        assert_eq!(answer.header("x-request-id"), Some(id.as_str()), "round {round}");
    }
}

#[test]
fn an_answer_uses_no_table_that_the_client_does_not_keep() {
    let server = Server::samples();
    for size in [0, 1, 64, 200, 4096, 65_536] {
        // The client itself checks what the server refers to.
        let mut client = Client::new(&server, &[(TABLE_SIZE, size)]).unwrap();
        for _ in 0..5 {
            client.go_on().unwrap();
            let stream = client.get("/nothing");
            client.answer(stream).and_then(|answer| answer.expect("404")).unwrap();
        }
    }
}

#[test]
fn an_answer_follows_the_client_s_table_up_and_down() {
    let server = Server::samples();
    let mut client = Client::new(&server, &[]).unwrap();
    for sizes in [&[0][..], &[4096], &[100], &[50, 4096], &[0, 200], &[4096, 0], &[0, 65_536], &[4096]] {
        for _ in 0..3 {
            client.go_on().unwrap();
        }
        sizes.iter().for_each(|size| client.allow_table(*size).unwrap());
        client.go_on().unwrap_or_else(|error| panic!("a table of {sizes:?}: {error}"));
    }
}

#[test]
fn a_head_that_cannot_be_unpacked_ends_the_connection() {
    let server = Server::samples();
    let usual = head("GET", PATH, &[]);
    let text = |text: &[u8]| [&usual[..], &[0, 1, b'x'], text].concat();
    let cases = [
        ("an index of 0", [&usual[..], &[0x80]].concat()),
        ("an index beyond both tables", [&usual[..], &[0xff, 0x50]].concat()),
        ("a name's index beyond both tables", [&usual[..], &[0x7f, 0x50, 1, b'y']].concat()),
        ("the first index beyond the static table", [&usual[..], &[0xbe]].concat()),
        ("an index beyond all numbers", [&usual[..], &[0xff; 12]].concat()),
        ("an index that does not end", [&usual[..], &[0xff, 0xff, 0xff]].concat()),
        ("a table that is too large", [&number(5, 0x20, 4097), &usual[..]].concat()),
        ("a table that is far too large", [&number(5, 0x20, 1 << 27), &usual[..]].concat()),
        ("a table's size behind a header", [&usual[..], &[0x20]].concat()),
        ("a text that ends early", text(&[5, b'y'])),
        ("a name that ends early", [&usual[..], &[0, 100, b'x']].concat()),
        ("a name without a value", [&usual[..], &[0, 1, b'x']].concat()),
        ("a text's length beyond all numbers", text(&[0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff])),
        // Of `a`, 00011, and padding that is not of ones, or too long.
        ("padding of zeros", text(&[0x81, 0b0001_1000])),
        ("padding of eight bits", text(&[0x82, 0b0001_1111, 0xff])),
        ("the code that ends texts", text(&[0x84, 0xff, 0xff, 0xff, 0xff])),
        ("that code within a text", text(&[0x86, 0b0001_1111, 0xff, 0xff, 0xff, 0b1110_0011, 0xff])),
    ];
    each(cases, |block| ends(&server, &frame(HEADERS, WHOLE, 1, &block), &[COMPRESSION_ERROR]));
    let trailers = post(&[], &[frame(HEADERS, WHOLE, 1, &[0x80])]);
    each([("trailers with an index of 0", trailers)], |bytes| ends(&server, &bytes, &[COMPRESSION_ERROR]));
}

#[test]
fn a_head_beyond_the_limit_is_refused_and_nothing_waits_for_it() {
    let server = Server::samples();
    let mut client = Client::new(&server, &[]).unwrap();
    let limit = *client.settings.get(&HEAD_SIZE).expect("the server has to say how large heads may be");
    // By the RFC's own count, 32 for each header: well within the limit, a little beyond it, and far.
    let count = |bytes: u32| usize::try_from(bytes).unwrap() / (32 + 6 + 1000);
    let block = |count| [head("GET", PATH, &[]), header("x-more", &"y".repeat(1000)).repeat(count)].concat();
    for (what, count, fits) in [
        ("half the limit", count(limit / 2), true),
        ("twice the limit", count(limit * 2), false),
        ("ten times the limit", count(limit) * 10, false),
    ] {
        let stream = client.reserve();
        let all = block(count.max(1));
        let parts = all.chunks(16 << 10).count();
        for (at, part) in all.chunks(16 << 10).enumerate() {
            let kind = if at == 0 { HEADERS } else { CONTINUATION };
            let flags = if at == 0 { 1 } else { 0 } | if at + 1 == parts { END_HEADERS } else { 0 };
            client.send(frame(kind, flags, stream, part));
        }
        match client.end(stream).unwrap() {
            End::Answered(answer) if fits => assert_eq!(answer.status(), "200", "{what}"),
            End::Answered(answer) => assert_eq!(answer.status(), "431", "{what}"),
            End::Reset(PROTOCOL_ERROR | CALM) if !fits => (),
            End::Gone(Some(CALM | PROTOCOL_ERROR | COMPRESSION_ERROR)) if !fits => {
                client = Client::new(&server, &[]).unwrap();
            }
            other => panic!("{what}: {other:?}"),
        }
        client.go_on().unwrap();
    }
    server.client().get("/v2/health/live").expect(200);
}
