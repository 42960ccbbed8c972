//! How one request was run, for who asks: which road it took and why, and the run that it shared with others; or why it was
//! not run.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use crate::Timings;

/// What a caller marks a request with, to find it again among those of its run. The core does not look at it.
pub type Mark = [u8; 24];

/// What a request that asks for its story takes along.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) mark: Option<Mark>,
    pub(crate) road: Road,
    pub(crate) told: Told,
}

impl Asked {
    /// Tells that the request, which `came` then, was not run.
    pub(crate) fn turned_away(&self, came: Instant, waited: Duration, why: Reason) {
        // Here and below: a request is run once to an end, or turned away once, and a second story would say the same.
        let _ = self.told.0.set(End::TurnedAway(TurnedAway { road: self.road, came, waited, why }));
    }
}

/// Where a request's story stands once its run is over, whether that gave an answer or failed, or once it is turned away.
#[derive(Clone, Debug, Default)]
pub struct Told(Arc<OnceLock<End>>);

#[derive(Debug)]
enum End {
    Ran(Story),
    TurnedAway(TurnedAway),
}

impl Told {
    /// The story, before the request has its answer; `None` where it was not run.
    #[must_use]
    pub fn story(&self) -> Option<&Story> {
        match self.0.get()? {
            End::Ran(story) => Some(story),
            End::TurnedAway(_) => None,
        }
    }

    /// Why it was not run, before the request has its refusal; `None` where it was, or did not get so far.
    #[must_use]
    pub fn turned_away(&self) -> Option<&TurnedAway> {
        match self.0.get()? {
            End::Ran(_) => None,
            End::TurnedAway(turned_away) => Some(turned_away),
        }
    }

    pub(crate) fn tell(&self, story: Story) {
        let _ = self.0.set(End::Ran(story));
    }
}

/// How one request was turned away at the queue or taken out of it.
#[derive(Clone, Copy, Debug)]
pub struct TurnedAway {
    /// The road that it was on, and why.
    pub road: Road,
    /// When it came to the queue.
    pub came: Instant,
    /// How long it waited in it; nothing where it was not let in.
    pub waited: Duration,
    /// Why it was not run.
    pub why: Reason,
}

/// Why a request was not run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// As many waited as may.
    Full,
    /// Its answer would have come too late.
    Late,
    /// Its time was over.
    Expired,
    /// Its caller did not wait any longer.
    Left,
    /// The model was on its way out.
    Unloading,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Full => "the queue was full",
            Self::Late => "it could not be answered in time",
            Self::Expired => "its time ran out",
            Self::Left => "its caller left",
            Self::Unloading => "the model was being unloaded",
        })
    }
}

/// How one request was run.
#[derive(Clone, Debug)]
pub struct Story {
    /// The road that it took, and why.
    pub road: Road,
    /// When its run began.
    pub began: Instant,
    /// Where the time went.
    pub timings: Timings,
    /// The thread that ran it, of the model's instances, from 0 on; `None` for a network thread.
    pub instance: Option<usize>,
    /// Threads that the run used.
    pub threads: usize,
    /// The run, with whatever it was shared with.
    pub run: Arc<Run>,
}

impl Story {
    /// That of a request which was run on the network thread.
    pub(crate) fn at_once(asked: &Asked, began: Instant, timings: Timings, failed: bool) -> Self {
        let run = Run {
            number: None,
            rows: timings.batch_rows,
            requests: 1,
            size: Size::AtOnce,
            padded: None,
            failed,
            marks: asked.mark.into_iter().collect(),
            told: AtomicBool::new(false),
        };
        Self { road: asked.road, began, timings, instance: None, threads: 1, run: Arc::new(run) }
    }
}

/// One run, as all who shared it see it.
#[derive(Debug)]
pub struct Run {
    /// Its number, which no other run of this loaded model has; `None` for one at once.
    pub number: Option<u64>,
    /// Rows in it.
    pub rows: usize,
    /// Requests in it.
    pub requests: usize,
    /// Why it was of that size.
    pub size: Size,
    /// What its inputs were filled up to, where they differed in length.
    pub padded: Option<usize>,
    /// Whether it gave nothing.
    pub failed: bool,
    /// The marks of those requests in it that had one.
    pub marks: Vec<Mark>,
    pub(crate) told: AtomicBool,
}

impl Run {
    /// Whether nobody has asked this before: who is first tells of the run for all.
    #[must_use]
    pub fn is_untold(&self) -> bool {
        !self.told.swap(true, Ordering::Relaxed)
    }
}

/// The two roads of a request, and why it took that one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Road {
    /// At once on the network thread, as its run was expected to be short.
    Short,
    /// At once on the network thread, as `model.toml` says.
    Inline,
    /// Queued, since a run uses several threads.
    Threads,
    /// Queued, since it has too many elements for a network thread.
    Large,
    /// Queued, as `model.toml` says.
    Queued,
    /// Queued, since its run was not known to be short.
    #[default]
    Long,
    /// Queued behind others.
    Behind,
    /// Queued, since all threads were busy.
    Busy,
}

impl Road {
    /// Whether it is the short one, beside the queue.
    #[must_use]
    pub const fn is_at_once(self) -> bool {
        matches!(self, Self::Short | Self::Inline)
    }
}

impl fmt::Display for Road {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Short => "its run was expected to be short, a thread was free and nothing waited",
            Self::Inline => "inline = true in model.toml, a thread was free and nothing waited",
            Self::Threads => "a run of this model uses several threads",
            Self::Large => "it has too many elements for a network thread",
            Self::Queued => "inline = false in model.toml",
            Self::Long => "its run was not known to be short",
            Self::Behind => "others waited already",
            Self::Busy => "all threads were busy",
        })
    }
}

/// Why a run had as many rows as it had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Size {
    /// The request was run at once.
    AtOnce,
    /// All that were ready on network threads at the same moment were run at once.
    Ready,
    /// Requests of this model do not share runs.
    Apart,
    /// Nothing else waited that could have joined.
    Alone,
    /// All that waited and could join did.
    All,
    /// More would have been more rows than the model's runs gain by: this cap.
    Cap(usize),
    /// Other instances were idle: each takes so many rows.
    Split(usize),
    /// The device was prepared for runs of so many rows, and for no size between that and all that waited.
    Prepared(usize),
    /// More rows would have made a request late.
    Deadline,
    /// What waited next has no rows.
    Empty,
    /// A joined run was run again one by one, since it failed or to verify it.
    OneByOne,
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AtOnce => f.write_str("run at once, alone"),
            Self::Ready => f.write_str("run at once, with all that were ready at the same moment"),
            Self::Apart => f.write_str("requests of this model do not share runs"),
            Self::Alone => f.write_str("nothing else waited that could join"),
            Self::All => f.write_str("an idle instance took all that had queued"),
            Self::Cap(rows) => write!(f, "cap of {rows} rows"),
            Self::Split(rows) => write!(f, "other instances were idle: {rows} rows for each"),
            Self::Prepared(rows) => write!(f, "the device was prepared for {rows} rows"),
            Self::Deadline => f.write_str("more rows would have made a request late"),
            Self::Empty => f.write_str("the next request has no rows"),
            Self::OneByOne => f.write_str("a joined run was run again one by one, as it failed or to verify it"),
        }
    }
}
