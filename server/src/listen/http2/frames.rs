//! The frames of a client, one after the other.

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Buf, BytesMut};
use hedef_protocols::hpack::{Decoder, Error};
use http::request::Parts;
use http::{HeaderMap, Request, StatusCode};

use super::body::Coming;
use super::expected::{Data, Expected, LARGE, Turns};
use super::frame::{
    ACK, CONTINUATION, DATA, ENABLE_PUSH, END_HEADERS, END_STREAM, FIRST_WINDOW, FRAME_SIZE, GOAWAY, HEAD, HEAD_SIZE,
    HEADERS, Head, LARGEST, LARGEST_WINDOW, MOST_STREAMS, PADDED, PING, PRIORITY, PUSH_PROMISE, RST_STREAM, Reason,
    SETTINGS, STREAM_WINDOW, TABLE_SIZE, TAKEN, WINDOW_UPDATE, content_length, number, unpadded,
};
use super::request::{Field, Fields, Limits, Unfit};
use super::state::{Shared, State};
use super::stop::STOPS;
use crate::config::Caps;
use crate::listen::scatter::Scatter;
use crate::listen::{self, Body};
use crate::middleware::answer::Own;

/// The most streams that a client may have open.
const MOST: u32 = 200;

/// The most frames that a head may come in.
const PARTS: usize = 64;

/// The size of the table of fields that clients may use.
const TABLE: usize = 4096;

/// Of what is read straight to its place, so many bytes weigh as one: nobody has to say where that belongs, and the turns of
/// others wake other threads.
const PLACED: usize = 8;

/// A request whose head has come.
pub(super) struct Begun {
    pub(super) stream: u32,
    pub(super) request: Request<Body>,
}

/// Reads frames.
pub(super) struct Frames {
    decoder: Decoder<Field>,
    limits: Limits,
    /// Whether the first frame has come.
    begun: bool,
    /// The rest of a frame of data.
    data: Option<Data>,
    turns: Turns,
    /// A head that goes on in other frames.
    block: Option<Block>,
    /// Requests whose body may still come with what was read last.
    heads: VecDeque<(u32, Parts)>,
    /// The last stream of the client, and whether others are taken.
    last: u32,
    closed: bool,
    /// Whether the client was told that the server stops.
    told: bool,
}

struct Block {
    stream: u32,
    last: bool,
    bytes: Vec<u8>,
    parts: usize,
}

/// What came of a look at the bytes that are there.
enum Step {
    /// There is no frame.
    Nothing,
    Frame,
    /// All of this stream's request is there.
    Whole(u32),
}

impl Frames {
    pub(super) fn new(shared: &Shared, caps: &Caps) -> Self {
        let limits = Limits { bytes: caps.header_bytes, headers: caps.headers };
        let setting = |name: u16, value: u32| [&name.to_be_bytes()[..], &value.to_be_bytes()].concat();
        let size = u32::try_from(limits.bytes).unwrap_or(u32::MAX);
        let settings = [
            setting(MOST_STREAMS, MOST),
            setting(STREAM_WINDOW, listen::STREAM_WINDOW),
            setting(FRAME_SIZE, u32::try_from(TAKEN).unwrap_or(u32::MAX)),
            setting(HEAD_SIZE, size),
        ];
        let mut state = shared.lock();
        state.out.frame(SETTINGS, 0, 0, &settings.concat());
        let more = i64::from(listen::CONNECTION_WINDOW) - FIRST_WINDOW;
        state.out.frame(WINDOW_UPDATE, 0, 0, &u32::try_from(more).unwrap_or_default().to_be_bytes());
        drop(state);
        Self {
            decoder: Decoder::new(TABLE),
            limits,
            begun: false,
            data: None,
            turns: Turns::default(),
            block: None,
            heads: VecDeque::new(),
            last: 0,
            closed: false,
            told: false,
        }
    }

    /// The last stream that is taken.
    pub(super) const fn last(&self) -> u32 {
        self.last
    }

    /// How much is still to come of a frame of data, and for which stream.
    #[cfg(any(test, fuzzing))]
    pub(super) fn coming(&self) -> Option<(u32, usize)> {
        self.data.as_ref().map(|data| (data.stream, data.left))
    }

