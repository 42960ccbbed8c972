//! When to try again: soon at first, then ever more seldom, for ever.

use std::time::Duration;

/// The first wait.
const FIRST: Duration = Duration::from_secs(1);

/// The longest wait.
const LONGEST: Duration = Duration::from_secs(60);

/// A connection that did not last so long changes nothing.
const LASTING: Duration = Duration::from_secs(5);

/// The shortest wait after the server refused this client: it may have to learn of it first.
const REFUSED: Duration = Duration::from_secs(5);

/// So many connections that end at once one after the other mean that somebody else has the same identity.
const CONTENDED: u32 = 3;

/// How the last try ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// There was no connection.
    NotConnected,
    /// The server did not let this client in.
    Refused,
    /// The server let it in, for so long.
    Connected(Duration),
}

/// The state of waiting.
#[derive(Clone, Copy, Debug, Default)]
pub struct Backoff {
    failures: u32,
    short_lived: u32,
}

impl Backoff {
    /// How long to wait. `dice`, from 0 to 1, takes up to half of it off, so that not all devices come at once.
    pub fn after(&mut self, ended: Ended, dice: f64) -> Duration {
        let at_least = match ended {
            Ended::Connected(time) if time >= LASTING => {
                *self = Self::default();
                Duration::ZERO
            }
            Ended::Connected(_) => {
                self.short_lived += 1;
                if self.short_lived > CONTENDED { LONGEST } else { Duration::ZERO }
            }
            Ended::Refused => REFUSED,
            Ended::NotConnected => Duration::ZERO,
        };
        let doubled = FIRST.saturating_mul(1 << self.failures.min(10)).min(LONGEST);
        self.failures += 1;
        doubled.mul_f64(1.0 - dice.clamp(0.0, 1.0) / 2.0).max(at_least)
    }

    /// Whether the server lets this client in and closes the connection at once, again and again.
    #[must_use]
    pub const fn is_contended(&self) -> bool {
        self.short_lived > CONTENDED
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_to_a_minute_and_begin_anew_after_a_connection_that_lasted() {
        let mut backoff = Backoff::default();
        let mut wait = |ended| backoff.after(ended, 0.0).as_secs();
        let waits: Vec<_> = (0..8).map(|_| wait(Ended::NotConnected)).collect();
        assert_eq!(waits, [1, 2, 4, 8, 16, 32, 60, 60]);
        assert_eq!(wait(Ended::Connected(Duration::from_secs(9))), 1);
        assert_eq!(wait(Ended::Refused), 5);
        assert!((0..1000).all(|_| wait(Ended::NotConnected) <= 60));
    }

    #[test]
    fn dice_take_off_up_to_half() {
        assert_eq!(Backoff::default().after(Ended::NotConnected, 1.0), Duration::from_millis(500));
    }

    #[test]
    fn who_is_thrown_out_again_and_again_waits_a_minute() {
        let mut backoff = Backoff::default();
        let waits: Vec<_> =
            (0..5).map(|_| backoff.after(Ended::Connected(Duration::from_secs(1)), 0.0).as_secs()).collect();
        assert_eq!(waits, [1, 2, 4, 60, 60]);
        assert!(backoff.is_contended());
    }
}
