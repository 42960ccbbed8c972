//! Keeps the device from getting too hot: above a limit fewer messages are scored at a time.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde::Deserialize;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::metrics::Metrics;

/// How often the temperature is read.
const INTERVAL: Duration = Duration::from_secs(10);

/// The degrees below the limit at which it is cool again.
const RELIEF: f64 = 5.0;

/// When it is too hot.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Thermal {
    /// Degrees Celsius above which less is done at a time.
    pub limit_c: f64,
    /// The folder of the `thermal_zone*` folders, of which the hottest counts.
    #[serde(default = "zones")]
    pub zones: PathBuf,
}

fn zones() -> PathBuf {
    "/sys/class/thermal".into()
}

/// How many messages each worker may score at a time.
#[derive(Clone, Debug)]
pub struct Parallel(Arc<AtomicUsize>);

impl Parallel {
    /// As many as that.
    #[must_use]
    pub fn new(most: usize) -> Self {
        Self(Arc::new(AtomicUsize::new(most)))
    }

    /// As many as are allowed now.
    #[must_use]
    pub fn get(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

impl Thermal {
    /// Lets `parallel` follow the temperature until `stop`.
    pub async fn follow(self, parallel: Parallel, metrics: Metrics, stop: CancellationToken) {
        let most = parallel.get();
        let mut known = true;
        loop {
            let zones = self.zones.clone();
            let hottest = tokio::task::spawn_blocking(move || hottest(&zones)).await.ok().flatten();
            if hottest.is_none() && known {
                tracing::warn!("no temperature can be read: what is scored at a time is not limited by it");
            }
            known = hottest.is_some();
            let before = parallel.get();
            let now = hottest.map_or(most, |hottest| self.allowed(before, most, hottest));
            if now != before {
                let hottest = hottest.unwrap_or_default();
                tracing::info!("at {hottest:.0} °C {now} messages may be scored at a time, and not {before}");
            }
            parallel.0.store(now, Ordering::Relaxed);
            metrics.heat(hottest, now);
            tokio::select! { () = sleep(INTERVAL) => (), () = stop.cancelled() => return }
        }
    }

    /// How many are allowed next: half as many while it is too hot, twice as many once it is cool again.
    fn allowed(&self, now: usize, most: usize, hottest: f64) -> usize {
        if hottest > self.limit_c {
            (now / 2).max(1)
        } else if hottest <= self.limit_c - RELIEF {
            (now * 2).min(most)
        } else {
            now
        }
    }
}

/// The temperature of the hottest zone in degrees Celsius. Linux tells thousandths of them; zones that tell nothing are left out.
fn hottest(zones: &Path) -> Option<f64> {
    let entries = fs::read_dir(zones).ok()?.flatten();
    let zones = entries.filter(|entry| entry.file_name().to_string_lossy().starts_with("thermal_zone"));
    let read = |zone: fs::DirEntry| fs::read_to_string(zone.path().join("temp")).ok()?.trim().parse::<i32>().ok();
    zones.filter_map(read).max().map(|thousandths| f64::from(thousandths) / 1000.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hottest_zone_counts_and_those_that_tell_nothing_do_not() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(hottest(folder.path()), None);
        let zone = |name: &str, text: &str| {
            fs::create_dir(folder.path().join(name)).unwrap();
            fs::write(folder.path().join(name).join("temp"), text).unwrap();
        };
        zone("thermal_zone0", "none\n");
        fs::create_dir(folder.path().join("thermal_zone1")).unwrap();
        zone("cooling_device0", "99000\n");
        assert_eq!(hottest(folder.path()), None);
        zone("thermal_zone2", "-40000\n");
        assert_eq!(hottest(folder.path()), Some(-40.0));
        zone("thermal_zone10", "61500\n");
        assert_eq!(hottest(folder.path()), Some(61.5));
        assert_eq!(hottest(&folder.path().join("none")), None);
    }

    #[test]
    fn less_is_done_down_to_one_until_it_has_cooled_by_some_degrees() {
        let thermal = Thermal { limit_c: 80.0, zones: zones() };
        let mut now = 6;
        let mut after = |hottest| {
            now = thermal.allowed(now, 6, hottest);
            now
        };
        assert_eq!([80.0, 80.1, 90.0, 90.0].map(&mut after), [6, 3, 1, 1]);
        assert_eq!([79.0, 75.1, 75.0, 79.0, 60.0, 60.0, 60.0].map(&mut after), [1, 1, 2, 2, 4, 6, 6]);
    }
}
