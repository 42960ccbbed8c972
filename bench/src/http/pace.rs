//! Who sends the next request, and when.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::arrivals::Arrivals;
use crate::subject::Load;

/// How long a caller rests after a connection that failed, so that nobody knocks without pause.
const REST: Duration = Duration::from_millis(20);

/// Says when requests are due.
#[derive(Debug)]
pub(crate) enum Pace {
    Closed { free: usize, resting: VecDeque<Instant> },
    Queries { samples: usize, unsent: usize, unanswered: usize, began: Instant },
    Open { start: Instant, arrivals: Arrivals, end: Instant },
}

impl Pace {
    pub(crate) fn new(load: Load, seed: u64, start: Instant, end: Instant) -> Self {
        match load {
            Load::Closed { callers } => Self::Closed { free: callers, resting: VecDeque::new() },
            Load::Queries { samples } => Self::Queries { samples, unsent: samples, unanswered: 0, began: start },
            Load::Open { rate } => Self::Open { start, arrivals: Arrivals::new(rate, seed), end },
        }
    }

    /// When the next request is due; `None` while callers wait for answers, and when no more is to come.
    pub(crate) fn next(&self) -> Option<Instant> {
        match self {
            Self::Closed { free: 1.., .. } => Some(Instant::now()),
            Self::Closed { resting, .. } => resting.front().copied(),
            Self::Queries { unsent, began, .. } => (*unsent > 0).then_some(*began),
            Self::Open { start, arrivals, end } => Some(*start + arrivals.next()).filter(|next| next < end),
        }
    }

    /// Takes a request that is due by `now`, and says when it was due.
    pub(crate) fn take(&mut self, now: Instant) -> Option<Instant> {
        match self {
            Self::Closed { free, resting } => {
                while resting.front().is_some_and(|until| *until <= now) {
                    resting.pop_front();
                    *free += 1;
                }
                *free = free.checked_sub(1)?;
                Some(now)
            }
            Self::Queries { samples, unsent, unanswered, began } => {
                if *unsent == 0 {
                    return None;
                }
                if *unsent == *samples {
                    *began = now;
                }
                *unsent -= 1;
                *unanswered += 1;
                Some(*began)
            }
            Self::Open { start, arrivals, end } => {
                let due = *start + arrivals.next();
                if due > now || due >= *end {
                    return None;
                }
                arrivals.step();
                Some(due)
            }
        }
    }

    /// A request has ended, well or by a failed connection; says whether a query is complete with it.
    pub(crate) fn ended(&mut self, now: Instant, failed: bool) -> bool {
        match self {
            Self::Closed { resting, .. } if failed => resting.push_back(now + REST),
            Self::Closed { free, .. } => *free += 1,
            Self::Queries { samples, unsent, unanswered, .. } => {
                *unanswered = unanswered.saturating_sub(1);
                if *unanswered == 0 && *unsent == 0 {
                    *unsent = *samples;
                    return true;
                }
            }
            Self::Open { .. } => {}
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pace(load: Load) -> (Pace, Instant) {
        let start = Instant::now();
        (Pace::new(load, 1, start, start + Duration::from_secs(10)), start)
    }

    #[test]
    fn a_closed_load_has_so_many_requests_under_way() {
        let (mut pace, now) = pace(Load::Closed { callers: 2 });
        assert!(pace.take(now).is_some() && pace.take(now).is_some() && pace.take(now).is_none());
        pace.ended(now, false);
        assert_eq!(pace.take(now), Some(now));
        pace.ended(now, true);
        assert_eq!(pace.take(now), None, "a caller whose connection failed rests");
        assert!(pace.take(now + REST).is_some());
    }

    #[test]
    fn the_next_query_comes_when_the_last_answer_is_there() {
        let (mut pace, start) = pace(Load::Queries { samples: 2 });
        let later = start + Duration::from_millis(5);
        assert_eq!((pace.take(start), pace.take(later), pace.take(later)), (Some(start), Some(start), None));
        assert!(!pace.ended(later, false));
        assert_eq!(pace.take(later), None);
        assert!(pace.ended(later, false));
        assert_eq!(pace.take(later), Some(later));
    }

    #[test]
    fn an_open_load_is_due_when_it_is_due_however_late_it_is_taken() {
        let (mut pace, start) = pace(Load::Open { rate: 100.0 });
        assert_eq!(pace.take(start), None);
        let first = pace.next().unwrap();
        let late = start + Duration::from_secs(5);
        assert_eq!(pace.take(late), Some(first));
        let mut rest = 1;
        while let Some(due) = pace.take(late) {
            assert!(due <= late);
            rest += 1;
        }
        assert!((400..600).contains(&rest), "{rest}");
        while pace.take(start + Duration::from_secs(100)).is_some() {
            rest += 1;
        }
        assert!(pace.next().is_none() && (900..1100).contains(&rest), "{rest}");
    }
}
