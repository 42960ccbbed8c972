//! Single steps of the queue, without threads and clocks.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use super::fake::{Call, metrics, parts};
use crate::model::{Slots, Tuning};
use crate::scheduler::Shared;
use crate::scheduler::batch::Former;
use crate::scheduler::curve::Took;
use crate::scheduler::job::Ticket;
use crate::scheduler::tuner::class;
use crate::story::{Reason, Road, Size, Told};
use crate::{Error, Request, Response};

type Answer = oneshot::Receiver<Result<Response, Error>>;

fn shared(max_rows: usize, capacity: usize, tuning: Tuning) -> Arc<Shared> {
    with_instances(1, 1, max_rows, capacity, tuning)
}

fn with_instances(instances: usize, threads: usize, max_rows: usize, capacity: usize, tuning: Tuning) -> Arc<Shared> {
    let mut parts = parts(instances, max_rows, capacity, Tuning { trusted: true, ..tuning });
    parts.slots = Arc::new(Slots::new(threads));
    let shared = parts.share(None, &metrics());
    shared.instances.store(instances, Ordering::Relaxed);
    Arc::new(shared)
}

fn ask(shared: &Arc<Shared>, width: usize) -> Result<(Ticket, Answer), Error> {
    let call = Call { width, ..Call::plain(1) };
    shared.enqueue(call.request())
}

/// The rows of the runs that gave the answers; 0 where there is none yet.
fn batches(asked: &mut [(Ticket, Answer)]) -> Vec<usize> {
    let rows = |answer: &mut Answer| answer.try_recv().map_or(0, |answer| answer.unwrap().timings.batch_rows);
    asked.iter_mut().map(|(_, answer)| rows(answer)).collect()
}

/// A model of which each row is known to take a second.
fn slow(max_rows: usize, objective: u64) -> Arc<Shared> {
    let tuning = Tuning { objective: Some(Duration::from_secs(objective)), ..Tuning::default() };
    let shared = shared(max_rows, 100, tuning);
    teach(&shared);
    shared
}

fn teach(shared: &Shared) {
    for power in 0..4 {
        let took = Took { wall: Duration::from_secs(1 << power), work: None };
        shared.tuner.observe(class(2), 1 << power, took);
    }
}

#[test]
fn other_shapes_cut_no_batch_and_who_came_first_is_first() {
    let shared = shared(8, 100, Tuning::default());
    let mut asked: Vec<_> = [2, 1, 2, 1, 3, 2].map(|width| ask(&shared, width).unwrap()).into();
    shared.run_next(0);
    assert_eq!(batches(&mut asked), [3, 0, 3, 0, 0, 3]);
    shared.run_next(0);
    shared.run_next(0);
    assert_eq!(batches(&mut asked), [0, 2, 0, 2, 1, 0]);
}

#[test]
fn who_leaves_frees_its_place_at_once() {
    let shared = shared(1, 2, Tuning::default());
    let first = ask(&shared, 1).unwrap();
    let _second = ask(&shared, 1).unwrap();
    assert!(matches!(ask(&shared, 1), Err(Error::Overloaded { waiting: 2, .. })));
    drop(first);
    assert_eq!(shared.queue.len(), 1);
    assert!(ask(&shared, 1).is_ok());
}

#[test]
fn what_would_miss_the_objective_is_refused_when_it_comes() {
    let shared = slow(1, 3);
    let _first = ask(&shared, 2).unwrap();
    let _second = ask(&shared, 2).unwrap();
    let Err(refused) = ask(&shared, 2) else { panic!("two seconds of waiting and one of running, and some for error") };
    assert!(matches!(refused, Error::TooBusy { .. }), "{refused}");
    assert_eq!(refused.retry_after().map(|wait| wait.as_secs()), Some(3));
}

#[test]
fn a_short_run_is_not_refused_for_a_long_one_that_it_need_not_wait_for() {
    let mut shared = with_instances(1, 2, 1, 100, Tuning::default());
    Arc::get_mut(&mut shared).unwrap().inline = None;
    shared.tuner.observe(class(64), 1, Took { wall: Duration::from_secs(1000), work: None });
    shared.tuner.observe(class(2), 1, Took { wall: Duration::from_micros(50), work: None });
    let due = Some(Instant::now() + Duration::from_secs(500));
    let _long = ask(&shared, 64).unwrap();
    let forecast = |class| shared.forecast(class);
    let former = Former { forecast: &forecast, threads_for: 1, instances: 1, instance: 0, prepared: false };
    let _under_way = shared.queue.take(&former);
    assert!(shared.run_at_once(Call::plain(1).request().with_deadline(due)).is_ok());
    assert!(shared.admits(due).is_ok());
    let thread = shared.share.take(2);
    assert!(matches!(shared.admits(due), Err(Error::TooBusy { .. })), "there is no thread for it");
    drop(thread);
    let _waits = ask(&shared, 64).unwrap();
    assert!(matches!(shared.admits(due), Err(Error::TooBusy { .. })), "it would have to wait its turn");
}

