//! Sessions of any client, whom the server has to bear: what holds in all of them is checked while they run. For tests and
//! the fuzzer.
//!
//! A session is eight bytes that say how the client reads, writes and leaves, and then its frames, without the preface.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a session that breaks a rule has to panic")]

mod heard;
mod said;
#[cfg(test)]
mod tests;

use std::cell::RefCell;
use std::io;
use std::ops::ControlFlow;
use std::rc::Rc;
use std::sync::Arc;

use axum::response::Response;
use bytes::BytesMut;
use http::Request;
use tokio::runtime::Builder;
use tokio::time::timeout;
use tokio_util::task::TaskTracker;

use super::{Body, Connection};
use crate::config::Caps;
use crate::lifecycle::Lifecycle;
use crate::listen::checked::{Client, Ending, PAUSE, Session, Talk, Wire, answer, run};
use crate::listen::patience::Patient;
use crate::listen::young::Streams;
use heard::Heard;
use said::Said;

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
        _ => Ending::Dropped,
    };
    // Its streams are given up too.
    let expires = kind % 8 == 7;
    let client = Client::new(frames.to_vec(), *pace, ending == Ending::Closed, Both::default());
    let runtime = Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(go(client, ending, usize::from(*at), expires))
}

/// What was said, and heard.
#[derive(Default)]
struct Both {
    said: Said,
    heard: Heard,
}

impl Talk for Both {
    fn said(&mut self, all: &[u8]) {
        self.said.take(all);
    }

    fn heard(&mut self, bytes: &[u8]) {
        self.heard.take(bytes, &mut self.said);
    }
}

/// A session as it runs.
struct Running<A> {
    connection: Connection<Patient<Wire<Both>>, A>,
    client: Rc<RefCell<Client<Both>>>,
    tasks: TaskTracker,
}

async fn go(client: Client<Both>, ending: Ending, at: usize, expires: bool) -> Outcome {
    let client = Rc::new(RefCell::new(client));
    let (tasks, lifecycle) = (TaskTracker::new(), Lifecycle::default());
    let streams = Streams::new(tasks.clone(), lifecycle.clone());
    let caps = Caps { header_bytes: 2 << 10, headers: 20, ..Caps::default() };
    let stream = Patient::new(Wire(Rc::clone(&client)), caps.answer_timeout);
    let connection = Connection::new(stream, BytesMut::new(), answer::answer, Arc::default(), streams, &caps);
    let mut running = Running { connection, client, tasks };
    let ended = run(&mut running, ending, at).await;

    let Running { connection, client, tasks } = running;
    let (shared, waiting) = (connection.shared.clone(), connection.frames.waiting());
    drop(connection);
    if expires {
        lifecycle.expired.cancel();
    }
    tasks.close();
    assert!(timeout(PAUSE, tasks.wait()).await.is_ok(), "streams outlive their connection");
    if !expires {
        assert_eq!(shared.lock().streams.len(), waiting, "streams are left");
    }
    drop(shared);
    let client = Rc::into_inner(client).unwrap().into_inner();
    if let Some(Err(error)) = &ended {
        assert!(client.is_deaf() && error.kind() == io::ErrorKind::TimedOut, "{error}");
    }
    client.talk.heard.end(&client.talk.said, matches!(ended, Some(Ok(()))))
}

impl<A, F> Session for Running<A>
where
    A: Fn(Request<Body>) -> F + Unpin,
    F: Future<Output = Response> + Send + 'static,
{
    type Connection = Connection<Patient<Wire<Both>>, A>;

    fn connection(&mut self) -> &mut Self::Connection {
        &mut self.connection
    }

    fn check(&mut self) {
        if !self.connection.over {
            self.connection.shared.lock().check(self.connection.frames.coming());
            assert_eq!(self.connection.frames.waiting(), 0);
        }
    }

    fn rest(&mut self, _: bool) -> ControlFlow<()> {
        let client = self.client.borrow();
        if self.connection.over || client.is_stirring() {
            return ControlFlow::Continue(());
        }
        let state = self.connection.shared.lock();
        assert_eq!(state.streams.len(), self.tasks.len(), "each stream is one that waits");
        if !client.is_deaf() {
            assert_eq!(self.connection.sending.len() + state.out.len(), 0, "something was not written");
            assert_eq!(client.left(), 0, "something was not read");
            state.check_rest();
        }
        ControlFlow::Continue(())
    }
}
