//! The other side of a connection: it says what the session has, in pieces, and checks what it hears.

use std::cell::RefCell;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use socket2::MaybeUninitSlice;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

use crate::listen::scatter::Scatter;

const SIZES: [usize; 12] = [1, 2, 8, 9, 10, 50, 500, 4096, 8192, 16_393, 65_536, usize::MAX];

/// After so many pieces a client is quick.
const PATIENCE: usize = 2000;

/// What a client does next.
enum Next {
    Piece(usize),
    /// Nothing, until it is asked again.
    Soon,
    Later,
    Never,
}

/// How a client goes about it, over and over.
struct Pace {
    bytes: [u8; 3],
    at: usize,
    alarm: Option<Pin<Box<Sleep>>>,
    /// Whether it goes on after a wait.
    waits: bool,
    never: bool,
}

impl Pace {
    const fn new(bytes: [u8; 3]) -> Self {
        Self { bytes, at: 0, alarm: None, waits: false, never: false }
    }

    fn next(&mut self) -> Next {
        let byte = self.bytes[self.at % 3];
        self.at += 1;
        match byte % 16 {
            _ if self.never => Next::Never,
            _ if self.at > PATIENCE => Next::Piece(usize::MAX),
            0 => Next::Soon,
            1 => Next::Later,
            2 if byte < 128 => Next::Never,
            size => Next::Piece(SIZES[usize::from(size.saturating_sub(4))]),
        }
    }

    /// How much goes now.
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<usize> {
        if let Some(alarm) = &mut self.alarm {
            if alarm.as_mut().poll(context).is_pending() {
                return Poll::Pending;
            }
            self.alarm = None;
        }
        let next = self.next();
        self.waits = matches!(next, Next::Soon | Next::Later);
        match next {
            Next::Piece(size) => return Poll::Ready(size),
            Next::Soon => context.waker().wake_by_ref(),
            Next::Later => {
                let alarm = self.alarm.insert(Box::pin(sleep(Duration::from_millis(1))));
                let _ = alarm.as_mut().poll(context);
            }
            Next::Never => self.never = true,
        }
        Poll::Pending
    }
}

/// What a client makes of what is said.
pub(in crate::listen) trait Talk {
    /// Takes note of all that the client has said so far.
    fn said(&mut self, all: &[u8]);

    /// Checks what it hears.
    fn heard(&mut self, bytes: &[u8]);

    /// How much the client says before it has heard more.
    fn may_say(&self) -> usize {
        usize::MAX
    }
}

pub(in crate::listen) struct Client<T> {
    bytes: Vec<u8>,
    /// So much of them was said.
    at: usize,
    says: Pace,
    hears: Pace,
    /// Whether it ends its side once all is said.
    closes: bool,
    shut: bool,
    /// Who waits for it to say something.
    reader: Option<Waker>,
    pub(in crate::listen) talk: T,
}

impl<T: Talk> Client<T> {
    /// A client that says `bytes`, at such a pace.
    pub(in crate::listen) fn new(bytes: Vec<u8>, [a, b, c, d, e, f]: [u8; 6], closes: bool, talk: T) -> Self {
        let (says, hears) = (Pace::new([a | 128, b | 128, c | 128]), Pace::new([d, e, f]));
        Self { bytes, at: 0, says, hears, closes, shut: false, reader: None, talk }
    }

    /// How much it may say that was not read.
    pub(in crate::listen) fn left(&self) -> usize {
        self.bytes.len().min(self.talk.may_say()).saturating_sub(self.at)
    }

    /// Whether it takes nothing any more.
    pub(in crate::listen) const fn is_deaf(&self) -> bool {
        self.hears.never
    }

    /// Whether it is about to do something.
    pub(in crate::listen) const fn is_stirring(&self) -> bool {
        self.says.waits || self.hears.waits
    }

    /// Has it end its side, whatever it had to say.
    pub(in crate::listen) fn leave(&mut self) {
        self.bytes.truncate(self.at);
        self.closes = true;
        self.reader.take().into_iter().for_each(Waker::wake);
    }

    /// Says its next bytes at once, at most so many.
    pub(in crate::listen) fn say(&mut self, most: usize) -> &[u8] {
        let from = self.at;
        self.at += most.min(self.left());
        self.talk.said(&self.bytes[..self.at]);
        &self.bytes[from..self.at]
    }

    fn hear(&mut self, parts: &[IoSlice<'_>], mut most: usize) -> usize {
        assert!(!self.shut, "something is written behind the end");
        let before = most;
        for part in parts {
            let (taken, _) = part.split_at(part.len().min(most));
            most -= taken.len();
            self.talk.heard(taken);
        }
        if self.left() > 0 {
            self.reader.take().into_iter().for_each(Waker::wake);
        }
        before - most
    }
}

/// The server's end of the wire.
pub(in crate::listen) struct Wire<T>(pub(in crate::listen) Rc<RefCell<Client<T>>>);

impl<T: Talk> AsyncRead for Wire<T> {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, to: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let client = &mut *self.0.borrow_mut();
        if client.left() == 0 {
            client.says.waits = false;
            if client.closes && client.at == client.bytes.len() {
                return Poll::Ready(Ok(()));
            }
            client.reader = Some(context.waker().clone());
            return Poll::Pending;
        }
        client.says.poll(context).map(|size| {
            to.put_slice(client.say(size.min(to.remaining())));
            Ok(())
        })
    }
}

impl<T: Talk> Scatter for Wire<T> {
    fn poll_scatter(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        places: &mut [MaybeUninitSlice<'_>],
    ) -> Option<Poll<io::Result<usize>>> {
        // As a socket, or as what is within TLS.
        if self.0.borrow().at.is_multiple_of(2) {
            return None;
        }
        let mut came = vec![0; places.iter().map(|place| place.len()).sum()];
        let mut buffer = ReadBuf::new(&mut came);
        let read = self.as_mut().poll_read(context, &mut buffer);
        let mut rest = buffer.filled().iter();
        for (place, byte) in places.iter_mut().flat_map(|place| place.iter_mut()).zip(&mut rest) {
            place.write(*byte);
        }
        let count = buffer.filled().len();
        Some(read.map_ok(|()| count))
    }
}

impl<T: Talk> AsyncWrite for Wire<T> {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(context, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let client = &mut *self.0.borrow_mut();
        let most = parts.iter().map(|part| part.len()).sum::<usize>();
        assert!(most > 0, "nothing is written");
        client.hears.poll(context).map(|size| Ok(client.hear(parts, size.min(most))))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.borrow_mut().shut = true;
        Poll::Ready(Ok(()))
    }
}
