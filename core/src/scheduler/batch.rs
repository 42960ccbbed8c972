//! Forms a batch from what waits.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::curve::Forecast;
use super::job::Job;
use super::lane::Lane;
use super::queue::{Jobs, State};
use super::ticket::Ride;
use crate::story::Size;

/// Rows are taken apart for idle instances if that costs at most so much more work in all. Two parts then end after
/// three quarters of the time.
const SPLIT: f64 = 1.5;
/// Runs may take so much longer than expected before they make a request late.
const SLACK: f64 = 1.1;

/// What an instance is handed.
#[derive(Debug)]
pub(crate) struct Batch {
    /// Jobs to run together; none when all that waited had left or were late.
    pub(crate) jobs: Vec<Job>,
    /// Jobs that could not be answered in time any more.
    pub(crate) late: Vec<Job>,
    /// Jobs whose callers had left.
    pub(crate) left: Vec<Job>,
    /// The run that the callers of the jobs can end by leaving.
    pub(crate) ride: Arc<Ride>,
    /// The run.
    pub(crate) plan: Plan,
}

/// What is known of a run before it begins.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    /// Its number.
    pub(crate) run: u64,
    /// The seconds that it is expected to take.
    pub(crate) expected: f64,
    /// Why it is of that size.
    pub(crate) size: Size,
    /// The instance that runs it.
    pub(crate) instance: usize,
}

/// What is known of the model when a batch is formed.
pub(crate) struct Former<'a> {
    /// What runs take, for rows of a class.
    pub(crate) forecast: &'a dyn Fn(u32) -> Forecast,
    /// Runs that could begin beside this one, as far as threads go.
    pub(crate) threads_for: usize,
    /// The model's instances.
    pub(crate) instances: usize,
    /// The one that asks.
    pub(crate) instance: usize,
    /// Whether runs have 1, 2, 4, … rows where that can be.
    pub(crate) prepared: bool,
}

impl Former<'_> {
    /// Takes the oldest job and those of its lane that follow it, as many as should share a run. Leaves aside who has
    /// left and who cannot be answered in time; of those who cannot, one is run where there is nothing else to do,
    /// since a forecast may be wrong.
    pub(super) fn form(&self, state: &mut State) -> Batch {
        let now = Instant::now();
        let run = state.number();
        let plan = Plan { run, expected: 0.0, size: Size::Alone, instance: self.instance };
        let mut batch = Batch { jobs: vec![], late: vec![], left: vec![], ride: Ride::new(), plan };
        while let Some(lane) = oldest(state) {
            self.fill(state, &lane, &mut batch, now);
            if !batch.jobs.is_empty() {
                break;
            }
        }
        if batch.jobs.is_empty()
            && let Some(at) = batch.late.iter().position(|job| !job.has_expired(now))
        {
            let job = batch.late.remove(at);
            if job.place.board(&batch.ride) {
                batch.plan.expected = (self.forecast)(job.class).run(job.request.rows()).unwrap_or(0.0);
                batch.jobs.push(job);
            } else {
                batch.left.push(job);
            }
        }
        batch.ride.start();
        if !batch.jobs.is_empty() {
            state.backlog.begin(run, now, batch.plan.expected, batch.jobs.first().map(Job::promise));
        }
        batch
    }

    /// Takes jobs from one lane.
    fn fill(&self, state: &mut State, lane: &Lane, batch: &mut Batch, now: Instant) {
        // This one is not under way yet; other lanes have their own.
        let idle = self.instances.saturating_sub(state.backlog.running() + 1).min(self.threads_for);
        let idle = idle.saturating_sub(state.lanes.len() - 1);
        let Some(jobs) = state.lanes.get_mut(lane) else { return };
        let Some(forecast) = jobs.values().next().map(|job| (self.forecast)(job.class)) else { return };
        let run = |rows| forecast.run(rows).unwrap_or(0.0) * SLACK;
        let waiting = || jobs.values().map(|job| job.request.rows());
        let shared = split(&forecast, idle, waiting());
        let is_late = |job: &Job| job.has_expired(now) || job.is_due_within(now, run(job.request.rows()));
        let will_run = |job: &&Job| !is_late(job) && !job.place.has_left();
        let to_run = || jobs.values().filter(will_run).map(|job| job.request.rows());
        let most = if self.prepared { prepared(shared, to_run()) } else { shared };
        let mut rows = 0;
        batch.plan.size = if *lane == Lane::only() { Size::Apart } else { Size::Alone };
        while let Some(entry) = jobs.first_entry() {
            let job = entry.get();
            let more = job.request.rows();
            let late = is_late(job);
            if !late && !batch.jobs.is_empty() {
                let too_long = |job: &Job| job.is_due_within(now, run(rows + more));
                let enough = if more == 0 {
                    Some(Size::Empty)
                } else if rows + more > most {
                    Some(match most {
                        _ if most < shared => Size::Prepared(most),
                        _ if most < forecast.cap => Size::Split(most),
                        _ => Size::Cap(most),
                    })
                } else if too_long(job) || batch.jobs.iter().any(too_long) {
                    Some(Size::Deadline)
                } else {
                    None
                };
                if let Some(size) = enough {
                    if batch.plan.size != Size::Apart {
                        batch.plan.size = size;
                    }
                    break;
                }
            }
            let job = entry.remove();
            state.backlog.remove(job.cost);
            if late {
                if batch.late.is_empty() {
                    let ends = now.checked_add(Duration::try_from_secs_f64(run(more)).unwrap_or_default());
                    state.backlog.learn(Some(job.promise()), ends.unwrap_or(now));
                }
                batch.late.push(job);
            } else if job.place.board(&batch.ride) {
                rows += more;
                if !batch.jobs.is_empty() {
                    batch.plan.size = Size::All;
                }
                batch.jobs.push(job);
            } else {
                batch.left.push(job);
            }
        }
        batch.plan.expected = forecast.run(rows).unwrap_or(0.0);
        if jobs.is_empty() {
            state.lanes.remove(lane);
        }
    }
}

