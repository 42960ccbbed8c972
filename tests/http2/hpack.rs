//! HPACK of the tests' own (RFC 7541), so that server and tests cannot err alike.

use std::collections::VecDeque;

/// The characters of Huffman's code by the length of their codes, from five bits on; within a length the codes count up
/// (appendix B). Longer codes stand for nothing that is printed, but for the backslash.
const CODES: [&str; 11] = [
    "012aceiost",
    " %-./3456789=A_bdfghlmnpru",
    ":BCDEFGHIJKLMNOPQRSTUVWYjkqvwxyz",
    "&*,;XZ",
    "",
    "!\"()?",
    "'+|",
    "#>",
    "\0$@[]~",
    "^}",
    "<`{",
];

/// The table that both sides know from the beginning (appendix A).
const STATIC: [(&str, &str); 61] = [
    (":authority", ""),
    (":method", "GET"),
    (":method", "POST"),
    (":path", "/"),
    (":path", "/index.html"),
    (":scheme", "http"),
    (":scheme", "https"),
    (":status", "200"),
    (":status", "204"),
    (":status", "206"),
    (":status", "304"),
    (":status", "400"),
    (":status", "404"),
    (":status", "500"),
    ("accept-charset", ""),
    ("accept-encoding", "gzip, deflate"),
    ("accept-language", ""),
    ("accept-ranges", ""),
    ("accept", ""),
    ("access-control-allow-origin", ""),
    ("age", ""),
    ("allow", ""),
    ("authorization", ""),
    ("cache-control", ""),
    ("content-disposition", ""),
    ("content-encoding", ""),
    ("content-language", ""),
    ("content-length", ""),
    ("content-location", ""),
    ("content-range", ""),
    ("content-type", ""),
    ("cookie", ""),
    ("date", ""),
    ("etag", ""),
    ("expect", ""),
    ("expires", ""),
    ("from", ""),
    ("host", ""),
    ("if-match", ""),
    ("if-modified-since", ""),
    ("if-none-match", ""),
    ("if-range", ""),
    ("if-unmodified-since", ""),
    ("last-modified", ""),
    ("link", ""),
    ("location", ""),
    ("max-forwards", ""),
    ("proxy-authenticate", ""),
    ("proxy-authorization", ""),
    ("range", ""),
    ("referer", ""),
    ("refresh", ""),
    ("retry-after", ""),
    ("server", ""),
    ("set-cookie", ""),
    ("strict-transport-security", ""),
    ("transfer-encoding", ""),
    ("user-agent", ""),
    ("vary", ""),
    ("via", ""),
    ("www-authenticate", ""),
];

/// Each character with its code and the length of it.
fn codes() -> impl Iterator<Item = (char, u32, u32)> {
    let mut next = 0;
    (5..).zip(CODES).flat_map(move |(length, characters)| {
        let first = next;
        next = (next + u32::try_from(characters.len()).unwrap()) << 1;
        (first..).zip(characters.chars()).map(move |(code, character)| (character, code, length))
    })
}

/// A text in Huffman's code, padded with ones.
pub(crate) fn huffman(text: &str) -> Vec<u8> {
    let mut bits = Vec::new();
    for wanted in text.chars() {
        let (_, code, length) = codes().find(|(character, ..)| *character == wanted).unwrap();
        bits.extend((0..length).rev().map(|at| code >> at & 1 == 1));
    }
    bits.chunks(8).map(|byte| (0..8).fold(0, |sum, at| sum << 1 | u8::from(*byte.get(at).unwrap_or(&true)))).collect()
}

