//! An image as it was decoded.

use super::orientation::Orientation;
use crate::{DecodeLimits, Error};

/// The most pixels that an image may have.
pub const MOST_PIXELS: usize = 1 << 26;

/// Rows of pixels, each of so many samples from 0 to 255: one or two of a grey image, three or four of a coloured one, of which
/// the second and the fourth are transparency.
pub(super) struct Decoded {
    pub(super) width: usize,
    pub(super) height: usize,
    pub(super) samples: usize,
    pub(super) values: Vec<u8>,
    pub(super) orientation: Orientation,
}

impl Decoded {
    /// Room for an image of that size; `more` are the bytes for each pixel that decoding takes beside it.
    pub(super) fn begin(
        (width, height): (usize, usize),
        (samples, more): (usize, usize),
        limits: DecodeLimits<'_>,
    ) -> Result<Self, Error> {
        let pixels =
            width.checked_mul(height).filter(|pixels| (1..=MOST_PIXELS).contains(pixels)).ok_or_else(|| {
                Error::unexpected("the image", format!("1 to {MOST_PIXELS} pixels"), format!("{width} times {height}"))
            })?;
        limits.take(pixels.saturating_mul(samples + more))?;
        Ok(Self { width, height, samples, values: vec![0; pixels * samples], orientation: Orientation::default() })
    }

    /// The width and the height of the image the right way up.
    pub(super) fn size(&self) -> (usize, usize) {
        if self.orientation.turns() { (self.height, self.width) } else { (self.width, self.height) }
    }

    /// The pixels of row `y` of the image the right way up.
    pub(super) fn row(&self, y: usize) -> impl Iterator<Item = &[u8]> {
        let (width, height) = self.size();
        (0..width).map(move |x| {
            let (x, y) = self.orientation.source((x, y), (width, height));
            let at = (y * self.width + x) * self.samples;
            self.values.get(at..at + self.samples).unwrap_or_default()
        })
    }
}
