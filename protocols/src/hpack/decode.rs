use std::ops::ControlFlow;

use super::again::Again;
use super::dynamic::{Dynamic, Entry};
use super::{Error, OVERHEAD, USUAL_SIZE, huffman, integer, table};

/// A decoded field, as its user wants to keep it.
pub trait Field: Clone {
    /// Makes a field.
    fn new(name: &[u8], value: &[u8]) -> Self;

    /// Makes a field of the same name with another value.
    #[must_use]
    fn with_value(&self, value: &[u8]) -> Self;
}

/// Decodes the header blocks of one direction of a connection.
pub struct Decoder<F> {
    table: Dynamic<F>,
    most: usize,
    /// What the strings of the field at hand say without their Huffman code.
    plain: Vec<u8>,
    again: Again<F>,
}

/// More is not kept between blocks.
const PLAIN_KEPT: usize = 4096;

/// A string: as it stands in the block, or how long it is at the end of what was decoded.
#[derive(Clone, Copy)]
enum Text<'a> {
    Here(&'a [u8]),
    Decoded(usize),
}

impl<F: Field> Decoder<F> {
    /// Makes the decoder of a new connection on which a dynamic table of at most `most` bytes was announced
    /// (`SETTINGS_HEADER_TABLE_SIZE`).
    ///
    /// The table itself begins with the 4096 bytes of RFC 9113, 6.5.2, whatever was announced: that is what the peer
    /// uses until it has read the announcement, and says otherwise.
    #[must_use]
    pub const fn new(most: usize) -> Self {
        Self { table: Dynamic::new(USUAL_SIZE), most, plain: Vec::new(), again: Again::new() }
    }

    /// What the fields of the dynamic table count together; at most 4096, or what was announced if that is more.
    #[must_use]
    pub const fn table_size(&self) -> usize {
        self.table.size()
    }

    /// Decodes `block`, which is whole; hands each field, and its size (name + value + 32), to `take`, which may end it
    /// by [`ControlFlow::Break`].
    ///
    /// # Errors
    /// If `block` is none of RFC 7541, or `take` ended it. The decoder is of no use afterwards.
    pub fn decode(&mut self, block: &[u8], mut take: impl FnMut(F, usize) -> ControlFlow<()>) -> Result<(), Error> {
        self.plain.clear();
        self.plain.shrink_to(PLAIN_KEPT);
        let mut rest = block;
        let mut begun = false;
        while let Some((first, after)) = rest.split_first() {
            rest = after;
            if first & 0xe0 == 0x20 {
                self.resize(integer::read(*first, 5, &mut rest)?, begun)?;
                continue;
            }
            begun = true;
            let (field, size) = self.field(*first, &mut rest)?;
            if take(field, size).is_break() {
                return Err(Error::Stopped);
            }
        }
        Ok(())
    }

    fn resize(&mut self, size: usize, begun: bool) -> Result<(), Error> {
        if begun {
            return Err(Error::LateResize);
        }
        if size > self.most {
            return Err(Error::TableTooLarge { size, most: self.most });
        }
        self.table.resize(size);
        Ok(())
    }

    /// Reads a field, of which `first` is the first byte: RFC 7541, 6.1 and 6.2.
    #[inline]
    fn field(&mut self, first: u8, rest: &mut &[u8]) -> Result<(F, usize), Error> {
        if first & 0x80 != 0 {
            return self.indexed(integer::read(first, 7, rest)?);
        }
        let keep = first & 0x40 != 0;
        let index = integer::read(first, if keep { 6 } else { 4 }, rest)?;
        if !keep {
            return self.plain_literal(first & 0x10 != 0, index, rest);
        }
        let entry = self.literal(index, rest)?;
        let taken = (entry.field.clone(), entry.size);
        self.table.add(entry);
        Ok(taken)
    }

    #[inline]
    fn indexed(&self, index: usize) -> Result<(F, usize), Error> {
        if let Some((name, value)) = table::field(index) {
            return Ok((F::new(name.as_bytes(), value.as_bytes()), name.len() + value.len() + OVERHEAD));
        }
        let entry = self.added(index)?;
        Ok((entry.field.clone(), entry.size))
    }

    /// The field at `index`, which stands in the dynamic table if anywhere.
    fn added(&self, index: usize) -> Result<&Entry<F>, Error> {
        let at = index.checked_sub(table::FIELDS.len() + 1);
        at.and_then(|at| self.table.get(at)).ok_or(Error::NoSuchField { index })
    }

    /// Reads a field that is not kept in the table. Where it is none that is never to be kept, it is known when it comes
    /// again.
    fn plain_literal(&mut self, is_secret: bool, index: usize, rest: &mut &[u8]) -> Result<(F, usize), Error> {
        let is_usual = !is_secret && table::field(index).is_some();
        if is_usual && let Some(known) = self.again.find(index, rest) {
            return Ok(known);
        }
        let before = *rest;
        let Entry { field, size, .. } = self.literal(index, rest)?;
        if is_usual {
            self.again.note(index, before.get(..before.len() - rest.len()).unwrap_or_default(), &field, size);
        }
        Ok((field, size))
    }

    /// Reads a field whose name is that of the one at `index`; for 0, the name stands before the value.
    fn literal(&mut self, index: usize, rest: &mut &[u8]) -> Result<Entry<F>, Error> {
        self.plain.clear();
        let name = if index == 0 { Some(self.text(rest)?) } else { None };
        let value = self.text(rest)?;
        let (name, value) = self.told(name, value);
        let (field, name) = match (name, table::field(index)) {
            (Some(name), _) => (F::new(name, value), name.len()),
            (None, Some((name, _))) => (F::new(name.as_bytes(), value), name.len()),
            (None, None) => {
                let like = self.added(index)?;
                (like.field.with_value(value), like.name)
            }
        };
        Ok(Entry { field, name, size: name + value.len() + OVERHEAD })
    }

    /// Reads a string: RFC 7541, 5.2.
    fn text<'a>(&mut self, rest: &mut &'a [u8]) -> Result<Text<'a>, Error> {
        let (first, after) = rest.split_first().ok_or(Error::Truncated)?;
        *rest = after;
        let length = integer::read(*first, 7, rest)?;
        let (text, after) = rest.split_at_checked(length).ok_or(Error::Truncated)?;
        *rest = after;
        if first & 0x80 == 0 {
            return Ok(Text::Here(text));
        }
        let before = self.plain.len();
        huffman::decode(text, &mut self.plain)?;
        Ok(Text::Decoded(self.plain.len() - before))
    }

    /// What the name and the value say, of which those that were decoded lie behind each other.
    fn told<'a>(&'a self, name: Option<Text<'a>>, value: Text<'a>) -> (Option<&'a [u8]>, &'a [u8]) {
        let mut plain = self.plain.as_slice();
        let mut told = |text| match text {
            Text::Here(text) => text,
            Text::Decoded(length) => {
                let (text, rest) = plain.split_at_checked(length).unwrap_or_default();
                plain = rest;
                text
            }
        };
        (name.map(&mut told), told(value))
    }
}