fn unpack(bytes: &[u8]) -> Result<String, String> {
    let known: Vec<_> = codes().collect();
    let (mut text, mut code, mut length) = (String::new(), 0, 0);
    for bit in bytes.iter().flat_map(|byte| (0..8).rev().map(move |at| u32::from(byte >> at & 1))) {
        (code, length) = (code << 1 | bit, length + 1);
        if let Some((character, ..)) = known.iter().find(|(_, own, its)| (*own, *its) == (code, length)) {
            text.push(*character);
            (code, length) = (0, 0);
        }
    }
    let padding = length < 8 && code == (1 << length) - 1;
    if padding { Ok(text) } else { Err(format!("HPACK: after {text:?} Huffman's code is wrong")) }
}

/// A number in a prefix of so many bits, under the bits that stand before it.
pub(crate) fn number(bits: u32, before: u8, value: usize) -> Vec<u8> {
    let most = (1 << bits) - 1;
    if value < most {
        return vec![before | u8::try_from(value).unwrap()];
    }
    let (mut bytes, mut rest) = (vec![before | u8::try_from(most).unwrap()], value - most);
    while rest >= 128 {
        bytes.push(u8::try_from(rest % 128).unwrap() | 128);
        rest /= 128;
    }
    bytes.push(u8::try_from(rest).unwrap());
    bytes
}

fn text(text: &[u8]) -> Vec<u8> {
    [number(7, 0, text.len()), text.to_vec()].concat()
}

/// A header that is written as it is.
pub(crate) fn header(name: &str, value: &str) -> Vec<u8> {
    [vec![0], text(name.as_bytes()), text(value.as_bytes())].concat()
}

/// A header that goes into the server's table.
pub(crate) fn kept(name: &str, value: &str) -> Vec<u8> {
    [vec![0x40], text(name.as_bytes()), text(value.as_bytes())].concat()
}

/// A header whose texts are in Huffman's code.
pub(crate) fn coded(name: &str, value: &str) -> Vec<u8> {
    let text = |text: &str| [number(7, 0x80, huffman(text).len()), huffman(text)].concat();
    [vec![0], text(name), text(value)].concat()
}

/// Reads the heads of one connection.
#[derive(Debug)]
pub(crate) struct Decoder {
    kept: VecDeque<(String, String)>,
    size: usize,
    /// The most that the server may keep.
    allowed: usize,
    /// The least that was allowed since the last head: the server has to say that it went down so far (4.2).
    least: usize,
}

impl Decoder {
    pub(crate) const fn new(allowed: usize) -> Self {
        Self { kept: VecDeque::new(), size: 4096, allowed, least: allowed }
    }

    pub(crate) fn allow(&mut self, size: usize) {
        (self.allowed, self.least) = (size, self.least.min(size));
    }

    pub(crate) fn decode(&mut self, mut block: &[u8]) -> Result<Vec<(String, String)>, String> {
        let (mut fields, mut lowest) = (Vec::new(), self.size);
        while let Some(first) = block.first().copied() {
            if first & 0xe0 == 0x20 {
                let size = read_number(&mut block, 5)?;
                let right = fields.is_empty() && size <= self.allowed;
                right.then_some(()).ok_or(format!("HPACK: a table of {size} of {} bytes", self.allowed))?;
                self.size = size;
                self.shrink(0);
                lowest = lowest.min(size);
                continue;
            }
            let known = lowest <= self.least && self.size <= self.allowed;
            known.then_some(()).ok_or("HPACK: the size of the table had to be said")?;
            if first & 0x80 != 0 {
                let index = read_number(&mut block, 7)?;
                fields.push(self.entry(index)?);
                continue;
            }
            let keeps = first & 0xc0 == 0x40;
            let name = match read_number(&mut block, if keeps { 6 } else { 4 })? {
                0 => read_text(&mut block)?,
                index => self.entry(index)?.0,
            };
            let field = (name, read_text(&mut block)?);
            if keeps {
                self.keep(field.clone());
            }
            fields.push(field);
        }
        self.least = self.allowed;
        Ok(fields)
    }

