//! One timer for a whole connection.
//!
//! hyper wants a timer for every head of a request that it waits for. They all run far into the future and hardly any
//! ever ends, so entering each into the runtime's timers and taking it out again would be wasted: here the one timer of
//! the connection is left where it is, and set anew only when it goes off.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use hyper::rt;
use tokio::time::Sleep;

/// The timer of one connection.
#[derive(Clone, Debug, Default)]
pub(super) struct Silence(Arc<Mutex<Option<Pin<Box<Sleep>>>>>);

/// One wait on it.
struct Wait {
    silence: Silence,
    until: Instant,
}

impl rt::Timer for Silence {
    fn sleep(&self, duration: Duration) -> Pin<Box<dyn rt::Sleep>> {
        self.sleep_until(Instant::now() + duration)
    }

    fn sleep_until(&self, until: Instant) -> Pin<Box<dyn rt::Sleep>> {
        Box::pin(Wait { silence: self.clone(), until })
    }
}

impl rt::Sleep for Wait {}

impl Future for Wait {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let until = self.until.into();
        let mut alarm = self.silence.0.lock().unwrap_or_else(PoisonError::into_inner);
        let alarm = alarm.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(until)));
        if alarm.deadline() > until {
            alarm.as_mut().reset(until);
        }
        loop {
            ready!(alarm.as_mut().poll(context));
            if alarm.deadline() >= until {
                return Poll::Ready(());
            }
            alarm.as_mut().reset(until);
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;
    use hyper::rt::Timer;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn each_wait_ends_at_its_own_time() {
        let silence = Silence::default();
        let start = tokio::time::Instant::now();
        let after = |seconds| silence.sleep_until((start + Duration::from_secs(seconds)).into());
        // The timer stands at the first wait's time, which a later one outlasts and an earlier one brings forward.
        let mut first = after(75);
        assert!((&mut first).now_or_never().is_none());
        drop(first);
        after(80).await;
        assert_eq!(start.elapsed(), Duration::from_secs(80));
        let mut long = after(200);
        assert!((&mut long).now_or_never().is_none());
        after(90).await;
        assert_eq!(start.elapsed(), Duration::from_secs(90));
        long.await;
        assert_eq!(start.elapsed(), Duration::from_secs(200));
    }
}
