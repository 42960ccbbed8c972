//! What to measure, and what the answer is.

use std::time::Duration;

use crate::find::highest_rate;
use crate::measured::Measured;
use crate::numbers::{count, real};
use crate::progress::Progress;
use crate::report::{Ran, Report, Verdict};
use crate::subject::{Length, Load, Subject, Trial};
use crate::{Error, clock};

/// What to measure. The four scenarios are those of MLPerf Inference
/// (<https://github.com/mlcommons/inference_policies>), with runs as short as one waits for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Plan {
    /// One load.
    Load(Load),
    /// One query of one sample at a time: the 90th percentile of its latency.
    SingleStream,
    /// One query of eight samples at a time: the 99th percentile of its latency.
    MultiStream,
    /// Requests that come at random: whether 99 of 100 are answered within the bound. Without a rate, the highest at
    /// which they are.
    Server {
        /// Requests a second.
        rate: Option<f64>,
    },
    /// All samples are there: rows a second.
    Offline {
        /// The callers; as many as keep all busy where there is no number.
        callers: Option<usize>,
    },
}

/// How to measure.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Settings {
    /// What.
    pub plan: Plan,
    /// The time that is measured; where there is none, one that suits the plan.
    pub duration: Option<Duration>,
    /// Ends a trial after so many requests.
    pub requests: Option<u64>,
    /// The time before, which is not measured.
    pub warm_up: Duration,
    /// A right answer that takes longer is a miss. The server plan needs it.
    pub bound: Option<Duration>,
    /// Decides what is random.
    pub seed: u64,
}

/// The share of requests that may miss the bound.
const MAY_MISS: f64 = 0.01;
const USUAL: Duration = Duration::from_secs(10);
/// A count of requests needs no time limit of its own; this one ends what hangs.
const WITH_REQUESTS: Duration = Duration::from_secs(600);
/// While a rate is searched for: enough requests that one in a hundred says something, within bearable time.
const SEARCH_REQUESTS: f64 = 1500.0;
const SEARCH_SHORTEST: f64 = 3.0;
const SEARCH_LONGEST: f64 = 20.0;
const SATURATED: Duration = Duration::from_secs(2);

/// Measures, and says what was found.
pub fn run(subject: &mut dyn Subject, settings: &Settings, progress: &Progress) -> Result<Report, Error> {
    let mut bench = Bench { subject, settings, progress, ran: Vec::new() };
    let verdict = bench.verdict();
    progress.end();
    let verdict = verdict?;
    Ok(Report { subject: bench.subject.describe(), plan: settings.plan.name(), trials: bench.ran, verdict })
}

impl Plan {
    const fn name(self) -> &'static str {
        match self {
            Self::Load(Load::Closed { .. }) => "closed",
            Self::Load(Load::Queries { .. }) => "queries",
            Self::Load(Load::Open { .. }) => "open",
            Self::SingleStream => "single-stream",
            Self::MultiStream => "multi-stream",
            Self::Server { rate: Some(_) } => "server",
            Self::Server { rate: None } => "find-max",
            Self::Offline { .. } => "offline",
        }
    }
}

struct Bench<'b> {
    subject: &'b mut dyn Subject,
    settings: &'b Settings,
    progress: &'b Progress,
    ran: Vec<Ran>,
}

impl Bench<'_> {
    fn verdict(&mut self) -> Result<Verdict, Error> {
        let microseconds = |measured: &Measured, quantile| real(clock::nanoseconds(measured.quantile(quantile))) / 1e3;
        match self.settings.plan {
            Plan::Load(load) => {
                let measured = self.trial(load)?;
                Ok(Verdict::figure("goodput", measured.goodput()))
            }
            Plan::SingleStream => {
                let measured = self.trial(Load::Closed { callers: 1 })?;
                Ok(Verdict::figure("latency_p90_us", microseconds(&measured, 0.9)))
            }
            Plan::MultiStream => {
                let measured = self.trial(Load::Queries { samples: 8 })?;
                Ok(Verdict::figure("latency_p99_us", microseconds(&measured, 0.99)))
            }
            Plan::Server { rate } => {
                let bound = self.settings.bound;
                let bound = bound.ok_or_else(|| Error::Settings("the server scenario needs --p99".into()))?;
                match rate {
                    Some(rate) => {
                        let measured = self.trial(Load::Open { rate })?;
                        Ok(Verdict { valid: Some(holds(&measured)), ..Verdict::figure("rate", rate) })
                    }
                    None => self.find(bound),
                }
            }
            Plan::Offline { callers } => {
                let callers = callers.unwrap_or_else(|| self.subject.saturating_callers());
                let measured = self.trial(Load::Closed { callers })?;
                Ok(Verdict::figure("rows_per_second", measured.rows_per_second()))
            }
        }
    }

    fn find(&mut self, bound: Duration) -> Result<Verdict, Error> {
        let callers = self.subject.saturating_callers();
        let length = Length { duration: SATURATED, requests: None, warm_up: self.settings.warm_up };
        let plain = Trial { load: Load::Closed { callers }, length, bound: None, hopeless: None, seed: 0 };
        let rows = real(count(self.subject.rows_a_request())).max(1.0);
        let guess = self.run(plain, "as fast as it can".into())?.rows_per_second() / rows;
        if guess <= 0.0 {
            return Err(Error::Settings("not one answer came while as much as possible was asked".into()));
        }
        let mut seed = self.settings.seed;
        let rate = highest_rate(guess * 0.8, |rate, confirm| {
            seed += 1;
            let searched = (SEARCH_REQUESTS / rate).clamp(SEARCH_SHORTEST, SEARCH_LONGEST);
            let duration = self.settings.duration.unwrap_or_else(|| clock::seconds(searched));
            let duration = if confirm { duration * 2 } else { duration };
            let length = Length { duration, requests: None, warm_up: self.settings.warm_up };
            let load = Load::Open { rate };
            let trial = Trial { load, length, bound: Some(bound), hopeless: Some(MAY_MISS), seed };
            let what = if confirm { "confirming" } else { "trying" };
            Ok(holds(&self.run(trial, format!("{what} {rate:.1}/s"))?))
        })?;
        Ok(Verdict { valid: Some(rate > 0.0), ..Verdict::figure("rate", rate) })
    }

    fn trial(&mut self, load: Load) -> Result<Measured, Error> {
        let usual = if self.settings.requests.is_some() { WITH_REQUESTS } else { USUAL };
        let duration = self.settings.duration.unwrap_or(usual);
        let length = Length { duration, requests: self.settings.requests, warm_up: self.settings.warm_up };
        let trial = Trial { load, length, bound: self.settings.bound, hopeless: None, seed: self.settings.seed };
        self.run(trial, self.settings.plan.name().into())
    }

    fn run(&mut self, trial: Trial, what: String) -> Result<Measured, Error> {
        self.progress.begin(what);
        let measured = self.subject.run(&trial, self.progress)?;
        self.ran.push(Ran { trial, measured: measured.clone() });
        Ok(measured)
    }
}

/// Whether so few requests missed the bound that its percentile holds; a request without an answer is one of them.
fn holds(measured: &Measured) -> bool {
    !measured.hopeless && measured.requests() > 0 && measured.good_share() >= 1.0 - MAY_MISS
}
