//! The device twin: what is desired of the module, and what it reports.
//!
//! Two states, without any input or output. What is desired is fetched whole on each connection, and again when a change is
//! not the next one, since changes that were missed are never sent again. What is reported goes up when it has changed.
//!
//! Source: Azure/iotedge, `doc/edgehub-api.md` and `ReportedPropertiesValidator.cs`.

use serde_json::{Map, Value};

/// What is desired, as far as it is known.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Desired {
    properties: Map<String, Value>,
    version: Option<u64>,
}

/// What a change means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// It was made.
    Made,
    /// It is old.
    Old,
    /// Something was missed: the whole has to be fetched.
    Missed,
}

impl Desired {
    /// Takes the whole twin, as it is answered: `{"desired": …, "reported": …}`. `false`: it is none.
    pub fn replace(&mut self, twin: &[u8]) -> bool {
        let Ok(Value::Object(mut twin)) = serde_json::from_slice(twin) else { return false };
        let Some(Value::Object(mut desired)) = twin.remove("desired") else { return false };
        self.version = take_version(&mut desired);
        self.properties = desired;
        true
    }

    /// What a whole twin, as it is answered, has as reported.
    #[must_use]
    pub fn reported(twin: &[u8]) -> Map<String, Value> {
        let Ok(Value::Object(mut twin)) = serde_json::from_slice(twin) else { return Map::new() };
        match twin.remove("reported") {
            Some(Value::Object(mut reported)) => {
                take_version(&mut reported);
                reported
            }
            _ => Map::new(),
        }
    }

    /// Makes a change.
    pub fn patch(&mut self, patch: &[u8]) -> Change {
        let Ok(Value::Object(mut patch)) = serde_json::from_slice(patch) else { return Change::Missed };
        let (Some(known), Some(new)) = (self.version, take_version(&mut patch)) else { return Change::Missed };
        if new <= known {
            return Change::Old;
        }
        if new != known + 1 {
            return Change::Missed;
        }
        merge(&mut self.properties, patch);
        self.version = Some(new);
        Change::Made
    }

    /// What is desired.
    #[must_use]
    pub const fn properties(&self) -> &Map<String, Value> {
        &self.properties
    }

    /// Its version.
    #[must_use]
    pub const fn version(&self) -> Option<u64> {
        self.version
    }
}

fn take_version(properties: &mut Map<String, Value>) -> Option<u64> {
    properties.remove("$version").and_then(|version| version.as_u64())
}

/// RFC 7396: `null` takes a property away.
fn merge(into: &mut Map<String, Value>, patch: Map<String, Value>) {
    for (name, value) in patch {
        match (into.get_mut(&name), value) {
            (_, Value::Null) => {
                into.remove(&name);
            }
            (Some(Value::Object(old)), Value::Object(new)) => merge(old, new),
            (_, value) => {
                into.insert(name, without_nulls(value));
            }
        }
    }
}

fn without_nulls(value: Value) -> Value {
    let Value::Object(members) = value else { return value };
    let mut kept = Map::new();
    merge(&mut kept, members);
    Value::Object(kept)
}

/// What was reported.
#[derive(Clone, Debug, Default)]
pub struct Reported {
    /// What the other side has.
    known: Map<String, Value>,
    /// What is on its way, and by which request.
    under_way: Option<(u64, Map<String, Value>)>,
    /// Whether the last change was refused for now: another would be too.
    refused: bool,
}

impl Reported {
    /// Forgets what the other side has: all of it is reported again.
    pub fn forget(&mut self) {
        *self = Self::default();
    }

    /// Takes what the other side says that it has, so that what an earlier process reported and is not so any more is taken
    /// back.
    pub fn learn(&mut self, other: Map<String, Value>) {
        if let Some((_, state)) = &mut self.under_way {
            add_missing(state, other.clone());
        }
        add_missing(&mut self.known, other);
    }

    /// Gives up waiting for an answer, and takes it that a refusal is of the past.
    pub fn give_up(&mut self) {
        self.under_way = None;
        self.refused = false;
    }

    /// The change that brings the other side to `wanted`, to be sent by `request`. `None`: it has it, or a change is on its
    /// way, after whose answer to ask again, or one was refused for now, until [`Reported::give_up`].
    pub fn change(&mut self, wanted: &Map<String, Value>, request: u64) -> Option<Value> {
        if self.under_way.is_some() || self.refused {
            return None;
        }
        let patch = difference(&self.known, wanted)?;
        self.under_way = Some((request, wanted.clone()));
        Some(Value::Object(patch))
    }

