//! How much has to come before a connection that waits for a large body is woken.
//!
//! A body comes in many segments, and the system wakes who waits for it with each that finds it waiting: up to a dozen
//! times for a body of 600 KB from a client that writes it in pieces, which may cost as much as the rest of its request.
//! On Linux it can be told to wait until there is more.
//!
//! Source: `SO_RCVLOWAT` in socket(7); Linux has what is needed of it since 4.18 (`tcp_set_rcvlowat`).

use std::pin::Pin;
#[cfg(target_os = "linux")]
use std::sync::LazyLock;
use std::task::Context;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep, sleep_until};

/// So much is waited for at most: while it is read, more comes.
const MOST: usize = 128 << 10;

/// What is not worth telling the system.
const LITTLE: usize = 32 << 10;

/// How long a client may take for it. Then what there is counts as enough: others on its connection may wait for what is
/// behind, and it is looked at how fast its body comes.
const PATIENCE: Duration = Duration::from_millis(2);

/// The mark that what has come of a socket has to reach.
#[derive(Debug)]
pub(super) struct Mark {
    /// As the system knows it.
    set: usize,
    /// What the next read needs.
    expected: usize,
    alarm: Option<Pin<Box<Sleep>>>,
    /// Whether something was read since the alarm was set.
    moved: bool,
    /// Whether the client is too slow for it.
    slow: bool,
}

impl Mark {
    pub(super) const fn new() -> Self {
        Self { set: 1, expected: 0, alarm: None, moved: true, slow: false }
    }

    /// The next read needs so many bytes, which come for sure; others need any.
    pub(super) fn expect(&mut self, bytes: usize) {
        self.expected = if is_heeded() { bytes } else { 0 };
    }

    /// Something was read.
    pub(super) const fn moves(&mut self) {
        (self.expected, self.moved) = (0, true);
    }

    /// A read of `socket` has to wait, and with it the task that looks now.
    pub(super) fn wait(&mut self, socket: &TcpStream, context: &mut Context<'_>) {
        let mark = std::mem::take(&mut self.expected).min(MOST);
        let mark = if mark >= LITTLE && !self.is_late(context) {
            mark
        } else {
            // The next body may come faster.
            self.slow &= mark > 0;
            1
        };
        self.put(mark, socket);
    }

    /// Has each byte wake who waits.
    pub(super) fn lower(&mut self, socket: &TcpStream) {
        self.put(1, socket);
    }

    fn put(&mut self, mark: usize, socket: &TcpStream) {
        if mark != self.set && wake_at(socket, mark) {
            self.set = mark;
        }
    }

    /// Whether the client takes too long. If not, the task is woken when it does.
    fn is_late(&mut self, context: &mut Context<'_>) -> bool {
        if self.slow {
            return true;
        }
        let due = || Instant::now() + PATIENCE;
        let is_new = self.alarm.is_none();
        let alarm = self.alarm.get_or_insert_with(|| Box::pin(sleep_until(due())));
        if std::mem::take(&mut self.moved) && !is_new {
            alarm.as_mut().reset(due());
        }
        self.slow = alarm.as_mut().poll(context).is_ready();
        self.slow
    }
}

/// Whether the system heeds a mark: that it wakes who waits where there is more than a lower mark, and takes as much as a
/// higher one.
#[cfg(target_os = "linux")]
fn is_heeded() -> bool {
    static HEEDED: LazyLock<bool> =
        LazyLock::new(|| std::fs::read_to_string("/proc/sys/kernel/osrelease").is_ok_and(|release| heeds(&release)));
    *HEEDED
}

/// Whether a Linux of this release does.
#[cfg(target_os = "linux")]
fn heeds(release: &str) -> bool {
    let mut numbers =
        release.split(|other: char| !other.is_ascii_digit()).map_while(|number| number.parse::<u32>().ok());
    (numbers.next(), numbers.next()) >= (Some(4), Some(18))
}

#[cfg(target_os = "linux")]
fn wake_at(socket: &TcpStream, bytes: usize) -> bool {
    use std::os::fd::AsFd;
    i32::try_from(bytes).is_ok_and(|bytes| hedef_core::host::wake_at(socket.as_fd(), bytes))
}

/// Other systems wake who waits for each segment.
#[cfg(not(target_os = "linux"))]
const fn is_heeded() -> bool {
    false
}

#[cfg(not(target_os = "linux"))]
const fn wake_at(_: &TcpStream, _: usize) -> bool {
    false
}

