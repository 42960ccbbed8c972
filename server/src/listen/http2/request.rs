//! The head of a request, as its fields come out of HPACK.

use std::ops::ControlFlow;

use hedef_protocols::hpack;
use http::header::{HeaderName, HeaderValue, TE};
use http::request::Parts;
use http::uri::{Authority, PathAndQuery};
use http::{HeaderMap, Method, Request, Uri, Version};

use super::frame::is_of_connection;

/// A field as the table of a connection keeps it: what it means was found out once.
#[derive(Clone, Debug)]
pub(super) enum Field {
    Method(Method),
    Scheme,
    /// Nobody asks for it.
    Authority,
    Path(Uri),
    Header(HeaderName, HeaderValue),
    /// Makes its request malformed; by this name.
    Malformed(Box<[u8]>),
}

impl hpack::Field for Field {
    fn new(name: &[u8], value: &[u8]) -> Self {
        let field = match name {
            b":method" => Method::from_bytes(value).ok().map(Self::Method),
            b":scheme" => (!value.is_empty()).then_some(Self::Scheme),
            b":authority" => (value.is_empty() || Authority::try_from(value).is_ok()).then_some(Self::Authority),
            b":path" => path(value).map(Self::Path),
            _ if is_of_connection(name) => None,
            _ => HeaderName::from_lowercase(name).ok().and_then(|name| header(name, value)),
        };
        field.unwrap_or_else(|| Self::Malformed(name.into()))
    }

    fn with_value(&self, value: &[u8]) -> Self {
        match self {
            Self::Header(name, _) => Self::new(name.as_str().as_bytes(), value),
            Self::Method(_) => Self::new(b":method", value),
            Self::Scheme => Self::new(b":scheme", value),
            Self::Authority => Self::new(b":authority", value),
            Self::Path(_) => Self::new(b":path", value),
            Self::Malformed(name) => Self::new(name, value),
        }
    }
}

fn header(name: HeaderName, value: &[u8]) -> Option<Field> {
    if name == TE && !value.eq_ignore_ascii_case(b"trailers") {
        return None;
    }
    HeaderValue::from_bytes(value).ok().map(|value| Field::Header(name, value))
}

fn path(value: &[u8]) -> Option<Uri> {
    let is_one = value.first() == Some(&b'/') || value == b"*";
    PathAndQuery::try_from(value).ok().filter(|_| is_one).map(Uri::from)
}

/// The most that a head may have.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// Names, values, and 32 bytes for each field.
    pub(super) bytes: usize,
    pub(super) headers: usize,
}

/// A head of which not all fields may have come.
#[derive(Debug)]
pub(super) struct Fields {
    limits: Limits,
    method: Option<Method>,
    path: Option<Uri>,
    has_scheme: bool,
    has_authority: bool,
    headers: HeaderMap,
    size: usize,
    malformed: bool,
    too_large: bool,
}

/// Why a head is none of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unfit {
    Malformed,
    /// It is larger than allowed.
    TooLarge,
}

/// A head so many times as large as allowed is no accident.
const FLOOD: usize = 4;

impl Fields {
    pub(super) fn new(limits: Limits) -> Self {
        Self {
            limits,
            method: None,
            path: None,
            has_scheme: false,
            has_authority: false,
            headers: HeaderMap::new(),
            size: 0,
            malformed: false,
            too_large: false,
        }
    }

    /// Takes the next field, of that size; breaks where there are far too many.
    pub(super) fn take(&mut self, field: Field, size: usize) -> ControlFlow<()> {
        self.size = self.size.saturating_add(size);
        if self.size > self.limits.bytes || self.headers.len() >= self.limits.headers {
            self.too_large = true;
            let flood = self.size > self.limits.bytes.saturating_mul(FLOOD);
            return if flood { ControlFlow::Break(()) } else { ControlFlow::Continue(()) };
        }
        let pseudo_comes_late = !matches!(field, Field::Header(..)) && !self.headers.is_empty();
        let is_second = match field {
            Field::Method(method) => self.method.replace(method).is_some(),
            Field::Path(path) => self.path.replace(path).is_some(),
            Field::Scheme => std::mem::replace(&mut self.has_scheme, true),
            Field::Authority => std::mem::replace(&mut self.has_authority, true),
            Field::Header(name, value) => self.headers.try_append(name, value).is_err(),
            Field::Malformed(_) => true,
        };
        self.malformed |= pseudo_comes_late || is_second;
        ControlFlow::Continue(())
    }

