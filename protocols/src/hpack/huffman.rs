//! The Huffman code of strings: RFC 7541, 5.2 and appendix B.
//!
//! The code is canonical: codes of one length follow each other in the order of their symbols, and longer ones follow
//! the shorter, so the lengths tell it whole. Codes of up to 8 bits, which all common characters have, are read by one
//! look at a table; the others by the first row of lengths that reaches as far as theirs.

use super::Error;

/// The length of each byte's code. The end-of-string symbol, 256, has the last code of 30 bits.
const LENGTHS: [u8; 256] = [
    13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 30, 28, 28, 28, 28, 28, 28,
    28, 28, 28, 6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6, 5, 5, 5, 6, 6, 6, 6, 6, 6, 6, 7, 8, 15, 6, 12,
    10, 13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6, 15, 5, 6,
    5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6, 6, 5, 6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7, 15, 11, 14, 13, 28, 20, 22, 20, 20, 22, 22,
    22, 23, 22, 23, 23, 23, 23, 23, 24, 23, 24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24, 22, 21, 20,
    22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23, 23, 21, 21, 22, 21, 23, 22, 23, 23, 20, 22, 22, 22, 23, 22, 22, 23,
    26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25, 19, 21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28,
    27, 27, 27, 20, 24, 20, 21, 22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23, 26, 27, 26, 26, 27, 27, 27, 27, 27, 28,
    27, 27, 27, 27, 27, 26,
];

const MOST_BITS: u8 = 30;
const SHORT_BITS: u8 = 8;

/// The codes of one length, at the upper end of 32 bits.
#[derive(Clone, Copy)]
struct Row {
    /// The first code, and the last with all that may follow it.
    codes: (u32, u32),
    /// Where the first code's symbol stands among [`Tables::symbols`].
    symbol: u16,
    bits: u8,
}

struct Tables {
    /// The bytes in the order of their codes.
    symbols: [u8; 256],
    /// By the next 8 bits: the byte whose code begins there, and its length; 0 if it is longer than 8.
    short: [(u8, u8); 256],
    /// The lengths above 8.
    rows: [Row; (MOST_BITS - SHORT_BITS) as usize],
}

static TABLES: Tables = tables();

#[expect(clippy::indexing_slicing, clippy::cast_possible_truncation, reason = "nothing is left of it but its value")]
const fn tables() -> Tables {
    const UNUSED: Row = Row { codes: (u32::MAX, 0), symbol: 0, bits: MOST_BITS };
    let mut tables =
        Tables { symbols: [0; 256], short: [(0, 0); 256], rows: [UNUSED; (MOST_BITS - SHORT_BITS) as usize] };
    let (mut code, mut known, mut rows) = (0_u64, 0, 0);
    let mut bits = 1;
    while bits <= MOST_BITS {
        let step = 1_u64 << (32 - bits);
        let (first, symbol) = (code, known as u16);
        let mut byte = 0;
        while byte < LENGTHS.len() {
            if LENGTHS[byte] == bits {
                tables.symbols[known] = byte as u8;
                let mut at = code >> 24;
                while bits <= SHORT_BITS && at < (code + step) >> 24 {
                    tables.short[at as usize] = (byte as u8, bits);
                    at += 1;
                }
                known += 1;
                code += step;
            }
            byte += 1;
        }
        if bits == MOST_BITS {
            code += step;
        }
        if bits > SHORT_BITS && code > first {
            tables.rows[rows] = Row { codes: (first as u32, (code - 1) as u32), symbol, bits };
            rows += 1;
        }
        bits += 1;
    }
    assert!(known == 256 && code == 1 << 32, "the code leaves no bits without a meaning");
    tables
}

/// Bits not yet read.
struct Bits<'a> {
    /// The next ones, from the upper end; zeros follow them.
    next: u64,
    count: u32,
    rest: &'a [u8],
}

impl Bits<'_> {
    /// Has more than 32 bits at hand, or all that are left.
    #[inline]
    fn fill(&mut self) {
        if let Some((four, rest)) = self.rest.split_first_chunk() {
            self.next |= u64::from(u32::from_be_bytes(*four)) << (32 - self.count);
            (self.count, self.rest) = (self.count + 32, rest);
            return;
        }
        while let (Some((byte, rest)), true) = (self.rest.split_first(), self.count <= 56) {
            self.next |= u64::from(*byte) << (56 - self.count);
            (self.count, self.rest) = (self.count + 8, rest);
        }
    }

    #[inline]
    fn skip(&mut self, bits: u8) {
        self.next <<= bits;
        self.count -= u32::from(bits);
    }
}

