//! Requests whose runs are short, and those that are ready at the same moment.

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use super::fake::{Call, fake, given, metrics, parts, quiet};
use super::interleavings::{Dice, each_seed};
use crate::metrics::Metrics;
use crate::model::Tuning;
use crate::scheduler::Shared;
use crate::scheduler::curve::Took;
use crate::scheduler::gather::Outcome;
use crate::scheduler::tuner::class;
use crate::story::{Reason, Road, Size, Told};
use crate::{Error, Kind, Request, Response};

/// A request on its way.
type Asked<'s> = Pin<Box<dyn Future<Output = Outcome> + 's>>;

/// A model of which a run takes a microsecond for each row.
fn short(max_rows: usize, trusted: bool, mixes_rows: bool, metrics: &Metrics) -> Shared {
    let mut parts = parts(2, max_rows, 10, Tuning { trusted, ..Tuning::default() });
    (parts.status.device, parts.status.threads) = ("cpu".into(), 1);
    (parts.tuning.inline, parts.backend) = (None, fake(mixes_rows, Box::new(|| {})));
    let shared = parts.share(None, metrics);
    for class in 0..8 {
        shared.tuner.observe(class, 1, Took { wall: Duration::from_micros(1), work: None });
    }
    shared
}

fn ask(shared: &Shared, request: Request) -> Asked<'_> {
    Box::pin(shared.at_once(request))
}

fn look(asked: &mut Asked<'_>) -> Option<Outcome> {
    match asked.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(outcome) => Some(outcome),
        Poll::Pending => None,
    }
}

/// Has all of them ready at the same moment, each for its second turn.
fn gathered<'s>(shared: &'s Shared, requests: impl IntoIterator<Item = Request>) -> Vec<Asked<'s>> {
    let mut all: Vec<_> = requests.into_iter().map(|request| ask(shared, request)).collect();
    assert!(all.iter_mut().all(|asked| look(asked).is_none()));
    all
}

/// Has all of them ready at the same moment; says what came of each.
fn together(shared: &Shared, requests: impl IntoIterator<Item = Request>) -> Vec<Outcome> {
    let mut all: Vec<_> = requests.into_iter().map(|request| ask(shared, request)).collect();
    let mut found: Vec<_> = all.iter_mut().map(look).collect();
    for (asked, found) in all.iter_mut().zip(&mut found) {
        *found = found.take().or_else(|| look(asked));
    }
    found.into_iter().map(Option::unwrap).collect()
}

fn answer(outcome: Outcome) -> Result<Response, Error> {
    outcome.unwrap_or_else(|request| panic!("it was not run: {request:?}"))
}

fn rows(outcomes: Vec<Outcome>) -> Vec<usize> {
    outcomes.into_iter().map(|outcome| answer(outcome).unwrap().timings.batch_rows).collect()
}

fn plain(range: std::ops::Range<i64>) -> impl Iterator<Item = Request> {
    range.map(|first| Call::plain(first).request())
}

#[test]
fn those_that_are_ready_at_the_same_moment_share_a_run() {
    let metrics = metrics();
    let shared = short(8, true, false, &metrics);
    assert_eq!(rows(together(&shared, plain(0..5))), [5; 5]);
    let all = shared.statistics.snapshot();
    assert_eq!((all.executions, all.rows, all.success.count), (1, 5, 5));
    // Those that have no room are the beginning of another group.
    assert_eq!(rows(together(&shared, plain(0..11))), [[8; 8].as_slice(), &[3; 3]].concat());
    let sums = together(&shared, plain(0..3)).into_iter().map(|outcome| given(answer(outcome)).unwrap().remove(0).1);
    assert_eq!(sums.collect::<Vec<_>>(), [[1], [3], [5]]);
}

#[test]
fn one_alone_is_run_at_once_and_seldom_looks_for_others() {
    let metrics = metrics();
    let shared = short(8, true, false, &metrics);
    let mut looks = 0;
    for first in 0..10_000 {
        let mut asked = ask(&shared, Call::plain(first).request());
        let outcome = look(&mut asked).unwrap_or_else(|| {
            looks += 1;
            look(&mut asked).unwrap()
        });
        assert_eq!(answer(outcome).unwrap().timings.batch_rows, 1);
    }
    assert!((150..170).contains(&looks), "{looks}");
    // Once there is somebody, each looks.
    while rows(together(&shared, plain(0..2))) != [2, 2] {}
    for _ in 0..10 {
        assert_eq!(rows(together(&shared, plain(0..4))), [4; 4]);
    }
}