    /// Takes an answer. `false`: it is not that of a change.
    pub fn answered(&mut self, request: u64, status: u16) -> bool {
        match self.under_way.take() {
            Some((sent, state)) if sent == request => {
                self.refused = status >= 500 || status == 429;
                // One that was refused as wrong would be again.
                if !self.refused {
                    self.known = state;
                }
                true
            }
            other => {
                self.under_way = other;
                false
            }
        }
    }
}

/// Adds what is in `from` and not in `into`.
fn add_missing(into: &mut Map<String, Value>, from: Map<String, Value>) {
    for (name, value) in from {
        match (into.get_mut(&name), value) {
            (None, value) => drop(into.insert(name, value)),
            (Some(Value::Object(into)), Value::Object(from)) => add_missing(into, from),
            _ => (),
        }
    }
}

/// What has to be said for `old` to become `new`. `None`: nothing.
fn difference(old: &Map<String, Value>, new: &Map<String, Value>) -> Option<Map<String, Value>> {
    let mut patch = Map::new();
    for (name, value) in new {
        match (old.get(name), value) {
            (Some(found), value) if found == value => (),
            (Some(Value::Object(found)), Value::Object(value)) => {
                if let Some(change) = difference(found, value) {
                    patch.insert(name.clone(), Value::Object(change));
                }
            }
            _ => {
                patch.insert(name.clone(), value.clone());
            }
        }
    }
    for name in old.keys().filter(|name| !new.contains_key(*name)) {
        patch.insert(name.clone(), Value::Null);
    }
    (!patch.is_empty()).then_some(patch)
}

/// A name as twins allow it: without dots, dollars, hashes, blanks and control characters.
#[must_use]
pub fn key(name: &str) -> String {
    let allowed = |c: char| !(matches!(c, '.' | '$' | '#') || c.is_whitespace() || c.is_control());
    name.chars().map(|c| if allowed(c) { c } else { '_' }).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn object(value: Value) -> Map<String, Value> {
        match value {
            Value::Object(members) => members,
            other => panic!("{other}"),
        }
    }

    #[test]
    fn changes_are_made_in_their_order_and_a_gap_is_seen() {
        let mut desired = Desired::default();
        assert_eq!(desired.patch(br#"{"a":1,"$version":1}"#), Change::Missed);
        let twin =
            br#"{"desired":{"model":{"name":"resnet","version":3},"x":1,"$version":1},"reported":{"$version":1}}"#;
        assert!(desired.replace(twin));
        assert_eq!(desired.patch(br#"{"model":{"version":4},"x":null,"$version":2}"#), Change::Made);
        assert_eq!(Value::Object(desired.properties().clone()), json!({"model":{"name":"resnet","version":4}}));
        assert_eq!(desired.patch(br#"{"x":7,"$version":2}"#), Change::Old);
        assert_eq!(desired.patch(br#"{"x":7,"$version":4}"#), Change::Missed);
        assert_eq!(desired.patch(b"nonsense"), Change::Missed);
        assert_eq!((desired.version(), desired.replace(b"[]")), (Some(2), false));
    }

    #[test]
    fn only_what_changed_is_reported_and_one_change_at_a_time() {
        let mut reported = Reported::default();
        let first = object(json!({"a":{"b":1,"c":2}}));
        assert_eq!(reported.change(&first, 1), Some(json!({"a":{"b":1,"c":2}})));
        let second = object(json!({"a":{"b":1},"d":[1]}));
        assert_eq!(reported.change(&second, 2), None);
        assert!(!reported.answered(9, 204) && reported.answered(1, 204));
        assert_eq!(reported.change(&second, 2), Some(json!({"a":{"c":null},"d":[1]})));
        // It is too much at the moment, and would be at once again.
        assert!(reported.answered(2, 429));
        assert_eq!(reported.change(&second, 3), None);
        reported.give_up();
        assert!(reported.change(&second, 3).is_some() && reported.answered(3, 204));
        assert_eq!(reported.change(&second, 4), None);
        reported.forget();
        assert_eq!(reported.change(&second, 5), Some(Value::Object(second.clone())));
        // An earlier process said more.
        reported.learn(object(json!({"a":{"b":7,"error":"x"},"d":[1]})));
        assert!(reported.answered(5, 204));
        assert_eq!(reported.change(&second, 6), Some(json!({"a":{"error":null}})));
    }

    #[test]
    fn names_become_keys() {
        assert_eq!(key("resnet-50.v1 $x#"), "resnet-50_v1__x_");
    }
}
