use std::borrow::Cow;

use super::Scalar;
use crate::Error;

/// How deep arrays and objects may stand in one another.
const MAX_DEPTH: usize = 64;

/// A cursor over one JSON text that hands out its parts in order, without a copy where it can.
///
/// ```
/// # use hedef_protocols::json::Reader;
/// let mut reader = Reader::new(b"{\"a\": [1, 2]}")?;
/// reader.begin_object()?;
/// while let Some(key) = reader.next_key()? {
///     assert_eq!(key, "a");
///     reader.begin_array()?;
///     while reader.next_element()? {
///         reader.number()?;
///     }
/// }
/// reader.end()?;
/// # Ok::<(), hedef_protocols::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Reader<'a> {
    text: &'a str,
    pub(super) at: usize,
    /// Where `text` begins in the whole text, for messages.
    origin: usize,
    depth: usize,
    /// Whether an array or object was just begun, so that no comma is due.
    fresh: bool,
}

/// What stands next in a JSON text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// `null`.
    Null,
    /// `true` or `false`.
    Bool,
    /// A number, or one of `NaN`, `Infinity` and `-Infinity`.
    Number,
    /// A string.
    String,
    /// `[`.
    Array,
    /// `{`.
    Object,
}

impl<'a> Reader<'a> {
    /// Starts at the beginning of `bytes`. Fails when they are not UTF-8.
    pub fn new(bytes: &'a [u8]) -> Result<Self, Error> {
        let text = std::str::from_utf8(bytes).map_err(|error| Error::NotUtf8 { at: error.valid_up_to() })?;
        Ok(Self { text, at: 0, origin: 0, depth: 0, fresh: false })
    }

    /// The byte that comes next, counted from the beginning of the whole text.
    #[must_use]
    pub const fn position(&self) -> usize {
        self.origin + self.at
    }

    /// How many bytes are left.
    #[must_use]
    pub const fn remaining(&self) -> usize {
        self.text.len() - self.at
    }

    /// Says what stands next, without taking it. Fails where no value begins.
    #[inline]
    pub fn peek(&mut self) -> Result<Next, Error> {
        self.skip_whitespace();
        match self.byte() {
            Some(b'-' | b'0'..=b'9' | b'N' | b'I') => Ok(Next::Number),
            Some(b'"') => Ok(Next::String),
            Some(b'[') => Ok(Next::Array),
            Some(b'{') => Ok(Next::Object),
            Some(b't' | b'f') => Ok(Next::Bool),
            Some(b'n') => Ok(Next::Null),
            _ => Err(self.expected("a value")),
        }
    }

    /// Takes `null`.
    pub fn null(&mut self) -> Result<(), Error> {
        self.skip_whitespace();
        if self.take_word("null") { Ok(()) } else { Err(self.expected("`null`")) }
    }

    /// Takes `true` or `false`.
    pub fn bool(&mut self) -> Result<bool, Error> {
        self.skip_whitespace();
        if self.take_word("true") {
            Ok(true)
        } else if self.take_word("false") {
            Ok(false)
        } else {
            Err(self.expected("`true` or `false`"))
        }
    }

