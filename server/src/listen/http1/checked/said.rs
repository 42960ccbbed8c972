//! What a client has said, read without the server's help: heads line by line, and bodies to their end.

use super::{HEADER_BYTES, HEADERS};
use crate::listen::checked::answer::{breaks_off, digit};

/// What may stand around a value.
const SPACE: [char; 2] = [' ', '\t'];

/// A request as its client sees it.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) method: String,
    pub(super) path: String,
    pub(super) is_http11: bool,
    /// Whether the client goes on with the connection.
    pub(super) keeps_alive: bool,
    /// Whether it waits to be told that it may send the body.
    pub(super) waits: bool,
    pub(super) body: Vec<u8>,
    rest: Rest,
    /// Whether its chunks are such that the server may find fault with them.
    pub(super) is_odd: bool,
    /// Why others could read it differently, or the server does not answer it.
    pub(super) unfit: Option<&'static str>,
}

/// What is still to come of a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rest {
    Length(usize),
    Chunks,
    None,
    /// It is not in chunks.
    Malformed,
}

impl Asked {
    /// Whether all of its body was said.
    pub(super) fn is_whole(&self) -> bool {
        self.rest == Rest::None
    }

    /// Whether its answer has a body.
    pub(super) fn wants_body(&self) -> bool {
        self.method != "HEAD" && self.status() == 200
    }

    /// The status of its answer.
    pub(super) fn status(&self) -> u16 {
        match digit(&self.path, 5) {
            1 => 204,
            2 => 304,
            _ => 200,
        }
    }

    /// Whether its answer fails at its end.
    pub(super) fn breaks_off(&self) -> bool {
        breaks_off(&self.path)
    }
}

/// All that was said.
#[derive(Debug, Default)]
pub(super) struct Said {
    /// The end of what was read.
    at: usize,
    /// How far the end of a head was looked for.
    looked: usize,
    pub(super) asked: Vec<Asked>,
    /// Whether something was said that is no request.
    pub(super) is_lost: bool,
}

impl Said {
    /// Looks at all that was said so far.
    pub(super) fn take(&mut self, all: &[u8]) {
        while !self.is_lost {
            let open = self.asked.last_mut().filter(|asked| asked.rest != Rest::None);
            let taken = match open {
                Some(asked) => body(asked, &all[self.at..]),
                None => self.head(all),
            };
            if taken == 0 {
                break;
            }
            self.at += taken;
            self.looked = self.at;
        }
    }

    /// Reads a head; says how many bytes it has, with the empty lines before it.
    fn head(&mut self, all: &[u8]) -> usize {
        let rest = &all[self.at..];
        if let Some(empty) = [&b"\n"[..], b"\r\n"].iter().find(|empty| rest.starts_with(empty)) {
            return empty.len();
        }
        let from = self.looked.saturating_sub(3).max(self.at);
        self.looked = all.len();
        let Some(end) = end_of_head(&all[from..]).map(|end| from + end - self.at) else { return 0 };
        match read(&rest[..end]) {
            Some(asked) => {
                self.asked.push(asked);
                end
            }
            None => {
                self.is_lost = true;
                0
            }
        }
    }
}

/// The end of the empty line in `bytes` that ends a head.
fn end_of_head(bytes: &[u8]) -> Option<usize> {
    let at = (0..bytes.len()).find(|at| bytes[*at..].starts_with(b"\n\n") || bytes[*at..].starts_with(b"\n\r\n"))?;
    Some(at + if bytes[at + 1] == b'\n' { 2 } else { 3 })
}

/// The path of a target, which may be a whole address.
fn path_of(target: &str) -> &str {
    let path = match target.split_once("://") {
        _ if target.starts_with(['/', '*']) => target,
        Some((_, address)) => address.find(['/', '?', '#']).map_or("/", |at| &address[at..]),
        None => "",
    };
    let path = path.split(['?', '#']).next().unwrap_or_default();
    if path.is_empty() && target.contains("://") { "/" } else { path }
}

