//! How much memory a model takes.

use std::sync::atomic::{AtomicUsize, Ordering};

use crate::host::{own_bytes, release_free_memory};

/// The memory of one loaded model.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ModelMemory {
    /// The bytes of its file in the graph cache, which is mapped: shared with other processes that map it, and given
    /// up by the system when memory is short.
    pub mapped: u64,
    /// The bytes by which this process's own memory grew while the model was loaded and run for the first time. Where
    /// other models were loaded at the same time: the bytes of its weights, if they are not mapped.
    pub private: u64,
}

impl ModelMemory {
    /// Both kinds.
    #[must_use]
    pub const fn total(&self) -> u64 {
        self.mapped.saturating_add(self.private)
    }
}

/// The loads under way, so that a growth of memory can be laid to one of them.
#[derive(Debug, Default)]
pub struct Loads {
    under_way: AtomicUsize,
    begun: AtomicUsize,
}

/// One load under way.
#[derive(Debug)]
pub(super) struct Growth<'a> {
    loads: &'a Loads,
    number: usize,
    before: Option<u64>,
}

impl Loads {
    /// Begins to watch a load.
    pub(super) fn begin(&self) -> Growth<'_> {
        let number = self.begun.fetch_add(1, Ordering::AcqRel);
        let alone = self.under_way.fetch_add(1, Ordering::AcqRel) == 0;
        Growth { loads: self, number, before: if alone { own_bytes() } else { None } }
    }
}

impl Growth<'_> {
    /// The bytes that this load added to the process; `None` where others may have added some of them.
    pub(super) fn bytes(&self) -> Option<u64> {
        let before = self.before?;
        release_free_memory();
        let after = own_bytes()?;
        let still_alone = self.loads.begun.load(Ordering::Acquire) == self.number + 1;
        still_alone.then(|| after.saturating_sub(before))
    }
}

impl Drop for Growth<'_> {
    fn drop(&mut self) {
        self.loads.under_way.fetch_sub(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_growth_is_laid_to_a_load_only_where_it_was_alone() {
        let loads = Loads::default();
        let first = loads.begin();
        assert_eq!(first.bytes().is_some(), own_bytes().is_some());
        let second = loads.begin();
        assert_eq!((first.bytes(), second.bytes()), (None, None));
        drop(first);
        assert_eq!(second.bytes(), None, "the first one was there for a while");
        drop(second);
        assert_eq!(loads.begin().bytes().is_some(), own_bytes().is_some());
    }
}