/// The lane whose first job is the oldest.
fn oldest(state: &State) -> Option<Lane> {
    let first = |(lane, jobs): (&Lane, &Jobs)| Some((*jobs.keys().next()?, lane.clone()));
    state.lanes.iter().filter_map(first).min_by_key(|(number, _)| *number).map(|(_, lane)| lane)
}

/// How many rows a run may have: as many as are worth it, but idle instances get their part where rows are not free.
fn split(forecast: &Forecast, idle: usize, waiting: impl Iterator<Item = usize>) -> usize {
    let cap = forecast.cap;
    if idle == 0 || cap <= 1 {
        return cap;
    }
    let parts = idle + 1;
    let waiting = waiting.take(cap.saturating_mul(parts)).fold(0_usize, usize::saturating_add);
    let (whole, part) = (waiting.clamp(1, cap), waiting.div_ceil(parts).max(1));
    match (forecast.row(whole), forecast.row(part)) {
        (Some(whole), Some(small)) if small.work <= whole.work * SPLIT => part.min(cap),
        _ => cap,
    }
}

/// The largest power of two of rows that wait for a run and may share it.
fn prepared(most: usize, waiting: impl Iterator<Item = usize>) -> usize {
    let all = waiting.take(most).fold(0_usize, usize::saturating_add);
    1 << all.clamp(1, most.max(1)).ilog2()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scheduler::curve::Row;

    /// A model of which a run takes `fixed` milliseconds and another for each row.
    fn forecast(cap: usize, fixed: f64) -> Forecast {
        let row = |level: i32| (fixed / 2_f64.powi(level) + 1.0) / 1000.0;
        Forecast::new(cap, (0..7).map(|level| Some(Row { seconds: row(level), work: row(level) })))
    }

    #[test]
    fn a_prepared_size_is_a_power_of_two_that_waits() {
        let rows = |waiting| std::iter::repeat_n(1, waiting);
        assert_eq!([1, 2, 3, 7, 8, 63, 1000].map(|waiting| prepared(64, rows(waiting))), [1, 2, 2, 4, 8, 32, 64]);
        assert_eq!(prepared(24, rows(1000)), 16);
        assert_eq!(prepared(64, [3, 3].into_iter()), 4);
        assert_eq!(prepared(64, [0].into_iter()), 1);
    }

    #[test]
    fn idle_instances_get_their_part_unless_rows_are_nearly_free() {
        let rows = |waiting| std::iter::repeat_n(1, waiting);
        assert_eq!(split(&forecast(32, 0.1), 1, rows(20)), 10);
        assert_eq!(split(&forecast(32, 0.1), 3, rows(20)), 5);
        assert_eq!(split(&forecast(32, 0.1), 0, rows(20)), 32, "nobody is idle");
        assert_eq!(split(&forecast(32, 100.0), 1, rows(20)), 32, "rows are nearly free");
        assert_eq!(split(&forecast(4, 0.1), 1, rows(100)), 4);
        assert_eq!(split(&Forecast::new(32, std::iter::empty()), 1, rows(20)), 32, "nothing is known");
    }
}
