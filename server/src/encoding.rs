//! Content encodings of whole bodies: gzip and deflate, both ways.

mod unpacked;

use std::io::{self, Read, Write};

use flate2::Compression;
use flate2::read::{MultiGzDecoder, ZlibDecoder};
use flate2::write::{GzEncoder, ZlibEncoder};
use http::header::{ACCEPT_ENCODING, CONTENT_ENCODING};
use http::{HeaderMap, HeaderName, HeaderValue};

use crate::error::ApiError;
pub(crate) use unpacked::Unpacked;

/// The header that names the coding of a gRPC call's compressed messages.
pub(crate) const GRPC_ENCODING: HeaderName = HeaderName::from_static("grpc-encoding");

/// The header that names the codings which the other side of a gRPC call understands.
pub(crate) const GRPC_ACCEPT_ENCODING: HeaderName = HeaderName::from_static("grpc-accept-encoding");

/// A way to compress a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Coding {
    /// RFC 1952.
    Gzip,
    /// HTTP's `deflate`: RFC 1950, the zlib format.
    Deflate,
}

impl Coding {
    /// Every coding, as gRPC lists them.
    pub(crate) const ALL: HeaderValue = HeaderValue::from_static("gzip, deflate, identity");

    /// The coding of a request's body; `None` when it is not compressed.
    pub(crate) fn of_request(headers: &HeaderMap) -> Result<Option<Self>, ApiError> {
        Self::named_in(headers, &CONTENT_ENCODING)
    }

    /// The coding of the compressed messages of a gRPC call; `None` when there are none.
    pub(crate) fn of_grpc(headers: &HeaderMap) -> Result<Option<Self>, ApiError> {
        Self::named_in(headers, &GRPC_ENCODING)
    }

    fn named_in(headers: &HeaderMap, header: &HeaderName) -> Result<Option<Self>, ApiError> {
        let Some(value) = headers.get(header) else { return Ok(None) };
        let name = String::from_utf8_lossy(value.as_bytes()).trim().to_ascii_lowercase();
        match name.as_str() {
            "" | "identity" => Ok(None),
            "gzip" | "x-gzip" => Ok(Some(Self::Gzip)),
            "deflate" => Ok(Some(Self::Deflate)),
            _ => Err(ApiError::ContentEncoding(name)),
        }
    }

    /// The coding that a client prefers for its answer; `None` when it did not ask for one that is known here.
    pub(crate) fn for_response(headers: &HeaderMap) -> Option<Self> {
        let mut weights = Weights::default();
        for value in headers.get_all(ACCEPT_ENCODING) {
            value.to_str().unwrap_or_default().split(',').for_each(|choice| weights.add(choice));
        }
        weights.best()
    }

    /// The name in a header.
    pub(crate) fn name(self) -> HeaderValue {
        HeaderValue::from_static(match self {
            Self::Gzip => "gzip",
            Self::Deflate => "deflate",
        })
    }

    /// Unpacks `packed`. Asks `room` for memory as it goes on.
    pub(crate) fn decompress(self, packed: &[u8], limit: usize, room: &dyn Fn(usize) -> bool) -> io::Result<Unpacked> {
        match self {
            Self::Gzip => unpacked::read(packed, MultiGzDecoder::new, limit, room),
            Self::Deflate => unpacked::read(packed, ZlibDecoder::new, limit, room),
        }
    }

    /// Unpacks the beginning of what begins with `packed`: at most `most` bytes, and as far as it is there.
    pub(crate) fn start(self, packed: &[u8], most: usize) -> Vec<u8> {
        let mut plain = vec![0; most];
        let mut filled = 0;
        let mut decoder: Box<dyn Read + '_> = match self {
            Self::Gzip => Box::new(MultiGzDecoder::new(packed)),
            Self::Deflate => Box::new(ZlibDecoder::new(packed)),
        };
        while let Some(room) = plain.get_mut(filled..).filter(|room| !room.is_empty())
            && let Ok(read @ 1..) = decoder.read(room)
        {
            filled += read;
        }
        plain.truncate(filled);
        plain
    }

    /// Packs `plain`, fast rather than tight.
    pub(crate) fn compress(self, plain: &[u8]) -> io::Result<Vec<u8>> {
        let room = Vec::with_capacity(plain.len() / 2);
        match self {
            Self::Gzip => {
                let mut encoder = GzEncoder::new(room, Compression::fast());
                encoder.write_all(plain)?;
                encoder.finish()
            }
            Self::Deflate => {
                let mut encoder = ZlibEncoder::new(room, Compression::fast());
                encoder.write_all(plain)?;
                encoder.finish()
            }
        }
    }
}

/// What a client weighs each coding with; `None` for one that it did not name.
#[derive(Default)]
struct Weights {
    gzip: Option<f32>,
    deflate: Option<f32>,
    identity: Option<f32>,
    others: Option<f32>,
}