/// Reads a head that is whole.
fn read(head: &[u8]) -> Option<Asked> {
    let text: String = head.iter().map(|byte| char::from(*byte)).collect();
    let mut lines = text.lines();
    let mut words = lines.next()?.split(' ');
    let [method, target, version] = std::array::from_fn(|_| words.next().unwrap_or_default());
    let is_http11 = match version {
        "HTTP/1.1" => true,
        "HTTP/1.0" => false,
        _ => return None,
    };
    let fields: Vec<_> = lines.filter(|line| !line.is_empty()).map(|line| line.split_once(':')).collect();
    let fields = fields.into_iter().collect::<Option<Vec<_>>>()?;
    let all = |name: &str| -> Vec<String> {
        let named = fields.iter().filter(|(other, _)| other.eq_ignore_ascii_case(name));
        named.map(|(_, value)| value.trim_matches(SPACE).to_ascii_lowercase()).collect()
    };
    let (lengths, codings) = (all("content-length"), all("transfer-encoding"));
    let connection: Vec<_> =
        all("connection").join(",").split(',').map(|option| option.trim_matches(SPACE).to_string()).collect();
    let says = |option: &str| connection.iter().any(|other| other == option);
    let length = lengths.first().map(|length| length.parse::<usize>());
    let is_name = |name: &str| !name.is_empty() && !name.contains(SPACE);
    let unfit = if words.next().is_some() || method.is_empty() || target.is_empty() {
        Some("its first line has other words")
    } else if !fields.iter().all(|(name, _)| is_name(name)) {
        Some("the name of a header is none")
    } else if all("host").len() > 1 || (is_http11 && all("host").is_empty()) {
        Some("it has not one host")
    } else if lengths.iter().any(|other| *other != lengths[0] || !other.bytes().all(|byte| byte.is_ascii_digit())) {
        Some("its length is not one number")
    } else if !codings.is_empty() && (!is_http11 || !lengths.is_empty() || codings != ["chunked"]) {
        Some("its coding is another, or not all")
    } else if matches!(length, Some(Err(_))) {
        Some("its length is too large")
    } else if head.len() > HEADER_BYTES || fields.len() > HEADERS {
        Some("it is larger than allowed")
    } else {
        None
    };
    let rest = match length {
        _ if !codings.is_empty() => Rest::Chunks,
        Some(Ok(length)) if length > 0 => Rest::Length(length),
        _ => Rest::None,
    };
    Some(Asked {
        method: method.to_string(),
        path: path_of(target).to_string(),
        is_http11,
        keeps_alive: !says("close") && (is_http11 || says("keep-alive")),
        waits: is_http11 && rest != Rest::None && all("expect").last().is_some_and(|last| last == "100-continue"),
        body: Vec::new(),
        rest,
        is_odd: false,
        unfit,
    })
}

/// Takes more of a body; says how many bytes that were.
fn body(asked: &mut Asked, rest: &[u8]) -> usize {
    match asked.rest {
        Rest::Length(length) => {
            let count = length.min(rest.len());
            asked.body.extend_from_slice(&rest[..count]);
            asked.rest = if count == length { Rest::None } else { Rest::Length(length - count) };
            count
        }
        Rest::Chunks => chunk(asked, rest).unwrap_or_default(),
        Rest::None | Rest::Malformed => 0,
    }
}

/// Takes the next chunk if it is whole; the last one with its trailers.
fn chunk(asked: &mut Asked, rest: &[u8]) -> Option<usize> {
    let line = line(rest)?;
    asked.is_odd |= line.len() > 200 || line.contains(&b'\n') || line.contains(&b'\r');
    let digits: String = line.iter().take_while(|byte| **byte != b';').map(|byte| char::from(*byte)).collect();
    let digits = digits.trim_end_matches(SPACE);
    asked.is_odd |= digits.len() > 16;
    let Some(size) = usize::from_str_radix(digits, 16).ok().filter(|_| !digits.starts_with('+')) else {
        asked.rest = Rest::Malformed;
        return None;
    };
    let mut end = line.len() + 2;
    if size == 0 {
        loop {
            let trailer = self::line(&rest[end..])?;
            end += trailer.len() + 2;
            asked.is_odd |= end > 1000 || trailer.contains(&b'\n');
            if trailer.is_empty() {
                asked.rest = Rest::None;
                return Some(end);
            }
        }
    }
    let (data, behind) = rest[end..].split_at_checked(size)?;
    if !behind.starts_with(b"\r\n") {
        if behind.len() > 1 {
            asked.rest = Rest::Malformed;
        }
        return None;
    }
    asked.body.extend_from_slice(data);
    Some(end + size + 2)
}

/// The line that `bytes` begin with, without its end.
fn line(bytes: &[u8]) -> Option<&[u8]> {
    let end = bytes.windows(2).position(|pair| pair == b"\r\n")?;
    Some(&bytes[..end])
}
