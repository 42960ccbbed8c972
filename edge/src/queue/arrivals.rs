//! When what waits in a lane came, as far as it may still be scored.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// The times of the messages of a lane that came in this run of the process and were not taken yet.
#[derive(Debug)]
pub(super) struct Arrivals {
    max_age: Duration,
    /// Numbers and times, both rising.
    came: VecDeque<(u64, Instant)>,
}

impl Arrivals {
    pub(super) const fn new(max_age: Duration) -> Self {
        Self { max_age, came: VecDeque::new() }
    }

    /// Notes that a message came. Those that are too old by now need not be known any more.
    pub(super) fn note(&mut self, number: u64, now: Instant) {
        while self.came.front().is_some_and(|(_, came)| now.saturating_duration_since(*came) > self.max_age) {
            self.came.pop_front();
        }
        self.came.push_back((number, now));
    }

    /// When a message that is taken now is too old: at once where it is not known when it came.
    pub(super) fn due(&mut self, number: u64, now: Instant) -> Instant {
        while self.came.front().is_some_and(|(other, _)| *other < number) {
            self.came.pop_front();
        }
        let known = self.came.front().filter(|(other, _)| *other == number);
        known.map_or(now, |(_, came)| *came + self.max_age)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AGE: Duration = Duration::from_secs(2);

    #[test]
    fn a_message_is_due_when_it_is_as_old_as_it_may_be_and_an_unknown_one_at_once() {
        let (mut arrivals, start) = (Arrivals::new(AGE), Instant::now());
        // The first came before the start, the third could not be read again.
        for number in 1..5 {
            arrivals.note(number, start);
        }
        let now = start + AGE / 2;
        assert_eq!([0, 1, 2, 4].map(|number| arrivals.due(number, now)), [now, start + AGE, start + AGE, start + AGE]);
        assert_eq!(arrivals.came.len(), 1);
    }

    #[test]
    fn what_nobody_takes_is_forgotten_once_it_is_too_old() {
        let (mut arrivals, start) = (Arrivals::new(AGE), Instant::now());
        for second in 0..1000 {
            arrivals.note(second, start + Duration::from_secs(second));
        }
        assert_eq!(arrivals.came.len(), 3);
        let now = start + Duration::from_secs(999);
        assert_eq!(arrivals.due(7, now), now);
        assert_eq!(arrivals.due(998, now), now + Duration::from_secs(1));
    }
}
