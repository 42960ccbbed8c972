//! One connection to a server: bytes in and out, keep-alive, and the session that gives them a meaning.

use std::future::pending;
use std::io;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::{Instant, sleep_until, timeout};

use super::packet::{Connect, Malformed, Packet, Publish, decode, encode};
use super::session::{Event, Session, Ticket, Violation};

/// How long the server may take to let a client in.
const GREETING: Duration = Duration::from_secs(30);

/// How long a message may wait to be acknowledged before the connection is taken for lost.
const ACKNOWLEDGEMENT: Duration = Duration::from_secs(60);

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
    input: Vec<u8>,
    output: Vec<u8>,
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
    /// Introduces a client. Packets of more than `largest` bytes are not taken.
    pub async fn open(stream: S, connect: Connect, largest: usize) -> Result<Self, Lost> {
        let keep_alive = Duration::from_secs(u64::from(connect.keep_alive.max(1)));
        let now = Instant::now();
        let mut connection = Self {
            stream,
            session: Session::default(),
            input: Vec::new(),
            output: Vec::new(),
            largest,
            keep_alive,
            greeted: false,
            last_sent: now,
            last_heard: now,
            waiting_since: None,
        };
        connection.send(&Packet::Connect(connect))?;
        match timeout(GREETING, connection.packet()).await.map_err(|_| Lost::Slow)?? {
            Packet::ConnAck { code: 0, .. } => {
                connection.greeted = true;
                Ok(connection)
            }
            Packet::ConnAck { code, .. } => Err(Lost::Refused(code)),
            _ => Err(Lost::NoGreeting),
        }
    }

    /// Waits for something that matters. Can be dropped at any time without a loss.
    pub async fn event(&mut self) -> Result<Event<T>, Lost> {
        loop {
            self.session.check()?;
            let packet = self.packet().await?;
            let event = self.session.receive(packet)?;
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
        Ok(encode(packet, &mut self.output)?)
    }

    /// The next packet. Meanwhile what is to be sent is, and silence is broken or taken for the end.
    async fn packet(&mut self) -> Result<Packet, Lost> {
        loop {
            let full = self.session.is_full();
            if !full && let Some((packet, length)) = decode(&self.input, self.largest)? {
                self.input.drain(..length);
                return Ok(packet);
            }
            let ping = self.last_sent + self.keep_alive;
            let silence = self.keep_alive * 3 / 2 + Duration::from_secs(1);
            let acknowledged = self.waiting_since.map(|since| since + ACKNOWLEDGEMENT);
            let (reader, writer) = (&mut self.input, &mut self.output);
            let (mut read, mut write) = tokio::io::split(&mut self.stream);
            tokio::select! {
                found = read.read_buf(reader), if !full => {
                    if found? == 0 {
                        return Err(Lost::Closed);
                    }
                    self.last_heard = Instant::now();
                }
                sent = write.write(writer), if !writer.is_empty() => {
                    writer.drain(..sent?);
                    if writer.is_empty() {
                        // Within TLS what was written may still be held back.
                        write.flush().await?;
                    }
                    self.last_sent = Instant::now();
                }
                () = sleep_until(self.last_heard + self.keep_alive + silence), if self.greeted && !full => {
                    return Err(Lost::Silent((self.keep_alive + silence).as_secs()));
                }
                () = sleep_until(ping), if self.greeted => {
                    encode(&Packet::PingReq, writer)?;
                    self.last_sent = Instant::now();
                }
                () = at(acknowledged) => return Err(Lost::Unacknowledged),
            }
        }
    }
}

/// Ready at that time, or never.
async fn at(time: Option<Instant>) {
    match time {
        Some(time) => sleep_until(time).await,
        None => pending().await,
    }
}
