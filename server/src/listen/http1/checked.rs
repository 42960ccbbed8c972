//! Sessions of any client of HTTP/1.1, whom the server has to bear: what holds in all of them is checked while they run. For
//! tests and the fuzzer.
//!
//! A session is eight bytes that say how the client reads, writes and leaves, and then what it says, or what requests are
//! made of that keep the rules.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a session that breaks a rule has to panic")]

mod heard;
mod plan;
mod said;
#[cfg(test)]
mod tests;

use std::cell::{Cell, RefCell};
use std::io;
use std::ops::ControlFlow;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::response::Response;
use bytes::BytesMut;
use http::{Request, StatusCode};
use tokio::runtime::Builder;
use tokio::time::timeout;
use tokio_util::task::TaskTracker;

use super::{At, Body, CHUNKS, CONTINUE, Connection, ROOM, Seen, ends};
use crate::config::Caps;
use crate::listen::UNSENT;
use crate::listen::checked::answer::{LARGEST, answer, digit, never_comes, piece_of};
use crate::listen::checked::{Client, Ending, PAUSE, Session, Talk, Wire, run};
use crate::listen::patience::Patient;
use heard::Heard;
use plan::{Gate, Plan};
use said::Said;

/// What a head may have.
const HEADER_BYTES: usize = 2 << 10;
const HEADERS: usize = 20;

/// No head of an answer is larger.
const LARGEST_HEAD: usize = 21_000;

/// What came of a session.
#[derive(Debug, Default, PartialEq, Eq)]
struct Outcome {
    /// The status of an answer to what is no request.
    refused: Option<u16>,
    /// How many requests were answered to the end.
    answered: usize,
}

/// How the client of a session goes about it.
struct Manner {
    ending: Ending,
    /// When the ending comes, or how much has come before the connection begins.
    at: usize,
    /// Whether the connection serves one request.
    single: bool,
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
    let Some(([pace @ .., kind, at], rest)) = bytes.split_first_chunk::<8>() else { return Outcome::default() };
    let ending = match kind % 8 {
        0..4 => Ending::Silent,
        4 => Ending::Closed,
        5 | 6 => Ending::Stopped,
        _ => Ending::Dropped,
    };
    let manner = Manner { ending, at: usize::from(*at), single: kind & 32 != 0 };
    match kind >> 3 & 3 {
        1 => planned(Plan::new(rest), *pace, manner),
        2 => any(with_mistake(rest), *pace, manner),
        _ => any(rest.to_vec(), *pace, manner),
    }
}

/// A session of a client that says anything.
fn any(bytes: Vec<u8>, pace: [u8; 6], manner: Manner) -> Outcome {
    let closes = manner.ending == Ending::Closed;
    let (ended, _) = go(Client::new(bytes, pace, closes, Both::default()), manner);
    Outcome { refused: ended.heard.refused, answered: ended.heard.answered }
}

/// What requests say that keep the rules, but for one byte: the first three of `bytes` say which, and what it is instead.
fn with_mistake(bytes: &[u8]) -> Vec<u8> {
    let Some(([at @ .., byte], rest)) = bytes.split_first_chunk::<3>() else { return Vec::new() };
    let mut bytes = Plan::new(rest).bytes;
    if !bytes.is_empty() {
        let at = usize::from(u16::from_be_bytes(*at)) % bytes.len();
        bytes[at] = *byte;
    }
    bytes
}

/// A session of a client that keeps the rules: all its requests are answered until one ends the connection.
fn planned(plan: Plan, pace: [u8; 6], manner: Manner) -> Outcome {
    let ending = manner.ending;
    let both = Both { gates: plan.gates.clone(), ..Both::default() };
    let (Both { said, heard, .. }, is_deaf) =
        go(Client::new(plan.bytes.clone(), pace, ending == Ending::Closed, both), manner);
    plan.check(&said);
    assert_eq!(heard.refused, None, "{:?}", String::from_utf8_lossy(&plan.bytes));
    let is_cut = said.asked.get(heard.answered).is_some_and(|asked| asked.breaks_off())
        || heard.answered.checked_sub(1).is_some_and(|last| said.asked[last].breaks_off());
    if ending == Ending::Silent && !is_deaf && !is_cut && !heard.closes {
        assert_eq!(heard.answered, plan.bodies.len(), "not all was answered");
    }
    Outcome { refused: None, answered: heard.answered }
}

