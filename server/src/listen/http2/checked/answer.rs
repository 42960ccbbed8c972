//! The answers of the server, which are as the path of the request has it.

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

use super::super::Body;
use super::super::body::Cut;
use crate::listen::young::grow_up;
use crate::piece::Piece;

const SIZES: [usize; 16] =
    [0, 1, 10, 100, 1000, 4096, 4097, 16_384, 16_385, 20_000, 40_000, 65_535, 65_536, 70_000, 131_072, 140_000];

const PIECES: [usize; 8] = [1 << 20, 1, 7, 1000, 4096, 4097, 16_384, 70_000];

/// More pieces take too long.
const MOST_PIECES: usize = 64;

/// Answers a request, of whose path four bits of each character say something.
pub(super) async fn answer(request: Request<Body>) -> Response {
    let (head, mut body) = request.into_parts();
    let path = head.uri.path().as_bytes();
    let digit = |at: usize| path.get(at + 1).map_or(0, |byte| usize::from(byte & 15));
    let (size, piece, reads, waits, kind) = (SIZES[digit(0)], PIECES[digit(1) % 8], digit(2), digit(3), digit(4));
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
        piece,
        at: 0,
        echo: None,
        trailers: kind & 1 != 0,
        breaks: kind & 8 != 0,
        has_length: kind & 2 == 0,
        waits: waits & 8 != 0,
        waited: false,
        _held: None,
    };
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
                let length = head.headers.get("content-length").and_then(|length| length.to_str().ok()?.parse().ok());
                assert!(length.is_none_or(|length: usize| length == bytes.len()), "{length:?}, got {}", bytes.len());
                (saying.size, saying.echo) = (bytes.len(), Some(bytes));
            }
        },
    }
    saying.piece = saying.piece.max(saying.size / MOST_PIECES);
    let mut response = Response::builder().header("size", saying.size).header("piece", saying.piece);
    if saying.echo.is_some() {
        response = response.header("echo", "1");
    }
    if kind & 4 != 0 {
        response = response.header("large", "x".repeat(20_000)).header("content-type", "application/grpc");
    }
    response.body(axum::body::Body::new(saying)).unwrap()
}

async fn read(mut body: Body, slowly: bool, mut gathers: bool) -> Result<Bytes, Cut> {
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
