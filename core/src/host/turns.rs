//! For how long a thread keeps a processor that others want too.
//!
//! A thread of the network works for microseconds at a time, and waits in between. When it is woken while another
//! thread has the processor, the system lets that one end its turn first, which takes milliseconds, and every answer is
//! late by as much. Linux from 6.12 on lets a thread ask for short turns: then it goes before those with longer ones at
//! once, and gets no more of the processor than before. Elsewhere nothing changes.
//!
//! Source: `sched_setattr(2)`, and the kernel's `Documentation/scheduler/sched-eevdf.rst`.

use std::cell::Cell;

thread_local! {
    static SHORT: Cell<bool> = const { Cell::new(false) };
}

/// Asks for short turns for this thread, which waits more than it works. Threads and processes that it starts
/// have them too.
pub fn short_turns() {
    SHORT.set(set(true));
}

/// Asks for turns as long as usual for this thread, which may have been started by one that has short ones.
pub(crate) fn usual_turns() {
    SHORT.set(false);
    set(false);
}

/// Does work that takes long, which threads with short turns may interrupt, though this one may be of them.
pub fn at_length<T>(work: impl FnOnce() -> T) -> T {
    struct Back;
    impl Drop for Back {
        fn drop(&mut self) {
            short_turns();
        }
    }
    let _back = SHORT.get().then(|| {
        usual_turns();
        Back
    });
    work()
}

#[cfg(target_os = "linux")]
fn set(short: bool) -> bool {
    super::system::resize_turns(if short { SHORTEST } else { USUAL })
}

#[cfg(not(target_os = "linux"))]
fn set(_short: bool) -> bool {
    false
}

/// The shortest turns that Linux gives, in nanoseconds.
#[cfg(target_os = "linux")]
const SHORTEST: u64 = 100_000;

/// What stands for the system's own.
#[cfg(target_os = "linux")]
const USUAL: u64 = 0;

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::super::system::turns;
    use super::*;

    #[test]
    fn a_thread_has_short_turns_but_for_what_takes_long() {
        // Some sandboxes do not tell.
        let Some(usual) = turns() else { return };
        short_turns();
        // Linux before 6.12 tells nothing of turns.
        let short = if usual == 0 { 0 } else { SHORTEST };
        assert_eq!(turns(), Some(short));
        assert_eq!(at_length(|| (turns().unwrap(), at_length(|| turns().unwrap()))), (usual, usual));
        assert_eq!(turns(), Some(short));
        let inherited = std::thread::spawn(|| {
            usual_turns();
            turns()
        });
        assert_eq!(inherited.join().unwrap(), Some(usual));
        usual_turns();
        assert_eq!(turns(), Some(usual));
        assert_eq!(at_length(turns), Some(usual));
        assert_eq!(turns(), Some(usual));
    }
}