/// Decodes `coded` to the end of `out`: at most 8 bytes for each 5.
pub(super) fn decode(coded: &[u8], out: &mut Vec<u8>) -> Result<(), Error> {
    out.reserve(coded.len().saturating_mul(8) / 5);
    let mut bits = Bits { next: 0, count: 0, rest: coded };
    loop {
        if bits.count <= 32 {
            bits.fill();
        }
        // Most codes are short, and as many as are at hand can be read without a look at what is left.
        while bits.count >= u32::from(SHORT_BITS) {
            let [first, ..] = bits.next.to_be_bytes();
            match TABLES.short.get(usize::from(first)) {
                Some((byte, length @ 1..)) => {
                    out.push(*byte);
                    bits.skip(*length);
                }
                _ => break,
            }
        }
        if bits.count <= 32 && !bits.rest.is_empty() {
            continue;
        }
        if bits.count == 0 {
            return Ok(());
        }
        match one(&bits)? {
            Some((byte, length)) => {
                out.push(byte);
                bits.skip(length);
            }
            None => return Ok(()),
        }
    }
}

/// The next byte and the length of its code; nothing if there is only padding.
fn one(bits: &Bits<'_>) -> Result<Option<(u8, u8)>, Error> {
    let padded = bits.next | u64::MAX.checked_shr(bits.count).unwrap_or(0);
    let [first, second, third, fourth, ..] = padded.to_be_bytes();
    let code = u32::from_be_bytes([first, second, third, fourth]);
    let short = TABLES.short.get(usize::from(first)).filter(|(_, length)| *length > 0);
    let (byte, length) = match short {
        Some((byte, length)) => (Some(*byte), *length),
        None => long(code),
    };
    match byte {
        Some(byte) if u32::from(length) <= bits.count => Ok(Some((byte, length))),
        None if u32::from(length) <= bits.count => Err(Error::EndOfString),
        None if bits.count < 8 => Ok(None),
        _ => Err(Error::Padding),
    }
}

/// The byte whose code of more than 8 bits `code` begins with, and the length; no byte if it is the end of a string.
fn long(code: u32) -> (Option<u8>, u8) {
    let Some(row) = TABLES.rows.iter().find(|row| code <= row.codes.1) else { return (None, MOST_BITS) };
    let after = (code - row.codes.0) >> (32 - u32::from(row.bits));
    let symbol = usize::try_from(after).ok().and_then(|after| TABLES.symbols.get(usize::from(row.symbol) + after));
    (symbol.copied(), row.bits)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Each byte's code, as the lengths give it.
    fn codes() -> Vec<(u64, u8)> {
        let mut order: Vec<_> = (0..256).collect();
        order.sort_by_key(|byte| LENGTHS[*byte]);
        let mut codes = vec![(0, 0); 256];
        let (mut code, mut bits) = (0, 0);
        for byte in order {
            code <<= LENGTHS[byte] - bits;
            bits = LENGTHS[byte];
            codes[byte] = (code, bits);
            code += 1;
        }
        codes
    }

    fn encode(plain: &[u8]) -> Vec<u8> {
        let codes = codes();
        let code = |byte: &u8| codes[usize::from(*byte)];
        let bits = plain.iter().map(code).flat_map(|(code, bits)| (0..bits).rev().map(move |at| code >> at & 1 == 1));
        let bits: Vec<_> = bits.collect();
        let byte = |eight: &[bool]| (0..8).fold(0, |byte, at| byte << 1 | u8::from(*eight.get(at).unwrap_or(&true)));
        bits.chunks(8).map(byte).collect()
    }

    /// RFC 7541, appendix B.
    #[test]
    fn the_codes_are_the_rfc_s() {
        let codes = codes();
        for (byte, code) in [(0, 0x1ff8), (b'0', 0), (b'a', 3), (b'z', 0x7b), (b'\\', 0x7fff0), (255, 0x3ff_ffee)] {
            assert_eq!(codes[usize::from(byte)].0, code, "{byte}");
        }
        // The last before the end-of-string symbol, of which all 30 bits are one.
        assert_eq!(codes[22], (0x3fff_fffe, 30));
    }

    #[test]
    fn each_byte_is_decoded_alone_and_beside_others() {
        for byte in 0..=255 {
            for around in [&b""[..], b"a", b"\x16\x16", b"&&&&&"] {
                let plain = [around, &[byte], around].concat();
                let mut out = b"before".to_vec();
                assert_eq!(decode(&encode(&plain), &mut out), Ok(()), "{plain:?}");
                assert_eq!(out, [b"before", &plain[..]].concat());
            }
        }
    }

    /// The least that a byte takes is 5 bits.
    #[test]
    fn the_longest_text_of_a_code_fits_what_was_reserved() {
        let mut out = Vec::new();
        assert_eq!(decode(&[0; 1000], &mut out), Ok(()));
        assert_eq!((out.len(), out.capacity()), (1600, 1600));
    }

    proptest! {
        #[test]
        fn any_text_is_decoded(plain: Vec<u8>) {
            let mut out = Vec::new();
            prop_assert_eq!(decode(&encode(&plain), &mut out), Ok(()));
            prop_assert_eq!(out, plain);
        }

        /// A text has one code only.
        #[test]
        fn what_is_decoded_is_what_it_would_be_encoded_as(coded: Vec<u8>) {
            let mut out = Vec::new();
            if decode(&coded, &mut out).is_ok() {
                prop_assert_eq!(encode(&out), coded);
            }
        }
    }
}
