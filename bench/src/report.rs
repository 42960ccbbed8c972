//! What was measured, whole.

use serde_json::{Value, json};

use crate::measured::Measured;
use crate::subject::{Load, Trial};
use crate::table;

/// What was measured.
#[derive(Clone, Debug)]
pub struct Report {
    pub(crate) subject: Value,
    pub(crate) plan: &'static str,
    pub(crate) trials: Vec<Ran>,
    pub(crate) verdict: Verdict,
}

/// One trial and what it found.
#[derive(Clone, Debug)]
pub(crate) struct Ran {
    pub(crate) trial: Trial,
    pub(crate) measured: Measured,
}

/// The one figure that a plan is about.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Verdict {
    pub(crate) name: &'static str,
    pub(crate) value: f64,
    /// Whether the plan's condition holds, if it has one.
    pub(crate) valid: Option<bool>,
}

impl Verdict {
    pub(crate) const fn figure(name: &'static str, value: f64) -> Self {
        Self { name, value, valid: None }
    }
}

impl Report {
    /// The table for a person.
    #[must_use]
    pub fn table(&self) -> String {
        let mut text = String::new();
        if let Some(Ran { measured, .. }) = self.trials.last() {
            table::write(&mut text, measured);
        }
        table::verdict(&mut text, &self.verdict, self.plan);
        text
    }

    /// Everything, as JSON: what was measured, how, and every trial's figures; `measured` is the last one's.
    #[must_use]
    pub fn json(&self) -> Value {
        let trials: Vec<_> = self
            .trials
            .iter()
            .map(|Ran { trial, measured }| json!({"trial": settings(trial), "measured": measured.json()}))
            .collect();
        json!({
            "subject": self.subject,
            "plan": self.plan,
            "result": {self.verdict.name: self.verdict.value, "valid": self.verdict.valid},
            "measured": self.trials.last().map(|ran| ran.measured.json()),
            "trials": trials,
        })
    }

    /// Requests of the last trial without a right answer.
    #[must_use]
    pub fn errors(&self) -> u64 {
        self.trials.last().map_or(0, |ran| ran.measured.errors())
    }
}

fn settings(trial: &Trial) -> Value {
    let load = match trial.load {
        Load::Closed { callers } => json!({"closed": {"callers": callers}}),
        Load::Queries { samples } => json!({"queries": {"samples": samples}}),
        Load::Open { rate } => json!({"open": {"rate": rate}}),
    };
    json!({
        "load": load,
        "duration_s": trial.length.duration.as_secs_f64(),
        "warm_up_s": trial.length.warm_up.as_secs_f64(),
        "requests": trial.length.requests,
        "bound_us": trial.bound.map(|bound| bound.as_secs_f64() * 1e6),
        "seed": trial.seed,
    })
}
