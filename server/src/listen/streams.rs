//! Streams of HTTP/2, each a task of its own: one whose client takes nothing of its answer is given up.
//!
//! What is written to the connection says nothing of it: a client may read all that is sent and open no window for more.

use std::cell::Cell;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::task::Poll;
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep};

tokio::task_local! {
    static ANSWERED: Cell<bool>;
}

/// Notes that the stream whose task this is has an answer that is there as a whole. On HTTP/1.1 it does nothing.
pub(super) fn answered() {
    let _ = ANSWERED.try_with(|answered| answered.set(true));
}

/// Runs a stream to its end, or until its client has taken nothing of the answer for `limit`.
pub(super) async fn unstalled(stream: impl Future, limit: Duration) {
    let mut stream = pin!(stream);
    let mut has_answered = false;
    let mut alarm: Option<Pin<Box<Sleep>>> = None;
    poll_fn(|context| {
        let poll = || (stream.as_mut().poll(context).is_ready(), ANSWERED.with(Cell::get));
        let (ended, answered) = ANSWERED.sync_scope(Cell::new(has_answered), poll);
        has_answered = answered;
        if ended || !answered {
            return if ended { Poll::Ready(()) } else { Poll::Pending };
        }
        let alarm = match &mut alarm {
            Some(alarm) if alarm.is_elapsed() => {
                tracing::debug!(
                    "a stream was reset: its client took nothing of its answer for {} ms",
                    limit.as_millis()
                );
                return Poll::Ready(());
            }
            Some(alarm) => {
                // Something else has woken the stream, so it goes on.
                alarm.as_mut().reset(Instant::now() + limit);
                alarm
            }
            None => alarm.insert(Box::pin(sleep(limit))),
        };
        alarm.as_mut().poll(context)
    })
    .await;
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
