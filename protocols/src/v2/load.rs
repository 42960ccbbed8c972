use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::config::{InstanceKind, VersionPolicy};
use super::metadata::PLATFORM;
use super::repository::{boolean, object, parameters, wrong};
use crate::Error;
use crate::json::Value;

/// What `POST /v2/repository/models/{model}/load` asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LoadRequest {
    /// Settings that replace those of the model's own folder.
    pub config: Option<ConfigOverride>,
    /// Files that replace the model's own folder: paths in it, and contents. A path is relative and stays inside.
    pub files: Vec<(String, Vec<u8>)>,
}

/// The fields of Triton's `ModelConfig` that mean something here. What is `None` was not given.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConfigOverride {
    /// Rows of a batch at most; 0 turns batching off.
    pub max_batch_size: Option<usize>,
    /// How many instances run the model.
    pub instances: Option<usize>,
    /// What they run on.
    pub kind: Option<InstanceKind>,
    /// The devices they run on, where they are given.
    pub gpus: Option<Vec<u32>>,
    /// Which versions to load.
    pub version_policy: Option<VersionPolicy>,
    /// Whether requests share runs.
    pub dynamic_batching: Option<bool>,
    /// How many microseconds the first request of a batch may wait for others.
    pub max_queue_delay_us: Option<u64>,
    /// The name of the model's file.
    pub default_model_filename: Option<String>,
}

/// Reads the body of `POST /v2/repository/models/{model}/load`, which may be empty.
///
/// Fails on a setting that is unknown here, on files without a config, on a path that could leave the model's
/// folder, and on wrong base64.
pub fn decode_load(body: &[u8]) -> Result<LoadRequest, Error> {
    let mut request = LoadRequest::default();
    for (key, value) in parameters("load", body)? {
        let place = format!("load: `{key}`");
        if key == "config" {
            request.set_config(text(&place, &value)?)?;
        } else if let Some(path) = key.strip_prefix("file:") {
            let content = STANDARD.decode(text(&place, &value)?);
            let content = content.map_err(|error| Error::unexpected(&*place, "base64", error.to_string()))?;
            request.add_file(&place, path, content)?;
        } else {
            return Err(LoadRequest::unknown(&key));
        }
    }
    request.complete()
}

impl LoadRequest {
    /// Takes the parameter `config`.
    pub(super) fn set_config(&mut self, json: &str) -> Result<(), Error> {
        self.config = Some(ConfigOverride::parse(json)?);
        Ok(())
    }

    /// Takes a file; `place` is how messages call it.
    pub(super) fn add_file(&mut self, place: &str, path: &str, content: Vec<u8>) -> Result<(), Error> {
        check_path(place, path)?;
        self.files.push((path.to_string(), content));
        Ok(())
    }

    /// Refuses another parameter.
    pub(super) fn unknown(key: &str) -> Error {
        Error::unexpected("load", "the parameters `config` and `file:<path>`", format!("`{key}`"))
    }

    /// The request, once all parameters are taken.
    pub(super) fn complete(self) -> Result<Self, Error> {
        if self.config.is_none() && !self.files.is_empty() {
            return Err(Error::Missing { place: "load: `file:` parameters need a config".to_string(), what: "config" });
        }
        Ok(self)
    }
}

/// Refuses a path that is not plainly inside the folder it is relative to, on any operating system.
fn check_path(place: &str, path: &str) -> Result<(), Error> {
    let plain = |part: &str| !matches!(part, "" | "." | "..") && !part.contains(['\\', ':', '\0']);
    if path.split('/').all(plain) {
        return Ok(());
    }
    Err(Error::unexpected(place, "a relative path inside the model's folder", format!("`{}`", path.escape_debug())))
}

impl ConfigOverride {
    /// Reads a `ModelConfig` as JSON. What [`super::config()`] prints is accepted, so that it can be sent back.
    fn parse(json: &str) -> Result<Self, Error> {
        let mut config = Self::default();
        for (key, value) in object("config", Value::parse(json.as_bytes())?)? {
            let place = format!("config: `{key}`");
            match &*key {
                "max_batch_size" => config.max_batch_size = Some(whole(&place, &value)?),
                "version_policy" => config.version_policy = Some(version_policy(&place, value)?),
                "instance_group" => config.read_instance_group(&place, value)?,
                "dynamic_batching" => config.read_dynamic_batching(&place, value)?,
                "default_model_filename" => config.default_model_filename = Some(file_name(&place, &value)?),
                "platform" => same(&place, &value, PLATFORM)?,
                "backend" => same(&place, &value, "onnxruntime")?,
                // The model's own: its name is in the path of the request, its inputs and outputs in its file.
                "name" | "input" | "output" => {}
                _ => return Err(unknown("config", &key)),
            }
        }
        Ok(config)
    }

