//! What is tried of a model: whether its rows may share runs, and what runs of them take.

use std::sync::Arc;
use std::time::Duration;

use super::loader::wide;
use crate::Signature;
use crate::backend::Backend;
use crate::cache::{GraphCache, Key};
use crate::model::{Judged, Later, Trial};
use crate::settings::Settings;
use crate::verdict::{SHORT, Verdict};
use crate::warm_up::{self, First};

const DEFAULT_MAX_ROWS: usize = 64;

/// Trial runs: the elements of a row, and rows and time of each.
type Timed = (usize, Vec<(usize, Duration)>);

/// The trials of one model.
pub(super) struct Trials {
    pub(super) settings: Settings,
    /// What the first run showed.
    pub(super) first: First,
    /// What trials of the same graph showed earlier.
    pub(super) verdict: Option<Verdict>,
    /// Where to keep what they show.
    pub(super) note: Option<(Arc<GraphCache>, Key)>,
    /// Whether the first run of each batch size is slow, so that it is made before anybody waits for it.
    pub(super) each_size: bool,
}

impl Trials {
    /// Whether they take no time to speak of.
    pub(super) fn are_short(&self) -> bool {
        self.verdict.is_some() || self.first.took <= SHORT
    }

    /// What is certain without any.
    pub(super) fn certain(&self, signature: &Signature) -> Option<Judged> {
        if self.settings.batching.enabled.is_none() && signature.could_batch() {
            return None;
        }
        let (batch_axis, reason) = batching(&self.settings, signature, Err(warm_up::NOT_FREE.into()));
        Some(Judged { batch_axis, reason, ..Judged::default() })
    }

    /// Makes the trials on `backend`, which nobody uses yet.
    pub(super) fn make(&self, backend: &dyn Backend) -> Judged {
        let (judged, verdict) = self.judge(backend, |runs| runs(backend));
        self.keep(verdict);
        judged
    }

    /// The same, to be made while the model serves.
    pub(super) fn later(self) -> Later {
        let max_batch_rows = most_rows(&self.settings);
        let trials = move |trial: &Trial<'_>| {
            let (judged, verdict) = self.judge(trial, |runs| trial.in_one_turn(runs));
            // Runs that were refused because the model is unloaded show nothing.
            if !trial.is_over() {
                self.keep(verdict);
            }
            judged
        };
        Later { max_batch_rows, trials: Box::new(trials) }
    }

    /// Judges by the verdict there is, else by trials; `timed` makes those whose time is taken.
    fn judge(
        &self,
        backend: &dyn Backend,
        timed: impl FnOnce(&dyn Fn(&dyn Backend) -> Timed) -> Timed,
    ) -> (Judged, Option<Verdict>) {
        let judged = |independent_rows, (row_elements, trials)| {
            let (batch_axis, reason) = batching(&self.settings, backend.signature(), independent_rows);
            Judged { batch_axis, reason, row_elements, trials }
        };
        if let Some(verdict) = &self.verdict {
            return (judged(verdict.outcome().independent_rows, verdict.trials()), None);
        }
        let outcome = warm_up::judge(backend, &self.first);
        let (batch_axis, _) = batching(&self.settings, backend.signature(), outcome.independent_rows.clone());
        let rows = if batch_axis { most_rows(&self.settings) } else { 0 };
        let each_size = self.each_size;
        let runs = |guess| {
            timed(&move |backend| {
                if each_size {
                    warm_up::run_each_size(backend, guess, rows);
                }
                warm_up::time_runs(backend, guess, rows)
            })
        };
        let times = outcome.guess.map(runs);
        let times = times.unwrap_or_default();
        let verdict = Verdict::new(&outcome, times.0, &times.1);
        (judged(outcome.independent_rows, times), verdict)
    }

    fn keep(&self, verdict: Option<Verdict>) {
        if let (Some((cache, key)), Some(verdict)) = (&self.note, verdict) {
            // Without it, the next start makes the trials once more.
            let _ = cache.note(key, &verdict);
        }
    }
}

/// Whether axis 0 is the batch axis, and why.
fn batching(settings: &Settings, signature: &Signature, independent_rows: Result<(), String>) -> (bool, String) {
    match (settings.batching.enabled, independent_rows) {
        (Some(false), _) => (false, "off in model.toml".into()),
        (Some(true), _) if signature.could_batch() => (true, "on in model.toml".into()),
        (_, Ok(())) => (true, "a trial showed that rows do not influence one another".into()),
        (_, Err(reason)) => (false, reason),
    }
}

/// The most rows in one run of a model whose rows may share one.
pub(super) fn most_rows(settings: &Settings) -> usize {
    settings.batching.max_rows.map_or(DEFAULT_MAX_ROWS, wide)
}