    fn entry(&self, index: usize) -> Result<(String, String), String> {
        let wrong = || format!("HPACK: nothing stands at {index}");
        let at = index.checked_sub(1).ok_or_else(wrong)?;
        match STATIC.get(at) {
            Some((name, value)) => Ok(((*name).to_owned(), (*value).to_owned())),
            None => self.kept.get(at - STATIC.len()).cloned().ok_or_else(wrong),
        }
    }

    fn keep(&mut self, field: (String, String)) {
        let size = size_of(&field);
        self.shrink(size);
        if size <= self.size {
            self.kept.push_front(field);
        }
    }

    /// Makes room for so much.
    fn shrink(&mut self, room: usize) {
        while !self.kept.is_empty() && self.kept.iter().map(size_of).sum::<usize>() + room > self.size {
            self.kept.pop_back();
        }
    }
}

fn size_of((name, value): &(String, String)) -> usize {
    name.len() + value.len() + 32
}

fn read_byte(block: &mut &[u8]) -> Result<u8, String> {
    let (first, rest) = block.split_first().ok_or("HPACK: the head ends early")?;
    *block = rest;
    Ok(*first)
}

fn read_number(block: &mut &[u8], bits: u32) -> Result<usize, String> {
    let most = (1 << bits) - 1;
    let mut value = usize::from(read_byte(block)?) & most;
    if value < most {
        return Ok(value);
    }
    for shift in (0..28).step_by(7) {
        let byte = read_byte(block)?;
        value += usize::from(byte & 127) << shift;
        if byte < 128 {
            return Ok(value);
        }
    }
    Err("HPACK: a number without an end".into())
}

fn read_text(block: &mut &[u8]) -> Result<String, String> {
    let coded = block.first().is_some_and(|first| first & 0x80 != 0);
    let length = read_number(block, 7)?;
    let (bytes, rest) = block.split_at_checked(length).ok_or("HPACK: a text ends early")?;
    *block = rest;
    if coded { unpack(bytes) } else { String::from_utf8(bytes.to_vec()).map_err(|error| error.to_string()) }
}

#[test]
fn the_rfc_s_own_examples_are_read_and_written() {
    // C.4.1, C.6.1 and C.6.2.
    let path = [0xf1, 0xe3, 0xc2, 0xe5, 0xf2, 0x3a, 0x6b, 0xa0, 0xab, 0x90, 0xf4, 0xff];
    assert_eq!(huffman("www.example.com"), path);
    assert_eq!(number(5, 0, 1337), [31, 154, 10]);
    let first = [
        &[0x48, 0x82, 0x64, 0x02, 0x58, 0x85, 0xae, 0xc3, 0x77, 0x1a, 0x4b, 0x61, 0x96, 0xd0, 0x7a, 0xbe][..],
        &[0x94, 0x10, 0x54, 0xd4, 0x44, 0xa8, 0x20, 0x05, 0x95, 0x04, 0x0b, 0x81, 0x66, 0xe0, 0x82, 0xa6],
        &[0x2d, 0x1b, 0xff, 0x6e, 0x91, 0x9d, 0x29, 0xad, 0x17, 0x18, 0x63, 0xc7, 0x8f, 0x0b, 0x97, 0xc8],
        &[0xe9, 0xae, 0x82, 0xae, 0x43, 0xd3],
    ]
    .concat();
    let second = [0x48, 0x83, 0x64, 0x0e, 0xff, 0xc1, 0xc0, 0xbf];
    let mut decoder = Decoder { size: 256, ..Decoder::new(4096) };
    let fields = |status: &str| {
        let date = "Mon, 21 Oct 2013 20:13:21 GMT";
        let rest = [("cache-control", "private"), ("date", date), ("location", "https://www.example.com")];
        let all = [(":status", status)].into_iter().chain(rest);
        Ok(all.map(|(name, value)| (name.to_owned(), value.to_owned())).collect())
    };
    assert_eq!(decoder.decode(&first), fields("302"));
    assert_eq!(decoder.decode(&second), fields("307"));
}
