//! Whether two results are the same.

use crate::{Data, Tensor};

/// Whether two results are the same but for the rounding that other batch sizes bring, which is measured against the
/// largest number in them: what a model adds up is rounded at that size.
pub(crate) fn agree(a: &Tensor, b: &Tensor) -> bool {
    fn near(a: &[f64], b: &[f64], tolerance: f64) -> bool {
        let largest = a.iter().chain(b).filter(|x| x.is_finite()).fold(0.0, |largest: f64, x| largest.max(x.abs()));
        let same = |(a, b): (&f64, &f64)| a == b || (a.is_nan() && b.is_nan()) || (a - b).abs() <= tolerance * largest;
        a.iter().zip(b).all(same)
    }
    if a.shape() != b.shape() {
        return false;
    }
    match (floats(a), floats(b)) {
        (Some((a, tolerance)), Some((b, _))) => near(&a, &b, tolerance),
        _ => a.data() == b.data(),
    }
}

/// The elements of a tensor of floats, and the rounding to expect of their type.
fn floats(tensor: &Tensor) -> Option<(Vec<f64>, f64)> {
    Some(match tensor.data() {
        Data::Fp16(all) => (all.iter().map(|x| x.to_f64()).collect(), 5e-3),
        Data::Bf16(all) => (all.iter().map(|x| x.to_f64()).collect(), 4e-2),
        Data::Fp32(all) => (all.iter().map(|x| f64::from(*x)).collect(), 1e-4),
        Data::Fp64(all) => (all.to_vec(), 1e-9),
        _ => return None,
    })
}

/// Whether all numbers in a tensor are finite.
pub(crate) fn is_finite(tensor: &Tensor) -> bool {
    floats(tensor).is_none_or(|(all, _)| all.iter().all(|x| x.is_finite()))
}