    /// How many requests have not begun.
    #[cfg(any(test, fuzzing))]
    pub(super) fn waiting(&self) -> usize {
        self.heads.len()
    }

    /// Whether the client has said that it has heard of the stop, since when no more streams are taken.
    pub(super) const fn are_closed(&self) -> bool {
        self.closed
    }

    /// Expects that the client says so.
    pub(super) const fn expect_stop(&mut self) {
        self.told = true;
    }

    /// Reads frames until a request has come, whose body may still be on its way; `None` when there are no more. An error ends
    /// the connection.
    pub(super) fn next(&mut self, shared: &Shared, input: &mut BytesMut) -> Result<Option<Begun>, Reason> {
        if input.is_empty() && self.heads.is_empty() {
            return Ok(None);
        }
        let state = &mut *shared.lock();
        loop {
            let next = match self.step(state, input)? {
                Step::Frame => continue,
                Step::Whole(stream) => {
                    let at = self.heads.iter().position(|(other, _)| *other == stream);
                    match at.and_then(|at| self.heads.remove(at)) {
                        Some(head) => head,
                        None => continue,
                    }
                }
                Step::Nothing => match self.heads.pop_front() {
                    Some(head) => head,
                    None => return Ok(None),
                },
            };
            if let Some(begun) = begin(shared, state, next) {
                return Ok(Some(begun));
            }
        }
    }

    /// Reads what comes of a frame of data to where its stream puts it together, and so those that are expected behind it, as
    /// a large body comes in many. What comes instead of them goes to `input`, as does the head of the frame behind. Says how
    /// much came and what it weighs; `None` where the data has no such place, or is not worth a call.
    pub(super) fn poll_read(
        &mut self,
        shared: &Shared,
        from: Pin<&mut (impl Scatter + Unpin)>,
        context: &mut Context<'_>,
        input: &mut BytesMut,
    ) -> Option<Poll<io::Result<(usize, usize)>>> {
        let data = self.data.filter(|data| data.length >= LARGE && input.is_empty())?;
        let state = &mut *shared.lock();
        let mut expected = Expected::new(data, &self.turns, state)?;
        let read = expected.poll(from, context, input);
        expected.leave(state);
        let (count, came) = match read {
            Poll::Ready(Ok(read)) => read,
            Poll::Ready(Err(error)) => return Some(Poll::Ready(Err(error))),
            Poll::Pending => return Some(Poll::Pending),
        };
        for (number, (frame, bytes)) in came.into_iter().enumerate() {
            if number > 0 {
                // What is expected fits the windows, and its stream goes on: nothing fails, and no stream is reset.
                if state.begins(frame.stream, frame.left, false).is_err() {
                    return Some(Poll::Ready(Err(io::ErrorKind::InvalidData.into())));
                }
                self.turns.took(frame);
            }
            let left = frame.left - bytes;
            state.grown(frame.stream, bytes, frame.last && left == 0);
            self.data = Some(Data { left, ..frame });
        }
        // One that has come is kept for those that are expected behind it.
        self.data.take_if(|data| data.left == 0 && (data.last || !input.is_empty()));
        if input.len() > HEAD {
            self.turns.missed();
        }
        let placed = count - input.len();
        Some(Poll::Ready(Ok((count, placed / PLACED + input.len()))))
    }

    fn step(&mut self, state: &mut State, input: &mut BytesMut) -> Result<Step, Reason> {
        if let Some(data) = &mut self.data {
            if input.is_empty() {
                return Ok(Step::Nothing);
            }
            let bytes = input.get(..data.left).unwrap_or(input);
            data.left -= bytes.len();
            let (stream, last, count) = (data.stream, data.last && data.left == 0, bytes.len());
            self.data.take_if(|data| data.left == 0);
            let step = came(state, stream, bytes, last);
            input.advance(count);
            return step;
        }
        let Some(head) = input.first_chunk().copied().map(Head::read) else { return Ok(Step::Nothing) };
        self.check(head)?;
        if head.kind == DATA && !head.has(PADDED) {
            input.advance(HEAD);
            let Head { stream, length, .. } = head;
            let data = Data { stream, length, left: length, last: head.has(END_STREAM) };
            state.begins(stream, length, stream > self.last)?;
            self.turns.took(data);
            if length == 0 {
                return came(state, stream, &[], data.last);
            }
            self.data = Some(data);
            return Ok(Step::Frame);
        }
        let Some(payload) = input.get(HEAD..HEAD + head.length) else { return Ok(Step::Nothing) };
        let step = self.frame(state, head, payload)?;
        input.advance(HEAD + head.length);
        Ok(step)
    }

