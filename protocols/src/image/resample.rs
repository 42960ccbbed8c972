//! An image in another size, as the values of a tensor.

use hedef_core::image::{Input, Layout};
use hedef_core::settings::{Color, Resize};

use super::decoded::Decoded;

/// What stands where an image that keeps its proportions leaves room.
const GREY: f32 = 114.0;

/// Where in an input the image stands, in pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame {
    /// From the left.
    pub left: usize,
    /// From the top.
    pub top: usize,
    /// The width.
    pub width: usize,
    /// The height.
    pub height: usize,
}

impl Frame {
    fn of((width, height): (usize, usize), input: &Input) -> Self {
        let whole = Self { left: 0, top: 0, width: input.width, height: input.height };
        match input.resize {
            Resize::Stretch => whole,
            Resize::Letterbox => {
                // The longer side is as long as the input's. Products of sides may be larger than an address.
                let wide = |side: usize| u64::try_from(side).unwrap_or(u64::MAX);
                let times = |one: usize, other: usize| wide(one).saturating_mul(wide(other));
                let part = |side: usize, of: usize, all: usize| {
                    let rounded = (times(side, all).saturating_mul(2).saturating_add(wide(of))) / (2 * wide(of)).max(1);
                    usize::try_from(rounded).unwrap_or(usize::MAX).max(1)
                };
                if times(width, input.height) > times(height, input.width) {
                    let height = part(height, width, input.width).min(input.height);
                    Self { top: (input.height - height) / 2, height, ..whole }
                } else {
                    let width = part(width, height, input.height).min(input.width);
                    Self { left: (input.width - width) / 2, width, ..whole }
                }
            }
        }
    }
}

/// Draws an image: all elements of the tensor, and where in it the image stands.
pub(super) fn draw(image: &Decoded, input: &Input) -> (Vec<f32>, Frame) {
    let (width, height) = image.size();
    let frame = Frame::of((width, height), input);
    let channels = input.channels;
    let (across, down) = (Taps::new(width, frame.width), Taps::new(height, frame.height));
    let mut values = vec![GREY; channels * input.width * input.height];
    let mut row = Vec::with_capacity(width * channels);
    let mut line = vec![0.0; frame.width * channels];
    let mut first = 0;
    for y in 0..height {
        row.clear();
        image.row(y).for_each(|pixel| push(pixel, input, &mut row));
        across.apply(&row, channels, &mut line);
        // What this row is part of: rows of the input that begin with it or above it, and do not end above it.
        first += down.0.iter().skip(first).take_while(|tap| tap.end() <= y).count();
        let open = down.0.iter().enumerate().skip(first).take_while(|(_, tap)| tap.first <= y);
        for (target, tap) in open {
            let weight = tap.weights.get(y - tap.first).copied().unwrap_or_default();
            let begins = tap.first == y;
            for channel in 0..channels {
                let pixels = line.iter().skip(channel).step_by(channels);
                let places = places(&mut values, input, frame, (channel, target));
                for (value, pixel) in places.zip(pixels) {
                    *value = if begins { pixel * weight } else { *value + pixel * weight };
                }
            }
        }
    }
    scale(&mut values, input);
    (values, frame)
}

/// The elements of one channel in one row of the frame, from the left on.
fn places<'v>(
    values: &'v mut [f32],
    input: &Input,
    frame: Frame,
    (channel, row): (usize, usize),
) -> impl Iterator<Item = &'v mut f32> {
    let pixel = (frame.top + row) * input.width + frame.left;
    let (at, step) = match input.layout {
        Layout::Planes => (channel * input.width * input.height + pixel, 1),
        Layout::Pixels => (pixel * input.channels + channel, input.channels),
    };
    values.iter_mut().skip(at).step_by(step)
}

/// Appends a pixel in the colours of the input.
fn push(pixel: &[u8], input: &Input, row: &mut Vec<f32>) {
    match (pixel, input.channels) {
        ([grey] | [grey, _], channels) => row.extend(std::iter::repeat_n(f32::from(*grey), channels)),
        ([red, green, blue, ..], 1) => {
            let weighed = u32::from(*red) * 19595 + u32::from(*green) * 38470 + u32::from(*blue) * 7471 + 0x8000;
            row.push(f32::from(u8::try_from(weighed >> 16).unwrap_or(u8::MAX)));
        }
        ([red, green, blue, ..], _) => row.extend(match input.color {
            Color::Rgb => [*red, *green, *blue].map(f32::from),
            Color::Bgr => [*blue, *green, *red].map(f32::from),
        }),
        ([], _) => (),
    }
}

/// Gives every element the scale and the offset of its channel.
fn scale(values: &mut [f32], input: &Input) {
    let plane = match input.layout {
        Layout::Planes => input.width * input.height,
        Layout::Pixels => 1,
    };
    let of = input.scale.iter().zip(&input.offset).take(input.channels).cycle();
    for (elements, (scale, offset)) in values.chunks_mut(plane.max(1)).zip(of) {
        for value in elements {
            *value = *value * scale + offset;
        }
    }
}

/// For each place of a row or a column in its new size, what of the old one is part of it.
struct Taps(Vec<Tap>);

struct Tap {
    first: usize,
    weights: Vec<f32>,
}

impl Tap {
    fn end(&self) -> usize {
        self.first + self.weights.len()
    }
}

impl Taps {
    /// A triangle as wide as two new pixels, and at least two old ones.
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "sides of images are small, and such a cast holds to the range"
    )]
    fn new(from: usize, to: usize) -> Self {
        let step = from as f64 / to as f64;
        let reach = step.max(1.0);
        let tap = |at: usize| {
            let centre = (at as f64 + 0.5) * step;
            let first = (centre - reach + 0.5).max(0.0) as usize;
            let end = ((centre + reach + 0.5) as usize).min(from);
            let weight = |place: usize| (1.0 - ((place as f64 + 0.5 - centre) / reach).abs()).max(0.0);
            let sum: f64 = (first..end).map(weight).sum();
            Tap { first, weights: (first..end).map(|place| (weight(place) / sum) as f32).collect() }
        };
        Self((0..to).map(tap).collect())
    }

    /// Makes a row of pixels of so many channels as long as `line`.
    fn apply(&self, row: &[f32], channels: usize, line: &mut [f32]) {
        for (tap, pixel) in self.0.iter().zip(line.chunks_exact_mut(channels)) {
            pixel.fill(0.0);
            let old = row.chunks_exact(channels).skip(tap.first);
            for (old, weight) in old.zip(&tap.weights) {
                for (value, old) in pixel.iter_mut().zip(old) {
                    *value += old * weight;
                }
            }
        }
    }
}
