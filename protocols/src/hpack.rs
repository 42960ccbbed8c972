//! HPACK, the compression of HTTP/2's header fields: RFC 7541.
//!
//! A [`Decoder`] and an [`Encoder`] each belong to one connection, and see every block of its direction in order.

mod again;
mod decode;
mod dynamic;
mod encode;
mod huffman;
mod integer;
mod table;
#[cfg(test)]
mod tests;

pub use decode::{Decoder, Field};
pub use encode::{Encoder, Indexing};

/// The size of a dynamic table of which nothing was said: RFC 9113, 6.5.2.
const USUAL_SIZE: usize = 4096;

/// What a table counts for a field beside its bytes: RFC 7541, 4.1.
const OVERHEAD: usize = 32;

/// Why a block is none. Whatever the reason, the tables of the two ends may differ from here on: RFC 9113, 4.3, ends
/// the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say what the fields are")]
pub enum Error {
    #[error("the header block ends within a field")]
    Truncated,
    #[error("an integer in the header block is larger than any length or index may be")]
    TooLarge,
    #[error("the header block names the field {index}, which stands in no table")]
    NoSuchField { index: usize },
    #[error("the end-of-string symbol stands in a Huffman-coded string")]
    EndOfString,
    #[error("a Huffman-coded string ends with anything but up to 7 bits that are one")]
    Padding,
    #[error("the header block sets the dynamic table to {size} bytes: at most {most} were announced")]
    TableTooLarge { size: usize, most: usize },
    #[error("the header block sets the dynamic table's size after its first field")]
    LateResize,
    /// `take` wanted no more.
    #[error("the rest of the header block was not wanted")]
    Stopped,
}
