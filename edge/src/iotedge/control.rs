//! What is said to a module beside messages: its twin and calls of methods.

use std::future::pending;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hedef_core::repository::{Repository, State};
use serde_json::{Map, Value, json};
use tokio::sync::{Notify, mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant as Moment, sleep_until};
use tokio_util::sync::CancellationToken;

use super::methods::{self, Call};
use super::topics;
use super::twin::{Change, Desired, Reported, key};
use crate::filter::Filter;
use crate::queue::Queue;
use crate::relay::Telling;
use crate::updates::Updates;

/// When a request is made again that was not answered, or was refused for now.
const AGAIN: Duration = Duration::from_secs(30);

/// The shortest time between two reports of what is wrong with the data folder: on a full disk some messages find room and
/// others do not.
const DATA_INTERVAL: Duration = Duration::from_secs(5);

/// What the hub said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum News {
    /// It answers from now on: a connection is up, and its subscriptions too.
    Connected,
    /// A request about the twin is answered.
    TwinResponse {
        /// As in HTTP.
        status: u16,
        /// The request.
        request: u64,
        /// The twin, if it was asked for.
        body: Vec<u8>,
    },
    /// Desired properties changed.
    Desired(Vec<u8>),
    /// A method is called.
    Method {
        /// Its name.
        name: String,
        /// The call.
        request: String,
        /// Its arguments.
        payload: Vec<u8>,
    },
}

/// What the twin can want.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Wishes {
    /// The model for inputs.
    pub model: Option<String>,
    /// Which answers are sent.
    pub filter: Option<Arc<Filter>>,
}

impl Wishes {
    /// Reads them from desired properties, of which others are not looked at.
    fn read(desired: &Map<String, Value>) -> Result<Self, String> {
        let model = match desired.get("model") {
            None => None,
            Some(Value::String(model)) => Some(model.clone()),
            Some(other) => return Err(short(&format!("`model`: expected a name, found {other}"))),
        };
        let filter = desired.get("filter").map(|filter| {
            let filter: Filter = serde_json::from_value(filter.clone()).map_err(|error| error.to_string())?;
            filter.check().map_err(|error| error.to_string())?;
            Ok(Arc::new(filter))
        });
        let filter = filter.transpose().map_err(|error: String| short(&format!("`filter`: {error}")))?;
        Ok(Self { model, filter })
    }
}

/// What twin and methods are about.
#[derive(Clone)]
pub struct Surroundings {
    /// The models.
    pub repository: Arc<Repository>,
    /// What waits.
    pub queue: Queue,
    /// Their updates.
    pub updates: Updates,
    /// Told when the models changed.
    pub changed: Arc<Notify>,
    /// What the twin wants, above the settings.
    pub wishes: watch::Sender<Wishes>,
    /// When the device started.
    pub started: Instant,
}

/// The state of twin and methods.
pub struct Control {
    surroundings: Surroundings,
    tellings: mpsc::Sender<Telling>,
    desired: Desired,
    reported: Reported,
    /// The request for the whole twin that is not answered.
    asked: Option<u64>,
    last_request: u64,
    /// When to make requests again.
    again: Option<Moment>,
    connected: bool,
    /// What is wrong with what is desired.
    complaint: Option<String>,
    /// What is wrong with the data folder, as it is reported.
    trouble: Option<String>,
    calls: JoinSet<(String, methods::Answer)>,
}

impl Control {
    /// Makes one that speaks through `tellings`.
    #[must_use]
    pub fn new(surroundings: Surroundings, tellings: mpsc::Sender<Telling>) -> Self {
        Self {
            trouble: surroundings.queue.trouble(),
            surroundings,
            tellings,
            desired: Desired::default(),
            reported: Reported::default(),
            asked: None,
            last_request: 0,
            again: None,
            connected: false,
            complaint: None,
            calls: JoinSet::new(),
        }
    }

    /// Deals with news until `stop`.
    pub async fn run(mut self, news: mpsc::Receiver<News>, stop: CancellationToken) {
        // Whatever waits for the connection to take what is told to it need not be told any more.
        tokio::select! { () = self.follow(news) => (), () = stop.cancelled() => () }
    }

