//! What one trial found.

use std::collections::BTreeMap;
use std::time::Duration;

use hdrhistogram::Histogram;
use serde_json::{Value, json};

use crate::clock::nanoseconds;
use crate::numbers::{count, real, share};

/// The quantiles that are told.
pub(crate) const QUANTILES: [(&str, f64); 5] =
    [("p50", 0.5), ("p90", 0.9), ("p95", 0.95), ("p99", 0.99), ("p99.9", 0.999)];

/// How one request ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// As it should.
    Right,
    /// With status 200 and something else than expected.
    Wrong(String),
    /// With another status, and what the server said.
    Status(u16, String),
    /// Without an answer, for this reason.
    Lost(&'static str, String),
}

/// What one trial found.
#[derive(Clone, Debug)]
pub struct Measured {
    bound: Option<Duration>,
    /// Of right answers, in nanoseconds.
    pub(crate) latency: Histogram<u64>,
    /// Of refusals because of too many requests, in nanoseconds.
    pub(crate) refusals: Histogram<u64>,
    /// How late requests of an open load were sent although there was a connection for them, in nanoseconds: a
    /// generator that is too slow.
    pub(crate) late: Histogram<u64>,
    /// Right answers within the bound.
    good: u64,
    /// The rows of right answers.
    rows: u64,
    statuses: BTreeMap<u16, u64>,
    wrong: u64,
    lost: BTreeMap<&'static str, u64>,
    /// What was said first for each way of going wrong.
    complaints: BTreeMap<String, String>,
    /// Callers who left before their answer, on purpose.
    pub(crate) left: u64,
    /// The time that was measured.
    pub(crate) elapsed: Duration,
    /// Whether it was given up as hopeless.
    pub(crate) hopeless: bool,
    /// The share of its time that the generator was busy.
    pub(crate) generator_busy: Option<f64>,
    /// The connections that were opened.
    pub(crate) connections: u64,
    /// The mean rows of a run, where runs can be seen.
    pub(crate) mean_rows: Option<f64>,
}

impl Measured {
    pub(crate) fn new(bound: Option<Duration>) -> Self {
        Self {
            bound,
            latency: histogram(),
            refusals: histogram(),
            late: histogram(),
            good: 0,
            rows: 0,
            statuses: BTreeMap::new(),
            wrong: 0,
            lost: BTreeMap::new(),
            complaints: BTreeMap::new(),
            left: 0,
            elapsed: Duration::ZERO,
            hopeless: false,
            generator_busy: None,
            connections: 0,
            mean_rows: None,
        }
    }

    /// Counts a request of so many rows that ended like this after this time.
    pub(crate) fn record(&mut self, outcome: Outcome, latency: Duration, rows: usize) {
        match outcome {
            Outcome::Right => {
                self.latency.saturating_record(nanoseconds(latency));
                self.good += u64::from(self.bound.is_none_or(|bound| latency <= bound));
                self.rows += count(rows);
                *self.statuses.entry(200).or_default() += 1;
            }
            Outcome::Wrong(complaint) => {
                self.wrong += 1;
                *self.statuses.entry(200).or_default() += 1;
                self.complain("wrong answer".into(), complaint);
            }
            Outcome::Status(status, message) => {
                if matches!(status, 429 | 503) {
                    self.refusals.saturating_record(nanoseconds(latency));
                }
                *self.statuses.entry(status).or_default() += 1;
                self.complain(format!("status {status}"), message);
            }
            Outcome::Lost(reason, message) => {
                *self.lost.entry(reason).or_default() += 1;
                self.complain(reason.to_owned(), message);
            }
        }
    }

    /// Counts requests that were due and never sent.
    pub(crate) fn never_sent(&mut self, requests: u64) {
        if requests > 0 {
            *self.lost.entry("never sent").or_default() += requests;
        }
    }

    fn complain(&mut self, what: String, message: String) {
        self.complaints.entry(what).or_insert(message);
    }

    /// Adds what another part of the same trial found.
    pub(crate) fn add(&mut self, other: &Self) {
        // Two histograms made alike always fit together.
        let _ = self.latency.add(&other.latency);
        let _ = self.refusals.add(&other.refusals);
        self.good += other.good;
        self.rows += other.rows;
        self.wrong += other.wrong;
        self.left += other.left;
        for (status, requests) in &other.statuses {
            *self.statuses.entry(*status).or_default() += requests;
        }
        for (reason, requests) in &other.lost {
            *self.lost.entry(reason).or_default() += requests;
        }
        for (what, message) in &other.complaints {
            self.complain(what.clone(), message.clone());
        }
    }

    /// Every request that counts, answered or not.
    #[must_use]
    pub fn requests(&self) -> u64 {
        self.statuses.values().sum::<u64>() + self.lost.values().sum::<u64>()
    }

    /// Right answers, however late.
    #[must_use]
    pub fn right(&self) -> u64 {
        self.latency.len()
    }

    /// Requests without a right answer.
    #[must_use]
    pub fn errors(&self) -> u64 {
        self.requests() - self.right()
    }

    /// Requests without a right answer within the bound.
    #[must_use]
    pub fn misses(&self) -> u64 {
        self.requests() - self.good
    }

    /// The share of requests with a right answer within the bound.
    #[must_use]
    pub fn good_share(&self) -> f64 {
        share(self.good, self.requests())
    }

    /// Answers a second, whatever they say.
    #[must_use]
    pub fn throughput(&self) -> f64 {
        self.per_second(self.statuses.values().sum())
    }

    /// Right answers within the bound a second.
    #[must_use]
    pub fn goodput(&self) -> f64 {
        self.per_second(self.good)
    }

