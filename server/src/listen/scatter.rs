//! Reads one stream of bytes to several places by one call of the system.
#![expect(unsafe_code, reason = "what the system has filled has to be said to hold bytes")]

use std::io;
use std::mem::{self, MaybeUninit};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{BufMut, BytesMut};
use smallvec::SmallVec;
use socket2::MaybeUninitSlice;
use tokio::io::AsyncRead;
use tokio_util::io::poll_read_buf;

/// What can be read to several places at once.
pub(super) trait Scatter: AsyncRead {
    /// Reads to `places`, one after the other, and says how many bytes were written there, from the first place's first on;
    /// `None` where there is nothing but [`AsyncRead`].
    fn poll_scatter(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        places: &mut [MaybeUninitSlice<'_>],
    ) -> Option<Poll<io::Result<usize>>>;

    /// Says that nobody needs what the next read brings before there are so many `bytes`, which are going to come: if it has
    /// to wait it may be woken then only, or a little later.
    fn expect(&mut self, _bytes: usize) {}
}

/// A part of a stream of bytes, which goes behind what is in one of several places.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Part {
    pub(super) place: usize,
    pub(super) length: usize,
}

/// What has come of parts of a stream of bytes that belong into places, with `N` bytes behind each of them that do not.
pub(super) struct Scattered<const N: usize> {
    between: SmallVec<[[u8; N]; 16]>,
    count: usize,
}

impl<const N: usize> Scattered<N> {
    /// Reads `parts` to `places`, which have room for them; no more than the first one and what is behind it where that takes
    /// several calls.
    pub(super) fn poll(
        mut from: Pin<&mut impl Scatter>,
        context: &mut Context<'_>,
        places: &mut [BytesMut],
        parts: &[Part],
    ) -> Poll<io::Result<Self>> {
        let mut between: SmallVec<[_; 16]> = parts.iter().map(|_| [MaybeUninit::new(0); N]).collect();
        let Some(count) = Self::poll_places(from.as_mut(), context, places, parts, &mut between) else {
            return Self::poll_first(from, context, places, parts);
        };
        let count = ready!(count)?;
        // SAFETY: these bytes were there from the beginning, and nothing but bytes was written over them.
        let between = between.iter().map(|behind| behind.map(|byte| unsafe { byte.assume_init() })).collect();
        let scattered = Self { between, count };
        for (part, (own, _)) in parts.iter().zip(scattered.parts(parts)) {
            if let Some(place) = places.get_mut(part.place) {
                // SAFETY: the first `count` bytes of all parts were written, those of a place one behind the other, from the
                // end of what was there on; of these, so many are of this part.
                unsafe { place.advance_mut(own) };
            }
        }
        Poll::Ready(Ok(scattered))
    }

    fn poll_places(
        from: Pin<&mut impl Scatter>,
        context: &mut Context<'_>,
        places: &mut [BytesMut],
        parts: &[Part],
        between: &mut [[MaybeUninit<u8>; N]],
    ) -> Option<Poll<io::Result<usize>>> {
        let mut rests: SmallVec<[_; 4]> = places.iter_mut().map(BytesMut::spare_capacity_mut).collect();
        let mut slices = SmallVec::<[_; 32]>::new();
        for (part, behind) in parts.iter().zip(between) {
            let rest = rests.get_mut(part.place)?;
            let (now, later) = mem::take(rest).split_at_mut_checked(part.length)?;
            *rest = later;
            slices.extend([MaybeUninitSlice::new(now), MaybeUninitSlice::new(behind)]);
        }
        from.poll_scatter(context, &mut slices)
    }

    fn poll_first(
        from: Pin<&mut impl Scatter>,
        context: &mut Context<'_>,
        places: &mut [BytesMut],
        parts: &[Part],
    ) -> Poll<io::Result<Self>> {
        let first = parts.first().and_then(|part| Some((places.get_mut(part.place)?, part.length)));
        let Some((place, length)) = first else { return Poll::Ready(Err(io::ErrorKind::InvalidInput.into())) };
        let (start, end) = (place.len(), place.len() + length);
        let most = (place.capacity() - start).min(length + N);
        let count = ready!(poll_read_buf(from, context, &mut (&mut *place).limit(most)))?;
        // Of the others nothing has come.
        let mut between: SmallVec<[_; 16]> = parts.iter().map(|_| [0; N]).collect();
        for (byte, came) in between.iter_mut().flatten().zip(place.get(end..).unwrap_or_default()) {
            *byte = *came;
        }
        place.truncate(end);
        Poll::Ready(Ok(Self { between, count }))
    }

    /// How much has come in all.
    pub(super) const fn count(&self) -> usize {
        self.count
    }

    /// How much has come of each of the `parts`, and what has come behind it.
    pub(super) fn parts(&self, parts: &[Part]) -> impl Iterator<Item = (usize, &[u8])> {
        let mut rest = self.count;
        parts.iter().zip(&self.between).map(move |(part, behind)| {
            let own = rest.min(part.length);
            let other = (rest - own).min(N);
            rest -= own + other;
            (own, behind.get(..other).unwrap_or_default())
        })
    }
}
