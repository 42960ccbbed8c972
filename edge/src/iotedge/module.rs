//! The connection of a module to the hub, kept for ever.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustls::RootCertStore;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep};

use super::control::{News, Wishes};
use super::identity::{Identity, Signer, sign};
use super::topics::{self, Incoming};
use super::workload::{Workload, WorkloadError};
use crate::config::{Module as Link, Settings};
use crate::link::{self, Address};
use crate::message::Message;
use crate::mqtt::backoff::{Backoff, Ended};
use crate::mqtt::connection::{Connection, Lost};
use crate::mqtt::packet::Connect;
use crate::relay::{End, Port, Relay, Tag, Telling};
use crate::scoring::ScoreError;
use crate::worker::{Plan, Scored, Source};

/// The subscriptions, each a packet of its own, as Azure's clients do it.
const SUBSCRIPTIONS: usize = 4;

/// The most bytes that a packet of the hub may have: it closes connections over larger ones of its clients, and adds little.
const LARGEST: usize = 512 << 10;

/// Where the hub speaks MQTT within WebSocket, as Azure's own clients have it.
const WEBSOCKET: &str = "/$iothub/websocket";

/// A module, as its messages see it.
#[derive(Clone)]
pub struct Module {
    identity: Arc<Identity>,
    outputs: Vec<String>,
    /// What the settings want.
    usual: Wishes,
    /// What the twin wants, which comes first.
    wishes: watch::Receiver<Wishes>,
    output: usize,
    news: mpsc::Sender<News>,
    /// The subscriptions that are not answered yet.
    open: usize,
}

impl Module {
    /// Makes one that passes on what is no message.
    #[must_use]
    pub fn new(
        identity: Arc<Identity>,
        settings: &Settings,
        wishes: watch::Receiver<Wishes>,
        news: mpsc::Sender<News>,
    ) -> Self {
        let outputs: Vec<_> = settings.outputs.iter().map(|output| output.name.clone()).collect();
        let output = settings.module.output.as_ref().and_then(|wanted| outputs.iter().position(|name| name == wanted));
        let usual = Wishes { model: settings.model.clone(), filter: settings.filter.clone().map(Arc::new) };
        Self { identity, outputs, usual, wishes, output: output.unwrap_or(0), news, open: SUBSCRIPTIONS }
    }

    fn pass_on(&self, news: News) {
        // Who calls and is not heard calls again; a twin that was missed is seen by its version.
        if self.news.try_send(news).is_err() {
            tracing::warn!("the hub says more than can be followed: something was not heard");
        }
    }
}

impl Source for Module {
    fn plan(&self, message: &Message) -> Option<Plan> {
        let wishes = self.wishes.borrow().clone();
        Some(Plan {
            model: wishes.model.or_else(|| self.usual.model.clone()),
            filter: wishes.filter.or_else(|| self.usual.filter.clone()),
            content_type: message.property("$.ct").map(String::from),
            output: self.output,
        })
    }

    fn reply(&self, message: &Message, answer: Result<Scored, ScoreError>) -> Message {
        let mut properties = Vec::new();
        let mut add = |name: &str, value: String| properties.push((name.to_owned(), value));
        let output = self.outputs.get(self.output).cloned().unwrap_or_default();
        add("$.on", output.clone());
        add("$.mid", format!("{:016x}{:016x}", fastrand::u64(..), fastrand::u64(..)));
        if let Some(id) = message.property("$.mid") {
            add("$.cid", id.into());
        }
        add("$.ct", "application/json".into());
        add("$.ce", "utf-8".into());
        let body = match answer {
            Ok(answer) => {
                add("model", answer.model.name.to_string());
                add("model-version", answer.model.version.to_string());
                answer.body
            }
            Err(error) => {
                add("error", error.kind().label().into());
                hedef_protocols::v2::error(&error.told())
            }
        };
        Message { place: output, properties, body }
    }
}

impl Port for Module {
    fn incoming(&mut self, topic: &str, body: Vec<u8>) -> Option<Message> {
        match topics::read(topic, &self.identity.device, &self.identity.module)? {
            Incoming::Input { input, properties } => return Some(Message { place: input, properties, body }),
            Incoming::TwinResponse { status, request } => {
                if let Ok(request) = request.parse() {
                    self.pass_on(News::TwinResponse { status, request, body });
                }
            }
            Incoming::Desired => self.pass_on(News::Desired(body)),
            Incoming::Method { name, request } => self.pass_on(News::Method { name, request, payload: body }),
        }
        None
    }

    fn outgoing(&self, message: Message) -> Option<(String, Vec<u8>)> {
        Some((topics::events(&self.identity.device, &self.identity.module, &message.properties), message.body))
    }

