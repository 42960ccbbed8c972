//! What a client is expected to send next: more frames of the bodies that come.

use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::{io, mem};

use bytes::BytesMut;
use smallvec::SmallVec;

use super::frame::{DATA, END_STREAM, HEAD, Head, PADDED};
use super::state::State;
use crate::listen::scatter::{Part, Scatter, Scattered};

/// To read a frame of so many bytes to its place costs less than to copy it.
pub(super) const LARGE: usize = 8 << 10;

/// So many frames are read at once at most, and so much of them.
const MOST_FRAMES: usize = 16;
const MOST_EXPECTED: usize = 256 << 10;

/// The most streams whose turns are known.
const MOST_TURNS: usize = 32;

/// A frame of data as far as it came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Data {
    pub(super) stream: u32,
    pub(super) length: usize,
    /// How much of it is still to come.
    pub(super) left: usize,
    /// Whether nothing follows.
    pub(super) last: bool,
}

/// The streams whose bodies go on, in the order in which their last frames came: where clients mix their streams, they send of
/// each in turn.
#[derive(Default)]
pub(super) struct Turns {
    /// With the length of the last frame. The first is expected next.
    line: VecDeque<(u32, usize)>,
    /// How many frames have come as expected. As many are expected to follow. Half of them are forgotten when one has not, so
    /// that one stream more or less does not matter much.
    frames: usize,
}

impl Turns {
    /// Notes that a frame has begun.
    pub(super) fn took(&mut self, Data { stream, length, last, .. }: Data) {
        let at = self.line.iter().position(|(other, _)| *other == stream);
        if at == Some(0) || self.line.is_empty() {
            self.frames = (self.frames + 1).min(2 * MOST_FRAMES);
        } else {
            self.missed();
        }
        // Those before it have lost their turn.
        self.line.drain(..at.map_or(0, |at| at + 1));
        if !last {
            self.line.push_back((stream, length));
        }
        if self.line.len() > MOST_TURNS {
            self.line.pop_front();
        }
    }

    /// Notes that something else came than was expected.
    pub(super) const fn missed(&mut self) {
        self.frames /= 2;
    }
}

/// Frames that came, each with how much of it did.
pub(super) type Came = SmallVec<[(Data, usize); MOST_FRAMES]>;

/// A stream of which frames are expected.
struct Lane {
    stream: u32,
    /// How much more its window allows.
    open: usize,
    /// How much more has a place.
    more: usize,
    /// How much of its body is still to come, where its head says so.
    rest: Option<u64>,
}

/// What is expected: the rest of a frame, and those behind it.
pub(super) struct Expected {
    data: Data,
    lanes: SmallVec<[Lane; 4]>,
    /// Where the bodies of these streams are put together.
    places: SmallVec<[BytesMut; 4]>,
    parts: SmallVec<[Part; MOST_FRAMES]>,
    /// How much comes, if all goes on as expected, before anybody has what he waits for.
    least: usize,
}

impl Expected {
    /// What is expected of `data` and behind it; `None` where that is nothing, or has no place where it need not be copied.
    /// The streams' places have to be [given back](Self::leave) before others look at the state.
    pub(super) fn new(data: Data, turns: &Turns, state: &mut State) -> Option<Self> {
        let record = state.streams.get_mut(&data.stream)?;
        let place = record.place(data.left, data.last)?;
        // Where only one place is read to at once, that has to have room for something.
        if place.len() == place.capacity() {
            return None;
        }
        let lane = Lane {
            stream: data.stream,
            open: record.arrived.window.open(),
            more: if data.last { 0 } else { record.more(data.left) },
            rest: record.arrived.expected.map(|rest| rest.saturating_sub(data.left as u64)),
        };
        let parts = SmallVec::from_slice(&[Part { place: 0, length: data.left }]);
        let lanes = SmallVec::from_iter([lane]);
        let mut expected = Self { data, lanes, places: SmallVec::new(), parts, least: data.left };
        expected.plan(turns, state);
        if expected.parts.iter().all(|part| part.length == 0) {
            return None;
        }
        for lane in &expected.lanes {
            let place = state.streams.get_mut(&lane.stream).map(|record| mem::take(&mut record.arrived.bytes));
            expected.places.push(place.unwrap_or_default());
        }
        Some(expected)
    }

