//! The steps of the queue and of an update, at each of which the process may end.
//!
//! In a debug build `HEDEF_EDGE_END_AT` names one, and the process ends there as if it had been killed, or with `NAME@3` when it
//! is made for the third time: the tests go through all of them. In other builds the variable is not read and a step is nothing.

#[cfg(debug_assertions)]
use std::sync::Arc;
#[cfg(debug_assertions)]
use std::sync::atomic::{AtomicU32, Ordering};

/// A step that was just made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Step {
    Begun,
    SomeBytes,
    AllBytes,
    Downloaded,
    OneFileUnpacked,
    Unpacked,
    InPlace,
    Verified,
    Loaded,
    Tested,
    /// Within the writing of any journal.
    JournalHalfWritten,
    TrialNoted,
    Published,
    TrialPassed,
    Confirmed,
    OldRemoved,
    RollbackNoted,
    RolledBack,
    QueueFileMade,
    QueueFileBegun,
    /// Within the writing of anything.
    QueueHalfWritten,
    QueueMessageWritten,
    QueueDoneWritten,
    QueueFileSafe,
    QueueAllSafe,
    QueueFileRemoved,
    /// For want of room.
    QueueOldestRemoved,
    /// At a start after an end within the writing of something.
    QueueEndCutOff,
}

impl Step {
    /// Those of a queue, as a message makes them, and then the rare ones.
    pub const QUEUE: [Self; 10] = [
        Self::QueueFileMade,
        Self::QueueFileBegun,
        Self::QueueHalfWritten,
        Self::QueueMessageWritten,
        Self::QueueDoneWritten,
        Self::QueueFileSafe,
        Self::QueueAllSafe,
        Self::QueueFileRemoved,
        Self::QueueOldestRemoved,
        Self::QueueEndCutOff,
    ];

    /// Those of an update that goes well, and then those of a rollback.
    pub const UPDATE: [Self; 18] = [
        Self::JournalHalfWritten,
        Self::Begun,
        Self::SomeBytes,
        Self::AllBytes,
        Self::Downloaded,
        Self::OneFileUnpacked,
        Self::Unpacked,
        Self::InPlace,
        Self::Verified,
        Self::Loaded,
        Self::Tested,
        Self::TrialNoted,
        Self::Published,
        Self::TrialPassed,
        Self::Confirmed,
        Self::OldRemoved,
        Self::RollbackNoted,
        Self::RolledBack,
    ];

    /// Its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Begun => "begun",
            Self::SomeBytes => "some-bytes",
            Self::AllBytes => "all-bytes",
            Self::Downloaded => "downloaded",
            Self::OneFileUnpacked => "one-file-unpacked",
            Self::Unpacked => "unpacked",
            Self::InPlace => "in-place",
            Self::Verified => "verified",
            Self::Loaded => "loaded",
            Self::Tested => "tested",
            Self::JournalHalfWritten => "journal-half-written",
            Self::TrialNoted => "trial-noted",
            Self::Published => "published",
            Self::TrialPassed => "trial-passed",
            Self::Confirmed => "confirmed",
            Self::OldRemoved => "old-removed",
            Self::RollbackNoted => "rollback-noted",
            Self::RolledBack => "rolled-back",
            Self::QueueFileMade => "queue-file-made",
            Self::QueueFileBegun => "queue-file-begun",
            Self::QueueHalfWritten => "queue-half-written",
            Self::QueueMessageWritten => "queue-message-written",
            Self::QueueDoneWritten => "queue-done-written",
            Self::QueueFileSafe => "queue-file-safe",
            Self::QueueAllSafe => "queue-all-safe",
            Self::QueueFileRemoved => "queue-file-removed",
            Self::QueueOldestRemoved => "queue-oldest-removed",
            Self::QueueEndCutOff => "queue-end-cut-off",
        }
    }
}

/// What follows the steps.
#[derive(Clone, Debug, Default)]
pub struct Steps {
    #[cfg(debug_assertions)]
    end_at: Option<(String, Arc<AtomicU32>)>,
}

impl Steps {
    /// Ends the process at the step of that name.
    #[must_use]
    #[cfg_attr(not(debug_assertions), expect(unused_variables, reason = "there are no such ends in a release"))]
    pub fn ending_at(step: Option<String>) -> Self {
        Self {
            #[cfg(debug_assertions)]
            end_at: step.map(|step| match step.split_once('@') {
                Some((name, time)) => (name.into(), Arc::new(AtomicU32::new(time.parse().unwrap_or(1)))),
                None => (step, Arc::new(AtomicU32::new(1))),
            }),
        }
    }

    /// Notes a step.
    #[cfg_attr(
        not(debug_assertions),
        expect(
            clippy::unused_self,
            unused_variables,
            clippy::missing_const_for_fn,
            reason = "nothing is noted in a release"
        )
    )]
    pub(crate) fn made(&self, step: Step) {
        #[cfg(debug_assertions)]
        if let Some((name, times)) = &self.end_at
            && name == step.name()
            && times.fetch_sub(1, Ordering::Relaxed) == 1
        {
            // Nothing is flushed, dropped or said.
            let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
        }
    }
}
