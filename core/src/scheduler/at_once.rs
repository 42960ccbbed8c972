//! The short road: runs on the thread that read a request, or one of those that share its run.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use smallvec::SmallVec;
use tokio::sync::oneshot::Sender;

use super::curve::Took;
use super::gather::{Entered, Outcome, Seat, Seated};
use super::queue::Refusal;
use super::run::{Ended, Outputs};
use super::shared::{INLINE, Shared};
use super::tuner::class;
use crate::request::Positions;
use crate::statistics::Stages;
use crate::story::{Reason, Road, Run, Size, Story};
use crate::{Error, Request, Response, Tensor, Timings};

/// More elements, or bytes of texts, than this, a megabyte of most, are never run on a network thread.
const MOST_INLINE: usize = 1 << 18;

/// A request on the short road.
///
/// Written by hand, because an `async` block would hold the request several times: handed over, and taken in.
pub(crate) struct AtOnce<'s> {
    shared: &'s Shared,
    step: Step<'s>,
}

/// How far it has come.
enum Step<'s> {
    Comes(Option<Request>),
    /// It belongs to a group; whose turn comes first runs it.
    Seated(Seated<'s>),
}

impl Future for AtOnce<'_> {
    type Output = Outcome;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Outcome> {
        let shared = self.shared;
        let outcome = match &mut self.step {
            Step::Comes(request) => match request.take().map(|request| shared.enter(request)) {
                Some(Ok(seated)) => {
                    self.step = Step::Seated(seated);
                    context.waker().wake_by_ref();
                    return Poll::Pending;
                }
                Some(Err(outcome)) => Some(outcome),
                None => None,
            },
            Step::Seated(seated) => ready!(seated.poll(context, |seats| shared.run_group(seats))),
        };
        // Whoever runs a group tells each of its requests, whatever happens.
        Poll::Ready(outcome.unwrap_or_else(|| Ok(Err(shared.error(Ended::Stopped)))))
    }
}

impl Drop for AtOnce<'_> {
    fn drop(&mut self) {
        if let Step::Seated(seated) = &mut self.step {
            let now = Instant::now();
            for seat in seated.leave() {
                self.shared.gone(&seat, now);
            }
        }
    }
}

/// A run at once that gave what it was to give.
struct Done {
    started: Instant,
    stages: Stages,
    rows: usize,
    positions: Positions,
    slices: Vec<Vec<Tensor>>,
}

