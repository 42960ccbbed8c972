//! A hub on the device, in the runtime of the test, so that both follow one clock.

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard};

use hedef_edge::iotedge::topics::read_bag;
use hedef_edge::mqtt::packet::{Packet, Publish, decode, encode};
use rustls::ServerConfig;
use rustls::crypto::ring::default_provider;
use rustls::pki_types::PrivatePkcs8KeyDer;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio_rustls::TlsAcceptor;

/// What it does to who connects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mood {
    /// Nobody is there.
    Gone,
    /// It says nothing at all.
    Silent,
    /// It ends connections at once.
    Closing,
    /// It says that it is not available.
    Unavailable,
    /// It lets in, and takes nothing.
    Deaf,
    /// All is well.
    Well,
}

/// What it has seen.
struct Seen {
    mood: Mood,
    /// Its port, which is its own from the first, as long as nobody listens there.
    socket: Option<TcpSocket>,
    /// The numbers of the messages whose answers came, in that order.
    answered: Vec<usize>,
    /// How often something was reported to the twin.
    reports: usize,
    pings: usize,
}

/// A handle to it.
#[derive(Clone)]
pub(crate) struct Hub {
    seen: Arc<Mutex<Seen>>,
    acceptor: TlsAcceptor,
    pub(crate) address: SocketAddr,
}

impl Hub {
    /// Writes the certificate to trust to a file.
    pub(crate) fn new(certificate: &Path) -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let own = rcgen::generate_simple_self_signed(vec!["127.0.0.1".into()]).unwrap();
        std::fs::write(certificate, own.cert.pem()).unwrap();
        let builder = ServerConfig::builder_with_provider(Arc::new(default_provider()));
        let builder = builder.with_safe_default_protocol_versions().unwrap().with_no_client_auth();
        let key = PrivatePkcs8KeyDer::from(own.signing_key.serialize_der());
        let config = builder.with_single_cert(vec![own.cert.der().clone()], key.into()).unwrap();
        let address = socket.local_addr().unwrap();
        let seen = Seen { mood: Mood::Gone, socket: Some(socket), answered: Vec::new(), reports: 0, pings: 0 };
        Self { seen: Arc::new(Mutex::new(seen)), acceptor: TlsAcceptor::from(Arc::new(config)), address }
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap()
    }

    /// Changes what is done to who connects from now on. Once it was there, it is not gone again.
    pub(crate) fn mood(&self, mood: Mood) {
        let mut seen = self.seen();
        seen.mood = mood;
        if mood != Mood::Gone
            && let Some(socket) = seen.socket.take()
        {
            tokio::spawn(self.clone().accept(socket.listen(16).unwrap()));
        }
    }

    /// The numbers of the messages whose answers came, in that order.
    pub(crate) fn answered(&self) -> Vec<usize> {
        self.seen().answered.clone()
    }

    pub(crate) fn reports(&self) -> usize {
        self.seen().reports
    }

    pub(crate) fn pings(&self) -> usize {
        self.seen().pings
    }

    async fn accept(self, listener: TcpListener) {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            // What the kernel holds back for a while is held back by a clock that is not moved.
            stream.set_nodelay(true).unwrap();
            let hub = self.clone();
            // A connection that ends in any way is just over.
            tokio::spawn(async move { hub.serve(stream).await.map_or((), drop) });
        }
    }

    async fn serve(self, mut stream: TcpStream) -> io::Result<()> {
        let mood = self.seen().mood;
        match mood {
            Mood::Gone | Mood::Closing => return Ok(()),
            Mood::Silent => while stream.read(&mut [0; 1024]).await? > 0 {},
            _ => (),
        }
        let mut stream = self.acceptor.accept(stream).await?;
        let mut bytes = Vec::new();
        while stream.read_buf(&mut bytes).await? > 0 {
            while let Some((packet, length)) = decode(&bytes, 1 << 18).map_err(io::Error::other)? {
                bytes.drain(..length);
                let Some(answer) = self.hear(packet, mood) else { continue };
                let mut answered = Vec::new();
                encode(&answer, &mut answered).map_err(io::Error::other)?;
                stream.write_all(&answered).await?;
                stream.flush().await?;
            }
        }
        Ok(())
    }

    fn hear(&self, packet: Packet, mood: Mood) -> Option<Packet> {
        match packet {
            Packet::Connect(_) => {
                let code = if mood == Mood::Unavailable { 3 } else { 0 };
                Some(Packet::ConnAck { session_present: false, code })
            }
            Packet::Subscribe { id, filters } => {
                Some(Packet::SubAck { id, codes: filters.iter().map(|(_, qos)| *qos).collect() })
            }
            Packet::PingReq => {
                self.seen().pings += 1;
                Some(Packet::PingResp)
            }
            Packet::Publish(publish) if mood == Mood::Well => self.said(&publish.topic, publish.id),
            Packet::Publish(_) | Packet::Disconnect => None,
            other => panic!("{other:?}"),
        }
    }

    fn said(&self, topic: &str, id: Option<u16>) -> Option<Packet> {
        if let Some((_, bag)) = topic.split_once("/messages/events/") {
            let properties = read_bag(bag.trim_end_matches('/'));
            let (_, number) = properties.into_iter().find(|(name, _)| name == "$.cid").unwrap();
            self.seen().answered.push(number.parse().unwrap());
            return id.map(Packet::PubAck);
        }
        let (_, request) = topic.split_once("?$rid=").unwrap();
        let (status, body) = if topic.starts_with("$iothub/twin/GET/") {
            (200, br#"{"desired": {"$version": 1}, "reported": {"$version": 1}}"#.to_vec())
        } else {
            self.seen().reports += 1;
            (204, Vec::new())
        };
        let topic = format!("$iothub/twin/res/{status}/?$rid={request}");
        Some(Packet::Publish(Publish { topic, id: None, duplicate: false, retain: false, body }))
    }
}
