//! Messages that are too large to be taken: what they are is read, what they say is not kept.

use super::packet::Malformed;
use super::reading::Reader;

/// The type of PUBLISH, in the upper half of a packet's first byte.
const PUBLISH: u8 = 3;

/// A message whose packet is larger than what is taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Oversized {
    /// Where it was sent to.
    pub(super) topic: String,
    /// The id under which it is acknowledged, with QoS 1.
    pub(super) id: Option<u16>,
    /// The bytes of the packet.
    pub(super) size: usize,
}

/// Whether the packet that `bytes` begin with is a message.
pub(super) fn is_message(bytes: &[u8]) -> bool {
    bytes.first().is_some_and(|first| first >> 4 == PUBLISH)
}

/// Reads the start of a message in a packet of `size` bytes. `None`: more of it has to come.
pub(super) fn read(bytes: &[u8], size: usize) -> Result<Option<Oversized>, Malformed> {
    let Some((first, rest)) = bytes.split_first() else { return Ok(None) };
    // The length of the packet, which is known.
    let Some(end) = rest.iter().position(|byte| byte & 0x80 == 0) else { return Ok(None) };
    let head = rest.get(end + 1..).unwrap_or_default();
    let Some((length, _)) = head.split_first_chunk::<2>() else { return Ok(None) };
    if head.len() < 2 + usize::from(u16::from_be_bytes(*length)) + 2 {
        return Ok(None);
    }
    let mut reader = Reader::new(PUBLISH, head);
    let topic = reader.text()?;
    let id = match first >> 1 & 3 {
        0 => None,
        1 => Some(reader.id()?),
        _ => return Err(Malformed::Flags(PUBLISH, first & 0x0f)),
    };
    Ok(Some(Oversized { topic, id, size }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_start_of_a_message_is_enough() {
        let start = b"\x32\x80\x80\x80\x01\0\x03a/b\0\x07";
        for cut in 0..start.len() {
            assert_eq!(read(&start[..cut], 9), Ok(None), "{cut}");
        }
        let message = Oversized { topic: "a/b".into(), id: Some(7), size: 9 };
        assert_eq!(read(start, 9), Ok(Some(message)));
        let message = Oversized { topic: "a/b".into(), id: None, size: 9 };
        assert_eq!(read(b"\x30\x80\x80\x80\x01\0\x03a/bxx", 9), Ok(Some(message)));
        assert!(is_message(start) && !is_message(b"\x40") && !is_message(b""));
        assert_eq!(read(b"\x34\x80\x01\0\x03a/bxx", 9), Err(Malformed::Flags(3, 4)));
    }
}
