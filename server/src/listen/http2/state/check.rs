//! What holds of a connection whatever its client does, for tests and the fuzzer.

use std::collections::HashSet;

use super::{CONNECTION_WINDOW, CUT, LARGEST_WINDOW, STREAM_WINDOW, State};

impl State {
    /// Checks what holds between any two polls of a connection that is not over, of which so much of a stream's frame of data
    /// is still to come.
    pub(in super::super) fn check(&self, coming: Option<(u32, usize)>) {
        let coming_to = |id: u32| coming.map_or(0, |(stream, left)| if stream == id || id == 0 { left } else { 0 });
        let arrived: usize = self.streams.values().map(|record| record.arrived.unread()).sum();
        assert_eq!(self.room.rest() + arrived + coming_to(0), CONNECTION_WINDOW as usize, "what the client may send");
        assert!(self.window <= LARGEST_WINDOW && self.cut.len() <= CUT);
        let line: HashSet<_> = self.line.iter().copied().collect();
        assert_eq!(line.len(), self.line.len(), "a stream stands in the line twice");
        for (id, record) in &self.streams {
            let (arrived, waits) = (record.arrived.unread(), record.waiting.len() > 0);
            if record.gone {
                assert!(record.arrived.len() == 0 && !waits, "{id} holds something");
                continue;
            }
            if !record.arrived.ended {
                let rest = record.arrived.window.rest() + arrived + coming_to(*id);
                assert_eq!(rest, STREAM_WINDOW as usize, "what the client may send in {id}");
            }
            assert!(record.window <= LARGEST_WINDOW);
            assert_eq!(record.lined_up, line.contains(id), "{id}");
            assert!(record.lined_up || !waits || record.window <= 0, "{id} is not in the line");
        }
    }

    /// Checks what holds besides while nothing happens: nothing waits for which there is room, and what is over has ended.
    pub(in super::super) fn check_rest(&self) {
        for (id, record) in &self.streams {
            assert!(!record.gone && !record.done, "{id} has not ended");
            assert!(record.arrived.is_open(), "the client of {id} waits for room, and nobody for what it sends");
            assert!(self.window <= 0 || record.window <= 0 || record.waiting.len() == 0, "{id} is not sent");
        }
    }
}