    /// Adds what streams send in turn. Without being told, a client sends no more than the windows allow.
    fn plan(&mut self, turns: &Turns, state: &State) {
        let (mut open, mut room) = (state.room.open(), MOST_EXPECTED.saturating_sub(self.data.left));
        let mut waiting = self.lanes.iter().all(|lane| lane.more > 0);
        // How many in a row have sent all.
        let mut over = 0;
        for (stream, length) in turns.line.iter().cycle() {
            if self.parts.len() >= MOST_FRAMES.min(turns.frames) || over == turns.line.len() {
                return;
            }
            let known = self.lanes.iter().position(|lane| lane.stream == *stream);
            let place = known.unwrap_or(self.lanes.len());
            if known.is_none() {
                let Some(record) = state.streams.get(stream) else { return };
                let (open, more, rest) = (record.arrived.window.open(), record.more(0), record.arrived.expected);
                self.lanes.push(Lane { stream: *stream, open, more, rest });
            }
            let Some(lane) = self.lanes.get_mut(place) else { return };
            if lane.more == 0 && known.is_some() {
                over += 1;
                continue;
            }
            let part = lane.more.min(*length);
            if part == 0 || *length < LARGE || part > open.min(lane.open) || *length > room {
                return;
            }
            (lane.open, lane.more) = (lane.open - part, lane.more - part);
            (open, room, over) = (open - part, room - length, 0);
            self.parts.push(Part { place, length: part });
            if waiting {
                self.least += part;
                waiting = lane.more > 0;
            }
        }
    }

    /// Reads what comes: what is expected to its place, and the rest to `input`. Says how much came in all, and of which
    /// frames.
    pub(super) fn poll(
        &mut self,
        mut from: Pin<&mut (impl Scatter + Unpin)>,
        context: &mut Context<'_>,
        input: &mut BytesMut,
    ) -> Poll<io::Result<(usize, Came)>> {
        from.expect(self.least);
        let mut ends: SmallVec<[usize; 4]> = self.places.iter().map(BytesMut::len).collect();
        let mut ats = ends.clone();
        let read = ready!(Scattered::<HEAD>::poll(from, context, &mut self.places, &self.parts))?;
        let (mut came, mut next, mut planned) = (Came::new(), Some(self.data), self.parts.iter().skip(1));
        for (part, (bytes, behind)) in self.parts.iter().zip(read.parts(&self.parts)) {
            let (Some(at), Some(end)) = (ats.get_mut(part.place), ends.get_mut(part.place)) else { break };
            let own = *at..*at + bytes;
            *at = own.end;
            if let Some(frame) = next {
                came.push((frame, bytes));
                *end = own.end;
                next = planned.next().and_then(|part| self.lanes.get_mut(part.place)?.next(behind, part.length));
            } else {
                let place = self.places.get(part.place);
                input.extend_from_slice(place.and_then(|place| place.get(own)).unwrap_or_default());
            }
            if next.is_none() {
                input.extend_from_slice(behind);
            }
        }
        for (place, end) in self.places.iter_mut().zip(ends) {
            place.truncate(end);
        }
        Poll::Ready(Ok((read.count(), came)))
    }

    /// Gives the places back.
    pub(super) fn leave(self, state: &mut State) {
        for (lane, place) in self.lanes.iter().zip(self.places) {
            if let Some(record) = state.streams.get_mut(&lane.stream) {
                record.arrived.bytes = place;
            }
        }
    }
}

