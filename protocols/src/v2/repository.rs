use std::borrow::Cow;

use serde::Serialize;

use super::print;
use crate::Error;
use crate::json::Value;

/// One version of a model in the index; or a model that was never loaded, without a version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IndexEntry<'a> {
    /// The model's name.
    pub name: &'a str,
    /// The version.
    pub version: Option<u64>,
    /// What state it is in.
    pub state: State,
    /// Why it is in that state; empty when there is nothing to say.
    pub reason: &'a str,
}

/// The states of the model repository extension.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Never loaded.
    Unknown,
    /// Can score.
    Ready,
    /// Failed to load, or unloaded.
    Unavailable,
    /// Is being loaded.
    Loading,
    /// Is being unloaded.
    Unloading,
}

impl State {
    /// The name that clients know.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Unknown => "UNKNOWN",
            Self::Ready => "READY",
            Self::Unavailable => "UNAVAILABLE",
            Self::Loading => "LOADING",
            Self::Unloading => "UNLOADING",
        }
    }
}

/// Writes the answer to `POST /v2/repository/index`.
#[must_use]
pub fn index(entries: &[IndexEntry<'_>]) -> Vec<u8> {
    #[derive(Serialize)]
    struct Row<'a> {
        name: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        version: Option<String>,
        state: &'a str,
        reason: &'a str,
    }
    let row = |entry: &IndexEntry<'_>| entry.version.map(|version| version.to_string());
    let rows: Vec<_> = entries
        .iter()
        .map(|entry| Row { name: entry.name, version: row(entry), state: entry.state.name(), reason: entry.reason })
        .collect();
    print(&rows)
}

/// What `POST /v2/repository/index` asks for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct IndexQuery {
    /// Only what is ready.
    pub ready: bool,
}

/// Reads the body of `POST /v2/repository/index`, which may be empty.
pub fn decode_index(body: &[u8]) -> Result<IndexQuery, Error> {
    let mut query = IndexQuery::default();
    for (key, value) in members("index", body)? {
        if key == "ready" {
            query.ready = boolean("index: `ready`", &value)?;
        }
    }
    Ok(query)
}

/// What `POST /v2/repository/models/{model}/unload` asks for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UnloadRequest {
    /// Also what only this model needs. Nothing here depends on another model.
    pub unload_dependents: bool,
}

/// Reads the body of `POST /v2/repository/models/{model}/unload`, which may be empty.
pub fn decode_unload(body: &[u8]) -> Result<UnloadRequest, Error> {
    let mut request = UnloadRequest::default();
    for (key, value) in parameters("unload", body)? {
        if key == "unload_dependents" {
            request.unload_dependents = boolean("unload: `unload_dependents`", &value)?;
        }
    }
    Ok(request)
}

pub(super) type Members<'a> = Vec<(Cow<'a, str>, Value<'a>)>;

/// The members of `parameters` in a body that may be empty.
pub(super) fn parameters<'a>(place: &str, body: &'a [u8]) -> Result<Members<'a>, Error> {
    let parameters = members(place, body)?.into_iter().find(|(key, _)| key == "parameters");
    parameters.map_or_else(|| Ok(Vec::new()), |(_, value)| object(&format!("{place}: `parameters`"), value))
}

pub(super) fn members<'a>(place: &str, body: &'a [u8]) -> Result<Members<'a>, Error> {
    if body.trim_ascii().is_empty() { Ok(Vec::new()) } else { object(place, Value::parse(body)?) }
}

pub(super) fn object<'a>(place: &str, value: Value<'a>) -> Result<Members<'a>, Error> {
    match value {
        Value::Object(members) => Ok(members),
        other => Err(wrong(place, "an object", &other)),
    }
}

pub(super) fn boolean(place: &str, value: &Value<'_>) -> Result<bool, Error> {
    match value {
        Value::Bool(value) => Ok(*value),
        other => Err(wrong(place, "true or false", other)),
    }
}

pub(super) fn wrong(place: &str, expected: &str, found: &Value<'_>) -> Error {
    Error::unexpected(place, expected, found.describe())
}
