//! The messages of a call, taken out of their frames as they come.

use std::cell::RefCell;

use bytes::{Buf, Bytes, BytesMut};
use futures_util::FutureExt;
use hedef_core::ModelId;
use hedef_core::host::at_length;
use hedef_protocols::v2::grpc::{self, PREFIX};
use tokio::task::coop::unconstrained;
use tokio::task::spawn_blocking;

use crate::app::App;
use crate::encoding::{Coding, Unpacked};
use crate::error::ApiError;
use crate::listen::STREAM_WINDOW;
use crate::payload::{IN_PLACE, Limit, Pace, Source, next};
use crate::piece::Piece;
use crate::room::Reserved;

/// How much of a message is there before it is asked what it says of itself.
const START: usize = 4 << 10;

/// The messages that come in the body of a call.
///
/// Waiting for one can be given up at any time and begun again: what has come stays here.
pub(super) struct Incoming<B> {
    app: App,
    body: B,
    coding: Option<Coding>,
    arrived: Arrived,
    /// That of the message that has begun to come.
    pace: Pace,
    /// How many bytes are still to come of a message that nobody wants.
    unwanted: usize,
    /// How many bytes are left of those that had come when no more were to be taken.
    last: Option<usize>,
    /// Whether the call has one message.
    is_only: bool,
    /// How many bytes have been here of those that come next.
    again: usize,
}

/// A message that has begun to come.
#[derive(Clone, Copy, Debug)]
pub(super) struct Begun {
    packed: bool,
    /// In the frame, packed or not.
    length: usize,
}

/// A message as it came.
pub(super) struct Message {
    bytes: Bytes,
    /// How to unpack it, and the most bytes that may come out.
    coding: Option<Coding>,
    limit: usize,
    model: Option<ModelId>,
    reserved: Reserved,
}

impl<B: Source> Incoming<B> {
    /// Takes the body of a call whose compressed messages are in `coding`.
    pub(super) fn new(app: &App, body: B, coding: Option<Coding>) -> Self {
        let pace = Pace::new(app.config.caps.body_rate);
        let (arrived, app) = (Arrived::default(), app.clone());
        Self { app, body, coding, arrived, pace, unwanted: 0, last: None, is_only: false, again: 0 }
    }

    /// Takes what has come. What begins later is not taken any more: [`Self::first_byte`] fails then.
    pub(super) fn close(&mut self) -> Result<(), ApiError> {
        // No more than this can have come, and a client may go on sending.
        let most = self.arrived.len() + STREAM_WINDOW as usize;
        while self.arrived.len() < most {
            // What is there has to come, however much this task has done already.
            let Some(bytes) = unconstrained(next(&mut self.body)).now_or_never() else { break };
            if !self.came(bytes?, Piece::default()) {
                break;
            }
        }
        self.last = Some(self.arrived.len());
        Ok(())
    }

    /// Whether of what is to be taken a message has begun to come.
    pub(super) fn has_begun(&self) -> bool {
        self.unwanted == 0 && self.arrived.len() > 0 && self.last != Some(0)
    }

    /// Waits, as long as that takes, until the next message begins to come; `false` when the client has ended.
    pub(super) async fn first_byte(&mut self) -> Result<bool, ApiError> {
        while self.unwanted > 0 {
            let arrived = self.arrived.len().min(self.unwanted);
            self.take(arrived);
            self.unwanted -= arrived;
            if self.unwanted > 0 && !self.idle().await? {
                return Err(cut());
            }
        }
        while self.arrived.len() == 0 {
            if !self.idle().await? {
                return Ok(false);
            }
        }
        if self.last == Some(0) { Err(ApiError::Stopping) } else { Ok(true) }
    }

