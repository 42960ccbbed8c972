//! Integers, whose first bits share a byte with what is said about them: RFC 7541, 5.1.

use super::Error;

/// Longer ones are refused: 28 bits are beyond what any block holds.
const MOST_BYTES: usize = 4;

/// Reads the integer that begins in the last `bits` bits of `first`, and goes on in `rest`.
#[inline]
pub(super) fn read(first: u8, bits: u32, rest: &mut &[u8]) -> Result<usize, Error> {
    let mask = mask(bits);
    let start = first & mask;
    if start < mask { Ok(usize::from(start)) } else { read_on(usize::from(mask), rest) }
}

fn read_on(start: usize, rest: &mut &[u8]) -> Result<usize, Error> {
    let mut value = start;
    for place in 0..MOST_BYTES {
        let (byte, after) = rest.split_first().ok_or(Error::Truncated)?;
        *rest = after;
        value += usize::from(byte & 0x7f) << (7 * place);
        if byte & 0x80 == 0 {
            return Ok(value);
        }
    }
    Err(Error::TooLarge)
}

/// Writes `value` in the last `bits` bits of a byte that begins with `kind`, and as many more as it takes.
#[inline]
pub(super) fn write(kind: u8, bits: u32, value: usize, out: &mut Vec<u8>) {
    let mask = mask(bits);
    match u8::try_from(value) {
        Ok(value) if value < mask => out.push(kind | value),
        _ => {
            out.push(kind | mask);
            write_on(value - usize::from(mask), out);
        }
    }
}

fn write_on(mut value: usize, out: &mut Vec<u8>) {
    loop {
        let [low, ..] = value.to_le_bytes();
        value >>= 7;
        if value == 0 {
            out.push(low & 0x7f);
            return;
        }
        out.push(low | 0x80);
    }
}

const fn mask(bits: u32) -> u8 {
    u8::MAX >> (8 - bits)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 7541, C.1.
    #[test]
    fn the_rfc_s_integers_are_read_and_written() {
        for (value, bits, bytes) in [(10, 5, &[0x0a][..]), (1337, 5, &[0x1f, 0x9a, 0x0a]), (42, 8, &[0x2a])] {
            let mut out = Vec::new();
            write(0, bits, value, &mut out);
            assert_eq!(out, bytes);
            let mut rest = &out[1..];
            assert_eq!((read(out[0], bits, &mut rest), rest), (Ok(value), &[][..]));
        }
    }

    #[test]
    fn every_integer_that_may_be_is_read_as_written() {
        for value in (0..100_000).chain([1 << 20, (1 << 28) - 1]) {
            for bits in 4..=7 {
                let mut out = Vec::new();
                write(0, bits, value, &mut out);
                assert_eq!(read(out[0], bits, &mut &out[1..]), Ok(value));
            }
        }
    }

    #[test]
    fn what_does_not_end_is_refused() {
        assert_eq!(read(0xff, 7, &mut &[][..]), Err(Error::Truncated));
        assert_eq!(read(0xff, 7, &mut &[0x80, 0x80, 0x80][..]), Err(Error::Truncated));
        assert_eq!(read(0xff, 7, &mut &[0x80, 0x80, 0x80, 0x80, 0][..]), Err(Error::TooLarge));
        assert_eq!(read(0xff, 7, &mut &[0xff; 20][..]), Err(Error::TooLarge));
    }
}