    async fn follow(&mut self, mut news: mpsc::Receiver<News>) {
        let changed = Arc::clone(&self.surroundings.changed);
        let mut troubles = self.surroundings.queue.troubles();
        let mut troubles_due = Moment::now();
        loop {
            tokio::select! {
                heard = news.recv() => match heard {
                    Some(heard) => self.hear(heard).await,
                    None => break,
                },
                Some(done) = self.calls.join_next() => {
                    if let Ok((request, answer)) = done {
                        self.answer(&request, &answer).await;
                    }
                }
                () = changed.notified() => (),
                true = changed_after(&mut troubles, troubles_due) => {
                    self.trouble = troubles.borrow_and_update().clone();
                    troubles_due = Moment::now() + DATA_INTERVAL;
                }
                () = at(self.again) => self.try_again().await,
            }
            self.report().await;
        }
    }

    async fn hear(&mut self, news: News) {
        match news {
            News::Connected => {
                self.connected = true;
                self.reported.forget();
                self.ask().await;
            }
            News::TwinResponse { status, request, body } if self.asked == Some(request) => {
                if status == 200 && self.desired.replace(&body) {
                    self.reported.learn(Desired::reported(&body));
                    self.asked = None;
                    self.apply();
                } else {
                    // Asked again in a while.
                    tracing::warn!("the twin was not answered: {status}");
                }
            }
            News::TwinResponse { status, request, .. } => {
                if self.reported.answered(request, status) && status >= 300 {
                    tracing::warn!("reported properties were refused: {status}");
                }
            }
            News::Desired(patch) => match self.desired.patch(&patch) {
                Change::Made => self.apply(),
                Change::Old => (),
                Change::Missed => self.ask().await,
            },
            News::Method { name, request, payload } => self.call(&name, request, &payload).await,
        }
    }

    /// Makes the requests again that were not answered, or were refused for now.
    async fn try_again(&mut self) {
        self.again = None;
        self.reported.give_up();
        if self.asked.is_some() {
            self.ask().await;
        }
    }

    async fn ask(&mut self) {
        let request = self.next_request();
        self.asked = Some(request);
        self.again = Some(Moment::now() + AGAIN);
        self.tell(topics::twin_get(request), Vec::new()).await;
    }

    /// Takes over what is desired.
    fn apply(&mut self) {
        let desired = self.desired.properties();
        let followed = self.surroundings.updates.follow(desired);
        let wishes = Wishes::read(desired).map(|wishes| self.surroundings.wishes.send_replace(wishes));
        self.complaint = wishes.err().or(followed.err());
        if let Some(complaint) = &self.complaint {
            tracing::warn!("the twin cannot be followed: {complaint}");
        }
    }

    async fn call(&mut self, name: &str, request: String, payload: &[u8]) {
        let answer = match methods::read(name, payload) {
            Err(refusal) => refusal,
            Ok(Call::Ping) => (200, json!({ "version": env!("CARGO_PKG_VERSION") })),
            Ok(Call::Status) => (200, self.status().await),
            Ok(Call::Activate(arguments)) => {
                methods::update(self.surroundings.updates.activate(&arguments, |name| self.is_known(name)))
            }
            Ok(Call::RollBack(arguments)) => {
                methods::update(self.surroundings.updates.roll_back(&arguments, |name| self.is_known(name)))
            }
            Ok(Call::Long(_)) if !self.calls.is_empty() => methods::busy(),
            Ok(Call::Long(long)) => {
                let surroundings = self.surroundings.clone();
                self.calls.spawn(async move { (request, methods::run(long, &surroundings).await) });
                return;
            }
        };
        self.answer(&request, &answer).await;
    }

    /// Whether a model of that name is here.
    fn is_known(&self, name: &str) -> bool {
        self.surroundings.repository.index().iter().any(|entry| entry.name.as_str() == name)
    }

    async fn answer(&self, request: &str, (status, document): &methods::Answer) {
        self.tell(topics::method_answer(*status, request), document.to_string().into_bytes()).await;
    }

    async fn status(&self) -> Value {
        let lanes = self.surroundings.queue.states().await;
        let trouble = self.surroundings.queue.trouble();
        let mut queue = Map::new();
        for lane in lanes {
            let state = json!({
                "messages": lane.messages, "bytes": lane.bytes, "dropped": lane.dropped, "damaged": lane.damaged
            });
            queue.insert(lane.name, state);
        }
        json!({
            "version": env!("CARGO_PKG_VERSION"),
            "ready": self.surroundings.repository.is_ready(),
            "uptime_s": self.surroundings.started.elapsed().as_secs(),
            "models": self.models(),
            "inbox": self.surroundings.updates.inbox(),
            "queue": queue,
            "data": data(trouble.as_deref()),
        })
    }

