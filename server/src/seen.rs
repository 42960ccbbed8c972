//! What is kept of a request for those who want to see it: one that asked for its story, and one that is traced.

use std::sync::OnceLock;
use std::time::{Duration, Instant};

use hedef_core::Request;
use hedef_core::story::{Story, Told, TurnedAway};
use http::{HeaderMap, HeaderName};
use serde::Serialize;

use crate::call::Call;
use crate::error::ApiError;
use crate::traces::{Traced, Traces};

/// The header that asks for a request's story, and brings it.
pub(crate) const EXPLAIN: HeaderName = HeaderName::from_static(STORY);

/// Its name.
pub(crate) const STORY: &str = "hedef-explain";

/// What is seen of one request.
#[derive(Debug)]
pub(crate) struct Seen {
    explain: bool,
    traced: Option<Traced>,
    decoded: OnceLock<Decoded>,
    story: Told,
    failure: OnceLock<ApiError>,
}

#[derive(Clone, Copy, Debug)]
struct Decoded {
    at: Instant,
    rows: usize,
}

impl Seen {
    /// What is to be seen of a request with that head; mostly nothing, which costs nothing.
    pub(crate) fn of(headers: &HeaderMap, traces: Option<&Traces>) -> Option<Box<Self>> {
        let explain = headers.get(EXPLAIN).is_some_and(|value| value == "1");
        let traced = traces.and_then(|traces| traces.follow(headers));
        (explain || traced.is_some()).then(|| Self::new(explain, traced))
    }

    fn new(explain: bool, traced: Option<Traced>) -> Box<Self> {
        let (decoded, story, failure) = Default::default();
        Box::new(Self { explain, traced, decoded, story, failure })
    }

    /// The same for one of the requests that come in the stream of this one.
    pub(crate) fn again(&self) -> Box<Self> {
        Self::new(self.explain, self.traced.as_ref().map(Traced::again))
    }

    /// Notes that the request has become tensors, and has it bring its story.
    pub(crate) fn decode(&self, request: Request) -> Request {
        // Here and below: each happens once to a request, and a second note would say the same.
        let _ = self.decoded.set(Decoded { at: Instant::now(), rows: request.rows() });
        request.with_story(self.traced.as_ref().map(|traced| traced.own.mark()), self.story.clone())
    }

    /// Notes why it has none.
    pub(crate) fn fail(&self, failure: &ApiError) {
        let _ = self.failure.set(failure.clone());
    }

    /// Whether and where it is traced.
    pub(crate) fn traced(&self) -> Option<&Traced> {
        self.traced.as_ref()
    }

    /// When it had become tensors.
    pub(crate) fn decoded(&self) -> Option<Instant> {
        self.decoded.get().map(|decoded| decoded.at)
    }

    /// Its rows.
    pub(crate) fn rows(&self) -> Option<usize> {
        self.decoded.get().map(|decoded| decoded.rows)
    }

    /// How it was run.
    pub(crate) fn story(&self) -> Option<&Story> {
        self.story.story()
    }

    /// Why it was not run, where it came to the queue.
    pub(crate) fn turned_away(&self) -> Option<&TurnedAway> {
        self.story.turned_away()
    }

    /// Why it has no answer.
    pub(crate) fn failure(&self) -> Option<&ApiError> {
        self.failure.get()
    }

    /// The story of a scoring request, if it asked for it: JSON, which fits into a header.
    pub(crate) fn told(&self, call: &Call, failure: Option<&ApiError>) -> Option<String> {
        if !self.explain {
            return None;
        }
        serde_json::to_string(&self.tell(call, failure, Instant::now())).ok()
    }

    fn tell<'a>(&'a self, call: &'a Call, failure: Option<&ApiError>, now: Instant) -> Telling<'a> {
        let since = |from: Option<Instant>, to: Option<Instant>| Some(micros(to?.saturating_duration_since(from?)));
        let (story, away) = (self.story(), self.turned_away());
        let road = story.map(|story| story.road).or_else(|| away.map(|away| away.road));
        Telling {
            model: call.model().map(|id| id.name.as_str()),
            version: call.model().map(|id| id.version),
            outcome: failure.map_or("ok", |failure| failure.kind().label()),
            rows: self.rows(),
            road: road.map(|road| if road.is_at_once() { "inline" } else { "queued" }),
            road_why: road.map(|road| road.to_string()),
            decode_us: since(call.decoding(), self.decoded()),
            queue_us: story.map(|story| story.timings.queue).or_else(|| away.map(|away| away.waited)).map(micros),
            turned_away: away.map(|away| away.why.to_string()),
            compute_us: story.map(|story| micros(story.timings.compute)),
            encode_us: since(call.encoding(), Some(now)).filter(|_| failure.is_none()),
            batch: story.map(|story| Batch {
                id: story.run.number,
                rows: story.run.rows,
                requests: story.run.requests,
                why: story.run.size.to_string(),
            }),
            instance: story.and_then(|story| story.instance),
            threads: story.map(|story| story.threads),
            padded: story.and_then(|story| story.run.padded),
        }
    }
}

/// A request's own story, as `hedef-explain` brings it. What is not known is left out: a refused request has little.
///
/// ```json
/// {"model":"iris","version":1,"outcome":"ok","rows":1,"road":"queued","road_why":"others waited already",
///  "decode_us":3.1,"queue_us":410.0,"compute_us":92.5,"encode_us":2.2,
///  "batch":{"id":17,"rows":8,"requests":5,"why":"cap of 8 rows"},"instance":0,"threads":1,"padded":128}
/// ```
///
/// `road` is `inline` (run at once by the thread that read it, or read another one that was ready at the same moment) or
/// `queued`; a run at once of one request has no number, so its `batch` no `id`, and none has an `instance`. Times are
/// microseconds. Of other requests it tells how many shared the run, and no more. A request
/// that came to the queue and was not run has in `turned_away` why, and in `queue_us` how long it waited: nothing where it was
/// not let in.
///
/// In a stream of gRPC, whose metadata asks for all of its requests, each answer has the story in its parameter of that
/// name; an error that ends the stream has it in the trailers.
#[derive(Debug, Serialize)]
struct Telling<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    model: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<u64>,
    outcome: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    rows: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    road: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    road_why: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    decode_us: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    queue_us: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    turned_away: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    compute_us: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    encode_us: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    batch: Option<Batch>,
    #[serde(skip_serializing_if = "Option::is_none")]
    instance: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    threads: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    padded: Option<usize>,
}

/// The run that a request was part of.
#[derive(Debug, Serialize)]
struct Batch {
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<u64>,
    rows: usize,
    requests: usize,
    why: String,
}

/// Microseconds, to a tenth.
fn micros(time: Duration) -> f64 {
    (time.as_secs_f64() * 1e7).round() / 10.0
}
