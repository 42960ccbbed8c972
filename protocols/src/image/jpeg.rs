//! JPEG, through `zune-jpeg`.

use zune_jpeg::JpegDecoder;
use zune_jpeg::errors::DecodeErrors;
use zune_jpeg::zune_core::bytestream::ZCursor;
use zune_jpeg::zune_core::colorspace::ColorSpace;
use zune_jpeg::zune_core::options::DecoderOptions;

use super::decoded::{Decoded, MOST_PIXELS};
use super::orientation::Orientation;
use crate::{DecodeLimits, Error};

/// Markers of the start of pixels, and of the end of the image.
const SCAN: [u8; 2] = [0xFF, 0xDA];
const END: [u8; 2] = [0xFF, 0xD9];

/// The most passes over an image: more would be made to keep a decoder busy. Encoders make ten or so.
const MOST_SCANS: usize = 64;

pub(super) fn decode(bytes: &[u8], limits: DecodeLimits<'_>) -> Result<Decoded, Error> {
    let options = DecoderOptions::default()
        .set_max_width(MOST_PIXELS)
        .set_max_height(MOST_PIXELS)
        .jpeg_set_max_scans(MOST_SCANS)
        .jpeg_set_out_colorspace(ColorSpace::RGB);
    let mut decoder = JpegDecoder::new_with_options(ZCursor::new(bytes), options);
    decoder.decode_headers().map_err(wrong)?;
    let info = decoder.info().ok_or_else(damaged)?;
    let samples = if info.components == 1 {
        decoder.set_options(options.jpeg_set_out_colorspace(ColorSpace::Luma));
        1
    } else {
        3
    };
    // A progressive image is decoded into two bytes for each coefficient first, and so is one whose colours come one by one.
    let more = 2 * usize::from(info.components);
    let size = (usize::from(info.width), usize::from(info.height));
    let mut decoded = Decoded::begin(size, (samples, more), limits)?;
    // The decoder makes up what is missing.
    if !is_whole(bytes) {
        return Err(Error::unexpected("the image", "a whole JPEG", "one that is cut off"));
    }
    if decoder.output_buffer_size() != Some(decoded.values.len()) {
        return Err(damaged());
    }
    decoder.decode_into(&mut decoded.values).map_err(wrong)?;
    decoded.orientation = info.exif_data.as_deref().map(Orientation::of_exif).unwrap_or_default();
    Ok(decoded)
}

/// Whether the image has its end: neither marker can stand among the pixels.
fn is_whole(bytes: &[u8]) -> bool {
    let last = |marker: [u8; 2]| bytes.windows(2).rposition(|found| found == marker);
    last(END) > last(SCAN)
}

fn wrong(error: DecodeErrors) -> Error {
    match error {
        DecodeErrors::Unsupported(_) => Error::Unsupported {
            place: "the image".into(),
            reason: "JPEG that is lossless, arithmetically coded or of 12 bits is not decoded here".into(),
        },
        _ => damaged(),
    }
}

fn damaged() -> Error {
    Error::unexpected("the image", "JPEG", "one that is damaged")
}
