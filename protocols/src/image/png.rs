//! PNG, through `png`.

use std::io::{Cursor, ErrorKind};

use png::{Decoder, DecodingError, Limits, Transformations};

use super::decoded::Decoded;
use super::orientation::Orientation;
use crate::{DecodeLimits, Error};

/// The most bytes that are kept of what is said beside the pixels.
const MOST_BESIDE: usize = 1 << 20;

pub(super) fn decode(bytes: &[u8], limits: DecodeLimits<'_>) -> Result<Decoded, Error> {
    limits.take(MOST_BESIDE)?;
    let mut decoder = Decoder::new_with_limits(Cursor::new(bytes), Limits { bytes: MOST_BESIDE });
    decoder.set_ignore_text_chunk(true);
    decoder.set_ignore_iccp_chunk(true);
    decoder.set_transformations(Transformations::EXPAND | Transformations::STRIP_16);
    let mut reader = decoder.read_info().map_err(wrong)?;
    let side = |side: u32| usize::try_from(side).unwrap_or(usize::MAX);
    let size = (side(reader.info().width), side(reader.info().height));
    let samples = reader.output_color_type().0.samples();
    let mut decoded = Decoded::begin(size, (samples, 0), limits)?;
    if reader.output_buffer_size() != Some(decoded.values.len()) {
        return Err(damaged("one of a kind that is not known"));
    }
    reader.next_frame(&mut decoded.values).map_err(wrong)?;
    let exif = reader.info().exif_metadata.as_deref();
    decoded.orientation = exif.map(Orientation::of_exif).unwrap_or_default();
    Ok(decoded)
}

fn wrong(error: DecodingError) -> Error {
    match error {
        DecodingError::IoError(error) if error.kind() == ErrorKind::UnexpectedEof => damaged("one that is cut off"),
        _ => damaged("one that is damaged"),
    }
}

fn damaged(found: &str) -> Error {
    Error::unexpected("the image", "a whole PNG", found)
}
