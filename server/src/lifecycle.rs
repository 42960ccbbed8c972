//! Where the server is between its start and its end, shared by every part that has to know.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Poll, Waker};

use tokio_util::sync::CancellationToken;

/// The three signals of a stop. Each follows the one before it and is never taken back.
#[derive(Clone, Debug, Default)]
pub(crate) struct Lifecycle {
    /// Readiness is off; every answer asks the client to leave.
    pub(crate) stopping: Signal,
    /// No new connection is accepted; those that are open end after their request.
    pub(crate) draining: Signal,
    /// The grace period is over; what is left is given up.
    pub(crate) expired: CancellationToken,
}

impl Lifecycle {
    /// Whether a stop has begun.
    pub(crate) fn is_stopping(&self) -> bool {
        self.stopping.is_raised()
    }
}

/// A signal that every request looks at, so that looking takes no lock, and that is raised once.
#[derive(Clone, Debug, Default)]
pub(crate) struct Signal {
    raised: Arc<AtomicBool>,
    token: CancellationToken,
}

impl Signal {
    /// Raises the signal.
    pub(crate) fn raise(&self) {
        self.raised.store(true, Ordering::Release);
        self.token.cancel();
    }

    /// Whether it is raised.
    pub(crate) fn is_raised(&self) -> bool {
        self.raised.load(Ordering::Acquire)
    }

    /// Waits for the signal. The first poll in a task tells the signal whom to wake, those that the task's other work
    /// causes only look.
    pub(crate) async fn raised(&self) {
        let mut waiting = pin!(self.token.cancelled());
        let mut told: Option<Waker> = None;
        poll_fn(|context| {
            if told.as_ref().is_some_and(|told| told.will_wake(context.waker())) && !self.is_raised() {
                return Poll::Pending;
            }
            told = Some(context.waker().clone());
            waiting.as_mut().poll(context)
        })
        .await;
    }
}

#[cfg(test)]
mod tests {
    use std::task::Context;

    use super::*;

    #[tokio::test]
    async fn a_wait_that_moves_to_another_task_is_ended_there() {
        let signal = Signal::default();
        let watched = signal.clone();
        let mut waiting = Box::pin(async move { watched.raised().await });
        assert!(waiting.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
        let moved = tokio::spawn(waiting);
        tokio::task::yield_now().await;
        signal.raise();
        moved.await.unwrap();
    }
}
