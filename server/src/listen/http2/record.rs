//! What is known of one stream.

use std::collections::VecDeque;
use std::task::{Context, Poll, Waker};

use bytes::{Bytes, BytesMut};
use http::HeaderMap;

use super::frame::Reason;
use crate::piece::Piece;

/// How much a client may send, which is given back half at a time, as a rule.
#[derive(Clone, Copy, Debug)]
pub(super) struct Window {
    size: u32,
    open: u32,
    /// So much was read, and the client has not been told.
    read: u32,
}

impl Window {
    pub(super) const fn new(size: u32) -> Self {
        Self { size, open: size, read: 0 }
    }

    /// Takes what came; `false` where the client was not to send it.
    pub(super) fn came(&mut self, bytes: usize) -> bool {
        let left = u32::try_from(bytes).ok().and_then(|bytes| self.open.checked_sub(bytes));
        self.open = left.unwrap_or_default();
        left.is_some()
    }

    /// Notes that so much of what came was read; says by how much the client may send more now, if it has to be told:
    /// while it may send all of the `rest` that is still to come, if that is known, it has not.
    pub(super) fn read(&mut self, bytes: usize, rest: Option<u64>) -> Option<u32> {
        self.read = self.read.saturating_add(u32::try_from(bytes).unwrap_or(u32::MAX));
        let is_enough = rest.is_some_and(|rest| rest <= self.open.into());
        if is_enough || (self.read < self.size / 2 && self.read < self.open) {
            return None;
        }
        self.grant(0)
    }

    /// The same where something is said to the client anyway, if it is more than `least`.
    pub(super) fn grant(&mut self, least: u32) -> Option<u32> {
        if self.read <= least {
            return None;
        }
        self.open = self.open.saturating_add(self.read);
        Some(std::mem::take(&mut self.read))
    }

    /// How much the client may send now.
    pub(super) const fn open(&self) -> usize {
        self.open as usize
    }

    /// What of it is not taken by what has come and was not read.
    #[cfg(any(test, fuzzing))]
    pub(super) const fn rest(&self) -> usize {
        self.open as usize + self.read as usize
    }
}

/// The body of a request, as far as it came and was not read, in one piece. The client brings it in frames: small ones are
/// copied out of what was read, large ones are read to where they belong, if somebody waits for the whole.
#[derive(Debug)]
pub(super) struct Arrived {
    pub(super) bytes: BytesMut,
    /// The reader waits for so many, and has room for them.
    wanted: usize,
    /// The client need not wait with more until so many of them are read.
    granted: usize,
    pub(super) window: Window,
    /// How much is still to come, where the head says so.
    pub(super) expected: Option<u64>,
    /// Whether the client has ended it.
    pub(super) ended: bool,
    /// Whether nobody is going to read it.
    pub(super) unwanted: bool,
}

impl Arrived {
    fn new(size: u32, expected: Option<u64>) -> Self {
        let window = Window::new(size);
        Self { bytes: BytesMut::new(), wanted: 0, granted: 0, window, expected, ended: false, unwanted: false }
    }

    /// Takes what came; says how much of it the client may send again at once.
    fn push(&mut self, bytes: &[u8]) -> usize {
        let rest = self.wanted.saturating_sub(self.bytes.len());
        self.bytes.reserve(rest.max(bytes.len()));
        self.bytes.extend_from_slice(bytes);
        let granted = rest.min(bytes.len());
        self.granted += granted;
        granted
    }

    /// Puts `start` before what is there, and lets nobody read it until all of the piece is there, or it ends. Says how
    /// much the client may send now.
    pub(super) fn gather(&mut self, start: &[u8], piece: Piece) -> usize {
        self.wanted = piece.whole;
        let mut bytes = piece.at_least(start.len() + self.bytes.len()).memory();
        bytes.extend_from_slice(start);
        bytes.extend_from_slice(&self.bytes);
        self.bytes = bytes;
        self.granted += start.len();
        let granted = piece.whole.min(self.bytes.len()).saturating_sub(self.granted);
        self.granted += granted;
        granted
    }

    /// Where the next `length` bytes go, if they can be put there without being copied.
    fn place(&mut self, length: usize) -> Option<&mut BytesMut> {
        let end = self.bytes.len() + length;
        Some(&mut self.bytes).filter(|bytes| end <= self.wanted.min(bytes.capacity()))
    }

    /// Takes what is there, if it is enough for its reader; says how much of it the client may send again.
    pub(super) fn take(&mut self) -> Option<(Bytes, usize)> {
        if self.bytes.is_empty() || !self.is_enough() {
            return None;
        }
        let read = self.unread();
        (self.wanted, self.granted) = (0, 0);
        Some((std::mem::take(&mut self.bytes).freeze(), read))
    }

