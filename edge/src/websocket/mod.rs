//! MQTT within WebSocket, for networks that let nothing through but the port of the web.
//!
//! Source: RFC 6455; MQTT 3.1.1, section 6.

pub mod frames;

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::{Buf, BytesMut};
use ring::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};

use self::frames::{Frames, Piece};

/// The most bytes of the server's answer to the wish to speak WebSocket.
const LARGEST_HEAD: usize = 8 << 10;

/// The most bytes that may wait to be sent: a server that asks for more pongs reads none.
const MOST_OUTPUT: usize = 64 << 10;

/// What both sides add to the key (RFC 6455, section 1.3).
const GUID: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// A stream within WebSocket.
#[derive(Debug)]
pub struct WebSocket<S> {
    stream: S,
    frames: Frames,
    /// What came and was not read as frames.
    input: BytesMut,
    /// The bytes of the stream that were not taken.
    data: bytes::Bytes,
    /// Frames that wait to be sent.
    output: BytesMut,
    closing: bool,
}

impl<S: AsyncRead + AsyncWrite + Unpin> WebSocket<S> {
    /// Asks the server at `host` to speak MQTT within WebSocket, by `path`.
    pub async fn open(mut stream: S, host: &str, path: &str) -> io::Result<Self> {
        let key = BASE64_STANDARD.encode(fastrand::u128(..).to_le_bytes());
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: mqtt\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).await?;
        stream.flush().await?;
        let mut input = BytesMut::new();
        let end = loop {
            if let Some(at) = input.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
                break at + 4;
            }
            if input.len() > LARGEST_HEAD || stream.read_buf(&mut input).await? == 0 {
                return Err(io::Error::other("the server did not answer the wish to speak WebSocket"));
            }
        };
        let head = input.split_to(end);
        check(&head, &key).map_err(io::Error::other)?;
        let (data, output) = (bytes::Bytes::new(), BytesMut::new());
        Ok(Self { stream, frames: Frames::default(), input, data, output, closing: false })
    }

    /// Sends what waits, as far as the other side takes it.
    fn poll_drain(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.output.is_empty() {
            match ready!(Pin::new(&mut self.stream).poll_write(context, &self.output))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                written => self.output.advance(written),
            }
        }
        Poll::Ready(Ok(()))
    }
}

/// Fails where the server's answer is not that it speaks MQTT within WebSocket from here on.
fn check(head: &[u8], key: &str) -> Result<(), String> {
    let head = std::str::from_utf8(head).map_err(|_| "the answer to the wish to speak WebSocket is no text")?;
    let mut lines = head.split("\r\n");
    let status = lines.next().and_then(|line| line.strip_prefix("HTTP/1.1 ")?.split(' ').next()).unwrap_or("none");
    if status != "101" {
        let status: String = status.chars().take(20).collect();
        return Err(format!("the wish to speak WebSocket: expected status 101, found {status}"));
    }
    let fields: Vec<_> = lines.filter_map(|line| line.split_once(':')).collect();
    let field = |name: &str| {
        fields.iter().find(|(found, _)| found.eq_ignore_ascii_case(name)).map_or("", |(_, value)| value.trim())
    };
    let accepted = BASE64_STANDARD.encode(digest(&SHA1_FOR_LEGACY_USE_ONLY, format!("{key}{GUID}").as_bytes()));
    if !field("upgrade").eq_ignore_ascii_case("websocket") || field("sec-websocket-accept") != accepted {
        return Err("the server answered the wish to speak WebSocket with something else".into());
    }
    if field("sec-websocket-protocol") != "mqtt" {
        return Err("the server does not speak MQTT within WebSocket".into());
    }
    Ok(())
}

