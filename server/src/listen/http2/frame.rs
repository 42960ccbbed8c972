//! The frames of HTTP/2: their heads, and what stands in them.
//!
//! Source: RFC 9113, sections 4, 6 and 7.

use http::HeaderMap;

/// What a client of HTTP/2 says first.
pub(in crate::listen) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// The bytes of a frame's head.
pub(super) const HEAD: usize = 9;

/// The largest frame that every client may send, and takes.
pub(super) const LARGEST: usize = 16 << 10;

/// The largest frame that the server takes: each costs a call of the system. Clients that know of it are those of gRPC
/// built on its C core, and Java's.
pub(super) const TAKEN: usize = 128 << 10;

/// The largest window that there is.
pub(super) const LARGEST_WINDOW: i64 = (1 << 31) - 1;

/// The window of a connection, and of a stream, of which nothing else was said.
pub(super) const FIRST_WINDOW: i64 = (1 << 16) - 1;

pub(super) const DATA: u8 = 0x0;
pub(super) const HEADERS: u8 = 0x1;
pub(super) const PRIORITY: u8 = 0x2;
pub(super) const RST_STREAM: u8 = 0x3;
pub(super) const SETTINGS: u8 = 0x4;
pub(super) const PUSH_PROMISE: u8 = 0x5;
pub(super) const PING: u8 = 0x6;
pub(super) const GOAWAY: u8 = 0x7;
pub(super) const WINDOW_UPDATE: u8 = 0x8;
pub(super) const CONTINUATION: u8 = 0x9;

/// Of DATA and HEADERS: the last of its stream. Of SETTINGS and PING: an answer.
pub(super) const END_STREAM: u8 = 0x1;
pub(super) const ACK: u8 = 0x1;
pub(super) const END_HEADERS: u8 = 0x4;
pub(super) const PADDED: u8 = 0x8;
pub(super) const WITH_PRIORITY: u8 = 0x20;

/// The settings that are spoken of.
pub(super) const TABLE_SIZE: u16 = 0x1;
pub(super) const ENABLE_PUSH: u16 = 0x2;
pub(super) const MOST_STREAMS: u16 = 0x3;
pub(super) const STREAM_WINDOW: u16 = 0x4;
pub(super) const FRAME_SIZE: u16 = 0x5;
pub(super) const HEAD_SIZE: u16 = 0x6;

/// Why a stream or a connection ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Reason {
    None = 0x0,
    Protocol = 0x1,
    Internal = 0x2,
    FlowControl = 0x3,
    StreamClosed = 0x5,
    FrameSize = 0x6,
    Refused = 0x7,
    Cancel = 0x8,
    Compression = 0x9,
    Calm = 0xb,
}

impl Reason {
    /// As it is written.
    pub(super) const fn code(self) -> [u8; 4] {
        [0, 0, 0, self as u8]
    }
}

/// What a frame begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) length: usize,
    pub(super) kind: u8,
    pub(super) flags: u8,
    pub(super) stream: u32,
}

impl Head {
    pub(super) fn read(bytes: [u8; HEAD]) -> Self {
        let [a, b, c, kind, flags, stream @ ..] = bytes;
        let length = usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c);
        Self { length, kind, flags, stream: number(stream) }
    }

    pub(super) const fn has(self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    /// As it is written. Frames longer than three bytes can say are never made.
    pub(super) const fn bytes(self) -> [u8; HEAD] {
        let ([.., a, b, c], [d, e, f, g]) = (self.length.to_be_bytes(), self.stream.to_be_bytes());
        [a, b, c, self.kind, self.flags, d, e, f, g]
    }
}

/// A number of 31 bits, before which one bit says nothing.
pub(super) const fn number(bytes: [u8; 4]) -> u32 {
    u32::from_be_bytes(bytes) & (u32::MAX >> 1)
}

/// Whether a header is one that HTTP/2 does not know: what it said of a connection stands in frames.
pub(super) fn is_of_connection(name: &[u8]) -> bool {
    matches!(name, b"connection" | b"transfer-encoding" | b"keep-alive" | b"upgrade" | b"proxy-connection")
}

/// Takes the padding, and the priority that nobody asks for, from what a frame holds.
pub(super) fn unpadded(head: Head, mut payload: &[u8]) -> Result<&[u8], Reason> {
    if head.has(PADDED) {
        let (pad, rest) = payload.split_first().ok_or(Reason::FrameSize)?;
        let left = rest.len().checked_sub(usize::from(*pad)).ok_or(Reason::Protocol)?;
        payload = rest.get(..left).unwrap_or_default();
    }
    if head.kind == HEADERS && head.has(WITH_PRIORITY) {
        payload = payload.get(5..).ok_or(Reason::FrameSize)?;
    }
    Ok(payload)
}

/// How long a body will be, where its head says so; an error where it says so in more than one way.
pub(super) fn content_length(headers: &HeaderMap) -> Result<Option<u64>, Reason> {
    let mut values = headers.get_all(http::header::CONTENT_LENGTH).iter();
    let Some(value) = values.next() else { return Ok(None) };
    let digits = value.to_str().ok().filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
    let length = digits.and_then(|text| text.parse().ok()).filter(|_| values.all(|other| other == value));
    length.map(Some).ok_or(Reason::Protocol)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_is_read_as_it_was_written() {
        let head = Head { length: 0x01_02_03, kind: PING, flags: ACK, stream: 0x7f_ff_ff_fe };
        assert_eq!(head.bytes(), [1, 2, 3, 6, 1, 0x7f, 0xff, 0xff, 0xfe]);
        assert_eq!(Head::read(head.bytes()), head);
        let mut reserved = head.bytes();
        reserved[5] |= 0x80;
        assert_eq!(Head::read(reserved), head, "the bit that says nothing");
    }

    #[test]
    fn padding_and_priority_are_left_out() {
        let of = |kind, flags, payload: &'static [u8]| {
            unpadded(Head { length: payload.len(), kind, flags, stream: 1 }, payload)
        };
        assert_eq!(of(DATA, 0, b"abc"), Ok(&b"abc"[..]));
        assert_eq!(of(DATA, PADDED, b"\x02abc__"), Ok(&b"abc"[..]));
        assert_eq!(of(DATA, PADDED, b"\x03___"), Ok(&b""[..]));
        assert_eq!(of(DATA, PADDED, b"\x04___"), Err(Reason::Protocol));
        assert_eq!(of(DATA, PADDED, b""), Err(Reason::FrameSize));
        assert_eq!(of(HEADERS, WITH_PRIORITY, b"12345abc"), Ok(&b"abc"[..]));
        assert_eq!(of(HEADERS, WITH_PRIORITY | PADDED, b"\x0112345abc_"), Ok(&b"abc"[..]));
        assert_eq!(of(HEADERS, WITH_PRIORITY, b"1234"), Err(Reason::FrameSize));
    }

    #[test]
    fn a_length_is_said_once_and_in_digits() {
        let of = |values: &[&'static str]| {
            let name = http::header::CONTENT_LENGTH;
            let values = values.iter().map(|value| (name.clone(), http::HeaderValue::from_static(value)));
            content_length(&values.collect())
        };
        assert_eq!((of(&[]), of(&["12"])), (Ok(None), Ok(Some(12))));
        for wrong in ["", "+1", "1, 1", "99999999999999999999999"] {
            assert_eq!(of(&[wrong]), Err(Reason::Protocol), "{wrong}");
        }
    }
}
