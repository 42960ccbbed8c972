//! The bounded queue of one model, and how a batch is formed from it.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use crate::{Error, Request, Response};

/// A queued request.
#[derive(Debug)]
pub(crate) struct Job {
    pub(crate) request: Request,
    pub(crate) reply: oneshot::Sender<Result<Response, Error>>,
    pub(crate) queued: Instant,
    pub(crate) span: tracing::Span,
}

impl Job {
    fn has_expired(&self, now: Instant) -> bool {
        self.request.deadline().is_some_and(|deadline| deadline <= now)
    }

    /// Whether the two may share a run: some rows each, and rows of the same shapes.
    fn joins(&self, other: &Self) -> bool {
        let alike = |(a, b): (&crate::Tensor, &crate::Tensor)| a.shape().row() == b.shape().row();
        self.request.rows() > 0
            && other.request.rows() > 0
            && self.request.inputs().iter().zip(other.request.inputs()).all(alike)
    }
}

/// What an idle instance is handed.
#[derive(Debug)]
pub(crate) struct Batch {
    /// Jobs to run together; may be empty when all that waited had left or expired.
    pub(crate) jobs: Vec<Job>,
    /// Jobs whose deadline passed while they waited.
    pub(crate) expired: Vec<Job>,
    /// How many callers had left.
    pub(crate) cancelled: usize,
}

/// Why a job was not taken.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// This many are waiting already.
    Full(usize),
    /// The model is being unloaded.
    Closed,
}

/// A bounded queue between callers and instances.
#[derive(Debug)]
pub(crate) struct Queue {
    state: Mutex<State>,
    work: Condvar,
    capacity: usize,
}

#[derive(Debug, Default)]
struct State {
    jobs: VecDeque<Job>,
    closed: bool,
}

impl Queue {
    pub(crate) fn new(capacity: usize) -> Self {
        Self { state: Mutex::default(), work: Condvar::new(), capacity }
    }

    /// Whether the model is being unloaded.
    pub(crate) fn is_closed(&self) -> bool {
        self.lock().closed
    }

    /// How many jobs wait.
    pub(crate) fn len(&self) -> usize {
        self.lock().jobs.len()
    }

    /// Adds a job at the end. A full queue first gives up the places of callers who have left.
    pub(crate) fn push(&self, job: Job) -> Result<(), Refusal> {
        let mut state = self.lock();
        if state.closed {
            return Err(Refusal::Closed);
        }
        if state.jobs.len() >= self.capacity {
            state.jobs.retain(|waiting| !waiting.reply.is_closed());
        }
        if state.jobs.len() >= self.capacity {
            return Err(Refusal::Full(state.jobs.len()));
        }
        state.jobs.push_back(job);
        drop(state);
        self.work.notify_one();
        Ok(())
    }

    /// Refuses new jobs. Those that wait are still handed out.
    pub(crate) fn close(&self) {
        self.lock().closed = true;
        self.work.notify_all();
    }

    /// Whether nothing waits and new jobs are taken.
    pub(crate) fn is_idle(&self) -> bool {
        let state = self.lock();
        state.jobs.is_empty() && !state.closed
    }

