//! Tells a person that a fetch is under way.

use std::io::IsTerminal;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

use super::package::Package;

/// A step of a fetch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// Another process is fetching the same; this one waits for it.
    Waiting,
    /// The fetch begins.
    Started {
        /// What is fetched.
        package: Package,
        /// The target triple of the library.
        target: &'static str,
        /// The size of the wheel.
        bytes: u64,
    },
    /// So many bytes of the wheel have come.
    Downloaded {
        /// The bytes so far.
        bytes: u64,
    },
    /// The library is in its place.
    Done,
}

/// Shows a fetch: a bar on standard error where that is a terminal, else one line in the log.
#[derive(Debug, Default)]
pub struct FetchProgress {
    bar: Option<ProgressBar>,
}

impl FetchProgress {
    /// Shows one step.
    pub fn show(&mut self, progress: Progress) {
        match progress {
            Progress::Waiting => tracing::info!("waiting for another process that is fetching ONNX Runtime"),
            Progress::Started { package, target, bytes } => self.start(package, target, bytes),
            Progress::Downloaded { bytes } => {
                if let Some(bar) = &self.bar {
                    bar.set_position(bytes.min(bar.length().unwrap_or(bytes)));
                }
            }
            Progress::Done => {
                if let Some(bar) = self.bar.take() {
                    bar.finish_and_clear();
                }
            }
        }
    }

    fn start(&mut self, package: Package, target: &str, bytes: u64) {
        let message = format!("fetching {package} for {target}, {} MB, once", bytes.div_ceil(1_000_000));
        if !std::io::stderr().is_terminal() {
            tracing::info!("{message}");
            return;
        }
        let bar = ProgressBar::new(bytes).with_message(message);
        if let Ok(style) = ProgressStyle::with_template("{msg} {wide_bar} {bytes}/{total_bytes}") {
            bar.set_style(style);
        }
        bar.enable_steady_tick(Duration::from_millis(200));
        self.bar = Some(bar);
    }
}

impl Drop for FetchProgress {
    /// A failed fetch leaves no half-drawn bar above its error.
    fn drop(&mut self) {
        self.show(Progress::Done);
    }
}
