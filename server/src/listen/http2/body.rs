//! The body of a request, read while it comes.

use std::pin::Pin;
use std::sync::MutexGuard;
use std::task::{Context, Poll};

use bytes::Bytes;
use hyper::body::{Body as HttpBody, Frame, SizeHint};

use super::state::{Shared, State};
use crate::piece::Piece;

/// A body that is there, or comes.
pub(in crate::listen) enum Body {
    Whole(Bytes),
    Coming(Coming),
}

/// One that comes.
pub(in crate::listen) struct Coming {
    pub(super) shared: Shared,
    pub(super) stream: u32,
}

/// Nothing follows of a body that was not at its end.
#[derive(Debug, thiserror::Error)]
#[error("its stream was reset")]
pub(in crate::listen) struct Cut;

impl HttpBody for Body {
    type Data = Bytes;
    type Error = Cut;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Cut>>> {
        match self.get_mut() {
            Self::Whole(bytes) if bytes.is_empty() => Poll::Ready(None),
            Self::Whole(bytes) => Poll::Ready(Some(Ok(Frame::data(std::mem::take(bytes))))),
            Self::Coming(coming) => coming.poll_next(context).map(|next| next.map(|bytes| bytes.map(Frame::data))),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Whole(bytes) => bytes.is_empty(),
            Self::Coming(coming) => coming.is_over(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Self::Coming(coming) => coming.size_hint(),
        }
    }
}

impl Body {
    /// Has what comes put behind `start`, and read once all of the piece is there, or it ends. Takes what it puts there.
    pub(in crate::listen) fn gather(&self, start: &mut Bytes, piece: Piece) {
        let Self::Coming(coming) = self else { return };
        let mut state = coming.shared.lock();
        let Some(record) = state.streams.get_mut(&coming.stream).filter(|record| !record.gone) else { return };
        let read = record.arrived.gather(&std::mem::take(start), piece);
        coming.read(state, read);
    }

    /// How much is there that is not read.
    pub(in crate::listen) fn here(&self) -> usize {
        match self {
            Self::Whole(bytes) => bytes.len(),
            Self::Coming(coming) => {
                coming.shared.lock().streams.get(&coming.stream).map_or(0, |record| record.arrived.len())
            }
        }
    }
}

impl Coming {
    fn poll_next(&self, context: &mut Context<'_>) -> Poll<Option<Result<Bytes, Cut>>> {
        let mut state = self.shared.lock();
        let Some(record) = state.streams.get_mut(&self.stream).filter(|record| !record.gone) else {
            return Poll::Ready(Some(Err(Cut)));
        };
        if let Some((bytes, read)) = record.arrived.take() {
            self.read(state, read);
            return Poll::Ready(Some(Ok(bytes)));
        }
        if record.arrived.ended {
            return Poll::Ready(None);
        }
        record.listen_for_more(context);
        Poll::Pending
    }

    /// Notes that so much was read, of which the client may have to be told.
    fn read(&self, mut state: MutexGuard<'_, State>, bytes: usize) {
        let before = state.out.len();
        state.read(self.stream, bytes);
        let tells = state.out.len() > before;
        let waker = state.waker.take_if(|_| tells);
        drop(state);
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    fn is_over(&self) -> bool {
        let state = self.shared.lock();
        state.streams.get(&self.stream).is_some_and(|record| record.arrived.ended && record.arrived.len() == 0)
    }

    fn size_hint(&self) -> SizeHint {
        let state = self.shared.lock();
        let Some(record) = state.streams.get(&self.stream) else { return SizeHint::default() };
        let here = record.arrived.len() as u64;
        match record.arrived.expected {
            Some(rest) => SizeHint::with_exact(here + rest),
            None if record.arrived.ended => SizeHint::with_exact(here),
            None => {
                let mut hint = SizeHint::new();
                hint.set_lower(here);
                hint
            }
        }
    }
}

impl Drop for Coming {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        let left = state.streams.get_mut(&self.stream).map_or(0, |record| record.discard());
        self.read(state, left);
    }
}
