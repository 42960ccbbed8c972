//! The logging extension: what the server logs, asked and changed while it runs.
//!
//! Source: `docs/protocol/extension_logging.md` of <https://github.com/triton-inference-server/server>. `log_filter` is
//! ours: it says for each part of the server what is logged, as in `info,hedef_core=debug`.

use serde::Serialize;

use super::print;
use super::repository::{boolean, members, wrong};
use crate::Error;
use crate::json::Value;

/// What is logged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogSettings {
    /// Lines for information.
    pub info: bool,
    /// Warnings.
    pub warning: bool,
    /// Errors.
    pub error: bool,
    /// 0; 1 for what helps to find a fault, 2 and more for every step.
    pub verbose: u32,
    /// The filter in force.
    pub filter: String,
}

/// What is to be logged from now on; what is not there stays as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogChange {
    /// Lines for information.
    pub info: Option<bool>,
    /// Warnings.
    pub warning: Option<bool>,
    /// Errors.
    pub error: Option<bool>,
    /// As in [`LogSettings`].
    pub verbose: Option<u32>,
    /// A filter, in place of all the others.
    pub filter: Option<String>,
}

/// Writes the answer to `GET` and `POST /v2/logging`.
#[must_use]
pub fn logging(settings: &LogSettings) -> Vec<u8> {
    #[derive(Serialize)]
    struct Answer<'a> {
        log_file: &'a str,
        log_info: bool,
        log_warning: bool,
        log_error: bool,
        log_verbose_level: u32,
        log_format: &'a str,
        log_filter: &'a str,
    }
    print(&Answer {
        log_file: "",
        log_info: settings.info,
        log_warning: settings.warning,
        log_error: settings.error,
        log_verbose_level: settings.verbose,
        log_format: "default",
        log_filter: &settings.filter,
    })
}

/// Reads the body of `POST /v2/logging`.
pub fn decode_logging(body: &[u8]) -> Result<LogChange, Error> {
    LogChange::of(members("logging", body)?)
}

impl LogChange {
    /// The change that settings ask for.
    pub(super) fn of<'a>(settings: impl IntoIterator<Item = (impl AsRef<str>, Value<'a>)>) -> Result<Self, Error> {
        let mut change = Self::default();
        for (key, value) in settings {
            change.set(key.as_ref(), &value)?;
        }
        let flags = change.info.or(change.warning).or(change.error).is_some() || change.verbose.is_some();
        if change.filter.is_some() && flags {
            return Err(Error::unexpected("logging", "`log_filter` by itself", "other settings beside it"));
        }
        Ok(change)
    }

    fn set(&mut self, key: &str, value: &Value<'_>) -> Result<(), Error> {
        let place = format!("logging: `{}`", key.chars().take(64).collect::<String>());
        match (key, value) {
            ("log_info", value) => self.info = Some(boolean(&place, value)?),
            ("log_warning", value) => self.warning = Some(boolean(&place, value)?),
            ("log_error", value) => self.error = Some(boolean(&place, value)?),
            ("log_verbose_level", value) => self.verbose = Some(level(&place, value)?),
            ("log_filter", Value::String(filter)) => self.filter = Some(filter.to_string()),
            ("log_filter", other) => return Err(wrong(&place, "a string", other)),
            // Clients send back what they were told.
            ("log_file", Value::String(file)) if file.is_empty() => {}
            ("log_format", Value::String(format)) if format == "default" => {}
            ("log_file" | "log_format", _) => {
                return Err(Error::unexpected(&place, "what it was", "a change, which takes a new start"));
            }
            _ => return Err(Error::unexpected(&place, SETTINGS, "a setting that is not known")),
        }
        Ok(())
    }
}

const SETTINGS: &str = "`log_info`, `log_warning`, `log_error`, `log_verbose_level` or `log_filter`";

fn level(place: &str, value: &Value<'_>) -> Result<u32, Error> {
    let number = match value {
        Value::Number(number) => number.parse().ok(),
        _ => None,
    };
    number.ok_or_else(|| wrong(place, "a whole number, not below 0", value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_told_can_be_sent_back() {
        let settings =
            LogSettings { info: true, warning: true, error: true, verbose: 1, filter: "info,hedef_core=debug".into() };
        let told = String::from_utf8(logging(&settings)).unwrap();
        assert_eq!(
            told,
            r#"{"log_file":"","log_info":true,"log_warning":true,"log_error":true,"log_verbose_level":1,"log_format":"default","log_filter":"info,hedef_core=debug"}"#
        );
        let flags = r#"{"log_file":"","log_info":false,"log_verbose_level":2,"log_format":"default"}"#;
        let change = LogChange { info: Some(false), verbose: Some(2), ..LogChange::default() };
        assert_eq!(decode_logging(flags.as_bytes()).unwrap(), change);
        let filter = LogChange { filter: Some("warn".into()), ..LogChange::default() };
        assert_eq!(decode_logging(br#"{"log_filter":"warn"}"#).unwrap(), filter);
        assert_eq!(decode_logging(b"").unwrap(), LogChange::default());
    }

    #[test]
    fn what_cannot_be_is_named() {
        let cases = [
            (r#"{"log_info":1}"#, "logging: `log_info`"),
            (r#"{"log_verbose_level":-1}"#, "logging: `log_verbose_level`"),
            (r#"{"log_verbose_level":1.5}"#, "logging: `log_verbose_level`"),
            (r#"{"log_filter":null}"#, "logging: `log_filter`"),
            (r#"{"log_file":"/tmp/x"}"#, "takes a new start"),
            (r#"{"log_level":"info"}"#, "not known"),
            (r#"{"log_filter":"warn","log_info":true}"#, "`log_filter` by itself"),
            ("[]", "logging"),
        ];
        for (body, expected) in cases {
            let error = decode_logging(body.as_bytes()).unwrap_err().to_string();
            assert!(error.contains(expected), "{body}: {error}");
        }
    }
}
