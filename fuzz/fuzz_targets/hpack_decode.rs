//! Any blocks are header fields or refused, the table stays within its size, and what was read can be written and read
//! again, whatever tables the reader allows.
//!
//! Input: the size that was announced, as two bytes; then blocks, each behind a byte that says how long it is.

#![no_main]

use std::ops::ControlFlow;

use hedef_protocols::hpack::{Decoder, Encoder, Error, Field, Indexing};
use libfuzzer_sys::fuzz_target;

const INDEXING: [Indexing; 4] = [Indexing::Keep, Indexing::Plain, Indexing::Keep, Indexing::Never];

#[derive(Clone, Debug, PartialEq)]
struct Pair(Vec<u8>, Vec<u8>);

impl Field for Pair {
    fn new(name: &[u8], value: &[u8]) -> Self {
        Self(name.to_vec(), value.to_vec())
    }

    fn with_value(&self, value: &[u8]) -> Self {
        Self(self.0.clone(), value.to_vec())
    }
}

/// Reads `block`, up to a megabyte of fields: an index of one byte may stand for four kilobytes.
fn read(decoder: &mut Decoder<Pair>, block: &[u8]) -> Result<Vec<Pair>, Error> {
    let (mut fields, mut sum) = (Vec::new(), 0);
    let take = |field: Pair, size| {
        assert_eq!(size, field.0.len() + field.1.len() + 32);
        sum += size;
        fields.push(field);
        if sum < 1 << 20 { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    };
    decoder.decode(block, take).map(|()| fields)
}

fuzz_target!(|bytes: &[u8]| {
    let Some((most, mut rest)) = bytes.split_first_chunk() else { return };
    let most = usize::from(u16::from_be_bytes(*most));
    let mut decoder = Decoder::new(most);
    let (mut encoder, mut reader) = (Encoder::default(), Decoder::new(4096));
    while let Some((length, after)) = rest.split_first() {
        let (block, after) = after.split_at(after.len().min(usize::from(*length)));
        rest = after;
        let read_once = read(&mut decoder, block);
        assert!(decoder.table_size() <= most.max(4096));
        let Ok(fields) = read_once else { return };

        if length % 4 == 3 {
            encoder.resize(usize::from(*length) * 17);
        }
        let mut again = Vec::new();
        encoder.begin(&mut again);
        for (at, Pair(name, value)) in fields.iter().enumerate() {
            encoder.field(name, value, INDEXING[(at + value.len()) % 4], &mut again);
        }
        assert_eq!(read(&mut reader, &again), Ok(fields));
        assert!(reader.table_size() <= 4096);
    }
});
