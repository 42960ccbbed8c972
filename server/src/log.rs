//! What the log holds while the server runs: whoever starts the server brings the log, the protocols change it.

use std::fmt;
use std::time::Duration;

use hedef_core::ModelId;
use hedef_protocols::v2::{LogChange, LogSettings};
use http::{Method, StatusCode};
use tracing::level_filters::LevelFilter;

use crate::error::ApiError;

/// A log whose filter can be changed.
pub trait Log: fmt::Debug + Send + Sync {
    /// The filter in force, such as `info,hedef_core=debug`.
    fn filter(&self) -> String;

    /// The most that the filter lets through.
    fn level(&self) -> LevelFilter;

    /// Puts a filter in force. Fails where it cannot be read, with a plain sentence.
    fn set(&self, filter: &str) -> Result<(), String>;

    /// Writes a line of the access log, if the filter lets it through. There may be very many, and none is urgent.
    fn access(&self, line: &AccessLine<'_>);
}

/// A request that succeeded, as the access log tells of it.
#[derive(Clone, Copy, Debug)]
pub struct AccessLine<'a> {
    /// Its method.
    pub method: &'a Method,
    /// Its path.
    pub path: &'a str,
    /// The status of its answer.
    pub status: StatusCode,
    /// Its id: printable ASCII without quotes and backslashes.
    pub id: &'a str,
    /// The name of the key that let it in.
    pub key: Option<&'a str>,
    /// Whom its token is about.
    pub subject: Option<&'a str>,
    /// The model that it was for.
    pub model: Option<&'a ModelId>,
    /// From its head to the end of its answer.
    pub took: Duration,
}

/// What is logged.
pub(crate) fn settings(log: &dyn Log) -> LogSettings {
    let level = log.level();
    let verbose = if level >= LevelFilter::TRACE { 2 } else { u32::from(level >= LevelFilter::DEBUG) };
    LogSettings {
        info: level >= LevelFilter::INFO,
        warning: level >= LevelFilter::WARN,
        error: level >= LevelFilter::ERROR,
        verbose,
        filter: log.filter(),
    }
}

/// Changes what is logged.
pub(crate) fn change(log: &dyn Log, change: LogChange) -> Result<(), ApiError> {
    if change == LogChange::default() {
        return Ok(());
    }
    let now = settings(log);
    let filter = change.filter.clone().unwrap_or_else(|| filter(&now, &change).into());
    let before = now.filter;
    log.set(&filter).map_err(ApiError::LogFilter)?;
    tracing::warn!("the log's filter is `{filter}` now, and was `{before}`");
    Ok(())
}

/// The filter for settings that are levels, of which a higher one has the lower ones with it.
fn filter(now: &LogSettings, change: &LogChange) -> &'static str {
    match change.verbose.unwrap_or(now.verbose) {
        0 => {}
        // Of other people's libraries the steps of each connection would hide the rest.
        1 => return "info,hedef=debug,hedef_core=debug,hedef_server=debug",
        _ => return "debug,hedef=trace,hedef_core=trace,hedef_server=trace",
    }
    let wanted = |wanted: Option<bool>, now| wanted.unwrap_or(now);
    if wanted(change.info, now.info) {
        "info"
    } else if wanted(change.warning, now.warning) {
        "warn"
    } else if wanted(change.error, now.error) {
        "error"
    } else {
        "off"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_have_the_lower_ones_with_them() {
        let now = LogSettings { info: true, warning: true, error: true, verbose: 1, filter: String::new() };
        let filter = |change: LogChange| filter(&now, &change);
        let none = LogChange::default;
        assert_eq!(filter(LogChange { verbose: Some(0), ..none() }), "info");
        assert_eq!(filter(LogChange { verbose: Some(0), info: Some(false), ..none() }), "warn");
        let error =
            LogChange { verbose: Some(0), info: Some(false), warning: Some(false), error: Some(true), ..none() };
        assert_eq!(filter(error.clone()), "error");
        assert_eq!(filter(LogChange { error: Some(false), ..error }), "off");
        assert!(filter(LogChange { verbose: Some(7), ..none() }).starts_with("debug,hedef=trace"));
        assert!(filter(LogChange { info: Some(false), ..none() }).starts_with("info,hedef=debug"));
    }
}
