//! What a connection shares with the tasks of its streams: the streams, and what is to be written.

#[cfg(any(test, fuzzing))]
mod check;

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Waker};
use std::time::Instant;

use bytes::Bytes;
use fnv::FnvHashMap;
use hedef_protocols::hpack::{Encoder, Indexing};
use http::header::{CONTENT_TYPE, DATE};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};

use super::credit::Credit;
use super::frame::{
    DATA, END_STREAM, FIRST_WINDOW, LARGEST, LARGEST_WINDOW, RST_STREAM, Reason, WINDOW_UPDATE, is_of_connection,
};
use super::record::{Record, Window, keep};
use crate::listen::date::Date;
use crate::listen::outgoing::Outgoing;
use crate::listen::{CONNECTION_WINDOW, STREAM_WINDOW};
use crate::middleware::answer::Own;
use crate::request_id::REQUEST_ID;

/// While so many bytes are to be written, data of answers waits with its stream.
pub(super) const FULL: usize = 64 << 10;

/// That the client may send so much more is not worth a frame beside others.
const LITTLE: u32 = 64 << 10;

/// Of so many streams that were over before their client had ended them it is known that more may come.
const CUT: usize = 256;

/// The largest frame that is sent to a client that takes larger ones.
const LARGEST_SENT: usize = 64 << 10;

/// A connection as its streams see it.
#[derive(Clone, Default)]
pub(super) struct Shared(Arc<Mutex<State>>);

