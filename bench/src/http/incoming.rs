//! Reads one answer of HTTP/1.1 at a time, as its bytes come.

/// More headers than this no server of models sends.
const MOST_HEADERS: usize = 64;
/// A head longer than this is none.
const LONGEST_HEAD: usize = 64 << 10;
/// No answer is larger than this.
const LARGEST_BODY: usize = 1 << 30;

/// An answer that is coming. After one is complete, [`Incoming::clear`] makes it ready for the next.
#[derive(Debug, Default)]
pub(crate) struct Incoming {
    /// Everything of this answer so far; the body of a chunked one is moved together as its chunks come.
    buffer: Vec<u8>,
    stage: Stage,
    head: Head,
}

#[derive(Clone, Copy, Debug, Default)]
enum Stage {
    #[default]
    Head,
    /// The body ends where the buffer has so many bytes.
    Until(usize),
    /// The body goes on to `end`; what stands behind it in the buffer are chunks still to be taken apart.
    Chunks {
        end: usize,
    },
    UntilClose,
    Complete {
        end: usize,
    },
}

/// What the head of an answer says.
#[derive(Clone, Copy, Debug, Default)]
struct Head {
    status: u16,
    /// Where the body begins.
    body: usize,
    keep_alive: bool,
    json_length: Option<usize>,
}

impl Incoming {
    /// Takes more bytes and says whether the answer is complete. An error says what is no HTTP/1.1.
    pub(crate) fn push(&mut self, bytes: &[u8]) -> Result<bool, String> {
        self.buffer.extend_from_slice(bytes);
        loop {
            match self.stage {
                Stage::Head => {
                    if !self.read_head()? {
                        return Ok(false);
                    }
                }
                Stage::Until(end) if self.buffer.len() >= end => self.stage = Stage::Complete { end },
                Stage::Chunks { end } => {
                    if !self.take_chunk(end)? {
                        return Ok(false);
                    }
                }
                Stage::Until(_) | Stage::UntilClose => return Ok(false),
                Stage::Complete { .. } => return Ok(true),
            }
        }
    }

    /// Says that the connection has ended, and whether that completes the answer.
    pub(crate) fn close(&mut self) -> bool {
        if matches!(self.stage, Stage::UntilClose) {
            self.stage = Stage::Complete { end: self.buffer.len() };
        }
        matches!(self.stage, Stage::Complete { .. })
    }

    /// Whether not one byte has come.
    pub(crate) const fn is_empty(&self) -> bool {
        self.buffer.is_empty()
    }

    pub(crate) const fn status(&self) -> u16 {
        self.head.status
    }

    /// The bytes of the body that are JSON, where the answer says it: tensors in binary follow.
    pub(crate) const fn json_length(&self) -> Option<usize> {
        self.head.json_length
    }

    /// Whether the connection can take another request.
    pub(crate) const fn keep_alive(&self) -> bool {
        self.head.keep_alive
    }

    /// The body of a complete answer.
    pub(crate) fn body(&self) -> &[u8] {
        let end = if let Stage::Complete { end } = self.stage { end } else { self.head.body };
        self.buffer.get(self.head.body..end).unwrap_or_default()
    }

    pub(crate) fn clear(&mut self) {
        self.buffer.clear();
        self.stage = Stage::Head;
        self.head = Head::default();
    }

    fn read_head(&mut self) -> Result<bool, String> {
        let mut headers = [httparse::EMPTY_HEADER; MOST_HEADERS];
        let mut response = httparse::Response::new(&mut headers);
        let parsed = response.parse(&self.buffer).map_err(|error| format!("no HTTP/1.1: {error}"))?;
        let httparse::Status::Complete(body) = parsed else {
            let endless = self.buffer.len() > LONGEST_HEAD;
            return if endless { Err("no HTTP/1.1: a head without end".into()) } else { Ok(false) };
        };
        let status = response.code.unwrap_or(0);
        let mut head = Head { status, body, keep_alive: response.version == Some(1), json_length: None };
        let (mut length, mut chunked) = (None, false);
        for header in response.headers.iter() {
            let value = std::str::from_utf8(header.value).unwrap_or_default().trim();
            let number = || value.parse::<usize>().ok().filter(|size| *size <= LARGEST_BODY);
            if header.name.eq_ignore_ascii_case("content-length") {
                length = Some(number().ok_or_else(|| format!("a content length of `{value}`"))?);
            } else if header.name.eq_ignore_ascii_case("transfer-encoding") {
                chunked = value.to_ascii_lowercase().ends_with("chunked");
            } else if header.name.eq_ignore_ascii_case("connection") {
                head.keep_alive &= !value.eq_ignore_ascii_case("close");
            } else if header.name.eq_ignore_ascii_case("inference-header-content-length") {
                head.json_length = number();
            }
        }
        if (100..200).contains(&status) {
            self.buffer.drain(..body);
            return Ok(!self.buffer.is_empty());
        }
        self.stage = match length {
            _ if chunked => Stage::Chunks { end: body },
            _ if matches!(status, 204 | 304) => Stage::Until(body),
            Some(length) => Stage::Until(body + length),
            None => Stage::UntilClose,
        };
        head.keep_alive &= !matches!(self.stage, Stage::UntilClose);
        self.head = head;
        Ok(true)
    }

