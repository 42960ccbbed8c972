//! Unpacking large bodies, which keeps a processor for long: now and then other threads may go first, for a short answer
//! must not wait for that.

use std::cell::Cell;
use std::io::{self, Read};
use std::mem;
use std::rc::Rc;
use std::thread::yield_now;
use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::body::{MUCH, work};

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

/// A byte that comes out weighs as much as so many of JSON, whose memory need not be found anew.
const SLOW: usize = 4;

/// So many bytes are read, or come out, at once.
const STRETCH: usize = 16 << 10;

/// Larger blocks are pages of their own, which grow without being copied: `hedef_core::host` has the heap map those of 4 MiB,
/// but it may keep 8 MiB free and take a block from there. The heap copies the others behind its lock, and every thread that
/// wants memory waits for that.
const MAPPED: usize = 8 << 20;

/// So much of a block that is mapped is given back at once.
const SLICE: usize = 4 << 20;

/// How long to go on before others may, where they want the processor for little each time.
const TURN: Duration = Duration::from_micros(100);

/// How long to go on where others keep the processor for milliseconds whenever they may.
const LONG: Duration = Duration::from_micros(500);

/// A turn is as long as this part of what the one before it had to wait for, within these bounds.
const WAIT: u32 = 5;

/// Unpacks what `decoder` makes of `packed`, no more than `limit` bytes. Asks `room` for memory.
pub(super) fn read<'a, D: Read>(
    packed: &'a [u8],
    decoder: impl FnOnce(Packed<'a>) -> D,
    limit: usize,
    room: &dyn Fn(usize) -> bool,
) -> io::Result<Unpacked> {
    let first = packed.len().saturating_mul(4);
    // One byte more than allowed tells a body at the limit from one beyond it.
    let most = limit.saturating_add(1);
    // One for both: each would take for its own work what the other waits.
    let turn = Rc::new(Turn::begin());
    let mut decoder = decoder(Packed { left: packed, weight: first.min(most), turn: Rc::clone(&turn) });
    let (mut plain, mut piece) = (Plain::default(), first.max(PIECE));
    loop {
        let before = plain.0.len();
        let more = piece.min(most - before);
        if !room(more) {
            return Ok(Unpacked::NoRoom);
        }
        work(more.saturating_mul(SLOW), || {
            plain.grow(more, &turn);
            while plain.0.len() < before + more && plain.read_on(&mut decoder, before + more)? {
                turn.pass(more);
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

/// A packed body. Much of it may unpack to nothing.
pub(super) struct Packed<'a> {
    left: &'a [u8],
    /// The bytes of the first piece that comes out.
    weight: usize,
    turn: Rc<Turn>,
}

impl Read for Packed<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.turn.pass(self.weight);
        let most = buffer.len().min(STRETCH);
        self.left.read(buffer.get_mut(..most).unwrap_or_default())
    }
}

/// An unpacked body.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Plain(Vec<u8>);

impl Plain {
    /// Makes room for `more` bytes.
    fn grow(&mut self, more: usize, turn: &Turn) {
        if self.0.capacity() >= MAPPED {
            return self.0.reserve_exact(more);
        }
        let mut larger = Vec::with_capacity(self.0.len() + more);
        for stretch in self.0.chunks(STRETCH) {
            larger.extend_from_slice(stretch);
            turn.pass(more);
        }
        self.0 = larger;
    }

    /// Reads a stretch, not beyond `most` bytes in all; says whether there may be more.
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
        if self.0.capacity() <= MAPPED {
            return;
        }
        work(self.0.capacity(), || {
            let turn = Turn::begin();
            while let Some(rest) = self.0.capacity().checked_sub(SLICE).filter(|rest| *rest > MAPPED) {
                self.0.truncate(rest);
                self.0.shrink_to(rest);
                turn.pass(rest);
            }
        });
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
/// share of it is over, which takes milliseconds. Where it is gone for long itself, it goes on for longer before the next time.
struct Turn(Cell<(Instant, Duration)>);

impl Turn {
    fn begin() -> Self {
        Self(Cell::new((Instant::now(), TURN)))
    }

    /// Where there are so many `bytes` to do that [`work`] has handed other connections on.
    fn pass(&self, bytes: usize) {
        let (begun, length) = self.0.get();
        if bytes > MUCH && begun.elapsed() >= length {
            let ended = Instant::now();
            yield_now();
            self.0.set((Instant::now(), Self::length(ended.elapsed())));
        }
    }

    /// How long to go on after others have had the processor for as long as `others`.
    fn length(others: Duration) -> Duration {
        (others / WAIT).clamp(TURN, LONG)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(bytes: &[u8], limit: usize) -> io::Result<Unpacked> {
        super::read(bytes, |packed| packed, limit, &|_| true)
    }

    #[test]
    fn who_waits_for_long_goes_on_for_longer() {
        let lengths =
            [0, 400, 1_000, 2_000, 50_000].map(|others| Turn::length(Duration::from_micros(others)).as_micros());
        assert_eq!(lengths, [100, 100, 200, 400, 500]);
    }

    #[test]
    fn large_ones_are_the_same_bytes_and_go_in_slices() {
        for size in [0, 1, PIECE, PIECE + 1, 3 * SLICE, MAPPED - 1, MAPPED, MAPPED + 1, 2 * MAPPED + SLICE + 1] {
            let bytes: Vec<u8> = (0..=250).cycle().take(size).collect();
            for limit in [size, usize::MAX] {
                let Unpacked::Whole(plain) = read(&bytes, limit).unwrap() else { panic!("{size}") };
                assert!(Bytes::from(plain) == bytes, "{size}");
            }
            if size > 0 {
                assert_eq!(read(&bytes, size - 1).unwrap(), Unpacked::TooLarge);
            }
        }
    }

    #[test]
    fn what_breaks_off_is_an_error_however_much_came_before() {
        struct Breaks<'a>(Packed<'a>);
        impl Read for Breaks<'_> {
            fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
                match self.0.read(buffer)? {
                    0 => Err(io::ErrorKind::InvalidData.into()),
                    read => Ok(read),
                }
            }
        }
        for size in [0, 1, PIECE, 3 * PIECE] {
            assert!(super::read(&vec![7; size], Breaks, usize::MAX, &|_| true).is_err(), "{size}");
        }
    }
}
