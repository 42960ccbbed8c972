//! The logging extension: what the server logs, asked and changed while it runs.

use std::collections::BTreeMap;

use bytes::Bytes;
use prost::{Message, Oneof};

use super::frame::frame;
use super::server::read;
use crate::Error;
use crate::json::Value;
use crate::v2::{LogChange, LogSettings};

/// Reads a `LogSettingsRequest`: what is to change, which may be nothing. Fails as [`crate::v2::decode_logging()`] does.
pub fn decode_logging(message: &[u8]) -> Result<LogChange, Error> {
    let LoggingSettings { settings } = read(message)?;
    let numbers = settings.values().map(|setting| match setting.choice {
        Some(Choice::Number(number)) => number.to_string(),
        _ => String::new(),
    });
    let numbers: Vec<_> = numbers.collect();
    LogChange::of(settings.iter().zip(&numbers).map(|((key, setting), number)| {
        let value = match &setting.choice {
            None => Value::Null,
            Some(Choice::Bool(value)) => Value::Bool(*value),
            Some(Choice::Number(_)) => Value::Number(number),
            Some(Choice::Text(text)) => Value::String(text.into()),
        };
        (key, value)
    }))
}

/// Writes a `LogSettingsResponse` in its frame.
#[must_use]
pub fn logging(settings: &LogSettings) -> Bytes {
    let all = [
        ("log_file", Choice::Text(String::new())),
        ("log_info", Choice::Bool(settings.info)),
        ("log_warning", Choice::Bool(settings.warning)),
        ("log_error", Choice::Bool(settings.error)),
        ("log_verbose_level", Choice::Number(settings.verbose)),
        ("log_format", Choice::Text("default".into())),
        ("log_filter", Choice::Text(settings.filter.clone())),
    ];
    let setting = |(key, choice): (&str, _)| (key.into(), Setting { choice: Some(choice) });
    frame(&LoggingSettings { settings: all.into_iter().map(setting).collect() })
}

/// `LogSettingsRequest` and `LogSettingsResponse`, which look alike.
#[derive(Clone, PartialEq, Eq, Message)]
pub(super) struct LoggingSettings {
    #[prost(btree_map = "string, message", tag = "1")]
    settings: BTreeMap<String, Setting>,
}

#[derive(Clone, PartialEq, Eq, Message)]
struct Setting {
    #[prost(oneof = "Choice", tags = "1, 2, 3")]
    choice: Option<Choice>,
}

#[derive(Clone, PartialEq, Eq, Oneof)]
enum Choice {
    #[prost(bool, tag = "1")]
    Bool(bool),
    #[prost(uint32, tag = "2")]
    Number(u32),
    #[prost(string, tag = "3")]
    Text(String),
}
