//! Frames among what is to be written.

use bytes::Bytes;

use super::frame::{CONTINUATION, END_HEADERS, HEAD, HEADERS, Head};
use crate::listen::outgoing::Outgoing;

impl Outgoing {
    /// Adds a frame.
    pub(super) fn frame(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
        self.tail().extend_from_slice(&Head { length: payload.len(), kind, flags, stream }.bytes());
        self.tail().extend_from_slice(payload);
    }

    /// Adds a frame of what `bytes` are, which are not copied where they are many.
    pub(super) fn large(&mut self, kind: u8, flags: u8, stream: u32, bytes: Bytes) {
        self.tail().extend_from_slice(&Head { length: bytes.len(), kind, flags, stream }.bytes());
        self.add(bytes);
    }

    /// Adds a block of fields that `write` writes, in frames of no more than `largest` bytes.
    pub(super) fn block(&mut self, flags: u8, stream: u32, largest: usize, write: impl FnOnce(&mut Vec<u8>)) {
        let start = self.tail().len();
        self.tail().extend_from_slice(&[0; HEAD]);
        write(self.tail());
        let length = self.tail().len() - start - HEAD;
        if length <= largest {
            let head = Head { length, kind: HEADERS, flags: flags | END_HEADERS, stream };
            if let Some(place) = self.tail().get_mut(start..start + HEAD) {
                place.copy_from_slice(&head.bytes());
            }
            return;
        }
        let block = self.tail().split_off(start);
        let mut parts = block.get(HEAD..).unwrap_or_default().chunks(largest).peekable();
        let (mut kind, mut flags) = (HEADERS, flags);
        while let Some(part) = parts.next() {
            let last = if parts.peek().is_none() { END_HEADERS } else { 0 };
            self.frame(kind, flags | last, stream, part);
            (kind, flags) = (CONTINUATION, 0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_that_is_too_long_for_a_frame_goes_on_in_others() {
        for (length, frames) in [(0, 1), (10, 1), (11, 2), (20, 2), (25, 3)] {
            let mut outgoing = Outgoing::default();
            outgoing.frame(6, 0, 0, b"before");
            let before = outgoing.len();
            outgoing.block(1, 7, 10, |block| block.extend(vec![b'x'; length]));
            let mut rest = &outgoing.tail()[before..];
            let mut found = Vec::new();
            while let Some((head, behind)) = rest.split_first_chunk::<HEAD>() {
                let head = Head::read(*head);
                found.push((head.kind, head.flags, head.length));
                rest = &behind[head.length..];
            }
            assert_eq!(found.len(), frames, "{found:?}");
            assert_eq!(found.iter().map(|(_, _, length)| length).sum::<usize>(), length);
            assert_eq!((found[0].0, found[0].1 & 1), (HEADERS, 1));
            assert!(found[1..].iter().all(|(kind, flags, _)| *kind == CONTINUATION && flags & 1 == 0));
            assert!(found.iter().enumerate().all(|(at, frame)| (frame.1 & END_HEADERS != 0) == (at + 1 == frames)));
        }
    }
}
