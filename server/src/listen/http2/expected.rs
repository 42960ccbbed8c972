//! What a client is expected to send next: more frames of a large body, of the same size.

use smallvec::SmallVec;

use super::frame::{DATA, END_STREAM, Head, PADDED};

/// So many frames are read at once at most, and so much of them.
const MOST_FRAMES: usize = 8;
const MOST_EXPECTED: usize = 256 << 10;

/// How many frames of data have come in a row while none of another stream came between those of a body. As many are
/// expected to follow: where clients mix their streams that is none.
#[derive(Default)]
pub(super) struct Row {
    pub(super) frames: usize,
    /// The stream of the last one, if its body goes on.
    stream: Option<u32>,
}

impl Row {
    /// Notes that a frame has begun, of which nothing may follow.
    pub(super) fn goes_on(&mut self, stream: u32, last: bool) {
        self.frames = if self.stream.is_none_or(|other| other == stream) { self.frames.saturating_add(1) } else { 0 };
        self.stream = (!last).then_some(stream);
    }
}

/// The frames of data that are expected behind the one that is read.
pub(super) struct Expected {
    pub(super) stream: u32,
    /// How much the windows allow.
    pub(super) open: usize,
    /// How much of the body is still to come, where its head says so.
    pub(super) rest: Option<u64>,
}

impl Expected {
    /// How many bytes come at least of the frame that is read and of those that are expected, which `parts` has the lengths
    /// of, if the client goes on with this body: without being told, it sends no more than the windows allow.
    pub(super) fn least(&self, parts: &[usize]) -> usize {
        let (first, behind) = parts.split_first().map_or((0, &[][..]), |(first, behind)| (*first, behind));
        let behind = behind.iter().sum::<usize>();
        first + if behind <= self.open { behind } else { 0 }
    }

    /// Whether `behind` is the head of a frame of `length` bytes that is expected; says its length and whether it is the last.
    pub(super) fn next(&mut self, behind: &[u8], length: Option<&usize>) -> Option<(usize, bool)> {
        let (head, length) = (Head::read(*behind.first_chunk()?), *length?);
        let (last, bytes) = (head.has(END_STREAM), length as u64);
        let is_data = head.kind == DATA && !head.has(PADDED) && head.stream == self.stream && head.length == length;
        let fits = self.rest.is_none_or(|rest| rest == bytes || (!last && rest > bytes));
        if !is_data || !fits || length > self.open {
            return None;
        }
        // Nothing is expected behind the last.
        self.open = if last { 0 } else { self.open - length };
        self.rest = self.rest.map(|rest| rest - bytes);
        Some((length, last))
    }
}

/// The parts in which `left` bytes of a frame come and up to `more` of the body behind it, if the client goes on with so many
/// `frames` of `length`.
pub(super) fn parts(left: usize, length: usize, more: usize, frames: usize) -> SmallVec<[usize; 8]> {
    let mut parts = SmallVec::from_slice(&[left]);
    let (mut rest, mut room) = (more, MOST_EXPECTED.saturating_sub(left));
    while rest > 0 && length <= room && parts.len() < MOST_FRAMES.min(frames) {
        let part = length.min(rest);
        parts.push(part);
        (rest, room) = (rest - part, room - length);
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_frames_are_expected_as_came_in_a_row() {
        let mut row = Row::default();
        let mut after = |stream, last| {
            row.goes_on(stream, last);
            row.frames
        };
        // The next body goes on where the last one ended; streams that are mixed end the row.
        assert_eq!([after(1, false), after(1, true), after(3, false), after(5, false)], [1, 2, 3, 0]);
        assert_eq!([after(3, false), after(5, true), after(3, false)], [0, 0, 1]);
    }

    #[test]
    fn no_more_is_expected_than_is_wanted_and_may_be_read_at_once() {
        let all = |left, length, more, frames| parts(left, length, more, frames).to_vec();
        assert_eq!(all(5, 10, 100, 1), [5]);
        assert_eq!(all(5, 10, 25, 9), [5, 10, 10, 5]);
        assert_eq!(all(10, 10, 1000, 99), [10; MOST_FRAMES]);
        assert_eq!(all(100 << 10, 128 << 10, 1 << 20, 9), [100 << 10, 128 << 10]);
    }

    #[test]
    fn nothing_else_is_taken_for_what_is_expected() {
        let head = |length, kind, flags, stream| Head { length, kind, flags, stream }.bytes();
        let expected = || Expected { stream: 1, open: 25, rest: Some(20) };
        let next = |head: [u8; 9]| expected().next(&head, Some(&10));
        assert_eq!(next(head(10, DATA, 0, 1)), Some((10, false)));
        let others = [head(9, DATA, 0, 1), head(10, 1, 0, 1), head(10, DATA, PADDED, 1), head(10, DATA, 0, 3)];
        // One that ends the body before all of it is there is wrong, which the others have to find.
        for other in others.into_iter().chain([head(10, DATA, END_STREAM, 1)]) {
            assert_eq!(next(other), None, "{other:?}");
        }
        assert_eq!(expected().next(&head(10, DATA, 0, 1)[..8], Some(&10)), None);
        assert_eq!(expected().next(&head(10, DATA, 0, 1), None), None);
        let mut all = expected();
        let both = [0, END_STREAM].map(|flags| all.next(&head(10, DATA, flags, 1), Some(&10)));
        assert_eq!(both, [Some((10, false)), Some((10, true))]);
        assert_eq!((all.rest, all.next(&head(5, DATA, 0, 1), Some(&5))), (Some(0), None));
        assert_eq!(
            [&[][..], &[30], &[30, 10, 15], &[30, 10, 16]].map(|parts| expected().least(parts)),
            [0, 30, 55, 30]
        );
        let mut narrow = Expected { stream: 1, open: 15, rest: None };
        let both = [0, 0].map(|flags| narrow.next(&head(10, DATA, flags, 1), Some(&10)));
        assert_eq!(both, [Some((10, false)), None], "the windows have no room");
    }
}