    fn read_instance_group(&mut self, place: &str, value: Value<'_>) -> Result<(), Error> {
        let mut groups = list(place, value)?;
        let (Some(group), true) = (groups.pop(), groups.is_empty()) else {
            return Err(Error::unexpected(place, "one instance group", "none or several"));
        };
        for (key, value) in object(place, group)? {
            let inner = format!("{place}: `{key}`");
            match &*key {
                "count" => self.instances = Some(whole(&inner, &value)?),
                "kind" => self.kind = Some(kind(&inner, &value)?),
                "gpus" => {
                    let gpus = list(&inner, value)?.iter().map(|gpu| whole(&inner, gpu)).collect::<Result<_, _>>()?;
                    self.gpus = Some(gpus);
                }
                "name" => {}
                _ => return Err(unknown(place, &key)),
            }
        }
        Ok(())
    }

    fn read_dynamic_batching(&mut self, place: &str, value: Value<'_>) -> Result<(), Error> {
        self.dynamic_batching = Some(true);
        for (key, value) in object(place, value)? {
            let inner = format!("{place}: `{key}`");
            match &*key {
                "max_queue_delay_microseconds" => self.max_queue_delay_us = Some(whole(&inner, &value)?),
                "preferred_batch_size" => {
                    if !list(&inner, value)?.is_empty() {
                        return Err(unknown(place, &key));
                    }
                }
                "preserve_ordering" => {
                    if boolean(&inner, &value)? {
                        return Err(unknown(place, &key));
                    }
                }
                _ => return Err(unknown(place, &key)),
            }
        }
        Ok(())
    }
}

fn version_policy(place: &str, value: Value<'_>) -> Result<VersionPolicy, Error> {
    let expected = "one of `latest`, `all` and `specific`";
    let mut members = object(place, value)?;
    let (Some((key, value)), true) = (members.pop(), members.is_empty()) else {
        return Err(Error::unexpected(place, expected, "none or several"));
    };
    let inner = format!("{place}: `{key}`");
    let field = |name: &'static str| {
        let missing = || Error::Missing { place: inner.clone(), what: name };
        value.get(name).ok_or_else(missing)
    };
    match &*key {
        "all" => Ok(VersionPolicy::All),
        "latest" => Ok(VersionPolicy::Latest(whole(&inner, field("num_versions")?)?)),
        "specific" => {
            let versions = list(&inner, field("versions")?.clone())?;
            Ok(VersionPolicy::Specific(
                versions.iter().map(|version| whole(&inner, version)).collect::<Result<_, _>>()?,
            ))
        }
        _ => Err(Error::unexpected(place, expected, format!("`{key}`"))),
    }
}

fn kind(place: &str, value: &Value<'_>) -> Result<InstanceKind, Error> {
    let name = text(place, value)?;
    let known = InstanceKind::ALL.into_iter().find(|kind| kind.name() == name);
    known.ok_or_else(|| wrong(place, "one of KIND_CPU, KIND_GPU, KIND_AUTO", value))
}

fn file_name(place: &str, value: &Value<'_>) -> Result<String, Error> {
    let name = text(place, value)?;
    check_path(place, name)?;
    Ok(name.to_string())
}

fn same(place: &str, value: &Value<'_>, expected: &str) -> Result<(), Error> {
    if text(place, value)? == expected { Ok(()) } else { Err(wrong(place, &format!("`{expected}`"), value)) }
}

fn text<'v>(place: &str, value: &'v Value<'_>) -> Result<&'v str, Error> {
    match value {
        Value::String(text) => Ok(text),
        other => Err(wrong(place, "a string", other)),
    }
}

fn whole<T: std::str::FromStr>(place: &str, value: &Value<'_>) -> Result<T, Error> {
    let number = if let Value::Number(text) = value { text.parse().ok() } else { None };
    number.ok_or_else(|| wrong(place, "a whole number from 0 on", value))
}

fn list<'a>(place: &str, value: Value<'a>) -> Result<Vec<Value<'a>>, Error> {
    match value {
        Value::Array(elements) => Ok(elements),
        other => Err(wrong(place, "a list", &other)),
    }
}

fn unknown(place: &str, key: &str) -> Error {
    let reason = format!("the setting `{key}` is not supported here");
    Error::Unsupported { place: place.to_string(), reason }
}
