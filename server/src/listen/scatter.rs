//! Reads one stream of bytes to several places by one call of the system.
#![expect(unsafe_code, reason = "what the system has filled has to be said to hold bytes")]

use std::io;
use std::mem::MaybeUninit;
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

/// What has come of parts of a stream of bytes that belong one behind the other, with `N` bytes behind each of them that do
/// not.
pub(super) struct Scattered<const N: usize> {
    between: SmallVec<[[u8; N]; 8]>,
    count: usize,
}

impl<const N: usize> Scattered<N> {
    /// Reads `parts` of these lengths behind what is in `place`, which has room for them; no more than the first one and what
    /// is behind it where that takes several calls.
    pub(super) fn poll(
        mut from: Pin<&mut impl Scatter>,
        context: &mut Context<'_>,
        place: &mut BytesMut,
        parts: &[usize],
    ) -> Poll<io::Result<Self>> {
        let mut between: SmallVec<[_; 8]> = parts.iter().map(|_| [MaybeUninit::new(0); N]).collect();
        let Some(count) = Self::poll_places(from.as_mut(), context, place, parts, &mut between) else {
            return Self::poll_first(from, context, place, parts);
        };
        let count = ready!(count)?;
        // SAFETY: these bytes were there from the beginning, and nothing but bytes was written over them.
        let between = between.iter().map(|behind| behind.map(|byte| unsafe { byte.assume_init() })).collect();
        let scattered = Self { between, count };
        let own = scattered.parts(parts).map(|(own, _)| own).sum();
        // SAFETY: the first `count` bytes of the places were written; of these, so many lie here, one behind the other, from
        // the end of what was there on.
        unsafe { place.advance_mut(own) };
        Poll::Ready(Ok(scattered))
    }

    fn poll_places(
        from: Pin<&mut impl Scatter>,
        context: &mut Context<'_>,
        place: &mut BytesMut,
        parts: &[usize],
        between: &mut [[MaybeUninit<u8>; N]],
    ) -> Option<Poll<io::Result<usize>>> {
        let mut rest = place.spare_capacity_mut();
        let mut places = SmallVec::<[_; 16]>::new();
        for (part, behind) in parts.iter().zip(between) {
            let (now, later) = rest.split_at_mut_checked(*part)?;
            rest = later;
            places.extend([MaybeUninitSlice::new(now), MaybeUninitSlice::new(behind)]);
        }
        from.poll_scatter(context, &mut places)
    }

    fn poll_first(
        from: Pin<&mut impl Scatter>,
        context: &mut Context<'_>,
        place: &mut BytesMut,
        parts: &[usize],
    ) -> Poll<io::Result<Self>> {
        let part = parts.first().copied().unwrap_or_default();
        let (start, end) = (place.len(), place.len() + part);
        let most = (place.capacity() - start).min(part + N);
        let count = ready!(poll_read_buf(from, context, &mut (&mut *place).limit(most)))?;
        // Of the others nothing has come.
        let mut between: SmallVec<[_; 8]> = parts.iter().map(|_| [0; N]).collect();
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
    pub(super) fn parts(&self, parts: &[usize]) -> impl Iterator<Item = (usize, &[u8])> {
        let mut rest = self.count;
        parts.iter().zip(&self.between).map(move |(part, behind)| {
            let own = rest.min(*part);
            let other = (rest - own).min(N);
            rest -= own + other;
            (own, behind.get(..other).unwrap_or_default())
        })
    }
}
