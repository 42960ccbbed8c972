//! Streams of HTTP/2 while they are young: each runs first within the task of its connection, and becomes a task of its
//! own when it has to wait.
//!
//! Another task is run by another thread, which has to be woken for it and then has to wake the connection for the
//! answer. That costs more than a small model does.

use std::cell::Cell;
use std::future::poll_fn;
use std::mem;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::FutureExt;
use smallvec::SmallVec;
use tokio_util::sync::ReusableBoxFuture;
use tokio_util::task::TaskTracker;

use super::streams;
use crate::lifecycle::Lifecycle;

/// How many streams of a connection run one after the other in its task. The others that have come meanwhile are tasks
/// from the beginning.
const MOST: usize = 4;

thread_local! {
    static YOUNG: Cell<bool> = const { Cell::new(false) };
}

/// Makes the stream that this is called in a task of its own, if it is not one: what follows takes its time, and neither
/// the connection nor its other streams shall wait for it. On HTTP/1.1 it does nothing.
pub(crate) async fn grow_up() {
    poll_fn(|_| if YOUNG.get() { Poll::Pending } else { Poll::Ready(()) }).await;
}

/// A stream, in a box that the next one of the connection may have.
type Task = ReusableBoxFuture<'static, ()>;

/// Runs the streams of one connection. Cheap to clone: hyper does so for each.
#[derive(Clone)]
pub(super) struct Streams(Arc<Shared>);

struct Shared {
    young: Mutex<Young>,
    /// Owns the streams that are tasks.
    tasks: TaskTracker,
    /// Knows of the streams of this connection, young or not.
    under_way: TaskTracker,
    lifecycle: Lifecycle,
    answer_timeout: Duration,
}

#[derive(Default)]
struct Young {
    streams: SmallVec<[Task; MOST]>,
    /// The box of one that has ended: most connections have one at a time.
    spare: Option<Task>,
}

impl Streams {
    pub(super) fn new(tasks: TaskTracker, lifecycle: Lifecycle, answer_timeout: Duration) -> Self {
        let (young, under_way) = (Mutex::default(), TaskTracker::new());
        Self(Arc::new(Shared { young, tasks, under_way, lifecycle, answer_timeout }))
    }

    /// Runs `connection`, and its streams as long as they are young.
    pub(super) fn poll_with<C>(&self, mut connection: Pin<&mut C>, context: &mut Context<'_>) -> Poll<C::Output>
    where
        C: Future,
    {
        loop {
            let ended = connection.as_mut().poll(context);
            let young = mem::take(&mut self.young().streams);
            if ended.is_ready() {
                young.into_iter().for_each(|stream| self.let_go(stream));
                return ended;
            }
            if young.is_empty() {
                return Poll::Pending;
            }
            for mut stream in young {
                if is_young(|| stream.poll(context)).is_pending() {
                    self.let_go(stream);
                } else {
                    self.young().keep(stream);
                }
            }
        }
    }

    /// Waits until no stream is under way.
    pub(super) async fn ended(&self) {
        self.0.under_way.close();
        self.0.under_way.wait().await;
    }

    /// Whether one is.
    pub(super) fn are_under_way(&self) -> bool {
        !self.0.under_way.is_empty()
    }

    fn young(&self) -> MutexGuard<'_, Young> {
        self.0.young.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes `stream` a task of its own.
    fn let_go(&self, stream: Task) {
        self.0.tasks.spawn(self.0.lifecycle.expired.clone().run_until_cancelled_owned(stream));
    }
}

impl Young {
    /// Keeps the box of a stream that has ended.
    fn keep(&mut self, stream: Task) {
        if self.spare.is_none() {
            self.spare = Some(stream);
        }
    }

