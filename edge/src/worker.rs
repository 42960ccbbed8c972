//! Takes messages out of the queue, has them scored, and puts the answers into it.

use std::sync::Arc;
use std::time::Instant;

use futures_util::StreamExt;
use futures_util::stream::FuturesOrdered;
use hedef_core::repository::Repository;
use tokio_util::sync::CancellationToken;

use crate::message::Message;
use crate::metrics::Metrics;
use crate::queue::{LaneId, Queue, Taken};
use crate::scoring::{Answer, ScoreError, score};

/// What becomes of a message.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// The model; none means the only one there is.
    pub model: Option<String>,
    /// What the body is.
    pub content_type: Option<String>,
    /// The lane for the answer, by its place among the source's.
    pub output: usize,
}

/// A way for messages in and answers out.
pub trait Source: Send + Sync + 'static {
    /// What becomes of a message. `None`: nobody wants it any more.
    fn plan(&self, message: &Message) -> Option<Plan>;

    /// The answer to a message, or the failure, as it is to be sent.
    fn reply(&self, message: &Message, answer: Result<Answer, ScoreError>) -> Message;
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
    pub parallel: usize,
    /// What is counted.
    pub metrics: Metrics,
}

impl<S: Source> Worker<S> {
    /// Works until `stop`, then finishes what was begun. Answers keep the order of their messages.
    pub async fn run(self, stop: CancellationToken) {
        let input = [self.bench.input];
        let mut under_way = FuturesOrdered::new();
        // A message that is taken must not get lost, so taking is never given up half-way.
        let mut taking = Box::pin(self.bench.queue.take(&input));
        loop {
            tokio::select! {
                biased;
                Some((number, answer)) = under_way.next() => self.finish(number, answer).await,
                () = stop.cancelled() => break,
                taken = &mut taking, if under_way.len() < self.bench.parallel => {
                    let Some(taken) = taken else { break };
                    under_way.push_back(self.answer(taken));
                    taking.set(self.bench.queue.take(&input));
                }
            }
        }
        while let Some((number, answer)) = under_way.next().await {
            self.finish(number, answer).await;
        }
    }

    async fn answer(&self, taken: Taken) -> (u64, Option<(LaneId, Vec<u8>)>) {
        (taken.number, self.reply(&taken.body).await)
    }

    async fn reply(&self, body: &[u8]) -> Option<(LaneId, Vec<u8>)> {
        let Some((message, plan)) = Message::decode(body).and_then(|message| {
            let plan = self.source.plan(&message)?;
            Some((message, plan))
        }) else {
            tracing::warn!("a message in the queue is dropped: nothing in the settings is for it");
            return None;
        };
        let began = Instant::now();
        let (model, content_type) = (plan.model.as_deref(), plan.content_type.as_deref());
        let answer = score(&self.bench.repository, model, content_type, &message.body).await;
        self.bench.metrics.scored(answer.as_ref().err().map(ScoreError::kind), began.elapsed());
        if let Err(error) = &answer {
            tracing::warn!(message.place, "a message cannot be scored: {error}");
        }
        let lane = self.bench.outputs.get(plan.output)?;
        Some((*lane, self.source.reply(&message, answer).encode()?))
    }

    /// Puts the answer into the queue before the message goes: a crash in between has it scored again.
    async fn finish(&self, number: u64, answer: Option<(LaneId, Vec<u8>)>) {
        if let Some((lane, body)) = answer
            && let Err(error) = self.bench.queue.push(lane, body).await
        {
            tracing::debug!("an answer is dropped: {error}");
        }
        self.bench.queue.finish(self.bench.input, number).await;
    }
}
