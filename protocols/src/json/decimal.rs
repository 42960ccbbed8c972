use std::cmp::Ordering;

use half::{bf16, f16};

/// The exact value of a finite JSON number, for the rare texts that need more than a parse.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Decimal {
    /// The power of ten of the first digit.
    exponent: i64,
    /// From the first digit that is not 0 to the last one; none for zero. Compares as the magnitude does.
    digits: Vec<u8>,
}

impl Decimal {
    /// The magnitude of `text`, which follows JSON's grammar. An exponent beyond `i64` becomes the nearest.
    fn new(text: &str) -> Self {
        let text = text.trim_start_matches('-');
        let (mantissa, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
        let nearest = if exponent.starts_with('-') { i64::MIN } else { i64::MAX };
        let exponent = exponent.parse().unwrap_or(nearest);
        let whole = mantissa.split_once('.').map_or(mantissa, |(whole, _)| whole).len();
        let all = || mantissa.bytes().filter(u8::is_ascii_digit).map(|digit| digit - b'0');
        let zeros = all().take_while(|digit| *digit == 0).count();
        let mut digits: Vec<u8> = all().skip(zeros).collect();
        while digits.last() == Some(&0) {
            digits.pop();
        }
        let first = i64::try_from(whole).unwrap_or(i64::MAX) - i64::try_from(zeros).unwrap_or(i64::MAX) - 1;
        let exponent = if digits.is_empty() { 0 } else { exponent.saturating_add(first) };
        Self { exponent, digits }
    }
}

/// The number that `text` spells if it has no fraction and fits: `1.0` and `1e2` do. No double in between.
pub(super) fn integer(text: &str) -> Option<i128> {
    let Decimal { exponent, digits } = Decimal::new(text);
    let places = usize::try_from(exponent.checked_add(1)?).ok()?;
    if digits.len() > places || places > 38 {
        return None;
    }
    let padded = digits.iter().chain(std::iter::repeat(&0)).take(if digits.is_empty() { 0 } else { places });
    let magnitude = padded.fold(0, |sum: i128, digit| sum * 10 + i128::from(*digit));
    Some(if text.starts_with('-') { -magnitude } else { magnitude })
}

/// A format narrower than FP32, to which [`f32`] values round to nearest with ties to even.
pub(super) trait Narrow: Sized {
    /// Rounds.
    fn narrow(single: f32) -> Self;
    /// The same value as an `f32`.
    fn widen(&self) -> f32;
}

impl Narrow for f16 {
    fn narrow(single: f32) -> Self {
        Self::from_f32(single)
    }

    fn widen(&self) -> f32 {
        self.to_f32()
    }
}

impl Narrow for bf16 {
    fn narrow(single: f32) -> Self {
        Self::from_f32(single)
    }

    fn widen(&self) -> f32 {
        self.to_f32()
    }
}

/// Rounds the number that `text` spells in one step, to nearest with ties to even.
pub(super) fn round_once<T: Narrow>(text: &str) -> Option<T> {
    let double: f64 = text.parse().ok()?;
    Some(round_double(double).unwrap_or_else(|| {
        let single = to_single(double);
        to_odd(single, Decimal::new(text).cmp(&Decimal::new(&format!("{single:.160e}"))))
    }))
}

/// Rounds the number that `double` is nearest to; `None` where that takes more digits than a double has.
#[inline]
pub(super) fn round_double<T: Narrow>(double: f64) -> Option<T> {
    let single = to_single(double);
    let order = double.abs().total_cmp(&f64::from(single).abs());
    if order != Ordering::Equal {
        return Some(to_odd(single, order));
    }
    let direct = T::narrow(single);
    (!single.is_finite() || direct.widen().to_bits() == single.to_bits()).then_some(direct)
}

/// Rounds a number of which `single` is the nearest FP32 and to which it compares as `order` says, both without
/// their signs.
///
/// On the way it is rounded to odd: the last bit says whether anything was cut off, so that a format with at least
/// two bits less loses nothing by the detour.
#[inline]
fn to_odd<T: Narrow>(single: f32, order: Ordering) -> T {
    let bits = single.to_bits();
    T::narrow(f32::from_bits(match order {
        Ordering::Equal => bits,
        Ordering::Greater => bits | 1,
        Ordering::Less => (bits - 1) | 1,
    }))
}

#[expect(clippy::cast_possible_truncation, reason = "rounding is what is wanted")]
const fn to_single(double: f64) -> f32 {
    double as f32
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fp16(text: &str) -> f16 {
        round_once(text).unwrap()
    }

    #[test]
    fn whole_numbers_are_exact_in_every_spelling() {
        let cases = [
            ("18446744073709551615", Some(18_446_744_073_709_551_615)),
            ("-9223372036854775808.000", Some(-9_223_372_036_854_775_808)),
            ("1e2", Some(100)),
            ("12.50e1", Some(125)),
            ("0.0012e4", Some(12)),
            ("-0.0", Some(0)),
            ("0e99999999999999999999", Some(0)),
            ("0.5", None),
            ("1e-1", None),
            ("1e39", None),
            ("1e99999999999999999999", None),
        ];
        for (text, expected) in cases {
            assert_eq!(integer(text), expected, "{text}");
        }
    }

    #[test]
    fn a_hair_beside_the_middle_is_not_the_middle() {
        // 1 + 2^-11 lies in the middle between 1 and the next half.
        assert_eq!(fp16("1.00048828125"), f16::ONE);
        assert_eq!(fp16("1.00048828125000000000000000000001").to_bits(), f16::ONE.to_bits() + 1);
        assert_eq!(fp16("1.00048828124999999999999999999999"), f16::ONE);
        assert_eq!(fp16("-1.0004882812501").to_bits(), f16::NEG_ONE.to_bits() + 1);
        assert_eq!(fp16("2.98023223876953125e-8").to_bits(), 0);
        assert_eq!(fp16("2.980232238769531250000000000001e-8").to_bits(), 1);
        assert_eq!(fp16("65519.99999999999999999999999"), f16::MAX);
        assert_eq!(fp16("65520"), f16::INFINITY);
    }

    #[test]
    fn a_double_rounds_as_its_text_does() {
        for step in 0..200_000_u32 {
            let double = f64::from(step) * 0.000_123_7 - 3.1;
            let text = double.to_string();
            assert_eq!(round_double(double).unwrap_or_else(|| fp16(&text)), fp16(&text));
            let bfloat = round_once::<bf16>(&text).unwrap();
            assert_eq!(round_double(double).unwrap_or(bfloat), bfloat);
        }
        assert_eq!(round_double(0.1), Some(fp16("0.1")));
        assert_eq!(round_double::<f16>(1.000_488_281_25), None);
    }

    #[test]
    fn every_half_and_every_bfloat_reads_its_own_text() {
        for bits in 0..=u16::MAX {
            let half = f16::from_bits(bits);
            let bfloat = bf16::from_bits(bits);
            if half.is_finite() {
                assert_eq!(fp16(&half.to_f32().to_string()).to_bits(), bits);
            }
            if bfloat.is_finite() {
                let text = format!("{:e}", bfloat.to_f32());
                assert_eq!(round_once::<bf16>(&text).unwrap().to_bits(), bits);
            }
        }
    }
}
