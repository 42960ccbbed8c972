//! NumPy's `.npy` files.
//!
//! Source: NEP 1 and `numpy/lib/format.py`. A file is the magic bytes, a version, the length of a header, the
//! header (a Python dict as text) and the elements. Read are versions 1 to 3, both byte orders, both element orders,
//! booleans, integers, floats, and strings of fixed width (`<U5`, `|S5`), which become BYTES. Pickled objects,
//! structured types, complex numbers and dates are refused.

mod convert;
mod header;
mod read;
mod write;

#[cfg(test)]
mod tests;

use hedef_core::{Request, Signature};

use crate::Error;
use crate::rows;

pub use read::read;
pub use write::write;

/// The first six bytes of every file.
const MAGIC: &[u8; 6] = b"\x93NUMPY";

/// Reads one array as the only input of a model.
///
/// Numbers of another type are converted as JSON rows are: integers to floats, whole floats to integers, 0 and 1 to
/// booleans, each checked against the range of the type wanted; floats are rounded to nearest. A list of N elements
/// becomes `[N,1]` where the model wants one value for each row. Fails when the model has several inputs, and on
/// anything that is no such array.
pub fn decode(bytes: &[u8], signature: &Signature) -> Result<Request, Error> {
    let [spec] = signature.inputs.as_slice() else {
        let found = format!("a model that takes {}", rows::list(&signature.inputs));
        return Err(Error::unexpected("a .npy file", "a model with one input", found));
    };
    let tensor = convert::convert(read(bytes)?, spec)?;
    Ok(Request::new(signature, vec![(spec.name.to_string(), tensor)])?)
}
