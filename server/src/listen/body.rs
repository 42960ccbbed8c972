//! The body of a request, as its protocol brings it.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use hyper::body::{Body as HttpBody, Frame, SizeHint};

use super::{http1, http2};
use crate::payload::Source;
use crate::piece::Piece;

/// A body that is there, or comes.
pub(super) enum Body {
    Whole(Bytes),
    Http1(http1::Inbox),
    Http2(http2::Coming),
}

impl HttpBody for Body {
    type Data = Bytes;
    type Error = axum::BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::BoxError>>> {
        let next = match self.get_mut() {
            Self::Whole(bytes) if bytes.is_empty() => Poll::Ready(None),
            Self::Whole(bytes) => Poll::Ready(Some(Ok(std::mem::take(bytes)))),
            Self::Http1(inbox) => inbox.poll_next(context).map_err(Into::into),
            Self::Http2(coming) => coming.poll_next(context).map_err(Into::into),
        };
        next.map_ok(Frame::data)
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Whole(bytes) => bytes.is_empty(),
            Self::Http1(inbox) => inbox.is_over(),
            Self::Http2(coming) => coming.is_over(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Self::Http1(inbox) => inbox.size_hint(),
            Self::Http2(coming) => coming.size_hint(),
        }
    }
}

impl Source for Body {
    fn gather(&mut self, start: &mut Bytes, piece: Piece) {
        match self {
            Self::Whole(_) => {}
            Self::Http1(inbox) => inbox.gather(start, piece),
            Self::Http2(coming) => coming.gather(start, piece),
        }
    }

    fn here(&self) -> usize {
        match self {
            Self::Whole(bytes) => bytes.len(),
            Self::Http1(inbox) => inbox.here(),
            Self::Http2(coming) => coming.here(),
        }
    }
}
