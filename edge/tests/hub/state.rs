//! What the hub knows of the module, whichever way they talk.

use std::collections::VecDeque;

use hedef_edge::iotedge::topics::{percent_encoded, read_bag};
use hedef_edge::mqtt::packet::Publish;
use serde_json::{Map, Value, json};

use super::DEVICE;

/// An event that the module sent.
#[derive(Clone, Debug)]
pub(crate) struct Sent {
    pub(crate) topic: String,
    pub(crate) properties: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Sent {
    pub(crate) fn property(&self, name: &str) -> Option<&str> {
        self.properties.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str())
    }
}

/// An input message.
#[derive(Clone)]
pub(super) struct Input {
    pub(super) id: String,
    /// As it stands in a topic.
    pub(super) content_type: String,
    pub(super) body: Vec<u8>,
}

#[derive(Default)]
pub(super) struct State {
    /// Input messages. Those in front were not acknowledged.
    pub(super) inputs: VecDeque<Input>,
    pub(super) sent: Vec<Sent>,
    pub(super) desired: Map<String, Value>,
    pub(super) version: u64,
    pub(super) reported: Map<String, Value>,
    /// What is to be told to the module: topic and body.
    pub(super) telling: VecDeque<(String, Vec<u8>)>,
    pub(super) answers: Vec<(String, Value)>,
    pub(super) filters: Vec<(String, u8)>,
    pub(super) tokens: Vec<String>,
    /// Whether each client wanted a clean session.
    pub(super) sessions: Vec<bool>,
    /// Whether answers are neither kept nor acknowledged.
    pub(super) deaf: bool,
    /// Where the module sent something.
    pub(super) topics: Vec<String>,
    pub(super) connections: usize,
    /// Whether a token was signed since the last connection.
    pub(super) is_signed: bool,
}

impl State {
    /// Takes in what the module said. Returns what is to be answered: topic and body.
    pub(super) fn said(&mut self, publish: Publish) -> Option<(String, Vec<u8>)> {
        let topic = publish.topic.as_str();
        self.topics.push(topic.into());
        let answer = if let Some(bag) = topic.strip_prefix(&format!("{DEVICE}/messages/events/")) {
            assert!(!bag.contains('/'), "the hub would lose {topic}");
            let properties = read_bag(bag);
            self.sent.push(Sent { topic: topic.into(), properties, body: publish.body });
            None
        } else if let Some(request) = topic.strip_prefix("$iothub/twin/GET/?$rid=") {
            let mut desired = self.desired.clone();
            desired.insert("$version".into(), self.version.into());
            let mut reported = self.reported.clone();
            reported.insert("$version".into(), 1.into());
            let twin = json!({ "desired": desired, "reported": reported });
            Some((format!("$iothub/twin/res/200/?$rid={request}"), twin.to_string()))
        } else if let Some(request) = topic.strip_prefix("$iothub/twin/PATCH/properties/reported/?$rid=") {
            let Value::Object(patch) = serde_json::from_slice(&publish.body).unwrap() else { panic!() };
            assert_fit(&Value::Object(patch.clone()));
            merge(&mut self.reported, patch);
            Some((format!("$iothub/twin/res/204/?$rid={request}"), String::new()))
        } else if let Some(rest) = topic.strip_prefix("$iothub/methods/res/") {
            let (status, _) = rest.split_once("/?$rid=").unwrap();
            let body = serde_json::from_slice(&publish.body).unwrap();
            self.answers.push((status.into(), body));
            None
        } else {
            None
        };
        answer.map(|(topic, body)| (topic, body.into()))
    }
}

/// Where an input message comes.
pub(super) fn input_topic(Input { id, content_type, .. }: &Input) -> String {
    format!("{DEVICE}/inputs/input1/%24.mid={}&%24.ct={content_type}&%24.cdid=edge1", percent_encoded(id))
}

/// RFC 7396.
fn merge(into: &mut Map<String, Value>, patch: Map<String, Value>) {
    for (name, value) in patch {
        match (into.get_mut(&name), value) {
            (_, Value::Null) => drop(into.remove(&name)),
            (Some(Value::Object(old)), Value::Object(new)) => merge(old, new),
            (_, Value::Object(new)) => {
                let mut whole = Map::new();
                merge(&mut whole, new);
                into.insert(name, Value::Object(whole));
            }
            (_, value) => drop(into.insert(name, value)),
        }
    }
}

/// What the hub allows in reported properties.
fn assert_fit(value: &Value) {
    match value {
        Value::Object(members) => members.iter().for_each(|(name, value)| {
            assert!(!name.contains(['.', '$', '#', ' ']), "{name}");
            assert_fit(value);
        }),
        Value::Array(values) => values.iter().for_each(|value| {
            assert!(!value.is_null());
            assert_fit(value);
        }),
        Value::String(text) => assert!(text.len() <= 4096),
        _ => (),
    }
}
