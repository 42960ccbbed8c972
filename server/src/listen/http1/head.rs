//! The head of a request: its bytes become a request without a body, and tell how that will come.
//!
//! What two readers could take for different requests is refused, as one of them may have looked at it for the other: lengths
//! that contradict each other or codings that are not known (RFC 9112, section 11.2).
//!
//! Source: RFC 9112, sections 2 to 6 and 9.3.

use std::mem::MaybeUninit;

use bytes::{Buf, Bytes, BytesMut};
use http::header::{CONNECTION, CONTENT_LENGTH, EXPECT, HOST, TRANSFER_ENCODING};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode, Uri, Version};
use httparse::{EMPTY_HEADER, Error, Status};
use memchr::memchr_iter;

use crate::config::{Caps, MOST_HEADERS};

/// The memory of larger heads is given back while a connection is idle.
const KEPT: usize = 8 << 10;

/// The longest target that can be an address: [`Uri`] takes no more.
const LONGEST_TARGET: usize = 65_534;

/// The most that a head may have.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    pub(super) bytes: usize,
    pub(super) headers: usize,
}

impl Limits {
    pub(super) const fn new(caps: &Caps) -> Self {
        Self { bytes: caps.header_bytes, headers: caps.headers }
    }
}

/// How the body of a request comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Framing {
    /// As so many bytes, which may be none.
    Length(u64),
    Chunked,
}

/// A head that is there as a whole.
#[derive(Debug)]
pub(super) struct Head {
    pub(super) request: Request<()>,
    pub(super) framing: Framing,
    /// Whether the client goes on with this connection.
    pub(super) keeps_alive: bool,
    /// Whether it waits to be told that it may send its body.
    pub(super) waits: bool,
}

/// Why bytes are no head of a request that is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Unfit {
    #[error("the request cannot be read: {0}")]
    Malformed(&'static str),
    #[error("the version is not spoken here: expected HTTP/1.0, HTTP/1.1 or HTTP/2")]
    Version,
    #[error("the head of the request is larger than allowed: expected at most {0} bytes")]
    TooLarge(usize),
    #[error("the request has more headers than allowed: expected at most {0}")]
    TooMany(usize),
    #[error("the target of the request is longer than allowed: expected at most {LONGEST_TARGET} bytes")]
    Target,
    #[error("transfer-encoding: expected `chunked` and nothing else")]
    Coding,
    #[error("content-length: expected one number")]
    Length,
    #[error("the request has both a content-length and a transfer-encoding: expected one of them")]
    Both,
    #[error("expected one header `host`, as every request of HTTP/1.1 has it")]
    Host,
}

impl Unfit {
    pub(super) const fn status(self) -> StatusCode {
        match self {
            Self::Version => StatusCode::HTTP_VERSION_NOT_SUPPORTED,
            Self::TooLarge(_) | Self::TooMany(_) => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            Self::Target => StatusCode::URI_TOO_LONG,
            Self::Coding => StatusCode::NOT_IMPLEMENTED,
            Self::Malformed(_) | Self::Length | Self::Both | Self::Host => StatusCode::BAD_REQUEST,
        }
    }
}

/// Reads heads.
#[derive(Debug)]
pub(super) struct Heads {
    limits: Limits,
    /// So many of the bytes of a head that is not whole were looked at.
    seen: usize,
    /// Holds a copy of the last head, whose headers lie in it: once nobody needs them, it is the place of the next one.
    copy: BytesMut,
    /// The length of the largest that it has held.
    copied: usize,
}

impl Heads {
    pub(super) fn new(limits: Limits) -> Self {
        Self { limits, seen: 0, copy: BytesMut::new(), copied: 0 }
    }

