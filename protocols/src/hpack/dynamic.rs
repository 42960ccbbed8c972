//! The fields that were added in the course of a connection, the newest first: RFC 7541, 2.3.2 and 4.

use std::collections::VecDeque;

/// A field that was added.
pub(super) struct Entry<F> {
    pub(super) field: F,
    /// The length of its name.
    pub(super) name: usize,
    /// What it counts in the table.
    pub(super) size: usize,
}

pub(super) struct Dynamic<F> {
    entries: VecDeque<Entry<F>>,
    size: usize,
    limit: usize,
}

impl<F> Dynamic<F> {
    pub(super) const fn new(limit: usize) -> Self {
        Self { entries: VecDeque::new(), size: 0, limit }
    }

    #[inline]
    pub(super) fn get(&self, at: usize) -> Option<&Entry<F>> {
        self.entries.get(at)
    }

    pub(super) const fn size(&self) -> usize {
        self.size
    }

    /// Adds `entry`, and drops the oldest ones to make room. One larger than the table leaves it empty: RFC 7541, 4.4.
    pub(super) fn add(&mut self, entry: Entry<F>) {
        self.shrink(self.limit.saturating_sub(entry.size));
        if entry.size <= self.limit {
            self.size += entry.size;
            self.entries.push_front(entry);
        }
    }

    pub(super) fn resize(&mut self, limit: usize) {
        self.limit = limit;
        self.shrink(limit);
    }

    fn shrink(&mut self, most: usize) {
        while self.size > most {
            let Some(oldest) = self.entries.pop_back() else { return };
            self.size -= oldest.size;
        }
    }
}
