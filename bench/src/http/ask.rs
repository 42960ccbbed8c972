//! One request at a time, for what is not measured: what the server says of a model, and a first try.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use super::incoming::Incoming;
use crate::{Address, Error};

/// Only a hang takes longer.
const LIMIT: Duration = Duration::from_secs(60);

/// A complete answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: Vec<u8>,
}

/// Asks for a document of JSON.
pub(crate) fn get(address: &Address, path: &str) -> Result<serde_json::Value, Error> {
    let wire = format!("GET {}{path} HTTP/1.1\r\nHost: {}\r\n\r\n", address.prefix, address.host);
    let request = || format!("GET {path}");
    let answer = send(address, wire.as_bytes())?;
    if answer.status != 200 {
        return Err(Error::Refused { request: request(), status: answer.status, message: message(&answer.body) });
    }
    let wrong = |error: serde_json::Error| Error::Answer {
        request: request(),
        expected: "a document of JSON",
        found: error.to_string(),
    };
    serde_json::from_slice(&answer.body).map_err(wrong)
}

/// Sends the bytes of one request on a connection of their own.
pub(crate) fn send(address: &Address, wire: &[u8]) -> Result<Answer, Error> {
    let failed = |reason: String| Error::Unreachable { address: address.to_string(), reason };
    exchange(address, wire).map_err(|error| failed(error.to_string()))?.map_err(failed)
}

fn exchange(address: &Address, wire: &[u8]) -> std::io::Result<Result<Answer, String>> {
    let mut stream = TcpStream::connect_timeout(&address.socket, LIMIT)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(LIMIT))?;
    stream.set_write_timeout(Some(LIMIT))?;
    stream.write_all(wire)?;
    let (mut incoming, mut part) = (Incoming::default(), vec![0; 64 << 10]);
    loop {
        let count = stream.read(&mut part)?;
        let complete = match part.get(..count) {
            Some(bytes) if count > 0 => incoming.push(bytes),
            _ if incoming.close() => Ok(true),
            _ => Err("the connection was closed without an answer".into()),
        };
        match complete {
            Ok(false) => {}
            Ok(true) => {
                return Ok(Ok(Answer { status: incoming.status(), body: incoming.body().to_vec() }));
            }
            Err(reason) => return Ok(Err(reason)),
        }
    }
}

/// What the body of a refusal says: the text of `{"error": …}`, or its beginning.
pub(crate) fn message(body: &[u8]) -> String {
    let document = serde_json::from_slice::<serde_json::Value>(body).ok();
    let error = document.as_ref().and_then(|document| document.get("error")?.as_str());
    error.map_or_else(|| String::from_utf8_lossy(body).chars().take(200).collect(), str::to_owned)
}
