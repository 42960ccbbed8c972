//! The settings: a TOML file, and the environment over it.

use std::env;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use hedef_core::settings::parse;
use serde::Deserialize;

use crate::filter::{Filter, InvalidFilter};
use crate::iotedge::identity::{Identity, InvalidIdentity};
use crate::link::Address;
use crate::mqtt::topic;
use crate::queue::WhenFull;
use crate::thermal::Thermal;

/// The settings of the device, as the file has them.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Folders of models, folders of one model, or `.onnx` files.
    pub models: Vec<PathBuf>,
    /// The model for messages that name none; without it, the only one there is.
    pub model: Option<String>,
    /// ONNX Runtime's library, or the folder that it is in; without it, it is looked for.
    pub onnxruntime: Option<PathBuf>,
    /// The folder for what has to survive a restart.
    pub data: PathBuf,
    /// What is logged, such as `info` or `warn,hedef_edge=debug`.
    pub log: String,
    /// MiB of memory that models may take; one more is not loaded.
    pub memory_budget_mib: Option<u32>,
    /// Seconds without progress of a loop after which the process ends.
    pub watchdog_s: u64,
    /// HTTP on the device.
    pub http: Http,
    /// The queue on disk.
    pub queue: Queue,
    /// When it is too hot; without it, never.
    pub thermal: Option<Thermal>,
    /// The outputs that answers go to.
    pub outputs: Vec<Output>,
    /// Which answers to messages are sent; without it, all.
    pub filter: Option<Filter>,
    /// A plain MQTT broker.
    pub broker: Option<Broker>,
    /// How models are updated.
    pub updates: crate::updates::Settings,
    /// The step of an update to end at, from the environment of a debug build alone.
    #[serde(skip)]
    pub end_at: Option<String>,
    /// The loop to block, from the environment of a debug build alone.
    #[serde(skip)]
    pub stalled: Option<String>,
    /// How to be a module of Azure IoT Edge, which it is where the environment says so.
    pub module: Module,
    /// Which module it is, from the environment alone.
    #[serde(skip)]
    pub identity: Option<Identity>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            models: vec!["models".into()],
            model: None,
            onnxruntime: None,
            data: "data".into(),
            log: "info".into(),
            memory_budget_mib: None,
            watchdog_s: 300,
            http: Http::default(),
            queue: Queue::default(),
            thermal: None,
            outputs: vec![Output::default()],
            filter: None,
            broker: None,
            module: Module::default(),
            updates: crate::updates::Settings::default(),
            end_at: None,
            stalled: None,
            identity: None,
        }
    }
}

/// Where HTTP is spoken.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Http {
    /// For scoring, and everything else.
    pub listen: SocketAddr,
    /// For health and metrics alone.
    pub metrics_listen: SocketAddr,
}

impl Default for Http {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 8080)),
            metrics_listen: SocketAddr::from((Ipv4Addr::UNSPECIFIED, 9600)),
        }
    }
}

/// What the queue may take, and when a message counts as taken.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Queue {
    /// MiB of disk for all that waits.
    pub capacity_mib: u32,
    /// When the sender of a message is told that it was taken.
    pub acknowledge: Acknowledge,
    /// How many messages are scored at a time.
    pub parallel: usize,
    /// Milliseconds that a message may wait before its scoring begins; older ones are skipped. Without it, none is.
    pub max_age_ms: Option<u64>,
}

impl Default for Queue {
    fn default() -> Self {
        Self { capacity_mib: 64, acknowledge: Acknowledge::default(), parallel: 4, max_age_ms: None }
    }
}

/// When the sender of a message is told that it was taken.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum Acknowledge {
    /// When it survives the end of the process. A power cut can take what came in the last second.
    #[default]
    Written,
    /// When it survives a power cut: up to a second later.
    Committed,
}

/// An output.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Output {
    /// Its name.
    pub name: String,
    /// Those of lower numbers are delivered first, and kept longest.
    pub priority: u8,
    /// What happens when the queue is full.
    pub when_full: WhenFull,
}

impl Default for Output {
    fn default() -> Self {
        Self { name: "output1".into(), priority: 0, when_full: WhenFull::DropOldest }
    }
}

/// How to be a module of Azure IoT Edge.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Module {
    /// The output for answers; without it, the first.
    pub output: Option<String>,
    /// How long a token is good for.
    pub token_life_s: u64,
    /// How long the connection is silent at most.
    pub keep_alive_s: u16,
    /// The most bytes that a packet to the hub may have. It closes the connection over more than 256 KiB, and a little less
    /// is lost.
    pub max_packet_bytes: usize,
    /// The hub's port.
    pub port: u16,
    /// Its port for WebSocket, which is tried where there is no way to the other; 0 where it is not to be.
    pub websocket_port: u16,
    /// The certificates to trust with a connection string; without it, those of the system.
    pub ca_file: Option<PathBuf>,
}

impl Default for Module {
    fn default() -> Self {
        Self {
            output: None,
            token_life_s: 3600,
            keep_alive_s: 60,
            max_packet_bytes: 240 << 10,
            port: 8883,
            websocket_port: 443,
            ca_file: None,
        }
    }
}

