//! Counts as real numbers and back.

/// A count as a real number; exact below 2^53.
#[expect(clippy::cast_precision_loss, reason = "what is counted here stays far below 2^53")]
pub(crate) const fn real(count: u64) -> f64 {
    count as f64
}

/// A size as a count.
pub(crate) fn count(size: usize) -> u64 {
    u64::try_from(size).unwrap_or(u64::MAX)
}

/// A real number as a count, rounded down; 0 for what is none.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the cast saturates and takes NaN to 0")]
pub(crate) const fn whole(number: f64) -> u64 {
    number as u64
}

/// `part` of `all`; 0 where there is nothing.
pub(crate) fn share(part: u64, all: u64) -> f64 {
    if all == 0 { 0.0 } else { real(part) / real(all) }
}
