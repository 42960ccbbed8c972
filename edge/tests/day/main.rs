//! A day without anybody who takes the answers, on a clock that runs as fast as the work of each second is done: new
//! connections, their tokens, the twin, updates, commits and all else that waits do so as in a day. Without `CI`, in an hour.
//!
//! A process of its own, for its memory is measured. All that follows the clock runs in one thread.

#![expect(clippy::unwrap_used, clippy::panic, reason = "everything here is a test: what goes wrong ends it")]

mod config;
mod device;
mod hub;
mod network;

use std::fs;
use std::path::Path;
use std::time::Duration;

use hedef_core::host::resident_bytes;
use tokio::time::{Interval, interval};

use self::device::{CAPACITY, Device, TOKEN_LIFE_S};
use self::hub::{Hub, Mood};

/// What is wrong with the hub, each for as long, and how a connection or a try ends then.
const WRONG: [(Mood, &str); 5] = [
    (Mood::Gone, "failed"),
    (Mood::Silent, "failed"),
    (Mood::Closing, "failed"),
    (Mood::Unavailable, "refused"),
    (Mood::Deaf, "lost"),
];

/// The bytes of the files in a folder, and in those in it.
fn size(folder: &Path) -> u64 {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.map(|path| if path.is_dir() { size(&path) } else { path.metadata().unwrap().len() }).sum()
}

/// In memory where that can be: to make bytes safe takes a disk its time, which no clock makes shorter.
fn folder() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap()
}

async fn pass(clock: &mut Interval, seconds: u64) {
    for _ in 0..seconds {
        clock.tick().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_day_offline_takes_no_more_than_its_first_hours_and_what_is_kept_comes_in_order() {
    let messages = config::seconds_of_a_day();
    let folder = folder();
    let certificate = folder.path().join("hub.pem");
    let hub = Hub::new(&certificate);
    let device = Device::start(folder.path(), &hub, &certificate);
    tokio::spawn(network::keep_pace());
    let mut clock = interval(Duration::from_secs(1));
    let (mut sent, mut most, mut before) = (0, 0, None);
    for (mood, outcome) in WRONG {
        hub.mood(mood);
        let (tries, seconds) = (device.ended(outcome), messages / WRONG.len());
        for _ in 0..seconds {
            clock.tick().await;
            device.take_in(sent).await;
            sent += 1;
            if sent % 10 == 0 {
                most = most.max(size(&folder.path().join("queue")));
            }
            if sent == messages / 12 {
                before = resident_bytes();
            }
        }
        let tries = device.ended(outcome) - tries;
        // A wait is half a minute to a minute, after some shorter ones; a try takes up to a minute.
        assert!((seconds / 130..=seconds / 30 + 8).contains(&tries), "{mood:?}: {tries} tries in {seconds} s");
    }
    assert_eq!(sent, messages);
    let (before, after) = (before.unwrap(), resident_bytes().unwrap());
    assert!(after < before + (4 << 20), "{before} bytes of memory became {after}");
    assert!(most > CAPACITY / 2 && most <= CAPACITY, "{most} bytes on disk");
    let (kept, dropped) = device.answers().await;
    assert!(kept > 0 && dropped > 0 && kept + dropped == messages, "{kept} are kept, {dropped} had to give way");
    assert_eq!((hub.answered(), hub.reports()), (Vec::new(), 0));

    hub.mood(Mood::Well);
    // The connection that nobody hears is given up first.
    pass(&mut clock, 300).await;
    let answered = hub.answered();
    assert!(answered.iter().copied().eq(dropped..messages), "{dropped} to {messages}: {answered:?}");
    assert_eq!(device.answers().await, (0, dropped));
    assert!(hub.reports() > 0);

    // Three renewals, and a ping a minute.
    let pings = hub.pings();
    pass(&mut clock, TOKEN_LIFE_S * 3).await;
    assert_eq!(device.ended("renewed"), 3);
    let pings = hub.pings() - pings;
    assert!((120..=200).contains(&pings), "{pings} pings");
    device.stop().await;
}