    /// Rows of right answers a second.
    #[must_use]
    pub fn rows_per_second(&self) -> f64 {
        self.per_second(self.rows)
    }

    /// The time that this share of right answers took at most.
    #[must_use]
    pub fn quantile(&self, quantile: f64) -> Duration {
        Duration::from_nanos(self.latency.value_at_quantile(quantile))
    }

    fn per_second(&self, count: u64) -> f64 {
        let seconds = self.elapsed.as_secs_f64();
        if seconds > 0.0 { real(count) / seconds } else { 0.0 }
    }

    /// What went wrong: the way, how often, and what was said first.
    #[must_use]
    pub fn complaints(&self) -> Vec<(String, u64, String)> {
        let times = |what: &str| match what.strip_prefix("status ").and_then(|status| status.parse::<u16>().ok()) {
            Some(status) => self.statuses.get(&status).copied(),
            None if what == "wrong answer" => Some(self.wrong),
            None => self.lost.get(what).copied(),
        };
        let lost = self.lost.keys().filter(|reason| !self.complaints.contains_key(**reason));
        let said = self.complaints.iter().map(|(what, message)| (what.clone(), message.clone()));
        let all = said.chain(lost.map(|reason| ((*reason).to_owned(), String::new())));
        all.map(|(what, message)| (what.clone(), times(&what).unwrap_or(0), message)).collect()
    }

    /// Everything, as JSON.
    #[must_use]
    pub fn json(&self) -> Value {
        let errors: Vec<_> = self
            .complaints()
            .into_iter()
            .map(|(what, times, message)| json!({"what": what, "times": times, "message": message}))
            .collect();
        let statuses: BTreeMap<String, u64> =
            self.statuses.iter().map(|(status, requests)| (status.to_string(), *requests)).collect();
        json!({
            "seconds": self.elapsed.as_secs_f64(),
            "requests": self.requests(),
            "right": self.right(),
            "good": self.good,
            "good_share": self.good_share(),
            "errors": self.errors(),
            "left_early": self.left,
            "rows": self.rows,
            "requests_per_second": self.throughput(),
            "goodput": self.goodput(),
            "rows_per_second": self.rows_per_second(),
            "latency_us": spread(&self.latency),
            "refusal_us": spread(&self.refusals),
            "sent_late_us": spread(&self.late),
            "statuses": statuses,
            "complaints": errors,
            "connections": self.connections,
            "generator_busy": self.generator_busy,
            "mean_rows": self.mean_rows,
            "hopeless": self.hopeless,
        })
    }
}

/// Three digits up to 18 minutes; what is longer counts as that.
#[expect(clippy::expect_used, reason = "the bounds are constants that the crate documents as valid")]
fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, 1 << 40, 3).expect("1 to 2^40 with three digits is valid")
}

/// A histogram's times in microseconds; nothing where it is empty.
fn spread(histogram: &Histogram<u64>) -> Value {
    if histogram.is_empty() {
        return Value::Null;
    }
    let mut all = serde_json::Map::new();
    all.insert("mean".into(), json!(histogram.mean() / 1e3));
    for (name, quantile) in QUANTILES {
        all.insert(name.into(), json!(real(histogram.value_at_quantile(quantile)) / 1e3));
    }
    all.insert("max".into(), json!(real(histogram.max()) / 1e3));
    Value::Object(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn milliseconds(times: impl IntoIterator<Item = u64>) -> Measured {
        let mut measured = Measured::new(Some(Duration::from_millis(90)));
        measured.elapsed = Duration::from_secs(2);
        for time in times {
            measured.record(Outcome::Right, Duration::from_millis(time), 2);
        }
        measured
    }

    #[test]
    fn quantiles_are_those_of_what_was_recorded_to_three_digits() {
        let measured = milliseconds(1..=1000);
        for (quantile, expected) in [(0.5, 500.0), (0.9, 900.0), (0.99, 990.0), (0.999, 999.0)] {
            let found = measured.quantile(quantile).as_secs_f64() * 1e3;
            assert!((found / expected - 1.0).abs() < 0.001, "{quantile}: {found}");
        }
        assert!((measured.json()["latency_us"]["max"].as_f64().unwrap() / 1e6 - 1.0).abs() < 0.001);
    }

    #[test]
    fn goodput_is_less_than_throughput_where_answers_are_late_or_no_answers() {
        let mut measured = milliseconds(1..=100);
        measured.record(Outcome::Status(503, "full".into()), Duration::from_millis(3), 1);
        measured.record(Outcome::Status(503, "still full".into()), Duration::from_millis(1), 1);
        measured.record(Outcome::Lost("closed", "reset".into()), Duration::ZERO, 1);
        measured.never_sent(5);
        assert_eq!((measured.requests(), measured.right(), measured.errors(), measured.misses()), (108, 100, 8, 18));
        assert!((measured.throughput() - 51.0).abs() < 1e-9);
        assert!((measured.goodput() - 45.0).abs() < 1e-9);
        assert!((measured.rows_per_second() - 100.0).abs() < 1e-9);
        let complaints = measured.complaints();
        assert!(complaints.contains(&("status 503".into(), 2, "full".into())), "{complaints:?}");
        assert!(complaints.contains(&("never sent".into(), 5, String::new())), "{complaints:?}");
        assert!(measured.json()["refusal_us"]["max"].as_f64().unwrap() > 2_900.0);
    }

    #[test]
    fn parts_of_a_trial_add_up() {
        let mut all = milliseconds(1..=50);
        all.add(&milliseconds(51..=100));
        assert_eq!((all.right(), all.misses(), all.quantile(1.0).as_millis()), (100, 10, 100));
    }
}