    /// Takes the head that `input` begins with, if it is whole.
    pub(super) fn next(&mut self, input: &mut BytesMut) -> Result<Option<Head>, Unfit> {
        if self.seen == 0 {
            // Empty lines before a request are passed over (RFC 9112, section 2.2).
            while let Some(empty) = [&b"\n"[..], b"\r\n"].iter().find(|empty| input.starts_with(empty)) {
                input.advance(empty.len());
            }
            if **input == *b"\r" {
                return Ok(None);
            }
        }
        // One that comes byte by byte is not parsed again with each of them.
        let unseen = input.get(self.seen.saturating_sub(3)..).unwrap_or_default();
        if input.is_empty() || (self.seen > 0 && !may_end(unseen)) {
            return self.is_partial(input.len());
        }
        let mut few = [const { MaybeUninit::uninit() }; MOST_HEADERS];
        let mut many;
        let fields = if let Some(few) = few.get_mut(..self.limits.headers) {
            few
        } else {
            many = vec![MaybeUninit::new(EMPTY_HEADER); self.limits.headers];
            &mut many
        };
        let mut parsed = httparse::Request::new(&mut []);
        let length = match parsed.parse_with_uninit_headers(input, fields) {
            Ok(Status::Complete(length)) => length,
            Ok(Status::Partial) => return self.is_partial(input.len()),
            Err(Error::TooManyHeaders) => return Err(Unfit::TooMany(self.limits.headers)),
            Err(Error::Version) if names_version(input) => return Err(Unfit::Version),
            Err(error) => return Err(Unfit::Malformed(told(error))),
        };
        if length > self.limits.bytes {
            return Err(Unfit::TooLarge(self.limits.bytes));
        }
        self.copied = self.copied.max(length);
        self.copy.extend_from_slice(input.get(..length).unwrap_or_default());
        let copy = Copy { bytes: self.copy.split().freeze(), start: input.as_ptr().addr() };
        let head = head(&parsed, &copy)?;
        input.advance(length);
        self.seen = 0;
        Ok(Some(head))
    }

    /// Lets go of the memory of the last head, if that was large and nobody needs it.
    pub(super) fn rest(&mut self) {
        if self.copied > KEPT {
            (self.copy, self.copied) = (BytesMut::new(), 0);
        }
    }

    const fn is_partial(&mut self, length: usize) -> Result<Option<Head>, Unfit> {
        self.seen = length;
        if length > self.limits.bytes { Err(Unfit::TooLarge(self.limits.bytes)) } else { Ok(None) }
    }
}

/// Whether the first line of a head ends with a version, be it one that is not spoken.
fn names_version(head: &[u8]) -> bool {
    let line = head.split(|byte| *byte == b'\n').next().unwrap_or_default();
    line.split(|byte| *byte == b' ').nth(2).is_some_and(|version| version.starts_with(b"HTTP/"))
}

/// Whether a head may end in these bytes.
fn may_end(bytes: &[u8]) -> bool {
    let behind = |at: usize| bytes.get(at + 1..).unwrap_or_default();
    memchr_iter(b'\n', bytes).any(|at| behind(at).starts_with(b"\n") || behind(at).starts_with(b"\r\n"))
}

const NAME: &str = "expected lines of a name, a colon and a value";
const VALUE: &str = "expected values without control characters";

const fn told(error: Error) -> &'static str {
    match error {
        Error::HeaderName => NAME,
        Error::HeaderValue => VALUE,
        Error::NewLine => "expected lines that end with CR LF",
        _ => "expected a first line such as `GET /v2 HTTP/1.1`",
    }
}

/// A copy of what was parsed.
struct Copy {
    bytes: Bytes,
    /// Where that lies.
    start: usize,
}

impl Copy {
    /// The same part of the copy.
    fn of(&self, part: &[u8]) -> Bytes {
        let start = part.as_ptr().addr() - self.start;
        self.bytes.slice(start..start + part.len())
    }
}

