//! The queue in a real folder, by its handle.

use std::fs;

use super::*;

fn lanes() -> Vec<LaneSettings> {
    let lane = |name: &str, priority| LaneSettings {
        name: name.into(),
        priority,
        when_full: WhenFull::DropNew,
        share: 1,
        max_age: None,
    };
    vec![lane("alerts", 0), lane("results", 1)]
}

/// That of a process which has ended already.
fn working(folder: &tempfile::TempDir) -> Arc<Working> {
    Arc::new(Working::begin(folder.path()).unwrap())
}

fn open(folder: &tempfile::TempDir, capacity: u64) -> (Queue, JoinHandle<()>) {
    let metrics = Metrics::new(&prometheus::Registry::new()).unwrap();
    let place = Place {
        working: working(folder),
        folder: folder.path().into(),
        lanes: lanes(),
        capacity,
        steps: Steps::default(),
    };
    Queue::open(place, &metrics, Beat::unwatched()).unwrap()
}

const BOTH: [LaneId; 2] = [LaneId(0), LaneId(1)];

#[tokio::test]
async fn messages_survive_a_restart_and_the_important_ones_come_first() {
    let folder = tempfile::tempdir().unwrap();
    let (queue, thread) = open(&folder, 1 << 20);
    queue.push(LaneId(1), b"result".into()).await.unwrap();
    queue.push(LaneId(0), b"alert".into()).await.unwrap();
    queue.push(LaneId(0), b"other".into()).await.unwrap();
    let taken = queue.take(&BOTH).await.unwrap();
    assert_eq!((taken.lane, &*taken.body), (LaneId(0), &b"alert"[..]));
    queue.finish(taken.lane, taken.number).await;
    drop(queue);
    thread.join().unwrap();
    let (queue, _thread) = open(&folder, 1 << 20);
    let mut found = Vec::new();
    for _ in 0..2 {
        found.push(queue.take(&BOTH).await.unwrap().body);
    }
    assert_eq!(found, [b"other".to_vec(), b"result".to_vec()]);
    assert_eq!(queue.try_take(&BOTH).await, None);
    queue.rewind(LaneId(0)).await;
    assert_eq!(queue.take(&BOTH).await.unwrap().body, b"other");
}

#[tokio::test]
async fn who_waits_for_a_message_is_woken() {
    let folder = tempfile::tempdir().unwrap();
    let (queue, _thread) = open(&folder, 1 << 20);
    let waiting = tokio::spawn({
        let queue = queue.clone();
        async move { queue.take(&BOTH).await }
    });
    let number = queue.push(LaneId(1), b"x".into()).await.unwrap();
    assert_eq!(waiting.await.unwrap().unwrap().number, number);
    queue.committed(LaneId(1), number).await.unwrap();
}

#[tokio::test]
async fn who_waits_for_room_gets_it() {
    let folder = tempfile::tempdir().unwrap();
    let (queue, _thread) = open(&folder, 16 << 10);
    let mut numbers = Vec::new();
    while let Ok(number) = queue.push(LaneId(0), vec![1; 1000]).await {
        numbers.push(number);
    }
    let patient = tokio::spawn({
        let queue = queue.clone();
        async move { queue.push_patiently(LaneId(0), vec![2; 1000]).await }
    });
    for number in &numbers {
        queue.finish(LaneId(0), *number).await;
    }
    assert_eq!(patient.await.unwrap().unwrap(), numbers.len() as u64);
    let states = queue.states().await;
    assert_eq!((states[0].messages, states[1].messages), (1, 0));
    assert!(states[0].dropped == 1 && states[0].bytes <= 16 << 10);
}

#[tokio::test(start_paused = true)]
async fn while_the_disk_fails_nothing_is_given_up() {
    let folder = tempfile::tempdir().unwrap();
    let (queue, _thread) = open(&folder, 1 << 20);
    queue.push(LaneId(0), vec![1; 30 << 10]).await.unwrap();
    // The next file cannot be made.
    fs::remove_dir_all(folder.path().join("alerts")).unwrap();
    let mut pushing = std::pin::pin!(queue.push(LaneId(0), vec![2; 30 << 10]));
    assert!(futures_util::poll!(&mut pushing).is_pending());
    // Answered after it.
    assert_eq!(queue.states().await[0].dropped, 0);
    fs::create_dir_all(folder.path().join("alerts")).unwrap();
    assert_eq!(pushing.await.unwrap(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_folder_that_cannot_be_used_at_the_start_is_used_once_it_can_be() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("queue"), "in the way").unwrap();
    let metrics = Metrics::new(&prometheus::Registry::new()).unwrap();
    let place = Place {
        working: working(&folder),
        folder: folder.path().join("queue"),
        lanes: lanes(),
        capacity: 1 << 20,
        steps: Steps::default(),
    };
    let (queue, _thread) = Queue::open(place, &metrics, Beat::unwatched()).unwrap();
    assert!(queue.trouble().unwrap().starts_with("the queue cannot be opened"));
    let mut pushing = std::pin::pin!(queue.push_patiently(LaneId(0), b"x".into()));
    assert!(futures_util::poll!(&mut pushing).is_pending());
    assert_eq!((queue.try_take(&BOTH).await, queue.states().await), (None, Vec::new()));
    fs::remove_file(folder.path().join("queue")).unwrap();
    assert_eq!(pushing.await.unwrap(), 0);
    assert_eq!(queue.take(&BOTH).await.unwrap().body, b"x");
    assert_eq!(queue.trouble(), None);
}

#[tokio::test]
async fn a_file_that_somebody_emptied_is_damage_and_the_rest_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let (queue, thread) = open(&folder, 1 << 20);
    for _ in 0..3 {
        queue.push(LaneId(0), vec![1; 30 << 10]).await.unwrap();
    }
    drop(queue);
    thread.join().unwrap();
    let (queue, _thread) = open(&folder, 1 << 20);
    fs::write(folder.path().join("alerts/0000000000000000.segment"), "").unwrap();
    let mut found = Vec::new();
    while let Some(taken) = queue.try_take(&BOTH).await {
        found.push(taken.number);
        queue.finish(taken.lane, taken.number).await;
    }
    assert_eq!(found, [1, 2]);
    let states = queue.states().await;
    assert_eq!((states[0].damaged, states[0].messages), (1, 0));
}

#[tokio::test]
async fn files_of_others_are_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir_all(folder.path().join("alerts")).unwrap();
    fs::write(folder.path().join("alerts/notes.txt"), "mine").unwrap();
    let (queue, thread) = open(&folder, 1 << 20);
    queue.push(LaneId(0), b"x".into()).await.unwrap();
    drop(queue);
    thread.join().unwrap();
    assert_eq!(fs::read_to_string(folder.path().join("alerts/notes.txt")).unwrap(), "mine");
}