/// What was said, and heard.
#[derive(Debug, Default)]
struct Both {
    said: Said,
    heard: Heard,
    /// What the client waits for before it goes on.
    gates: Vec<(usize, Gate)>,
}

impl Talk for Both {
    fn said(&mut self, all: &[u8]) {
        self.said.take(all);
    }

    fn heard(&mut self, bytes: &[u8]) {
        self.heard.take(bytes, &self.said);
    }

    fn may_say(&self) -> usize {
        let heard = &self.heard;
        let is_shut = |gate: &Gate| match *gate {
            Gate::Answered(count) => heard.answered < count,
            Gate::Continue(count) => heard.answered < count || (heard.answered == count && !heard.may_go_on),
        };
        self.gates.iter().find(|(_, gate)| is_shut(gate)).map_or(usize::MAX, |(at, _)| *at)
    }
}

/// Runs a session; says what was said and heard, and whether the client took nothing any more.
fn go(client: Client<Both>, manner: Manner) -> (Both, bool) {
    let runtime = Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(go_on(client, manner))
}

async fn go_on(mut client: Client<Both>, Manner { ending, at, single }: Manner) -> (Both, bool) {
    client.talk.heard.is_single = single;
    let start = match ending {
        Ending::Silent | Ending::Closed => BytesMut::from(client.say(at)),
        Ending::Stopped | Ending::Dropped => BytesMut::new(),
    };
    let (client, tasks, seen) = (Rc::new(RefCell::new(client)), TaskTracker::new(), Arc::<Seen>::default());
    let caps = Caps { header_bytes: HEADER_BYTES, headers: HEADERS, ..Caps::default() };
    let (begun, held) = (Rc::new(Cell::new(0)), Rc::new(()));
    let answer = {
        let (tasks, begun, held) = (tasks.clone(), Rc::clone(&begun), Rc::clone(&held));
        move |request: Request<Body>| {
            begun.set(begun.get() + 1);
            let (tasks, held) = (tasks.clone(), Rc::clone(&held));
            async move {
                let _held = held;
                answer_of(request, &tasks).await
            }
        }
    };
    let stream = Patient::new(Wire(Rc::clone(&client)), caps.answer_timeout);
    let connection = Connection::new(stream, start, answer, Arc::clone(&seen), single, &caps);
    let mut running = Running { connection, client, begun, stopped: None, held, has_left: false };
    let ended = run(&mut running, ending, at).await;

    let Running { connection, client, begun, stopped, held, .. } = running;
    assert!(stopped.is_none_or(|before| begun.get() <= before + 1), "requests are taken though the server stops");
    drop(connection);
    tasks.close();
    assert!(timeout(PAUSE, tasks.wait()).await.is_ok(), "who reads a body outlives its connection");
    assert_eq!(Rc::strong_count(&held), 1, "a request is left");
    let client = Rc::into_inner(client).unwrap().into_inner();
    let (is_deaf, Both { said, mut heard, gates }) = (client.is_deaf(), client.talk);
    match &ended {
        Some(Ok(())) => {
            heard.end(&said);
            let is_odd = said.asked.iter().any(|asked| asked.is_odd);
            assert!(is_odd || seen.lingers.load(Ordering::Relaxed) == heard.lingers, "{heard:?}");
        }
        Some(Err(error)) if error.kind() == io::ErrorKind::TimedOut => assert!(is_deaf, "{error}"),
        Some(Err(error)) => {
            let breaks_off = said.asked.iter().take(heard.answered + 1).any(|asked| asked.breaks_off());
            assert!(breaks_off && error.to_string().contains("it breaks off"), "{error}");
        }
        None => {}
    }
    (Both { said, heard, gates }, is_deaf)
}

