//! One queued request, and its caller's hold on it.

use std::sync::Arc;
use std::time::Instant;

use tokio::sync::oneshot;

use super::Shared;
use super::backlog::Promise;
use super::lane::Lane;
use super::ticket::Place;
use crate::story::Reason;
use crate::{Error, Request, Response};

/// A queued request.
#[derive(Debug)]
pub(crate) struct Job {
    pub(crate) request: Request,
    pub(crate) reply: oneshot::Sender<Result<Response, Error>>,
    pub(crate) queued: Instant,
    pub(crate) span: tracing::Span,
    pub(crate) place: Arc<Place>,
    /// The size class of its rows.
    pub(crate) class: u32,
    /// When the answer is due: the caller's deadline, or by the model's objective if that is sooner.
    pub(crate) due: Option<Instant>,
    /// What it is expected to add to the work of a full queue, in seconds.
    pub(crate) cost: f64,
    /// The seconds from its coming to its answer as they were expected, before the forecast's bias.
    pub(crate) promised: f64,
}

impl Job {
    /// What it was told when it came.
    pub(super) const fn promise(&self) -> Promise {
        Promise { queued: self.queued, seconds: self.promised }
    }

    /// Tells who asks that it is not run.
    pub(super) fn turned_away(&self, now: Instant, why: Reason) {
        if let Some(asked) = self.request.asked() {
            asked.turned_away(self.queued, now.saturating_duration_since(self.queued), why);
        }
    }

    /// Whether its caller has stopped waiting.
    pub(crate) fn has_expired(&self, now: Instant) -> bool {
        self.request.deadline().is_some_and(|deadline| deadline <= now)
    }

    /// Whether its answer would be due before a run of `seconds` that starts `now` could end.
    pub(crate) fn is_due_within(&self, now: Instant, seconds: f64) -> bool {
        self.due.is_some_and(|due| due.saturating_duration_since(now).as_secs_f64() < seconds)
    }
}

/// A caller's hold on its request. Dropping it is leaving: a request that waits is taken out of the queue, a run that
/// nobody waits for any more is ended.
#[derive(Debug)]
pub(crate) struct Ticket {
    pub(crate) shared: Arc<Shared>,
    pub(crate) place: Arc<Place>,
    pub(crate) lane: Lane,
    pub(crate) number: u64,
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if self.place.leave()
            && let Some(job) = self.shared.queue.remove(&self.lane, self.number)
        {
            self.shared.forget(&job);
        }
    }
}
