//! One connection, which carries one request at a time.

use std::io::{self, ErrorKind, Read, Write};

use mio::net::TcpStream;
use mio::{Interest, Registry, Token};

use super::incoming::Incoming;
use crate::Address;

/// A connection and what is on its way over it.
#[derive(Debug)]
pub(crate) struct Connection {
    stream: TcpStream,
    incoming: Incoming,
    /// The bytes of the request that have been sent.
    sent: usize,
    /// Whether an answer has come over it before.
    used: bool,
}

/// How far a request has come.
#[derive(Debug)]
pub(crate) enum Step {
    /// There is more to come.
    Waiting,
    /// The answer is there, whole.
    Answered,
    /// The connection is gone, for this reason.
    Gone(String),
}

impl Connection {
    /// Begins to connect.
    pub(crate) fn open(address: &Address, registry: &Registry, token: Token) -> io::Result<Self> {
        let mut stream = TcpStream::connect(address.socket)?;
        stream.set_nodelay(true)?;
        registry.register(&mut stream, token, Interest::READABLE | Interest::WRITABLE)?;
        Ok(Self { stream, incoming: Incoming::default(), sent: 0, used: false })
    }

    /// Begins to send a request; what the system does not take at once goes with the next event.
    pub(crate) fn send(&mut self, wire: &[u8]) -> Step {
        self.incoming.clear();
        self.sent = 0;
        self.write(wire)
    }

    /// Goes on after an event.
    pub(crate) fn advance(&mut self, wire: &[u8], readable: bool, part: &mut [u8]) -> Step {
        if self.sent < wire.len()
            && let gone @ Step::Gone(_) = self.write(wire)
        {
            // A server that refuses early may have answered before it closed.
            return match self.read(part) {
                Step::Answered => Step::Answered,
                _ => gone,
            };
        }
        if readable { self.read(part) } else { Step::Waiting }
    }

    /// The answer, once it is complete.
    pub(crate) const fn answer(&self) -> &Incoming {
        &self.incoming
    }

    /// Ready for the next request, if the connection can take one.
    pub(crate) fn reuse(mut self) -> Option<Self> {
        self.used = true;
        self.incoming.keep_alive().then_some(self)
    }

    /// Whether the server may simply have closed an idle connection, so that the request can be sent again.
    pub(crate) const fn was_stale(&self) -> bool {
        self.used && self.incoming.is_empty()
    }

    fn write(&mut self, wire: &[u8]) -> Step {
        while let Some(rest) = wire.get(self.sent..).filter(|rest| !rest.is_empty()) {
            match self.stream.write(rest) {
                Ok(count) => self.sent += count,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                // Until it is connected, a socket takes nothing.
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::NotConnected) => break,
                Err(error) => return Step::Gone(error.to_string()),
            }
        }
        Step::Waiting
    }

    fn read(&mut self, part: &mut [u8]) -> Step {
        loop {
            let count = match self.stream.read(part) {
                Ok(count) => count,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::NotConnected) => {
                    return Step::Waiting;
                }
                Err(error) => return Step::Gone(error.to_string()),
            };
            if count == 0 {
                let complete = self.incoming.close();
                return if complete { Step::Answered } else { Step::Gone("closed by the server".into()) };
            }
            match self.incoming.push(part.get(..count).unwrap_or_default()) {
                Ok(true) => return Step::Answered,
                Ok(false) => {}
                Err(reason) => return Step::Gone(reason),
            }
        }
    }
}
