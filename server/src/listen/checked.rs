//! Sessions of any client, whom the server has to bear: what holds in all of them is checked while they run. For tests and
//! the fuzzer. Here is what both protocols need for it.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a session that breaks a rule has to panic")]

pub(super) mod answer;
mod client;

use std::future::poll_fn;
use std::io;
use std::ops::ControlFlow;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use futures_util::task::AtomicWaker;
use tokio::time::sleep;

use super::ends::Connection;
pub(super) use client::{Client, Talk, Wire};

/// After so long all has happened that needs no alarm of the server. None of its alarms goes off at a multiple of it.
pub(super) const PAUSE: Duration = Duration::from_millis(4987);

/// So many such pauses after a client has said its last, its connection is over.
const PAUSES: usize = 100;

/// No session needs to be looked at so often.
const POLLS: usize = 200_000;

/// How a session ends, if what the client says does not end it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    /// The client says nothing more.
    Silent,
    /// The client closes its side.
    Closed,
    /// The server stops.
    Stopped,
    /// The connection is given up in the midst of it.
    Dropped,
}

/// A session as it runs.
pub(super) trait Session {
    type Connection: Connection + Unpin;

    fn connection(&mut self) -> &mut Self::Connection;

    /// The server stops.
    fn stop(&mut self) {
        Pin::new(self.connection()).stop();
    }

    /// Checks what holds at any time.
    fn check(&mut self);

    /// Checks what holds while nothing happens, or soon will; says whether to go on. It `slept` where nothing has happened
    /// for a whole pause.
    fn rest(&mut self, slept: bool) -> ControlFlow<()>;
}

/// Runs a session to its end: of itself, or `None` where it is given up. What its ending says happens at the look with that
/// number; the server stops at last when nothing happens.
pub(super) async fn run(session: &mut impl Session, ending: Ending, mut at: usize) -> Option<io::Result<()>> {
    let bell = Arc::new(Bell { rung: true.into(), task: AtomicWaker::new() });
    let waker = Waker::from(Arc::clone(&bell));
    let (mut polls, mut pauses) = (0, 0);
    loop {
        let mut pause = pin!(sleep(PAUSE));
        let before = polls;
        let ended = poll_fn(|context| {
            bell.task.register(context.waker());
            // Looking at the connection would hide that nobody has woken it.
            if bell.rung.swap(false, Ordering::Relaxed) {
                polls += 1;
                assert!(polls < POLLS, "it goes round and round");
                match ending {
                    Ending::Stopped if polls == at + 1 => session.stop(),
                    Ending::Dropped if polls == at + 1 => return Poll::Ready(Some(None)),
                    _ => {}
                }
                if let Poll::Ready(ended) = Pin::new(session.connection()).poll_end(&mut Context::from_waker(&waker)) {
                    return Poll::Ready(Some(Some(ended)));
                }
                session.check();
            }
            pause.as_mut().poll(context).map(|()| None)
        });
        if let Some(ended) = ended.await {
            return ended;
        }
        pauses += 1;
        assert!(pauses < PAUSES, "it does not end");
        let slept = polls == before;
        if session.rest(slept).is_break() {
            return None;
        }
        if ending == Ending::Stopped && slept && polls <= at {
            at = polls;
            bell.rung.store(true, Ordering::Relaxed);
        }
    }
}

/// Notes that a connection wants to be looked at.
struct Bell {
    rung: AtomicBool,
    task: AtomicWaker,
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.rung.store(true, Ordering::Relaxed);
        self.task.wake();
    }
}
