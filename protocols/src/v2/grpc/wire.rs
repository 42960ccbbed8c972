//! Protocol buffers on the wire, read where they lie and written without knowing their length before.
//!
//! The messages that tensors come and go in are read and written here by hand: a reader that knows the signature takes
//! no more memory than the model's inputs need, whatever the message claims, and copies each tensor once, or, where a large
//! one is a quarter or more of the message that brought it, not at all.
//!
//! Source: <https://protobuf.dev/programming-guides/encoding/>.

use crate::Error;

/// The fields of one message, in the order in which they stand.
#[derive(Clone, Debug)]
pub(super) struct Fields<'a>(&'a [u8]);

/// What a field holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Value<'a> {
    /// Whole numbers, booleans and enumerations.
    Varint(u64),
    /// `double` and the fixed numbers of eight bytes.
    Fixed64([u8; 8]),
    /// `float` and the fixed numbers of four bytes.
    Fixed32([u8; 4]),
    /// Texts, bytes, messages and packed lists.
    Bytes(&'a [u8]),
}

/// Why bytes are no message.
pub(super) fn broken(reason: &str) -> Error {
    Error::Protobuf { reason: reason.to_string() }
}

impl<'a> Fields<'a> {
    pub(super) const fn new(message: &'a [u8]) -> Self {
        Self(message)
    }

    /// The next field's number and value; `None` at the end of the message.
    pub(super) fn next(&mut self) -> Result<Option<(u32, Value<'a>)>, Error> {
        if self.0.is_empty() {
            return Ok(None);
        }
        let tag = u32::try_from(self.varint()?).map_err(|_| broken("a field's number is too large"))?;
        let value = match tag & 7 {
            0 => Value::Varint(self.varint()?),
            1 => Value::Fixed64(self.array()?),
            2 => Value::Bytes(self.bytes()?),
            5 => Value::Fixed32(self.array()?),
            _ => return Err(broken("a field is of no type that is known")),
        };
        if tag >> 3 == 0 { Err(broken("a field has the number 0")) } else { Ok(Some((tag >> 3, value))) }
    }

    /// The number of the next field, without taking it; `None` where none can be read.
    pub(super) fn next_number(&self) -> Option<u64> {
        Some(self.clone().varint().ok()? >> 3)
    }

    /// How many bytes follow.
    pub(super) const fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether nothing follows.
    pub(super) const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// A number of as many bytes as it needs, seven bits in each.
    #[inline]
    pub(super) fn varint(&mut self) -> Result<u64, Error> {
        match self.0 {
            // Most are as small as that.
            [byte @ ..0x80, rest @ ..] => {
                self.0 = rest;
                Ok((*byte).into())
            }
            _ => self.long_varint(),
        }
    }

    fn long_varint(&mut self) -> Result<u64, Error> {
        let mut number = 0_u64;
        for (at, &byte) in self.0.iter().take(10).enumerate() {
            let bits = u64::from(byte & 0x7F);
            // Of the tenth byte one bit is left.
            if at == 9 && bits > 1 {
                return Err(broken("a number is longer than 64 bits"));
            }
            number |= bits << (7 * at);
            if byte < 0x80 {
                self.0 = self.0.get(at + 1..).unwrap_or_default();
                return Ok(number);
            }
        }
        Err(broken(if self.0.len() < 10 { "it ends within a number" } else { "a number is longer than 64 bits" }))
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Error> {
        let (array, rest) = self.0.split_first_chunk().ok_or_else(|| broken("it ends within a number"))?;
        self.0 = rest;
        Ok(*array)
    }

    fn bytes(&mut self) -> Result<&'a [u8], Error> {
        let length = usize::try_from(self.varint()?).unwrap_or(usize::MAX);
        let (bytes, rest) = self.0.split_at_checked(length).ok_or_else(|| broken("it ends within a field"))?;
        self.0 = rest;
        Ok(bytes)
    }
}

impl<'a> Value<'a> {
    /// The bytes of a text, of bytes, of a message or of a packed list.
    pub(super) fn bytes(self) -> Result<&'a [u8], Error> {
        if let Self::Bytes(bytes) = self { Ok(bytes) } else { Err(broken("a field is of another type")) }
    }

    /// A text.
    pub(super) fn text(self) -> Result<&'a str, Error> {
        str::from_utf8(self.bytes()?).map_err(|_| broken("a text is not UTF-8"))
    }

    /// A whole number.
    pub(super) fn varint(self) -> Result<u64, Error> {
        if let Self::Varint(number) = self { Ok(number) } else { Err(broken("a field is of another type")) }
    }

    /// A signed number, which goes as its two's complement.
    pub(super) fn signed(self) -> Result<i64, Error> {
        Ok(self.varint()?.cast_signed())
    }
}

/// Writes a number of as many bytes as it needs.
pub(super) fn write_varint(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number.to_le_bytes()[0] | 0x80);
        number >>= 7;
    }
    out.push(number.to_le_bytes()[0]);
}

/// Begins a field of `length` bytes.
pub(super) fn begin_bytes(out: &mut Vec<u8>, field: u32, length: usize) {
    write_varint(out, u64::from(field << 3 | 2));
    write_varint(out, length as u64);
}

/// Writes bytes, a text, or a message that is written already.
pub(super) fn write_bytes(out: &mut Vec<u8>, field: u32, bytes: &[u8]) {
    begin_bytes(out, field, bytes.len());
    out.extend_from_slice(bytes);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_read() {
        let mut message = Vec::new();
        write_bytes(&mut message, 1, b"abc");
        for number in [0, 1, 127, 128, 300, u64::MAX] {
            write_varint(&mut message, 2 << 3);
            write_varint(&mut message, number);
        }
        message.extend_from_slice(&[0x1D, 1, 2, 3, 4, 0x21, 1, 2, 3, 4, 5, 6, 7, 8]);
        let mut fields = Fields::new(&message);
        assert_eq!(fields.next().unwrap(), Some((1, Value::Bytes(b"abc"))));
        for number in [0, 1, 127, 128, 300, u64::MAX] {
            assert_eq!(fields.next().unwrap(), Some((2, Value::Varint(number))));
        }
        assert_eq!(fields.next().unwrap(), Some((3, Value::Fixed32([1, 2, 3, 4]))));
        assert_eq!(fields.next().unwrap(), Some((4, Value::Fixed64([1, 2, 3, 4, 5, 6, 7, 8]))));
        assert_eq!(fields.next().unwrap(), None);
    }

    #[test]
    fn what_is_no_message_is_refused() {
        let long = [0x08, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0x02];
        for (bytes, reason) in [
            (&[0x80][..], "ends within a number"),
            (&[0x00, 0x00], "the number 0"),
            (&[0x0A, 0x05, 1], "ends within a field"),
            (&[0x0D, 1, 2], "ends within a number"),
            (&[0x0B], "no type that is known"),
            (&[0x80, 0x80, 0x80, 0x80, 0x10, 0x00], "number is too large"),
            (&long, "longer than 64 bits"),
        ] {
            let error = Fields::new(bytes).next().unwrap_err().to_string();
            assert!(error.contains(reason), "{bytes:?}: {error}");
        }
    }
}