impl Weights {
    fn add(&mut self, choice: &str) {
        let mut parts = choice.split(';').map(str::trim);
        let name = parts.next().unwrap_or_default();
        let weight = parts.find_map(|part| part.strip_prefix("q=")).map_or(Some(1.0), |q| q.parse().ok());
        let is = |other: &str| name.eq_ignore_ascii_case(other);
        if is("gzip") || is("x-gzip") {
            self.gzip = weight;
        } else if is("deflate") {
            self.deflate = weight;
        } else if is("identity") {
            self.identity = weight;
        } else if is("*") {
            self.others = weight;
        }
    }

    fn best(&self) -> Option<Coding> {
        let gzip = self.gzip.or(self.others).unwrap_or(0.0);
        let deflate = self.deflate.or(self.others).unwrap_or(0.0);
        let (coding, weight) = if deflate > gzip { (Coding::Deflate, deflate) } else { (Coding::Gzip, gzip) };
        (weight > 0.0 && weight >= self.identity.unwrap_or(0.0)).then_some(coding)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(accept: &str) -> Option<Coding> {
        let value = HeaderValue::from_str(accept).unwrap();
        Coding::for_response(&HeaderMap::from_iter([(ACCEPT_ENCODING, value)]))
    }

    #[test]
    fn the_answer_is_compressed_only_when_asked() {
        assert_eq!(Coding::for_response(&HeaderMap::new()), None);
        for (accept, expected) in [
            ("", None),
            ("br", None),
            ("gzip", Some(Coding::Gzip)),
            ("deflate", Some(Coding::Deflate)),
            ("deflate, gzip", Some(Coding::Gzip)),
            ("gzip;q=0.5, deflate", Some(Coding::Deflate)),
            ("gzip;q=0", None),
            ("*", Some(Coding::Gzip)),
            ("*, gzip;q=0", Some(Coding::Deflate)),
            ("identity, gzip;q=0.5", None),
            ("GZIP ; q=1.0", Some(Coding::Gzip)),
        ] {
            assert_eq!(asked(accept), expected, "{accept:?}");
        }
    }

    #[test]
    fn what_was_packed_comes_out_again() {
        let plain = b"abc".repeat(1000);
        for coding in [Coding::Gzip, Coding::Deflate] {
            let packed = coding.compress(&plain).unwrap();
            assert!(packed.len() < plain.len());
            assert_eq!(
                coding.decompress(&packed, plain.len(), &|_| true).unwrap(),
                Unpacked::Whole(plain.clone().into())
            );
        }
    }

    #[test]
    fn the_limit_counts_what_comes_out() {
        let bomb = vec![0; 1 << 20];
        for coding in [Coding::Gzip, Coding::Deflate] {
            let packed = coding.compress(&bomb).unwrap();
            assert!(packed.len() < 1 << 14);
            assert_eq!(coding.decompress(&packed, (1 << 20) - 1, &|_| true).unwrap(), Unpacked::TooLarge);
        }
    }

    #[test]
    fn memory_is_asked_for_before_it_is_taken() {
        use std::cell::Cell;
        let packed = Coding::Gzip.compress(&vec![0; 1 << 20]).unwrap();
        let held = Cell::new(0);
        let room = |most: usize| {
            held.set(0);
            let held = &held;
            move |bytes: usize| {
                held.set(held.get() + bytes);
                held.get() <= most
            }
        };
        assert_eq!(Coding::Gzip.decompress(&packed, 1 << 24, &room(1 << 19)).unwrap(), Unpacked::NoRoom);
        let unpacked = Coding::Gzip.decompress(&packed, 1 << 24, &room(1 << 22)).unwrap();
        assert!(unpacked == Unpacked::Whole(vec![0; 1 << 20].into()) && held.get() <= 1 << 21, "{}", held.get());
    }

    #[test]
    fn a_body_that_is_cut_or_something_else_is_an_error() {
        for coding in [Coding::Gzip, Coding::Deflate] {
            let packed = coding.compress(&b"abc".repeat(1000)).unwrap();
            assert!(coding.decompress(&packed[..packed.len() - 9], 1 << 20, &|_| true).is_err());
            assert!(coding.decompress(b"plain text", 1 << 20, &|_| true).is_err());
        }
    }

    #[test]
    fn an_unknown_coding_is_refused() {
        let headers = |name| HeaderMap::from_iter([(CONTENT_ENCODING, HeaderValue::from_static(name))]);
        assert!(matches!(Coding::of_request(&headers("br")), Err(ApiError::ContentEncoding(_))));
        assert!(matches!(Coding::of_request(&headers("gzip, gzip")), Err(ApiError::ContentEncoding(_))));
        assert!(matches!(Coding::of_request(&headers("Identity")), Ok(None)));
    }

    #[test]
    fn a_body_of_many_parts_is_one() {
        let part = |plain: &[u8]| Coding::Gzip.compress(plain).unwrap();
        let packed = [part(b"").repeat(10_000), part(b"to"), part(b""), part(b"gether")].concat();
        let unpacked = Coding::Gzip.decompress(&packed, 100, &|_| true).unwrap();
        assert_eq!(unpacked, Unpacked::Whole(b"together".to_vec().into()));
        assert!(
            Coding::Gzip
                .decompress(&[part(&[1; 100_000]), b"\x1f\x8b\x08".to_vec()].concat(), 1 << 20, &|_| true)
                .is_err()
        );
    }
}
