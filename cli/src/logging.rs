//! Log lines, and the lines for a person.

use std::io::{IsTerminal, Write, stderr, stdout};

use tracing_subscriber::EnvFilter;

use crate::arguments::{LogFormat, Logging};

/// Sends log lines to standard error; at level `usual` unless the settings say otherwise.
pub(crate) fn start(settings: &Logging, usual: &str) {
    let wanted = settings.log.as_deref().unwrap_or(usual);
    let (filter, complaint) = match EnvFilter::try_new(wanted) {
        Ok(filter) => (filter, None),
        Err(error) => (EnvFilter::new("info"), Some(error)),
    };
    // ONNX Runtime's own chatter is of use to its developers only.
    let filter = match "ort=error".parse() {
        Ok(quiet) if !wanted.contains("ort=") => filter.add_directive(quiet),
        _ => filter,
    };
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(stderr);
    match settings.log_format {
        LogFormat::Text => lines.with_ansi(stderr().is_terminal()).with_target(false).init(),
        LogFormat::Json => lines.json().flatten_event(true).with_target(false).init(),
    }
    if let Some(error) = complaint {
        tracing::warn!("--log {wanted}: {error}; logging at info");
    }
}

/// Prints to standard output. A reader who has gone, such as `head`, is no error.
pub(crate) fn print(text: &str) {
    let _ = stdout().lock().write_all(text.as_bytes());
}

/// Says something beside the output.
pub(crate) fn tell(message: &str) {
    let _ = writeln!(stderr().lock(), "{message}");
}

/// Says why the command failed.
pub(crate) fn fail(message: &str) {
    let _ = writeln!(stderr().lock(), "hedef: {message}");
}
