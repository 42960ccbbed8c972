//! Unpacking, in small steps between which other threads may go: what unpacks to much keeps a processor for long, and
//! a short answer must not wait for that.

use std::io::{self, Read};
use std::mem;
use std::thread::yield_now;
use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::body::work;

/// What came of unpacking a body.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Unpacked {
    Whole(Plain),
    /// More bytes than the limit would come out; they were never all held.
    TooLarge,
    /// There is no memory for it.
    NoRoom,
}

/// The least that is unpacked before more memory is asked for.
const PIECE: usize = 16 << 10;

/// So many bytes are unpacked at once, which takes a tenth of a millisecond where they are hard to unpack.
const STRETCH: usize = 16 << 10;

/// Blocks beyond this size are pages of their own (`hedef_core::host`), which grow without being copied. Smaller ones are
/// copied by the heap behind its lock, and every thread that wants memory waits for that.
const MAPPED: usize = 16 << 20;

/// So much of a large block is given back at once.
const SLICE: usize = 4 << 20;

/// How long to go on before others may.
const TURN: Duration = Duration::from_micros(100);

/// Unpacks what `decoder` reads, `first` bytes to begin with and no more than `limit`. Asks `room` for memory.
pub(super) fn read(
    mut decoder: impl Read,
    first: usize,
    limit: usize,
    room: &dyn Fn(usize) -> bool,
) -> io::Result<Unpacked> {
    // One byte more than allowed tells a body at the limit from one beyond it.
    let most = limit.saturating_add(1);
    let (mut plain, mut piece, mut turn) = (Plain::default(), first.max(PIECE), Turn::begin());
    loop {
        let before = plain.0.len();
        let more = piece.min(most - before);
        if !room(more) {
            return Ok(Unpacked::NoRoom);
        }
        work(more, || {
            plain.grow(more, &mut turn);
            while plain.0.len() < before + more && plain.read_on(&mut decoder, before + more)? {
                turn.pass();
            }
            io::Result::Ok(())
        })?;
        match plain.0.len() {
            whole if whole > limit => return Ok(Unpacked::TooLarge),
            whole if whole < before + more => return Ok(Unpacked::Whole(plain)),
            whole => piece = whole,
        }
    }
}

/// An unpacked body.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Plain(Vec<u8>);

impl Plain {
    /// Makes room for `more` bytes.
    fn grow(&mut self, more: usize, turn: &mut Turn) {
        if self.0.capacity() >= MAPPED {
            return self.0.reserve_exact(more);
        }
        let mut larger = Vec::with_capacity(self.0.len() + more);
        for stretch in self.0.chunks(STRETCH) {
            larger.extend_from_slice(stretch);
            turn.pass();
        }
        self.0 = larger;
    }

    /// Reads a stretch, not beyond `most` bytes in all; `false` at the end. `read_to_end` would set all of the memory to zero
    /// first, in one go.
    fn read_on(&mut self, decoder: &mut impl Read, most: usize) -> io::Result<bool> {
        let before = self.0.len();
        self.0.resize(most.min(before + STRETCH), 0);
        let read = decoder.read(self.0.get_mut(before..).unwrap_or_default());
        self.0.truncate(before + *read.as_ref().unwrap_or(&0));
        Ok(read? > 0)
    }
}

impl Drop for Plain {
    /// The system takes back a large block in one go, which takes milliseconds.
    fn drop(&mut self) {
        let mut turn = Turn::begin();
        while let Some(rest) = self.0.capacity().checked_sub(SLICE).filter(|rest| *rest > MAPPED) {
            self.0.truncate(rest);
            self.0.shrink_to(rest);
            turn.pass();
        }
    }
}

impl AsRef<[u8]> for Plain {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl From<Vec<u8>> for Plain {
    fn from(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }
}

impl From<Plain> for Bytes {
    fn from(mut plain: Plain) -> Self {
        if plain.0.capacity() > MAPPED { Self::from_owner(plain) } else { mem::take(&mut plain.0).into() }
    }
}

/// Lets other threads go first now and then: one that wants the processor for a short answer would wait until this one's
/// share of it is over, which takes milliseconds.
struct Turn(Instant);

impl Turn {
    fn begin() -> Self {
        Self(Instant::now())
    }

    fn pass(&mut self) {
        if self.0.elapsed() >= TURN {
            yield_now();
            *self = Self::begin();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_ones_are_the_same_bytes_and_go_in_slices() {
        let sizes = [0, 1, PIECE, PIECE + 1, 3 * SLICE, MAPPED - 1, MAPPED, MAPPED + 1, 2 * MAPPED + SLICE + 1];
        for size in sizes {
            let bytes: Vec<u8> = (0..=250).cycle().take(size).collect();
            let read = read(&*bytes, 1, size, &|_| true).unwrap();
            assert!(read == Unpacked::Whole(bytes.clone().into()), "{size}");
            let Unpacked::Whole(plain) = read else { return };
            assert!(Bytes::from(plain) == bytes, "{size}");
            if size > 0 {
                assert_eq!(super::read(&*bytes, 1, size - 1, &|_| true).unwrap(), Unpacked::TooLarge);
            }
        }
    }
}
