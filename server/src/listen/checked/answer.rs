//! The answers of the server, which are as the path of the request has it.

use std::collections::HashMap;
use std::future::pending;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::response::Response;
use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, Request, StatusCode};
use http_body_util::BodyExt;
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use tokio::task::yield_now;
use tokio::time::sleep;

use crate::listen::Body;
use crate::listen::young::grow_up;
use crate::payload::Source;
use crate::piece::Piece;

const SIZES: [usize; 16] =
    [0, 1, 10, 100, 1000, 4096, 4097, 16_384, 16_385, 20_000, 40_000, 65_535, 65_536, 70_000, 131_072, LARGEST];

/// No answer is larger, but for those that say what they were told.
pub(in crate::listen) const LARGEST: usize = 140_000;

const PIECES: [usize; 8] = [1 << 20, 1, 7, 1000, 4096, 4097, 16_384, 70_000];

/// More pieces take too long.
const MOST_PIECES: usize = 64;

/// The fields of an answer's head.
pub(in crate::listen) type Fields = HashMap<String, String>;

/// What four bits of a character of a path say.
pub(in crate::listen) fn digit(path: &str, at: usize) -> usize {
    path.as_bytes().get(at + 1).map_or(0, |byte| usize::from(byte & 15))
}

/// How many bytes of an answer to such a path come at once, if it has so many in all.
pub(in crate::listen) fn piece_of(path: &str, size: usize) -> usize {
    PIECES[digit(path, 1) % 8].max(size / MOST_PIECES)
}

/// Whether the answer to such a path never comes.
pub(in crate::listen) fn never_comes(path: &str) -> bool {
    digit(path, 2) == 3
}

/// Whether it fails at its end.
pub(in crate::listen) fn breaks_off(path: &str) -> bool {
    digit(path, 4) & 8 != 0
}

/// Checks that `bytes` are what comes next of an answer that has had so many; `asked` is the body of its request, if that has
/// come whole.
pub(in crate::listen) fn check_bytes(fields: &Fields, had: usize, bytes: &[u8], asked: Option<&[u8]>) {
    let number = |name: &str| fields.get(name).map_or(0, |number| number.parse::<usize>().unwrap());
    let piece = number("piece");
    assert!(had + bytes.len() <= number("size"), "an answer is too long");
    if fields.contains_key("echo") {
        let asked = asked.unwrap_or_else(|| unreachable!("a body was read to its end, which has not come"));
        assert!(asked[had..].starts_with(bytes), "an answer is another");
    } else {
        let is_right = bytes.iter().zip(had..).all(|(byte, at)| usize::from(*byte) == at / piece % 256);
        assert!(is_right, "an answer is another");
    }
}

/// Checks that an answer that has had so many bytes may end.
pub(in crate::listen) fn check_end(fields: &Fields, had: usize, asked: &[u8]) {
    for name in ["size", "content-length"] {
        let length = fields.get(name).map(|length| length.parse::<usize>().unwrap());
        assert!(length.is_none_or(|length| length == had), "{name} is {length:?}, came {had}");
    }
    if fields.contains_key("echo") {
        assert_eq!(had, asked.len(), "a body was not read whole");
    }
}

/// Answers a request, of whose path four bits of each character say something.
pub(in crate::listen) async fn answer(request: Request<Body>) -> Response {
    let (head, mut body) = request.into_parts();
    let digit = |at: usize| digit(head.uri.path(), at);
    let (size, reads, waits, kind) = (SIZES[digit(0)], digit(2), digit(3), digit(4));
    if waits & 1 != 0 {
        yield_now().await;
    }
    if waits & 2 != 0 {
        grow_up().await;
    }
    if waits & 4 != 0 {
        sleep(Duration::from_secs(1)).await;
    }
    let mut saying = Saying {
        size,
        piece: 0,
        at: 0,
        echo: None,
        trailers: kind & 1 != 0,
        breaks: kind & 8 != 0,
        has_length: kind & 2 == 0,
        waits: waits & 8 != 0,
        waited: false,
        _held: None,
    };
    // A request of HTTP/1.1 does not bring the header.
    let length = body.size_hint().exact();
    match reads {
        0 => drop(body),
        1 => drop(body.frame().await),
        2 => saying._held = Some(body),
        3 => pending().await,
        _ => match read(body, reads & 1 != 0, reads & 2 != 0).await {
            Err(_) => {
                return Response::builder().status(StatusCode::BAD_REQUEST).body(axum::body::Body::empty()).unwrap();
            }
            Ok(bytes) => {
                let said = head.headers.get("content-length").and_then(|length| length.to_str().ok()?.parse().ok());
                for length in said.into_iter().chain(length) {
                    assert_eq!(length, bytes.len() as u64, "{said:?}, {length:?}");
                }
                (saying.size, saying.echo) = (bytes.len(), Some(bytes));
            }
        },
    }
    saying.piece = piece_of(head.uri.path(), saying.size);
    let mut response = Response::builder().header("size", saying.size).header("piece", saying.piece);
    if saying.echo.is_some() {
        response = response.header("echo", "1");
    }
    if kind & 4 != 0 {
        response = response.header("large", "x".repeat(20_000)).header("content-type", "application/grpc");
    }
    response.body(axum::body::Body::new(saying)).unwrap()
}

async fn read(mut body: Body, slowly: bool, mut gathers: bool) -> Result<Bytes, axum::BoxError> {
    let mut whole = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let mut piece = frame?.into_data().unwrap();
        // Every other one comes again, with more behind it.
        gathers = !gathers;
        if !gathers {
            let more = 3 * piece.len() + 1;
            body.gather(&mut piece, Piece { whole: more, tensor: 0 });
        }
        whole.extend_from_slice(&piece);
        if slowly {
            yield_now().await;
        }
    }
    Ok(whole.freeze())
}

/// What an answer says: piece by piece, each made of its own number unless it is what the request said.
struct Saying {
    size: usize,
    piece: usize,
    at: usize,
    echo: Option<Bytes>,
    trailers: bool,
    /// Whether it fails at its end.
    breaks: bool,
    has_length: bool,
    /// Whether each frame has to be waited for.
    waits: bool,
    waited: bool,
    /// The request's body, which is not read.
    _held: Option<Body>,
}

/// What fails.
#[derive(Debug, thiserror::Error)]
#[error("it breaks off")]
struct Broken;

impl HttpBody for Saying {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        let this = self.get_mut();
        if this.waits {
            this.waited = !this.waited;
            if this.waited {
                context.waker().wake_by_ref();
                return Poll::Pending;
            }
        }
        let length = this.piece.min(this.size - this.at);
        if length > 0 {
            let from = this.at;
            this.at += length;
            let bytes = match &this.echo {
                Some(echo) => echo.slice(from..from + length),
                None => Bytes::from(vec![u8::try_from(from / this.piece % 256).unwrap(); length]),
            };
            return Poll::Ready(Some(Ok(Frame::data(bytes))));
        }
        if std::mem::take(&mut this.breaks) {
            return Poll::Ready(Some(Err(Broken)));
        }
        let trailers = || HeaderMap::from_iter([("grpc-status".parse().unwrap(), HeaderValue::from_static("0"))]);
        Poll::Ready(std::mem::take(&mut this.trailers).then(|| Ok(Frame::trailers(trailers()))))
    }

    fn is_end_stream(&self) -> bool {
        self.has_length && self.at == self.size && !self.trailers && !self.breaks
    }

    fn size_hint(&self) -> SizeHint {
        if self.has_length { SizeHint::with_exact((self.size - self.at) as u64) } else { SizeHint::default() }
    }
}