impl Shared {
    /// Runs `request` now, on this thread, if its run is short and nothing stands in its way; together with others that
    /// are ready at the same moment, and then perhaps on the thread of one of those.
    pub(crate) const fn at_once(&self, request: Request) -> AtOnce<'_> {
        AtOnce { shared: self, step: Step::Comes(Some(request)) }
    }

    /// Takes a request in, and runs it if it is to be run alone.
    fn enter(&self, mut request: Request) -> Result<Seated<'_>, Outcome> {
        let (road, most) = match self.may_run_at_once(&request) {
            Ok(may) => may,
            Err(road) => (road, 0),
        };
        request.takes(road);
        if !road.is_at_once() {
            return Err(Err(request));
        }
        match self.gather.enter(request, most) {
            Entered::Alone(request) => Err(self.run_at_once(request)),
            Entered::Seated(seated) => Ok(seated),
        }
    }

    /// Runs `request` now, on this thread, if a thread is free.
    pub(crate) fn run_at_once(&self, request: Request) -> Outcome {
        let Some(_thread) = self.share.slots().try_take_one() else { return Err(busy(request)) };
        let _busy = self.metrics.busy();
        Ok(self.run_one(&request, None, |_| {}))
    }

    /// Runs the requests of a group, and tells each what came of it.
    fn run_group(&self, mut seats: Vec<Seat>) {
        let now = Instant::now();
        let is_gone = |seat: &mut Seat| seat.has_left() || seat.has_expired(now);
        tell(seats.extract_if(.., is_gone).map(|seat| {
            let error = self.gone(&seat, now);
            (seat.reply, Ok(Err(error)))
        }));
        let Some(_thread) = self.share.slots().try_take_one() else {
            return tell(seats.into_iter().map(|seat| (seat.reply, Err(busy(seat.request)))));
        };
        let _busy = self.metrics.busy();
        let together = seats.len() > 1 && !self.doubt.is_justified();
        let Some(done) = together.then(|| self.run_seats(&seats)).flatten() else {
            return tell(
                seats
                    .into_iter()
                    .map(|Seat { request, came, reply }| (reply, Ok(self.run_one(&request, Some(came), |_| {})))),
            );
        };
        if self.doubt.arises() {
            return tell(seats.into_iter().zip(&done.slices).map(|(Seat { request, came, reply }, together)| {
                let look = |alone: &Outputs| self.compare(alone, &done.positions, together);
                (reply, Ok(self.run_one(&request, Some(came), look)))
            }));
        }
        let Done { started, stages, rows, positions, slices } = done;
        let waited = |seat: &Seat| started.saturating_duration_since(seat.came);
        let compute = self.count(rows, &seats.iter().map(waited).collect::<SmallVec<[_; 16]>>(), stages);
        let run = self.told(&seats, rows);
        tell(seats.into_iter().zip(slices).map(|(seat, tensors)| {
            let timings = Timings { came: Some(seat.came), queue: waited(&seat), compute, batch_rows: rows };
            if let (Some(asked), Some(run)) = (seat.request.asked(), &run) {
                let run = Arc::clone(run);
                asked.told.tell(Story { road: asked.road, began: started, timings, instance: None, threads: 1, run });
            }
            (seat.reply, Ok(Ok(self.response(&seat.request, &positions, tensors, timings))))
        }));
    }

    /// Runs what the requests have in one go. `None` where that fails: then they have to be run one by one.
    fn run_seats(&self, seats: &[Seat]) -> Option<Done> {
        let started = Instant::now();
        let requests: SmallVec<[&Request; 16]> = seats.iter().map(|seat| &seat.request).collect();
        let column = |at: usize| -> Option<Tensor> {
            let parts = requests.iter().map(|request| request.inputs().get(at));
            Tensor::concat(&parts.collect::<Option<SmallVec<[_; 16]>>>()?)
        };
        let inputs = (0..requests.first()?.inputs().len()).map(column).collect::<Option<SmallVec<[_; 4]>>>()?;
        let inputs: SmallVec<[_; 4]> = inputs.iter().collect();
        let run = Instant::now();
        let outputs = self.outputs(&requests, None, |positions, stop| self.backend.run(&inputs, positions, stop));
        let ran = Instant::now();
        self.share.slots().was_short(ran - started);
        let outputs = outputs.ok()?;
        let rows = requests.iter().map(|request| request.rows()).sum();
        let Some(slices) = self.slices(&requests, &outputs, None) else {
            self.warn_of_rows(rows);
            return None;
        };
        let stages = Stages { input: run - started, infer: ran - run, output: ran.elapsed() };
        let row_elements = requests.first()?.row_elements();
        self.tuner.observe(class(row_elements), rows, Took { wall: stages.input + stages.infer, work: None });
        Some(Done { started, stages, rows, positions: outputs.positions, slices })
    }

    /// Runs one request on this thread, which came then if not just now, and has `look` see what it gave.
    fn run_one(
        &self,
        request: &Request,
        came: Option<Instant>,
        look: impl FnOnce(&Outputs),
    ) -> Result<Response, Error> {
        let started = Instant::now();
        let queue = came.map_or(Duration::ZERO, |came| started.saturating_duration_since(came));
        let inputs: SmallVec<[_; 4]> = request.inputs().iter().collect();
        let outputs = self.outputs(&[request], None, |positions, stop| self.backend.run(&inputs, positions, stop));
        let wall = started.elapsed();
        self.share.slots().was_short(wall);
        let came = Some(came.unwrap_or(started));
        let timings = |compute| Timings { came, queue, compute, batch_rows: request.rows() };
        let tell = |timings, failed| {
            if let Some(asked) = request.asked() {
                asked.told.tell(Story::at_once(asked, started, timings, failed));
            }
        };
        match outputs {
            Ok(outputs) => {
                look(&outputs);
                let rows = request.rows();
                self.tuner.observe(class(request.row_elements()), rows, Took { wall, work: None });
                let compute = self.count(rows, &[queue], Stages { infer: wall, ..Stages::default() });
                let timings = timings(compute);
                let response = self.response(request, &outputs.positions, outputs.tensors, timings);
                tell(timings, false);
                Ok(response)
            }
            Err(ended) => {
                let error = self.error(ended);
                tell(timings(wall), true);
                self.statistics.failed(wall);
                self.metrics.failed(wall, error.kind());
                Err(error)
            }
        }
    }

    /// The run of a group as its requests see it, if any of them asks.
    fn told(&self, seats: &[Seat], rows: usize) -> Option<Arc<Run>> {
        let mut asked = seats.iter().filter_map(|seat| seat.request.asked()).peekable();
        asked.peek()?;
        Some(Arc::new(Run {
            number: Some(self.queue.number()),
            rows,
            requests: seats.len(),
            size: Size::Ready,
            padded: None,
            failed: false,
            marks: asked.filter_map(|asked| asked.mark).collect(),
            told: AtomicBool::new(false),
        }))
    }

    /// Takes note of a request whose caller has left, or whose time was over, while its group formed.
    fn gone(&self, seat: &Seat, now: Instant) -> Error {
        let expired = seat.has_expired(now);
        if let Some(asked) = seat.request.asked() {
            let why = if expired { Reason::Expired } else { Reason::Left };
            asked.turned_away(seat.came, now.saturating_duration_since(seat.came), why);
        }
        if expired && !seat.has_left() {
            return self.refused(&Refusal::Expired);
        }
        self.metrics.not_run(expired, self.tuner.least());
        self.error(Ended::Stopped)
    }

    /// Whether a request's run is short, by which it may be done at once; and the most rows that it may have then.
    fn may_run_at_once(&self, request: &Request) -> Result<(Road, usize), Road> {
        if self.threads != 1 {
            return Err(Road::Threads);
        }
        let elements = request.row_elements();
        // The learned time is that of rows of about this size; far larger requests are not read off it.
        if elements.saturating_mul(request.rows()) > MOST_INLINE {
            return Err(Road::Large);
        }
        if self.inline == Some(false) {
            return Err(Road::Queued);
        }
        let known = self.tuner.short(class(elements), INLINE);
        let rows = u32::try_from(request.rows()).unwrap_or(u32::MAX);
        let run = known.and_then(|(single, _)| single.checked_mul(rows));
        let road = match self.inline {
            Some(_) => Road::Inline,
            None if run.is_some_and(|run| run <= INLINE) => Road::Short,
            None => return Err(Road::Long),
        };
        if !self.queue.is_idle() {
            return Err(Road::Behind);
        }
        // On a device a run may be short for other reasons, and for some sizes of runs only.
        let may_share = self.works_alone && !self.doubt.is_justified();
        let most = known.filter(|_| may_share).map_or(1, |(_, most)| most);
        Ok((road, most.min(MOST_INLINE / elements.max(1))))
    }
}

/// The same, which is queued since no thread is free.
fn busy(mut request: Request) -> Request {
    request.takes(Road::Busy);
    request
}

/// Tells who waits what came of each.
fn tell(outcomes: impl Iterator<Item = (Sender<Outcome>, Outcome)>) {
    for (reply, outcome) in outcomes {
        // Whoever has left needs no answer.
        let _ = reply.send(outcome);
    }
}
