//! Whether the clock can be trusted.
//!
//! A device without a battery wakes up in the past. So what its clock says counts only if that is later than this build, and
//! so does what a server said over TLS, in its header `Date`. The later one counts: who serves bundles and would like to have
//! old ones taken cannot turn the time back. Without either nothing is taken for expired.

use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use crate::config::SOURCE_DATE;

/// Seconds since 1970 that have passed for sure: those at the build, where it was told, and when this was written.
const PASSED: u64 = match SOURCE_DATE {
    Some(text) => match u64::from_str_radix(text, 10) {
        Ok(seconds) if seconds > WRITTEN => seconds,
        _ => WRITTEN,
    },
    None => WRITTEN,
};

/// 2026-11-26.
const WRITTEN: u64 = 1_795_651_200;

/// What is known of the time.
#[derive(Debug, Default)]
pub(super) struct Clock {
    /// What a server said, and when.
    told: Mutex<Option<(u64, Instant)>>,
}

impl Clock {
    /// Takes what a server said that could be believed, in seconds since 1970.
    pub(super) fn was_told(&self, seconds: u64) {
        if seconds >= PASSED {
            let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
            if now(*told).is_none_or(|known| seconds > known) {
                *told = Some((seconds, Instant::now()));
            }
        }
    }

    /// The seconds since 1970, if they are known.
    pub(super) fn trusted(&self) -> Option<u64> {
        let told = now(*self.told.lock().unwrap_or_else(PoisonError::into_inner));
        told.max(Some(wall()).filter(|seconds| *seconds >= PASSED))
    }
}

/// What it is by now by what was told then.
fn now(told: Option<(u64, Instant)>) -> Option<u64> {
    told.map(|(seconds, when)| seconds.saturating_add(when.elapsed().as_secs()))
}

/// The seconds since 1970, as far as this device knows.
pub(super) fn wall() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_secs())
}

/// Reads the header `Date`: `Sun, 06 Nov 1994 08:49:37 GMT`, the one form of RFC 9110 that servers send.
pub(super) fn http_date(text: &str) -> Option<u64> {
    const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let mut words = text.split_once(", ")?.1.split(' ');
    let mut word = || words.next();
    let (day, month, year, time) = (word()?, word()?, word()?, word()?);
    let month = MONTHS.iter().position(|name| *name == month)? + 1;
    // The same moment as bundles write it.
    let text = format!("{year}-{month:02}-{day}T{time}Z");
    hedef_protocols::bundle::Timestamp::parse(&text).ok().map(|moment| moment.seconds())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_of_servers_are_read() {
        assert_eq!(http_date("Sun, 06 Nov 1994 08:49:37 GMT"), Some(784_111_777));
        assert_eq!(http_date("Thu, 26 Nov 2026 00:00:00 GMT"), Some(WRITTEN));
        for wrong in ["", "Sunday, 06-Nov-94 08:49:37 GMT", "Sun, 06 Foo 1994 08:49:37 GMT"] {
            assert_eq!(http_date(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_server_can_turn_the_time_on_but_not_back() {
        let clock = Clock::default();
        clock.was_told(784_111_777);
        assert!(clock.trusted().is_none_or(|now| now >= PASSED));
        clock.was_told(PASSED + 1_000_000_000);
        clock.was_told(PASSED + 1);
        assert!(clock.trusted().unwrap() >= PASSED + 1_000_000_000);
        let clock = Clock::default();
        clock.was_told(PASSED);
        assert!(clock.trusted().unwrap() >= wall());
    }
}
