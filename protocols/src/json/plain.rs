//! The common spellings of numbers, read in one pass. Whatever does not fit here is left to the exact path; what
//! does fit gets the same value from both.

/// The powers of ten that an `f64` holds exactly.
const POWERS: [f64; 23] = [
    1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20,
    1e21, 1e22,
];

/// As many digits always fit a `u64`.
const MOST_DIGITS: usize = 19;

/// The integer at the front of `bytes` and its length, if it has at most 18 digits and nothing but digits.
#[inline]
pub(super) fn integer(bytes: &[u8]) -> Option<(i64, usize)> {
    let sign = usize::from(bytes.first() == Some(&b'-'));
    let (magnitude, end) = whole(bytes, sign)?;
    if end - sign > 18 || matches!(bytes.get(end), Some(b'.' | b'e' | b'E')) {
        return None;
    }
    let magnitude = i64::try_from(magnitude).ok()?;
    Some((if sign == 1 { -magnitude } else { magnitude }, end))
}

/// The number at the front of `bytes`, rounded to nearest, and its length, if one division or multiplication
/// of exact numbers gives it.
///
/// Source: W. D. Clinger, How to read floating point numbers accurately, 1990: with both operands exact, the one
/// operation rounds once.
#[inline]
pub(super) fn double(bytes: &[u8]) -> Option<(f64, usize)> {
    let decimal = Decimal::read(bytes)?;
    if decimal.mantissa > 1 << 53 { None } else { Some((decimal.estimate()?, decimal.length)) }
}

/// The number at the front of `bytes`, rounded to nearest, and its length, if an `f64` that is at most two of its last
/// places off tells.
///
/// Source: the mantissa is rounded once to an `f64`, and the one operation with an exact power of ten rounds once
/// more: each time by half a last place at most, of a number that may lie on either side of a power of two.
#[inline(always)]
pub(super) fn single(bytes: &[u8]) -> Option<(f32, usize)> {
    const CUT: u64 = (1 << 29) - 1;
    const MIDDLE: u64 = 1 << 28;
    const OFF: u64 = 4;
    let decimal = Decimal::read(bytes)?;
    let double = decimal.estimate()?;
    // In the middle between two FP32, the places beyond those of the estimate decide.
    if (double.to_bits() & CUT).abs_diff(MIDDLE) <= OFF {
        return None;
    }
    #[expect(clippy::cast_possible_truncation, reason = "rounding is what is wanted")]
    let single = double as f32;
    // A number is 0, or 1e-22 at least: far from FP32's subnormals.
    single.is_finite().then_some((single, decimal.length))
}

/// A number as it is spelled: `mantissa`, times ten to the power of `exponent`.
struct Decimal {
    negative: bool,
    mantissa: u64,
    exponent: i32,
    /// The bytes it takes.
    length: usize,
}

impl Decimal {
    /// The number at the front of `bytes`, if its mantissa fits.
    #[inline(always)]
    fn read(bytes: &[u8]) -> Option<Self> {
        let sign = usize::from(bytes.first() == Some(&b'-'));
        let (mut mantissa, mut end) = whole(bytes, sign)?;
        // A 0 before the point is no digit that counts. (Too many digits can make a mantissa of 0 as well.)
        let mut digits = if bytes.get(sign) == Some(&b'0') { 0 } else { end - sign };
        let mut exponent = 0;
        if bytes.get(end) == Some(&b'.') {
            let point = end + 1;
            (mantissa, end) = accumulate(bytes, point, mantissa);
            let places = end - point;
            digits += places;
            if places == 0 || (digits > MOST_DIGITS && digits - zeros(bytes, point) > MOST_DIGITS) {
                return None;
            }
            exponent = -i32::try_from(places).ok()?;
        } else if digits > MOST_DIGITS {
            return None;
        }
        if let Some(b'e' | b'E') = bytes.get(end) {
            let (more, behind) = power(bytes, end + 1)?;
            exponent += more;
            end = behind;
        }
        Some(Self { negative: sign == 1, mantissa, exponent, length: end })
    }