    /// Waits for the frame of a message whose first byte is there. Fails where it comes too slowly.
    pub(super) async fn begin(&mut self) -> Result<Begun, ApiError> {
        while self.arrived.len() < PREFIX {
            if !self.more(Piece::default()).await? {
                return Err(cut());
            }
        }
        let prefix = self.arrived.bytes().first_chunk::<PREFIX>().copied().unwrap_or_default();
        let [flag, length @ ..] = prefix;
        let length = usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX);
        let packed = match (flag, self.coding) {
            (0, _) => false,
            (1, Some(_)) => true,
            (1, None) => {
                let why = "a message is compressed, and the header `grpc-encoding` does not say how";
                return Err(ApiError::BodyBroken(why.into()));
            }
            _ => return Err(ApiError::BodyBroken("what should be a message's frame is none".into())),
        };
        Ok(Begun { packed, length })
    }

    /// The same for the only message of a call.
    pub(super) async fn only(&mut self) -> Result<Begun, ApiError> {
        self.is_only = true;
        if self.first_byte().await? { self.begin().await } else { Err(ApiError::BodyBroken("no message came".into())) }
    }

    /// Waits for the beginning of a message and hands it to `read`, unpacked; not if the message is plain and short. Fails
    /// where it comes too slowly.
    pub(super) async fn peek<T>(
        &mut self,
        begun: Begun,
        read: impl FnOnce(&[u8]) -> Option<T>,
    ) -> Result<Option<T>, ApiError> {
        let coding = self.coding.filter(|_| begun.packed);
        if coding.is_none() && begun.length <= START {
            return Ok(None);
        }
        while self.arrived.len() < PREFIX + begun.length.min(START) {
            if !self.more(Piece::default()).await? {
                return Err(cut());
            }
        }
        let start = self.arrived.bytes().get(PREFIX..).unwrap_or_default();
        Ok(match coding {
            Some(coding) => read(&coding.start(start, START)),
            None => read(start),
        })
    }

    /// Waits for the rest of a message. Fails where it is longer than `limit` allows, without waiting, and where it comes
    /// too slowly.
    pub(super) async fn finish(&mut self, begun: Begun, limit: Limit<'_>) -> Result<Message, ApiError> {
        if begun.length > limit.bytes {
            return Err(limit.exceeded(Some(begun.length)));
        }
        let reserved = Reserved::of(&self.app, begun.length)?;
        let piece = self.piece(begun);
        // One of several may be given up and begun again, for which its beginning has to be here.
        if self.is_only && self.arrived.len() < piece.whole {
            self.gather(piece);
        }
        while self.arrived.len() < piece.whole {
            if !self.more(piece).await? {
                return Err(cut());
            }
        }
        let mut bytes = self.take(piece.whole);
        bytes.advance(PREFIX);
        let coding = self.coding.filter(|_| begun.packed);
        Ok(Message { bytes, coding, limit: limit.bytes, model: limit.model.cloned(), reserved })
    }

    /// The message as it has to be put together.
    fn piece(&self, begun: Begun) -> Piece {
        let whole = PREFIX + begun.length;
        let start = self.arrived.bytes().get(PREFIX..whole.min(START)).filter(|_| !begun.packed).unwrap_or_default();
        Piece { whole, tensor: PREFIX + grpc::raw_start(start).unwrap_or(0) }
    }

    /// Has the body put together the message that has begun to come.
    fn gather(&mut self, piece: Piece) {
        let mut start = self.arrived.take(self.arrived.len());
        let count = start.len();
        self.body.gather(&mut start, piece);
        self.again = count - start.len();
        self.arrived = Arrived::One(start);
    }

    /// Leaves out a message that is not going to be finished.
    pub(super) fn skip(&mut self, begun: Begun) {
        self.unwanted = PREFIX.saturating_add(begun.length);
        self.pace.restart();
    }

    /// Waits until the client has ended; fails where another message comes.
    pub(super) async fn end(&mut self) -> Result<(), ApiError> {
        while self.arrived.len() == 0 {
            if !self.more(Piece::default()).await? {
                return Ok(());
            }
        }
        Err(ApiError::BodyBroken("more than one message came in a call that takes one".into()))
    }

    /// Takes the first `count` bytes, which have come.
    fn take(&mut self, count: usize) -> Bytes {
        self.last = self.last.map(|last| last.saturating_sub(count));
        self.pace.restart();
        self.arrived.take(count)
    }

    /// Waits for more bytes, as long as that takes; `false` at the end.
    async fn idle(&mut self) -> Result<bool, ApiError> {
        if self.body.is_end_stream() {
            return Ok(false);
        }
        let bytes = next(&mut self.body).await?;
        Ok(self.came(bytes, Piece::default()))
    }

    /// Waits for more bytes of a message; `false` at the end.
    async fn more(&mut self, piece: Piece) -> Result<bool, ApiError> {
        if self.body.is_end_stream() {
            return Ok(false);
        }
        let bytes = self.pace.next(&mut self.body).await?;
        Ok(self.came(bytes, piece))
    }

    fn came(&mut self, bytes: Option<Bytes>, piece: Piece) -> bool {
        let Some(bytes) = bytes else { return false };
        let news = bytes.len() - std::mem::take(&mut self.again);
        self.app.metrics.request_bytes.inc_by(u64::try_from(news).unwrap_or(u64::MAX));
        self.arrived.push(bytes, piece);
        true
    }
}

