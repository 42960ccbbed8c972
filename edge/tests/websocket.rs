//! The server's side of WebSocket, as little of it as the hub's emulator needs. It cuts what it says into frames, with pings
//! between.

use std::io::{self, Read, Write};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use ring::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};

/// Bytes both ways.
pub(crate) trait Duplex: Read + Write {}

impl<S: Read + Write> Duplex for S {}

/// A stream that may wait for a while.
fn patiently<T>(mut step: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    loop {
        match step() {
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => (),
            done => return done,
        }
    }
}

/// Returns the stream within WebSocket, where the client wishes that, and what else it said first.
pub(crate) fn accept(mut stream: impl Duplex + 'static) -> io::Result<(Box<dyn Duplex>, Vec<u8>)> {
    let mut head = Vec::new();
    let mut byte = [0];
    loop {
        if patiently(|| stream.read(&mut byte))? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        head.push(byte[0]);
        if head[0] != b'G' {
            return Ok((Box::new(stream), head));
        }
        if head.ends_with(b"\r\n\r\n") {
            break;
        }
    }
    let head = String::from_utf8(head).unwrap();
    assert!(head.starts_with("GET /$iothub/websocket HTTP/1.1\r\n"), "{head}");
    let field = |name: &str| {
        let mut fields = head.lines().filter_map(|line| line.split_once(':'));
        fields.find(|(found, _)| found.eq_ignore_ascii_case(name)).map_or("", |(_, value)| value.trim()).to_owned()
    };
    assert_eq!(field("upgrade").to_lowercase(), "websocket");
    assert_eq!((field("sec-websocket-protocol").as_str(), field("sec-websocket-version").as_str()), ("mqtt", "13"));
    let text = field("sec-websocket-key") + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
    let accepted = BASE64_STANDARD.encode(digest(&SHA1_FOR_LEGACY_USE_ONLY, text.as_bytes()));
    write!(
        stream,
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: {accepted}\r\nSec-WebSocket-Protocol: mqtt\r\n\r\n"
    )?;
    Ok((Box::new(Framed { stream, input: Vec::new(), data: Vec::new() }), Vec::new()))
}

struct Framed<S> {
    stream: S,
    input: Vec<u8>,
    data: Vec<u8>,
}

impl<S> Framed<S> {
    /// Takes a whole frame out of what came: what kind it is, and what it says.
    fn frame(&mut self) -> Option<(u8, Vec<u8>)> {
        let [first, second, ..] = *self.input.first_chunk::<2>()?;
        let hidden = second & 0x80 != 0;
        // The client for Python does not hide its pongs.
        assert!(hidden || first == 0x8a, "clients hide what they say");
        let (length, at) = match second & 0x7f {
            126 => (usize::from(u16::from_be_bytes(*self.input.get(2..)?.first_chunk()?)), 4),
            127 => panic!("a frame is larger than it has to be"),
            short => (usize::from(short), 2),
        };
        let size = if hidden { 4 } else { 0 };
        let mask = if hidden { self.input.get(at..at + 4)?.to_vec() } else { vec![0] };
        let at = at + size;
        let said = self.input.get(at..at + length)?;
        let said = said.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask).collect();
        self.input.drain(..at + length);
        Some((first & 0x0f, said))
    }
}

impl<S: Read> Read for Framed<S> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        while self.data.is_empty() {
            match self.frame() {
                Some((0 | 2, said)) => self.data.extend(said),
                Some((8, _)) => return Ok(0),
                Some((10, said)) => assert_eq!(said, b"there?"),
                Some((kind, _)) => panic!("a frame of kind {kind}"),
                None => {
                    let mut bytes = [0; 4096];
                    match self.stream.read(&mut bytes)? {
                        0 => return Ok(0),
                        read => self.input.extend_from_slice(&bytes[..read]),
                    }
                }
            }
        }
        let taken = out.len().min(self.data.len());
        out[..taken].copy_from_slice(&self.data[..taken]);
        self.data.drain(..taken);
        Ok(taken)
    }
}

impl<S: Write> Write for Framed<S> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let (start, rest) = bytes.split_at(bytes.len() / 2);
        let mut frames = Vec::new();
        for (first, said) in [(0x02, start), (0x89, &b"there?"[..]), (0x80, rest)] {
            frames.push(first);
            match said.len() {
                length @ 0..126 => frames.push(u8::try_from(length).unwrap()),
                length => {
                    frames.push(126);
                    frames.extend(u16::try_from(length).unwrap().to_be_bytes());
                }
            }
            frames.extend_from_slice(said);
        }
        self.stream.write_all(&frames)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.stream.flush()
    }
}