    fn is_enough(&self) -> bool {
        self.ended || self.bytes.len() >= self.wanted
    }

    pub(super) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// How much is still to come, as far as is known.
    pub(super) fn rest(&self) -> Option<u64> {
        let wanted = (self.wanted > 0).then(|| self.wanted.saturating_sub(self.bytes.len()) as u64);
        self.expected.or(wanted)
    }

    /// Whether the client may send more, if it has any and nothing waits to be read.
    #[cfg(any(test, fuzzing))]
    pub(super) fn is_open(&self) -> bool {
        self.ended || self.unwanted || self.unread() > 0 || self.rest() == Some(0) || self.window.open > 0
    }

    /// How much of what is there counts as not read.
    pub(super) fn unread(&self) -> usize {
        self.bytes.len() - self.granted
    }
}

/// The answer, as far as the client has no room for it.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    pieces: VecDeque<Bytes>,
    length: usize,
    /// Whether nothing follows.
    pub(super) last: bool,
    pub(super) trailers: Option<HeaderMap>,
    /// Who made it wants to know when there is no more than this.
    enough: usize,
}

impl Waiting {
    pub(super) fn push(&mut self, bytes: Bytes) {
        self.length += bytes.len();
        self.pieces.push_back(bytes);
    }

    /// Takes up to so many bytes of what goes next.
    pub(super) fn take(&mut self, most: usize) -> Option<Bytes> {
        let first = self.pieces.front_mut()?;
        let part = first.split_to(most.min(first.len()));
        if first.is_empty() {
            self.pieces.pop_front();
        }
        self.length -= part.len();
        Some(part)
    }

    pub(super) const fn len(&self) -> usize {
        self.length
    }
}

/// One stream.
#[derive(Debug)]
pub(super) struct Record {
    pub(super) arrived: Arrived,
    pub(super) waiting: Waiting,
    /// How much of the answer the client has room for.
    pub(super) window: i64,
    /// Whether it stands in the line of those who have something to send.
    pub(super) lined_up: bool,
    /// Whether the answer has begun, and whether all of it is on its way.
    pub(super) answered: bool,
    pub(super) done: bool,
    /// Whether it was reset, or its connection is over.
    pub(super) gone: bool,
    /// Of the task that answers, and of who reads the body, which may be another.
    waker: Option<Waker>,
    reader: Option<Waker>,
}

impl Record {
    /// A stream of which the client takes `window` bytes, and whose body will be so long, where that is known.
    pub(super) fn new(window: i64, size: u32, expected: Option<u64>) -> Self {
        Self {
            arrived: Arrived::new(size, expected),
            waiting: Waiting::default(),
            window,
            lined_up: false,
            answered: false,
            done: false,
            gone: false,
            waker: None,
            reader: None,
        }
    }

    /// Takes a piece of the body, of which nothing may follow; says how much of it is done with at once.
    pub(super) fn came(&mut self, bytes: &[u8], last: bool) -> Result<usize, Reason> {
        if self.gone {
            return Ok(bytes.len());
        }
        if let Some(expected) = &mut self.arrived.expected {
            let rest = u64::try_from(bytes.len()).ok().and_then(|length| expected.checked_sub(length));
            *expected = rest.filter(|rest| !last || *rest == 0).ok_or(Reason::Protocol)?;
        }
        self.arrived.ended |= last;
        if self.arrived.unwanted {
            return Ok(bytes.len());
        }
        let granted = self.arrived.push(bytes);
        if self.arrived.is_enough() {
            wake(&mut self.reader);
        }
        Ok(granted)
    }

    /// Where the next `length` bytes of the body go, of which nothing may follow, if somebody waits for them in one piece.
    /// What was put there has [`grown`](Self::grown).
    pub(super) fn place(&mut self, length: usize, last: bool) -> Option<&mut BytesMut> {
        let is_right = |rest: u64| rest == length as u64 || (!last && rest > length as u64);
        let is_wanted = !self.gone && !self.arrived.unwanted && self.arrived.expected.is_none_or(is_right);
        self.arrived.place(length).filter(|_| is_wanted)
    }

    /// How much more than the next `length` bytes of the body has a place behind them.
    pub(super) fn more(&self, length: usize) -> usize {
        let arrived = &self.arrived;
        if arrived.ended {
            return 0;
        }
        let room = arrived.wanted.min(arrived.bytes.capacity()).saturating_sub(arrived.bytes.len() + length);
        let rest = arrived.expected.map(|rest| usize::try_from(rest).unwrap_or(usize::MAX).saturating_sub(length));
        rest.map_or(room, |rest| rest.min(room))
    }