    /// The number as an `f64`: rounded once if its mantissa has at most 53 bits, else twice.
    #[inline(always)]
    fn estimate(&self) -> Option<f64> {
        #[expect(clippy::cast_precision_loss, reason = "what is lost is accounted for")]
        let mantissa = self.mantissa as f64;
        let power = *POWERS.get(usize::try_from(self.exponent.unsigned_abs()).ok()?)?;
        let magnitude = if self.exponent < 0 { mantissa / power } else { mantissa * power };
        // Signs come as they like, so no branch of them could be foreseen.
        Some(f64::from_bits(magnitude.to_bits() | u64::from(self.negative) << 63))
    }
}

/// The zeros that a fraction begins with, behind a whole part that is 0 too.
#[cold]
fn zeros(bytes: &[u8], point: usize) -> usize {
    let zero = |byte: &&u8| **byte == b'0';
    if matches!(bytes.get(..point), Some(b"0." | b"-0.")) {
        bytes.iter().skip(point).take_while(zero).count()
    } else {
        0
    }
}

/// The power of ten at `at`, behind its `e`, and its end; of at most two digits, as others are for the exact path.
#[cold]
fn power(bytes: &[u8], at: usize) -> Option<(i32, usize)> {
    let (negative, start) = match bytes.get(at)? {
        b'-' => (true, at + 1),
        b'+' => (false, at + 1),
        _ => (false, at),
    };
    let (power, end) = accumulate(bytes, start, 0);
    let power = i32::try_from(power).ok()?;
    (1..=2).contains(&(end - start)).then_some((if negative { -power } else { power }, end))
}

/// The digits from `start` on as a number, and their end. JSON has no further digit after a leading 0.
#[inline(always)]
fn whole(bytes: &[u8], start: usize) -> Option<(u64, usize)> {
    let digit = |at: usize| bytes.get(at).map(|byte| byte.wrapping_sub(b'0')).filter(|digit| *digit < 10);
    let first = digit(start)?;
    // Most numbers that have a fraction have one digit before it.
    if digit(start + 1).is_none() {
        return Some((u64::from(first), start + 1));
    }
    if first == 0 { None } else { Some(accumulate(bytes, start, 0)) }
}

/// Appends the digits from `at` on to `number`; with more than [`MOST_DIGITS`] the result means nothing.
#[inline(always)]
fn accumulate(bytes: &[u8], mut at: usize, mut number: u64) -> (u64, usize) {
    const TENS: [u64; 8] = [1, 10, 100, 1_000, 10_000, 100_000, 1_000_000, 10_000_000];
    while let Some(eight) = bytes.get(at..).and_then(<[u8]>::first_chunk) {
        let eight = u64::from_le_bytes(*eight) ^ u64::from_le_bytes(*b"00000000");
        let digits = leading_digits(eight);
        // Eight are told by a branch, which the processor foresees, so that it reads on meanwhile.
        let Some(ten) = TENS.get(digits) else {
            number = number.wrapping_mul(100_000_000).wrapping_add(join(eight));
            at += 8;
            continue;
        };
        // The digits go to the end, with zeros before them; none at all are shifted out in two steps.
        let shifted = (eight << (8 * (7 - digits))) << 8;
        return (number.wrapping_mul(*ten).wrapping_add(join(shifted)), at + digits);
    }
    while let Some(digit) = bytes.get(at).map(|byte| byte.wrapping_sub(b'0')).filter(|digit| *digit < 10) {
        number = number.wrapping_mul(10).wrapping_add(u64::from(digit));
        at += 1;
    }
    (number, at)
}

/// How many of eight bytes, the lowest first, are below ten.
#[inline]
const fn leading_digits(eight: u64) -> usize {
    const EACH: u64 = u64::MAX / 255;
    // The addition sets the top bit of each byte from ten on; what it carries reaches only bytes behind such a one.
    let others = (eight.wrapping_add(EACH * (128 - 10)) | eight) & (EACH * 128);
    (others.trailing_zeros() / 8) as usize
}