#[test]
fn while_nothing_is_ahead_everything_is_taken() {
    let shared = slow(1, 1);
    for _ in 0..3 {
        let mut asked = [ask(&shared, 2).unwrap()];
        shared.run_next(0);
        assert_eq!(batches(&mut asked), [1], "a forecast may be wrong");
    }
}

#[test]
fn runs_are_kept_so_small_that_they_meet_the_objective() {
    let shared = slow(8, 9);
    let mut asked: Vec<_> = (0..7).map(|_| ask(&shared, 2).unwrap()).collect();
    assert!(ask(&shared, 2).is_err(), "eight seconds and a quarter more are too long");
    shared.run_next(0);
    assert_eq!(batches(&mut asked), [7; 7]);
    let tight = slow(8, 60);
    let mut asked: Vec<_> = (0..8).map(|_| ask(&tight, 2).unwrap()).collect();
    tight.run_next(0);
    assert_eq!(batches(&mut asked), [8; 8]);
}

#[test]
fn rows_are_left_for_instances_that_are_idle_and_have_threads() {
    for (instances, threads, rows) in [(1, 1, 8), (1, 4, 8), (4, 1, 8), (2, 2, 4), (4, 4, 2)] {
        let shared = with_instances(instances, threads, 8, 100, Tuning::default());
        teach(&shared);
        let mut asked: Vec<_> = (0..8).map(|_| ask(&shared, 2).unwrap()).collect();
        shared.run_next(0);
        assert_eq!(batches(&mut asked)[0], rows, "{instances} instances, {threads} threads");
    }
}

/// A request that asks for its story, with such a mark: what it holds of the queue, its answer, and its story.
fn curious(shared: &Arc<Shared>, request: Request, mark: Option<u8>) -> (Ticket, Answer, Told) {
    let told = Told::default();
    let request = request.with_story(mark.map(|mark| [mark; 24]), told.clone());
    let (ticket, answer) = shared.enqueue(request).unwrap();
    (ticket, answer, told)
}

/// What a request was told: of its run the requests, the number and the marks, and why the run was so large.
fn told(told: &Told) -> (usize, u64, Vec<[u8; 24]>, Size) {
    let story = told.story().unwrap();
    (story.run.requests, story.run.number.unwrap(), story.run.marks.clone(), story.run.size)
}

#[test]
fn who_asks_is_told_of_the_run_and_who_does_not_is_not() {
    let shared = shared(4, 100, Tuning::default());
    let call = Call::plain;
    let marked = |mark| curious(&shared, call(1).request(), Some(mark));
    let (first, mut silent, unmarked) =
        (marked(1), ask(&shared, 2).unwrap(), curious(&shared, call(1).request(), None));
    let (fourth, fifth) = (marked(4), marked(5));
    assert!(first.2.story().is_none());
    shared.run_next(3);
    let (requests, number, marks, size) = told(&first.2);
    assert_eq!((requests, marks, size), (4, vec![[1; 24], [4; 24]], Size::Cap(4)));
    let timings = silent.1.try_recv().unwrap().unwrap().timings;
    let story = unmarked.2.story().unwrap();
    assert_eq!((story.timings.batch_rows, story.timings.compute), (4, timings.compute));
    assert_eq!((story.run.number, story.instance, story.road), (Some(number), Some(3), Road::Long));
    assert!(story.run.is_untold() && !story.run.is_untold(), "once for all who shared it");
    assert!(!fourth.2.story().unwrap().run.is_untold());
    shared.run_next(3);
    let (requests, other, marks, size) = told(&fifth.2);
    assert_eq!((requests, marks, size), (1, vec![[5; 24]], Size::Alone));
    assert_ne!(other, number);
}

#[test]
fn who_asks_is_told_of_a_run_that_failed() {
    let shared = shared(4, 100, Tuning::default());
    let poison = Call { poison: true, ..Call::plain(1) };
    let (mut failing, other) =
        (curious(&shared, poison.request(), Some(1)), curious(&shared, Call::plain(1).request(), Some(2)));
    shared.run_next(3);
    assert!(failing.1.try_recv().unwrap().is_err());
    for (told, mark, failed) in [(failing.2, 1, true), (other.2, 2, false)] {
        let story = told.story().unwrap();
        let run = (story.run.failed, story.run.size, story.run.marks.clone(), story.timings.batch_rows);
        assert_eq!(run, (failed, Size::OneByOne, vec![[mark; 24]], 1));
    }
}

