//! The frames of WebSocket, from a server and to it.
//!
//! Source: RFC 6455, section 5.

use bytes::{Buf, Bytes, BytesMut};

/// The most bytes of a frame that is sent.
const LARGEST: usize = 16 << 10;

/// The most bytes that a frame of control may say.
const LARGEST_CONTROL: u64 = 125;

const CONTINUATION: u8 = 0;
const BINARY: u8 = 2;
const CLOSE: u8 = 8;
const PING: u8 = 9;
const PONG: u8 = 10;

/// Why bytes are no frames of a server that speaks MQTT.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// A frame has bits set that mean nothing here, or hides what it says, which only clients do.
    #[error("a WebSocket frame has flags that it must not have")]
    Flags,
    /// A frame is of a kind that is not expected there.
    #[error("a WebSocket frame of kind {0} is not expected")]
    Kind(u8),
    /// A frame of control is too long, or a length is none.
    #[error("the length of a WebSocket frame is not allowed")]
    Length,
}

/// What frames say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece {
    /// The next bytes of the stream.
    Data(Bytes),
    /// The server wants that answered by a pong.
    Ping(Bytes),
    /// Nothing more comes.
    Close,
}

/// Reads frames. Messages may be cut into frames, and frames come in pieces: the stream goes on over all of them.
#[derive(Debug, Default)]
pub struct Frames {
    /// The bytes of the frame of data that are to come.
    left: u64,
    /// Whether the message goes on in another frame.
    open: bool,
    closed: bool,
}

impl Frames {
    /// Takes what `bytes` begin with. `None`: there is more to come.
    pub fn next(&mut self, bytes: &mut BytesMut) -> Result<Option<Piece>, Malformed> {
        loop {
            if self.closed {
                return Ok(Some(Piece::Close));
            }
            if self.left > 0 {
                let here = usize::try_from(self.left).unwrap_or(usize::MAX).min(bytes.len());
                self.left -= here as u64;
                return Ok((here > 0).then(|| Piece::Data(bytes.split_to(here).freeze())));
            }
            let Some((header, length)) = Header::read(bytes)? else { return Ok(None) };
            if header.kind < CLOSE {
                let wanted = if self.open { CONTINUATION } else { BINARY };
                if header.kind != wanted {
                    return Err(Malformed::Kind(header.kind));
                }
                bytes.advance(length);
                self.open = !header.last;
                self.left = header.length;
                continue;
            }
            if !header.last || header.length > LARGEST_CONTROL {
                return Err(Malformed::Length);
            }
            let body = usize::try_from(header.length).map_err(|_| Malformed::Length)?;
            if bytes.len() < length + body {
                return Ok(None);
            }
            bytes.advance(length);
            let said = bytes.split_to(body).freeze();
            match header.kind {
                PING => return Ok(Some(Piece::Ping(said))),
                PONG => (),
                CLOSE => self.closed = true,
                other => return Err(Malformed::Kind(other)),
            }
        }
    }
}

/// The start of a frame.
struct Header {
    kind: u8,
    last: bool,
    length: u64,
}

impl Header {
    /// Reads it, and how many bytes it has.
    fn read(bytes: &[u8]) -> Result<Option<(Self, usize)>, Malformed> {
        let Some(([first, second], rest)) = bytes.split_first_chunk::<2>() else { return Ok(None) };
        if first & 0x70 != 0 || second & 0x80 != 0 {
            return Err(Malformed::Flags);
        }
        let (length, size) = match second & 0x7f {
            126 => match rest.first_chunk::<2>() {
                Some(length) => (u64::from(u16::from_be_bytes(*length)), 4),
                None => return Ok(None),
            },
            127 => match rest.first_chunk::<8>() {
                Some(length) => (u64::from_be_bytes(*length), 10),
                None => return Ok(None),
            },
            short => (u64::from(short), 2),
        };
        if length > i64::MAX as u64 {
            return Err(Malformed::Length);
        }
        Ok(Some((Self { kind: first & 0x0f, last: first & 0x80 != 0, length }, size)))
    }
}

/// Writes the next bytes of the stream as a frame, and returns how many of them it has.
pub fn data(bytes: &[u8], mask: [u8; 4], out: &mut BytesMut) -> usize {
    let bytes = bytes.get(..LARGEST).unwrap_or(bytes);
    write(BINARY, bytes, mask, out);
    bytes.len()
}

/// Writes the answer to a ping.
pub fn pong(said: &[u8], mask: [u8; 4], out: &mut BytesMut) {
    write(PONG, said, mask, out);
}

/// Writes that nothing more comes: a normal end.
pub fn close(mask: [u8; 4], out: &mut BytesMut) {
    write(CLOSE, &1000_u16.to_be_bytes(), mask, out);
}