    fn subscribed(&mut self, codes: &[u8]) -> Result<(), Lost> {
        if codes.iter().any(|code| *code >= 0x80) {
            return Err(Lost::NotSubscribed);
        }
        self.open = self.open.saturating_sub(1);
        if self.open == 0 {
            // Before, the answer to a request could not be heard.
            self.pass_on(News::Connected);
        }
        Ok(())
    }
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
enum NotConnected {
    #[error(transparent)]
    Workload(#[from] WorkloadError),
    #[error(transparent)]
    Lost(#[from] Lost),
    #[error("{0}")]
    Io(#[from] std::io::Error),
    #[error("port {port}: {error}; WebSocket on port {websocket}: {other}")]
    NoWay { port: u16, error: std::io::Error, websocket: u16, other: std::io::Error },
}

/// Keeps a connection to the hub: until the relay is told to stop. A new token is made for each, and a new connection before
/// the token is old.
pub async fn run(settings: &Link, mut module: Module, mut relay: Relay<'_>, mut tellings: mpsc::Receiver<Telling>) {
    let mut backoff = Backoff::default();
    loop {
        let opened = tokio::select! {
            opened = relay.beat.during(connect(settings, &module.identity)) => opened,
            () = relay.stop.all.cancelled() => return,
        };
        let ended = match opened {
            Ok(connection) => {
                tracing::info!("connected to the hub");
                relay.metrics.up();
                let began = Instant::now();
                // At four fifths of its life.
                relay.due = Some(began + Duration::from_secs(settings.token_life_s) * 4 / 5);
                module.open = SUBSCRIPTIONS;
                // What was for the last connection is for nobody now.
                while tellings.try_recv().is_ok() {}
                let end = relay.run(connection, &mut module, &mut tellings).await;
                for lane in relay.outputs {
                    relay.queue.rewind(*lane).await;
                }
                match end {
                    End::Stopped => return relay.metrics.ended("stopped"),
                    End::Due => {
                        backoff = Backoff::default();
                        relay.metrics.ended("renewed");
                        tracing::info!("the connection to the hub is renewed");
                        continue;
                    }
                    End::Lost(lost) => {
                        relay.metrics.ended("lost");
                        tracing::warn!("the connection to the hub is lost: {lost}");
                        Ended::Connected(began.elapsed())
                    }
                }
            }
            Err(error) => {
                let refused = matches!(error, NotConnected::Lost(Lost::Refused(_)));
                relay.metrics.ended(if refused { "refused" } else { "failed" });
                tracing::warn!("there is no connection to the hub: {error}");
                if refused { Ended::Refused } else { Ended::NotConnected }
            }
        };
        let wait = backoff.after(ended, fastrand::f64());
        if backoff.is_contended() {
            tracing::error!("the hub closes each connection at once: is the same module running twice?");
        }
        tokio::select! { () = relay.beat.during(sleep(wait)) => (), () = relay.stop.all.cancelled() => return }
    }
}

async fn connect(settings: &Link, identity: &Identity) -> Result<Connection<Box<dyn link::Stream>, Tag>, NotConnected> {
    // Only for this the clock on the wall counts.
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_secs());
    let expires = now + settings.token_life_s;
    let text = identity.to_sign(expires);
    let (signature, roots) = match &identity.signer {
        Signer::Workload { uri, generation, api_version } => {
            let workload = Workload { uri, generation, api_version };
            let signature = workload.sign(&identity.module, &text).await?;
            // The certificates may have changed with the hub.
            (signature, link::roots_from(workload.trust_bundle().await?.as_bytes())?)
        }
        Signer::Key(key) => (sign(key, &text), roots(settings)?),
    };
    let mut address = Address { host: identity.gateway.clone(), port: settings.port, tls: true, path: None };
    let stream = match link::open(&address, Some(&roots)).await {
        Err(error) if settings.websocket_port != 0 => {
            address.port = settings.websocket_port;
            address.path = Some(WEBSOCKET.into());
            let opened = link::open(&address, Some(&roots)).await;
            opened.map_err(|other| NotConnected::NoWay {
                port: settings.port,
                error,
                websocket: address.port,
                other,
            })?
        }
        opened => opened?,
    };
    let connect = Connect {
        client_id: identity.client_id(),
        // Inputs wait in the hub's own store, not in a session.
        clean_session: true,
        keep_alive: settings.keep_alive_s,
        username: Some(identity.username()),
        password: Some(identity.token(expires, &signature).into_bytes()),
    };
    let mut connection = Connection::open(stream, connect, LARGEST).await?;
    // Twin and methods at QoS 0: the hub matches acknowledgements in their order, and those would be among them.
    for (filter, qos) in [
        (topics::TWIN_RESPONSES.into(), 0),
        (topics::DESIRED_CHANGES.into(), 0),
        (topics::METHODS.into(), 0),
        (topics::inputs(&identity.device, &identity.module), 1),
    ] {
        connection.subscribe(vec![(filter, qos)])?;
    }
    Ok(connection)
}

fn roots(settings: &Link) -> std::io::Result<RootCertStore> {
    link::roots(settings.ca_file.as_deref())
}
