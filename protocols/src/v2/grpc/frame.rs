//! A message in its frame: a byte that says whether it is compressed, its length in four bytes, and itself.
//!
//! Source: <https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md>.

use bytes::Bytes;

use super::wire::write_varint;
use crate::Error;

/// The bytes before a message.
pub const PREFIX: usize = 5;

/// Room for the prefix, and before it for the tag and the length of the one field that a message can be wrapped in.
const ROOM: usize = PREFIX + 6;

/// A message that is being written, with room in front for what tells its length.
pub(super) struct Draft {
    pub(super) bytes: Vec<u8>,
    start: usize,
}

impl Draft {
    pub(super) fn with_capacity(capacity: usize) -> Self {
        let mut bytes = Vec::with_capacity(ROOM.saturating_add(capacity));
        bytes.resize(ROOM, 0);
        Self { bytes, start: ROOM }
    }

    /// Makes the message the only field of another one.
    pub(super) fn wrap(mut self, field: u32) -> Self {
        let mut head = Vec::with_capacity(ROOM);
        write_varint(&mut head, u64::from(field << 3 | 2));
        write_varint(&mut head, (self.bytes.len() - self.start) as u64);
        let start = self.start.saturating_sub(head.len());
        // A length that has no room is one that the frame refuses.
        if let Some(room) = self.bytes.get_mut(start..self.start).filter(|room| room.len() == head.len()) {
            room.copy_from_slice(&head);
        }
        self.start = start;
        self
    }

    /// The message in its frame. Fails when it is longer than a frame can say.
    pub(super) fn finish(mut self) -> Result<Bytes, Error> {
        let length = self.bytes.len() - self.start;
        let prefix = prefix(false, length)?;
        let start = self.start.saturating_sub(PREFIX);
        if let Some(room) = self.bytes.get_mut(start..self.start) {
            room.copy_from_slice(&prefix);
        }
        Ok(Bytes::from(self.bytes).slice(start..))
    }
}

/// What stands before a message of `length` bytes. Fails when that is more than four bytes can say.
pub fn prefix(compressed: bool, length: usize) -> Result<[u8; PREFIX], Error> {
    let too_long = |_| Error::unexpected("response", "a message of at most 4294967295 bytes", length.to_string());
    let [a, b, c, d] = u32::try_from(length).map_err(too_long)?.to_be_bytes();
    Ok([u8::from(compressed), a, b, c, d])
}

/// Puts a message into its frame.
pub(super) fn frame(message: &impl prost::Message) -> Bytes {
    let length = message.encoded_len();
    let mut bytes = Vec::with_capacity(PREFIX + length);
    // None of these messages comes near that length.
    bytes.extend_from_slice(&prefix(false, length).unwrap_or_default());
    // A vector grows: this cannot fail.
    let _ = message.encode(&mut bytes);
    bytes.into()
}
