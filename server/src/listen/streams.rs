//! Streams of HTTP/2, each a task of its own: one whose client takes nothing of its answer is given up.
//!
//! What is written to the connection says nothing of it: a client may read all that is sent and open no window for more.

use std::cell::Cell;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use pin_project_lite::pin_project;
use tokio::time::{Instant, Sleep, sleep};

tokio::task_local! {
    static ANSWERED: Cell<bool>;
}

/// Notes that the stream whose task this is has an answer that is there as a whole. On HTTP/1.1 it does nothing.
pub(super) fn answered() {
    let _ = ANSWERED.try_with(|answered| answered.set(true));
}

pin_project! {
    /// Runs a stream to its end, or until its client has taken nothing of the answer for a time.
    pub(super) struct Unstalled<F> {
        #[pin]
        stream: F,
        limit: Duration,
        answered: bool,
        alarm: Option<Pin<Box<Sleep>>>,
    }
}

/// Gives the client of `stream` so much time to take something of the answer.
pub(super) const fn unstalled<F>(stream: F, limit: Duration) -> Unstalled<F> {
    Unstalled { stream, limit, answered: false, alarm: None }
}

impl<F: Future> Future for Unstalled<F> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let this = self.project();
        let poll = || (this.stream.poll(context).is_ready(), ANSWERED.with(Cell::get));
        let (ended, answered) = ANSWERED.sync_scope(Cell::new(*this.answered), poll);
        *this.answered = answered;
        if ended || !answered {
            return if ended { Poll::Ready(()) } else { Poll::Pending };
        }
        let alarm = match this.alarm {
            Some(alarm) if alarm.is_elapsed() => {
                let waited = this.limit.as_millis();
                tracing::debug!("a stream was reset: its client took nothing of its answer for {waited} ms");
                return Poll::Ready(());
            }
            Some(alarm) => {
                // Something else has woken the stream, so it goes on.
                alarm.as_mut().reset(Instant::now() + *this.limit);
                alarm
            }
            None => this.alarm.insert(Box::pin(sleep(*this.limit))),
        };
        alarm.as_mut().poll(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn only_a_stream_that_has_answered_and_does_not_go_on_is_given_up() {
        let (start, limit) = (Instant::now(), Duration::from_secs(60));
        let steps = async |count: u64| {
            for _ in 0..count {
                sleep(Duration::from_secs(50)).await;
            }
        };
        let working = async {
            steps(1).await;
            sleep(Duration::from_secs(500)).await;
        };
        unstalled(working, limit).await;
        assert_eq!(start.elapsed().as_secs(), 550, "a model may take its time");
        let slow = async {
            answered();
            steps(5).await;
        };
        unstalled(slow, limit).await;
        assert_eq!(start.elapsed().as_secs(), 800);
        let stalled = async {
            answered();
            steps(1).await;
            std::future::pending::<()>().await;
        };
        unstalled(stalled, limit).await;
        assert_eq!(start.elapsed().as_secs(), 910);
    }
}