fn mask() -> [u8; 4] {
    fastrand::u32(..).to_le_bytes()
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for WebSocket<S> {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, out: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        loop {
            if !this.data.is_empty() {
                let taken = this.data.split_to(this.data.len().min(out.remaining()));
                out.put_slice(&taken);
                return Poll::Ready(Ok(()));
            }
            match this.frames.next(&mut this.input).map_err(io::Error::other)? {
                Some(Piece::Data(data)) => {
                    this.data = data;
                    continue;
                }
                Some(Piece::Ping(said)) => {
                    if this.output.len() > MOST_OUTPUT {
                        return Poll::Ready(Err(io::Error::other("the server asks for pongs and reads none")));
                    }
                    frames::pong(&said, mask(), &mut this.output);
                    continue;
                }
                Some(Piece::Close) => return Poll::Ready(Ok(())),
                None => (),
            }
            // Pongs go out whoever writes next; if they cannot yet, this is woken when they can.
            if let Poll::Ready(drained) = this.poll_drain(context) {
                drained?;
                if let Poll::Ready(flushed) = Pin::new(&mut this.stream).poll_flush(context) {
                    flushed?;
                }
            }
            let mut bytes = [0; 4096];
            let mut read = ReadBuf::new(&mut bytes);
            ready!(Pin::new(&mut this.stream).poll_read(context, &mut read))?;
            if read.filled().is_empty() {
                return Poll::Ready(Ok(()));
            }
            this.input.extend_from_slice(read.filled());
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for WebSocket<S> {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        ready!(this.poll_drain(context))?;
        let taken = frames::data(bytes, mask(), &mut this.output);
        // What is not taken now goes out before the next frame, or with a flush.
        if let Poll::Ready(drained) = this.poll_drain(context) {
            drained?;
        }
        Poll::Ready(Ok(taken))
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.poll_drain(context))?;
        Pin::new(&mut this.stream).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if !this.closing {
            this.closing = true;
            frames::close(mask(), &mut this.output);
        }
        ready!(this.poll_drain(context))?;
        Pin::new(&mut this.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::duplex;

    use super::*;

    /// RFC 6455, section 1.3: this key is accepted with that.
    #[test]
    fn an_answer_is_right_in_every_part_or_refused() {
        let key = "dGhlIHNhbXBsZSBub25jZQ==";
        let right = "HTTP/1.1 101 Switching Protocols\r\nupgrade: WebSocket\r\nConnection: Upgrade\r\n\
                     Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\nSec-WebSocket-Protocol: mqtt\r\n\r\n";
        assert_eq!(check(right.as_bytes(), key), Ok(()));
        for (from, to) in
            [("101", "200"), ("WebSocket\r", "h2c\r"), ("s3p", "S3p"), ("mqtt", "soap"), ("HTTP/1.1", "RTSP")]
        {
            assert!(check(right.replace(from, to).as_bytes(), key).is_err(), "{from}");
        }
    }

    #[tokio::test]
    async fn a_stream_goes_both_ways_and_pings_are_answered() {
        let (near, mut far) = duplex(64);
        let serving = tokio::spawn(async move {
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                head.push(far.read_u8().await.unwrap());
            }
            let head = String::from_utf8(head).unwrap();
            assert!(head.starts_with("GET /$iothub/websocket HTTP/1.1\r\nHost: gateway\r\n"), "{head}");
            let (_, rest) = head.split_once("Sec-WebSocket-Key: ").unwrap();
            let (key, _) = rest.split_once("\r\n").unwrap();
            let accepted = BASE64_STANDARD.encode(digest(&SHA1_FOR_LEGACY_USE_ONLY, format!("{key}{GUID}").as_bytes()));
            let answer = format!(
                "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                 Sec-WebSocket-Accept: {accepted}\r\nSec-WebSocket-Protocol: mqtt\r\n\r\n"
            );
            // With the first frames behind it.
            far.write_all(&[answer.as_bytes(), b"\x89\x02hi\x02\x02ab"].concat()).await.unwrap();
            let mut frame = [0; 8];
            far.read_exact(&mut frame).await.unwrap();
            assert_eq!(frame[..2], [0x8a, 0x82]);
            assert_eq!([frame[6] ^ frame[2], frame[7] ^ frame[3]], *b"hi");
            far.write_all(b"\x80\x01c\x88\0").await.unwrap();
            let mut sent = Vec::new();
            while let Ok(byte) = far.read_u8().await {
                sent.push(byte);
            }
            sent
        });
        let mut stream = WebSocket::open(near, "gateway", "/$iothub/websocket").await.unwrap();
        let mut found = Vec::new();
        stream.read_to_end(&mut found).await.unwrap();
        assert_eq!(found, b"abc");
        stream.write_all(&[7; 40_000]).await.unwrap();
        stream.shutdown().await.unwrap();
        drop(stream);
        let sent = serving.await.unwrap();
        // Three frames of data and the end, each with its head and its mask.
        assert_eq!(sent.len(), 40_000 + 3 * 8 + 8);
        assert_eq!(sent[..4], [0x82, 0xfe, 0x40, 0]);
    }
}
