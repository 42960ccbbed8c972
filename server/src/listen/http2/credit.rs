//! How many streams a client may give up.

use std::time::{Duration, Instant};

/// So many streams may end without an answer by the client's own doing; each that is answered makes up for one, and so does
/// time. Opening streams to reset them costs a client nothing, and the server much.
const MOST: u32 = 1000;
const A_SECOND: u32 = 200;

/// What a client may still waste.
#[derive(Debug)]
pub(super) struct Credit {
    left: u32,
    since: Option<Instant>,
}

impl Default for Credit {
    fn default() -> Self {
        Self { left: MOST, since: None }
    }
}

impl Credit {
    /// A stream was answered.
    pub(super) fn earn(&mut self) {
        self.left = (self.left + 1).min(MOST);
    }

    /// A stream was wasted; `false` when that was too much.
    pub(super) fn spend(&mut self, now: Instant) -> bool {
        let passed = now.saturating_duration_since(*self.since.get_or_insert(now));
        if passed >= Duration::from_secs(1) {
            let earned = u32::try_from(passed.as_secs()).unwrap_or(u32::MAX).saturating_mul(A_SECOND);
            (self.left, self.since) = (self.left.saturating_add(earned).min(MOST), Some(now));
        }
        let left = self.left.checked_sub(1);
        self.left = left.unwrap_or_default();
        left.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_wastes_more_than_is_answered_is_stopped() {
        let start = Instant::now();
        let spent = |credit: &mut Credit, now| (0..10 * MOST).take_while(|_| credit.spend(now)).count();
        let mut credit = Credit::default();
        assert_eq!(spent(&mut credit, start), MOST as usize);
        (0..5).for_each(|_| credit.earn());
        assert_eq!(spent(&mut credit, start), 5);
        let later = start + Duration::from_secs(2);
        assert_eq!(spent(&mut credit, later), 2 * A_SECOND as usize);
        assert_eq!(spent(&mut credit, later + Duration::from_secs(3600)), MOST as usize);
    }
}
