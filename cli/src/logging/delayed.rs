//! Where lines of the log go: to standard error at once, but those of the access log a moment later, many in one write.
//!
//! A write for each request costs a small model's server a tenth of what it can answer. Lines keep their order: whatever
//! is written at once takes along what waits.

use std::io::{self, Write};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

/// How long a line waits at most.
const DELAY: Duration = Duration::from_millis(50);

/// How many bytes wait at most; who writes more than that writes them out. A pipe, which a container's log goes through,
/// holds 64 KiB as a rule: what fits into it with room to spare seldom waits for its reader.
const MOST: usize = 32 << 10;

/// A place for lines, some of which wait for others. At the end, [`Delayed::flush`] writes what waits.
#[derive(Debug)]
pub(super) struct Delayed<W: Write + Send + 'static>(Arc<Shared<W>>);

#[derive(Debug)]
struct Shared<W> {
    lines: Mutex<Lines<W>>,
    /// Told when the first line begins to wait.
    some: Condvar,
}

#[derive(Debug)]
struct Lines<W> {
    waiting: Vec<u8>,
    to: W,
    /// Whether a thread sees to it that nothing waits for long.
    watched: bool,
}

impl<W: Write> Lines<W> {
    /// Writes what waits. A log that cannot be written has nowhere to say so.
    fn write_out(&mut self) {
        let _ = self.to.write_all(&self.waiting);
        self.waiting.clear();
    }
}

impl<W: Write> Shared<W> {
    fn lines(&self) -> MutexGuard<'_, Lines<W>> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes out what waits, each time some moments after the first line of it came.
    fn watch(&self) -> ! {
        loop {
            drop(self.some.wait_while(self.lines(), |lines| lines.waiting.is_empty()));
            thread::sleep(DELAY);
            self.lines().write_out();
        }
    }
}

impl<W: Write + Send + 'static> Delayed<W> {
    pub(super) fn new(to: W) -> Self {
        let lines = Mutex::new(Lines { waiting: Vec::new(), to, watched: false });
        Self(Arc::new(Shared { lines, some: Condvar::new() }))
    }

    /// Writes what waits.
    pub(super) fn flush(&self) {
        self.0.lines().write_out();
    }

    /// Writes a line, at once or, where it `waits`, a moment later.
    pub(super) fn put(&self, line: &[u8], waits: bool) {
        let mut lines = self.0.lines();
        let first = lines.waiting.is_empty();
        lines.waiting.extend_from_slice(line);
        if !lines.watched && waits {
            let shared = Arc::clone(&self.0);
            lines.watched = thread::Builder::new().name("hedef-log".into()).spawn(move || shared.watch()).is_ok();
        }
        if !waits || !lines.watched || lines.waiting.len() > MOST {
            lines.write_out();
        } else if first {
            self.0.some.notify_one();
        }
    }
}

impl<W: Write + Send + 'static> Clone for Delayed<W> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<W: Write + Send + 'static> Write for &Delayed<W> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.put(line, false);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Sender, channel};

    use super::*;

    /// Sends each write.
    struct Writes(Sender<String>);

    impl Write for Writes {
        fn write(&mut self, text: &[u8]) -> io::Result<usize> {
            self.0.send(String::from_utf8_lossy(text).into_owned()).map_err(io::Error::other)?;
            Ok(text.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn lines_wait_for_each_other_but_not_for_ever() {
        let (sender, writes) = channel();
        let log = Delayed::new(Writes(sender));
        log.put(b"a\n", true);
        log.put(b"b\n", true);
        let mut text = String::new();
        while text != "a\nb\n" {
            text += &writes.recv().unwrap();
        }
    }

    #[test]
    fn what_is_written_at_once_comes_after_what_waits() {
        let (sender, writes) = channel();
        let log = Delayed::new(Writes(sender));
        log.put(b"waits\n", true);
        log.put(b"fails\n", false);
        let told: String = writes.try_iter().collect();
        assert_eq!(told, "waits\nfails\n");
        log.put(&[b'x'; MOST + 1], true);
        assert_eq!(writes.try_iter().map(|text| text.len()).sum::<usize>(), MOST + 1);
        log.put(b"last\n", true);
        log.flush();
        assert_eq!(writes.try_iter().collect::<String>(), "last\n");
    }
}