    /// Waits for work and takes the next batch: the oldest job and those right behind it that can join it, up to
    /// as many rows as `max_rows` allows for the oldest. `None` once the queue is closed and empty.
    pub(crate) fn next(&self, max_rows: impl Fn(&Request) -> usize) -> Option<Batch> {
        let mut state = self.lock();
        while state.jobs.is_empty() {
            if state.closed {
                return None;
            }
            state = self.work.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        let most = state.jobs.front().map_or(1, |job| max_rows(&job.request));
        Some(take(&mut state.jobs, most, Instant::now()))
    }

    /// The state stays whole even if a thread died while it held the lock.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn take(waiting: &mut VecDeque<Job>, max_rows: usize, now: Instant) -> Batch {
    let mut batch = Batch { jobs: Vec::new(), expired: Vec::new(), cancelled: 0 };
    let mut rows = 0;
    while let Some(job) = waiting.pop_front() {
        if job.reply.is_closed() {
            batch.cancelled += 1;
        } else if job.has_expired(now) {
            batch.expired.push(job);
        } else {
            let more = job.request.rows();
            if batch.jobs.first().is_some_and(|first| !first.joins(&job) || rows + more > max_rows) {
                waiting.push_front(job);
                break;
            }
            rows += more;
            batch.jobs.push(job);
        }
    }
    batch
}

/// How long ago `since` was.
pub(crate) fn waited(since: Instant, now: Instant) -> Duration {
    now.saturating_duration_since(since)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{DataType, Dim, Signature, Tensor, TensorSpec};

    type Answer = oneshot::Receiver<Result<Response, Error>>;

    fn signature() -> Signature {
        let spec = TensorSpec::new("x", DataType::Int64, Some(vec![Dim::Free, Dim::Free]));
        Signature { inputs: vec![spec.clone()], outputs: vec![spec], batch_axis: true }
    }

    fn job(rows: usize, width: usize) -> (Job, Answer) {
        let tensor = Tensor::from_elements([rows, width], vec![0_i64; rows * width]).unwrap();
        let request = Request::new(&signature(), vec![("x".into(), tensor)]).unwrap();
        let (reply, answer) = oneshot::channel();
        (Job { request, reply, queued: Instant::now(), span: tracing::Span::none() }, answer)
    }

    fn rows(batch: &Batch) -> Vec<usize> {
        batch.jobs.iter().map(|job| job.request.rows()).collect()
    }

    #[test]
    fn a_batch_stops_at_other_shapes_and_at_its_rows() {
        let queue = Queue::new(10);
        let answers: Vec<_> = [(1, 2), (2, 2), (1, 3), (3, 3), (9, 3)]
            .map(|(rows, width)| {
                let (job, answer) = job(rows, width);
                queue.push(job).unwrap();
                answer
            })
            .into();
        assert_eq!(rows(&queue.next(|_| 4).unwrap()), [1, 2]);
        assert_eq!(rows(&queue.next(|_| 4).unwrap()), [1, 3]);
        assert_eq!(rows(&queue.next(|_| 4).unwrap()), [9], "a request larger than a batch runs alone");
        assert_eq!(queue.len(), 0);
        drop(answers);
    }

    #[test]
    fn requests_without_rows_run_alone() {
        let queue = Queue::new(10);
        let answers: Vec<_> = [0, 0, 1]
            .map(|rows| {
                let (job, answer) = job(rows, 2);
                queue.push(job).unwrap();
                answer
            })
            .into();
        assert_eq!(rows(&queue.next(|_| 4).unwrap()), [0]);
        assert_eq!(rows(&queue.next(|_| 4).unwrap()), [0]);
        assert_eq!(rows(&queue.next(|_| 4).unwrap()), [1]);
        drop(answers);
    }

    #[test]
    fn callers_who_left_and_expired_jobs_are_not_run() {
        let queue = Queue::new(10);
        let (left, answer) = job(1, 2);
        drop(answer);
        let (mut late, _late_answer) = job(1, 2);
        late.request = late.request.with_deadline(Some(Instant::now()));
        let (good, _good_answer) = job(1, 2);
        for job in [left, late, good] {
            queue.push(job).unwrap();
        }
        let batch = queue.next(|_| 4).unwrap();
        assert_eq!((batch.jobs.len(), batch.expired.len(), batch.cancelled), (1, 1, 1));
    }

    #[test]
    fn a_full_queue_refuses_unless_a_caller_has_left() {
        let queue = Queue::new(2);
        let (first, _first_answer) = job(1, 2);
        let (second, second_answer) = job(1, 2);
        queue.push(first).unwrap();
        queue.push(second).unwrap();
        assert_eq!(queue.push(job(1, 2).0), Err(Refusal::Full(2)));
        drop(second_answer);
        assert_eq!(queue.push(job(1, 2).0), Ok(()));
    }

    #[test]
    fn a_closed_queue_hands_out_what_waits_and_then_ends() {
        let queue = Queue::new(2);
        let (waiting, _answer) = job(1, 2);
        queue.push(waiting).unwrap();
        queue.close();
        assert_eq!(queue.push(job(1, 2).0), Err(Refusal::Closed));
        assert_eq!(queue.next(|_| 4).unwrap().jobs.len(), 1);
        assert!(queue.next(|_| 4).is_none());
    }
}
