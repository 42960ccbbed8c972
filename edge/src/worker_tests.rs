//! The worker between two lanes of a queue, without a model that could answer.

use std::path::Path;
use std::thread::JoinHandle;
use std::time::Duration;

use hedef_core::model::Parts;
use hedef_core::repository::{Load, Version};
use prometheus::Registry;

use super::*;
use crate::care::Working;
use crate::queue::{LaneSettings, Place, WhenFull};
use crate::steps::Steps;

/// Wants everything, and sends back what was asked.
struct Echo;

impl Source for Echo {
    fn plan(&self, _: &Message) -> Option<Plan> {
        Some(Plan::default())
    }

    fn reply(&self, message: &Message, _: Result<Scored, ScoreError>) -> Message {
        message.clone()
    }
}

struct NothingLoads;

impl Load for NothingLoads {
    fn load(&self, _: &Version<'_>) -> Result<Parts, String> {
        Err("it is broken".into())
    }
}

/// The queue, its thread, and what is counted.
fn open(folder: &Path, max_age: Option<Duration>) -> (Queue, JoinHandle<()>, Metrics) {
    let lane = |name: &str, max_age| {
        let when_full = WhenFull::DropNew;
        LaneSettings { name: name.into(), priority: 0, when_full, share: 1, max_age }
    };
    let metrics = Metrics::new(&Registry::new()).unwrap();
    let lanes = vec![lane("in", max_age), lane("out", None)];
    let place = Place {
        working: Arc::new(Working::begin(folder).unwrap()),
        folder: folder.into(),
        lanes,
        capacity: 1 << 20,
        steps: Steps::default(),
    };
    let (queue, thread) = Queue::open(place, &metrics, Beat::unwatched()).unwrap();
    (queue, thread, metrics)
}

async fn push(queue: &Queue, body: &str) {
    let message = Message { place: "in".into(), properties: Vec::new(), body: body.into() };
    queue.push(LaneId(0), message.encode().unwrap()).await.unwrap();
}

/// Works until nothing waits, and returns what was answered.
async fn work(queue: &Queue, metrics: &Metrics) -> Vec<String> {
    let core = hedef_core::metrics::Metrics::new(&Registry::new()).unwrap();
    let bench = Bench {
        repository: Arc::new(Repository::new(Vec::new(), Box::new(NothingLoads), core)),
        queue: queue.clone(),
        input: LaneId(0),
        outputs: vec![LaneId(1)],
        parallel: Parallel::new(4),
        count: AtomicU64::new(0),
        care: None,
        metrics: metrics.clone(),
        beat: Beat::unwatched(),
    };
    let stop = CancellationToken::new();
    let working = tokio::spawn(Worker { bench, source: Arc::new(Echo) }.run(stop.clone()));
    while queue.states().await[0].messages > 0 {
        tokio::task::yield_now().await;
    }
    stop.cancel();
    working.await.unwrap();
    let mut answers = Vec::new();
    while let Some(taken) = queue.try_take(&[LaneId(1)]).await {
        answers.push(String::from_utf8(Message::decode(&taken.body).unwrap().body).unwrap());
        queue.finish(taken.lane, taken.number).await;
    }
    answers
}

#[tokio::test]
async fn what_is_too_old_is_done_without_an_answer_and_counted() {
    let folder = tempfile::tempdir().unwrap();
    let (queue, _thread, metrics) = open(folder.path(), Some(Duration::ZERO));
    for body in ["a", "b", "c"] {
        push(&queue, body).await;
    }
    assert!(work(&queue, &metrics).await.is_empty());
    assert_eq!(metrics.all_skipped(), 3);
}

#[tokio::test]
async fn what_waited_at_a_restart_is_too_old_and_what_comes_after_it_is_not() {
    let (folder, hour) = (tempfile::tempdir().unwrap(), Duration::from_secs(3600));
    let (queue, thread, _) = open(folder.path(), Some(hour));
    push(&queue, "old").await;
    drop(queue);
    thread.join().unwrap();
    let (queue, _thread, metrics) = open(folder.path(), Some(hour));
    push(&queue, "new").await;
    assert_eq!((work(&queue, &metrics).await, metrics.all_skipped()), (vec!["new".to_owned()], 1));
}

#[tokio::test]
async fn without_a_limit_nothing_is_skipped() {
    let folder = tempfile::tempdir().unwrap();
    let (queue, thread, _) = open(folder.path(), None);
    push(&queue, "old").await;
    drop(queue);
    thread.join().unwrap();
    let (queue, _thread, metrics) = open(folder.path(), None);
    assert_eq!((work(&queue, &metrics).await, metrics.all_skipped()), (vec!["old".to_owned()], 0));
}
