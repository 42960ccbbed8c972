//! When and how fast bundles may come.

use std::time::Duration;

use serde::{Deserialize, Deserializer, de};

/// The hours of the day, by UTC, in which bundles may come: from the first on, up to the second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    from: u8,
    to: u8,
}

const HOUR: u64 = 3600;

impl Window {
    /// Reads `22-6`.
    pub fn parse(text: &str) -> Result<Self, String> {
        let hour = |text: &str| text.trim().parse::<u8>().ok().filter(|hour| *hour < 24);
        let hours = text.split_once('-').and_then(|(from, to)| Some((hour(from)?, hour(to)?)));
        match hours {
            Some((from, to)) if from != to => Ok(Self { from, to }),
            _ => {
                let shown: String = text.chars().take(40).collect();
                Err(format!("`window`: expected two hours of the day such as 22-6, by UTC, found `{shown}`"))
            }
        }
    }

    /// How long it is shut from a moment on, in seconds since 1970. Zero: it is open.
    #[must_use]
    pub fn opens_in(&self, now: u64) -> Duration {
        let (hour, within) = (now / HOUR % 24, now % HOUR);
        let since = (hour + 24 - u64::from(self.from)) % 24;
        let length = (u64::from(self.to) + 24 - u64::from(self.from)) % 24;
        if since < length { Duration::ZERO } else { Duration::from_secs((24 - since) * HOUR - within) }
    }
}

impl<'d> Deserialize<'d> for Window {
    fn deserialize<D: Deserializer<'d>>(deserializer: D) -> Result<Self, D::Error> {
        Self::parse(&String::deserialize(deserializer)?).map_err(de::Error::custom)
    }
}

/// What bundles are held to.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(default, deny_unknown_fields)]
pub struct Pace {
    /// The most bytes in a second; none means no limit.
    pub rate_bytes_per_s: Option<u64>,
    /// The hours; none means any.
    pub window: Option<Window>,
}

impl Pace {
    /// What is wrong with it.
    pub fn check(&self) -> Result<(), String> {
        match self.rate_bytes_per_s {
            Some(0) => Err("`rate_bytes_per_s`: expected more than zero, found 0".into()),
            _ => Ok(()),
        }
    }

    /// How long so many bytes take at least.
    #[must_use]
    pub fn time_for(&self, bytes: u64) -> Duration {
        self.rate_bytes_per_s.map_or(Duration::ZERO, |rate| {
            let microseconds = u128::from(bytes) * 1_000_000 / u128::from(rate.max(1));
            Duration::from_micros(u64::try_from(microseconds).unwrap_or(u64::MAX))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_opens_and_shuts_at_its_hours() {
        let at = |hour: u64, minute: u64| 20_000 * 24 * HOUR + hour * HOUR + minute * 60;
        let night = Window::parse("22-6").unwrap();
        let minutes = |window: Window, now| window.opens_in(now).as_secs() / 60;
        assert_eq!([minutes(night, at(22, 0)), minutes(night, at(5, 59)), minutes(night, at(0, 0))], [0, 0, 0]);
        assert_eq!([minutes(night, at(6, 0)), minutes(night, at(21, 59))], [16 * 60, 1]);
        let day = Window::parse("8 - 17").unwrap();
        assert_eq!([minutes(day, at(8, 0)), minutes(day, at(17, 30)), minutes(day, at(7, 59))], [0, 14 * 60 + 30, 1]);
        for wrong in ["", "22", "22-24", "6-6", "a-b", "-1-3"] {
            assert!(Window::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_rate_is_time() {
        let pace = Pace { rate_bytes_per_s: Some(1000), window: None };
        assert_eq!(pace.time_for(2500), Duration::from_millis(2500));
        assert_eq!(Pace::default().time_for(u64::MAX), Duration::ZERO);
    }
}
