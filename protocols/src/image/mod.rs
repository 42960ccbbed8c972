//! Images in, and what was found on them out.
//!
//! An image is JPEG (baseline and progressive, in greys, YCbCr, RGB or CMYK) or PNG (all kinds; of 16 bits the upper eight
//! count, transparency does not), turned as its EXIF orientation says. It becomes the model's input by [`Plan`]: in another
//! size by a triangle filter as wide as the reduction, which is what Pillow calls `BILINEAR`; from colours to grey by ITU-R 601;
//! then `value * scale + offset`. Outputs become findings, told as the edge samples of Azure Video Analyzer and Custom Vision's
//! exported containers do.

mod boxes;
mod contracts;
#[cfg_attr(not(feature = "images"), expect(dead_code, reason = "what decoders alone need"))]
mod decoded;
mod findings;
mod grid;
#[cfg(feature = "images")]
mod jpeg;
mod multipart;
#[cfg_attr(not(feature = "images"), expect(dead_code, reason = "what decoders alone need"))]
mod orientation;
#[cfg(feature = "images")]
mod png;
mod resample;
#[cfg(feature = "images")]
#[cfg(test)]
mod tests;

use half::f16;
use hedef_core::image::Plan;
use hedef_core::{DataType, Request, Signature, Tensor};

pub use self::contracts::{Scored, inferences, predictions};
pub use self::decoded::MOST_PIXELS;
pub use self::findings::{Finding, Place, findings};
pub use self::multipart::field;
pub use self::resample::Frame;
use crate::{DecodeLimits, Error};

/// How the first bytes of an image say what it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    Jpeg,
    Png,
}

impl Format {
    fn of(bytes: &[u8]) -> Option<Self> {
        if bytes.starts_with(b"\xFF\xD8\xFF") {
            Some(Self::Jpeg)
        } else if bytes.starts_with(b"\x89PNG\r\n\x1A\n") {
            Some(Self::Png)
        } else {
            None
        }
    }
}

/// Whether `bytes` begin as an image does that can be decoded here.
#[must_use]
pub fn is_image(bytes: &[u8]) -> bool {
    Format::of(bytes).is_some()
}

/// Makes a request of an image, and says where in the input it stands.
///
/// Fails for what is no image, is damaged or cut off, or has more than [`MOST_PIXELS`]. Memory is asked for in `limits` before
/// it is taken.
pub fn decode_within(
    bytes: &[u8],
    plan: &Plan,
    signature: &Signature,
    limits: DecodeLimits<'_>,
) -> Result<(Request, Frame), Error> {
    let decoded = pixels(bytes, limits)?;
    let input = &plan.input;
    let elements = input.shape.elements().unwrap_or(usize::MAX);
    limits.take(elements.saturating_mul(size_of::<f32>()))?;
    let (values, frame) = resample::draw(&decoded, input);
    let shape = input.shape.clone();
    let tensor = match input.data_type {
        DataType::Uint8 => {
            limits.take(elements)?;
            Tensor::from_elements(shape, values.into_iter().map(whole).collect::<Vec<u8>>())
        }
        DataType::Fp16 => {
            limits.take(elements.saturating_mul(size_of::<f16>()))?;
            Tensor::from_elements(shape, values.into_iter().map(f16::from_f32).collect::<Vec<_>>())
        }
        _ => Tensor::from_elements(shape, values),
    };
    let name = signature.inputs.first().map(|spec| &*spec.name).unwrap_or_default();
    let tensor = tensor.map_err(|error| Error::unexpected(format!("input `{name}`"), "an image", error.to_string()))?;
    let outputs = plan.answer.outputs().into_iter().filter_map(|at| signature.outputs.get(at)).map(|spec| &spec.name);
    let request = Request::new(signature, vec![(name, tensor)])?.with_outputs(signature, outputs)?;
    Ok((request, frame))
}

#[cfg(feature = "images")]
fn pixels(bytes: &[u8], limits: DecodeLimits<'_>) -> Result<decoded::Decoded, Error> {
    match Format::of(bytes) {
        Some(Format::Jpeg) => jpeg::decode(bytes, limits),
        Some(Format::Png) => png::decode(bytes, limits),
        None => Err(Error::unexpected("the image", "JPEG or PNG", "something else")),
    }
}

#[cfg(not(feature = "images"))]
fn pixels(_: &[u8], _: DecodeLimits<'_>) -> Result<decoded::Decoded, Error> {
    let reason = "this program was built without the decoders of images, its feature `images`".into();
    Err(Error::Unsupported { place: "the image".into(), reason })
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "such a cast holds to the range")]
fn whole(value: f32) -> u8 {
    value.round() as u8
}
