//! A plain MQTT broker: messages of some topics in, answers to others out.

use std::fs;
use std::sync::Arc;

use tokio::sync::mpsc;
use tokio::time::{Instant, sleep};

use crate::config::{Broker, Route, Secret, Settings};
use crate::filter::Filter;
use crate::link::{self, Address};
use crate::message::Message;
use crate::mqtt::backoff::{Backoff, Ended};
use crate::mqtt::connection::{Connection, Lost};
use crate::mqtt::packet::Connect;
use crate::mqtt::topic;
use crate::relay::{End, Port, Relay, Tag};
use crate::scoring::ScoreError;
use crate::worker::{Plan, Scored, Source};

/// How to come by scores: which messages, and where their answers go.
#[derive(Clone, Debug)]
pub struct Routes {
    routes: Vec<Route>,
    outputs: Vec<String>,
    model: Option<String>,
    filter: Option<Arc<Filter>>,
}

impl Routes {
    /// Those of a broker.
    #[must_use]
    pub fn new(broker: &Broker, settings: &Settings) -> Self {
        Self {
            routes: broker.routes.clone(),
            outputs: settings.outputs.iter().map(|output| output.name.clone()).collect(),
            model: settings.model.clone(),
            filter: settings.filter.clone().map(Arc::new),
        }
    }

    /// The first route for a topic, and the topic for the answer.
    fn route(&self, topic: &str) -> Option<(&Route, String)> {
        self.routes.iter().find_map(|route| {
            let captures = topic::captures(&route.from, topic)?;
            Some((route, topic::fill(&route.to, topic, &captures)))
        })
    }
}

impl Source for Routes {
    fn plan(&self, message: &Message) -> Option<Plan> {
        let (route, _) = self.route(&message.place)?;
        let output = route.output.as_ref().and_then(|wanted| self.outputs.iter().position(|name| name == wanted));
        Some(Plan {
            model: route.model.clone().or_else(|| self.model.clone()),
            content_type: route.content_type.clone(),
            filter: self.filter.clone(),
            output: output.unwrap_or(0),
        })
    }

    fn reply(&self, message: &Message, answer: Result<Scored, ScoreError>) -> Message {
        let to = self.route(&message.place).map(|(_, to)| to).unwrap_or_default();
        let body = match answer {
            Ok(answer) => answer.body,
            Err(error) => hedef_protocols::v2::error(&error.told()),
        };
        Message { place: to, properties: Vec::new(), body }
    }
}

impl Port for Routes {
    fn incoming(&mut self, topic: &str, body: Vec<u8>) -> Option<Message> {
        self.route(topic)?;
        Some(Message { place: topic.into(), properties: Vec::new(), body })
    }

    fn outgoing(&self, message: Message) -> Option<(String, Vec<u8>)> {
        let fit = !message.place.is_empty() && !message.place.contains(['+', '#', '\0']);
        fit.then_some((message.place, message.body))
    }
}

/// Keeps a connection to a broker, for ever: until the relay is told to stop.
pub async fn run(broker: &Broker, mut routes: Routes, relay: Relay<'_>) {
    let mut backoff = Backoff::default();
    // Nobody tells a broker anything but answers.
    let (_none, mut tellings) = mpsc::channel(1);
    loop {
        let begun = Instant::now();
        let opened = tokio::select! {
            opened = relay.beat.during(connect(broker)) => opened,
            () = relay.stop.all.cancelled() => return,
        };
        let ended = match opened {
            Ok(connection) => {
                tracing::info!("connected to the broker");
                relay.metrics.up();
                let began = Instant::now();
                let end = relay.run(connection, &mut routes, &mut tellings).await;
                for lane in relay.outputs {
                    relay.queue.rewind(*lane).await;
                }
                let End::Lost(lost) = end else { return relay.metrics.ended("stopped") };
                relay.metrics.ended("lost");
                tracing::warn!("the connection to the broker is lost: {lost}");
                Ended::Connected(began.elapsed())
            }
            Err(lost) => {
                let refused = matches!(lost, Lost::Refused(_));
                relay.metrics.ended(if refused { "refused" } else { "failed" });
                tracing::warn!("there is no connection to the broker after {:.1?}: {lost}", begun.elapsed());
                if refused { Ended::Refused } else { Ended::NotConnected }
            }
        };
        let wait = backoff.after(ended, fastrand::f64());
        if backoff.is_contended() {
            tracing::error!("the broker closes each connection at once: does another client have the same id?");
        }
        tokio::select! { () = relay.beat.during(sleep(wait)) => (), () = relay.stop.all.cancelled() => return }
    }
}

async fn connect(broker: &Broker) -> Result<Connection<Box<dyn link::Stream>, Tag>, Lost> {
    let unusable = || std::io::Error::other("the broker's URL is none");
    let address = Address::parse(&broker.url).ok_or_else(unusable)?;
    let roots = if address.tls { Some(link::roots(broker.ca_file.as_deref())?) } else { None };
    let stream = link::open(&address, roots.as_ref()).await?;
    let connect = Connect {
        client_id: broker.client_id.clone(),
        // The broker keeps what comes while this client is away.
        clean_session: false,
        keep_alive: broker.keep_alive_s,
        username: broker.username.clone(),
        password: password(broker)?,
    };
    let mut connection = Connection::open(stream, connect, broker.max_packet_bytes).await?;
    // The server may send what it kept before it answers this.
    connection.subscribe(broker.routes.iter().map(|route| (route.from.clone(), 1)).collect())?;
    Ok(connection)
}

/// Read for each try, since it may have been changed.
fn password(broker: &Broker) -> Result<Option<Vec<u8>>, Lost> {
    let Some(file) = &broker.password_file else {
        return Ok(broker.password.clone().map(|Secret(password)| password.into_bytes()));
    };
    let read = fs::read_to_string(file);
    let read = read.map_err(|error| std::io::Error::new(error.kind(), format!("the file of the password: {error}")))?;
    Ok(Some(read.trim_end_matches(['\r', '\n']).as_bytes().to_vec()))
}
