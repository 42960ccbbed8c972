//! A body that comes in chunks, because its client did not know how long it would be.
//!
//! Source: RFC 9112, section 7.1.

use bytes::{Buf, BytesMut};

/// The longest line that tells the size of a chunk, of whose extensions nobody knows anything.
const LONGEST: usize = 256;

/// The longest line of trailers, which nobody asks for.
const TRAILER: usize = 4 << 10;

/// Tells data from what stands around it.
#[derive(Debug)]
pub(super) struct Chunks {
    at: At,
    /// The most bytes that all trailers may have.
    trailers: usize,
}

/// What comes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    Size,
    /// So much data.
    Data(u64),
    /// The end of a chunk's line.
    Gap,
    Trailers,
    End,
}

/// It is not in chunks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Malformed;

impl Chunks {
    pub(super) const fn new(trailers: usize) -> Self {
        Self { at: At::Size, trailers }
    }

    /// Whether all of the body has come.
    pub(super) fn have_ended(&self) -> bool {
        self.at == At::End
    }

    /// How many bytes of data `input` begins with, after what stands before them was taken; 0 where more has to come, or
    /// nothing follows.
    pub(super) fn data(&mut self, input: &mut BytesMut) -> Result<usize, Malformed> {
        loop {
            let longest = match self.at {
                At::Data(0) => {
                    self.at = At::Gap;
                    continue;
                }
                At::Data(size) => return Ok(usize::try_from(size).unwrap_or(usize::MAX).min(input.len())),
                At::End => return Ok(0),
                At::Size => LONGEST,
                At::Gap => 2,
                At::Trailers => self.trailers.clamp(2, TRAILER),
            };
            let Some(line) = line(input, longest)? else { return Ok(0) };
            self.at = match self.at {
                At::Size => match size(line)? {
                    0 => At::Trailers,
                    size => At::Data(size),
                },
                At::Trailers if !line.is_empty() => {
                    self.trailers = self.trailers.checked_sub(line.len()).ok_or(Malformed)?;
                    At::Trailers
                }
                At::Trailers => At::End,
                _ if line.is_empty() => At::Size,
                _ => return Err(Malformed),
            };
            let taken = line.len() + 2;
            input.advance(taken);
        }
    }

    /// Notes that so much of the data was taken.
    pub(super) fn took(&mut self, bytes: usize) {
        if let At::Data(size) = &mut self.at {
            *size = size.saturating_sub(bytes as u64);
        }
    }
}

/// The line that `input` begins with, without its end; `None` where that has not come. A line feed alone ends none, which
/// others may not see as an end (RFC 9112, section 2.2, lets one do that).
fn line(input: &[u8], longest: usize) -> Result<Option<&[u8]>, Malformed> {
    let Some(end) = input.iter().take(longest).position(|byte| *byte == b'\n') else {
        return if input.len() >= longest { Err(Malformed) } else { Ok(None) };
    };
    let line = input.get(..end).and_then(|line| line.strip_suffix(b"\r"));
    line.map(Some).ok_or(Malformed)
}

/// The size of a chunk, behind which its extensions may stand.
fn size(line: &[u8]) -> Result<u64, Malformed> {
    let size = line.split(|byte| *byte == b';').next().unwrap_or_default();
    let end = size.iter().rposition(|byte| !matches!(byte, b' ' | b'\t')).map_or(0, |last| last + 1);
    let digits = size.get(..end).unwrap_or_default();
    if line.contains(&b'\r') || digits.is_empty() || digits.len() > 16 || !digits.iter().all(u8::is_ascii_hexdigit) {
        return Err(Malformed);
    }
    let digits = str::from_utf8(digits).map_err(|_| Malformed)?;
    u64::from_str_radix(digits, 16).map_err(|_| Malformed)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What of a body comes out where its bytes come in such pieces, and what is left behind it.
    fn read(body: &str, piece: usize) -> Result<(String, bool, String), Malformed> {
        let (mut chunks, mut input, mut found) = (Chunks::new(40), BytesMut::new(), Vec::new());
        for piece in body.as_bytes().chunks(piece) {
            input.extend_from_slice(piece);
            loop {
                let count = chunks.data(&mut input)?;
                if count == 0 {
                    break;
                }
                found.extend(input.split_to(count));
                chunks.took(count);
            }
        }
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        Ok((text(&found), chunks.have_ended(), text(&input)))
    }

    #[test]
    fn chunks_are_put_together_however_they_are_cut() {
        for (body, data, rest) in [
            ("4\r\nWiki\r\n5\r\npedia\r\n0\r\n\r\nGET", "Wikipedia", "GET"),
            ("0\r\n\r\n", "", ""),
            ("a;name=value;\"x\"\r\n0123456789\r\n000 \r\n\r\n", "0123456789", ""),
            ("1\r\nx\r\n0\r\nTrailer: 1\r\nOther: 2\r\n\r\nrest", "x", "rest"),
        ] {
            for piece in [1, 2, 3, 100] {
                let found = read(body, piece).unwrap();
                assert!(found.0 == data && found.1 && rest.starts_with(&found.2), "{body:?} by {piece}: {found:?}");
            }
        }
        assert_eq!(read("5\r\nab", 1), Ok(("ab".into(), false, String::new())));
        assert_eq!(read("2\r\nab\r\n", 1), Ok(("ab".into(), false, String::new())));
    }

    #[test]
    fn what_is_no_chunk_is_refused() {
        let long = format!("1;{}", "x".repeat(LONGEST));
        let trailers = format!("0\r\n{}\r\n", "a: 1\r\n".repeat(11));
        for body in [
            "x\r\n",
            "\r\n",
            "-1\r\n",
            "+1\r\n",
            "0x1\r\n",
            " 1\r\nx\r\n",
            "1\nx\r\n",
            "1\r\nxy\r\n",
            "1\r\nx\n0\r\n\r\n",
            "1 2\r\n",
            "11111111111111111\r\n",
            ";a\r\n",
            "1\r\r\nx\r\n",
            "1\r;\r\n",
            "5\x0c\r\n",
            &long,
            &trailers,
        ] {
            for piece in [1, 1000] {
                assert_eq!(read(body, piece), Err(Malformed), "{body:?}");
            }
        }
    }
}
