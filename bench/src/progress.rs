//! Tells a person how far a measurement is.

use std::io::IsTerminal;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

/// Shows trials: a line on standard error where that is a terminal, else nothing.
#[derive(Debug)]
pub struct Progress {
    bar: ProgressBar,
}

impl Progress {
    /// Shows on standard error, if that is a terminal.
    #[must_use]
    pub fn on_terminal() -> Self {
        if !std::io::stderr().is_terminal() {
            return Self::hidden();
        }
        let bar = ProgressBar::new(1000);
        if let Ok(style) = ProgressStyle::with_template("{wide_bar} {prefix} {msg}") {
            bar.set_style(style);
        }
        Self { bar }
    }

    /// Shows nothing.
    #[must_use]
    pub fn hidden() -> Self {
        Self { bar: ProgressBar::hidden() }
    }

    /// Says what is going on.
    pub(crate) fn begin(&self, what: String) {
        self.bar.set_prefix(what);
        self.bar.set_position(0);
    }

    /// Says that so much of the time is over, and how many requests have been answered.
    pub(crate) fn tick(&self, passed: Duration, whole: Duration, answered: u64) {
        let part = passed.as_secs_f64() / whole.as_secs_f64().max(1e-9);
        self.bar.set_position(crate::numbers::whole(part.min(1.0) * 1000.0));
        self.bar.set_message(format!("{answered} answers"));
    }

    /// Clears the line.
    pub(crate) fn end(&self) {
        self.bar.finish_and_clear();
    }
}
