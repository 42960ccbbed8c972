//! Sessions of any client, whom the server has to bear: what holds in all of them is checked while they run. For tests and
//! the fuzzer.
//!
//! A session is eight bytes that say how the client reads, writes and leaves, and then its frames, without the preface.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a session that breaks a rule has to panic")]

mod answer;
mod client;
mod heard;
mod said;
#[cfg(test)]
mod tests;

use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use bytes::BytesMut;
use tokio::runtime::Builder;
use tokio::time::{sleep, timeout};
use tokio_util::task::TaskTracker;

use super::Connection;
use super::ends::Connection as _;
use crate::config::Caps;
use crate::lifecycle::Lifecycle;
use crate::listen::patience::Patient;
use crate::listen::young::Streams;
use client::{Client, Wire};

/// After so long all has happened that needs no alarm of the server. None of its alarms goes off at a multiple of it.
const PAUSE: Duration = Duration::from_millis(4987);

/// So many such pauses after a client has said its last, its connection is over.
const PAUSES: usize = 100;

/// No session needs to be looked at so often.
const POLLS: usize = 200_000;

/// How a session ends, if the client's frames do not end it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ending {
    /// The client says nothing more, and answers no PING.
    Silent,
    /// The client closes its side.
    Closed,
    /// The server stops.
    Stopped,
    /// The connection is given up in the midst of it.
    Dropped,
    /// So are its streams.
    Expired,
}

/// What came of a session.
#[derive(Debug, Default, PartialEq, Eq)]
struct Outcome {
    /// Why the server ended it, where it said so.
    reason: Option<u32>,
    /// The streams that were answered to the end.
    answered: Vec<u32>,
}

/// Runs a session to its end.
///
/// # Panics
/// If something does not hold.
#[cfg(fuzzing)]
pub(crate) fn session(bytes: &[u8]) {
    outcome(bytes);
}

fn outcome(bytes: &[u8]) -> Outcome {
    let Some(([pace @ .., kind, at], frames)) = bytes.split_first_chunk::<8>() else { return Outcome::default() };
    let ending = match kind % 8 {
        0..3 => Ending::Silent,
        3 => Ending::Closed,
        4 | 5 => Ending::Stopped,
        6 => Ending::Dropped,
        _ => Ending::Expired,
    };
    let client = Client::new(frames, *pace, ending == Ending::Closed);
    let runtime = Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(run(client, ending, usize::from(*at)))
}

async fn run(client: Client, ending: Ending, at: usize) -> Outcome {
    let client = Rc::new(RefCell::new(client));
    let (tasks, lifecycle) = (TaskTracker::new(), Lifecycle::default());
    let streams = Streams::new(tasks.clone(), lifecycle.clone());
    let caps = Caps { header_bytes: 2 << 10, headers: 20, ..Caps::default() };
    let stream = Patient::new(Wire(Rc::clone(&client)), caps.answer_timeout);
    let mut connection = Connection::new(stream, BytesMut::new(), answer::answer, Arc::default(), streams, &caps);

    let (mut polls, mut pauses) = (0, 0);
    let ended: Option<io::Result<()>> = loop {
        let mut pause = pin!(sleep(PAUSE));
        let ended = poll_fn(|context| {
            // Looking at the connection would hide that nobody has woken it.
            if pause.as_mut().poll(context).is_ready() {
                return Poll::Ready(None);
            }
            polls += 1;
            assert!(polls < POLLS, "it goes round and round");
            match ending {
                Ending::Stopped if polls == at + 1 => Pin::new(&mut connection).stop(),
                Ending::Dropped | Ending::Expired if polls == at + 1 => return Poll::Ready(Some(None)),
                _ => {}
            }
            if let Poll::Ready(ended) = Pin::new(&mut connection).poll_end(context) {
                return Poll::Ready(Some(Some(ended)));
            }
            if !connection.over {
                connection.shared.lock().check(connection.frames.coming());
                assert_eq!(connection.frames.waiting(), 0);
            }
            Poll::Pending
        });
        if let Some(ended) = ended.await {
            break ended;
        }
        pauses += 1;
        assert!(pauses < PAUSES, "it does not end");
        if !connection.over && !client.borrow().is_stirring() {
            rest(&connection, &client.borrow(), &tasks);
        }
    };

    let (shared, waiting) = (connection.shared.clone(), connection.frames.waiting());
    drop(connection);
    if ending == Ending::Expired {
        lifecycle.expired.cancel();
    }
    tasks.close();
    assert!(timeout(PAUSE, tasks.wait()).await.is_ok(), "streams outlive their connection");
    if ending != Ending::Expired {
        assert_eq!(shared.lock().streams.len(), waiting, "streams are left");
    }
    drop(shared);
    let client = Rc::into_inner(client).unwrap().into_inner();
    if let Some(Err(error)) = &ended {
        assert!(client.is_deaf() && error.kind() == io::ErrorKind::TimedOut, "{error}");
    }
    client.end(matches!(ended, Some(Ok(()))))
}

/// Checks what holds while nothing happens.
fn rest<A>(connection: &Connection<Patient<Wire>, A>, client: &Client, tasks: &TaskTracker) {
    let state = connection.shared.lock();
    assert_eq!(state.streams.len(), tasks.len(), "each stream is one that waits");
    if client.is_deaf() {
        return;
    }
    assert_eq!(connection.sending.len() + state.out.len(), 0, "something was not written");
    assert_eq!(client.left(), 0, "something was not read");
    state.check_rest();
}
