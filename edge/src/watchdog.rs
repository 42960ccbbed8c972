//! Ends the process when a loop makes no progress, since on a device nobody but who starts it anew can help then.
//!
//! Each loop counts its turns in a [`Beat`], and turns at least a few times in the limit even where nothing happens. A thread
//! of its own looks at them, so that it sees too when the network's threads are blocked. It counts its looks and reads no
//! clock: a process that was frozen is not taken for one that is stuck.

use std::io;
use std::process;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use tokio::time::sleep;

/// A loop is looked at so many times in the limit, and turns as often.
const LOOKS: u32 = 6;

/// How long the process may take to end in good order.
const LAST_MOMENTS: Duration = Duration::from_secs(5);

/// The count of a loop's turns.
#[derive(Clone, Debug)]
pub struct Beat {
    turns: Arc<AtomicU64>,
    /// How long it may wait in one turn.
    pause: Duration,
    /// Whether it is to be blocked for ever, as tests have it.
    stalled: bool,
}

impl Beat {
    /// One that nobody looks at.
    pub(crate) fn unwatched() -> Self {
        Self { turns: Arc::default(), pause: Duration::from_secs(3600), stalled: false }
    }

    /// Notes a turn.
    pub fn turn(&self) {
        if cfg!(debug_assertions) && self.stalled {
            loop {
                thread::park();
            }
        }
        self.turns.fetch_add(1, Ordering::Relaxed);
    }

    /// Notes a turn, and is ready when the next one is due.
    pub async fn pause(&self) {
        self.turn();
        sleep(self.pause).await;
    }

    /// Waits for what may take any time, such as what others do.
    pub async fn during<T>(&self, waiting: impl Future<Output = T>) -> T {
        let mut waiting = std::pin::pin!(waiting);
        loop {
            tokio::select! {
                done = &mut waiting => return done,
                () = self.pause() => (),
            }
        }
    }
}

/// What is known of a loop.
#[derive(Debug)]
struct Watched {
    name: String,
    turns: Arc<AtomicU64>,
    /// Its count at the last look, and how many looks have found that.
    seen: (u64, u32),
}

/// All that is watched. Those that ended are watched no more.
#[derive(Debug, Default)]
struct Loops(Mutex<Vec<Watched>>);

impl Loops {
    fn add(&self, name: &str) -> Arc<AtomicU64> {
        let turns = Arc::new(AtomicU64::new(0));
        let watched = Watched { name: name.into(), turns: Arc::clone(&turns), seen: (0, 0) };
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(watched);
        turns
    }

    /// Looks once, and returns the loop that made no turn for too long.
    fn look(&self) -> Option<String> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|watched| Arc::strong_count(&watched.turns) > 1);
        all.iter_mut().find_map(|watched| {
            let turns = watched.turns.load(Ordering::Relaxed);
            let looks = if watched.seen.0 == turns { watched.seen.1 + 1 } else { 0 };
            watched.seen = (turns, looks);
            (looks >= LOOKS).then(|| watched.name.clone())
        })
    }
}

/// The thread that looks. It ends when this is dropped.
#[derive(Debug)]
pub struct Watchdog {
    loops: Arc<Loops>,
    pause: Duration,
    stalled: Option<String>,
    _stop: mpsc::Sender<()>,
}

impl Watchdog {
    /// Starts it. A loop that makes no turn for `limit` ends the process; the loop called `stalled` is blocked from its first
    /// turn on, in debug builds alone.
    pub fn start(limit: Duration, stalled: Option<String>) -> io::Result<Self> {
        let (stop, stopped) = mpsc::channel();
        let (loops, pause) = (Arc::new(Loops::default()), limit / LOOKS);
        let watched = Arc::clone(&loops);
        let watch = move || {
            while stopped.recv_timeout(pause) == Err(RecvTimeoutError::Timeout) {
                if let Some(name) = watched.look() {
                    end(&name, limit);
                }
            }
        };
        thread::Builder::new().name("hedef-watchdog".into()).spawn(watch)?;
        // Twice as often as it is looked at.
        Ok(Self { loops, pause: pause / 2, stalled, _stop: stop })
    }

    /// The beat of one more loop, which is watched from now on until the beat is dropped.
    #[must_use]
    pub fn beat(&self, name: &str) -> Beat {
        Beat { turns: self.loops.add(name), pause: self.pause, stalled: self.stalled.as_deref() == Some(name) }
    }
}

/// Ends the process, whatever its other threads do.
fn end(name: &str, limit: Duration) {
    // The log, and what libraries do at the end, may wait for who is stuck.
    let _ = thread::Builder::new().spawn(|| {
        thread::sleep(LAST_MOMENTS);
        process::abort();
    });
    tracing::error!("`{name}` makes no progress for {} s: the process ends, to be started anew", limit.as_secs());
    process::exit(1);
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use super::*;

    fn beat(loops: &Loops, name: &str) -> Beat {
        Beat { turns: loops.add(name), pause: Duration::from_secs(10), ..Beat::unwatched() }
    }

    #[test]
    fn a_loop_without_a_turn_at_so_many_looks_is_stuck() {
        let loops = Loops::default();
        let (first, second) = (beat(&loops, "first"), beat(&loops, "second"));
        for _ in 0..10 * LOOKS {
            first.turn();
            second.turn();
            assert_eq!(loops.look(), None);
        }
        for _ in 1..LOOKS {
            first.turn();
            assert_eq!(loops.look(), None);
        }
        // In the nick of time.
        second.turn();
        for _ in 0..LOOKS {
            first.turn();
            assert_eq!(loops.look(), None);
        }
        assert_eq!(loops.look().as_deref(), Some("second"));
    }

    #[test]
    fn one_that_never_turned_is_stuck_and_one_that_ended_is_not() {
        let loops = Loops::default();
        let (first, second) = (beat(&loops, "first"), beat(&loops, "second"));
        drop(first);
        let looks = (1..).find(|_| loops.look().is_some());
        assert_eq!(looks, Some(LOOKS));
        drop(second);
        assert_eq!(loops.look(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_for_others_turns_all_the_while() {
        let loops = Loops::default();
        let beat = beat(&loops, "waiting");
        for _ in 0..10 * LOOKS {
            let some_time = Duration::from_secs(20);
            assert!(tokio::time::timeout(some_time, beat.during(pending::<()>())).await.is_err());
            assert_eq!(loops.look(), None);
        }
    }
}
