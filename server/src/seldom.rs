//! Headers that few requests have.
//!
//! A request is looked at for half a dozen of them, and to look for a name is to hash it, byte by byte. One pass over the
//! names that are there, mostly four or five, costs less.

use http::header::{ACCEPT, ACCEPT_ENCODING, AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, USER_AGENT};
use http::{HeaderMap, HeaderName, HeaderValue};

use crate::payload::JSON_LENGTH;

/// What nearly every client sends.
static USUAL: [HeaderName; 7] =
    [CONTENT_TYPE, USER_AGENT, ACCEPT, ACCEPT_ENCODING, AUTHORIZATION, CONTENT_LENGTH, JSON_LENGTH];

/// Among more headers than this a name is looked for by its hash.
const FEW: usize = 16;

/// Whether there is something else than what is usual.
pub(crate) fn is_among(headers: &HeaderMap) -> bool {
    !headers.keys().all(|name| USUAL.contains(name))
}

/// The first value of a header whose name is long.
pub(crate) fn find<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Option<&'h HeaderValue> {
    if headers.len() > FEW {
        return headers.get(name);
    }
    headers.iter().find(|(other, _)| *other == name).map(|(_, value)| value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(names: &[&'static str]) -> HeaderMap {
        let one = |name: &&'static str| (HeaderName::from_static(name), HeaderValue::from_static("1"));
        names.iter().map(one).collect()
    }

    #[test]
    fn what_is_seldom_is_found_among_what_is_usual() {
        let usual = headers(&["accept", "content-type", "content-length", "inference-header-content-length"]);
        assert!(!is_among(&usual));
        for name in ["grpc-timeout", "expect", "traceparent", "x-any"] {
            let mut all = usual.clone();
            all.extend(headers(&[name]));
            assert!(is_among(&all), "{name}");
        }
    }

    #[test]
    fn a_header_is_found_among_few_and_among_many() {
        let mut all = headers(&["host", "inference-header-content-length"]);
        all.append(JSON_LENGTH, HeaderValue::from_static("2"));
        assert_eq!(find(&all, &JSON_LENGTH), all.get(JSON_LENGTH));
        assert_eq!(find(&all, &EXPECTED), None);
        for at in 0..FEW {
            all.insert(HeaderName::try_from(format!("x-{at}")).unwrap(), HeaderValue::from_static("1"));
        }
        assert_eq!(find(&all, &JSON_LENGTH).unwrap(), "1");
        assert_eq!(find(&all, &EXPECTED), None);
    }

    const EXPECTED: HeaderName = HeaderName::from_static("grpc-timeout");
}
