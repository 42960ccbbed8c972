//! A model on trial: each of its runs is looked at, whoever asked for it.

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use hedef_core::backend::{Backend, RunError, Stop};
use hedef_core::model::Parts;
use hedef_core::repository::{Load, Version};
use hedef_core::{Data, ModelId, Signature, Tensor};
use tokio::sync::Notify;

/// So many bad runs are no accident.
const ENOUGH: u64 = 3;

/// What a trial asks for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Terms {
    /// So many good runs prove a model.
    pub runs: u64,
    /// So does the time.
    pub time: Duration,
    /// The part of runs that may be bad.
    pub bad: f64,
    /// A run that takes longer is bad.
    pub latency: Option<Duration>,
}

/// What a trial has come to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Open,
    Good,
    Bad(String),
}

/// The runs of a model on trial.
#[derive(Debug)]
pub(super) struct Watch {
    terms: Terms,
    /// Runs count while it is served, not while it is loaded and tested.
    on: AtomicBool,
    good: AtomicU64,
    failed: AtomicU64,
    not_finite: AtomicU64,
    slow: AtomicU64,
    decided: Notify,
}

impl Watch {
    pub(super) fn new(terms: Terms) -> Self {
        Self {
            terms,
            on: AtomicBool::new(false),
            good: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            not_finite: AtomicU64::new(0),
            slow: AtomicU64::new(0),
            decided: Notify::new(),
        }
    }

    /// Runs count from now on.
    pub(super) fn begin(&self) {
        self.on.store(true, Ordering::Relaxed);
    }

    /// Runs do not count any more.
    pub(super) fn end(&self) {
        self.on.store(false, Ordering::Relaxed);
    }

    /// What the runs tell by now.
    pub(super) fn verdict(&self) -> Verdict {
        self.verdict_at(false)
    }

    /// The same; at the end there is no more to come.
    fn verdict_at(&self, end: bool) -> Verdict {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let (good, failed, not_finite, slow) =
            (read(&self.good), read(&self.failed), read(&self.not_finite), read(&self.slow));
        let bad = failed + not_finite + slow;
        #[expect(clippy::cast_precision_loss, reason = "it is about parts of small numbers")]
        let too_many = bad as f64 > self.terms.bad * (good + bad) as f64;
        // One bad run, such as a slow first one, decides nothing, unless not one was good.
        let none_good = end && good == 0 && failed + not_finite > 0;
        if too_many && (bad >= ENOUGH || none_good) {
            return Verdict::Bad(format!(
                "of {} runs {failed} failed, {not_finite} gave NaN or infinity, {slow} took too long",
                good + bad
            ));
        }
        if good >= self.terms.runs { Verdict::Good } else { Verdict::Open }
    }

    /// Waits until the runs, or the time, have decided.
    pub(super) async fn decision(&self) -> Verdict {
        let late = tokio::time::sleep(self.terms.time);
        tokio::pin!(late);
        loop {
            let told = self.decided.notified();
            match self.verdict() {
                Verdict::Open => (),
                decided => return decided,
            }
            tokio::select! {
                () = told => (),
                () = &mut late => {
                    let last = self.verdict_at(true);
                    return if last == Verdict::Open { Verdict::Good } else { last };
                }
            }
        }
    }

    fn count(&self, counter: &AtomicU64) {
        counter.fetch_add(1, Ordering::Relaxed);
        if self.verdict() != Verdict::Open {
            self.decided.notify_one();
        }
    }
}

/// A backend whose runs are looked at.
struct Watched {
    inner: Arc<dyn Backend>,
    watch: Arc<Watch>,
}

impl fmt::Debug for Watched {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}

impl Backend for Watched {
    fn signature(&self) -> &Signature {
        self.inner.signature()
    }

    fn run(&self, inputs: &[&Tensor], outputs: &[usize], stop: Option<&Stop>) -> Result<Vec<Tensor>, RunError> {
        if !self.watch.on.load(Ordering::Relaxed) {
            return self.inner.run(inputs, outputs, stop);
        }
        let began = Instant::now();
        let result = self.inner.run(inputs, outputs, stop);
        let took = began.elapsed();
        match &result {
            // Of bad inputs no model can make good outputs.
            Ok(found) if !found.iter().all(is_finite) && inputs.iter().all(|input| is_finite(input)) => {
                self.watch.count(&self.watch.not_finite);
            }
            Ok(_) if self.watch.terms.latency.is_some_and(|limit| took > limit) => self.watch.count(&self.watch.slow),
            Ok(_) => self.watch.count(&self.watch.good),
            Err(RunError::Runtime(_)) => self.watch.count(&self.watch.failed),
            Err(RunError::Inputs(_) | RunError::Stopped) => (),
        }
        result
    }

    fn rest(&self) {
        self.inner.rest();
    }
}

/// Whether there is neither NaN nor infinity among the numbers.
fn is_finite(tensor: &Tensor) -> bool {
    match tensor.data() {
        Data::Fp16(numbers) => numbers.iter().all(|number| number.is_finite()),
        Data::Bf16(numbers) => numbers.iter().all(|number| number.is_finite()),
        Data::Fp32(numbers) => numbers.iter().all(|number| number.is_finite()),
        Data::Fp64(numbers) => numbers.iter().all(|number| number.is_finite()),
        _ => true,
    }
}