/// A plain MQTT broker.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Broker {
    /// `mqtt://HOST:PORT`, or `mqtts://HOST:PORT` for TLS; within WebSocket `ws://HOST:PORT/PATH` or `wss://HOST:PORT/PATH`.
    pub url: String,
    /// This client's id, which no other client of the broker has.
    pub client_id: String,
    /// Its name there.
    pub username: Option<String>,
    /// The file that its password is in.
    pub password_file: Option<PathBuf>,
    /// The certificates to trust with TLS; without it, those of the system.
    pub ca_file: Option<PathBuf>,
    /// How long the connection is silent at most.
    #[serde(default = "keep_alive")]
    pub keep_alive_s: u16,
    /// The most bytes that a packet may have.
    #[serde(default = "largest")]
    pub max_packet_bytes: usize,
    /// What is scored.
    pub routes: Vec<Route>,
    /// From the environment alone.
    #[serde(skip)]
    pub password: Option<Secret>,
}

/// A text that is for nobody's eyes.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(pub String);

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret")
    }
}

const fn keep_alive() -> u16 {
    60
}

const fn largest() -> usize {
    256 << 10
}

/// Messages that are scored, and where their answers go.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Route {
    /// The filter of topics.
    pub from: String,
    /// The topic of answers: `{topic}` stands for that of the message, `{1}` for what the first `+` or `#` matched.
    pub to: String,
    /// The model, if it is another than for the others.
    pub model: Option<String>,
    /// What messages are, if it cannot be seen from them: MQTT 3.1.1 does not tell.
    pub content_type: Option<String>,
    /// The output, which says how answers wait.
    pub output: Option<String>,
}

