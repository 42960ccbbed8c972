//! What a client hears, and has to be able to rely on.

use std::ops::ControlFlow;

use hedef_protocols::hpack::{Decoder, Field};

use super::super::ALIVE;
use super::super::frame::{
    ACK, CONTINUATION, DATA, END_HEADERS, END_STREAM, FIRST_WINDOW, FRAME_SIZE, GOAWAY, HEAD, HEADERS, Head, LARGEST,
    PING, RST_STREAM, SETTINGS, STREAM_WINDOW, TABLE_SIZE, WINDOW_UPDATE, is_of_connection, number,
};
use super::super::stop::STOPS;
use super::Outcome;
use super::said::{Answer, Said, Stream};
use crate::listen::checked::answer::{check_bytes, check_end};

/// The table of fields of which nothing was said.
const TABLE: usize = 4096;

#[derive(Clone)]
struct Pair(Vec<u8>, Vec<u8>);

impl Field for Pair {
    fn new(name: &[u8], value: &[u8]) -> Self {
        Self(name.to_vec(), value.to_vec())
    }

    fn with_value(&self, value: &[u8]) -> Self {
        Self(self.0.clone(), value.to_vec())
    }
}

/// A head of which the end has not come.
struct Block {
    stream: u32,
    last: bool,
    bytes: Vec<u8>,
}

pub(super) struct Heard {
    /// What is no whole frame.
    bytes: Vec<u8>,
    begun: bool,
    block: Option<Block>,
    decoder: Decoder<Pair>,
    /// The data of all streams.
    data: i64,
    /// What the server knows of the settings.
    first_window: i64,
    largest: usize,
    table: usize,
    /// Whether the table has become smaller, which the next head has to begin with.
    shrunk: bool,
    stops: bool,
    reason: Option<u32>,
}

impl Default for Heard {
    fn default() -> Self {
        Self {
            bytes: Vec::new(),
            begun: false,
            block: None,
            decoder: Decoder::new(TABLE),
            data: 0,
            first_window: FIRST_WINDOW,
            largest: LARGEST,
            table: TABLE,
            shrunk: false,
            stops: false,
            reason: None,
        }
    }
}

impl Heard {
    pub(super) fn take(&mut self, bytes: &[u8], said: &mut Said) {
        self.bytes.extend_from_slice(bytes);
        let all = std::mem::take(&mut self.bytes);
        let mut rest = all.as_slice();
        while let Some((head, behind)) = rest.split_first_chunk::<HEAD>() {
            let head = Head::read(*head);
            assert!(head.length <= self.largest, "{head:?} is too large");
            let Some((payload, behind)) = behind.split_at_checked(head.length) else { break };
            rest = behind;
            self.frame(head, payload, said);
        }
        self.bytes = rest.to_vec();
    }

    /// Looks back, at what came to its end or was cut off.
    pub(super) fn end(self, said: &Said, whole: bool) -> Outcome {
        if whole {
            assert!(self.bytes.is_empty() && self.block.is_none() && self.begun, "it ends within a frame");
        }
        let answered = said.streams.iter().filter(|(_, stream)| stream.answer == Answer::Ended).map(|(id, _)| *id);
        let answered = answered.collect();
        Outcome { reason: self.reason, answered }
    }

    fn frame(&mut self, head: Head, payload: &[u8], said: &mut Said) {
        assert!(self.reason.is_none(), "{head:?} comes behind the end");
        assert!(std::mem::replace(&mut self.begun, true) || (head.kind == SETTINGS && head.flags == 0), "{head:?}");
        let in_block = self.block.as_ref().map(|block| block.stream);
        assert_eq!(in_block, (head.kind == CONTINUATION).then_some(head.stream), "{head:?}");
        match head.kind {
            SETTINGS | PING | GOAWAY => assert_eq!(head.stream, 0, "{head:?}"),
            WINDOW_UPDATE if head.stream == 0 => {}
            // A stream below one that was opened is closed; and a server that stops does not know whether it was opened.
            RST_STREAM if head.stream % 2 == 1 && (self.stops || head.stream < said.last()) => {}
            _ => assert!(said.streams.contains_key(&head.stream), "{head:?} for a stream that was not opened"),
        }
        let flags = match head.kind {
            DATA => END_STREAM,
            HEADERS => END_STREAM | END_HEADERS,
            CONTINUATION => END_HEADERS,
            SETTINGS | PING => ACK,
            _ => 0,
        };
        assert_eq!(head.flags & !flags, 0, "{head:?}");
        match head.kind {
            DATA => self.data(head, payload, said),
            HEADERS | CONTINUATION => self.part(head, payload, said),
            SETTINGS if head.flags == 0 => assert!(payload.len().is_multiple_of(6), "{head:?}"),
            SETTINGS => {
                assert!(payload.is_empty());
                let settings = said.settings.pop_front().unwrap();
                settings.into_iter().for_each(|(name, value)| self.setting(name, value));
            }
            PING if head.flags == 0 => assert!(payload == ALIVE || payload == STOPS),
            PING => assert_eq!(said.pings.pop_front().as_deref(), Some(payload)),
            GOAWAY => {
                assert_eq!(payload.len(), 8);
                let reason = u32::from_be_bytes(payload[4..].try_into().unwrap());
                self.stops = true;
                self.reason = Some(reason).filter(|reason| *reason > 0);
            }
            RST_STREAM => {
                assert_eq!(payload.len(), 4);
                said.streams.entry(head.stream).or_default().reset = true;
            }
            WINDOW_UPDATE => {
                assert!(number(payload.try_into().unwrap()) > 0);
                assert!(!said.streams.get(&head.stream).is_some_and(|stream| stream.reset), "{head:?}");
            }
            _ => unreachable!("{head:?}"),
        }
    }