/// The number that eight digits spell, the lowest byte being the first of them: joined in pairs, fours and eights.
#[inline]
const fn join(eight: u64) -> u64 {
    const EVERY_FOURTH: u64 = 0x0000_00FF_0000_00FF;
    let pairs = eight.wrapping_mul(10).wrapping_add(eight >> 8);
    let upper = (pairs & EVERY_FOURTH).wrapping_mul(100 + (1_000_000 << 32));
    let lower = ((pairs >> 16) & EVERY_FOURTH).wrapping_mul(1 + (10_000 << 32));
    upper.wrapping_add(lower) >> 32
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn only_what_json_allows_is_taken() {
        for wrong in ["", "-", "01", "-01", "00", "1.", ".5", "+1", "x", "1e", "1.5E+", "1e-", "1.e5"] {
            assert_eq!(double(wrong.as_bytes()), None, "{wrong}");
            assert_eq!(single(wrong.as_bytes()), None, "{wrong}");
            assert_eq!(integer(wrong.as_bytes()), None, "{wrong}");
        }
        assert_eq!((integer(b"1e5"), integer(b"1.5E2")), (None, None));
        assert_eq!(double(b"-0.50,"), Some((-0.5, 5)));
        assert_eq!(single(b"1.5e-05 "), Some((1.5e-5, 7)));
        assert_eq!(double(b"-0]").map(|(zero, end)| (zero.to_bits(), end)), Some(((-0.0_f64).to_bits(), 2)));
        assert_eq!(integer(b"-120 "), Some((-120, 4)));
        assert_eq!(integer(b"9999999999999999999"), None);
    }

    #[test]
    fn the_middle_between_two_is_left_to_the_exact_path() {
        // 1 + 2^-24, and a hair more that an f64 cannot hold.
        assert_eq!(single(b"1.000000059604644775"), None);
        assert_eq!(single(b"1.000000059604644776"), None);
        assert_eq!(single(b"1.0000001192092896"), Some((1.000_000_1, 18)));
        assert_eq!(single(b"16777217"), None);
        assert_eq!(single(b"184467440737095516160"), None, "ten times 2^64");
        assert_eq!(single(b"9999999999999999999e22"), None, "beyond FP32");
    }

    #[test]
    fn digits_are_found_and_joined_wherever_they_end() {
        let text = b"12345678901234567x";
        for from in 0..17 {
            let expected = std::str::from_utf8(&text[from..17]).unwrap().parse().unwrap();
            assert_eq!(accumulate(text, from, 0), (expected, 17));
            assert_eq!(accumulate(&text[..17], from, 0), (expected, 17));
        }
        for other in 0..=255_u8 {
            let bytes = [b'7', b'0', other, b'9', b'9', b'9', b'9', b'9', b'9'];
            let found = accumulate(&bytes, 0, 0).1;
            assert_eq!(found, if other.is_ascii_digit() { 9 } else { 2 }, "{other}");
        }
    }

    fn is_read_right(text: &str) -> Result<(), TestCaseError> {
        if let Some((value, end)) = double(text.as_bytes()) {
            prop_assert_eq!((value.to_bits(), end), (text.parse::<f64>().unwrap().to_bits(), text.len()));
        }
        if let Some((value, end)) = single(text.as_bytes()) {
            prop_assert_eq!((value.to_bits(), end), (text.parse::<f32>().unwrap().to_bits(), text.len()));
        }
        if let Some((value, end)) = integer(text.as_bytes()) {
            prop_assert_eq!((Ok(value), end), (text.parse::<i64>(), text.len()));
        }
        Ok(())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(20_000))]

        #[test]
        fn what_is_taken_is_what_the_standard_library_gives(
            text in "-?(0|[1-9][0-9]{0,20})(\\.[0-9]{1,24})?([eE][-+]?[0-9]{1,3})?",
        ) {
            is_read_right(&text)?;
        }

        #[test]
        fn singles_and_their_neighbours_are_read_right_in_every_width(bits: u32, nudge in -2..=2_i64, digits in 0..18_usize) {
            let value = f32::from_bits(bits);
            prop_assume!(value.is_finite());
            // The middle between this one and the next, and what lies beside it.
            let middle = (f64::from(value) + f64::from(f32::from_bits(bits + 1))) / 2.0;
            let near = f64::from_bits(middle.to_bits().saturating_add_signed(nudge));
            for double in [f64::from(value), near] {
                is_read_right(&double.to_string())?;
                is_read_right(&format!("{double:.digits$}"))?;
                is_read_right(&format!("{double:.digits$e}"))?;
            }
        }
    }
}
