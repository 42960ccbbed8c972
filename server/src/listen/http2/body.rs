//! The body of a request, read while it comes.

use std::sync::MutexGuard;
use std::task::{Context, Poll};

use bytes::Bytes;
use hyper::body::SizeHint;

use super::state::{Shared, State};
use crate::piece::Piece;

/// A body that comes, or has come.
pub(in crate::listen) struct Coming {
    pub(super) shared: Shared,
    pub(super) stream: u32,
}

/// Nothing follows of a body that was not at its end.
#[derive(Debug, thiserror::Error)]
#[error("its stream was reset")]
pub(in crate::listen) struct Cut;

impl Coming {
    /// Has what comes put behind `start`, and read once all of the piece is there, or it ends. Takes what it puts there.
    pub(in crate::listen) fn gather(&self, start: &mut Bytes, piece: Piece) {
        let mut state = self.shared.lock();
        let Some(record) = state.streams.get_mut(&self.stream).filter(|record| !record.gone) else { return };
        let read = record.arrived.gather(&std::mem::take(start), piece);
        self.read(state, read);
    }

    /// How much is there that is not read.
    pub(in crate::listen) fn here(&self) -> usize {
        self.shared.lock().streams.get(&self.stream).map_or(0, |record| record.arrived.len())
    }

    /// The next of it.
    pub(in crate::listen) fn poll_next(&self, context: &mut Context<'_>) -> Poll<Option<Result<Bytes, Cut>>> {
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
        let waker = if tells { state.call() } else { None };
        drop(state);
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    pub(in crate::listen) fn is_over(&self) -> bool {
        let state = self.shared.lock();
        state.streams.get(&self.stream).is_some_and(|record| record.arrived.ended && record.arrived.len() == 0)
    }

    pub(in crate::listen) fn size_hint(&self) -> SizeHint {
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
