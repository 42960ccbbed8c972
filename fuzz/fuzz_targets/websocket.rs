//! Any bytes from a server are frames of WebSocket or refused, and the same ones however they are cut; what is sent is as
//! RFC 6455 has it.

#![no_main]

use bytes::BytesMut;
use hedef_edge::websocket::frames::{Frames, Malformed, Piece, data, pong};
use libfuzzer_sys::fuzz_target;

/// What is read: the bytes of the stream, the pings, and whether an end came.
#[derive(Debug, Default, PartialEq)]
struct Read {
    stream: Vec<u8>,
    pings: Vec<Vec<u8>>,
    ended: bool,
}

/// Reads `bytes` as they come in parts of `size` bytes.
fn read(bytes: &[u8], size: usize) -> (Read, Option<Malformed>) {
    let (mut frames, mut buffer, mut read) = (Frames::default(), BytesMut::new(), Read::default());
    for part in bytes.chunks(size) {
        buffer.extend_from_slice(part);
        loop {
            match frames.next(&mut buffer) {
                Ok(Some(Piece::Data(data))) => read.stream.extend(data),
                Ok(Some(Piece::Ping(said))) => read.pings.push(said.to_vec()),
                Ok(Some(Piece::Close)) => {
                    read.ended = true;
                    return (read, None);
                }
                Ok(None) => break,
                Err(error) => return (read, Some(error)),
            }
        }
    }
    (read, None)
}

/// What a frame of a client says, and how many bytes the frame has.
fn shown(frame: &[u8]) -> (Vec<u8>, usize) {
    assert_eq!(frame[1] & 0x80, 0x80);
    let (length, at) = match frame[1] & 0x7f {
        126 => (usize::from(u16::from_be_bytes([frame[2], frame[3]])), 4),
        short => (usize::from(short), 2),
    };
    let (mask, said) = (&frame[at..at + 4], &frame[at + 4..at + 4 + length]);
    (said.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask).collect(), at + 4 + length)
}

fuzz_target!(|input: (u8, [u8; 4], &[u8])| {
    let (size, mask, bytes) = input;
    assert_eq!(read(bytes, bytes.len().max(1)), read(bytes, usize::from(size).max(1)));

    let (mut out, mut left, mut came) = (BytesMut::new(), bytes, Vec::new());
    while !left.is_empty() {
        left = &left[data(left, mask, &mut out)..];
    }
    while !out.is_empty() {
        let (said, length) = shown(&out);
        came.extend(said);
        let _ = out.split_to(length);
    }
    assert_eq!(came, bytes);
    let said = &bytes[..bytes.len().min(125)];
    pong(said, mask, &mut out);
    assert_eq!(shown(&out), (said.to_vec(), out.len()));
});