impl Lane {
    /// What `behind` begins, if it is the head of a frame of `length` bytes that is expected.
    fn next(&mut self, behind: &[u8], length: usize) -> Option<Data> {
        let head = Head::read(*behind.first_chunk()?);
        let (last, bytes) = (head.has(END_STREAM), length as u64);
        let is_data = head.kind == DATA && !head.has(PADDED) && head.stream == self.stream && head.length == length;
        let fits = self.rest.is_none_or(|rest| rest == bytes || (!last && rest > bytes));
        if !is_data || !fits {
            return None;
        }
        // Nothing is expected behind the last.
        self.rest = if last { Some(0) } else { self.rest.map(|rest| rest - bytes) };
        Some(Data { stream: self.stream, length, left: length, last })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use crate::piece::Piece;

    fn took(turns: &mut Turns, frames: &[(u32, bool)]) -> (usize, Vec<u32>) {
        for (stream, last) in frames {
            turns.took(Data { stream: *stream, length: 16 << 10, left: 0, last: *last });
        }
        (turns.frames, turns.line.iter().map(|(stream, _)| *stream).collect())
    }

    #[test]
    fn as_many_frames_are_expected_as_came_in_a_row() {
        let turns = &mut Turns::default();
        assert_eq!(took(turns, &[(1, false), (1, false), (1, true)]), (3, vec![]));
        // The next body goes on where the last one ended.
        assert_eq!(took(turns, &[(3, false)]), (4, vec![3]));
        assert_eq!(took(turns, &[(3, false); 40]), (2 * MOST_FRAMES, vec![3]));
    }

    #[test]
    fn streams_are_expected_in_turn() {
        let turns = &mut Turns::default();
        assert_eq!(took(turns, &[(1, false), (3, false), (5, false)]), (0, vec![1, 3, 5]));
        assert_eq!(took(turns, &[(1, false), (3, false), (5, false), (1, false)]), (4, vec![3, 5, 1]));
        assert_eq!(took(turns, &[(3, true), (5, false)]), (6, vec![1, 5]));
        // One that comes anew, and one that pauses and so loses its turn.
        assert_eq!(took(turns, &[(7, false), (1, false)]), (4, vec![5, 7, 1]));
        assert_eq!(took(turns, &[(7, false)]), (2, vec![1, 7]));
        let many: Vec<_> = (0..100).map(|stream| (2 * stream + 9, false)).collect();
        assert_eq!(took(turns, &many).1.len(), MOST_TURNS);
    }

    const FRAME: usize = 16 << 10;

    /// What is expected behind `left` bytes of the first stream where these streams, each with so much to come, had their
    /// turns; and how much of it at least.
    fn expected(
        left: usize,
        streams: &[(u32, usize)],
        frames: usize,
        open: u32,
    ) -> Option<(Vec<(usize, usize)>, usize)> {
        let mut state = State::default();
        let mut turns = Turns { line: VecDeque::new(), frames };
        for (stream, length) in streams {
            let record = state.open(*stream, Some(*length as u64));
            record.arrived.gather(&[], Piece { whole: *length, tensor: 0 });
            record.arrived.window = super::super::record::Window::new(open);
            turns.line.push_back((*stream, FRAME));
        }
        turns.line.rotate_left(1);
        let data = Data { stream: streams[0].0, length: FRAME, left, last: false };
        let expected = Expected::new(data, &turns, &mut state)?;
        let parts = expected.parts.iter().map(|part| (part.place, part.length)).collect();
        assert!(expected.places.iter().zip(streams).all(|(place, (_, length))| place.capacity() >= *length));
        let least = expected.least;
        expected.leave(&mut state);
        assert!(streams.iter().all(|(stream, length)| state.streams[stream].arrived.bytes.capacity() >= *length));
        Some((parts, least))
    }

    fn planned(streams: &[(u32, usize)], frames: usize, open: u32) -> Vec<(usize, usize)> {
        expected(5, streams, frames, open).unwrap().0
    }

    #[test]
    fn no_more_is_expected_than_is_wanted_and_may_be_read_at_once() {
        const WIDE: u32 = 1 << 20;
        assert_eq!(planned(&[(1, 5 + FRAME)], 1, WIDE), [(0, 5)]);
        assert_eq!(planned(&[(1, 5 + FRAME + 9)], 9, WIDE), [(0, 5), (0, FRAME), (0, 9)]);
        assert_eq!(planned(&[(1, 1 << 20)], 99, WIDE).len(), MOST_FRAMES);
        let both = planned(&[(1, 5 + FRAME), (3, 3 * FRAME)], 9, WIDE);
        assert_eq!(both, [(0, 5), (1, FRAME), (0, FRAME), (1, FRAME), (1, FRAME)]);
        // No more than the windows allow.
        assert_eq!(planned(&[(1, 1 << 20), (3, 1 << 20)], 9, 20_000), [(0, 5), (1, FRAME), (0, FRAME)]);
    }

    #[test]
    fn who_has_all_that_he_waits_for_does_not_wait_for_others() {
        const WIDE: u32 = 1 << 20;
        let least = |left, first, second| expected(left, &[(1, first), (3, second)], 8, WIDE).unwrap().1;
        assert_eq!(least(5, 5, 1 << 20), 5);
        assert_eq!(least(5, 5 + FRAME, 1 << 20), 5 + 2 * FRAME);
        assert_eq!(least(5, 1 << 20, FRAME), 5 + FRAME);
        assert_eq!(least(0, 1 << 20, 1 << 20), 7 * FRAME);
        // One that has all but its end may be told of that at any time.
        assert_eq!(least(0, 0, 1 << 20), 0);
    }

    #[test]
    fn nothing_is_expected_without_a_place_or_of_a_stream_that_has_ended() {
        let mut state = State::default();
        let turns = Turns { line: [(3, FRAME), (1, FRAME)].into(), frames: MOST_FRAMES };
        state.open(1, None);
        let other = state.open(3, None);
        other.arrived.gather(&[], Piece { whole: 1 << 20, tensor: 0 });
        let data = Data { stream: 1, length: FRAME, left: 0, last: false };
        assert!(Expected::new(data, &turns, &mut state).is_none(), "there is no room for so much as a head");
        state.streams.get_mut(&1).unwrap().arrived.gather(&[], Piece { whole: 1 << 20, tensor: 0 });
        let count = |state: &mut State| {
            let expected = Expected::new(data, &turns, state)?;
            let count = expected.parts.len();
            expected.leave(state);
            Some(count)
        };
        assert_eq!(count(&mut state), Some(MOST_FRAMES));
        state.came(3, &[], true).unwrap();
        assert_eq!(count(&mut state), None);
    }

    #[test]
    fn nothing_else_is_taken_for_what_is_expected() {
        let head = |length, kind, flags, stream| Head { length, kind, flags, stream }.bytes();
        let lane = |rest| Lane { stream: 1, open: 0, more: 0, rest };
        let next = |head: [u8; 9]| lane(Some(20)).next(&head, 10);
        let data = |last| Some(Data { stream: 1, length: 10, left: 10, last });
        assert_eq!(next(head(10, DATA, 0, 1)), data(false));
        let others = [head(9, DATA, 0, 1), head(10, 1, 0, 1), head(10, DATA, PADDED, 1), head(10, DATA, 0, 3)];
        // One that ends the body before all of it is there is wrong, which the others have to find.
        for other in others.into_iter().chain([head(10, DATA, END_STREAM, 1)]) {
            assert_eq!(next(other), None, "{other:?}");
        }
        assert_eq!(lane(Some(20)).next(&head(10, DATA, 0, 1)[..8], 10), None);
        for rest in [Some(20), None] {
            let mut all = lane(rest);
            let each = [0, END_STREAM, 0].map(|flags| all.next(&head(10, DATA, flags, 1), 10));
            assert_eq!(each, [data(false), data(true), None]);
        }
    }
}
