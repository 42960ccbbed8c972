//! Streams of HTTP/2 while they are young: each runs first within the task of its connection, and becomes a task of its
//! own when it has to wait.
//!
//! Another task is run by another thread, which has to be woken for it and then has to wake the connection for the
//! answer. That costs more than a small model does.

use std::cell::Cell;
use std::future::poll_fn;
use std::task::{Context, Poll};

use futures_util::FutureExt;
use tokio_util::sync::ReusableBoxFuture;
use tokio_util::task::TaskTracker;

use crate::lifecycle::Lifecycle;

thread_local! {
    static YOUNG: Cell<bool> = const { Cell::new(false) };
}

/// Makes the stream that this is called in a task of its own, if it is not one: what follows takes its time, and neither
/// the connection nor its other streams shall wait for it. On HTTP/1.1 it does nothing.
pub(crate) async fn grow_up() {
    poll_fn(|_| if YOUNG.get() { Poll::Pending } else { Poll::Ready(()) }).await;
}

/// Runs the streams of one connection.
pub(super) struct Streams {
    /// Owns the streams that are tasks.
    tasks: TaskTracker,
    lifecycle: Lifecycle,
    /// The box of a stream that has ended, for the next one: most connections have one at a time.
    spare: Option<ReusableBoxFuture<'static, ()>>,
}

impl Streams {
    pub(super) const fn new(tasks: TaskTracker, lifecycle: Lifecycle) -> Self {
        Self { tasks, lifecycle, spare: None }
    }

    /// Runs `stream`: here if it is `young`, as long as it need not wait.
    pub(super) fn run(
        &mut self,
        stream: impl Future<Output = ()> + Send + 'static,
        young: bool,
        context: &mut Context<'_>,
    ) {
        // It is dropped when it ends, not with its box.
        let stream = stream.fuse();
        let mut stream = match self.spare.take() {
            Some(mut spare) => {
                spare.set(stream);
                spare
            }
            None => ReusableBoxFuture::new(stream),
        };
        if young && is_young(|| stream.poll(context)).is_ready() {
            self.spare = Some(stream);
        } else {
            self.tasks.spawn(self.lifecycle.expired.clone().run_until_cancelled_owned(stream));
        }
    }
}

/// Runs `stream`, which [`grow_up`] is told meanwhile.
fn is_young<T>(stream: impl FnOnce() -> T) -> T {
    /// Ends it, even if the stream panics.
    struct Childhood;
    impl Drop for Childhood {
        fn drop(&mut self) {
            YOUNG.set(false);
        }
    }
    YOUNG.set(true);
    let _childhood = Childhood;
    stream()
}

#[cfg(test)]
mod tests {
    use std::future::pending;
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::sync::Arc;
    use std::thread::{self, ThreadId};

    use tokio::sync::oneshot;
    use tokio::task::yield_now;

    use super::*;

    fn streams() -> Streams {
        Streams::new(TaskTracker::new(), Lifecycle::default())
    }

    /// Runs a stream as a connection does.
    fn run(streams: &mut Streams, stream: impl Future<Output = ()> + Send + 'static) {
        streams.run(stream, true, &mut Context::from_waker(std::task::Waker::noop()));
    }

    #[tokio::test]
    async fn a_stream_that_ends_at_once_is_no_task_and_one_that_waits_becomes_one() {
        let (mut streams, (go, gone), (done, mut is_done)) = (streams(), oneshot::channel::<()>(), oneshot::channel());
        run(&mut streams, async { yield_now().await });
        (0..3).for_each(|_| run(&mut streams, async {}));
        assert_eq!(streams.tasks.len(), 1, "only that which waits");
        run(&mut streams, async {
            let _ = gone.await;
            let _ = done.send(());
        });
        while streams.tasks.len() > 1 {
            yield_now().await;
        }
        assert!(is_done.try_recv().is_err());
        go.send(()).unwrap();
        is_done.await.unwrap();
    }

    #[tokio::test]
    async fn what_has_ended_holds_nothing_though_its_box_is_kept() {
        let (mut streams, held) = (streams(), Arc::new(()));
        for _ in 0..3 {
            let held = Arc::clone(&held);
            run(&mut streams, async move { drop(held) });
            let other = [0; 100];
            run(&mut streams, async move { assert_eq!(other.len(), 100) });
            assert!(streams.spare.is_some());
        }
        assert_eq!((Arc::strong_count(&held), streams.tasks.len()), (1, 0));
    }

    #[tokio::test]
    async fn one_that_is_not_young_is_a_task_from_the_beginning() {
        let mut streams = streams();
        streams.run(async {}, false, &mut Context::from_waker(std::task::Waker::noop()));
        assert_eq!(streams.tasks.len(), 1);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 1)]
    async fn what_takes_its_time_grows_up_first() {
        let (mut streams, (tell, told)) = (streams(), oneshot::channel::<ThreadId>());
        // This test's own thread is none of the runtime's.
        run(&mut streams, async {
            grow_up().await;
            let _ = tell.send(thread::current().id());
        });
        assert_ne!(told.await.unwrap(), thread::current().id());
    }

    #[tokio::test]
    async fn a_stream_that_panics_leaves_no_thread_that_believes_to_be_young() {
        let mut streams = streams();
        let ran = catch_unwind(AssertUnwindSafe(|| run(&mut streams, async { panic!("of a test") })));
        assert!(ran.is_err());
        grow_up().await;
    }

    #[tokio::test]
    async fn streams_outlive_their_connection_until_the_grace_is_over() {
        let mut streams = streams();
        run(&mut streams, pending::<()>());
        let Streams { tasks, lifecycle, .. } = streams;
        assert_eq!(tasks.len(), 1);
        tasks.close();
        lifecycle.expired.cancel();
        tasks.wait().await;
    }
}
