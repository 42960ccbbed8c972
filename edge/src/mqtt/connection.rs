//! One connection to a server: bytes in and out, keep-alive, and the session that gives them a meaning.

use std::future::pending;
use std::io;
use std::time::Duration;

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::{Instant, sleep_until, timeout};

use super::oversized::{self, Oversized};
use super::packet::{Connect, Malformed, Packet, Publish, decode, encode};
use super::session::{Event, Session, Ticket, Violation};

/// How long the server may take to let a client in.
const GREETING: Duration = Duration::from_secs(30);

/// How long a message may wait to be acknowledged before the connection is taken for lost.
const ACKNOWLEDGEMENT: Duration = Duration::from_secs(60);

/// What may wait to be sent before nothing more should be told.
const MOST_OUTPUT: usize = 1 << 20;

/// How long the last bytes may take.
const FAREWELL: Duration = Duration::from_secs(2);

/// Why a connection is of no use, or any more.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say what the fields are")]
pub enum Lost {
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("the server closed the connection")]
    Closed,
    #[error(transparent)]
    Malformed(#[from] Malformed),
    #[error(transparent)]
    Violation(#[from] Violation),
    #[error("the server does not let this client in: {}", refusal(*.0))]
    Refused(u8),
    #[error("the server said something else before it let the client in")]
    NoGreeting,
    #[error("the server refused a subscription")]
    NotSubscribed,
    #[error("the server was silent for {0} s")]
    Silent(u64),
    #[error("the server did not acknowledge a message within {} s", ACKNOWLEDGEMENT.as_secs())]
    Unacknowledged,
    #[error("the server did not answer within {} s", GREETING.as_secs())]
    Slow,
}

const fn refusal(code: u8) -> &'static str {
    match code {
        1 => "it does not speak MQTT 3.1.1",
        2 => "it does not like the client's id",
        3 => "it is not available",
        4 => "the name or password is malformed",
        5 => "it does not know the name and password",
        _ => "for a reason that MQTT 3.1.1 does not know",
    }
}

/// A connection that the server let in.
#[derive(Debug)]
pub struct Connection<S, T> {
    stream: S,
    session: Session<T>,
    input: BytesMut,
    /// The bytes to come of a packet that is too large to be taken.
    left_of_oversized: usize,
    output: BytesMut,
    /// Whether something that was written may be held back, as it is within TLS.
    unflushed: bool,
    largest: usize,
    keep_alive: Duration,
    /// Whether the server let the client in; before, it waits for nothing but that.
    greeted: bool,
    last_sent: Instant,
    last_heard: Instant,
    /// When the oldest of what was sent since everything was acknowledged went out.
    waiting_since: Option<Instant>,
}

impl<S: AsyncRead + AsyncWrite + Unpin, T> Connection<S, T> {
    /// Introduces a client. Messages in packets of more than `largest` bytes are not taken, only told of; other packets of
    /// that size end the connection.
    pub async fn open(stream: S, connect: Connect, largest: usize) -> Result<Self, Lost> {
        let keep_alive = Duration::from_secs(u64::from(connect.keep_alive.max(1)));
        let now = Instant::now();
        let mut connection = Self {
            stream,
            session: Session::default(),
            input: BytesMut::new(),
            left_of_oversized: 0,
            output: BytesMut::new(),
            unflushed: false,
            largest,
            keep_alive,
            greeted: false,
            last_sent: now,
            last_heard: now,
            waiting_since: None,
        };
        connection.send(&Packet::Connect(connect))?;
        match timeout(GREETING, connection.came()).await.map_err(|_| Lost::Slow)?? {
            Came::Packet(Packet::ConnAck { code: 0, .. }) => {
                connection.greeted = true;
                Ok(connection)
            }
            Came::Packet(Packet::ConnAck { code, .. }) => Err(Lost::Refused(code)),
            _ => Err(Lost::NoGreeting),
        }
    }

    /// Waits for something that matters. Can be dropped at any time without a loss.
    pub async fn event(&mut self) -> Result<Event<T>, Lost> {
        loop {
            let event = match self.came().await? {
                Came::Packet(packet) => self.session.receive(packet)?,
                Came::Oversized(Oversized { topic, id, size }) => self.session.receive_oversized(topic, id, size),
            };
            if matches!(event, Event::Acknowledged(_)) {
                self.waiting_since = (!self.session.is_quiet()).then(Instant::now);
            }
            if !matches!(event, Event::Nothing) {
                return Ok(event);
            }
        }
    }

    /// Accepts a message that came.
    pub fn accept(&mut self, ticket: Ticket) -> Result<(), Lost> {
        if self.session.is_full() {
            // Nothing was listened to.
            self.last_heard = Instant::now();
            self.waiting_since = self.waiting_since.map(|_| self.last_heard);
        }
        for packet in self.session.accept(ticket) {
            self.send(&packet)?;
        }
        Ok(())
    }

