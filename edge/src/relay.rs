//! Carries messages between a connection and the queue, for as long as both last.

use std::collections::VecDeque;
use std::future::pending;
use std::pin::Pin;
use std::time::Duration;

use futures_util::stream::FuturesOrdered;
use futures_util::{FutureExt, StreamExt};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use crate::config::Acknowledge;
use crate::message::Message;
use crate::metrics::LinkMetrics;
use crate::mqtt::connection::{Connection, Lost};
use crate::mqtt::session::{Event, Ticket};
use crate::queue::{LaneId, PushError, Queue, Taken};
use crate::watchdog::Beat;

/// How long what was begun may take when the connection is to end.
const LAST_WORDS: Duration = Duration::from_secs(3);

/// The most messages that may wait for the queue, and the most bytes, before those of QoS 0 are lost, as they may be.
const MOST_WAITING: usize = 64;
const MOST_WAITING_BYTES: usize = 1 << 20;

/// The most bytes that a topic may have.
const LONGEST_TOPIC: usize = u16::MAX as usize;

/// A message that is known by its place in the queue.
pub type Tag = (LaneId, u64);

/// What goes to a topic without an acknowledgement.
pub type Telling = (String, Vec<u8>);

/// What is particular to a server.
pub trait Port: Send {
    /// What a message that came is. `None`: it was dealt with, or is nobody's.
    fn incoming(&mut self, topic: &str, body: Vec<u8>) -> Option<Message>;

    /// The topic and the body that a message is sent with. `None`: it cannot be sent.
    fn outgoing(&self, message: Message) -> Option<(String, Vec<u8>)>;

    /// What to do about the answer to a subscription.
    fn subscribed(&mut self, codes: &[u8]) -> Result<(), Lost> {
        if codes.iter().all(|code| *code < 0x80) { Ok(()) } else { Err(Lost::NotSubscribed) }
    }
}

/// How it ended.
#[derive(Debug)]
pub enum End {
    /// The connection was lost.
    Lost(Lost),
    /// It was to be renewed.
    Due,
    /// The device stops.
    Stopped,
}

/// When to end.
#[derive(Clone, Debug)]
pub struct Stop {
    /// No message is taken in any more.
    pub intake: CancellationToken,
    /// What can be sent at once is, and that is the end.
    pub all: CancellationToken,
}

/// The two sides and what lies between.
#[derive(Debug)]
pub struct Relay<'r> {
    /// What lies between.
    pub queue: &'r Queue,
    /// The lane for what comes.
    pub input: LaneId,
    /// The lanes of what goes, the important first.
    pub outputs: &'r [LaneId],
    /// When what came is acknowledged.
    pub acknowledge: Acknowledge,
    /// When the connection is to be renewed.
    pub due: Option<Instant>,
    /// The most bytes that a packet may have.
    pub largest: usize,
    /// What is counted.
    pub metrics: &'r LinkMetrics,
    /// When to end.
    pub stop: &'r Stop,
    /// Its turns.
    pub beat: &'r Beat,
}

/// What was pushed: its number, or the reason why it never can be.
type Pushed = (Option<u64>, Option<Ticket>);