    /// Notes that so many bytes more of the body are in their place, of which nothing may follow.
    pub(super) fn grown(&mut self, bytes: usize, last: bool) {
        let arrived = &mut self.arrived;
        arrived.expected = arrived.expected.map(|rest| rest.saturating_sub(bytes as u64));
        arrived.ended |= last;
        arrived.granted += bytes;
        if arrived.is_enough() {
            wake(&mut self.reader);
        }
    }

    /// Lets go of all that the stream holds; says how much had come that nobody has read.
    pub(super) fn leave(&mut self) -> usize {
        self.gone = true;
        self.waiting = Waiting::default();
        wake(&mut self.waker);
        wake(&mut self.reader);
        self.discard()
    }

    /// Lets go of the body; says how much of it counts as not read.
    pub(super) fn discard(&mut self) -> usize {
        let arrived = &mut self.arrived;
        let left = arrived.unread();
        (arrived.unwanted, arrived.bytes, arrived.granted) = (true, BytesMut::new(), 0);
        left
    }

    /// Ready when no more than so many bytes of the answer wait.
    pub(super) fn poll_waiting(&mut self, enough: usize, context: &Context<'_>) -> Poll<()> {
        if self.waiting.length <= enough {
            return Poll::Ready(());
        }
        self.waiting.enough = enough;
        self.listen(context);
        Poll::Pending
    }

    /// Notes that something of the answer went out.
    pub(super) fn went(&mut self) {
        if self.waiting.length <= self.waiting.enough {
            wake(&mut self.waker);
        }
    }

    /// Puts it into the line of those who have something to send; `false` if it has not, or stands there.
    pub(super) fn lines_up(&mut self) -> bool {
        let is_news = self.waiting.len() > 0 && self.window > 0 && !self.lined_up;
        self.lined_up |= is_news;
        is_news
    }

    /// Has the task that looks now woken when something becomes of the answer.
    pub(super) fn listen(&mut self, context: &Context<'_>) {
        keep(&mut self.waker, context);
    }

    /// The same when more of the body comes.
    pub(super) fn listen_for_more(&mut self, context: &Context<'_>) {
        keep(&mut self.reader, context);
    }
}

pub(super) fn keep(place: &mut Option<Waker>, context: &Context<'_>) {
    match place {
        Some(waker) => waker.clone_from(context.waker()),
        None => *place = Some(context.waker().clone()),
    }
}