    /// Checks what a frame's head alone says.
    fn check(&mut self, head: Head) -> Result<(), Reason> {
        if head.length > TAKEN {
            return Err(Reason::FrameSize);
        }
        if !std::mem::replace(&mut self.begun, true) && (head.kind != SETTINGS || head.has(ACK)) {
            return Err(Reason::Protocol);
        }
        if self.block.as_ref().is_some_and(|block| head.kind != CONTINUATION || head.stream != block.stream) {
            return Err(Reason::Protocol);
        }
        let is_of_stream = match head.kind {
            DATA | HEADERS | PRIORITY | RST_STREAM | CONTINUATION => true,
            SETTINGS | PING | GOAWAY => false,
            _ => return Ok(()),
        };
        if is_of_stream != (head.stream > 0) {
            return Err(Reason::Protocol);
        }
        let needs_open = matches!(head.kind, DATA | RST_STREAM);
        if needs_open && self.is_idle(head.stream) { Err(Reason::Protocol) } else { Ok(()) }
    }

    /// Whether a stream was never opened. The server opens none.
    const fn is_idle(&self, stream: u32) -> bool {
        stream.is_multiple_of(2) || (stream > self.last && !self.closed)
    }

    fn frame(&mut self, state: &mut State, head: Head, payload: &[u8]) -> Result<Step, Reason> {
        let stream = head.stream;
        match head.kind {
            DATA => {
                let bytes = unpadded(head, payload)?;
                state.begins(stream, payload.len(), stream > self.last)?;
                state.read(stream, payload.len() - bytes.len());
                return came(state, stream, bytes, head.has(END_STREAM));
            }
            HEADERS => {
                let (fields, last) = (unpadded(head, payload)?, head.has(END_STREAM));
                if head.has(END_HEADERS) {
                    return self.head(state, stream, fields, last);
                }
                self.block = Some(Block { stream, last, bytes: fields.to_vec(), parts: 1 });
            }
            CONTINUATION => {
                let mut block = self.block.take().ok_or(Reason::Protocol)?;
                block.bytes.extend_from_slice(payload);
                block.parts += 1;
                if block.parts > PARTS || block.bytes.len() > self.limits.bytes {
                    return Err(Reason::Calm);
                }
                if head.has(END_HEADERS) {
                    return self.head(state, stream, &block.bytes, block.last);
                }
                self.block = Some(block);
            }
            RST_STREAM if payload.len() == 4 => {
                return state.reset_by_client(stream).map(|()| Step::Frame);
            }
            SETTINGS if head.has(ACK) && payload.is_empty() => {}
            SETTINGS if !head.has(ACK) && payload.len().is_multiple_of(6) => {
                let mut window = None;
                for setting in payload.as_chunks().0 {
                    window = set(state, *setting)?.or(window);
                }
                // Only the last counts: each would change all streams.
                window.map_or(Ok(()), |window| state.resize_windows(window))?;
                state.out.frame(SETTINGS, ACK, 0, &[]);
            }
            PING if head.has(ACK) && payload.len() == 8 => self.closed |= self.told && payload == STOPS,
            PING if payload.len() == 8 => state.out.frame(PING, ACK, 0, payload),
            WINDOW_UPDATE => {
                let more = number(payload.try_into().map_err(|_| Reason::FrameSize)?);
                if stream > 0 && self.is_idle(stream) {
                    return Err(Reason::Protocol);
                }
                state.widen(stream, more)?;
            }
            PRIORITY if payload.len() != 5 && !self.is_idle(stream) => {
                state.give_up(stream, Reason::FrameSize)?;
            }
            GOAWAY if payload.len() >= 8 => {}
            PUSH_PROMISE => return Err(Reason::Protocol),
            PRIORITY if payload.len() != 5 => return Err(Reason::FrameSize),
            RST_STREAM | SETTINGS | PING | GOAWAY => return Err(Reason::FrameSize),
            // What nobody knows is ignored (RFC 9113, section 5.5).
            _ => {}
        }
        Ok(Step::Frame)
    }