fn head(parsed: &httparse::Request<'_, '_>, copy: &Copy) -> Result<Head, Unfit> {
    let (method, target) = (parsed.method.unwrap_or_default(), parsed.path.unwrap_or_default());
    if target.len() > LONGEST_TARGET {
        return Err(Unfit::Target);
    }
    let (mut parts, ()) = Request::new(()).into_parts();
    parts.method =
        Method::from_bytes(method.as_bytes()).map_err(|_| Unfit::Malformed("expected a method such as GET"))?;
    parts.uri = Uri::from_maybe_shared(copy.of(target.as_bytes()))
        .map_err(|_| Unfit::Malformed("expected a path or an address as its target"))?;
    let is_http11 = parsed.version == Some(1);
    parts.version = if is_http11 { Version::HTTP_11 } else { Version::HTTP_10 };
    let mut said = Said::default();
    let mut headers = HeaderMap::with_capacity(parsed.headers.len());
    for field in parsed.headers.iter() {
        if said.take(field.name, field.value, is_http11)? {
            continue;
        }
        let name = HeaderName::from_bytes(field.name.as_bytes()).map_err(|_| Unfit::Malformed(NAME))?;
        let value = HeaderValue::from_maybe_shared(copy.of(field.value)).map_err(|_| Unfit::Malformed(VALUE))?;
        headers.try_append(name, value).map_err(|_| Unfit::Malformed("expected fewer headers"))?;
    }
    parts.headers = headers;
    let framing = said.framing(is_http11)?;
    let keeps_alive = if is_http11 { !said.close } else { said.keep_alive && !said.close };
    let waits = said.waits && is_http11 && framing != Framing::Length(0);
    Ok(Head { request: Request::from_parts(parts, ()), framing, keeps_alive, waits })
}

/// What headers say of the connection and of the body.
#[derive(Default)]
struct Said {
    hosts: usize,
    length: Option<u64>,
    codings: usize,
    close: bool,
    keep_alive: bool,
    waits: bool,
}

impl Said {
    /// Takes what a header says, and says whether that was all there is to it: who answers the request learns of its
    /// body from the body, and has no use for the others.
    fn take(&mut self, name: &str, value: &[u8], is_http11: bool) -> Result<bool, Unfit> {
        let is = |other: &HeaderName| name.eq_ignore_ascii_case(other.as_str());
        if is(&HOST) {
            self.hosts += 1;
        } else if is(&CONTENT_LENGTH) {
            let length = number(value).ok_or(Unfit::Length)?;
            // The same said twice is no contradiction.
            if self.length.replace(length).is_some_and(|before| before != length) {
                return Err(Unfit::Length);
            }
        } else if is(&TRANSFER_ENCODING) {
            self.codings += 1;
            // A client of HTTP/1.0 cannot know what it says.
            if !is_http11 || self.codings > 1 || !value.eq_ignore_ascii_case(b"chunked") {
                return Err(Unfit::Coding);
            }
        } else if is(&CONNECTION) {
            for option in value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii) {
                self.close |= option.eq_ignore_ascii_case(b"close");
                self.keep_alive |= option.eq_ignore_ascii_case(b"keep-alive");
            }
        } else {
            if is(&EXPECT) {
                self.waits = value.eq_ignore_ascii_case(b"100-continue");
            }
            return Ok(false);
        }
        Ok(true)
    }

    fn framing(&self, is_http11: bool) -> Result<Framing, Unfit> {
        if self.hosts > 1 || (is_http11 && self.hosts == 0) {
            return Err(Unfit::Host);
        }
        match (self.length, self.codings) {
            (Some(_), 1..) => Err(Unfit::Both),
            (None, 1..) => Ok(Framing::Chunked),
            (length, 0) => Ok(Framing::Length(length.unwrap_or(0))),
        }
    }
}