fn cut() -> ApiError {
    ApiError::BodyBroken("it ends within a message".into())
}

impl Message {
    /// How many bytes it has, packed or not.
    pub(super) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// The message, unpacked. Fails where it is larger than allowed then, or than there is memory for.
    pub(super) async fn unpack(self) -> Result<Bytes, ApiError> {
        let Self { bytes, coding, limit: most, model, mut reserved } = self;
        let Some(coding) = coding else { return Ok(reserved.keep_with(bytes)) };
        let small = bytes.len() <= IN_PLACE;
        let unpack = move || {
            let room = RefCell::new(&mut reserved);
            let unpacked = coding.decompress(&bytes, most, &|more| room.borrow_mut().more(more));
            (unpacked, reserved)
        };
        let (unpacked, reserved) = if small {
            unpack()
        } else {
            spawn_blocking(|| at_length(unpack))
                .await
                .map_err(|error| ApiError::Fault(format!("unpacking a message: {error}")))?
        };
        match unpacked.map_err(|error| ApiError::BodyBroken(format!("{coding:?}: {error}")))? {
            Unpacked::Whole(plain) => Ok(reserved.keep_with(plain.into())),
            Unpacked::TooLarge => Err(Limit { bytes: most, model: model.as_ref() }.exceeded(None)),
            Unpacked::NoRoom => Err(reserved.refusal()),
        }
    }
}

/// Bytes that have come. Those of a small message are never copied; those of a long one once, into one piece.
#[derive(Debug)]
enum Arrived {
    One(Bytes),
    Many(BytesMut),
}

impl Default for Arrived {
    fn default() -> Self {
        Self::One(Bytes::new())
    }
}

impl Arrived {
    fn bytes(&self) -> &[u8] {
        match self {
            Self::One(bytes) => bytes,
            Self::Many(bytes) => bytes,
        }
    }

    fn len(&self) -> usize {
        self.bytes().len()
    }

    /// Adds bytes, of a piece that will be there as a whole.
    fn push(&mut self, more: Bytes, piece: Piece) {
        match self {
            Self::One(bytes) if bytes.is_empty() => *self = Self::One(more),
            Self::One(bytes) => {
                let mut many = piece.at_least(bytes.len() + more.len()).memory();
                many.extend_from_slice(bytes);
                many.extend_from_slice(&more);
                *self = Self::Many(many);
            }
            Self::Many(bytes) => {
                bytes.reserve(piece.at_least(bytes.len() + more.len()).whole - bytes.len());
                bytes.extend_from_slice(&more);
            }
        }
    }

    /// Takes the first `count` bytes, which have come.
    fn take(&mut self, count: usize) -> Bytes {
        match self {
            Self::One(bytes) => bytes.split_to(count),
            Self::Many(bytes) => {
                let taken = bytes.split_to(count).freeze();
                // What is empty holds no memory then.
                let rest = if bytes.is_empty() { Bytes::new() } else { std::mem::take(bytes).freeze() };
                *self = Self::One(rest);
                taken
            }
        }
    }
}