    /// Takes a number and gives its text: JSON's grammar, or one of `NaN`, `Infinity` and `-Infinity`.
    #[inline]
    pub fn number(&mut self) -> Result<&'a str, Error> {
        self.skip_whitespace();
        let start = self.at;
        if self.byte() == Some(b'-') {
            self.at += 1;
        }
        match self.byte() {
            Some(b'0') => self.at += 1,
            Some(b'1'..=b'9') => self.skip_digits(),
            _ => return self.non_finite(start),
        }
        if self.byte() == Some(b'.') {
            self.at += 1;
            self.digits()?;
        }
        if matches!(self.byte(), Some(b'e' | b'E')) {
            self.at += 1;
            if matches!(self.byte(), Some(b'+' | b'-')) {
                self.at += 1;
            }
            self.digits()?;
        }
        Ok(self.since(start))
    }

    /// The bytes from the next value on.
    #[inline]
    pub(super) fn rest(&mut self) -> &'a [u8] {
        self.skip_whitespace();
        self.text.as_bytes().get(self.at..).unwrap_or_default()
    }

    /// Takes `length` bytes of [`Reader::rest`], which are ASCII.
    #[inline]
    pub(super) const fn advance(&mut self, length: usize) {
        self.at += length;
    }

    /// Takes a string and resolves its escapes.
    #[inline]
    pub fn string(&mut self) -> Result<Cow<'a, str>, Error> {
        self.skip_whitespace();
        if !self.take(b'"') {
            return Err(self.expected("a string"));
        }
        let start = self.at;
        self.skip_plain();
        if self.byte() == Some(b'"') {
            let text = self.since(start);
            self.at += 1;
            return Ok(Cow::Borrowed(text));
        }
        self.escaped(start).map(Cow::Owned)
    }

    /// Takes anything but an array or an object.
    #[inline]
    pub fn scalar(&mut self) -> Result<Scalar<'a>, Error> {
        match self.peek()? {
            Next::Number => self.number().map(Scalar::Number),
            Next::String => self.string().map(Scalar::String),
            Next::Bool => self.bool().map(Scalar::Bool),
            Next::Null => self.null().map(|()| Scalar::Null),
            Next::Array | Next::Object => Err(self.expected("a number, a string or a boolean")),
        }
    }

    /// Takes `[`. Its elements follow, each after a [`Reader::next_element`].
    pub fn begin_array(&mut self) -> Result<(), Error> {
        self.begin(b'[', "`[`")
    }

    /// Goes to the next element of the innermost array, or says that there is none and leaves the array.
    #[inline]
    pub fn next_element(&mut self) -> Result<bool, Error> {
        self.next_member(b']', "`,` or `]`")
    }

    /// Takes `{`. Its members follow, each after a [`Reader::next_key`].
    pub fn begin_object(&mut self) -> Result<(), Error> {
        self.begin(b'{', "`{`")
    }

    /// Takes the next key of the innermost object, or says that there is none and leaves the object.
    /// Whether a key stands twice is the caller's to know.
    pub fn next_key(&mut self) -> Result<Option<Cow<'a, str>>, Error> {
        if !self.next_member(b'}', "`,` or `}`")? {
            return Ok(None);
        }
        self.skip_whitespace();
        if self.byte() != Some(b'"') {
            return Err(self.expected("a key in quotes"));
        }
        let key = self.string()?;
        self.skip_whitespace();
        if self.take(b':') { Ok(Some(key)) } else { Err(self.expected("`:`")) }
    }

    /// Takes a value of any kind and checks its grammar.
    pub fn skip_value(&mut self) -> Result<(), Error> {
        match self.peek()? {
            Next::Array => {
                self.begin_array()?;
                while self.next_element()? {
                    self.skip_value()?;
                }
                Ok(())
            }
            Next::Object => {
                self.begin_object()?;
                while self.next_key()?.is_some() {
                    self.skip_value()?;
                }
                Ok(())
            }
            _ => self.scalar().map(drop),
        }
    }

    /// Takes a value of any kind, checks its grammar, and gives a cursor that reads it again.
    pub fn take_value(&mut self) -> Result<Self, Error> {
        self.skip_whitespace();
        let start = self.at;
        let before = self.depth;
        self.skip_value()?;
        Ok(Self { text: self.since(start), at: 0, origin: self.origin + start, depth: before, fresh: false })
    }

    /// Takes the end of the text; only whitespace may stand before it.
    pub fn end(&mut self) -> Result<(), Error> {
        self.skip_whitespace();
        if self.at == self.text.len() { Ok(()) } else { Err(self.expected("the end")) }
    }

    /// The error that something else stands next.
    #[must_use]
    #[cold]
    pub fn expected(&self, expected: &'static str) -> Error {
        let rest = self.text.get(self.at..).and_then(|rest| rest.chars().next());
        let found = rest.map_or_else(|| "the end".to_string(), |c| format!("`{}`", c.escape_debug()));
        Error::Json { expected, at: self.position(), found }
    }

    fn begin(&mut self, bracket: u8, expected: &'static str) -> Result<(), Error> {
        self.skip_whitespace();
        if self.byte() != Some(bracket) {
            return Err(self.expected(expected));
        }
        if self.depth == MAX_DEPTH {
            return Err(Error::TooDeep { limit: MAX_DEPTH, at: self.position() });
        }
        self.at += 1;
        self.depth += 1;
        self.fresh = true;
        Ok(())
    }

    #[inline]
    fn next_member(&mut self, bracket: u8, expected: &'static str) -> Result<bool, Error> {
        self.skip_whitespace();
        let fresh = std::mem::take(&mut self.fresh);
        if self.take(bracket) {
            self.depth = self.depth.saturating_sub(1);
            Ok(false)
        } else if fresh || self.take(b',') {
            Ok(true)
        } else {
            Err(self.expected(expected))
        }
    }

    /// Reads on from a minus sign, or from nothing, that no digit follows.
    #[cold]
    fn non_finite(&mut self, start: usize) -> Result<&'a str, Error> {
        let word = self.take_word("Infinity") || (self.at == start && self.take_word("NaN"));
        if word { Ok(self.since(start)) } else { Err(self.expected("a digit")) }
    }

    #[inline]
    pub(super) fn byte(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    #[inline]
    pub(super) fn take(&mut self, byte: u8) -> bool {
        let next = self.byte() == Some(byte);
        self.at += usize::from(next);
        next
    }

    fn take_word(&mut self, word: &str) -> bool {
        let next = self.text.get(self.at..).is_some_and(|rest| rest.starts_with(word));
        self.at += if next { word.len() } else { 0 };
        next
    }

    #[inline]
    fn skip_whitespace(&mut self) {
        while matches!(self.byte(), Some(b' ' | b'\n' | b'\r' | b'\t')) {
            self.at += 1;
        }
    }

    #[inline]
    fn skip_digits(&mut self) {
        while matches!(self.byte(), Some(b'0'..=b'9')) {
            self.at += 1;
        }
    }

    #[inline]
    fn digits(&mut self) -> Result<(), Error> {
        let start = self.at;
        self.skip_digits();
        if self.at == start { Err(self.expected("a digit")) } else { Ok(()) }
    }

    /// Skips to the next quote, backslash or control character.
    #[inline]
    pub(super) fn skip_plain(&mut self) {
        let rest = self.text.as_bytes().get(self.at..).unwrap_or_default();
        let special = |byte: &u8| matches!(byte, b'"' | b'\\' | 0..=0x1F);
        self.at += rest.iter().position(special).unwrap_or(rest.len());
    }

    #[inline]
    pub(super) fn since(&self, start: usize) -> &'a str {
        self.text.get(start..self.at).unwrap_or_default()
    }
}
