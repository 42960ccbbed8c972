//! Where a model of `device = "auto"` runs on a machine with a GPU: where a run takes less time.

use std::time::Duration;

use super::OnnxLoader;
use super::opening::{Opened, Opening};
use crate::backend::onnx::{OnnxBackend, SessionOptions};
use crate::settings::Settings;
use crate::{Device, warm_up};

/// Models with more bytes of weights that run on a GPU are not opened twice: on the CPU their runs are no match.
const LARGEST: u64 = 256 << 20;
/// Runs are timed so often, the quickest counts.
const RUNS: usize = 3;
/// A first run on the CPU that takes so many times as long need not be repeated.
const HOPELESS: u32 = 4;

impl OnnxLoader {
    /// Opens a session as the settings say, and measures where they leave the device to us.
    pub(super) fn open_where_quicker(&self, opening: &Opening<'_>) -> Result<Opened, String> {
        let mut opened = self.open(opening)?;
        let Opening { version, inspection, options, facts } = *opening;
        let (Device::Auto, Device::Cuda(_)) = (options.device, opened.placement.device) else { return Ok(opened) };
        let there = quickest(&opened.backend, version.settings, None);
        if there.is_some() && inspection.weight_bytes > LARGEST {
            return Ok(opened);
        }
        let options = SessionOptions { device: Device::Cpu, ..options.clone() };
        // What the CPU cannot run stays there, and so does what runs nowhere: nothing is known of it.
        let Ok((cpu, _)) = OnnxBackend::open(&self.runtime, version.file, &options, facts) else { return Ok(opened) };
        let Some(here) = quickest(&cpu, version.settings, there) else { return Ok(opened) };
        if let Some(there) = there.filter(|there| here > *there) {
            let reason = format!("; a run takes {} there and {} on the CPU", in_words(there), in_words(here));
            opened.placement.reason.push_str(&reason);
            return Ok(opened);
        }
        let device = opened.placement.device;
        drop((cpu, opened));
        let mut opened = self.open(&Opening { version, inspection, options: &options, facts })?;
        opened.placement.reason = match there {
            Some(there) => format!("a run takes {} here and {} on {device}", in_words(here), in_words(there)),
            None => format!("runs fail on {device}"),
        };
        Ok(opened)
    }
}

/// The least time of some runs, which end early once they cannot beat `other`.
fn quickest(backend: &OnnxBackend, settings: &Settings, other: Option<Duration>) -> Option<Duration> {
    let mut least: Option<Duration> = None;
    for _ in 0..RUNS {
        let first = warm_up::first(backend, &settings.warm_up, None).ok().filter(|first| first.complaint.is_none())?;
        least = Some(least.map_or(first.took, |least| least.min(first.took)));
        if other.is_some_and(|other| first.took > other * HOPELESS) {
            break;
        }
    }
    least
}

fn in_words(time: Duration) -> String {
    format!("{:.2} ms", time.as_secs_f64() * 1e3)
}
