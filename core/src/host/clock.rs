//! The time that a thread works, which others on the machine do not lengthen as they do the time that passes; and the
//! time of day.

use std::time::Duration;

/// The time since 1970, late by some milliseconds at most: what the system has noted of it, where it does, which costs less
/// than a look at the clock.
#[must_use]
pub fn time_of_day() -> Duration {
    #[cfg(target_os = "linux")]
    return rustix::time::clock_gettime(rustix::time::ClockId::RealtimeCoarse).try_into().unwrap_or_default();
    #[cfg(not(target_os = "linux"))]
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default()
}

/// The time that the calling thread has worked so far, where the system tells.
pub(crate) fn thread_time() -> Option<Duration> {
    #[cfg(target_os = "linux")]
    return worked(rustix::time::ClockId::ThreadCPUTime);
    #[cfg(not(target_os = "linux"))]
    None
}

/// The time that all threads of this process have worked so far, where the system tells.
pub(crate) fn process_time() -> Option<Duration> {
    #[cfg(target_os = "linux")]
    return worked(rustix::time::ClockId::ProcessCPUTime);
    #[cfg(not(target_os = "linux"))]
    None
}

#[cfg(target_os = "linux")]
fn worked(clock: rustix::time::ClockId) -> Option<Duration> {
    rustix::time::clock_gettime(clock).try_into().ok()
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn the_time_of_day_is_about_what_the_clock_says() {
        let clock = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
        assert!(clock.abs_diff(time_of_day()) < Duration::from_secs(1));
    }

    #[test]
    fn a_thread_that_works_has_worked() {
        let before = thread_time().unwrap();
        let mut sum = 0_u64;
        while thread_time().unwrap() == before {
            sum = std::hint::black_box(sum + 1);
        }
        assert!(thread_time().unwrap() > before);
        assert!(process_time().unwrap() >= thread_time().unwrap());
    }
}
