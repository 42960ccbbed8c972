//! Reads the fields of a packet one after the other.

use super::packet::Malformed;

/// What is left of a packet's body.
pub(super) struct Reader<'b> {
    kind: u8,
    left: &'b [u8],
}

impl<'b> Reader<'b> {
    /// Begins to read the body of a packet of that type.
    pub(super) const fn new(kind: u8, body: &'b [u8]) -> Self {
        Self { kind, left: body }
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.left.is_empty()
    }

    pub(super) fn byte(&mut self) -> Result<u8, Malformed> {
        let (byte, left) = self.left.split_first().ok_or(Malformed::Size(self.kind))?;
        self.left = left;
        Ok(*byte)
    }

    pub(super) fn short(&mut self) -> Result<u16, Malformed> {
        let (bytes, left) = self.left.split_first_chunk().ok_or(Malformed::Size(self.kind))?;
        self.left = left;
        Ok(u16::from_be_bytes(*bytes))
    }

    pub(super) fn id(&mut self) -> Result<u16, Malformed> {
        let id = self.short()?;
        if id == 0 { Err(Malformed::Id) } else { Ok(id) }
    }

    pub(super) fn bytes(&mut self) -> Result<&'b [u8], Malformed> {
        let length = usize::from(self.short()?);
        let (bytes, left) = self.left.split_at_checked(length).ok_or(Malformed::Size(self.kind))?;
        self.left = left;
        Ok(bytes)
    }

    pub(super) fn text(&mut self) -> Result<String, Malformed> {
        let text = std::str::from_utf8(self.bytes()?).map_err(|_| Malformed::Text)?;
        if text.contains('\0') { Err(Malformed::Text) } else { Ok(text.into()) }
    }

    pub(super) fn rest(&mut self) -> &'b [u8] {
        std::mem::take(&mut self.left)
    }
}
