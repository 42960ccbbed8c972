//! Twin and methods towards a hub that refuses, or does not answer, on a clock that is moved by hand.

use std::time::Duration;

use hedef_core::model::Parts;
use hedef_core::repository::{Load, Version};
use serde_json::json;
use tokio::time::timeout;

use super::*;
use crate::care::Working;
use crate::metrics::Metrics;
use crate::queue::{LaneSettings, Place, WhenFull};
use crate::steps::Steps;
use crate::watchdog::Beat;

struct NoModels;

impl Load for NoModels {
    fn load(&self, _: &Version<'_>) -> Result<Parts, String> {
        Err("there are none".into())
    }
}

struct Hub {
    news: mpsc::Sender<News>,
    tellings: mpsc::Receiver<Telling>,
    wishes: watch::Receiver<Wishes>,
    _folder: tempfile::TempDir,
}

impl Hub {
    fn connect() -> Self {
        Self::connect_with(tempfile::tempdir().unwrap())
    }

    /// One of a device whose queue is in `queue` in the folder.
    fn connect_with(folder: tempfile::TempDir) -> Self {
        let registry = prometheus::Registry::new();
        let metrics = hedef_core::metrics::Metrics::new(&registry).unwrap();
        let place = Place {
            working: Arc::new(Working::begin(folder.path()).unwrap()),
            folder: folder.path().join("queue"),
            lanes: vec![LaneSettings {
                name: "lane".into(),
                priority: 0,
                when_full: WhenFull::DropNew,
                share: 1,
                max_age: None,
            }],
            capacity: 1 << 20,
            steps: Steps::default(),
        };
        let (queue, work) = Queue::prepare(place, &Metrics::new(&registry).unwrap(), Beat::unwatched());
        tokio::spawn(work);
        let (wishes_sender, wishes) = watch::channel(Wishes::default());
        let surroundings = Surroundings {
            repository: Arc::new(Repository::new(Vec::new(), Box::new(NoModels), metrics)),
            updates: Updates::default(),
            queue,
            changed: Arc::default(),
            wishes: wishes_sender,
            started: Instant::now(),
        };
        let (tell, tellings) = mpsc::channel(8);
        let (news, heard) = mpsc::channel(8);
        tokio::spawn(Control::new(surroundings, tell).run(heard, CancellationToken::new()));
        Self { news, tellings, wishes, _folder: folder }
    }

    async fn say(&self, news: News) {
        self.news.send(news).await.unwrap();
    }

    /// Answers the next report, and returns what it said of the data folder.
    async fn data(&mut self) -> Value {
        let (topic, told) = timeout(AGAIN, self.tellings.recv()).await.unwrap().unwrap();
        let request = topic.strip_prefix(PATCH).unwrap_or_else(|| panic!("{topic}")).parse().unwrap();
        self.answer(request, 204, "").await;
        serde_json::from_slice::<Value>(&told).unwrap()["data"].take()
    }

    /// The next request, which has to be of that kind, and how long it took to come.
    async fn request(&mut self, kind: &str) -> (u64, Duration) {
        let began = Moment::now();
        let (topic, _) = timeout(Duration::from_secs(100), self.tellings.recv()).await.unwrap().unwrap();
        let request = topic.strip_prefix(kind).unwrap_or_else(|| panic!("{topic}"));
        (request.parse().unwrap(), began.elapsed())
    }

    async fn answer(&self, request: u64, status: u16, body: &str) {
        self.say(News::TwinResponse { status, request, body: body.into() }).await;
    }
}

const GET: &str = "$iothub/twin/GET/?$rid=";
const PATCH: &str = "$iothub/twin/PATCH/properties/reported/?$rid=";

#[tokio::test(start_paused = true)]
async fn what_the_hub_refuses_for_now_is_tried_again_in_a_while_and_not_at_once() {
    let mut hub = Hub::connect();
    hub.say(News::Connected).await;
    let (get, _) = hub.request(GET).await;
    let (patch, _) = hub.request(PATCH).await;
    hub.answer(get, 500, "").await;
    hub.answer(patch, 429, "").await;
    let (get, after) = hub.request(GET).await;
    assert_eq!(after, AGAIN);
    let (patch, _) = hub.request(PATCH).await;
    // Neither is answered now.
    let (again, after) = hub.request(GET).await;
    assert!(again > patch && patch > get && after == AGAIN);
    hub.request(PATCH).await;
    hub.answer(again, 200, r#"{"desired": {"model": "m", "$version": 4}, "reported": {}}"#).await;
    hub.wishes.wait_for(|wishes| wishes.model.as_deref() == Some("m")).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn nothing_is_asked_again_that_was_answered() {
    let mut hub = Hub::connect();
    hub.say(News::Connected).await;
    let (get, _) = hub.request(GET).await;
    let (patch, _) = hub.request(PATCH).await;
    hub.answer(get, 200, r#"{"desired": {"$version": 1}, "reported": {}}"#).await;
    hub.answer(patch, 204, "").await;
    // The version that is followed.
    let (patch, _) = hub.request(PATCH).await;
    hub.answer(patch, 204, "").await;
    assert!(timeout(AGAIN * 3, hub.tellings.recv()).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn what_the_twin_says_in_vain_is_told_in_few_words() {
    let mut hub = Hub::connect();
    hub.say(News::Connected).await;
    let (get, _) = hub.request(GET).await;
    let (patch, _) = hub.request(PATCH).await;
    hub.answer(patch, 204, "").await;
    let twin = json!({ "desired": { "model": vec!["x"; 5000], "$version": 2 }, "reported": {} });
    hub.answer(get, 200, &twin.to_string()).await;
    let (_, told) = hub.tellings.recv().await.unwrap();
    let told: Value = serde_json::from_slice(&told).unwrap();
    let error = told["desired"]["error"].as_str().unwrap();
    assert!(error.starts_with("`model`: expected a name") && error.len() < 1000, "{error}");
}

#[tokio::test(start_paused = true)]
async fn what_is_wrong_with_the_data_folder_is_reported_and_taken_back() {
    let folder = tempfile::tempdir().unwrap();
    let way = folder.path().join("queue");
    std::fs::write(&way, "in the way").unwrap();
    let mut hub = Hub::connect_with(folder);
    hub.say(News::Connected).await;
    hub.request(GET).await;
    let data = hub.data().await;
    assert_eq!(data["writable"], false);
    assert!(data["error"].as_str().unwrap().starts_with("the queue cannot be opened"), "{data}");
    std::fs::remove_file(&way).unwrap();
    assert_eq!(hub.data().await, json!({ "writable": true, "error": null }));
}

#[tokio::test(start_paused = true)]
async fn what_changes_all_the_time_is_reported_now_and_then() {
    let (sender, mut receiver) = watch::channel(0);
    tokio::spawn(async move {
        for number in 0..1000 {
            sender.send_replace(number);
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    });
    let (began, mut due, mut seen) = (Moment::now(), Moment::now(), 0);
    while changed_after(&mut receiver, due).await {
        seen += 1;
        due = Moment::now() + DATA_INTERVAL;
    }
    assert!((20..=22).contains(&seen) && began.elapsed() >= Duration::from_secs(99), "{seen}");
}
