use std::fmt;

use bytes::Bytes;

use crate::Error;

/// To copy so many bytes takes longer than to keep what they lie in.
const LARGE: usize = 16 << 10;

/// What is kept for a tensor is no more than so many times as large.
const SHARE: usize = 4;

/// What decoding one request may take, which is looked at before memory is.
#[derive(Clone, Copy)]
pub struct DecodeLimits<'a> {
    /// The most values of JSON, and elements of tensors in JSON or of type BYTES, each of which takes more memory than
    /// it takes text. Numbers in binary are as large as they were sent.
    pub elements: usize,
    /// Asked for so many more bytes of memory; where it says no, the request is refused.
    pub room: &'a dyn Fn(usize) -> bool,
    /// What the message lies in. A large tensor of numbers that lies in it as numbers have to is not copied: it keeps all of
    /// it instead, if that is not much more.
    pub message: Option<&'a Bytes>,
}

impl fmt::Debug for DecodeLimits<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DecodeLimits").field("elements", &self.elements).finish_non_exhaustive()
    }
}

impl DecodeLimits<'static> {
    /// As much as there is.
    pub const NONE: Self = Self { elements: usize::MAX, room: &|_| true, message: None };
}

impl DecodeLimits<'_> {
    /// Fails where a tensor of so many elements is one too many.
    pub(crate) fn admit(&self, elements: usize, place: &dyn fmt::Display) -> Result<(), Error> {
        if elements <= self.elements { Ok(()) } else { Err(self.exceeded(place)) }
    }

    #[cold]
    pub(crate) fn exceeded(&self, place: &dyn fmt::Display) -> Error {
        Error::TooManyElements { place: place.to_string(), limit: self.elements }
    }

    /// Asks for memory.
    pub(crate) fn take(&self, bytes: usize) -> Result<(), Error> {
        if (self.room)(bytes) { Ok(()) } else { Err(Error::NoRoom) }
    }

    /// Keeps the message for the sake of such a part, if that is worth it.
    pub(crate) fn keep(&self, part: &[u8]) -> Option<Bytes> {
        let message = self.message.filter(|message| part.len() >= LARGE.max(message.len() / SHARE))?;
        let first = part.as_ptr().addr().checked_sub(message.as_ptr().addr())?;
        let end = first.checked_add(part.len()).filter(|end| *end <= message.len())?;
        Some(message.slice(first..end))
    }

    /// The same limits after so many elements.
    pub(crate) fn after(self, elements: usize) -> Self {
        Self { elements: self.elements.saturating_sub(elements), ..self }
    }
}
