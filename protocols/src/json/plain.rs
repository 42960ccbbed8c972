//! The common spellings of numbers, read in one pass. Whatever does not fit here is left to the exact path; what
//! does fit gets the same value from both.

/// The powers of ten that an `f64` holds exactly.
const POWERS: [f64; 23] = [
    1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20,
    1e21, 1e22,
];

/// The integer at the front of `bytes` and its length, if it has at most 18 digits and nothing but digits.
#[inline]
pub(super) fn integer(bytes: &[u8]) -> Option<(i64, usize)> {
    let sign = usize::from(bytes.first() == Some(&b'-'));
    let (magnitude, end) = whole(bytes, sign)?;
    if end - sign > 18 || is_part_of_number(bytes.get(end)) {
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
pub(super) fn float(bytes: &[u8]) -> Option<(f64, usize)> {
    let sign = usize::from(bytes.first() == Some(&b'-'));
    let (mut mantissa, mut end) = whole(bytes, sign)?;
    let mut digits = end - sign;
    let mut power = 0;
    if bytes.get(end) == Some(&b'.') {
        let point = end + 1;
        (mantissa, end) = accumulate(bytes, point, mantissa);
        if end == point {
            return None;
        }
        digits += end - point;
        power = end - point;
    }
    if digits > 19 || mantissa > 1 << 53 || is_part_of_number(bytes.get(end)) {
        return None;
    }
    #[expect(clippy::cast_precision_loss, reason = "at most 2^53, which an f64 holds exactly")]
    let magnitude = mantissa as f64 / POWERS.get(power)?;
    Some((if sign == 1 { -magnitude } else { magnitude }, end))
}

/// Rounds to FP32, unless the number lies in the middle between two, where the digits beyond an `f64` decide.
#[inline]
pub(super) fn to_f32(double: f64) -> Option<f32> {
    const CUT: u64 = (1 << 29) - 1;
    const MIDDLE: u64 = 1 << 28;
    #[expect(clippy::cast_possible_truncation, reason = "rounding is what is wanted")]
    let single = double as f32;
    // The digits that `float` takes are far from FP32's subnormals and from its end.
    (double.to_bits() & CUT != MIDDLE).then_some(single)
}

/// The digits from `start` on as a number, and their end. JSON has no further digit after a leading 0.
#[inline]
fn whole(bytes: &[u8], start: usize) -> Option<(u64, usize)> {
    let (number, end) = accumulate(bytes, start, 0);
    let leading_zero = bytes.get(start) == Some(&b'0') && end > start + 1;
    (end > start && !leading_zero).then_some((number, end))
}

/// Appends the digits from `at` on to `number`; with more than 19 of them the result means nothing.
#[inline]
fn accumulate(bytes: &[u8], mut at: usize, mut number: u64) -> (u64, usize) {
    while let Some(digit) = bytes.get(at).map(|byte| byte.wrapping_sub(b'0')).filter(|digit| *digit < 10) {
        number = number.wrapping_mul(10).wrapping_add(u64::from(digit));
        at += 1;
    }
    (number, at)
}

fn is_part_of_number(byte: Option<&u8>) -> bool {
    matches!(byte, Some(b'.' | b'e' | b'E' | b'0'..=b'9'))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn only_what_json_allows_is_taken() {
        for wrong in ["", "-", "01", "-01", "1.", ".5", "+1", "x", "1e5", "1.5E2"] {
            assert_eq!(float(wrong.as_bytes()), None, "{wrong}");
            assert_eq!(integer(wrong.as_bytes()), None, "{wrong}");
        }
        assert_eq!(float(b"-0.50,"), Some((-0.5, 5)));
        assert_eq!(float(b"-0]").map(|(zero, end)| (zero.to_bits(), end)), Some(((-0.0_f64).to_bits(), 2)));
        assert_eq!(integer(b"-120 "), Some((-120, 4)));
        assert_eq!(integer(b"9999999999999999999"), None);
    }

    #[test]
    fn the_middle_between_two_is_left_to_the_exact_path() {
        // 1 + 2^-24, and a hair more that an f64 cannot hold.
        assert_eq!(to_f32(1.000_000_059_604_644_8), None);
        assert_eq!(to_f32(1.000_000_119_209_289_6), Some(1.000_000_1));
    }

    proptest! {
        #[test]
        fn what_is_taken_is_what_the_exact_parser_gives(text in "-?(0|[1-9][0-9]{0,20})(\\.[0-9]{1,24})?") {
            if let Some((value, end)) = float(text.as_bytes()) {
                prop_assert_eq!(end, text.len());
                prop_assert_eq!(value.to_bits(), text.parse::<f64>().unwrap().to_bits());
                if let Some(single) = to_f32(value) {
                    prop_assert_eq!(single.to_bits(), text.parse::<f32>().unwrap().to_bits());
                }
            }
            if let Some((value, end)) = integer(text.as_bytes()) {
                prop_assert_eq!(end, text.len());
                prop_assert_eq!(Ok(value), text.parse::<i64>());
            }
        }
    }
}