#[test]
fn a_request_tells_whom_it_shared_its_run_with() {
    let metrics = metrics();
    let shared = short(8, true, false, &metrics);
    let told = [Told::default(), Told::default()];
    let marked = |(at, told): (u8, &Told)| Call::plain(0).request().with_story(Some([at; 24]), told.clone());
    let requests: Vec<_> = (0..).zip(&told).map(marked).chain(plain(0..1)).collect();
    assert_eq!(rows(together(&shared, requests)), [3; 3]);
    for told in &told {
        let story = told.story().unwrap();
        assert_eq!((story.road, story.instance, story.threads), (Road::Short, None, 1));
        assert_eq!((story.run.rows, story.run.requests, story.run.size), (3, 3, Size::Ready));
        assert_eq!((story.run.number, story.run.marks.len()), (Some(0), 2));
    }
}

#[test]
fn no_more_rows_share_a_run_than_it_is_short_with() {
    let metrics = metrics();
    let mut shared = short(64, true, false, &metrics);
    let wide = |first| Call { width: 256, ..Call::plain(first) }.request();
    // Too long for two, whatever two runs of the fake teach.
    (0..9).for_each(|_| shared.tuner.observe(class(256), 1, Took { wall: Duration::from_micros(100), work: None }));
    assert_eq!(rows(together(&shared, plain(0..3))), [3; 3]);
    assert_eq!(rows(together(&shared, (0..3).map(wide))), [1; 3]);
    // Where not all the work is done by the thread that calls, it says nothing of runs of many.
    shared.works_alone = false;
    assert_eq!(rows(together(&shared, plain(0..3))), [1; 3]);
}

#[test]
fn rows_of_other_shapes_and_no_rows_at_all_are_not_joined() {
    let metrics = metrics();
    let shared = short(8, true, false, &metrics);
    let call = |width, rows| Call { width, rows, ..Call::plain(1) }.request();
    let requests = [call(1, 2), call(2, 2), call(1, 1), call(2, 0), call(2, 3), call(3, 1)];
    assert_eq!(rows(together(&shared, requests)), [3, 5, 3, 0, 5, 1]);
}

#[test]
fn a_caller_that_leaves_takes_nobody_along() {
    let metrics = metrics();
    let shared = short(8, true, false, &metrics);
    let mut all = gathered(&shared, plain(0..4));
    drop(all.remove(2));
    assert_eq!(rows(all.iter_mut().filter_map(look).collect()), [3; 3]);
    // Whoever came first leaves: another one runs them.
    let mut all = gathered(&shared, plain(0..4));
    drop(all.remove(0));
    assert_eq!(rows(all.iter_mut().rev().filter_map(look).collect()), [3; 3]);
    // Nothing is left of a group that nobody waits for.
    let told = Told::default();
    let asks = Call::plain(0).request().with_story(None, told.clone());
    let all = gathered(&shared, plain(0..2).chain([asks]));
    assert_eq!(shared.gather.forming(), 1);
    drop(all);
    assert_eq!(told.turned_away().unwrap().why, Reason::Left);
    assert_eq!(shared.gather.forming(), 0);
    assert_eq!(rows(together(&shared, plain(0..4))), [4; 4]);
}

#[test]
fn nobody_waits_for_one_that_is_not_looked_at() {
    let metrics = metrics();
    let shared = short(8, true, false, &metrics);
    let mut all = gathered(&shared, plain(0..4));
    for asked in all.iter_mut().rev() {
        assert_eq!(answer(look(asked).unwrap()).unwrap().timings.batch_rows, 4);
    }
}

