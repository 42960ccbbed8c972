//! HTTP itself: methods, encodings, framing and connections.

use std::io::{Read, Write};
use std::process::Command;

use flate2::Compression;
use flate2::read::{GzDecoder, ZlibDecoder};
use flate2::write::{GzEncoder, ZlibEncoder};
use ureq::http::Method;

use crate::binary::Server;
use crate::config;

const PATH: &str = "/v2/models/iris/infer";
const BODY: &str = r#"{"inputs":[{"name":"features","shape":[1,4],"datatype":"FP32","data":[5.1,3.5,1.4,0.2]}]}"#;

fn gzip(plain: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(plain).unwrap();
    encoder.finish().unwrap()
}

fn deflate(plain: &[u8]) -> Vec<u8> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(plain).unwrap();
    encoder.finish().unwrap()
}

fn read(mut reader: impl Read) -> Vec<u8> {
    let mut plain = Vec::new();
    reader.read_to_end(&mut plain).unwrap();
    plain
}

/// A request for many rows, so that the answer is worth packing.
fn many() -> String {
    let rows = "5.1,3.5,1.4,0.2,".repeat(200);
    format!(
        r#"{{"inputs":[{{"name":"features","shape":[200,4],"datatype":"FP32","data":[{}]}}]}}"#,
        rows.trim_end_matches(',')
    )
}

#[test]
fn bodies_come_and_go_as_gzip_and_deflate() {
    let server = Server::samples();
    let client = server.client();
    let plain = client.post(PATH, many()).expect(200);
    assert_eq!(plain.header("content-encoding"), None);
    type Unpack = fn(&[u8]) -> Vec<u8>;
    let codings: [(&str, Vec<u8>, Unpack); 2] = [
        ("gzip", gzip(many().as_bytes()), |body| read(GzDecoder::new(body))),
        ("deflate", deflate(many().as_bytes()), |body| read(ZlibDecoder::new(body))),
    ];
    for (name, packed, unpack) in codings {
        let answer =
            client.post_with(PATH, &[("content-encoding", name), ("accept-encoding", name)], packed).expect(200);
        assert_eq!((answer.header("content-encoding"), answer.header("vary")), (Some(name), Some("accept-encoding")));
        assert_eq!(unpack(&answer.body), plain.body);
    }
}

#[test]
fn the_length_of_the_json_counts_what_was_unpacked() {
    let server = Server::samples();
    let json =
        r#"{"inputs":[{"name":"features","shape":[1,4],"datatype":"FP32","parameters":{"binary_data_size":16}}]}"#;
    let tensor: Vec<u8> = [5.1_f32, 3.5, 1.4, 0.2].iter().flat_map(|value| value.to_le_bytes()).collect();
    let packed = gzip(&[json.as_bytes(), &tensor].concat());
    let headers = [("content-encoding", "gzip"), ("inference-header-content-length", &*json.len().to_string())];
    let answer = server.client().post_with(PATH, &headers, packed).expect(200).json();
    assert_eq!(answer["outputs"][0]["data"][0], "setosa");
}

#[test]
fn a_decompression_bomb_is_refused_by_its_unpacked_size() {
    let server = Server::start(&config::samples(), &["--body-limit-mib", "1"]);
    let client = server.client();
    let bomb = gzip(&vec![b' '; 64 << 20]);
    assert!(bomb.len() < 1 << 20);
    for (name, body) in [("gzip", &bomb), ("deflate", &deflate(&vec![b' '; 64 << 20]))] {
        let refused = client.post_with(PATH, &[("content-encoding", name)], body).expect(413).json();
        let message = refused["error"].as_str().unwrap();
        assert!(message.contains("1048576 bytes") && message.contains("after decompression"), "{message}");
    }
    client.post(PATH, vec![b' '; (1 << 20) + 1]).expect(413);
    client.post(PATH, BODY).expect(200);
}

#[test]
fn a_wrong_method_is_told_which_are_right_and_an_unknown_path_is_404_in_json() {
    let server = Server::samples();
    let client = server.client();
    let send = |method: Method, path: &str| client.send(method, path, &[], b"").unwrap();
    let head = send(Method::HEAD, "/v2/models/iris").expect(200);
    assert_eq!((head.header("content-type"), head.body.len()), (Some("application/json"), 0));
    assert_eq!(head.header("content-length").unwrap(), client.get("/v2/models/iris").body.len().to_string());
    for (method, path, allow) in [
        (Method::GET, PATH, "POST"),
        (Method::OPTIONS, PATH, "POST"),
        (Method::DELETE, "/v2/models/iris", "GET,HEAD"),
        (Method::OPTIONS, "/v2/health/live", "GET,HEAD"),
        (Method::GET, "/v2/repository/index", "POST"),
    ] {
        let refused = send(method.clone(), path).expect(405);
        assert_eq!(refused.header("allow"), Some(allow), "{method} {path}");
        assert!(refused.json()["error"].as_str().unwrap().contains(&format!("`{method}`")));
    }
    for path in ["/nothing", "/v2/nothing", "/v2/models/iris/nothing", "/v3", "/v2/../etc/passwd"] {
        let refused = client.get(path).expect(404);
        assert_eq!(refused.header("content-type"), Some("application/json"), "{path}");
        assert!(refused.json()["error"].is_string(), "{path}");
    }
}