    /// Puts `stream` into a box. It is dropped when it ends, not with the box.
    fn boxed(&mut self, stream: impl Future<Output = ()> + Send + 'static) -> Task {
        let stream = stream.fuse();
        match self.spare.take() {
            Some(mut spare) => {
                spare.set(stream);
                spare
            }
            None => Task::new(stream),
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

impl<F> hyper::rt::Executor<F> for Streams
where
    F: Future + Send + 'static,
{
    fn execute(&self, stream: F) {
        let Shared { under_way, answer_timeout, .. } = &*self.0;
        let stream = under_way.track_future(streams::unstalled(stream, *answer_timeout));
        let mut young = self.young();
        let stream = young.boxed(stream);
        if young.streams.len() < MOST {
            young.streams.push(stream);
        } else {
            drop(young);
            self.let_go(stream);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::pin::pin;
    use std::thread::{self, ThreadId};

    use hyper::rt::Executor;
    use tokio::sync::oneshot;
    use tokio::task::yield_now;

    use super::*;

    fn streams() -> Streams {
        Streams::new(TaskTracker::new(), Lifecycle::default(), Duration::from_secs(60))
    }

    /// Lets a connection on which `begin` begins streams run once.
    fn run(streams: &Streams, begin: impl FnOnce()) {
        let mut begin = Some(begin);
        let mut connection = pin!(poll_fn(|_| {
            if let Some(begin) = begin.take() {
                begin();
            }
            Poll::<()>::Pending
        }));
        let context = &mut Context::from_waker(std::task::Waker::noop());
        assert!(streams.poll_with(connection.as_mut(), context).is_pending());
    }

    #[tokio::test]
    async fn a_stream_that_ends_at_once_is_no_task_and_one_that_waits_becomes_one() {
        let (streams, (go, gone), (done, mut is_done)) = (streams(), oneshot::channel::<()>(), oneshot::channel());
        run(&streams, || {
            streams.execute(async { yield_now().await });
            (0..3).for_each(|_| streams.execute(async {}));
        });
        assert_eq!(streams.0.tasks.len(), 1, "only that which waits");
        run(&streams, || {
            streams.execute(async {
                let _ = gone.await;
                let _ = done.send(());
            });
        });
        while streams.0.tasks.len() > 1 {
            yield_now().await;
        }
        assert!(is_done.try_recv().is_err());
        go.send(()).unwrap();
        is_done.await.unwrap();
    }

    #[tokio::test]
    async fn what_has_ended_holds_nothing_though_its_box_is_kept() {
        let (streams, held) = (streams(), Arc::new(()));
        for _ in 0..3 {
            let held = Arc::clone(&held);
            run(&streams, || streams.execute(async move { drop(held) }));
            let other = [0; 100];
            run(&streams, || streams.execute(async move { assert_eq!(other.len(), 100) }));
            assert!(!streams.are_under_way() && streams.young().spare.is_some());
        }
        assert_eq!(Arc::strong_count(&held), 1);
        streams.ended().await;
    }

    #[tokio::test]
    async fn only_so_many_run_within_the_connection() {
        let streams = streams();
        run(&streams, || (0..MOST + 2).for_each(|_| streams.execute(async {})));
        assert_eq!(streams.0.tasks.len(), 2);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 1)]
    async fn what_takes_its_time_grows_up_first() {
        let (streams, (tell, told)) = (streams(), oneshot::channel::<ThreadId>());
        // This test's own thread is none of the runtime's.
        run(&streams, || {
            streams.execute(async {
                grow_up().await;
                let _ = tell.send(thread::current().id());
            });
        });
        assert_ne!(told.await.unwrap(), thread::current().id());
    }

    #[tokio::test]
    async fn a_stream_that_panics_leaves_no_thread_that_believes_to_be_young() {
        let streams = streams();
        let ran = catch_unwind(AssertUnwindSafe(|| run(&streams, || streams.execute(async { panic!("of a test") }))));
        assert!(ran.is_err());
        grow_up().await;
    }

    #[tokio::test]
    async fn streams_outlive_the_connection_until_the_grace_is_over() {
        let streams = streams();
        let mut connection = pin!(async { streams.execute(pending::<()>()) });
        let context = &mut Context::from_waker(std::task::Waker::noop());
        assert!(streams.poll_with(connection.as_mut(), context).is_ready());
        assert_eq!(streams.0.tasks.len(), 1);
        streams.0.tasks.close();
        streams.0.lifecycle.expired.cancel();
        streams.0.tasks.wait().await;
    }
}
