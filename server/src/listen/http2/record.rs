//! What is known of one stream.

use std::collections::VecDeque;
use std::task::{Context, Poll, Waker};

use bytes::{Bytes, BytesMut};
use http::HeaderMap;

use super::frame::{LARGEST, Reason};

/// Smaller pieces of a body are put together: they would hold a buffer that was read into, which is larger.
const LARGE: usize = LARGEST;

/// How much a client may send, of which no more than half is given back at once.
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

    /// Notes that so much of what came was read; says by how much the client may send more now.
    pub(super) fn read(&mut self, bytes: usize) -> Option<u32> {
        self.read = self.read.saturating_add(u32::try_from(bytes).unwrap_or(u32::MAX));
        if self.read < self.size / 2 && self.read < self.open {
            return None;
        }
        self.open = self.open.saturating_add(self.read);
        Some(std::mem::take(&mut self.read))
    }

    /// What of it is not taken by what has come and was not read.
    #[cfg(any(test, fuzzing))]
    pub(super) const fn rest(&self) -> usize {
        self.open as usize + self.read as usize
    }
}

/// The body of a request, as far as it came and was not read.
#[derive(Debug)]
pub(super) struct Arrived {
    pieces: VecDeque<Bytes>,
    /// Behind the pieces.
    small: BytesMut,
    length: usize,
    pub(super) window: Window,
    /// How much is still to come, where the head says so.
    pub(super) expected: Option<u64>,
    /// Whether the client has ended it.
    pub(super) ended: bool,
    /// Whether nobody is going to read it.
    pub(super) unwanted: bool,
}

impl Arrived {
    fn push(&mut self, bytes: Bytes, last: bool) {
        self.length += bytes.len();
        if bytes.len() >= LARGE {
            if !self.small.is_empty() {
                self.pieces.push_back(std::mem::take(&mut self.small).freeze());
            }
            self.pieces.push_back(bytes);
        } else if last && self.length == bytes.len() {
            self.pieces.push_back(Bytes::copy_from_slice(&bytes));
        } else {
            self.small.extend_from_slice(&bytes);
        }
    }

    /// Takes the next piece.
    pub(super) fn pop(&mut self) -> Option<Bytes> {
        let rest = || (!self.small.is_empty()).then(|| std::mem::take(&mut self.small).freeze());
        let piece = self.pieces.pop_front().or_else(rest)?;
        self.length -= piece.len();
        Some(piece)
    }

    /// Takes the body, if it is there as a whole and in one piece.
    pub(super) fn whole(&mut self) -> Option<Bytes> {
        let is_one = self.ended && self.pieces.len() + usize::from(!self.small.is_empty()) <= 1;
        is_one.then(|| self.pop().unwrap_or_default())
    }

    pub(super) const fn len(&self) -> usize {
        self.length
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
        let arrived = Arrived {
            pieces: VecDeque::new(),
            small: BytesMut::new(),
            length: 0,
            window: Window::new(size),
            expected,
            ended: false,
            unwanted: false,
        };
        Self {
            arrived,
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
    pub(super) fn came(&mut self, bytes: Bytes, last: bool) -> Result<usize, Reason> {
        let length = bytes.len();
        if self.gone {
            return Ok(length);
        }
        if let Some(expected) = &mut self.arrived.expected {
            let rest = u64::try_from(length).ok().and_then(|length| expected.checked_sub(length));
            *expected = rest.filter(|rest| !last || *rest == 0).ok_or(Reason::Protocol)?;
        }
        self.arrived.ended |= last;
        if self.arrived.unwanted {
            return Ok(length);
        }
        if length > 0 {
            self.arrived.push(bytes, last);
        }
        wake(&mut self.reader);
        Ok(0)
    }

    /// Lets go of all that the stream holds; says how much had come that nobody has read.
    pub(super) fn leave(&mut self) -> usize {
        self.gone = true;
        self.waiting = Waiting::default();
        wake(&mut self.waker);
        wake(&mut self.reader);
        self.discard()
    }

    /// Lets go of the body; says how much of it had come.
    pub(super) fn discard(&mut self) -> usize {
        let arrived = &mut self.arrived;
        arrived.unwanted = true;
        (arrived.pieces, arrived.small) = (VecDeque::new(), BytesMut::new());
        std::mem::take(&mut arrived.length)
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

fn keep(place: &mut Option<Waker>, context: &Context<'_>) {
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

    #[test]
    fn a_window_opens_again_when_half_of_it_was_read() {
        let mut window = Window::new(100);
        assert!(window.came(100) && !window.came(1));
        let mut window = Window::new(100);
        assert!(window.came(50));
        assert_eq!((window.read(49), window.read(1)), (None, Some(50)));
        assert!(window.came(100) && !window.came(1));
    }

    #[test]
    fn a_window_opens_again_when_as_much_was_read_as_is_open() {
        let mut window = Window::new(100);
        assert!(window.came(90));
        assert_eq!((window.read(9), window.read(1)), (None, Some(10)));
        assert!(window.came(20) && !window.came(1));
    }

    #[test]
    fn a_body_is_as_long_as_its_head_says() {
        let record = |expected| Record::new(0, 1 << 20, expected);
        let piece = || Bytes::from_static(b"123");
        assert_eq!(record(None).came(piece(), true), Ok(0));
        assert_eq!(record(Some(3)).came(piece(), true), Ok(0));
        assert_eq!(record(Some(2)).came(piece(), false), Err(Reason::Protocol));
        assert_eq!(record(Some(4)).came(piece(), true), Err(Reason::Protocol));
        let mut two = record(Some(6));
        assert_eq!((two.came(piece(), false), two.came(piece(), true)), (Ok(0), Ok(0)));
        assert_eq!(two.arrived.whole().as_deref(), Some(&b"123123"[..]));
    }

    #[test]
    fn small_pieces_are_put_together_and_stay_in_order() {
        let mut record = Record::new(0, 1 << 20, None);
        let all: Vec<u8> = (0..=250).cycle().take(3 * LARGE + 7).collect();
        let mut rest = Bytes::from(all.clone());
        for size in [1, 2, LARGE - 1, LARGE, 3, LARGE - 1] {
            assert_eq!(record.came(rest.split_to(size), false), Ok(0));
        }
        let left = rest.len();
        assert_eq!(record.came(rest, true), Ok(0));
        assert!(record.arrived.whole().is_none());
        let pieces: Vec<_> = std::iter::from_fn(|| record.arrived.pop()).collect();
        assert_eq!(pieces.iter().map(Bytes::len).collect::<Vec<_>>(), [LARGE + 2, LARGE, LARGE + 2 + left]);
        assert!(pieces.concat() == all && record.arrived.len() == 0);
    }

    #[test]
    fn nothing_is_kept_of_a_body_that_nobody_reads() {
        let mut record = Record::new(0, 1 << 20, None);
        let piece = || Bytes::from_static(b"123");
        assert_eq!(record.came(piece(), false), Ok(0));
        assert_eq!((record.discard(), record.came(piece(), false), record.leave()), (3, Ok(3), 0));
        assert!(record.gone && record.arrived.len() == 0);
    }
}
