//! What the test reads from its surroundings.

use std::path::Path;

/// The checkout.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

/// The seconds of a day in the run that has to prove everything; else those of an hour.
pub(crate) fn seconds_of_a_day() -> usize {
    let everything = std::env::var("CI").is_ok_and(|value| value == "true" || value == "1");
    if everything { 86_400 } else { 3600 }
}
