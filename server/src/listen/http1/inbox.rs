//! The body of the request under way, between the connection that it comes by and who reads it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use bytes::{Bytes, BytesMut};
use hyper::body::SizeHint;

use super::head::Framing;
use crate::piece::Piece;

/// A body that comes, as both see it.
#[derive(Clone, Debug)]
pub(in crate::listen) struct Inbox(Arc<Mutex<Coming>>);

/// As far as it came and was not read, in one piece.
#[derive(Debug)]
pub(super) struct Coming {
    bytes: BytesMut,
    /// The reader waits for so many, and has room for them.
    wanted: usize,
    /// How much is still to come, where the head says so.
    rest: Option<u64>,
    end: End,
    /// Who waits for more, and the connection, if it has gone to sleep because nobody did.
    reader: Option<Waker>,
    connection: Option<Waker>,
}

/// Whether a body has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    No,
    Yes,
    /// Nothing follows though it is not whole.
    Cut(Cut),
}

/// Why the rest of a body does not come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(in crate::listen) enum Cut {
    #[error("its client left")]
    Left,
    #[error("it is not in chunks as it says: expected a size in hexadecimal digits, CR LF, so many bytes, CR LF")]
    Chunks,
    #[error("its request was answered")]
    Answered,
}

impl Inbox {
    pub(super) fn new(framing: Framing) -> Self {
        let rest = match framing {
            Framing::Length(length) => Some(length),
            Framing::Chunked => None,
        };
        Self(Arc::new(Mutex::new(Coming {
            bytes: BytesMut::new(),
            wanted: 0,
            rest,
            end: if rest == Some(0) { End::Yes } else { End::No },
            reader: None,
            connection: None,
        })))
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Coming> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next of the body.
    pub(in crate::listen) fn poll_next(&self, context: &mut Context<'_>) -> Poll<Option<Result<Bytes, Cut>>> {
        let mut coming = self.lock();
        if !coming.bytes.is_empty() && coming.is_enough() {
            coming.wanted = 0;
            return Poll::Ready(Some(Ok(std::mem::take(&mut coming.bytes).freeze())));
        }
        match coming.end {
            End::Yes => return Poll::Ready(None),
            End::Cut(cut) => return Poll::Ready(Some(Err(cut))),
            End::No => {}
        }
        if coming.reader.as_ref().is_none_or(|reader| !reader.will_wake(context.waker())) {
            coming.reader = Some(context.waker().clone());
        }
        // As a rule it is the connection's own task that reads, and looks after this.
        let connection = coming.connection.take_if(|connection| !connection.will_wake(context.waker()));
        drop(coming);
        if let Some(connection) = connection {
            connection.wake();
        }
        Poll::Pending
    }

    /// Puts what comes behind `start`, and lets nobody read it until all of the piece is there, or it ends.
    pub(in crate::listen) fn gather(&self, start: &mut Bytes, piece: Piece) {
        let mut coming = self.lock();
        coming.wanted = piece.whole;
        let mut bytes = piece.at_least(start.len() + coming.bytes.len()).memory();
        bytes.extend_from_slice(&std::mem::take(start));
        bytes.extend_from_slice(&coming.bytes);
        coming.bytes = bytes;
    }

    /// How much is there that is not read.
    pub(in crate::listen) fn here(&self) -> usize {
        self.lock().bytes.len()
    }

    pub(in crate::listen) fn is_over(&self) -> bool {
        let coming = self.lock();
        coming.end == End::Yes && coming.bytes.is_empty()
    }

    pub(in crate::listen) fn size_hint(&self) -> SizeHint {
        let coming = self.lock();
        let here = coming.bytes.len() as u64;
        match coming.rest {
            Some(rest) => SizeHint::with_exact(here.saturating_add(rest)),
            None if coming.end == End::Yes => SizeHint::with_exact(here),
            None => {
                let mut hint = SizeHint::new();
                hint.set_lower(here);
                hint
            }
        }
    }
}

impl Coming {
    /// Whether somebody waits for more.
    pub(super) fn is_wanted(&self) -> bool {
        self.reader.is_some() && self.end == End::No
    }

    /// Wakes the connection, which looks now, once somebody does.
    pub(super) fn call(&mut self, context: &Context<'_>) {
        self.connection = Some(context.waker().clone());
    }

    /// Whether all of it has come.
    pub(super) fn has_ended(&self) -> bool {
        self.end == End::Yes
    }

    /// How much is still to come, where that is known.
    pub(super) const fn rest(&self) -> Option<u64> {
        self.rest
    }

    /// Where what comes goes at once, and how much of it, if there is a place for so much.
    pub(super) fn place(&mut self) -> Option<(&mut BytesMut, usize)> {
        let rest = usize::try_from(self.rest?).ok()?;
        let room = self.wanted.min(self.bytes.capacity()).saturating_sub(self.bytes.len()).min(rest);
        (room > 0).then_some((&mut self.bytes, room))
    }

    /// Takes what came. Here and below, who waits for it is woken, unless it is woken as `context` is.
    pub(super) fn push(&mut self, bytes: &[u8], context: &Context<'_>) {
        self.bytes.extend_from_slice(bytes);
        self.grew(bytes.len(), context);
    }

    /// Notes that so much was put into its [`place`](Self::place), or behind what there is.
    pub(super) fn grew(&mut self, bytes: usize, context: &Context<'_>) {
        if let Some(rest) = &mut self.rest {
            *rest = rest.saturating_sub(bytes as u64);
            if *rest == 0 {
                self.end = End::Yes;
            }
        }
        self.tell(context);
    }

    /// Nothing follows, because it is all.
    pub(super) fn finish(&mut self, context: &Context<'_>) {
        self.end = End::Yes;
        self.tell(context);
    }

    /// Nothing follows, though it is not all.
    pub(super) fn cut(&mut self, cut: Cut, context: &Context<'_>) {
        if self.end == End::No {
            self.end = End::Cut(cut);
        }
        self.tell(context);
    }

    fn is_enough(&self) -> bool {
        self.end != End::No || self.bytes.len() >= self.wanted
    }

    fn tell(&mut self, context: &Context<'_>) {
        if self.is_enough()
            && let Some(reader) = self.reader.take().filter(|reader| !reader.will_wake(context.waker()))
        {
            reader.wake();
        }
    }
}
