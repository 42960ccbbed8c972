//! Log lines, and the lines for a person.

mod access;
mod delayed;

use std::cell::RefCell;
use std::fmt;
use std::io::{IsTerminal, Stderr, Write, stderr, stdout};
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use hedef_server::{AccessLine, Log};
use tracing::Level;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::reload::{self, Handle};
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Registry};

use crate::arguments::{LogFormat, Logging};
use delayed::Delayed;

/// The lines of the log.
static LINES: LazyLock<Delayed<Stderr>> = LazyLock::new(|| Delayed::new(stderr()));

thread_local! {
    /// A line that is being written, in memory that was used before.
    static LINE: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// The log of this process, whose filter can be changed while it runs.
struct Filtered {
    /// The filter as it was given.
    text: Mutex<String>,
    handle: Handle<EnvFilter, Registry>,
    format: LogFormat,
}

impl Log for Filtered {
    fn filter(&self) -> String {
        self.text.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn level(&self) -> LevelFilter {
        LevelFilter::current()
    }

    fn set(&self, wanted: &str) -> Result<(), String> {
        // Held to the end, so that the text is that of the filter.
        let mut text = self.text.lock().unwrap_or_else(PoisonError::into_inner);
        self.handle.reload(filter(wanted)?).map_err(|error| error.to_string())?;
        wanted.clone_into(&mut text);
        Ok(())
    }

    fn access(&self, line: &AccessLine<'_>) {
        if tracing::enabled!(target: "access_log", Level::INFO) {
            LINE.with_borrow_mut(|text| {
                text.clear();
                // Memory takes all that is written to it.
                let _ = access::write(line, self.format, text);
                LINES.put(text, true);
            });
        }
    }
}

impl fmt::Debug for Filtered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Filtered").field(&self.filter()).finish()
    }
}

/// The filter that `wanted` describes.
fn filter(wanted: &str) -> Result<EnvFilter, String> {
    let filter = EnvFilter::try_new(wanted).map_err(|error| error.to_string())?;
    // ONNX Runtime's own chatter is of use to its developers only.
    Ok(match "ort=error".parse() {
        Ok(quiet) if !wanted.contains("ort=") => filter.add_directive(quiet),
        _ => filter,
    })
}

/// Sends log lines to standard error; at level `usual` unless the settings say otherwise. Fails where they cannot be read.
pub(crate) fn start(settings: &Logging, usual: &str) -> anyhow::Result<Arc<dyn Log>> {
    let wanted = settings.log.as_deref().unwrap_or(usual);
    let filter = filter(wanted).map_err(|error| {
        anyhow::anyhow!("--log {wanted}: {error}: expected a level, or a filter such as info,hedef_core=debug")
    })?;
    let (filter, handle) = reload::Layer::new(filter);
    let lines = tracing_subscriber::fmt::layer().with_target(false).with_writer(|| &*LINES);
    let all = tracing_subscriber::registry().with(filter);
    match settings.log_format {
        LogFormat::Text => all.with(lines.with_ansi(stderr().is_terminal())).init(),
        LogFormat::Json => all.with(lines.json().flatten_event(true)).init(),
    }
    Ok(Arc::new(Filtered { text: Mutex::new(wanted.into()), handle, format: settings.log_format }))
}

/// Writes what waits to be written to the log.
pub(crate) fn finish() {
    LINES.flush();
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