#[test]
fn a_request_whose_time_is_over_is_not_run() {
    let metrics = metrics();
    let shared = short(8, true, false, &metrics);
    let told = Told::default();
    let late = Call { late: true, ..Call::plain(7) }.request().with_story(None, told.clone());
    let mut outcomes = together(&shared, plain(0..2).chain([late]));
    let late = answer(outcomes.pop().unwrap()).unwrap_err();
    assert_eq!((late.kind(), told.turned_away().unwrap().why), (Kind::DeadlineExceeded, Reason::Expired));
    assert_eq!(rows(outcomes), [2; 2]);
}

#[test]
fn a_doubt_that_arises_while_a_group_forms_keeps_it_apart() {
    let metrics = metrics();
    let shared = short(8, true, false, &metrics);
    let mut all = gathered(&shared, plain(0..3));
    shared.doubt.confirm();
    assert_eq!(rows(all.iter_mut().filter_map(look).collect()), [1; 3]);
}

#[test]
fn where_no_thread_is_free_all_are_queued() {
    let metrics = metrics();
    let shared = short(8, true, false, &metrics);
    let held = shared.share.take(2);
    let told = Told::default();
    let asks = Call::plain(0).request().with_story(None, told);
    for outcome in together(&shared, plain(0..3).chain([asks])) {
        let Err(request) = outcome else { panic!("no thread is free") };
        assert!(request.asked().is_none_or(|asked| asked.road == Road::Busy));
    }
    drop(held);
    assert_eq!(rows(together(&shared, plain(0..3))), [3; 3]);
}

#[test]
fn rows_that_influence_one_another_are_found_out_before_a_wrong_answer() {
    let metrics = metrics();
    let shared = short(8, false, true, &metrics);
    for round in 0..4 {
        for (first, outcome) in (0..).zip(together(&shared, plain(0..5))) {
            // Alone, a row's sum is counted twice: once as the row's, once as that of all rows.
            assert_eq!(given(answer(outcome)).unwrap()[0].1, [2 * (first + first + 1)], "{round}");
        }
    }
    assert!(shared.doubt.is_shown());
}

/// A call on its way, and what came of it.
struct Caller<'s> {
    call: Call,
    asked: Option<Asked<'s>>,
    outcome: Option<Outcome>,
}

/// Requests come, are looked at and leave in an order that dice choose.
fn play(shared: &Shared, dice: &mut Dice) {
    let mut callers: Vec<Caller<'_>> = Vec::new();
    let mut coming = 1 + dice.below(12);
    while coming > 0 || callers.iter().any(|caller| caller.asked.is_some()) {
        let at = if callers.is_empty() { 0 } else { dice.below(callers.len()) };
        match (dice.roll(8), callers.get_mut(at)) {
            (0..3, _) if coming > 0 => {
                coming -= 1;
                let call = Call { width: 1 + dice.below(3), late: false, ..dice.call() };
                let asked = Some(ask(shared, call.request()));
                callers.push(Caller { call, asked, outcome: None });
            }
            (3, Some(caller)) => drop(caller.asked.take()),
            (_, Some(caller)) => {
                caller.outcome = caller.outcome.take().or_else(|| look(caller.asked.as_mut()?));
                if caller.outcome.is_some() {
                    caller.asked = None;
                }
            }
            _ => {}
        }
    }
    assert_eq!(shared.gather.forming(), 0);
    for Caller { call, outcome, .. } in callers {
        match outcome {
            Some(Ok(answer)) => {
                let named =
                    |all: Vec<(&str, Vec<i64>)>| all.into_iter().map(|(name, x)| (name.to_string(), x)).collect();
                assert_eq!(given(answer), call.expected().map(named), "{call:?}");
            }
            Some(Err(_)) => panic!("{call:?} was not run"),
            None => {}
        }
    }
}

#[test]
fn any_order_gives_the_answers_of_one_by_one() {
    quiet();
    let largest = AtomicU64::new(0);
    let scene = |dice: &mut Dice, metrics: &Metrics| short(1 + dice.below(9), dice.roll(4) > 0, false, metrics);
    each_seed(scene, |shared, dice| {
        play(shared, dice);
        let rows = shared.statistics.snapshot().batches.keys().copied().max();
        largest.fetch_max(rows.unwrap_or_default(), Ordering::Relaxed);
    });
    assert!(largest.into_inner() > 6, "some have shared runs");
}
