use hedef_core::DataType;

use super::MAGIC;
use crate::Error;

/// What messages call the header.
const PLACE: &str = "the .npy header";

/// NumPy itself has no arrays of more dimensions.
const MAX_RANK: usize = 64;

/// What a file says of its elements.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) element: Element,
    pub(super) big_endian: bool,
    /// Whether the first index runs fastest.
    pub(super) fortran_order: bool,
    pub(super) dims: Vec<usize>,
}

/// The type of the elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Element {
    Number(DataType),
    /// Strings of so many code points, four bytes each, filled up with zeros.
    CodePoints(usize),
    /// Strings of so many bytes, filled up with zeros.
    Bytes(usize),
}

/// Takes the header off a file. What is left are the elements.
pub(super) fn parse(bytes: &[u8]) -> Result<(Header, &[u8]), Error> {
    let no_npy = || Error::unexpected("a .npy file", "the bytes 93 4E 55 4D 50 59 first", "others");
    let rest = bytes.strip_prefix(MAGIC).ok_or_else(no_npy)?;
    let cut = || Error::unexpected(PLACE, "a whole header", "the end of the file");
    let ([major, _minor], rest) = rest.split_first_chunk().ok_or_else(cut)?;
    let (length, rest) = match major {
        1 => rest.split_first_chunk().map(|(length, rest)| (u32::from(u16::from_le_bytes(*length)), rest)),
        2 | 3 => rest.split_first_chunk().map(|(length, rest)| (u32::from_le_bytes(*length), rest)),
        _ => return Err(Error::unexpected(PLACE, "version 1, 2 or 3", major.to_string())),
    }
    .ok_or_else(cut)?;
    let length = usize::try_from(length).map_err(|_| cut())?;
    let (text, elements) = rest.split_at_checked(length).ok_or_else(cut)?;
    let text = std::str::from_utf8(text).map_err(|_| Error::unexpected(PLACE, "a text", "bytes that are none"))?;
    Ok((dict(text)?, elements))
}

fn dict(text: &str) -> Result<Header, Error> {
    let mut literal = Literal { rest: text };
    let (mut descr, mut fortran_order, mut dims) = (None, None, None);
    literal.expect("{")?;
    while !literal.take("}") {
        let key = literal.string()?;
        literal.expect(":")?;
        match key {
            "descr" => descr = Some(literal.descr()?),
            "fortran_order" => fortran_order = Some(literal.boolean()?),
            "shape" => dims = Some(literal.tuple()?),
            _ => return Err(Error::unexpected(PLACE, "`descr`, `fortran_order` and `shape`", quoted(key))),
        }
        if !literal.take(",") {
            literal.expect("}")?;
            break;
        }
    }
    let missing = |what| Error::Missing { place: PLACE.to_string(), what };
    let (element, big_endian) = element(descr.ok_or_else(|| missing("descr"))?)?;
    let fortran_order = fortran_order.ok_or_else(|| missing("fortran_order"))?;
    Ok(Header { element, big_endian, fortran_order, dims: dims.ok_or_else(|| missing("shape"))? })
}

/// Splits a type such as `<f4` into the type of the elements and whether the first byte is the highest.
fn element(descr: &str) -> Result<(Element, bool), Error> {
    let (big_endian, code) = match descr.strip_prefix(['<', '|', '=']) {
        Some(code) => (false, code),
        None => descr.strip_prefix('>').map_or((false, descr), |code| (true, code)),
    };
    let number = |data_type| Element::Number(data_type);
    let element = match code {
        "b1" | "?" => number(DataType::Bool),
        "u1" => number(DataType::Uint8),
        "u2" => number(DataType::Uint16),
        "u4" => number(DataType::Uint32),
        "u8" => number(DataType::Uint64),
        "i1" => number(DataType::Int8),
        "i2" => number(DataType::Int16),
        "i4" => number(DataType::Int32),
        "i8" => number(DataType::Int64),
        "f2" => number(DataType::Fp16),
        "f4" => number(DataType::Fp32),
        "f8" => number(DataType::Fp64),
        _ => strings(code).ok_or_else(|| refused(descr, code))?,
    };
    Ok((element, big_endian))
}

fn strings(code: &str) -> Option<Element> {
    let width = |digits: &str| digits.parse().ok().filter(|_| digits.bytes().all(|byte| byte.is_ascii_digit()));
    match code.split_at_checked(1)? {
        ("U", digits) => width(digits).map(Element::CodePoints),
        ("S" | "a", digits) => width(digits).map(Element::Bytes),
        _ => None,
    }
}

fn refused(descr: &str, code: &str) -> Error {
    let reason = if code.starts_with('O') {
        "pickled objects (dtype `O`) are not read; save an array of numbers or of fixed-width strings".to_string()
    } else {
        format!("arrays of type {} are not read; booleans, integers, floats and strings are", quoted(descr))
    };
    Error::Unsupported { place: PLACE.to_string(), reason }
}

/// The text in quotes, cut after 40 characters.
fn quoted(text: &str) -> String {
    format!("`{}`", text.chars().take(40).collect::<String>().escape_debug())
}

/// A cursor over the few Python literals that a header holds.
struct Literal<'a> {
    rest: &'a str,
}

impl<'a> Literal<'a> {
    fn take(&mut self, token: &str) -> bool {
        self.rest = self.rest.trim_start();
        let rest = self.rest.strip_prefix(token);
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }

    fn expect(&mut self, token: &str) -> Result<(), Error> {
        if self.take(token) { Ok(()) } else { Err(self.unexpected(&format!("`{token}`"))) }
    }

    fn unexpected(&self, expected: &str) -> Error {
        let found = if self.rest.is_empty() { "its end".to_string() } else { quoted(self.rest) };
        Error::unexpected(PLACE, expected, found)
    }

    fn string(&mut self) -> Result<&'a str, Error> {
        let quote = if self.take("'") {
            '\''
        } else if self.take("\"") {
            '"'
        } else {
            return Err(self.unexpected("a string"));
        };
        let (text, rest) = self.rest.split_once(quote).ok_or_else(|| self.unexpected("the end of a string"))?;
        self.rest = rest;
        Ok(text)
    }

    fn descr(&mut self) -> Result<&'a str, Error> {
        if self.take("[") || self.take("(") {
            let reason = "structured arrays are not read; save each field as an array of its own".to_string();
            return Err(Error::Unsupported { place: PLACE.to_string(), reason });
        }
        self.string()
    }

    fn boolean(&mut self) -> Result<bool, Error> {
        if self.take("True") {
            Ok(true)
        } else if self.take("False") {
            Ok(false)
        } else {
            Err(self.unexpected("`True` or `False`"))
        }
    }

    fn tuple(&mut self) -> Result<Vec<usize>, Error> {
        let mut dims = Vec::new();
        self.expect("(")?;
        while !self.take(")") {
            dims.push(self.dim()?);
            if dims.len() > MAX_RANK {
                return Err(Error::unexpected(PLACE, format!("at most {MAX_RANK} dimensions"), "more"));
            }
            if !self.take(",") {
                self.expect(")")?;
                break;
            }
        }
        Ok(dims)
    }

    fn dim(&mut self) -> Result<usize, Error> {
        self.rest = self.rest.trim_start();
        let end = self.rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(self.rest.len());
        let (digits, rest) = self.rest.split_at_checked(end).unwrap_or((self.rest, ""));
        let dim = digits.parse().map_err(|_| self.unexpected("a dimension"))?;
        // Python 2 wrote long integers so.
        self.rest = rest.strip_prefix('L').unwrap_or(rest);
        Ok(dim)
    }
}
