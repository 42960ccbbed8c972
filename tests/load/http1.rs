//! A caller over HTTP/1.1, one request after another.

use std::net::TcpStream;

use super::{IRIS, Load, Outcome, Peer};
use crate::http::Wire;

pub(super) fn ask(load: &Load, peer: &Peer, each: usize) {
    let key = peer.key.as_ref().map(|key| format!("Authorization: {key}\r\n")).unwrap_or_default();
    let length = IRIS.len();
    let head = format!("POST /v2/models/iris/infer HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n{key}\r\n");
    while !load.is_done() {
        let Some(stream) = load.connected(TcpStream::connect(peer.address)) else { return };
        let mut wire = Wire::of(stream);
        for request in 0..each {
            wire.send(format!("{head}{IRIS}"));
            let outcome = match wire.answer() {
                Some(answer) if answer.status != 200 => Outcome::Wrong(format!("{}: {}", answer.status, answer.text())),
                Some(answer) if !answer.text().contains("setosa") => Outcome::Wrong(answer.text()),
                Some(answer) if answer.header("connection") == Some("close") => Outcome::Last,
                Some(_) => Outcome::Answered,
                None => Outcome::Wrong(format!("the connection ended without an answer to its request {request}")),
            };
            if !load.count(outcome) || load.is_done() {
                break;
            }
        }
    }
}
