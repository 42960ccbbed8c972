//! The frames that a segment file is made of.
//!
//! A frame is a checksum (CRC-32 of all that follows), the length of its body, its kind, a number, and the body; integers
//! are little endian. Whatever does not fit its checksum, such as the torn end of a file after a power cut or a tail of
//! zeros, is no frame.

/// The bytes before a frame's body.
pub(super) const HEADER: usize = 17;

/// What a frame says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Kind {
    /// A segment begins. The number is that of its first message; the body is the number of the first message not done.
    Begin = 1,
    /// The message of that number.
    Message = 2,
    /// All messages below that number are done.
    Done = 3,
}

impl Kind {
    const fn from_byte(byte: u8) -> Option<Self> {
        match byte {
            1 => Some(Self::Begin),
            2 => Some(Self::Message),
            3 => Some(Self::Done),
            _ => None,
        }
    }
}

/// The start of a frame, its checksum not yet verified.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    checksum: u32,
    pub(super) kind: Kind,
    pub(super) number: u64,
    /// The bytes of its body.
    pub(super) body: usize,
}

impl Header {
    /// Reads the first [`HEADER`] bytes of a frame. `None` where they can be none.
    pub(super) fn read(bytes: &[u8]) -> Option<Self> {
        let (checksum, rest) = bytes.split_first_chunk::<4>()?;
        let (length, rest) = rest.split_first_chunk::<4>()?;
        let (kind, rest) = rest.split_first()?;
        let (number, _) = rest.split_first_chunk::<8>()?;
        Some(Self {
            checksum: u32::from_le_bytes(*checksum),
            kind: Kind::from_byte(*kind)?,
            number: u64::from_le_bytes(*number),
            body: usize::try_from(u32::from_le_bytes(*length)).ok()?,
        })
    }

    /// The bytes of the whole frame.
    pub(super) const fn length(&self) -> usize {
        HEADER + self.body
    }

    /// Whether `frame`, header and body, is what was written.
    pub(super) fn fits(&self, frame: &[u8]) -> bool {
        frame.len() == self.length() && frame.get(4..).is_some_and(|rest| crc32fast::hash(rest) == self.checksum)
    }
}

/// Makes a frame. `None` where the body is longer than a frame can say.
pub(super) fn write(kind: Kind, number: u64, body: &[u8]) -> Option<Vec<u8>> {
    let length = u32::try_from(body.len()).ok()?;
    let mut frame = Vec::with_capacity(HEADER + body.len());
    frame.extend_from_slice(&[0; 4]);
    frame.extend_from_slice(&length.to_le_bytes());
    frame.push(kind as u8);
    frame.extend_from_slice(&number.to_le_bytes());
    frame.extend_from_slice(body);
    let checksum = crc32fast::hash(frame.get(4..)?);
    frame.get_mut(..4)?.copy_from_slice(&checksum.to_le_bytes());
    Some(frame)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_is_read_as_it_was_written_and_every_flipped_bit_is_seen() {
        let frame = write(Kind::Message, 7, b"body").unwrap();
        let header = Header::read(&frame).unwrap();
        assert_eq!((header.kind, header.number, header.length()), (Kind::Message, 7, frame.len()));
        assert!(header.fits(&frame) && !header.fits(&frame[..20]));
        for bit in 0..frame.len() * 8 {
            let mut wrong = frame.clone();
            wrong[bit / 8] ^= 1 << (bit % 8);
            assert!(!Header::read(&wrong).is_some_and(|header| header.fits(&wrong)), "bit {bit}");
        }
    }

    #[test]
    fn zeros_are_no_frame() {
        assert_eq!(Header::read(&[0; 64]), None);
        assert_eq!(Header::read(&[]), None);
    }

    #[test]
    fn the_form_on_disk_does_not_change() {
        let expected = [0, 0, 0, 0, 1, 0, 0, 0, 2, 1, 0, 0, 0, 0, 0, 0, 0, b'x'];
        let frame = write(Kind::Message, 1, b"x").unwrap();
        assert_eq!(frame[4..], expected[4..]);
        assert_eq!(u32::from_le_bytes(frame[..4].try_into().unwrap()), crc32fast::hash(&expected[4..]));
    }
}