/// Why settings cannot be used.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say what the fields are")]
pub enum InvalidSettings {
    #[error("settings {file}: {reason}")]
    File { file: String, reason: String },
    #[error("{name}: {reason}")]
    Variable { name: &'static str, reason: String },
    #[error(transparent)]
    Identity(#[from] InvalidIdentity),
    #[error("updates: {0}")]
    Updates(String),
    #[error("filter: {0}")]
    Filter(#[from] InvalidFilter),
    #[error("{key}: expected {expected}, found `{found}`")]
    Value { key: String, expected: &'static str, found: String },
}

/// The time of the build in seconds since 1970, where who built it told it.
pub(crate) const SOURCE_DATE: Option<&str> = option_env!("SOURCE_DATE_EPOCH");

/// The most messages that may be scored at a time.
const MOST_PARALLEL: usize = 64;

/// The oldest that a message may become before it is skipped: a day.
const MOST_AGE_MS: u64 = 86_400_000;

/// The file that settings are read from where none is named.
const USUAL_FILE: &str = "hedef-edge.toml";

impl Settings {
    /// Reads `file`, or else the one that `HEDEF_EDGE_CONFIG` names, or else `hedef-edge.toml` if it is there; and the
    /// environment.
    pub fn read(file: Option<&Path>) -> Result<Self, InvalidSettings> {
        let named = file.map(Path::to_path_buf).or_else(|| env::var_os("HEDEF_EDGE_CONFIG").map(PathBuf::from));
        let file = named.or_else(|| Some(PathBuf::from(USUAL_FILE)).filter(|file| file.exists()));
        let mut settings = match &file {
            Some(file) => {
                let wrong = |reason| InvalidSettings::File { file: file.display().to_string(), reason };
                let text = fs::read_to_string(file).map_err(|error| wrong(error.to_string()))?;
                parse(&text).map_err(|error| wrong(error.to_string()))?
            }
            None => Self::default(),
        };
        settings.overlay(|name| env::var(name).ok().filter(|value| !value.is_empty()))?;
        settings.check()?;
        Ok(settings)
    }

    /// Lets the environment speak.
    fn overlay(&mut self, variable: impl Fn(&'static str) -> Option<String>) -> Result<(), InvalidSettings> {
        if let Some(roots) = variable("HEDEF_ROOTS") {
            self.models = env::split_paths(&roots).collect();
        }
        self.model = variable("HEDEF_MODEL").or(self.model.take());
        self.onnxruntime = variable("HEDEF_ONNXRUNTIME").map(PathBuf::from).or(self.onnxruntime.take());
        if let Some(data) = variable("HEDEF_DATA") {
            self.data = data.into();
        }
        if let Some(log) = variable("HEDEF_LOG") {
            self.log = log;
        }
        let addresses =
            [("HEDEF_LISTEN", &mut self.http.listen), ("HEDEF_METRICS_LISTEN", &mut self.http.metrics_listen)];
        for (name, place) in addresses {
            if let Some(address) = variable(name) {
                *place = address.parse().map_err(|_| InvalidSettings::Variable {
                    name,
                    reason: format!("expected an address and a port, such as 127.0.0.1:8080, found `{address}`"),
                })?;
            }
        }
        if let Some(broker) = &mut self.broker {
            broker.url = variable("HEDEF_BROKER").unwrap_or_else(|| std::mem::take(&mut broker.url));
            broker.username = variable("HEDEF_BROKER_USERNAME").or(broker.username.take());
            broker.password = variable("HEDEF_BROKER_PASSWORD").map(Secret);
        }
        if let Some(file) = variable("HEDEF_TRUSTED_KEYS_FILE") {
            self.updates.trusted_keys_file = Some(file.into());
        }
        if cfg!(debug_assertions) {
            self.end_at = variable("HEDEF_EDGE_END_AT");
            self.stalled = variable("HEDEF_EDGE_STALLED");
        }
        self.identity = Identity::from_variables(&variable)?;
        self.module.ca_file = variable("EdgeModuleCACertificateFile").map(PathBuf::from).or(self.module.ca_file.take());
        Ok(())
    }

    fn check(&self) -> Result<(), InvalidSettings> {
        let wrong = |key: &str, expected, found: &str| {
            Err(InvalidSettings::Value { key: key.into(), expected, found: found.chars().take(200).collect() })
        };
        // A commit alone may take long where the disk is slow; little only makes sense in tests.
        if !(5..=86_400).contains(&self.watchdog_s) {
            return wrong("watchdog_s", "5 to 86400", &self.watchdog_s.to_string());
        }
        if self.queue.capacity_mib == 0 {
            return wrong("queue.capacity_mib", "more than zero", "0");
        }
        if !(1..=MOST_PARALLEL).contains(&self.queue.parallel) {
            return wrong("queue.parallel", "1 to 64", &self.queue.parallel.to_string());
        }
        if let Some(age) = self.queue.max_age_ms.filter(|age| !(1..=MOST_AGE_MS).contains(age)) {
            return wrong("queue.max_age_ms", "1 to 86400000", &age.to_string());
        }
        if let Some(thermal) = self.thermal.as_ref().filter(|thermal| !(20.0..=150.0).contains(&thermal.limit_c)) {
            return wrong("thermal.limit_c", "20 to 150", &thermal.limit_c.to_string());
        }
        for output in &self.outputs {
            if !is_name(&output.name) {
                return wrong("outputs.name", "1 to 64 of A-Z a-z 0-9 _ -", &output.name);
            }
            if self.outputs.iter().filter(|other| other.name == output.name).count() > 1 {
                return wrong("outputs.name", "names that differ", &output.name);
            }
        }
        if self.outputs.is_empty() {
            return wrong("outputs", "at least one", "none");
        }
        if let Some(filter) = &self.filter {
            filter.check()?;
        }
        self.updates.check().map_err(InvalidSettings::Updates)?;
        let module = &self.module;
        if !(10..=390).contains(&module.keep_alive_s) {
            return wrong("module.keep_alive_s", "10 to 390", &module.keep_alive_s.to_string());
        }
        // Less than ten minutes only makes sense in tests, which is not to be forbidden.
        if !(5..=86_400).contains(&module.token_life_s) {
            return wrong("module.token_life_s", "5 to 86400", &module.token_life_s.to_string());
        }
        if let Some(output) = &module.output
            && !self.outputs.iter().any(|known| known.name == *output)
        {
            return wrong("module.output", "the name of one of the outputs", output);
        }
        if !(1 << 10..=256 << 10).contains(&module.max_packet_bytes) {
            return wrong("module.max_packet_bytes", "1024 to 262144", &module.max_packet_bytes.to_string());
        }
        let Some(broker) = &self.broker else { return Ok(()) };
        if Address::parse(&broker.url).is_none() {
            // Where others would have the name and the password.
            let found = broker.url.rsplit_once('@').map_or(broker.url.as_str(), |(_, behind)| behind);
            return wrong("broker.url", "mqtt, mqtts, ws or wss://HOST:PORT", found);
        }
        if broker.client_id.is_empty() {
            return wrong("broker.client_id", "a name", "");
        }
        if !(1 << 10..=16 << 20).contains(&broker.max_packet_bytes) {
            return wrong("broker.max_packet_bytes", "1024 to 16777216", &broker.max_packet_bytes.to_string());
        }
        if !(10..=3600).contains(&broker.keep_alive_s) {
            return wrong("broker.keep_alive_s", "10 to 3600", &broker.keep_alive_s.to_string());
        }
        if broker.routes.is_empty() {
            return wrong("broker.routes", "at least one", "none");
        }
        for route in &broker.routes {
            if !topic::is_filter(&route.from) {
                return wrong("broker.routes.from", "a filter of topics", &route.from);
            }
            if !topic::is_pattern(&route.to, &route.from) {
                return wrong("broker.routes.to", "a topic with {topic} or the number of a wildcard", &route.to);
            }
            if topic::feeds_itself(&route.to, &route.from) {
                return wrong("broker.routes.to", "a topic that its own `from` does not match", &route.to);
            }
            if let Some(output) = &route.output
                && !self.outputs.iter().any(|known| known.name == *output)
            {
                return wrong("broker.routes.output", "the name of one of the outputs", output);
            }
        }
        Ok(())
    }
}

fn is_name(name: &str) -> bool {
    (1..=64).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'))
}

#[cfg(test)]
mod tests;