/// Answers as the path has it: in a task of its own, maybe, and with another status.
async fn answer_of(request: Request<Body>, tasks: &TaskTracker) -> Response {
    let path = request.uri().path().to_string();
    // One that never ends has to go with its connection.
    let mut response = if digit(&path, 3) & 2 != 0 && !never_comes(&path) {
        tasks.spawn(answer(request)).await.unwrap()
    } else {
        answer(request).await
    };
    if response.status() == StatusCode::OK {
        *response.status_mut() = match digit(&path, 5) {
            1 => StatusCode::NO_CONTENT,
            2 => StatusCode::NOT_MODIFIED,
            _ => StatusCode::OK,
        };
    }
    response
}

/// A session as it runs.
struct Running<A, F> {
    connection: Connection<Patient<Wire<Both>>, A, F>,
    client: Rc<RefCell<Client<Both>>>,
    /// How many requests were begun, and how many before the server stopped.
    begun: Rc<Cell<usize>>,
    stopped: Option<usize>,
    /// Held by each request.
    held: Rc<()>,
    /// Whether the client has ended its side because nothing happened.
    has_left: bool,
}

impl<A, F> Session for Running<A, F>
where
    A: Fn(Request<Body>) -> F + Unpin,
    F: Future<Output = Response>,
{
    type Connection = Connection<Patient<Wire<Both>>, A, F>;

    fn connection(&mut self) -> &mut Self::Connection {
        &mut self.connection
    }

    fn stop(&mut self) {
        self.stopped = Some(self.begun.get());
        self.client.borrow_mut().talk.heard.may_close = true;
        ends::Connection::stop(Pin::new(&mut self.connection));
    }

    fn check(&mut self) {
        let Connection { input, out, at, answering, coming, .. } = &self.connection;
        assert!(
            input.capacity() <= 4 * (HEADER_BYTES + ROOM) + 2 * CHUNKS,
            "{} bytes are read ahead",
            input.capacity()
        );
        let works = matches!(at, At::Work);
        let said = &self.client.borrow().talk.said;
        let most = match said.asked.get(self.begun.get().saturating_sub(1)) {
            // All of an answer is out before another is begun.
            _ if works => CONTINUE.len(),
            Some(asked) => {
                let largest = asked.body.len().max(LARGEST);
                LARGEST_HEAD + UNSENT + piece_of(&asked.path, largest).min(largest)
            }
            None => LARGEST_HEAD,
        };
        assert!(out.len() <= most, "{} bytes are not written", out.len());
        assert_eq!(answering.is_some(), works, "something is left of a request");
        assert!(coming.is_none() || works || matches!(at, At::End), "something is left of a body");
    }

    fn rest(&mut self, slept: bool) -> ControlFlow<()> {
        let mut client = self.client.borrow_mut();
        let Connection { input, out, at, .. } = &self.connection;
        if !slept || (client.is_deaf() && out.len() > 0) {
            return ControlFlow::Continue(());
        }
        assert_eq!(out.len(), 0, "something was not written");
        if matches!(at, At::Start) {
            assert!(input.capacity() <= 4 * (HEADER_BYTES + ROOM), "{} bytes are kept", input.capacity());
            assert_eq!(client.left(), 0, "something was not read");
            assert_eq!(Rc::strong_count(&self.held), 2, "something is left of a request");
            return ControlFlow::Continue(());
        }
        assert!(matches!(at, At::Work), "an answer does not go on");
        assert_eq!(self.begun.get(), client.talk.heard.answered + 1);
        let asked = &client.talk.said.asked[client.talk.heard.answered];
        let (is_whole, never_comes) = (asked.is_whole(), never_comes(&asked.path));
        assert!(never_comes || !is_whole, "{asked:?} is not answered");
        let is_full = never_comes && input.len() >= ROOM;
        assert!(client.left() == 0 || is_full, "something was not read");
        if self.has_left {
            assert!(is_full, "it does not see that its client has left");
            return ControlFlow::Break(());
        }
        self.has_left = true;
        client.leave();
        ControlFlow::Continue(())
    }
}
