//! How many requests a key may send, without a lock and without a clock of its own.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// So many requests a second in the long run, and so many at once.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Rate {
    per_second: f64,
    burst: u32,
}

impl Rate {
    /// Checks a rate. Without `burst`, the requests of one second may come at once.
    pub(crate) fn new(per_second: f64, burst: Option<u32>) -> Result<Self, String> {
        if !(0.001..=1e6).contains(&per_second) {
            return Err(format!("requests_per_second: expected from 0.001 to 1000000, got {per_second}"));
        }
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "at most a million, and positive")]
        let burst = burst.unwrap_or(per_second.ceil() as u32);
        if !(1..=1_000_000).contains(&burst) {
            return Err(format!("burst: expected from 1 to 1000000, got {burst}"));
        }
        Ok(Self { per_second, burst })
    }
}

/// Takes requests at a rate. It keeps one number: when the requests taken so far are paid for, as in the generic cell
/// rate algorithm (ITU-T I.371).
#[derive(Debug)]
pub(crate) struct Limiter {
    pub(crate) rate: Rate,
    began: Instant,
    /// What one request costs, in nanoseconds.
    cost: u64,
    /// How far ahead of time requests may be taken, in nanoseconds.
    credit: u64,
    /// In nanoseconds from the beginning.
    paid: AtomicU64,
}

impl Limiter {
    pub(crate) fn new(rate: Rate) -> Self {
        let cost = nanoseconds(Duration::from_secs_f64(rate.per_second.recip()));
        let credit = cost.saturating_mul(u64::from(rate.burst - 1));
        Self { rate, began: Instant::now(), cost, credit, paid: AtomicU64::new(0) }
    }

    /// Takes a request that came at `now`, or says how long it should have waited.
    pub(crate) fn take(&self, now: Instant) -> Result<(), Duration> {
        let now = nanoseconds(now.saturating_duration_since(self.began));
        let mut paid = self.paid.load(Ordering::Relaxed);
        loop {
            let from = paid.max(now);
            let early = (from - now).saturating_sub(self.credit);
            if early > 0 {
                return Err(Duration::from_nanos(early));
            }
            let next = from.saturating_add(self.cost);
            match self.paid.compare_exchange_weak(paid, next, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return Ok(()),
                Err(other) => paid = other,
            }
        }
    }
}

fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_is_taken_at_once_and_then_the_rate_holds() {
        let limiter = Limiter::new(Rate::new(10.0, Some(3)).unwrap());
        let at = |ms| limiter.began + Duration::from_millis(ms);
        let taken = |ms| limiter.take(at(ms)).map_err(|wait| wait.as_millis());
        assert_eq!([taken(0), taken(0), taken(0), taken(0)], [Ok(()), Ok(()), Ok(()), Err(100)]);
        assert_eq!([taken(40), taken(100), taken(100)], [Err(60), Ok(()), Err(100)]);
        // Long silence gives the burst back, and no more.
        assert_eq!([taken(9000), taken(9000), taken(9000), taken(9000)], [Ok(()), Ok(()), Ok(()), Err(100)]);
    }

    #[test]
    fn many_threads_take_no_more_than_there_is() {
        let limiter = Limiter::new(Rate::new(1.0, Some(100)).unwrap());
        let now = limiter.began;
        let take = || (0..100).filter(|_| limiter.take(now).is_ok()).count();
        let taken: usize = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(take)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).sum()
        });
        assert_eq!(taken, 100);
    }

    #[test]
    fn rates_that_cannot_be_are_refused() {
        for (per_second, burst) in [(0.0, None), (-1.0, None), (f64::NAN, None), (1e9, None), (1.0, Some(0))] {
            assert!(Rate::new(per_second, burst).is_err(), "{per_second} {burst:?}");
        }
        assert_eq!(Rate::new(0.5, None), Rate::new(0.5, Some(1)));
    }
}
