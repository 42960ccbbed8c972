//! A machine that others take the processors of for some seconds: the sizes of runs are found all the same, and found
//! again soon after.

use std::time::Duration;

use crate::model::Tuning;
use crate::scheduler::Tuner;
use crate::scheduler::curve::Took;
use crate::scheduler::tuner::class;

/// A run of one row, in seconds.
const ROW: f64 = 0.012;
const INSTANCES: usize = 2;
const LIMIT: usize = 64;
/// When a disturbance begins at the latest, and how long it lasts at most.
const CALM: f64 = 8.0;
const BUSY: (f64, f64) = (1.0, 10.0);
/// How long after it the search may take, and for how long what it found is then looked at.
const SOON: f64 = 5.0;
const AFTERWARDS: f64 = 15.0;

/// What a row costs in runs of 1, 2, 4, … rows.
type Model = [f64; 7];
const PAYS: Model = [1.0, 0.6, 0.4, 0.3, 0.25, 0.22, 0.208];
const HARDLY_PAYS: Model = [1.0, 0.954, 0.931, 0.919, 0.913, 0.911, 0.909];
const COSTS: Model = [1.0, 1.2, 1.25, 1.3, 1.35, 1.4, 1.4];
const PAYS_UP_TO_EIGHT: Model = [1.0, 0.7, 0.55, 0.5, 0.6, 0.7, 0.8];

#[derive(Clone, Copy, Debug)]
enum Disturbance {
    /// All takes as many times as long.
    Steady,
    /// It comes and goes, within runs or after some of them.
    Alternating,
    /// All takes another number of times as long every now and then.
    Wild,
}

struct Random(u64);

impl Random {
    fn between(&mut self, (least, most): (f64, f64)) -> f64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        least + (most - least) * f64::from(u32::try_from(self.0 >> 32).unwrap()) / f64::from(u32::MAX)
    }

    /// As often of any order of magnitude.
    fn of_any_order(&mut self, (least, most): (f64, f64)) -> f64 {
        self.between((least.ln(), most.ln())).exp()
    }
}

/// A machine on which everything takes some times as long: since when, and how many times.
struct Machine {
    since: Vec<(f64, f64)>,
    /// When it is calm again.
    calm: f64,
}

impl Machine {
    fn new(random: &mut Random, disturbance: Disturbance) -> Self {
        let mut now = random.between((0.0, CALM));
        let calm = now + random.between(BUSY);
        let mut since = vec![(0.0, 1.0)];
        let times = random.between((1.5, 4.0));
        let phases = [(); 2].map(|()| random.of_any_order((0.002, 0.5)));
        while now < calm {
            let (times, phase) = match disturbance {
                Disturbance::Steady => (times, calm),
                Disturbance::Alternating if since.len() % 2 == 1 => (times, phases[0]),
                Disturbance::Alternating => (1.0, phases[1]),
                Disturbance::Wild => (random.between((1.0, 4.0)), phases[0]),
            };
            since.push((now, times));
            now += phase * random.between((0.5, 1.5));
        }
        since.push((calm, 1.0));
        Self { since, calm }
    }

    /// When so many seconds of work are done that begin at `now`.
    fn end(&self, mut now: f64, mut work: f64) -> f64 {
        let first = self.since.partition_point(|(since, _)| *since <= now);
        for (at, (_, times)) in self.since.iter().enumerate().skip(first - 1) {
            let until = self.since.get(at + 1).map_or(f64::INFINITY, |(since, _)| *since);
            if now + work * times <= until {
                return now + work * times;
            }
            work -= (until - now) / times;
            now = until;
        }
        unreachable!("the last phase has no end")
    }
}

/// Runs a model on a machine where more waits than can be done. With `deadlines` the oldest request of a run is due so
/// soon that the run can often not have all the rows it may. Returns the work that the rows would have cost in runs of
/// the best size, as a share of what they did: soon after the disturbance, and later.
fn share_of_best(model: Model, disturbance: Disturbance, deadlines: bool, seed: u64) -> [f64; 2] {
    let mut random = Random(seed);
    let machine = Machine::new(&mut random, disturbance);
    let class = class(1);
    // Loading had the time for runs of one row only.
    let trials = vec![(1, Duration::from_secs_f64(ROW))];
    let tuner = Tuner::new(LIMIT, &Tuning { row_elements: 1, trials, ..Tuning::default() });
    let least = model.into_iter().fold(f64::INFINITY, f64::min);
    let mut under_way: Vec<(f64, f64, usize)> = Vec::new();
    let (mut now, mut done) = (0.0, [(0.0, 0.0); 2]);
    while now < machine.calm + SOON + AFTERWARDS {
        while under_way.len() < INSTANCES {
            let forecast = tuner.forecast(class);
            let left = if deadlines { random.between((0.01, 0.25)) } else { f64::INFINITY };
            let in_time = |rows: &usize| *rows == 1 || forecast.run(*rows).unwrap() <= left;
            let rows = (1..=forecast.cap).take_while(in_time).last().unwrap();
            let cost = model[usize::try_from(rows.ilog2()).unwrap()] * f64::from(u32::try_from(rows).unwrap());
            let work = ROW * cost * random.between((0.9, 1.1));
            if now >= machine.calm {
                let (best, all) = &mut done[usize::from(now >= machine.calm + SOON)];
                *best += least * f64::from(u32::try_from(rows).unwrap());
                *all += cost;
            }
            under_way.push((machine.end(now, work), now, rows));
        }
        let next = (0..INSTANCES).min_by(|a, b| under_way[*a].0.total_cmp(&under_way[*b].0)).unwrap();
        let (end, began, rows) = under_way.swap_remove(next);
        tuner.observe(class, rows, Took { wall: Duration::from_secs_f64(end - began), work: None });
        now = end;
    }
    done.map(|(best, all)| best / all)
}

/// Holds what is reached over some seeds against what has to be: in the mean soon after the disturbance and later, and
/// later for each seed.
fn check(model: Model, deadlines: bool, seeds: u64) {
    for disturbance in [Disturbance::Steady, Disturbance::Alternating, Disturbance::Wild] {
        let shares = (1..=seeds).map(|seed| share_of_best(model, disturbance, deadlines, seed << 40));
        let (mut sum, mut least) = ([0.0; 2], f64::INFINITY);
        for [soon, later] in shares {
            (sum, least) = ([sum[0] + soon, sum[1] + later], later.min(least));
        }
        let [soon, later] = sum.map(|sum| sum / f64::from(u32::try_from(seeds).unwrap()));
        assert!(soon > 0.95 && later > 0.97 && least > 0.95, "{model:?} {disturbance:?}: {soon} {later} {least}");
    }
}

#[test]
fn the_best_size_is_found_whatever_disturbs_the_machine() {
    for model in [PAYS, HARDLY_PAYS, COSTS, PAYS_UP_TO_EIGHT] {
        check(model, false, 12);
    }
}

#[test]
fn where_batching_costs_an_overload_that_was_disturbed_goes_on_without_it() {
    check(COSTS, true, 24);
}