    /// Sends a message of QoS 1, of which [`Event::Acknowledged`] will tell.
    pub fn publish(&mut self, topic: String, body: Vec<u8>, tag: T) -> Result<(), Lost> {
        let packet = self.session.publish(topic, body, tag)?;
        self.waiting_since = self.waiting_since.or_else(|| Some(Instant::now()));
        self.send(&packet)
    }

    /// Sends a message of QoS 0.
    pub fn tell(&mut self, topic: String, body: Vec<u8>) -> Result<(), Lost> {
        self.send(&Packet::Publish(Publish { topic, id: None, duplicate: false, retain: false, body }))
    }

    /// Subscribes to `filters`. Whether the server agreed is told by [`Event::Subscribed`].
    pub fn subscribe(&mut self, filters: Vec<(String, u8)>) -> Result<(), Lost> {
        let packet = self.session.subscribe(filters);
        self.send(&packet)
    }

    /// Whether one more message may be published.
    pub fn has_room(&self) -> bool {
        self.session.has_room()
    }

    /// Whether the server takes what it is sent, so that more may be told.
    pub fn is_flowing(&self) -> bool {
        self.output.len() < MOST_OUTPUT
    }

    /// Whether everything that was published has been acknowledged.
    pub fn is_quiet(&self) -> bool {
        self.session.is_quiet()
    }

    /// Says good-bye. What waits to be sent goes out first, if the server takes it.
    pub async fn close(mut self) {
        if self.send(&Packet::Disconnect).is_ok() {
            let farewell = async {
                self.stream.write_all(&self.output).await?;
                self.stream.shutdown().await
            };
            let _ = timeout(FAREWELL, farewell).await;
        }
    }

    fn send(&mut self, packet: &Packet) -> Result<(), Lost> {
        let mut bytes = Vec::new();
        encode(packet, &mut bytes)?;
        self.output.extend_from_slice(&bytes);
        Ok(())
    }

    /// What came next. Meanwhile what is to be sent is, and silence is broken or taken for the end.
    async fn came(&mut self) -> Result<Came, Lost> {
        loop {
            let full = self.session.is_full();
            if !full && let Some(came) = self.parse()? {
                return Ok(came);
            }
            let ping = self.last_sent + self.keep_alive;
            let silence = self.keep_alive * 3 / 2 + Duration::from_secs(1);
            let acknowledged = self.waiting_since.map(|since| since + ACKNOWLEDGEMENT);
            let (reader, writer) = (&mut self.input, &mut self.output);
            let (mut read, mut write) = tokio::io::split(&mut self.stream);
            // Each of these can be given up without a loss, and none keeps the others waiting.
            tokio::select! {
                found = read.read_buf(reader), if !full => {
                    if found? == 0 {
                        return Err(Lost::Closed);
                    }
                    self.last_heard = Instant::now();
                }
                sent = write_or_flush(&mut write, writer), if !writer.is_empty() || self.unflushed => {
                    let sent = sent?;
                    self.unflushed = sent > 0;
                    writer.advance(sent);
                    self.last_sent = Instant::now();
                }
                () = sleep_until(self.last_heard + self.keep_alive + silence), if self.greeted && !full => {
                    return Err(Lost::Silent((self.keep_alive + silence).as_secs()));
                }
                () = sleep_until(ping), if self.greeted => {
                    self.send(&Packet::PingReq)?;
                    self.last_sent = Instant::now();
                }
                () = at(acknowledged), if !full => return Err(Lost::Unacknowledged),
            }
        }
    }

    /// What the bytes that came begin with, once it is whole.
    fn parse(&mut self) -> Result<Option<Came>, Lost> {
        let dropped = self.left_of_oversized.min(self.input.len());
        self.input.advance(dropped);
        self.left_of_oversized -= dropped;
        if self.left_of_oversized > 0 {
            return Ok(None);
        }
        match decode(&self.input, self.largest) {
            Ok(None) => Ok(None),
            Ok(Some((packet, length))) => {
                self.input.advance(length);
                Ok(Some(Came::Packet(packet)))
            }
            // It would come again on each connection: the rest goes without it.
            Err(Malformed::TooLarge { found, .. }) if self.greeted && oversized::is_message(&self.input) => {
                let message = oversized::read(&self.input, found)?;
                if message.is_some() {
                    self.left_of_oversized = found;
                }
                Ok(message.map(Came::Oversized))
            }
            Err(malformed) => Err(malformed.into()),
        }
    }
}

/// What came from the server.
enum Came {
    Packet(Packet),
    /// A message that is too large, the body of which is not kept.
    Oversized(Oversized),
}

/// Writes some of `output` and returns how many bytes; none where there was nothing left but to flush.
async fn write_or_flush(write: &mut (impl AsyncWrite + Unpin), output: &[u8]) -> io::Result<usize> {
    if output.is_empty() {
        return write.flush().await.map(|()| 0);
    }
    match write.write(output).await? {
        0 => Err(io::ErrorKind::WriteZero.into()),
        written => Ok(written),
    }
}

/// Ready at that time, or never.
async fn at(time: Option<Instant>) {
    match time {
        Some(time) => sleep_until(time).await,
        None => pending().await,
    }
}