/// Writes a frame, hidden as a client has to. It has at most [`LARGEST`] bytes.
fn write(kind: u8, said: &[u8], mask: [u8; 4], out: &mut BytesMut) {
    out.extend_from_slice(&[0x80 | kind]);
    match u16::try_from(said.len()).unwrap_or(u16::MAX) {
        length @ 0..126 => out.extend_from_slice(&[0x80 | length.to_le_bytes()[0]]),
        length => {
            out.extend_from_slice(&[0x80 | 126]);
            out.extend_from_slice(&length.to_be_bytes());
        }
    }
    out.extend_from_slice(&mask);
    out.extend(said.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    fn read(bytes: &[u8]) -> Result<Vec<Piece>, Malformed> {
        let (mut frames, mut bytes) = (Frames::default(), BytesMut::from(bytes));
        let mut pieces = Vec::new();
        while let Some(piece) = frames.next(&mut bytes)? {
            pieces.push(piece);
            if pieces.last() == Some(&Piece::Close) {
                break;
            }
        }
        Ok(pieces)
    }

    #[test]
    fn what_a_server_may_say_is_read() {
        let data = |text: &'static [u8]| Piece::Data(Bytes::from_static(text));
        let ping = Piece::Ping(Bytes::from_static(b"Hello"));
        // A message in two frames with a ping and a pong between, an empty one, and the end.
        let bytes = b"\x02\x03Hel\x89\x05Hello\x8a\0\x80\x02lo\x82\0\x82\x7e\0\x01x\x88\x02\x03\xe8";
        assert_eq!(read(bytes), Ok(vec![data(b"Hel"), ping, data(b"lo"), data(b"x"), Piece::Close]));
        assert_eq!(read(b"\x82\x7f\0\0\0\0\0\0\0\x02xy"), Ok(vec![data(b"xy")]));
        for cut in 0..4 {
            assert_eq!(read(&b"\x82\x7e\0\x01x"[..cut]), Ok(vec![]));
        }
    }

    #[test]
    fn what_it_may_not_say_is_refused() {
        for (bytes, expected) in [
            (&b"\xc2\0"[..], Malformed::Flags),
            (b"\x82\x81", Malformed::Flags),
            (b"\x81\x01x", Malformed::Kind(1)),
            (b"\x80\0", Malformed::Kind(0)),
            (b"\x02\0\x82\0", Malformed::Kind(2)),
            (b"\x8b\0", Malformed::Kind(11)),
            (b"\x09\0", Malformed::Length),
            (b"\x89\x7e\0\x7e", Malformed::Length),
            (b"\x82\x7f\xff\0\0\0\0\0\0\0", Malformed::Length),
        ] {
            assert_eq!(read(bytes), Err(expected), "{bytes:?}");
        }
    }

    /// RFC 6455, section 5.7: a masked "Hello".
    #[test]
    fn what_is_sent_is_hidden() {
        let mut out = BytesMut::new();
        write(1, b"Hello", [0x37, 0xfa, 0x21, 0x3d], &mut out);
        assert_eq!(&out[..], b"\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58");
        out.clear();
        assert_eq!(data(&vec![0; 1 << 20], [0; 4], &mut out), LARGEST);
        assert_eq!(&out[..8], b"\x82\xfe\x40\0\0\0\0\0");
        out.clear();
        close([0; 4], &mut out);
        assert_eq!(&out[..], b"\x88\x82\0\0\0\0\x03\xe8");
    }

    proptest! {
        #[test]
        fn any_bytes_are_frames_or_refused_however_they_are_cut(bytes in vec(any::<u8>(), 0..200), cut in 0_usize..200) {
            let whole = read(&bytes);
            let (mut frames, mut joined, mut buffer) = (Frames::default(), Vec::new(), BytesMut::new());
            let mut ended = Ok(());
            for part in [&bytes[..cut.min(bytes.len())], &bytes[cut.min(bytes.len())..]] {
                buffer.extend_from_slice(part);
                ended = loop {
                    match frames.next(&mut buffer) {
                        Ok(Some(Piece::Data(data))) => joined.extend(data),
                        Ok(Some(Piece::Ping(_))) => (),
                        Ok(None | Some(Piece::Close)) => break Ok(()),
                        Err(error) => break Err(error),
                    }
                };
                if ended.is_err() {
                    break;
                }
            }
            prop_assert_eq!(ended.err(), whole.clone().err());
            if let Ok(pieces) = whole {
                let expected: Vec<u8> = pieces.into_iter().flat_map(|piece| match piece {
                    Piece::Data(data) => data.to_vec(),
                    _ => Vec::new(),
                }).collect();
                prop_assert_eq!(joined, expected);
            }
        }
    }
}