#[test]
fn who_asks_is_told_why_a_request_was_not_run() {
    let hasty = slow(8, 60);
    let call = Call::plain(1);
    let due = |seconds| call.request().with_deadline(Some(Instant::now() + Duration::from_secs(seconds)));
    let why = |told: &Told| {
        assert!(told.story().is_none());
        told.turned_away().map(|away| (away.why, away.road, away.waited > Duration::ZERO))
    };
    let (left, _answer, left_told) = curious(&hasty, due(100), None);
    assert_eq!(why(&left_told), None, "it still waits");
    drop(left);
    assert_eq!(why(&left_told), Some((Reason::Left, Road::Long, true)));
    let refused = |shared: &Arc<Shared>, request: Request| {
        let told = Told::default();
        assert!(shared.enqueue(request.with_story(None, told.clone())).is_err());
        why(&told)
    };
    assert_eq!(refused(&hasty, due(0)), Some((Reason::Expired, Road::Long, false)));
    // A row takes a second.
    let _ahead: Vec<_> = (0..3).map(|_| ask(&hasty, 2).unwrap()).collect();
    assert_eq!(refused(&hasty, due(1)), Some((Reason::Late, Road::Long, false)));
    let full = shared(1, 1, Tuning::default());
    let _ahead = ask(&full, 2).unwrap();
    assert_eq!(refused(&full, call.request()), Some((Reason::Full, Road::Long, false)));
    full.queue.close();
    assert_eq!(refused(&full, call.request()), Some((Reason::Unloading, Road::Long, false)));
}

#[test]
fn who_asks_is_told_how_long_a_request_waited_for_nothing() {
    let shared = shared(1, 100, Tuning::default());
    teach(&shared);
    let (mut ahead, due) = (ask(&shared, 2).unwrap(), Instant::now() + Duration::from_secs(1000));
    let (_ticket, mut answer, told) = curious(&shared, Call::plain(1).request().with_deadline(Some(due)), None);
    // Rows take far longer than was expected when it came.
    for _ in 0..100 {
        shared.tuner.observe(class(2), 1, Took { wall: Duration::from_secs(100_000), work: None });
    }
    shared.run_next(0);
    shared.run_next(0);
    assert!(ahead.1.try_recv().unwrap().is_ok());
    assert!(matches!(answer.try_recv().unwrap(), Err(Error::TooBusy { .. })));
    let away = told.turned_away().unwrap();
    assert!(away.why == Reason::Late && away.waited > Duration::ZERO && told.story().is_none(), "{away:?}");
}

#[test]
fn the_reason_of_a_run_s_size_is_told() {
    let asked = |shared: &Arc<Shared>, count: usize| -> Vec<_> {
        (0..count).map(|_| curious(shared, Call::plain(1).request(), None)).collect()
    };
    let size = |shared: &Arc<Shared>, count| {
        let asked = asked(shared, count);
        shared.run_next(0);
        told(&asked[0].2).3
    };
    assert_eq!(size(&shared(8, 100, Tuning::default()), 3), Size::All);
    let idle = with_instances(4, 4, 8, 100, Tuning::default());
    teach(&idle);
    assert_eq!(size(&idle, 8), Size::Split(2));
    let on_device = shared(8, 100, Tuning { prepared: true, ..Tuning::default() });
    assert_eq!(size(&on_device, 7), Size::Prepared(4));
    on_device.run_next(0);
    on_device.run_next(0);
    assert!(on_device.queue.is_idle(), "seven are four, two and one");
    let hasty = slow(8, 60);
    let mut first = asked(&hasty, 5);
    // Each row is known to take a second, and runs may take a tenth longer.
    let due = Instant::now() + Duration::from_secs(3);
    let call = Call::plain(1);
    drop(first.remove(0));
    drop(first);
    let hurried: Vec<_> = (0..2).map(|_| curious(&hasty, call.request().with_deadline(Some(due)), None)).collect();
    let _late = asked(&hasty, 2);
    hasty.run_next(0);
    assert_eq!(told(&hurried[0].2).3, Size::Deadline);
}

#[test]
fn who_will_not_run_does_not_count_for_a_prepared_size() {
    let shared = shared(8, 100, Tuning { prepared: true, ..Tuning::default() });
    let due = |at| (2..4).contains(&at).then(|| Instant::now() + Duration::from_secs(500));
    let request = |at| Call::plain(1).request().with_deadline(due(at));
    let asked: Vec<_> = (0..8).map(|at| curious(&shared, request(at), None)).collect();
    // A row is found to take far longer than two of them have, and one caller is just about to take its request out.
    shared.tuner.observe(class(2), 1, Took { wall: Duration::from_secs(1000), work: None });
    assert!(asked[4].0.place.leave());
    shared.run_next(0);
    assert_eq!(told(&asked[0].2).3, Size::Prepared(4), "five are four and one");
}