/// The models that are on trial, or about to be.
#[derive(Clone, Debug, Default)]
pub struct Trials(Arc<Mutex<HashMap<ModelId, Arc<Watch>>>>);

impl Trials {
    /// Has a version watched from its next load on.
    pub(super) fn watch(&self, id: ModelId, terms: Terms) -> Arc<Watch> {
        let watch = Arc::new(Watch::new(terms));
        self.all().insert(id, Arc::clone(&watch));
        watch
    }

    pub(super) fn of(&self, id: &ModelId) -> Option<Arc<Watch>> {
        self.all().get(id).cloned()
    }

    /// Ends a trial.
    pub(super) fn end(&self, id: &ModelId) {
        if let Some(watch) = self.all().remove(id) {
            watch.end();
        }
    }

    fn all(&self) -> MutexGuard<'_, HashMap<ModelId, Arc<Watch>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A loader whose models are watched while they are on trial.
pub struct Watching<L> {
    /// What loads.
    pub inner: L,
    /// The trials.
    pub trials: Trials,
}

impl<L: Load> Load for Watching<L> {
    fn load(&self, version: &Version<'_>) -> Result<Parts, String> {
        let mut parts = self.inner.load(version)?;
        if let Some(watch) = self.trials.of(&version.id) {
            parts.backend = Arc::new(Watched { inner: parts.backend, watch });
        }
        Ok(parts)
    }

    fn estimate(&self, version: &Version<'_>) -> u64 {
        self.inner.estimate(version)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug)]
    struct Fake(Signature, Mutex<Vec<Result<f32, RunError>>>);

    impl Backend for Fake {
        fn signature(&self) -> &Signature {
            &self.0
        }

        fn run(&self, _: &[&Tensor], _: &[usize], _: Option<&Stop>) -> Result<Vec<Tensor>, RunError> {
            let next = self.1.lock().unwrap().pop().unwrap();
            next.map(|number| vec![Tensor::from_elements([1], vec![number]).unwrap()])
        }
    }

    const TERMS: Terms = Terms { runs: 5, time: Duration::from_secs(60), bad: 0.1, latency: None };

    /// What a trial comes to whose runs end so, on an input that is this number.
    fn verdict(terms: Terms, ends: Vec<Result<f32, RunError>>, input: f32) -> Verdict {
        let watch = Arc::new(Watch::new(terms));
        watch.begin();
        let count = ends.len();
        let signature = Signature { inputs: vec![], outputs: vec![], batch_axis: false };
        let watched = Watched { inner: Arc::new(Fake(signature, Mutex::new(ends))), watch: Arc::clone(&watch) };
        let input = Tensor::from_elements([1], vec![input]).unwrap();
        for _ in 0..count {
            let _ = watched.run(&[&input], &[0], None);
        }
        watch.verdict()
    }

    #[test]
    fn good_runs_prove_a_model_and_bad_ones_disprove_it() {
        let failure = || Err(RunError::Runtime("no".into()));
        assert_eq!(verdict(TERMS, vec![Ok(1.0); 4], 0.0), Verdict::Open);
        assert_eq!(verdict(TERMS, vec![Ok(1.0); 5], 0.0), Verdict::Good);
        assert_eq!(verdict(TERMS, vec![failure(), failure()], 0.0), Verdict::Open);
        assert!(matches!(verdict(TERMS, vec![failure(), failure(), failure()], 0.0), Verdict::Bad(_)));
        let Verdict::Bad(reason) = verdict(TERMS, vec![Ok(f32::NAN); 3], 0.0) else { panic!() };
        assert!(reason.contains("3 gave NaN"), "{reason}");
        // What callers do wrong is not the model's fault.
        assert_eq!(verdict(TERMS, vec![Ok(f32::NAN); 5], f32::INFINITY), Verdict::Good);
        assert_eq!(verdict(TERMS, vec![Err(RunError::Inputs("x".into())); 9], 0.0), Verdict::Open);
        let hasty = Terms { latency: Some(Duration::ZERO), ..TERMS };
        assert!(matches!(verdict(hasty, vec![Ok(1.0); 3], 0.0), Verdict::Bad(_)));
    }

    #[tokio::test(start_paused = true)]
    async fn the_time_proves_a_model_that_nobody_asks() {
        let watch = Watch::new(TERMS);
        assert_eq!(watch.decision().await, Verdict::Good);
        watch.count(&watch.failed);
        assert!(matches!(watch.decision().await, Verdict::Bad(_)), "the only run failed");
        // A slow first run, and few others.
        let watch = Watch::new(TERMS);
        watch.count(&watch.slow);
        assert_eq!(watch.decision().await, Verdict::Good);
        watch.count(&watch.good);
        watch.count(&watch.failed);
        assert_eq!(watch.decision().await, Verdict::Good);
    }

    #[tokio::test]
    async fn a_decision_is_told_as_soon_as_it_is_there() {
        let watch = Arc::new(Watch::new(Terms { time: Duration::from_secs(1 << 40), ..TERMS }));
        let waiting = tokio::spawn({
            let watch = Arc::clone(&watch);
            async move { watch.decision().await }
        });
        for _ in 0..ENOUGH {
            watch.count(&watch.failed);
        }
        assert!(matches!(waiting.await.unwrap(), Verdict::Bad(_)));
    }
}
