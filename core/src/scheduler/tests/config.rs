//! What the tests read from their surroundings.

/// Whether this is the run that has to prove everything.
pub(super) fn ci() -> bool {
    std::env::var("CI").is_ok_and(|value| value == "true" || value == "1")
}