    /// Moves the next chunk to the body's end, if it is there whole; the last one completes the answer.
    fn take_chunk(&mut self, end: usize) -> Result<bool, String> {
        let coming = self.buffer.get(end..).unwrap_or_default();
        let parsed = httparse::parse_chunk_size(coming).map_err(|_| "a chunk without a size".to_owned())?;
        let httparse::Status::Complete((head, size)) = parsed else { return Ok(false) };
        let size = usize::try_from(size).ok().filter(|size| *size <= LARGEST_BODY).ok_or("a chunk too large")?;
        if size == 0 {
            // Trailers may follow; an empty line ends them.
            let rest = coming.get(head..).unwrap_or_default();
            let ended = rest.starts_with(b"\r\n") || rest.windows(4).any(|four| four == b"\r\n\r\n");
            if ended {
                self.buffer.truncate(end);
                self.stage = Stage::Complete { end };
            }
            return Ok(ended);
        }
        // The chunk ends with a line break of its own.
        if coming.len() < head + size + 2 {
            return Ok(false);
        }
        self.buffer.drain(end + size + head..end + size + head + 2);
        self.buffer.drain(end..end + head);
        self.stage = Stage::Chunks { end: end + size };
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Every way of cutting `bytes` in three gives the same answer.
    fn read(bytes: &[u8]) -> (u16, bool, Vec<u8>) {
        let mut found = None;
        for first in 0..=bytes.len() {
            let second = first + (bytes.len() - first) / 2;
            let mut incoming = Incoming::default();
            let mut complete = false;
            for part in [&bytes[..first], &bytes[first..second], &bytes[second..]] {
                assert!(!complete || part.is_empty(), "complete before its end");
                complete = incoming.push(part).unwrap();
            }
            assert!(complete || incoming.close());
            let this = (incoming.status(), incoming.keep_alive(), incoming.body().to_vec());
            assert_eq!(*found.get_or_insert(this.clone()), this, "cut at {first} and {second}");
        }
        found.unwrap()
    }

    #[test]
    fn a_body_has_the_length_that_its_head_says() {
        let answer = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 5\r\n\r\n{\"a\"}";
        assert_eq!(read(answer), (200, true, b"{\"a\"}".to_vec()));
        assert_eq!(read(b"HTTP/1.1 503 Busy\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"), (503, false, vec![]));
    }

    #[test]
    fn chunks_are_put_together_and_trailers_left_out() {
        let answer =
            b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\nA;x=y\r\n0123456789\r\n0\r\n\r\n";
        assert_eq!(read(answer), (200, true, b"abc0123456789".to_vec()));
        let trailed = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\na\r\n0\r\nsum: 1\r\n\r\n";
        assert_eq!(read(trailed), (200, true, b"a".to_vec()));
    }

    #[test]
    fn without_a_length_the_end_of_the_connection_ends_the_body() {
        assert_eq!(read(b"HTTP/1.1 400 Bad\r\n\r\nwrong"), (400, false, b"wrong".to_vec()));
    }

    #[test]
    fn an_interim_answer_is_passed_over() {
        let answer = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\nx";
        assert_eq!(read(answer), (200, true, b"x".to_vec()));
    }

    #[test]
    fn where_the_json_of_an_answer_ends_is_read() {
        let mut incoming = Incoming::default();
        let answer = b"HTTP/1.1 200 OK\r\nInference-Header-Content-Length: 2\r\ncontent-length: 6\r\n\r\n{}\0\0\0\0";
        assert_eq!(incoming.push(answer), Ok(true));
        assert_eq!(incoming.json_length(), Some(2));
        incoming.clear();
        assert!(incoming.is_empty());
    }

    #[test]
    fn what_is_no_http_is_an_error() {
        assert!(Incoming::default().push(b"SSH-2.0-OpenSSH\r\n").is_err());
        let length = b"HTTP/1.1 200 OK\r\ncontent-length: -3\r\n\r\n";
        assert!(Incoming::default().push(length).unwrap_err().contains("-3"));
        let chunk = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nxyz\r\n";
        assert!(Incoming::default().push(chunk).is_err());
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let mut incoming = Incoming::default();
            let _ = incoming.push(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n");
            let _ = incoming.push(&bytes);
            incoming.close();
            let _ = incoming.body();
        }
    }
}