fn wake(place: &mut Option<Waker>) {
    if let Some(waker) = place.take() {
        waker.wake();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn piece(whole: usize) -> Piece {
        Piece { whole, tensor: 0 }
    }

    #[test]
    fn a_window_opens_again_when_half_of_it_was_read() {
        let mut window = Window::new(100);
        assert!(window.came(100) && !window.came(1));
        let mut window = Window::new(100);
        assert!(window.came(50));
        assert_eq!((window.read(49, None), window.read(1, None)), (None, Some(50)));
        assert!(window.came(100) && !window.came(1));
    }

    #[test]
    fn a_window_opens_again_when_as_much_was_read_as_is_open() {
        let mut window = Window::new(100);
        assert!(window.came(90));
        assert_eq!((window.read(9, None), window.read(1, None)), (None, Some(10)));
        assert!(window.came(20) && !window.came(1));
    }

    #[test]
    fn a_window_need_not_open_for_more_than_comes() {
        let mut window = Window::new(100);
        assert!(window.came(90));
        assert_eq!((window.read(90, Some(10)), window.read(0, Some(11))), (None, Some(90)));
    }

    #[test]
    fn a_window_opens_sooner_where_something_is_said_anyway() {
        let mut window = Window::new(100);
        assert!(window.came(20));
        assert_eq!((window.grant(0), window.read(20, None)), (None, None));
        assert_eq!((window.grant(20), window.grant(19), window.grant(0)), (None, Some(20), None));
        assert!(window.came(100));
    }

    #[test]
    fn a_body_is_as_long_as_its_head_says() {
        let record = |expected| Record::new(0, 1 << 20, expected);
        assert_eq!(record(None).came(b"123", true), Ok(0));
        assert_eq!(record(Some(3)).came(b"123", true), Ok(0));
        assert_eq!(record(Some(2)).came(b"123", false), Err(Reason::Protocol));
        assert_eq!(record(Some(4)).came(b"123", true), Err(Reason::Protocol));
        let mut two = record(Some(6));
        assert_eq!((two.came(b"123", false), two.came(b"456", true)), (Ok(0), Ok(0)));
        assert_eq!(two.arrived.take(), Some((Bytes::from_static(b"123456"), 6)));
    }

    #[test]
    fn what_a_reader_waits_for_comes_in_one_piece_and_makes_room_for_more_at_once() {
        let mut record = Record::new(0, 1 << 20, None);
        assert_eq!(record.came(b"abc", false), Ok(0));
        assert_eq!(record.arrived.take(), Some((Bytes::from_static(b"abc"), 3)));
        assert_eq!(record.came(b"de", false), Ok(0));
        assert_eq!(record.arrived.gather(b"abc", piece(8)), 2);
        assert_eq!((record.arrived.take(), record.arrived.len(), record.arrived.unread()), (None, 5, 0));
        assert_eq!(record.came(b"f", false), Ok(1));
        assert_eq!(record.arrived.take(), None);
        assert_eq!(record.came(b"ghi", false), Ok(2));
        assert_eq!(record.arrived.take(), Some((Bytes::from_static(b"abcdefghi"), 1)));
        assert_eq!(record.came(b"j", false), Ok(0));
        assert_eq!(record.arrived.take(), Some((Bytes::from_static(b"j"), 1)));
    }

    #[test]
    fn a_large_frame_is_read_into_the_place_where_somebody_waits_for_it() {
        let mut record = Record::new(0, 1 << 20, Some(10));
        assert!(record.place(4, false).is_none(), "nobody waits");
        assert_eq!((record.came(b"ab", false), record.arrived.gather(b"", piece(8))), (Ok(0), 2));
        assert!(record.place(7, false).is_none() && record.place(8, true).is_none(), "it is larger than that");
        assert!(record.place(6, true).is_none(), "there has to be more");
        record.place(4, false).unwrap().extend_from_slice(b"cdef");
        record.grown(4, false);
        assert_eq!((record.arrived.take(), record.arrived.rest()), (None, Some(4)));
        record.place(2, false).unwrap().extend_from_slice(b"gh");
        record.grown(2, false);
        assert_eq!(record.arrived.take(), Some((Bytes::from_static(b"abcdefgh"), 0)));
        assert!(record.place(2, true).is_none());
    }

    #[test]
    fn nothing_is_read_into_a_place_that_nobody_needs_any_more() {
        let mut record = Record::new(0, 1 << 20, None);
        record.arrived.gather(b"", piece(8));
        assert!(record.place(4, true).is_some());
        record.grown(0, true);
        assert!(record.arrived.ended);
        record.discard();
        assert!(record.place(4, true).is_none());
        let mut record = Record::new(0, 1 << 20, None);
        record.arrived.gather(b"", piece(8));
        record.leave();
        assert!(record.place(4, true).is_none());
    }

    #[test]
    fn what_a_reader_waits_for_is_what_there_is_when_the_client_ends() {
        let mut record = Record::new(0, 1 << 20, None);
        assert_eq!((record.arrived.gather(b"abc", piece(8)), record.came(b"d", true)), (0, Ok(1)));
        assert_eq!(record.arrived.take(), Some((Bytes::from_static(b"abcd"), 0)));
    }

    #[test]
    fn a_window_opens_once_nobody_waits_for_a_piece_that_came_as_a_whole() {
        let mut record = Record::new(0, 100, None);
        assert!(record.arrived.window.came(40) && record.came(&[0; 40], false) == Ok(0));
        let (first, read) = record.arrived.take().unwrap();
        assert_eq!(record.arrived.window.read(read, record.arrived.rest()), None);
        assert!(record.arrived.window.came(60) && record.came(&[0; 60], false) == Ok(0));
        let read = record.arrived.gather(&first, piece(100));
        assert_eq!(record.arrived.window.read(read, record.arrived.rest()), None);
        let (piece, read) = record.arrived.take().unwrap();
        assert_eq!((piece.len(), record.arrived.window.read(read, record.arrived.rest())), (100, Some(100)));
    }

    #[test]
    fn of_what_is_there_no_more_makes_room_than_a_reader_waits_for() {
        let mut record = Record::new(0, 1 << 20, None);
        assert_eq!((record.came(b"abcdef", false), record.arrived.gather(b"", piece(4))), (Ok(0), 4));
        assert_eq!(record.arrived.take(), Some((Bytes::from_static(b"abcdef"), 2)));
    }

    #[test]
    fn nothing_is_kept_of_a_body_that_nobody_reads() {
        let mut record = Record::new(0, 1 << 20, None);
        assert_eq!(record.came(b"123", false), Ok(0));
        assert_eq!((record.discard(), record.came(b"123", false), record.leave()), (3, Ok(3), 0));
        assert!(record.gone && record.arrived.len() == 0);
        let mut record = Record::new(0, 1 << 20, None);
        assert_eq!((record.arrived.gather(b"", piece(8)), record.came(b"123", false)), (0, Ok(3)));
        assert_eq!((record.discard(), record.came(b"123", false)), (0, Ok(3)));
    }
}
