//! The id of a request: the client's own, or a new one.

use std::fmt;

use http::{HeaderMap, HeaderName, HeaderValue};

/// The header of the request id.
pub(crate) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The longest id that is taken from a client.
const LONGEST_ID: usize = 128;

/// The id of one request.
#[derive(Clone, Debug)]
pub(crate) enum RequestId {
    /// The client gave it.
    Given(HeaderValue),
    /// A random number, written out where it is asked for.
    New(u128),
}

impl RequestId {
    /// The id the client gave, if it is fit for headers and logs, else a new one.
    pub(crate) fn of(headers: &HeaderMap) -> Self {
        let given = headers.get(REQUEST_ID).filter(|id| fit(id.as_bytes()));
        given.map_or_else(|| Self::New(fastrand::u128(..)), |id| Self::Given(id.clone()))
    }

    /// The value of a header.
    pub(crate) fn value(&self) -> HeaderValue {
        match self {
            Self::Given(id) => id.clone(),
            Self::New(number) => {
                HeaderValue::from_bytes(&hex(*number)).unwrap_or_else(|_| HeaderValue::from_static("0"))
            }
        }
    }

    /// Its text, in `digits` if it is a new one.
    pub(crate) fn text<'a>(&'a self, digits: &'a mut [u8; 32]) -> &'a str {
        match self {
            Self::Given(id) => id.to_str().unwrap_or_default(),
            Self::New(number) => {
                *digits = hex(*number);
                str::from_utf8(digits).unwrap_or_default()
            }
        }
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text(&mut [0; 32]))
    }
}

fn fit(id: &[u8]) -> bool {
    let allowed = |byte: &u8| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'\\' | b'<' | b'>');
    (1..=LONGEST_ID).contains(&id.len()) && id.iter().all(allowed)
}

/// The 32 hexadecimal digits of `number`.
fn hex(number: u128) -> [u8; 32] {
    let digit = |half: u8| if half < 10 { b'0' + half } else { b'a' - 10 + half };
    let mut digits = [0; 32];
    for ([high, low], byte) in digits.as_chunks_mut().0.iter_mut().zip(number.to_be_bytes()) {
        (*high, *low) = (digit(byte >> 4), digit(byte & 15));
    }
    digits
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_id_is_all_of_its_number() {
        let digits = hex(0x0123_4567_89ab_cdef_0011_2233_4455_6677);
        assert_eq!(&digits, b"0123456789abcdef0011223344556677");
        assert_eq!(RequestId::New(1).to_string(), format!("{}1", "0".repeat(31)));
    }
}