#[test]
fn request_ids_and_traces_come_back_on_every_path() {
    let server = Server::samples();
    let client = server.client();
    let trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    for (path, status) in [(PATH, 200), ("/nothing", 404)] {
        let headers = [("x-request-id", "mine-1"), ("traceparent", trace), ("tracestate", "a=b")];
        let answer = client.post_with(path, &headers, BODY).expect(status);
        let found = ["x-request-id", "traceparent", "tracestate"].map(|name| answer.header(name));
        assert_eq!(found, [Some("mine-1"), Some(trace), Some("a=b")]);
        assert!(client.post(path, BODY).header("x-request-id").is_some_and(|id| id.len() == 32));
    }
}

#[test]
fn a_connection_lives_on_after_refusals() {
    let server = Server::samples();
    let mut wire = server.wire();
    let post = |body: &str| format!("POST {PATH} HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    for (request, status) in [
        (post("not json"), 400),
        ("GET /nothing HTTP/1.1\r\nHost: x\r\n\r\n".to_string(), 404),
        ("DELETE /v2 HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc".to_string(), 405),
        (post(r#"{"inputs":[]}"#), 400),
        (post(BODY), 200),
    ] {
        wire.send(&request);
        assert_eq!(wire.answer().map(|answer| answer.status), Some(status), "{request}");
    }
    // Two at once on one connection are answered in order.
    wire.send(format!("{}{}", post(BODY), post("not json")));
    assert_eq!([wire.answer(), wire.answer()].map(|answer| answer.unwrap().status), [200, 400]);
}

#[test]
fn a_request_refused_before_its_body_came_does_not_cost_the_connection() {
    let server = Server::samples();
    let mut wire = server.wire();
    let long = "x".repeat(101);
    for (head, status) in [
        ("POST /nothing HTTP/1.1\r\nHost: x\r\n".to_string(), 404),
        ("PUT /v2/models/iris/infer HTTP/1.1\r\nHost: x\r\n".to_string(), 405),
        (format!("POST /score HTTP/1.1\r\nHost: x\r\nx-request-id: {long}\r\n"), 431),
        (format!("POST {PATH} HTTP/1.1\r\nHost: x\r\nContent-Encoding: br\r\n"), 415),
        (format!("POST {PATH} HTTP/1.1\r\nHost: x\r\n"), 200),
    ] {
        // The head goes first and alone, as many clients send it.
        wire.send(format!("{head}Content-Length: {}\r\n\r\n", BODY.len()));
        wire.send(BODY);
        let answer = wire.answer().unwrap_or_else(|| panic!("the connection is gone: {head}"));
        assert_eq!(answer.status, status, "{head}: {}", answer.text());
    }
}

#[test]
fn a_client_that_waits_for_100_continue_is_told_to_go_on_or_refused_at_once() {
    let server = Server::start(&config::samples(), &["--body-limit-mib", "1"]);
    let head = |length: usize| {
        format!("POST {PATH} HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: {length}\r\n\r\n")
    };
    let mut wire = server.wire();
    wire.send(head(BODY.len()));
    assert_eq!(wire.answer().unwrap().status, 100);
    wire.send(BODY);
    assert_eq!(wire.answer().unwrap().status, 200);
    let mut wire = server.wire();
    wire.send(head(2 << 20));
    assert_eq!(wire.answer().unwrap().status, 413);
}

#[test]
fn a_body_in_chunks_is_read_whole() {
    let server = Server::samples();
    let mut wire = server.wire();
    wire.send(format!("POST {PATH} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"));
    for part in BODY.as_bytes().chunks(7) {
        wire.send(format!("{:x}\r\n", part.len()));
        wire.send(part);
        wire.send("\r\n");
    }
    wire.send("0\r\n\r\n");
    let answer = wire.answer().unwrap().expect(200);
    assert_eq!(answer.json()["outputs"][0]["data"][0], "setosa");
}

#[test]
fn bytes_that_are_no_http_and_bodies_that_never_come_harm_nobody() {
    let server = Server::samples();
    for garbage in
        ["\0\x01\x02\r\n\r\n", "GET\r\n\r\n", "POST / HTTP/9.9\r\n\r\n", "GET / HTTP/1.1\r\nbad header\r\n\r\n"]
    {
        let mut wire = server.wire();
        wire.send(garbage);
        wire.finish();
        let answer = String::from_utf8_lossy(&wire.rest()).into_owned();
        let is_refused = answer.starts_with("HTTP/1.1 400") || answer.starts_with("HTTP/1.1 505");
        assert!(is_refused, "{garbage:?}: {answer}");
    }
    let mut wire = server.wire();
    wire.send(format!("POST {PATH} HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n{{\"inputs\":"));
    drop(wire);
    server.client().post(PATH, BODY).expect(200);
}

#[test]
fn http_2_in_clear_text_is_spoken() {
    assert!(config::program("curl").is_some(), "this test speaks HTTP/2 with curl: apt-get install curl");
    let server = Server::samples();
    let url = format!("http://{}{PATH}", server.address);
    let output = Command::new("curl")
        .args(["-s", "--http2-prior-knowledge", "-w", "\n%{http_version} %{http_code}", "-d", BODY, &url])
        .output()
        .unwrap();
    let printed = String::from_utf8(output.stdout).unwrap();
    let (answer, versions) = printed.rsplit_once('\n').unwrap();
    assert_eq!(versions, "2 200", "{printed}");
    assert!(answer.contains("\"setosa\""), "{answer}");
}