/// A number in decimal digits and nothing else.
fn number(digits: &[u8]) -> Option<u64> {
    let digits = str::from_utf8(digits).ok().filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()))?;
    digits.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits() -> Limits {
        Limits { bytes: 200, headers: 4 }
    }

    fn read(text: &str) -> Result<Option<Head>, Unfit> {
        Heads::new(limits()).next(&mut BytesMut::from(text))
    }

    fn head(text: &str) -> Head {
        read(text).unwrap().unwrap()
    }

    #[test]
    fn a_head_becomes_a_request_however_it_is_cut() {
        let text = "POST /a?b HTTP/1.1\r\nHost: x\r\nA: 1\r\na:  2 \r\nContent-Length: 4\r\n\r\nbodyGET";
        for piece in [1, 2, 3, 7, 1000] {
            let (mut heads, mut input) = (Heads::new(limits()), BytesMut::new());
            // Twice, as the second has the place of the first.
            for _ in 0..2 {
                let (mut found, mut rest) = (None, text.as_bytes());
                while found.is_none() {
                    let (now, later) = rest.split_at(piece.min(rest.len()));
                    input.extend_from_slice(now);
                    rest = later;
                    found = heads.next(&mut input).unwrap();
                    assert!(found.is_none() == (heads.seen > 0));
                }
                let Head { request, framing, keeps_alive, waits } = found.unwrap();
                let told = (request.method().as_str(), request.uri().path(), request.uri().query(), request.version());
                assert_eq!(told, ("POST", "/a", Some("b"), Version::HTTP_11));
                assert_eq!(request.headers().get_all("a").iter().collect::<Vec<_>>(), ["1", "2"]);
                assert_eq!((framing, keeps_alive, waits), (Framing::Length(4), true, false));
                assert!(b"bodyGET".starts_with(&input), "{input:?}");
                input.clear();
            }
        }
    }

    #[test]
    fn it_says_how_the_body_comes_and_whether_the_connection_stays() {
        let (length, chunked) = (Framing::Length, Framing::Chunked);
        for (version, headers, expected) in [
            (1, "", (length(0), true, false)),
            (1, "Connection: x, Close\r\n", (length(0), false, false)),
            (1, "Transfer-Encoding: Chunked\r\n", (chunked, true, false)),
            (1, "Content-Length: 7\r\ncontent-length: 7\r\n", (length(7), true, false)),
            (1, "Content-Length: 7\r\nExpect: 100-Continue\r\n", (length(7), true, true)),
            (1, "Expect: 100-continue\r\n", (length(0), true, false)),
            (1, "Content-Length: 7\r\nExpect: 100-continue\r\nExpect: x\r\n", (length(7), true, false)),
            (0, "", (length(0), false, false)),
            (0, "Connection: keep-alive\r\n", (length(0), true, false)),
            (0, "Connection: keep-alive, close\r\n", (length(0), false, false)),
            (0, "Content-Length: 7\r\nExpect: 100-continue\r\n", (length(7), false, false)),
        ] {
            let head = head(&format!("GET / HTTP/1.{version}\r\nhost: x\r\n{headers}\r\n"));
            assert_eq!((head.framing, head.keeps_alive, head.waits), expected, "{version} {headers}");
        }
    }

    #[test]
    fn targets_are_paths_addresses_or_a_star() {
        for (target, path) in [("/", "/"), ("http://x:80/a", "/a"), ("*", "*"), ("/%20?", "/%20")] {
            assert_eq!(head(&format!("OPTIONS {target} HTTP/1.1\r\nhost: x\r\n\r\n")).request.uri().path(), path);
        }
        // What stands before a request does not belong to it (RFC 9112, section 2.2).
        assert_eq!(head("\r\n\r\nGET /b HTTP/1.0\n\n").request.uri().path(), "/b");
        let (mut heads, mut input) = (Heads::new(limits()), BytesMut::new());
        for piece in ["\r", "\n\r"].iter().chain(&["\n\r"; 1000]) {
            input.extend_from_slice(piece.as_bytes());
            assert!(heads.next(&mut input).unwrap().is_none() && *input == *b"\r");
        }
    }

    #[test]
    fn what_two_readers_could_read_differently_is_refused() {
        let get = |headers: &str| format!("GET / HTTP/1.1\r\nhost: x\r\n{headers}\r\n\r\n");
        for (text, unfit) in [
            (get("content-length: 1\r\ncontent-length: 2"), Unfit::Length),
            (get("content-length: 1, 1"), Unfit::Length),
            (get("content-length: +1"), Unfit::Length),
            (get("content-length: -1"), Unfit::Length),
            (get("content-length: 0x1"), Unfit::Length),
            (get("content-length:"), Unfit::Length),
            (get("content-length: 99999999999999999999"), Unfit::Length),
            (get("content-length: 1\r\ntransfer-encoding: chunked"), Unfit::Both),
            (get("transfer-encoding: chunked\r\ncontent-length: 1"), Unfit::Both),
            (get("transfer-encoding: gzip, chunked"), Unfit::Coding),
            (get("transfer-encoding: chunked\r\ntransfer-encoding: chunked"), Unfit::Coding),
            (get("transfer-encoding: xchunked"), Unfit::Coding),
            (get("transfer-encoding: identity"), Unfit::Coding),
            ("GET / HTTP/1.0\r\ntransfer-encoding: chunked\r\n\r\n".into(), Unfit::Coding),
            ("GET / HTTP/1.1\r\n\r\n".into(), Unfit::Host),
            (get("host: y"), Unfit::Host),
            ("GET / HTTP/1.0\r\nhost: x\r\nhost: x\r\n\r\n".into(), Unfit::Host),
            ("GET / HTTP/2.0\r\nhost: x\r\n\r\n".into(), Unfit::Version),
        ] {
            assert_eq!(read(&text).unwrap_err(), unfit, "{text}");
        }
        for malformed in [
            get("content-length : 1"),
            get("a: 1\r\n b"),
            get("a"),
            get("a\0: 1"),
            get("a: \x01"),
            get(": 1"),
            "GET  / HTTP/1.1\r\nhost: x\r\n\r\n".into(),
            "GET /\r\n\r\n".into(),
            "G(T / HTTP/1.1\r\nhost: x\r\n\r\n".into(),
            "GET a b HTTP/1.1\r\nhost: x\r\n\r\n".into(),
            "\r\r\nGET a HTTP/1.1\r\nhost: x\r\n\r\n".into(),
            "GET a HTTP/1.1\rhost: x\r\n\r\n".into(),
            "\x16\x03\x01".into(),
        ] {
            let found = read(&malformed).unwrap_err();
            assert!(matches!(found, Unfit::Malformed(_)) && found.status() == 400, "{malformed:?}: {found}");
        }
    }

    #[test]
    fn a_head_has_its_limits() {
        let long = format!("GET / HTTP/1.1\r\nhost: {}", "x".repeat(200));
        assert_eq!(read(&long).unwrap_err(), Unfit::TooLarge(200));
        assert_eq!(read(&format!("{long}\r\n\r\n")).unwrap_err(), Unfit::TooLarge(200));
        let many = |count: usize| format!("GET / HTTP/1.1\r\nhost: x\r\n{}\r\n", "a: 1\r\n".repeat(count - 1));
        assert_eq!(head(&many(4)).request.headers().len(), 3);
        assert_eq!(read(&many(5)).unwrap_err(), Unfit::TooMany(4));
        let target = |length: usize| format!("GET /{} HTTP/1.1\r\nhost: x\r\n\r\n", "x".repeat(length - 1));
        let mut heads = Heads::new(Limits { bytes: 70_000, headers: 4 });
        assert!(heads.next(&mut BytesMut::from(&*target(LONGEST_TARGET))).unwrap().is_some());
        assert_eq!(heads.next(&mut BytesMut::from(&*target(LONGEST_TARGET + 1))).unwrap_err(), Unfit::Target);
        let mut heads = Heads::new(Limits { bytes: 4000, headers: MOST_HEADERS + 1 });
        let found = heads.next(&mut BytesMut::from(&*many(MOST_HEADERS + 1))).unwrap().unwrap();
        assert_eq!(found.request.headers().len(), MOST_HEADERS);
    }
}
