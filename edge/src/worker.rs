//! Takes messages out of the queue, has them scored, and puts the answers into it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use futures_util::StreamExt;
use futures_util::stream::FuturesOrdered;
use hedef_core::ModelId;
use hedef_core::repository::Repository;
use tokio::task::block_in_place;
use tokio_util::sync::CancellationToken;

use crate::care::Care;
use crate::filter::Filter;
use crate::message::Message;
use crate::metrics::Metrics;
use crate::queue::{LaneId, PushError, Queue, Taken};
use crate::scoring::{Answer, Question, ScoreError, score};
use crate::thermal::Parallel;
use crate::watchdog::Beat;

/// What becomes of a message.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Plan {
    /// The model; none means the only one there is.
    pub model: Option<String>,
    /// What the body is.
    pub content_type: Option<String>,
    /// Which answers are sent; none means all.
    pub filter: Option<Arc<Filter>>,
    /// The lane for the answer, by its place among the source's.
    pub output: usize,
}

/// An answer that is to be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scored {
    /// The model version that gave it.
    pub model: ModelId,
    /// What it says, in JSON.
    pub body: Vec<u8>,
}

/// A way for messages in and answers out.
pub trait Source: Send + Sync + 'static {
    /// What becomes of a message. `None`: nobody wants it any more.
    fn plan(&self, message: &Message) -> Option<Plan>;

    /// The answer to a message, or the failure, as it is to be sent.
    fn reply(&self, message: &Message, answer: Result<Scored, ScoreError>) -> Message;
}

/// What works on the messages of one source.
pub struct Worker<S> {
    /// What it works with.
    pub bench: Bench,
    /// The source.
    pub source: Arc<S>,
}

/// What a worker works with.
pub struct Bench {
    /// The models.
    pub repository: Arc<Repository>,
    /// Where messages come from, and answers go to.
    pub queue: Queue,
    /// The lane of its messages.
    pub input: LaneId,
    /// The lanes of its answers.
    pub outputs: Vec<LaneId>,
    /// How many messages are scored at a time.
    pub parallel: Parallel,
    /// The answers that a filter has seen.
    pub count: AtomicU64,
    /// What is scored with care after a crash.
    pub care: Option<Care>,
    /// What is counted.
    pub metrics: Metrics,
    /// What it gets done.
    pub beat: Beat,
}

/// What came of a message.
enum Outcome {
    /// This is to be sent.
    Send(LaneId, Vec<u8>),
    /// Nothing is to be sent.
    Nothing,
    /// It is scored when the device starts again.
    Later,
    /// It is too old to be scored.
    Skipped,
}

impl<S: Source> Worker<S> {
    /// Works until `stop`, then finishes what was begun. Answers keep the order of their messages.
    pub async fn run(mut self, stop: CancellationToken) {
        let mut care = self.bench.care.take();
        let input = [self.bench.input];
        let mut under_way = FuturesOrdered::new();
        // A message that is taken must not get lost, so taking is never given up half-way.
        let mut taking = Box::pin(self.bench.queue.take(&input));
        loop {
            tokio::select! {
                biased;
                Some((number, outcome)) = under_way.next() => {
                    // While the disk fails it is tried again.
                    self.bench.beat.during(self.finish(number, outcome)).await;
                    if care.as_mut().is_some_and(|care| !block_in_place(|| care.ended_well())) {
                        care = None;
                    }
                }
                () = stop.cancelled() => break,
                taken = &mut taking, if under_way.len() < if care.is_some() { 1 } else { self.bench.parallel.get() } => {
                    let Some(taken) = taken else { break };
                    let number = taken.number;
                    if taken.due.is_some_and(|due| due <= Instant::now()) {
                        self.bench.beat.during(self.finish(number, Outcome::Skipped)).await;
                        taking.set(self.bench.queue.take(&input));
                        continue;
                    }
                    let deadly = care.as_mut().is_some_and(|care| !block_in_place(|| care.admits(number)));
                    under_way.push_back(self.answer(taken, deadly, &stop));
                    taking.set(self.bench.queue.take(&input));
                }
                // Otherwise it has to get on.
                () = self.bench.beat.pause(), if under_way.is_empty() => (),
            }
        }
        while let Some((number, outcome)) = under_way.next().await {
            self.finish(number, outcome).await;
        }
    }

    async fn answer(&self, taken: Taken, deadly: bool, stop: &CancellationToken) -> (u64, Outcome) {
        (taken.number, self.reply(&taken, deadly, stop).await)
    }

    async fn reply(&self, taken: &Taken, deadly: bool, stop: &CancellationToken) -> Outcome {
        let Some((message, plan)) = Message::decode(&taken.body).and_then(|message| {
            let plan = self.source.plan(&message)?;
            Some((message, plan))
        }) else {
            tracing::warn!("a message in the queue is dropped: nothing in the settings is for it");
            return Outcome::Nothing;
        };
        let began = Instant::now();
        let question = Question {
            model: plan.model.as_deref(),
            content_type: plan.content_type.as_deref(),
            body: &message.body,
            filter: plan.filter.as_deref().map(|filter| (filter, self.bench.count.fetch_add(1, Ordering::Relaxed))),
            due: taken.due,
        };
        let answer = if deadly {
            Err(ScoreError::Deadly)
        } else {
            score(&self.bench.repository, question, stop, &self.bench.beat).await
        };
        match answer {
            Err(ScoreError::Stopping) => return Outcome::Later,
            Err(ScoreError::Late) => return Outcome::Skipped,
            _ => (),
        }
        self.bench.metrics.scored(answer.as_ref().err().map(ScoreError::kind), began.elapsed());
        if let Err(error) = &answer {
            tracing::warn!(message.place, "a message cannot be scored: {error}");
        }
        let answer = match answer {
            Ok(Answer { model, body: Some(body) }) => Ok(Scored { model, body }),
            Ok(Answer { body: None, .. }) => {
                self.bench.metrics.held_back();
                return Outcome::Nothing;
            }
            Err(error) => Err(error),
        };
        let lane = self.bench.outputs.get(plan.output).copied();
        match lane.zip(self.source.reply(&message, answer).encode()) {
            Some((lane, body)) => Outcome::Send(lane, body),
            None => Outcome::Nothing,
        }
    }

    /// Puts the answer into the queue before the message goes: a crash in between has it scored again.
    async fn finish(&self, number: u64, outcome: Outcome) {
        match outcome {
            Outcome::Later => return,
            Outcome::Skipped => self.bench.metrics.skipped(),
            Outcome::Nothing => (),
            Outcome::Send(lane, body) => match self.bench.queue.push(lane, body).await {
                // Counted, and as the settings want it.
                Ok(_) | Err(PushError::Full) => (),
                Err(error) => tracing::error!("an answer is given up: {error}"),
            },
        }
        self.bench.queue.finish(self.bench.input, number).await;
    }
}

#[cfg(test)]
#[path = "worker_tests.rs"]
mod tests;