    /// Takes a whole head: of a request, or behind its body.
    fn head(&mut self, state: &mut State, stream: u32, block: &[u8], last: bool) -> Result<Step, Reason> {
        let mut fields = Fields::new(self.limits);
        // Even that of a stream which is not taken changes the table.
        self.decoder.decode(block, |field, size| fields.take(field, size)).map_err(|error| {
            tracing::debug!(error.detail = %error, "a head could not be read: {error}");
            if matches!(error, Error::Stopped) { Reason::Calm } else { Reason::Compression }
        })?;
        if stream.is_multiple_of(2) {
            return Err(Reason::Protocol);
        }
        if stream <= self.last {
            return trailers(state, stream, &fields, last);
        }
        if self.closed {
            return Ok(Step::Frame);
        }
        self.last = stream;
        if state.is_full(MOST as usize) {
            return state.refuse(stream, last, Reason::Refused).map(|()| Step::Frame);
        }
        let head = match fields.request() {
            Ok(head) => head,
            Err(Unfit::Malformed) => return state.refuse(stream, last, Reason::Protocol).map(|()| Step::Frame),
            Err(Unfit::TooLarge) => {
                let record = state.open(stream, None);
                record.arrived.ended = last;
                let status = StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE;
                state.head(stream, (status, &Own::default(), &HeaderMap::new()), true);
                state.forget(stream);
                return Ok(Step::Frame);
            }
        };
        let Ok(expected) = content_length(&head.headers) else {
            return state.refuse(stream, last, Reason::Protocol).map(|()| Step::Frame);
        };
        state.open(stream, expected);
        self.heads.push_back((stream, head));
        if last { came(state, stream, &[], true) } else { Ok(Step::Frame) }
    }
}

/// Begins a request, if its client still wants it.
fn begin(shared: &Shared, state: &mut State, (stream, head): (u32, Parts)) -> Option<Begun> {
    let record = state.streams.get_mut(&stream)?;
    if record.gone {
        state.forget(stream);
        return None;
    }
    let body = if record.arrived.ended {
        let (bytes, read) = record.arrived.take().unwrap_or_default();
        state.read(stream, read);
        Body::Whole(bytes)
    } else {
        Body::Http2(Coming { shared: shared.clone(), stream })
    };
    Some(Begun { stream, request: Request::from_parts(head, body) })
}

/// Takes a part of a body.
fn came(state: &mut State, stream: u32, bytes: &[u8], last: bool) -> Result<Step, Reason> {
    state.came(stream, bytes, last)?;
    Ok(if last { Step::Whole(stream) } else { Step::Frame })
}

/// Takes what stands behind a body, which says nothing to anybody here.
fn trailers(state: &mut State, stream: u32, fields: &Fields, last: bool) -> Result<Step, Reason> {
    match state.streams.get(&stream) {
        // The client may have sent them before it heard that the stream is over.
        None if fields.are_trailers() => {}
        None => return Err(Reason::Protocol),
        Some(record) if record.arrived.ended => state.give_up(stream, Reason::StreamClosed)?,
        Some(_) if !last || !fields.are_trailers() => state.give_up(stream, Reason::Protocol)?,
        Some(_) => return came(state, stream, &[], true),
    }
    Ok(Step::Frame)
}

/// Takes note of a setting of the client, or returns it if it is that of the windows of streams.
fn set(state: &mut State, [a, b, value @ ..]: [u8; 6]) -> Result<Option<u32>, Reason> {
    let (name, value) = (u16::from_be_bytes([a, b]), u32::from_be_bytes(value));
    let size = usize::try_from(value).unwrap_or(usize::MAX);
    match name {
        TABLE_SIZE => state.encoder.resize(size),
        ENABLE_PUSH if value > 1 => return Err(Reason::Protocol),
        STREAM_WINDOW if i64::from(value) > LARGEST_WINDOW => return Err(Reason::FlowControl),
        STREAM_WINDOW => return Ok(Some(value)),
        FRAME_SIZE if !(LARGEST..1 << 24).contains(&size) => return Err(Reason::Protocol),
        FRAME_SIZE => state.resize_frames(size),
        _ => {}
    }
    Ok(None)
}