#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests {
    use std::future::poll_fn;
    use std::io::Write;
    use std::net::{TcpListener, TcpStream as Client};
    use std::sync::Arc;
    use std::task::Poll;

    use tokio::io::{AsyncRead, ReadBuf};
    use tokio::task::yield_now;
    use tokio::time::advance;

    use super::super::socket::Socket;
    use super::*;

    fn pair() -> (Socket, Client) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let client = Client::connect(listener.local_addr().unwrap()).unwrap();
        let (ours, _) = listener.accept().unwrap();
        ours.set_nonblocking(true).unwrap();
        (Socket::new(TcpStream::from_std(ours).unwrap(), Arc::default()), client)
    }

    /// What comes of a read that needs so much, once the system had its turn.
    async fn read(socket: &mut Socket, expected: usize) -> Poll<usize> {
        for _ in 0..10 {
            yield_now().await;
        }
        let mut bytes = vec![0; 2 * MOST];
        let mut buffer = ReadBuf::new(&mut bytes);
        socket.expect(expected);
        let read = poll_fn(|context| Poll::Ready(Pin::new(&mut *socket).poll_read(context, &mut buffer))).await;
        read.map(|read| read.map(|()| buffer.filled().len()).unwrap())
    }

    /// The same once there is something.
    async fn comes(socket: &mut Socket, expected: usize) -> usize {
        // By the system's clock: that of the test stands still.
        let begun = std::time::Instant::now();
        while begun.elapsed() < Duration::from_secs(30) {
            if let Poll::Ready(count) = read(socket, expected).await {
                return count;
            }
        }
        panic!("nothing comes");
    }

    #[test]
    fn a_mark_is_heeded_from_a_release_on() {
        for (release, heeded) in [
            ("6.18.44-x\n", true),
            ("4.18.0", true),
            ("4.17.19", false),
            ("4.4.0", false),
            ("3.99", false),
            ("x", false),
        ] {
            assert_eq!(heeds(release), heeded, "{release}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn who_needs_much_is_woken_once_it_is_there() {
        let (mut socket, mut client) = pair();
        for _ in 0..3 {
            assert!(read(&mut socket, LITTLE).await.is_pending());
            client.write_all(&[0; LITTLE - 1]).unwrap();
            assert!(read(&mut socket, LITTLE).await.is_pending(), "a byte is missing");
            client.write_all(&[0; 1]).unwrap();
            assert_eq!(comes(&mut socket, LITTLE).await, LITTLE);
            // What comes next may be small.
            assert!(read(&mut socket, 0).await.is_pending());
            client.write_all(&[0; 1]).unwrap();
            assert_eq!(comes(&mut socket, 0).await, 1);
        }
        assert!(read(&mut socket, LITTLE).await.is_pending());
        client.write_all(&[0; 1]).unwrap();
        drop(client);
        assert_eq!((comes(&mut socket, LITTLE).await, comes(&mut socket, LITTLE).await), (1, 0), "it has ended");
    }

    #[tokio::test(start_paused = true)]
    async fn little_is_not_waited_for_and_of_much_no_more_than_comes_while_it_is_read() {
        let (mut socket, mut client) = pair();
        assert!(read(&mut socket, LITTLE - 1).await.is_pending());
        client.write_all(&[0; 1]).unwrap();
        assert_eq!(comes(&mut socket, LITTLE - 1).await, 1);
        assert!(read(&mut socket, usize::MAX).await.is_pending());
        let client = std::thread::spawn(move || {
            client.write_all(&[0; MOST]).unwrap();
            client
        });
        assert_eq!(comes(&mut socket, usize::MAX).await, MOST);
        client.join().unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_too_long_gets_what_there_is_for_the_rest_of_a_body() {
        let (mut socket, mut client) = pair();
        for _ in 0..3 {
            assert!(read(&mut socket, LITTLE).await.is_pending());
            client.write_all(&[0; 10]).unwrap();
            assert!(read(&mut socket, LITTLE).await.is_pending());
            advance(PATIENCE + Duration::from_millis(1)).await;
            assert_eq!(comes(&mut socket, LITTLE).await, 10);
            assert!(read(&mut socket, LITTLE).await.is_pending());
            client.write_all(&[0; 10]).unwrap();
            assert_eq!(comes(&mut socket, LITTLE).await, 10);
            assert!(read(&mut socket, 0).await.is_pending());
        }
        // Time that passes between what comes is not lost on it.
        assert!(read(&mut socket, LITTLE).await.is_pending());
        for _ in 0..3 {
            advance(PATIENCE - Duration::from_millis(1)).await;
            client.write_all(&[0; LITTLE]).unwrap();
            assert_eq!(comes(&mut socket, LITTLE).await, LITTLE);
            assert!(read(&mut socket, LITTLE).await.is_pending());
        }
    }
}
