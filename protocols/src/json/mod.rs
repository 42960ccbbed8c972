//! JSON as the protocols need it: numbers stay text until their type is known, and arrays of numbers go straight
//! into typed memory.
//!
//! The grammar is that of RFC 8259 with one addition: the bare tokens `NaN`, `Infinity` and `-Infinity` are
//! numbers, because TensorFlow Serving and Python write them.

mod decimal;
mod elements;
mod escape;
mod plain;
mod reader;
mod scalar;
#[cfg(test)]
mod tests;
mod value;
mod write;

pub use elements::{Expected, elements};
pub use reader::{Next, Reader};
pub(crate) use scalar::expectation;
pub use scalar::{Scalar, Unfit, push};
pub use value::Value;
pub use write::{BytesAs, NonFinite, NotText, Style, write_elements, write_nested, write_str};