    fn setting(&mut self, name: u16, value: u32) {
        let size = usize::try_from(value).unwrap();
        match name {
            STREAM_WINDOW => self.first_window = value.into(),
            FRAME_SIZE => self.largest = size,
            TABLE_SIZE => {
                self.shrunk |= size < self.table;
                self.table = size.min(TABLE);
            }
            _ => {}
        }
    }

    fn data(&mut self, head: Head, payload: &[u8], said: &mut Said) {
        let stream = said.streams.get_mut(&head.stream).unwrap();
        assert!(stream.answer == Answer::Begun && !stream.reset, "{head:?}");
        assert!(head.length > 0 || head.flags == END_STREAM, "{head:?} says nothing");
        check_bytes(&stream.fields, stream.had, payload, stream.ended.then_some(&stream.body));
        stream.had += payload.len();
        self.data += i64::try_from(payload.len()).unwrap();
        if !payload.is_empty() {
            assert!(self.data <= FIRST_WINDOW + said.opened, "the connection's window has no room for {head:?}");
            let had = i64::try_from(stream.had).unwrap();
            assert!(had <= self.first_window + stream.opened, "the window has no room for {head:?}");
        }
        if head.has(END_STREAM) {
            ends(stream);
        }
    }

    fn part(&mut self, head: Head, payload: &[u8], said: &mut Said) {
        let new = || Block { stream: head.stream, last: head.has(END_STREAM), bytes: Vec::new() };
        let mut block = self.block.take().unwrap_or_else(new);
        block.bytes.extend_from_slice(payload);
        if !head.has(END_HEADERS) {
            assert!(!payload.is_empty());
            self.block = Some(block);
            return;
        }
        if std::mem::take(&mut self.shrunk) {
            assert_eq!(block.bytes[0] & 0xe0, 0x20, "the table has to become smaller");
        }
        let mut fields = Vec::new();
        let take = |field: Pair, _| {
            fields.push((String::from_utf8(field.0).unwrap(), String::from_utf8(field.1).unwrap()));
            ControlFlow::Continue(())
        };
        self.decoder.decode(&block.bytes, take).unwrap();
        assert!(self.decoder.table_size() <= self.table);
        head_of(said.streams.get_mut(&block.stream).unwrap(), fields, block.last);
    }
}

/// Takes the head of an answer, or what stands behind it.
fn head_of(stream: &mut Stream, fields: Vec<(String, String)>, last: bool) {
    let is_head = stream.answer == Answer::None;
    assert!(!stream.reset && (is_head || (last && stream.answer == Answer::Begun)), "a head in {stream:?}");
    for (at, (name, _)) in fields.iter().enumerate() {
        assert_eq!(name == ":status", is_head && at == 0, "{name}");
        assert!(!is_of_connection(name.as_bytes()) && !name.bytes().any(|byte| byte.is_ascii_uppercase()), "{name}");
    }
    assert!(!(is_head && fields.is_empty()), "no status");
    if is_head {
        (stream.answer, stream.fields) = (Answer::Begun, fields.into_iter().collect());
    }
    if last {
        ends(stream);
    }
}

fn ends(stream: &mut Stream) {
    stream.answer = Answer::Ended;
    check_end(&stream.fields, stream.had, &stream.body);
}