impl Relay<'_> {
    /// Carries until the end. What was sent and not acknowledged by then is still in the queue.
    pub async fn run<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        mut connection: Connection<S, Tag>,
        port: &mut impl Port,
        tellings: &mut mpsc::Receiver<Telling>,
    ) -> End {
        match self.carry(&mut connection, port, tellings).await {
            Err(lost) => End::Lost(lost),
            Ok(end) => {
                connection.close().await;
                end
            }
        }
    }

    async fn carry<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        connection: &mut Connection<S, Tag>,
        port: &mut impl Port,
        tellings: &mut mpsc::Receiver<Telling>,
    ) -> Result<End, Lost> {
        let mut waiting: VecDeque<(Vec<u8>, Option<Ticket>)> = VecDeque::new();
        let mut pushing: Option<Pin<Box<dyn Future<Output = Pushed> + Send + '_>>> = None;
        let mut committing = FuturesOrdered::new();
        // A message that is taken must not get lost while the connection lasts, so taking is never given up half-way.
        let mut taking = Box::pin(self.queue.take(self.outputs));
        // Set when the connection is to end: how, and how long what was begun may take.
        let mut ending: Option<(fn() -> End, Instant)> = None;
        loop {
            self.beat.turn();
            if pushing.is_none()
                && let Some((body, ticket)) = waiting.pop_front()
            {
                pushing = Some(Box::pin(async move { (self.push(body).await, ticket) }));
            }
            let calm = pushing.is_none() && committing.is_empty() && connection.is_quiet();
            if let Some((end, _)) = ending
                && calm
            {
                return Ok(end());
            }
            tokio::select! {
                event = connection.event() => match event? {
                    Event::Message { topic, body, ticket } => {
                        let message = port.incoming(&topic, body);
                        let known = message.is_some();
                        let Some(body) = message.and_then(|message| message.encode()) else {
                            if known {
                                tracing::error!("a message is given up: it has more properties than can be kept");
                                self.metrics.too_large.inc();
                            }
                            ticket.map_or(Ok(()), |ticket| connection.accept(ticket))?;
                            continue;
                        };
                        // What is not acknowledged comes again, to whoever is here then.
                        let taken_in = !self.stop.intake.is_cancelled() && ending.is_none();
                        let bytes: usize = waiting.iter().map(|(body, _)| body.len()).sum();
                        let room = waiting.len() < MOST_WAITING && bytes < MOST_WAITING_BYTES;
                        if taken_in && (ticket.is_some() || room) {
                            waiting.push_back((body, ticket));
                        }
                    }
                    Event::Oversized { topic, size, ticket } => {
                        // It would come again for ever.
                        tracing::error!(message.topic = %short(&topic), "a message of {size} bytes is given up: it is too large");
                        self.metrics.too_large.inc();
                        ticket.map_or(Ok(()), |ticket| connection.accept(ticket))?;
                    }
                    Event::Acknowledged((lane, number)) => {
                        self.queue.finish(lane, number).await;
                        self.metrics.sent.inc();
                    }
                    Event::Subscribed(codes) => port.subscribed(&codes)?,
                    Event::Nothing => (),
                },
                (number, ticket) = ready(&mut pushing) => {
                    pushing = None;
                    match (number, ticket) {
                        (Some(number), Some(ticket)) if self.acknowledge == Acknowledge::Committed => {
                            committing.push_back(async move {
                                let _ = self.queue.committed(self.input, number).await;
                                ticket
                            });
                        }
                        (_, Some(ticket)) => connection.accept(ticket)?,
                        (_, None) => (),
                    }
                }
                Some(ticket) = committing.next() => connection.accept(ticket)?,
                taken = &mut taking, if connection.has_room() && ending.is_none() => {
                    let Some(taken) = taken else { return Ok(End::Stopped) };
                    self.send(connection, port, taken).await?;
                    taking.set(self.queue.take(self.outputs));
                }
                Some((topic, body)) = tellings.recv(), if connection.is_flowing() => {
                    if self.fits(&topic, &body) {
                        connection.tell(topic, body)?;
                    } else {
                        tracing::error!(message.topic = %short(&topic), "what was to be told has {} bytes: too many", body.len());
                    }
                }
                () = self.stop.all.cancelled(), if ending.is_none() => {
                    // What is there already goes out, as far as it can at once; first what may be taken just now.
                    // The queue answers in the order in which it is asked. What it was asked before may have been too early for
                    // what is there now, and is asked once more then: the second answer is the last word.
                    let mut rounds = 0;
                    while connection.has_room() && rounds < 2 {
                        let taken = tokio::select! {
                            biased;
                            taken = &mut taking => Some(taken),
                            _ = self.queue.states() => (&mut taking).now_or_never(),
                        };
                        let Some(taken) = taken else {
                            rounds += 1;
                            continue;
                        };
                        let Some(taken) = taken else { return Ok(End::Stopped) };
                        self.send(connection, port, taken).await?;
                        taking.set(self.queue.take(self.outputs));
                        rounds = 0;
                    }
                    ending = Some((|| End::Stopped, Instant::now() + LAST_WORDS));
                }
                () = self.beat.pause() => (),
                () = at(self.due), if ending.is_none() => {
                    ending = Some((|| End::Due, Instant::now() + LAST_WORDS));
                }
                () = at(ending.map(|(_, limit)| limit)) => {
                    return Ok(ending.map_or(End::Due, |(end, _)| end()));
                }
            }
        }
    }

    /// Puts a message into the queue, as soon as there is room for it.
    async fn push(&self, body: Vec<u8>) -> Option<u64> {
        match self.queue.push_patiently(self.input, body).await {
            Ok(number) => {
                self.metrics.received.inc();
                Some(number)
            }
            Err(PushError::Closed) => pending().await,
            Err(error) => {
                // It would come again for ever.
                tracing::error!("a message is given up: {error}");
                self.metrics.too_large.inc();
                None
            }
        }
    }

    /// Whether a packet can carry that much. Its head has seven bytes, and the length of the topic two.
    const fn fits(&self, topic: &str, body: &[u8]) -> bool {
        topic.len() <= LONGEST_TOPIC && topic.len() + body.len() + 9 <= self.largest
    }

    async fn send<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        connection: &mut Connection<S, Tag>,
        port: &impl Port,
        taken: Taken,
    ) -> Result<(), Lost> {
        let message = Message::decode(&taken.body).and_then(|message| port.outgoing(message));
        let Some((topic, body)) = message.filter(|(topic, body)| self.fits(topic, body)) else {
            tracing::error!("an answer is given up: it cannot be sent, or is larger than {} bytes", self.largest);
            self.metrics.too_large.inc();
            self.queue.finish(taken.lane, taken.number).await;
            return Ok(());
        };
        connection.publish(topic, body, (taken.lane, taken.number))
    }
}

/// The start of a topic, for the log.
fn short(topic: &str) -> String {
    topic.chars().take(200).collect()
}

/// Ready with the future's output if there is one.
async fn ready<T>(future: &mut Option<Pin<Box<dyn Future<Output = T> + Send + '_>>>) -> T {
    match future {
        Some(future) => future.await,
        None => pending().await,
    }
}

/// Ready at that time, or never.
async fn at(time: Option<Instant>) {
    match time {
        Some(time) => sleep_until(time).await,
        None => pending().await,
    }
}

#[cfg(test)]
#[path = "relay_tests.rs"]
mod tests;
