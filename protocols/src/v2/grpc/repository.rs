//! The model repository extension.

use std::collections::BTreeMap;

use bytes::Bytes;
use prost::{Message, Oneof};

use super::frame::frame;
use super::server::read;
use crate::Error;
use crate::v2::{IndexEntry, IndexQuery, LoadRequest, UnloadRequest};

/// Reads a `RepositoryIndexRequest`.
pub fn decode_index(message: &[u8]) -> Result<IndexQuery, Error> {
    let RepositoryIndexRequest { ready, .. } = read(message)?;
    Ok(IndexQuery { ready })
}

#[derive(Clone, PartialEq, Eq, Message)]
pub(super) struct RepositoryIndexRequest {
    #[prost(string, tag = "1")]
    repository_name: String,
    #[prost(bool, tag = "2")]
    ready: bool,
}

/// Writes a `RepositoryIndexResponse` in its frame.
#[must_use]
pub fn index(entries: &[IndexEntry<'_>]) -> Bytes {
    frame(&RepositoryIndexResponse { models: entries.iter().map(ModelIndex::from).collect() })
}

#[derive(Clone, PartialEq, Eq, Message)]
pub(super) struct RepositoryIndexResponse {
    #[prost(message, repeated, tag = "1")]
    models: Vec<ModelIndex>,
}

#[derive(Clone, PartialEq, Eq, Message)]
struct ModelIndex {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    version: String,
    #[prost(string, tag = "3")]
    state: String,
    #[prost(string, tag = "4")]
    reason: String,
}

impl From<&IndexEntry<'_>> for ModelIndex {
    fn from(entry: &IndexEntry<'_>) -> Self {
        Self {
            name: entry.name.into(),
            version: entry.version.map(|version| version.to_string()).unwrap_or_default(),
            state: entry.state.name().into(),
            reason: entry.reason.into(),
        }
    }
}

/// Reads a `RepositoryModelLoadRequest`: the model, and what to load it with. Fails as
/// [`crate::v2::decode_load()`] does.
pub fn decode_load(message: Bytes) -> Result<(String, LoadRequest), Error> {
    let change: RepositoryModelChange = read(message)?;
    let mut request = LoadRequest::default();
    for (key, parameter) in &change.parameters {
        let place = format!("load: `{key}`");
        match (&parameter.choice, key.strip_prefix("file:")) {
            (Some(Choice::Text(config)), None) if key == "config" => request.set_config(config)?,
            (Some(Choice::Bytes(content)), Some(path)) => request.add_file(&place, path, content.to_vec())?,
            (_, Some(_)) => return Err(Error::unexpected(place, "`bytes_param`", "another one")),
            (_, None) if key == "config" => return Err(Error::unexpected(place, "`string_param`", "another one")),
            (_, None) => return Err(LoadRequest::unknown(key)),
        }
    }
    Ok((change.model(), request.complete()?))
}

/// Reads a `RepositoryModelUnloadRequest`: the model, and what else to unload.
pub fn decode_unload(message: &[u8]) -> Result<(String, UnloadRequest), Error> {
    let change: RepositoryModelChange = read(message)?;
    let mut request = UnloadRequest::default();
    if let Some(parameter) = change.parameters.get("unload_dependents") {
        let Some(Choice::Bool(unload_dependents)) = parameter.choice else {
            return Err(Error::unexpected("unload: `unload_dependents`", "`bool_param`", "another one"));
        };
        request.unload_dependents = unload_dependents;
    }
    Ok((change.model(), request))
}

/// `RepositoryModelLoadRequest` and `RepositoryModelUnloadRequest`, which look alike.
#[derive(Clone, PartialEq, Eq, Message)]
pub(super) struct RepositoryModelChange {
    #[prost(string, tag = "1")]
    repository_name: String,
    #[prost(string, tag = "2")]
    model_name: String,
    #[prost(btree_map = "string, message", tag = "3")]
    parameters: BTreeMap<String, Parameter>,
}

impl RepositoryModelChange {
    /// KServe's Python server has the model's name where Triton has the repository's.
    fn model(self) -> String {
        if self.model_name.is_empty() { self.repository_name } else { self.model_name }
    }
}

#[derive(Clone, PartialEq, Eq, Message)]
struct Parameter {
    #[prost(oneof = "Choice", tags = "1, 2, 3, 4")]
    choice: Option<Choice>,
}

#[derive(Clone, PartialEq, Eq, Oneof)]
enum Choice {
    #[prost(bool, tag = "1")]
    Bool(bool),
    #[prost(int64, tag = "2")]
    Int64(i64),
    #[prost(string, tag = "3")]
    Text(String),
    #[prost(bytes = "bytes", tag = "4")]
    Bytes(Bytes),
}

/// Writes a `RepositoryModelLoadResponse` or a `RepositoryModelUnloadResponse`, which hold nothing, in its frame.
#[must_use]
pub fn done() -> Bytes {
    frame(&())
}
