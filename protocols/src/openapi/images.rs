//! What the document says of images.

use serde_json::{Map, Value};

use super::Version;

/// The schemas, and for each version what is added to the paths.
const IMAGES: &str = include_str!("images.json");

/// The schemas of answers about images.
pub(super) fn schemas() -> Map<String, Value> {
    part("schemas")
}

/// Adds to the document's paths what a model that takes images adds to `/score`, and `/image`; both below `prefix`.
pub(super) fn add(paths: &mut Value, version: Version, prefix: &str) {
    let name = match version {
        Version::Two => "Two",
        Version::Three => "Three",
    };
    let mut added = Map::new();
    added.extend(part(name).into_iter().map(|(path, operations)| (format!("{prefix}{path}"), operations)));
    overlay(paths, added.into());
}

fn part(name: &str) -> Map<String, Value> {
    let mut all: Map<String, Value> = serde_json::from_str(IMAGES).unwrap_or_default();
    match all.remove(name) {
        Some(Value::Object(part)) => part,
        _ => Map::new(),
    }
}

/// Lays one object over another, member by member; null takes a member away (RFC 7396).
fn overlay(under: &mut Value, over: Value) {
    match (under, over) {
        (Value::Object(under), Value::Object(over)) => {
            for (name, value) in over {
                if value.is_null() {
                    under.remove(&name);
                } else {
                    overlay(under.entry(name).or_insert(Value::Null), value);
                }
            }
        }
        (under, over) => *under = over,
    }
}
