//! Streams of HTTP/2 while they are young: each runs first within the task of its connection, and becomes a task of its
//! own when it has to wait for longer than for the tasks that are ready already.
//!
//! Another task is run by another thread, which has to be woken for it and then has to wake the connection for the
//! answer. That costs more than a small model does.

use std::cell::Cell;
use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use pin_project_lite::pin_project;
use tokio_util::sync::ReusableBoxFuture;
use tokio_util::task::TaskTracker;

use crate::lifecycle::Lifecycle;

thread_local! {
    static YOUNG: Cell<bool> = const { Cell::new(false) };
    /// Whether the stream that was looked at last waits for [`Soon`].
    static SOON: Cell<bool> = const { Cell::new(false) };
}

/// For so long streams run one after the other in the task of their connection. Others that have come meanwhile are tasks
/// from the beginning.
pub(super) const YOUTH: Duration = Duration::from_micros(50);

/// So many streams are young at once.
const MOST_YOUNG: usize = 32;

/// So many boxes of streams that have ended are kept for the next ones.
const MOST_SPARE: usize = 4;

/// Makes the stream that this is called in a task of its own, if it is not one: what follows takes its time, and neither
/// the connection nor its other streams shall wait for it. On HTTP/1.1 it does nothing.
pub(crate) async fn grow_up() {
    poll_fn(|_| if YOUNG.get() { Poll::Pending } else { Poll::Ready(()) }).await;
}

pin_project! {
    /// Waits for what is done when the tasks that are ready had their turn: so long the stream that awaits it is young.
    ///
    /// Written by hand, because an `async` block would hold the work twice: handed over, and awaited.
    pub(crate) struct Soon<F> {
        #[pin]
        work: F,
    }
}

impl<F> Soon<F> {
    pub(crate) const fn new(work: F) -> Self {
        Self { work }
    }
}

impl<F: Future> Future for Soon<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        let done = self.project().work.poll(context);
        SOON.set(done.is_pending());
        done
    }
}

/// Runs the streams of one connection.
pub(super) struct Streams {
    /// Owns the streams that are tasks.
    tasks: TaskTracker,
    lifecycle: Lifecycle,
    /// Those that will soon go on.
    young: VecDeque<Stream>,
    /// The boxes of streams that have ended, for the next ones.
    spare: Vec<Stream>,
}

type Stream = ReusableBoxFuture<'static, ()>;

impl Streams {
    pub(super) const fn new(tasks: TaskTracker, lifecycle: Lifecycle) -> Self {
        Self { tasks, lifecycle, young: VecDeque::new(), spare: Vec::new() }
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
        let stream = match self.spare.pop() {
            Some(mut spare) => {
                spare.set(stream);
                spare
            }
            None => ReusableBoxFuture::new(stream),
        };
        if young { self.look(stream, context) } else { self.grow(stream) }
    }

    /// Goes on with those that are young, as long as they are: what takes longer becomes tasks.
    pub(super) fn poll(&mut self, context: &mut Context<'_>) {
        let (mut left, since) = (self.young.len(), (self.young.len() > 1).then(Instant::now));
        while left > 0
            && let Some(stream) = self.young.pop_front()
        {
            left -= 1;
            if since.is_none_or(|since| since.elapsed() < YOUTH) {
                self.look(stream, context);
            } else {
                self.grow(stream);
            }
        }
    }

    /// Lets go of what is not needed while nothing is under way.
    pub(super) fn rest(&mut self) {
        self.spare.truncate(1);
    }

    fn look(&mut self, mut stream: Stream, context: &mut Context<'_>) {
        SOON.set(false);
        if run_young(|| stream.poll(context)).is_ready() {
            if self.spare.len() < MOST_SPARE {
                self.spare.push(stream);
            }
        } else if SOON.get() && self.young.len() < MOST_YOUNG {
            self.young.push_back(stream);
        } else {
            self.grow(stream);
        }
    }

    fn grow(&self, stream: Stream) {
        self.tasks.spawn(self.lifecycle.expired.clone().run_until_cancelled_owned(stream));
    }
}

/// Whether what runs is looked at again by its connection, or as a task of its own, whatever it waits for.
pub(super) fn is_young() -> bool {
    YOUNG.get()
}

/// Runs `stream`, which [`is_young`] meanwhile.
fn run_young<T>(stream: impl FnOnce() -> T) -> T {
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
    use std::sync::atomic::{AtomicUsize, Ordering};
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
    async fn a_stream_that_goes_on_soon_is_no_task() {
        let mut streams = streams();
        let context = &mut Context::from_waker(std::task::Waker::noop());
        let runs = Arc::new(AtomicUsize::new(0));
        let stream = |looks: usize| {
            let runs = Arc::clone(&runs);
            async move {
                let mut left = looks;
                Soon::new(poll_fn(|_| {
                    left -= 1;
                    if left == 0 { Poll::Ready(()) } else { Poll::Pending }
                }))
                .await;
                runs.fetch_add(1, Ordering::Relaxed);
            }
        };
        (0..MOST_YOUNG).for_each(|at| run(&mut streams, stream(2 + at % 2)));
        run(&mut streams, async { pending().await });
        assert_eq!(streams.tasks.len(), 1, "that which waits for something else");
        streams.poll(context);
        assert_eq!((runs.load(Ordering::Relaxed), streams.young.len()), (MOST_YOUNG / 2, MOST_YOUNG / 2));
        streams.poll(context);
        assert_eq!((runs.load(Ordering::Relaxed), streams.young.len(), streams.tasks.len()), (MOST_YOUNG, 0, 1));
        assert_eq!(streams.spare.len(), MOST_SPARE);
        // One that waits for something else afterwards becomes a task then, and so does one that is too many.
        run(&mut streams, async {
            Soon::new(yield_now()).await;
            pending().await
        });
        assert_eq!(streams.tasks.len(), 1);
        streams.poll(context);
        assert_eq!((streams.tasks.len(), streams.young.len()), (2, 0));
        (0..=MOST_YOUNG).for_each(|_| run(&mut streams, stream(2)));
        assert_eq!((streams.tasks.len(), streams.young.len()), (3, MOST_YOUNG));
    }

    #[tokio::test]
    async fn what_has_ended_holds_nothing_though_its_box_is_kept() {
        let (mut streams, held) = (streams(), Arc::new(()));
        for _ in 0..3 {
            let held = Arc::clone(&held);
            run(&mut streams, async move { drop(held) });
            let other = [0; 100];
            run(&mut streams, async move { assert_eq!(other.len(), 100) });
            assert_eq!(streams.spare.len(), 1);
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