impl Shared {
    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has the connection write what there is to be written, if it sleeps.
    pub(super) fn nudge(&self) {
        let waker = self.lock().call();
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

pub(super) struct State {
    /// No more than a client may have open and as many that are over: whatever numbers it chooses, a search is short.
    pub(super) streams: FnvHashMap<u32, Record>,
    pub(super) out: Outgoing,
    pub(super) encoder: Encoder,
    date: Date,
    /// How much data the client has room for, all streams together.
    window: i64,
    /// The same for a new stream.
    first_window: i64,
    /// The largest frame to send.
    largest: usize,
    /// How much the client may send.
    pub(super) room: Window,
    /// Streams that have data for which there is room.
    line: VecDeque<u32>,
    /// The last streams that were over before their client had ended them.
    cut: VecDeque<u32>,
    credit: Credit,
    /// Of the connection's task, and whether that sleeps.
    waker: Option<Waker>,
    asleep: bool,
}

impl Default for State {
    fn default() -> Self {
        Self {
            streams: FnvHashMap::default(),
            out: Outgoing::default(),
            encoder: Encoder::default(),
            date: Date::default(),
            window: FIRST_WINDOW,
            first_window: FIRST_WINDOW,
            largest: LARGEST,
            room: Window::new(CONNECTION_WINDOW),
            line: VecDeque::new(),
            cut: VecDeque::new(),
            credit: Credit::default(),
            waker: None,
            asleep: false,
        }
    }
}

impl State {
    /// The connection's task looks at all that there is before it sleeps.
    pub(super) const fn awake(&mut self) {
        self.asleep = false;
    }

    /// It sleeps until it is called.
    pub(super) fn sleep(&mut self, context: &Context<'_>) {
        keep(&mut self.waker, context);
        self.asleep = true;
    }

    /// What wakes it, if it sleeps: to be woken behind the lock.
    pub(super) fn call(&mut self) -> Option<Waker> {
        std::mem::take(&mut self.asleep).then(|| self.waker.clone()).flatten()
    }

    /// It is over, and nobody wakes it any more: what that took, to be dropped behind the lock.
    pub(super) fn retire(&mut self) -> Option<Waker> {
        self.asleep = false;
        self.waker.take()
    }
}

/// What came.
impl State {
    pub(super) fn open(&mut self, id: u32, expected: Option<u64>) -> &mut Record {
        self.streams.entry(id).insert_entry(Record::new(self.first_window, STREAM_WINDOW, expected)).into_mut()
    }

    /// Begins a frame of data, of a stream that came too `late` to be taken or not; fails where there was no room for it.
    pub(super) fn begins(&mut self, id: u32, length: usize, late: bool) -> Result<(), Reason> {
        if !self.room.came(length) {
            return Err(Reason::FlowControl);
        }
        let Some(record) = self.streams.get_mut(&id) else {
            // The client may have sent it before it heard that the stream is over.
            if late || self.cut.contains(&id) {
                return Ok(());
            }
            return self.give_up(id, Reason::StreamClosed);
        };
        if record.arrived.ended {
            self.give_up(id, Reason::StreamClosed)
        } else if !record.arrived.window.came(length) {
            self.give_up(id, Reason::FlowControl)
        } else {
            Ok(())
        }
    }

    /// Takes a part of such a frame, or the last of it; fails where the client has too often sent what it should not.
    pub(super) fn came(&mut self, id: u32, bytes: &[u8], last: bool) -> Result<(), Reason> {
        let length = bytes.len();
        let done = self.streams.get_mut(&id).map_or(Ok(length), |record| record.came(bytes, last));
        match done.unwrap_or(length) {
            0 => {}
            read => self.read(id, read),
        }
        done.map_or_else(|reason| self.give_up(id, reason), |_| Ok(()))
    }

    /// The same where the body has grown by it in its place.
    pub(super) fn grown(&mut self, id: u32, bytes: usize, last: bool) {
        if let Some(record) = self.streams.get_mut(&id) {
            record.grown(bytes, last);
        }
        self.read(id, bytes);
    }

    /// Notes that so much of what came was read, and tells the client what it may send more.
    pub(super) fn read(&mut self, id: u32, bytes: usize) {
        if let Some(more) = self.room.read(bytes, None) {
            self.out.frame(WINDOW_UPDATE, 0, 0, &more.to_be_bytes());
        }
        let stream = self.streams.get_mut(&id).filter(|record| !record.arrived.ended && !record.gone);
        let more = stream.and_then(|record| record.arrived.window.read(bytes, record.arrived.rest()));
        if let Some(more) = more {
            self.out.frame(WINDOW_UPDATE, 0, id, &more.to_be_bytes());
        }
    }

    /// Lets go of a stream that the client has reset.
    pub(super) fn leave(&mut self, id: u32) {
        let left = self.streams.get_mut(&id).map_or(0, Record::leave);
        self.read(id, left);
    }

    /// Lets go of all streams.
    pub(super) fn leave_all(&mut self) {
        self.streams.values_mut().for_each(|record| {
            record.leave();
        });
    }

    /// The client resets a stream; fails where it has done so too often.
    pub(super) fn reset_by_client(&mut self, id: u32) -> Result<(), Reason> {
        let wasted = self.streams.get(&id).is_some_and(|record| !record.answered && !record.gone);
        self.leave(id);
        if wasted { self.spend() } else { Ok(()) }
    }

    /// Takes no request from a stream; fails where that was so too often.
    pub(super) fn refuse(&mut self, id: u32, ended: bool, reason: Reason) -> Result<(), Reason> {
        self.out.frame(RST_STREAM, 0, id, &reason.code());
        self.note_end(id, ended);
        self.spend()
    }

    /// Whether a client has as many streams open as it may, `most`. Some that are over for it may still be here, of which there
    /// may be as many.
    pub(super) fn is_full(&self, most: usize) -> bool {
        let is_open = |record: &&Record| !(record.gone || (record.done && record.arrived.ended));
        let here = self.streams.len();
        here >= 2 * most || (here >= most && self.streams.values().filter(is_open).count() >= most)
    }

    /// Resets a stream for what its client did; fails where that was so too often.
    pub(super) fn give_up(&mut self, id: u32, reason: Reason) -> Result<(), Reason> {
        // One that is gone has been told.
        if self.streams.get(&id).is_none_or(|record| !record.gone) {
            self.reset(id, reason);
        }
        self.spend()
    }

    fn spend(&mut self) -> Result<(), Reason> {
        if self.credit.spend(Instant::now()) { Ok(()) } else { Err(Reason::Calm) }
    }

    /// Opens the window of a stream or, with none, of the connection.
    pub(super) fn widen(&mut self, id: u32, more: u32) -> Result<(), Reason> {
        let window = match id {
            0 => &mut self.window,
            _ => match self.streams.get_mut(&id) {
                Some(record) => &mut record.window,
                None => return Ok(()),
            },
        };
        let wider = window.saturating_add(more.into());
        match (id, more) {
            (0, 0) => return Err(Reason::Protocol),
            (0, _) if wider > LARGEST_WINDOW => return Err(Reason::FlowControl),
            (_, 0) => return self.give_up(id, Reason::Protocol),
            (_, _) if wider > LARGEST_WINDOW => return self.give_up(id, Reason::FlowControl),
            _ => {
                *window = wider;
                self.line_up(id);
            }
        }
        Ok(())
    }

    /// Changes the windows of all streams, as the client wants it.
    pub(super) fn resize_windows(&mut self, size: u32) -> Result<(), Reason> {
        let more = i64::from(size) - self.first_window;
        self.first_window = size.into();
        // The client may know that a stream is over before it is forgotten here.
        let is_open = |record: &Record| !record.gone && !record.done;
        for (id, record) in self.streams.iter_mut().filter(|(_, record)| more != 0 && is_open(record)) {
            record.window += more;
            if record.window > LARGEST_WINDOW {
                return Err(Reason::FlowControl);
            }
            if record.lines_up() {
                self.line.push_back(*id);
            }
        }
        Ok(())
    }

    /// Notes the largest frame that the client takes.
    pub(super) fn resize_frames(&mut self, size: usize) {
        self.largest = size.min(LARGEST_SENT);
    }
}

/// What goes.
impl State {
    /// Begins the answer of a stream; with `last` it is all of it.
    pub(super) fn head(&mut self, id: u32, (status, own, headers): (StatusCode, &Own, &HeaderMap), last: bool) {
        let Some(record) = self.streams.get_mut(&id).filter(|record| !record.gone) else { return };
        (record.answered, record.done) = (true, last);
        let (encoder, date) = (&mut self.encoder, &mut self.date);
        self.out.block(u8::from(last) * END_STREAM, id, self.largest, |block| {
            encoder.begin(block);
            encoder.status(status.as_u16(), block);
            own.each(|name, value| {
                // An id is never the same again: it would push out of the table what comes again.
                let indexing = if name == REQUEST_ID { Indexing::Never } else { Indexing::Keep };
                encoder.field(name.as_str().as_bytes(), value, indexing, block);
            });
            let mut dated = false;
            for (name, value) in headers {
                write(encoder, name, value, block);
                // Clients of gRPC read no clock from an answer.
                let is_grpc = || name == CONTENT_TYPE && value.as_bytes().starts_with(b"application/grpc");
                dated |= name == DATE || is_grpc();
            }
            if !dated {
                encoder.field(DATE.as_str().as_bytes(), date.now(), Indexing::Plain, block);
            }
        });
    }

    /// Goes on with the answer; `last` says that it ends with this. Says whether none of it waits for its client.
    pub(super) fn data(&mut self, id: u32, bytes: Bytes, last: bool) -> bool {
        let Some(record) = self.streams.get_mut(&id).filter(|record| !record.gone) else { return false };
        let length = i64::try_from(bytes.len()).unwrap_or(i64::MAX);
        let at_once = record.waiting.len() == 0
            && bytes.len() <= self.largest
            && (length == 0
                || (length <= record.window.min(self.window) && self.out.len() < FULL && self.line.is_empty()));
        if at_once {
            if length > 0 || last {
                (record.window, self.window, record.done) = (record.window - length, self.window - length, last);
                self.out.large(DATA, u8::from(last) * END_STREAM, id, bytes);
            }
            return true;
        }
        if length > 0 {
            record.waiting.push(bytes);
        }
        record.waiting.last = last;
        self.line_up(id);
        false
    }

    /// Ends the answer with `trailers`. Says whether they do not wait for its client.
    pub(super) fn trailers(&mut self, id: u32, trailers: HeaderMap) -> bool {
        let Some(record) = self.streams.get_mut(&id).filter(|record| !record.gone) else { return false };
        if record.waiting.len() > 0 {
            record.waiting.trailers = Some(trailers);
            return false;
        }
        record.done = true;
        let encoder = &mut self.encoder;
        self.out.block(END_STREAM, id, self.largest, |block| {
            encoder.begin(block);
            for (name, value) in &trailers {
                write(encoder, name, value, block);
            }
        });
        true
    }

    /// Ends a stream whose answer has failed.
    pub(super) fn break_off(&mut self, id: u32) {
        if self.streams.get(&id).is_some_and(|record| !record.gone) {
            self.reset(id, Reason::Internal);
        }
    }

    /// Ends a stream before its time.
    pub(super) fn reset(&mut self, id: u32, reason: Reason) {
        self.out.frame(RST_STREAM, 0, id, &reason.code());
        if let Some(record) = self.streams.get_mut(&id) {
            record.done = true;
        }
        self.leave(id);
    }

    /// Forgets a stream whose answer nobody makes any more.
    pub(super) fn forget(&mut self, id: u32) {
        match self.streams.get(&id) {
            Some(record) if !record.done && !record.gone => self.reset(id, Reason::Cancel),
            // The answer does not depend on the rest of the request (RFC 9113, section 8.1).
            Some(record) if !record.arrived.ended && !record.gone => self.reset(id, Reason::None),
            Some(record) if record.answered && !record.gone => self.credit.earn(),
            _ => {}
        }
        self.leave(id);
        if let Some(record) = self.streams.remove(&id) {
            if record.lined_up {
                self.line.retain(|other| *other != id);
            }
            self.note_end(id, record.arrived.ended);
        }
    }

    /// Notes that a stream is over, which its client may not know.
    fn note_end(&mut self, id: u32, ended: bool) {
        if !ended {
            if self.cut.len() == CUT {
                self.cut.pop_front();
            }
            self.cut.push_back(id);
        }
    }

    /// Puts a stream into the line, if it has data for which its client has room; without a stream, nothing has to be done:
    /// those in the line have waited for the connection.
    fn line_up(&mut self, id: u32) {
        if self.streams.get_mut(&id).is_some_and(Record::lines_up) {
            self.line.push_back(id);
        }
    }

    /// Takes frame by frame from the streams in the line, in turn, as much as is to be written at once. Says whether there
    /// is something to be written.
    pub(super) fn fill(&mut self) -> bool {
        while self.out.len() < FULL && self.window > 0 {
            let Some(id) = self.line.pop_front() else { break };
            let Some(record) = self.streams.get_mut(&id) else { continue };
            record.lined_up = false;
            let room = usize::try_from(record.window.min(self.window)).unwrap_or(0).min(self.largest);
            // Its window may have become smaller since it stands there.
            let Some(part) = record.waiting.take(room).filter(|part| !part.is_empty()) else { continue };
            let length = i64::try_from(part.len()).unwrap_or(i64::MAX);
            (record.window, self.window) = (record.window - length, self.window - length);
            let is_over = record.waiting.len() == 0;
            let (last, trailers) = (is_over && record.waiting.last, record.waiting.trailers.take_if(|_| is_over));
            record.done |= last;
            record.went();
            self.out.large(DATA, u8::from(last) * END_STREAM, id, part);
            if let Some(trailers) = trailers {
                self.trailers(id, trailers);
            }
            self.line_up(id);
        }
        self.out.len() > 0
    }

    /// Tells the client how much more it may send, beside something else.
    pub(super) fn grant(&mut self) {
        if let Some(more) = self.room.grant(LITTLE) {
            self.out.frame(WINDOW_UPDATE, 0, 0, &more.to_be_bytes());
        }
    }
}

fn write(encoder: &mut Encoder, name: &HeaderName, value: &HeaderValue, block: &mut Vec<u8>) {
    let text = name.as_str().as_bytes();
    if is_of_connection(text) {
        return;
    }
    let indexing = match text {
        _ if value.is_sensitive() => Indexing::Never,
        b"content-type"
        | b"grpc-status"
        | b"cache-control"
        | b"x-content-type-options"
        | b"vary"
        | b"grpc-encoding"
        | b"grpc-accept-encoding"
        | b"content-encoding"
        | b"access-control-allow-origin" => Indexing::Keep,
        _ => Indexing::Plain,
    };
    encoder.field(text, value.as_bytes(), indexing, block);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_that_is_over_has_no_window_that_could_be_too_large() {
        let mut state = State::default();
        assert_eq!(state.resize_windows(0), Ok(()));
        state.open(1, None);
        state.open(3, None).done = true;
        let most = u32::try_from(LARGEST_WINDOW).unwrap();
        assert_eq!((state.widen(1, most), state.widen(3, most)), (Ok(()), Ok(())));
        state.reset(1, Reason::FlowControl);
        assert_eq!(state.resize_windows(1), Ok(()));
        state.open(5, None);
        assert_eq!((state.widen(5, most - 1), state.resize_windows(2)), (Ok(()), Err(Reason::FlowControl)));
    }
}
