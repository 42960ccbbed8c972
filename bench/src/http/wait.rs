//! Waiting for sockets or for a moment, whichever comes first.

use std::io;
use std::time::Duration;

use mio::event::Event;
use mio::{Events, Poll, Registry, Token};

const TIMER: Token = Token(usize::MAX);

/// Waits for the sockets that are registered with it.
#[derive(Debug)]
pub(crate) struct Waiter {
    poll: Poll,
    events: Events,
    /// Ask without pause instead of sleeping.
    busy: bool,
    timer: Option<timer::Timer>,
}

impl Waiter {
    pub(crate) fn new(busy: bool) -> io::Result<Self> {
        let poll = Poll::new()?;
        let timer = timer::Timer::new(poll.registry());
        Ok(Self { poll, events: Events::with_capacity(1024), busy, timer })
    }

    pub(crate) fn registry(&self) -> &Registry {
        self.poll.registry()
    }

    /// Waits until there is an event, at most for `limit`.
    pub(crate) fn wait(&mut self, limit: Duration) -> io::Result<()> {
        let sleeps = !self.busy && !limit.is_zero();
        let limit = match &self.timer {
            _ if !sleeps => Some(Duration::ZERO),
            // By itself, `mio` would wait for whole milliseconds.
            Some(timer) if timer.set(limit) => None,
            _ => Some(limit),
        };
        match self.poll.poll(&mut self.events, limit) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {
                self.events.clear();
                Ok(())
            }
            other => other,
        }
    }

    /// The sockets that something has happened to, and whether there is something to read.
    pub(crate) fn events(&self, into: &mut Vec<(usize, bool)>) {
        let readable = |event: &Event| event.is_readable() || event.is_read_closed() || event.is_error();
        let sockets = self.events.iter().filter(|event| event.token() != TIMER);
        into.extend(sockets.map(|event| (event.token().0, readable(event))));
    }
}

/// The processor time that this thread has used.
pub(crate) fn busy_time() -> Option<Duration> {
    #[cfg(unix)]
    {
        let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
        let nanoseconds = u32::try_from(time.tv_nsec).ok()?;
        Some(Duration::new(u64::try_from(time.tv_sec).ok()?, nanoseconds))
    }
    #[cfg(not(unix))]
    None
}

/// A clock that makes an event at a moment exact to microseconds.
#[cfg(target_os = "linux")]
mod timer {
    use std::os::fd::{AsRawFd, OwnedFd};
    use std::time::Duration;

    use mio::unix::SourceFd;
    use mio::{Interest, Registry};
    use rustix::time::{
        Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
    };

    #[derive(Debug)]
    pub(super) struct Timer(OwnedFd);

    impl Timer {
        pub(super) fn new(registry: &Registry) -> Option<Self> {
            crate::clock::wake_exactly();
            let timer =
                timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC).ok()?;
            registry.register(&mut SourceFd(&timer.as_raw_fd()), super::TIMER, Interest::READABLE).ok()?;
            Some(Self(timer))
        }

        /// Makes an event in `limit`, and none at the moment set before.
        pub(super) fn set(&self, limit: Duration) -> bool {
            let seconds = i64::try_from(limit.as_secs()).unwrap_or(i64::MAX);
            let it_value = Timespec { tv_sec: seconds, tv_nsec: i64::from(limit.subsec_nanos()) };
            let once = Itimerspec { it_interval: Timespec { tv_sec: 0, tv_nsec: 0 }, it_value };
            timerfd_settime(&self.0, TimerfdTimerFlags::empty(), &once).is_ok()
        }
    }
}

/// Elsewhere the milliseconds of the system's own waiting have to do.
#[cfg(not(target_os = "linux"))]
mod timer {
    use std::time::Duration;

    #[derive(Debug)]
    pub(super) enum Timer {}

    impl Timer {
        pub(super) fn new(_: &mio::Registry) -> Option<Self> {
            None
        }

        pub(super) fn set(&self, _: Duration) -> bool {
            match *self {}
        }
    }
}
