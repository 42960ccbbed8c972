use super::{OVERHEAD, USUAL_SIZE, integer, table};

/// What becomes of a field beside its being written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Indexing {
    /// It goes into the table, if there is room: for what comes again.
    Keep,
    /// It is written as it is.
    Plain,
    /// It is written as it is, and nobody on the way may index it: for secrets.
    Never,
}

/// At most so many entries are kept, as all are looked at for each field.
const MOST_ENTRIES: usize = 16;

/// Larger fields are not kept.
const MOST_SIZE: usize = 256;

/// Encodes the header blocks of one direction of a connection.
///
/// What is in the table stays: a server says the same few things again and again, so the first ones are as good as
/// the last, and the table needs no room beyond what they take. Strings are written without Huffman's code, which
/// would save few bytes, and cost both ends time.
pub struct Encoder {
    /// The oldest first.
    entries: Vec<Entry>,
    size: usize,
    limit: usize,
    resized: bool,
}

struct Entry {
    /// The name, and then the value.
    text: Box<[u8]>,
    name: usize,
}

impl Entry {
    fn new(name: &[u8], value: &[u8]) -> Self {
        Self { text: [name, value].concat().into(), name: name.len() }
    }

    #[inline]
    fn parts(&self) -> (&[u8], &[u8]) {
        self.text.split_at_checked(self.name).unwrap_or_default()
    }
}

impl Default for Encoder {
    fn default() -> Self {
        Self { entries: Vec::new(), size: 0, limit: USUAL_SIZE, resized: false }
    }
}

impl Encoder {
    /// Takes the peer's `SETTINGS_HEADER_TABLE_SIZE`: the table begins anew if it changes what is used of it, at most
    /// 4096 bytes.
    pub fn resize(&mut self, most: usize) {
        let limit = most.min(USUAL_SIZE);
        if limit != self.limit {
            self.entries.clear();
            (self.size, self.limit, self.resized) = (0, limit, true);
        }
    }

    /// Begins a block: writes the size updates that are due.
    pub fn begin(&mut self, out: &mut Vec<u8>) {
        if !self.resized {
            return;
        }
        self.resized = false;
        // 0 empties the peer's table as ours is, and is no more than any size announced since: RFC 7541, 4.2.
        integer::write(0x20, 5, 0, out);
        if self.limit > 0 {
            integer::write(0x20, 5, self.limit, out);
        }
    }

    /// Writes `:status`.
    pub fn status(&mut self, code: u16, out: &mut Vec<u8>) {
        self.field(b":status", itoa::Buffer::new().format(code).as_bytes(), Indexing::Plain, out);
    }

    /// Writes a field. `name` is in lower case.
    pub fn field(&mut self, name: &[u8], value: &[u8], indexing: Indexing, out: &mut Vec<u8>) {
        let known = table::find(name);
        let whole = match indexing {
            Indexing::Keep => {
                known.and_then(|first| table::find_value(first, value)).or_else(|| self.find(name, value))
            }
            Indexing::Plain => known.and_then(|first| table::find_value(first, value)),
            Indexing::Never => None,
        };
        if let Some(index) = whole {
            integer::write(0x80, 7, index, out);
            return;
        }
        let index = known.or_else(|| self.find_name(name)).unwrap_or(0);
        match indexing {
            Indexing::Keep if self.keep(name, value) => integer::write(0x40, 6, index, out),
            Indexing::Keep | Indexing::Plain => integer::write(0, 4, index, out),
            Indexing::Never => integer::write(0x10, 4, index, out),
        }
        if index == 0 {
            text(name, out);
        }
        text(value, out);
    }

    /// Adds a field to the table, if it fits.
    fn keep(&mut self, name: &[u8], value: &[u8]) -> bool {
        let size = name.len() + value.len() + OVERHEAD;
        if size > MOST_SIZE || size > self.limit - self.size || self.entries.len() == MOST_ENTRIES {
            return false;
        }
        self.entries.push(Entry::new(name, value));
        self.size += size;
        true
    }

    #[inline]
    fn find(&self, name: &[u8], value: &[u8]) -> Option<usize> {
        self.position(|entry| entry.parts() == (name, value))
    }

    #[inline]
    fn find_name(&self, name: &[u8]) -> Option<usize> {
        self.position(|entry| entry.parts().0 == name)
    }

    /// The index of the newest entry that is `wanted`.
    #[inline]
    fn position(&self, wanted: impl FnMut(&Entry) -> bool) -> Option<usize> {
        self.entries.iter().rev().position(wanted).map(|at| table::FIELDS.len() + 1 + at)
    }
}

/// Writes a string as it is: RFC 7541, 5.2.
fn text(text: &[u8], out: &mut Vec<u8>) {
    integer::write(0, 7, text.len(), out);
    out.extend_from_slice(text);
}
