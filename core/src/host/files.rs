//! How many files this process may have open.

/// Lets this process open `wanted` files if the system allows it, and says how many it may.
#[cfg(unix)]
#[must_use]
pub fn open_files(wanted: u64) -> u64 {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    // No limit is as many as anybody could want.
    let current = limit.current.unwrap_or(u64::MAX);
    let raised = wanted.min(limit.maximum.unwrap_or(u64::MAX));
    let better = Rlimit { current: Some(raised), maximum: limit.maximum };
    if raised > current && setrlimit(Resource::Nofile, better).is_ok() { raised } else { current }
}

/// Elsewhere than on Unix nothing here knows.
#[cfg(not(unix))]
#[must_use]
pub fn open_files(wanted: u64) -> u64 {
    wanted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_is_never_lowered() {
        let before = open_files(0);
        assert!(before > 0);
        assert!(open_files(before.saturating_sub(1)) >= before.saturating_sub(1));
        assert_eq!(open_files(0), open_files(1));
    }
}
