//! A client that sends what it is told to, right or wrong, and holds the server to the rules.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::io::{BufReader, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use super::answer::checked;
pub(crate) use super::answer::{Answer, End, Result};
use super::hpack::Decoder;
use super::wire::{
    ACK, CONTINUATION, DATA, END_HEADERS, END_STREAM, GOAWAY, HEADERS, PADDED, PING, PREFACE, PRIORITISED, RST_STREAM,
    SETTINGS, STREAM_WINDOW, TABLE_SIZE, WHOLE, WINDOW, WINDOW_UPDATE, data, frame, head, last, settings,
    window_update,
};
use crate::binary::Server;
use crate::load::IRIS;

/// Only a hang takes longer.
const LIMIT: Duration = Duration::from_secs(60);

/// The largest frame that this client takes, since it does not say another.
const LARGEST: usize = 16 << 10;

pub(crate) const INFER: &str = "/v2/models/iris/infer";

/// The type of a frame, its flags, its stream and its payload.
type Frame = (u8, u8, u32, Vec<u8>);

#[derive(Debug)]
pub(crate) struct Client {
    writing: TcpStream,
    reading: BufReader<TcpStream>,
    decoder: Decoder,
    /// What the server announced.
    pub(crate) settings: BTreeMap<u16, u32>,
    pub(crate) streams: BTreeMap<u32, Answer>,
    /// How much may be sent, on the connection under 0, and what was granted or sent on each stream.
    credit: BTreeMap<u32, i64>,
    /// The payloads of the answers to pings.
    pub(crate) pongs: Vec<Vec<u8>>,
    pub(crate) acknowledged: usize,
    /// The reason that the server gave for the end of the connection.
    pub(crate) away: Option<u32>,
    /// The last stream that it took.
    pub(crate) taken: u32,
    gone: bool,
    next: u32,
}

impl Client {
    /// One that has not said a word.
    pub(crate) fn silent(server: &Server) -> Self {
        let writing = TcpStream::connect(server.address).unwrap();
        writing.set_nodelay(true).unwrap();
        writing.set_read_timeout(Some(LIMIT)).unwrap();
        writing.set_write_timeout(Some(LIMIT)).unwrap();
        Self {
            reading: BufReader::new(writing.try_clone().unwrap()),
            writing,
            decoder: Decoder::new(4096),
            settings: BTreeMap::new(),
            streams: BTreeMap::new(),
            credit: BTreeMap::from([(0, WINDOW.into())]),
            pongs: Vec::new(),
            acknowledged: 0,
            away: None,
            taken: 0,
            gone: false,
            next: 1,
        }
    }

    /// One that has greeted the server with these settings, was greeted, and heard that they were taken. Only the windows
    /// of its streams limit what it is sent.
    pub(crate) fn new(server: &Server, values: &[(u16, u32)]) -> Result<Self> {
        let mut client = Self::narrow(server, values)?;
        client.send(window_update(0, 1 << 30));
        Ok(client)
    }

