//! Without threads and clocks: every step of callers and instances in an order that dice choose, callers who leave in
//! the middle of a run among them. A failure names its seed.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use super::config;
use super::fake::{Call, During, fake, given, joining, metrics, padding, parts, quiet};
use crate::metrics::Metrics;
use crate::model::Tuning;
use crate::scheduler::Shared;
use crate::scheduler::job::Ticket;
use crate::{Error, Kind, Response};

/// How many orders of steps are tried: many where time is no matter.
fn sequences() -> u64 {
    if config::ci() { 1_000_000 } else { 10_000 }
}

/// So many of them use one model one after the other.
const PER_MODEL: u64 = 100;
/// The most calls in one sequence.
const CALLS: u64 = 12;

/// The same numbers for the same seed (splitmix64).
pub(super) struct Dice(u64);

impl Dice {
    /// A number below `sides`.
    pub(super) fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % sides
    }

    pub(super) fn below(&mut self, sides: usize) -> usize {
        usize::try_from(self.roll(u64::try_from(sides).unwrap())).unwrap()
    }

    pub(super) fn call(&mut self) -> Call {
        let outputs = [&[][..], &["sum"], &["twice"], &["twice", "sum"]];
        let fate = self.roll(24);
        Call {
            rows: self.below(4),
            width: 1 + self.below(12),
            first: i64::try_from(self.roll(2000)).unwrap() - 1000,
            outputs: outputs[self.below(4)].to_vec(),
            poison: fate == 0,
            bomb: fate == 1,
            leaves: false,
            late: fate == 2,
        }
    }
}

/// A model whose instances take a step when told to.
struct Scene {
    shared: Arc<Shared>,
    /// Callers who leave while the next run is under way.
    leaving: Arc<Mutex<Vec<Ticket>>>,
    capacity: usize,
}

/// A call that was taken.
struct Caller {
    call: Call,
    /// None once it has left, or is about to.
    ticket: Option<Ticket>,
    answer: oneshot::Receiver<Result<Response, Error>>,
    /// Whether its time may have run out, or may have been thought to.
    hurried: bool,
}

impl Scene {
    fn new(dice: &mut Dice, metrics: &Metrics) -> Self {
        let leaving = Arc::<Mutex<Vec<Ticket>>>::default();
        let own = Arc::clone(&leaving);
        let (instances, max_rows, capacity) = (1 + dice.below(3), 1 + dice.below(9), 2 + dice.below(12));
        let padding = (dice.roll(2) == 0).then(padding);
        let tuning = Tuning { trusted: dice.roll(4) > 0, padding, ..Tuning::default() };
        let mut parts = parts(instances, max_rows, capacity, tuning);
        let during: During = Box::new(move || drop(std::mem::take(&mut *own.lock().unwrap())));
        parts.backend = if dice.roll(2) == 0 { fake(false, during) } else { joining(during) };
        Self { shared: Arc::new(parts.share(None, metrics)), leaving, capacity }
    }

    fn play(&self, dice: &mut Dice) {
        let mut callers: Vec<Caller> = Vec::new();
        // What is left in the memory of one joined run must not show in the next.
        let mut spare = Vec::new();
        let mut coming = 1 + dice.roll(CALLS);
        while coming > 0 || self.shared.queue.len() > 0 {
            match dice.roll(8) {
                0..4 if coming > 0 => {
                    coming -= 1;
                    callers.extend(self.come(dice));
                }
                4 if !callers.is_empty() => {
                    let at = dice.below(callers.len());
                    drop(callers[at].ticket.take());
                }
                5 if !callers.is_empty() => {
                    let at = dice.below(callers.len());
                    self.leaving.lock().unwrap().extend(callers[at].ticket.take());
                }
                _ if self.shared.queue.len() > 0 => self.shared.run_next_in(0, &mut spare),
                _ => {}
            }
        }
        self.leaving.lock().unwrap().clear();
        for mut caller in callers {
            self.check(&mut caller);
        }
    }

    fn come(&self, dice: &mut Dice) -> Option<Caller> {
        let call = dice.call();
        let mut request = call.request();
        let hurried = !call.late && dice.roll(16) == 0;
        if hurried {
            request = request.with_deadline(Instant::now().checked_add(Duration::from_micros(dice.roll(100))));
        }
        match self.shared.enqueue(request) {
            Ok((ticket, answer)) => Some(Caller { call, ticket: Some(ticket), answer, hurried }),
            Err(error) => {
                let full = self.shared.queue.len() == self.capacity;
                match error.kind() {
                    Kind::ResourceExhausted => assert!(full || hurried, "{call:?}"),
                    kind => assert!(kind == Kind::DeadlineExceeded && (call.late || hurried), "{call:?}: {error}"),
                }
                None
            }
        }
    }

    /// Whoever stayed has the answer it would have got alone; whoever left, that one or none.
    fn check(&self, caller: &mut Caller) {
        let Ok(answer) = caller.answer.try_recv() else {
            assert!(caller.ticket.is_none(), "no answer: {:?}", caller.call);
            return;
        };
        let found = given(answer);
        if caller.hurried && matches!(found, Err(Kind::DeadlineExceeded | Kind::ResourceExhausted)) {
            return;
        }
        let expected = caller.call.expected();
        let expected = expected.map(|all| all.into_iter().map(|(name, x)| (name.to_string(), x)).collect::<Vec<_>>());
        assert_eq!(found, expected, "{:?}", caller.call);
    }
}

/// Plays one sequence for each seed, many of them one after the other in one scene.
pub(super) fn each_seed<S>(scene: impl Fn(&mut Dice, &Metrics) -> S + Sync, play: impl Fn(&S, &mut Dice) + Sync) {
    let threads = std::thread::available_parallelism().map_or(1, |threads| u64::try_from(threads.get()).unwrap());
    let (scene, play) = (&scene, &play);
    std::thread::scope(|scope| {
        for thread in 0..threads {
            scope.spawn(move || {
                let metrics = metrics();
                for first in (thread * PER_MODEL..sequences()).step_by(usize::try_from(threads * PER_MODEL).unwrap()) {
                    let scene = scene(&mut Dice(first), &metrics);
                    for seed in first..first + PER_MODEL {
                        let played =
                            std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| play(&scene, &mut Dice(seed))));
                        assert!(played.is_ok(), "with seed {seed} after those from {first} on");
                    }
                }
            });
        }
    });
}

#[test]
fn any_order_of_steps_gives_the_answers_of_one_by_one() {
    quiet();
    each_seed(Scene::new, Scene::play);
}

#[test]
fn a_run_is_ended_when_all_its_callers_leave_and_goes_on_for_one() {
    let metrics = metrics();
    for stays in [false, true] {
        let scene = Scene::new(&mut Dice(1), &metrics);
        let call = Call::plain;
        let mut callers: Vec<_> = (0..2).map(|first| scene.shared.enqueue(call(first).request()).unwrap()).collect();
        let (ticket, mut answer) = callers.remove(0);
        scene.leaving.lock().unwrap().extend(callers.into_iter().map(|(ticket, _)| ticket));
        let ticket = if stays {
            Some(ticket)
        } else {
            scene.leaving.lock().unwrap().push(ticket);
            None
        };
        scene.shared.run_next(0);
        scene.shared.run_next(0);
        assert_eq!(answer.try_recv().is_ok(), stays);
        drop(ticket);
    }
}
