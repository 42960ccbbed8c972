//! What a client has said, as far as it says what the server may answer.

use std::collections::{BTreeMap, VecDeque};

use super::super::frame::{
    ACK, DATA, END_STREAM, HEAD, HEADERS, Head, PING, SETTINGS, TAKEN, WINDOW_UPDATE, number, unpadded,
};
use crate::listen::checked::answer::Fields;

/// A stream as its client sees it.
#[derive(Debug, Default)]
pub(super) struct Stream {
    /// By how much the client has opened its window.
    pub(super) opened: i64,
    /// What the body of the request has.
    pub(super) body: Vec<u8>,
    pub(super) ended: bool,
    /// How far its answer is.
    pub(super) answer: Answer,
    pub(super) reset: bool,
    /// The bytes that the answer has had.
    pub(super) had: usize,
    pub(super) fields: Fields,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Answer {
    #[default]
    None,
    Begun,
    Ended,
}

#[derive(Debug, Default)]
pub(super) struct Said {
    /// The end of the last frame that was said as a whole.
    at: usize,
    pub(super) streams: BTreeMap<u32, Stream>,
    /// By how much the window of the connection was opened.
    pub(super) opened: i64,
    /// What the server has not said to have read.
    pub(super) settings: VecDeque<Vec<(u16, u32)>>,
    pub(super) pings: VecDeque<Vec<u8>>,
}

impl Said {
    /// Looks at all that was said so far.
    pub(super) fn take(&mut self, all: &[u8]) {
        while let Some(head) = all[self.at..].first_chunk::<HEAD>().copied().map(Head::read) {
            let start = self.at + HEAD;
            let Some(payload) = all.get(start..start + head.length).filter(|_| head.length <= TAKEN) else { return };
            self.at = start + head.length;
            self.frame(head, payload);
        }
    }

    /// The last stream that was opened.
    pub(super) fn last(&self) -> u32 {
        self.streams.last_key_value().map_or(0, |(id, _)| *id)
    }

    fn frame(&mut self, head: Head, payload: &[u8]) {
        let last = head.has(END_STREAM);
        match head.kind {
            HEADERS => self.streams.entry(head.stream).or_default().ended |= last,
            DATA => {
                if let Some(stream) = self.streams.get_mut(&head.stream).filter(|stream| !stream.ended) {
                    stream.body.extend_from_slice(unpadded(head, payload).unwrap_or_default());
                    stream.ended |= last;
                }
            }
            SETTINGS if !head.has(ACK) => {
                let setting = |[a, b, value @ ..]: &[u8; 6]| (u16::from_be_bytes([*a, *b]), u32::from_be_bytes(*value));
                self.settings.push_back(payload.as_chunks().0.iter().map(setting).collect());
            }
            PING if !head.has(ACK) => self.pings.push_back(payload.to_vec()),
            WINDOW_UPDATE if payload.len() == 4 => {
                let more = i64::from(number(payload.try_into().unwrap()));
                match self.streams.get_mut(&head.stream) {
                    Some(stream) => stream.opened += more,
                    None if head.stream == 0 => self.opened += more,
                    None => {}
                }
            }
            _ => {}
        }
    }
}