    /// The request that this is the head of.
    pub(super) fn request(self) -> Result<Parts, Unfit> {
        if self.too_large {
            return Err(Unfit::TooLarge);
        }
        match (self.method, self.path) {
            (Some(method), Some(path)) if !self.malformed && self.has_scheme && method != Method::CONNECT => {
                let (mut parts, ()) = Request::new(()).into_parts();
                (parts.method, parts.uri, parts.version) = (method, path, Version::HTTP_2);
                parts.headers = self.headers;
                Ok(parts)
            }
            _ => Err(Unfit::Malformed),
        }
    }

    /// Whether these are fields that may stand behind a body.
    pub(super) const fn are_trailers(&self) -> bool {
        !self.malformed && self.method.is_none() && self.path.is_none() && !self.has_scheme && !self.has_authority
    }
}

#[cfg(test)]
mod tests {
    use hedef_protocols::hpack::Field as _;

    use super::*;

    fn fields(list: &[(&str, &str)]) -> Fields {
        let mut fields = Fields::new(Limits { bytes: 400, headers: 3 });
        for (name, value) in list {
            let field = Field::new(name.as_bytes(), value.as_bytes());
            if fields.take(field, name.len() + value.len() + 32).is_break() {
                break;
            }
        }
        fields
    }

    const GET: [(&str, &str); 3] = [(":method", "GET"), (":scheme", "http"), (":path", "/a?b")];

    #[test]
    fn a_head_becomes_a_request() {
        let list = [&GET[..], &[(":authority", "x:80"), ("te", "trailers"), ("a", "1"), ("a", "2")]].concat();
        let head = fields(&list).request().unwrap();
        let found = (head.method.as_str(), head.uri.path(), head.uri.query(), head.version);
        assert_eq!(found, ("GET", "/a", Some("b"), Version::HTTP_2));
        assert_eq!(head.headers.get_all("a").iter().collect::<Vec<_>>(), ["1", "2"]);
    }

    #[test]
    fn what_is_no_head_is_malformed() {
        let with = |more: &[(&'static str, &'static str)]| [&GET[..], more].concat();
        for list in [
            GET[1..].to_vec(),
            GET[..2].to_vec(),
            vec![GET[0], GET[2]],
            with(&[(":path", "/")]),
            with(&[(":method", "GET")]),
            with(&[(":status", "200")]),
            with(&[(":other", "x")]),
            with(&[(":authority", "a b")]),
            with(&[("A", "x")]),
            with(&[("", "x")]),
            with(&[("a", "x\n")]),
            with(&[("te", "gzip")]),
            with(&[("connection", "close")]),
            with(&[("a", "x"), (":authority", "late")]),
            vec![GET[0], GET[1], (":path", "")],
            vec![GET[0], GET[1], (":path", "http://x/")],
            vec![(":method", "CONNECT"), GET[1], GET[2]],
        ] {
            assert!(matches!(fields(&list).request(), Err(Unfit::Malformed)), "{list:?}");
        }
    }

    #[test]
    fn a_head_has_its_limits() {
        let many = [&GET[..], &[("a", "x"); 5]].concat();
        let long = "x".repeat(400);
        for list in [many, [&GET[..], &[("a", long.as_str())]].concat()] {
            assert!(matches!(fields(&list).request(), Err(Unfit::TooLarge)), "{list:?}");
        }
        let mut fields = fields(&GET);
        let flood = (0..100).take_while(|_| fields.take(Field::Scheme, 100).is_continue()).count();
        assert!(flood < 20, "{flood}");
    }

    #[test]
    fn a_name_is_kept_with_another_value() {
        for (name, value, other) in [
            (":method", "GET", "POST"),
            (":path", "/", "/x"),
            ("a", "b", "c"),
            (":authority", "x", ""),
            (":scheme", "http", "https"),
        ] {
            let again = Field::new(name.as_bytes(), value.as_bytes()).with_value(other.as_bytes());
            let fresh = Field::new(name.as_bytes(), other.as_bytes());
            assert_eq!(format!("{again:?}"), format!("{fresh:?}"));
        }
        let wrong = Field::new(b":path", b"/").with_value(b"");
        assert!(matches!(&wrong, Field::Malformed(_)) && matches!(wrong.with_value(b"/"), Field::Path(_)));
        assert!(fields(&[("a", "b")]).are_trailers() && !fields(&GET).are_trailers());
    }
}