    /// The same with the connection's window as it is from the beginning.
    pub(crate) fn narrow(server: &Server, values: &[(u16, u32)]) -> Result<Self> {
        let mut client = Self::silent(server);
        let table = values.iter().find(|(name, _)| *name == TABLE_SIZE);
        client.decoder = Decoder::new(table.map_or(4096, |(_, size)| usize::try_from(*size).unwrap()));
        client.send(PREFACE);
        client.send(settings(values));
        client.read_until("the server's settings and its word that it took ours", |client| client.acknowledged == 1)?;
        Ok(client)
    }

    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) {
        // The server may have closed the connection; what it said before tells.
        let _ = self.writing.write_all(bytes.as_ref());
    }

    /// Sends the head of a request on a new stream.
    pub(crate) fn open(&mut self, flags: u8, head: &[u8]) -> u32 {
        let stream = self.reserve();
        self.send(frame(HEADERS, flags, stream, head));
        stream
    }

    /// The number of a new stream, of which nothing is sent.
    pub(crate) fn reserve(&mut self) -> u32 {
        self.next += 2;
        self.next - 2
    }

    /// Says that it keeps tables of so many bytes for the server, and hears that the server knows.
    pub(crate) fn allow_table(&mut self, size: u32) -> Result {
        let known = self.acknowledged;
        self.send(settings(&[(TABLE_SIZE, size)]));
        self.read_until("the word that the table's size is known", |client| client.acknowledged > known)?;
        self.decoder.allow(usize::try_from(size).unwrap());
        Ok(())
    }

    /// Leaves the numbers below that to the caller.
    pub(crate) const fn go_on_from(&mut self, stream: u32) {
        self.next = stream;
    }

    /// Sends a request with a body that fits the window.
    pub(crate) fn post(&mut self, path: &str, body: &[u8]) -> u32 {
        let stream = self.open(END_HEADERS, &head("POST", path, &[]));
        self.send(last(stream, body));
        self.spend(stream, body.len());
        stream
    }

    pub(crate) fn get(&mut self, path: &str) -> u32 {
        self.open(WHOLE, &head("GET", path, &[]))
    }

    /// Whether the connection goes on: another request on it is answered, and all that was sent before is heard.
    pub(crate) fn go_on(&mut self) -> Result {
        let stream = self.post(INFER, IRIS.as_bytes());
        let answer = self.answer(stream).map_err(|error| format!("the request behind it: {error}"))?;
        let answer = answer.expect("200")?;
        let right = String::from_utf8_lossy(&answer.body).contains("setosa");
        right.then_some(()).ok_or_else(|| format!("a strange answer: {answer:?}"))
    }

    /// Counts what is sent.
    pub(crate) fn spend(&mut self, stream: u32, count: usize) {
        for stream in [0, stream] {
            *self.credit_of(stream) -= i64::try_from(count).unwrap();
        }
    }

    pub(crate) fn credit_of(&mut self, stream: u32) -> &mut i64 {
        let initial = self.settings.get(&STREAM_WINDOW).copied().unwrap_or(WINDOW);
        self.credit.entry(stream).or_insert_with(|| initial.into())
    }

    /// Sends a body in pieces as the server's windows allow, and its end. It is content where the server answers early.
    pub(crate) fn upload(&mut self, stream: u32, body: &[u8], piece: usize) -> Result {
        let mut rest = body;
        while !rest.is_empty() {
            let over = |client: &Self| client.streams.get(&stream).is_some_and(|it| it.ended || it.reset.is_some());
            self.read_until("window to go on with the body", |client| {
                over(client) || (*client.credit_of(0)).min(*client.credit_of(stream)) > 0
            })
            .map_err(|error| format!("{} of {} bytes sent: {error}", body.len() - rest.len(), body.len()))?;
            if over(self) {
                return Ok(());
            }
            let room = usize::try_from((*self.credit_of(0)).min(*self.credit_of(stream))).unwrap();
            let (now, later) = rest.split_at(room.min(piece).min(rest.len()));
            rest = later;
            self.send(data(stream, now));
            self.spend(stream, now.len());
        }
        self.send(last(stream, &[]));
        Ok(())
    }

    /// The whole answer on a stream.
    pub(crate) fn answer(&mut self, stream: u32) -> Result<Answer> {
        match self.end(stream)? {
            End::Answered(answer) => Ok(answer),
            other => Err(format!("expected an answer on stream {stream}, got {other:?}")),
        }
    }

    /// Waits for the end of a stream, or of the connection.
    pub(crate) fn end(&mut self, stream: u32) -> Result<End> {
        let over = |client: &Self| {
            let over = client.streams.get(&stream).is_some_and(|it| it.ended || it.reset.is_some());
            over || client.gone || client.away.is_some_and(|reason| reason != 0)
        };
        self.read_while(&format!("an end of stream {stream}"), |client| !over(client))?;
        let got = self.streams.get(&stream).cloned().unwrap_or_default();
        // A reset behind the whole answer only says that nobody reads the rest of the request.
        Ok(match got.reset {
            _ if got.ended => End::Answered(got),
            Some(reason) => End::Reset(reason),
            None => End::Gone(self.away),
        })
    }

    /// Waits for the end of the connection; returns the reason, if one was said.
    pub(crate) fn closed(&mut self) -> Result<Option<u32>> {
        self.read_while("the end of the connection", |client| !client.gone)?;
        Ok(self.away)
    }

    /// Waits until the server has read all that was sent. What it had to say on frames is said by then.
    pub(crate) fn heard(&mut self) -> Result {
        let known = self.pongs.len();
        self.send(frame(PING, 0, 0, b"heard-it"));
        self.read_until("the answer to a ping", |client| client.pongs.len() > known)
    }

    /// Reads frames until something is so; the end of the connection is none.
    pub(crate) fn read_until(&mut self, what: &str, mut done: impl FnMut(&mut Self) -> bool) -> Result {
        let mut is_done = false;
        self.read_while(what, |client| {
            is_done = done(client);
            !is_done && !client.gone
        })?;
        let error = || format!("the connection ended, reason {:?}, before {what}", self.away);
        is_done.then_some(()).ok_or_else(error)
    }

    fn read_while(&mut self, what: &str, mut more: impl FnMut(&mut Self) -> bool) -> Result {
        while more(self) {
            self.read_frame().map_err(|error| format!("{error}; waiting for {what}"))?;
        }
        Ok(())
    }

    /// The next frame; `None` at the end.
    fn next_frame(&mut self) -> Result<Option<Frame>> {
        let mut head = [0; 9];
        let mut payload = Vec::new();
        let read = self.reading.read_exact(&mut head).and_then(|()| {
            payload.resize(u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize, 0);
            self.reading.read_exact(&mut payload)
        });
        match read {
            Ok(()) if payload.len() > LARGEST => Err(format!("a frame of {} bytes", payload.len())),
            Ok(()) => Ok(Some((head[3], head[4], u32::from_be_bytes(head[5..].try_into().unwrap()), payload))),
            Err(error) if matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut) => {
                let got: Vec<_> =
                    self.streams.iter().map(|(stream, it)| (stream, it.status(), it.body.len())).collect();
                Err(format!("waited {} s in vain, with {got:?} there", LIMIT.as_secs()))
            }
            Err(_) => Ok(None),
        }
    }

    fn read_frame(&mut self) -> Result {
        let Some((kind, flags, stream, payload)) = self.next_frame()? else {
            self.gone = true;
            return Ok(());
        };
        let number = |bytes: &[u8]| u32::from_be_bytes(bytes.try_into().unwrap());
        match kind {
            SETTINGS if flags & ACK != 0 => self.acknowledged += 1,
            SETTINGS => {
                let values = payload.chunks(6).map(|it| (u16::from_be_bytes([it[0], it[1]]), number(&it[2..])));
                self.settings.extend(values);
                self.send(frame(SETTINGS, ACK, 0, &[]));
            }
            PING if flags & ACK != 0 => self.pongs.push(payload),
            PING => self.send(frame(PING, ACK, 0, &payload)),
            GOAWAY => (self.taken, self.away) = (number(&payload[..4]), Some(number(&payload[4..8]))),
            WINDOW_UPDATE => {
                let by = i64::from(number(&payload));
                let credit = self.credit_of(stream);
                *credit += by;
                (by > 0 && *credit <= 0x7FFF_FFFF).then_some(()).ok_or_else(|| format!("a window grew by {by}"))?;
            }
            RST_STREAM => self.streams.entry(stream).or_default().reset = Some(number(&payload)),
            HEADERS => {
                let block = self.rest_of_head(flags, stream, plain(flags, payload))?;
                let fields = self.decoder.decode(&block)?;
                checked(&fields)?;
                let answer = self.streams.entry(stream).or_default();
                let status = fields.first().filter(|(name, _)| name == ":status").map(|(_, value)| value.as_str());
                match (status, answer.head.is_empty(), flags & END_STREAM != 0) {
                    _ if answer.ended => return Err(format!("a head on stream {stream} behind its end: {fields:?}")),
                    (Some(status), true, false) if status.starts_with('1') => (),
                    (Some(_), true, ended) => (answer.head, answer.ended) = (fields, ended),
                    (None, false, true) => (answer.trailers, answer.ended) = (fields, true),
                    _ => return Err(format!("a head that does not belong on stream {stream}: {fields:?}")),
                }
            }
            DATA => {
                let answer = self.streams.entry(stream).or_default();
                if answer.ended || answer.head.is_empty() {
                    return Err(format!("DATA on stream {stream} without a head, or behind its end"));
                }
                answer.body.extend(plain(flags, payload));
                answer.ended |= flags & END_STREAM != 0;
            }
            _ => return Err(format!("a frame of type {kind} on stream {stream}")),
        }
        Ok(())
    }

    fn rest_of_head(&mut self, mut flags: u8, stream: u32, mut block: Vec<u8>) -> Result<Vec<u8>> {
        while flags & END_HEADERS == 0 {
            match self.next_frame()? {
                Some((CONTINUATION, more, own, payload)) if own == stream => {
                    block.extend(payload);
                    flags = more;
                }
                other => return Err(format!("{other:?} between HEADERS and its CONTINUATION")),
            }
        }
        Ok(block)
    }
}

/// A payload without padding and priority.
fn plain(flags: u8, mut payload: Vec<u8>) -> Vec<u8> {
    if flags & PADDED != 0 {
        let length = payload.remove(0);
        payload.truncate(payload.len() - usize::from(length));
    }
    if flags & PRIORITISED != 0 {
        payload.drain(..5);
    }
    payload
}

/// Checks each case, and fails with all that went wrong.
#[track_caller]
pub(crate) fn each<Name: Display, Case>(
    cases: impl IntoIterator<Item = (Name, Case)>,
    mut check: impl FnMut(Case) -> Result,
) {
    let wrong = |(name, case)| check(case).err().map(|error| format!("\n  {name}: {error}"));
    let wrong: Vec<_> = cases.into_iter().filter_map(wrong).collect();
    assert!(wrong.is_empty(), "{} went wrong:{}", wrong.len(), wrong.concat());
}
