//! The hub with one client: it is heard, and told.

use std::collections::VecDeque;
use std::io;
use std::net::TcpStream;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use hedef_edge::iotedge::identity::sign;
use hedef_edge::iotedge::topics::read_bag;
use hedef_edge::mqtt::packet::{Packet, Publish, decode, encode};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

use super::state::{Input, State, input_topic};
use super::{DEVICE, KEY};
use crate::websocket::{Duplex, accept};

/// How long an input message may stay unacknowledged.
const PATIENCE: Duration = Duration::from_secs(5);

pub(super) struct Client<'h> {
    stream: Box<dyn Duplex>,
    state: &'h Mutex<State>,
    input: Vec<u8>,
    /// The input messages under way, and when the last of them was sent: one, and the same again where it was not acknowledged
    /// in time.
    under_way: VecDeque<String>,
    last_sent: Instant,
    subscribed: bool,
}

impl Client<'_> {
    pub(super) fn serve(
        stream: TcpStream,
        config: Arc<ServerConfig>,
        state: &Mutex<State>,
        round: &AtomicUsize,
    ) -> io::Result<()> {
        let began = round.load(Ordering::SeqCst);
        stream.set_read_timeout(Some(Duration::from_millis(5)))?;
        stream.set_nodelay(true)?;
        let stream = StreamOwned::new(ServerConnection::new(config).map_err(io::Error::other)?, stream);
        let (stream, input) = accept(stream)?;
        let mut client =
            Client { stream, state, input, under_way: VecDeque::new(), last_sent: Instant::now(), subscribed: false };
        while round.load(Ordering::SeqCst) == began {
            client.tell()?;
            let mut bytes = [0; 4096];
            match client.stream.read(&mut bytes) {
                Ok(0) => break,
                Ok(read) => client.input.extend_from_slice(&bytes[..read]),
                Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => (),
                Err(error) => return Err(error),
            }
            while let Some((packet, length)) = decode(&client.input, 262_144).map_err(io::Error::other)? {
                client.input.drain(..length);
                client.hear(packet)?;
            }
        }
        Ok(())
    }

    fn send(&mut self, packet: &Packet) -> io::Result<()> {
        let mut bytes = Vec::new();
        encode(packet, &mut bytes).map_err(io::Error::other)?;
        self.stream.write_all(&bytes)
    }

    /// Sends what is there for the module.
    fn tell(&mut self) -> io::Result<()> {
        if !self.subscribed {
            return Ok(());
        }
        let mut state = self.state.lock().unwrap();
        let told: Vec<_> = state.telling.drain(..).collect();
        let due = self.under_way.is_empty() || self.last_sent.elapsed() > PATIENCE;
        let input = state.inputs.front().filter(|_| due).cloned();
        drop(state);
        for (topic, body) in told {
            self.send(&Packet::Publish(Publish { topic, id: None, duplicate: false, retain: false, body }))?;
        }
        if let Some(input) = input {
            // Always 1, and never called a duplicate.
            let (topic, Input { id, body, .. }) = (input_topic(&input), input);
            self.under_way.push_back(id);
            self.last_sent = Instant::now();
            self.send(&Packet::Publish(Publish { topic, id: Some(1), duplicate: false, retain: false, body }))?;
        }
        Ok(())
    }

    fn hear(&mut self, packet: Packet) -> io::Result<()> {
        match packet {
            Packet::Connect(connect) => {
                let username = connect.username.unwrap_or_default();
                assert!(username.starts_with("testhub.azure-devices.net/edge1/mod1/?api-version="), "{username}");
                assert_eq!(connect.client_id, "edge1/mod1");
                let token = String::from_utf8(connect.password.unwrap_or_default()).unwrap();
                let good = is_good(&token);
                let mut state = self.state.lock().unwrap();
                state.tokens.push(token);
                state.sessions.push(connect.clean_session);
                state.connections += usize::from(good);
                state.filters.clear();
                drop(state);
                self.send(&Packet::ConnAck { session_present: false, code: if good { 0 } else { 5 } })?;
                if good { Ok(()) } else { Err(io::Error::other("refused")) }
            }
            Packet::Subscribe { id, filters } => {
                self.subscribed |= filters.iter().any(|(filter, _)| *filter == format!("{DEVICE}/inputs/#"));
                let codes = filters.iter().map(|(_, qos)| (*qos).min(1)).collect();
                self.state.lock().unwrap().filters.extend(filters);
                self.send(&Packet::SubAck { id, codes })
            }
            // Whatever its id, it is for the oldest.
            Packet::PubAck(_) => {
                let acknowledged = self.under_way.pop_front().expect("an acknowledgement of something");
                let inputs = &mut self.state.lock().unwrap().inputs;
                if inputs.front().is_some_and(|input| input.id == acknowledged) {
                    inputs.pop_front();
                }
                Ok(())
            }
            Packet::Publish(publish) => {
                if self.state.lock().unwrap().deaf && publish.topic.starts_with(DEVICE) {
                    return Ok(());
                }
                if let Some(id) = publish.id {
                    self.send(&Packet::PubAck(id))?;
                }
                self.said(publish)
            }
            Packet::PingReq => self.send(&Packet::PingResp),
            Packet::Disconnect => Err(io::Error::other("it left")),
            other => panic!("{other:?}"),
        }
    }

    fn said(&mut self, publish: Publish) -> io::Result<()> {
        let answer = self.state.lock().unwrap().said(publish);
        let Some((topic, body)) = answer else { return Ok(()) };
        self.send(&Packet::Publish(Publish { topic, id: None, duplicate: false, retain: false, body }))
    }
}

/// Whether the hub would let a module in with that token.
fn is_good(token: &str) -> bool {
    let parts = token.strip_prefix("SharedAccessSignature ").unwrap_or_default();
    let part = |name: &str| parts.split('&').find_map(|part| part.strip_prefix(name)?.strip_prefix('=')).unwrap_or("");
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    let signature = read_bag(&format!("sig={}", part("sig"))).pop().map(|(_, value)| value);
    part("sr") == "testhub.azure-devices.net%2Fdevices%2Fedge1%2Fmodules%2Fmod1"
        && part("se").parse().is_ok_and(|expires: u64| expires > now)
        && signature == Some(sign(KEY, &format!("{}\n{}", part("sr"), part("se"))))
}