    /// Each model with its version and its state.
    fn models(&self) -> Map<String, Value> {
        let mut models: Map<String, Value> = Map::new();
        for entry in self.surroundings.repository.index() {
            let name = key(entry.name.as_str());
            let ready = entry.state == State::Ready;
            let state = match entry.state {
                State::Ready => json!({ "active": entry.version, "state": "active" }),
                State::Loading => json!({ "version": entry.version, "state": "loading" }),
                State::Unavailable => {
                    json!({ "version": entry.version, "state": "failed", "error": short(&entry.reason) })
                }
            };
            // The highest version that is ready stands for the model.
            if ready || models.get(&name).is_none_or(|known| known.get("active").is_none()) {
                models.insert(name, state);
            }
        }
        for (name, update) in self.surroundings.updates.states() {
            add_update(models.entry(key(name.as_str())).or_insert_with(|| json!({})), update);
        }
        models
    }

    /// Reports what has changed.
    async fn report(&mut self) {
        if !self.connected {
            return;
        }
        let mut wanted = Map::new();
        wanted.insert("version".into(), env!("CARGO_PKG_VERSION").into());
        wanted.insert("ready".into(), self.surroundings.repository.is_ready().into());
        wanted.insert("models".into(), self.models().into());
        wanted.insert("data".into(), data(self.trouble.as_deref()));
        let followed = json!({ "version": self.desired.version(), "error": self.complaint });
        wanted.insert("desired".into(), followed);
        let request = self.next_request();
        if let Some(change) = self.reported.change(&wanted, request) {
            self.again = Some(Moment::now() + AGAIN);
            self.tell(topics::twin_patch(request), change.to_string().into_bytes()).await;
        }
    }

    fn next_request(&mut self) -> u64 {
        self.last_request += 1;
        self.last_request
    }

    async fn tell(&self, topic: String, body: Vec<u8>) {
        // Without a connection there is nobody to be told.
        let _ = self.tellings.send((topic, body)).await;
    }
}

/// Whether the data folder can be written, and why not.
fn data(trouble: Option<&str>) -> Value {
    json!({ "writable": trouble.is_none(), "error": trouble.map(short) })
}

/// Adds what is to be told of a model's updates to what is told of the model, which knows best what is served.
fn add_update(model: &mut Value, update: Map<String, Value>) {
    let Value::Object(model) = model else { return };
    let rests = update.get("state") == Some(&"active".into());
    for (name, value) in update {
        let told = match name.as_str() {
            "state" => rests && model.contains_key("state"),
            "active" => model.contains_key("active"),
            _ => false,
        };
        if !told {
            model.insert(name, value);
        }
    }
}

/// A text as twins take it: of 4096 bytes at most, and all together of 32 KiB.
pub(super) fn short(text: &str) -> String {
    text.chars().take(200).collect()
}

/// Ready at that time, or never.
async fn at(time: Option<Moment>) {
    match time {
        Some(time) => sleep_until(time).await,
        None => pending().await,
    }
}

/// Ready when what is watched has changed, but not before that time. `false`: it never will.
async fn changed_after<T>(watched: &mut watch::Receiver<T>, time: Moment) -> bool {
    sleep_until(time).await;
    watched.changed().await.is_ok()
}

#[cfg(test)]
#[path = "control_tests.rs"]
mod towards_the_hub;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wishes_are_read_or_refused_with_a_reason() {
        let read = |desired: Value| match desired {
            Value::Object(desired) => Wishes::read(&desired),
            other => Err(other.to_string()),
        };
        let wishes = read(json!({ "model": "m", "filter": { "every": 3 }, "other": 1 })).unwrap();
        assert_eq!((wishes.model.as_deref(), wishes.filter.unwrap().every), (Some("m"), Some(3)));
        assert_eq!(read(json!({})), Ok(Wishes::default()));
        assert!(read(json!({ "model": 1 })).unwrap_err().starts_with("`model`"));
        assert!(read(json!({ "filter": { "every": 0 } })).unwrap_err().starts_with("`filter`"));
        assert!(read(json!({ "filter": { "evry": 1 } })).unwrap_err().starts_with("`filter`"));
    }
}
