//! The most bytes that the body of a scoring request may have, as its model's signature has it.

use hedef_core::{Dim, Signature, TensorSpec};

use crate::config::BodyLimits;

/// What a number takes in JSON at most: its digits, a comma, and the indentation of a text made for people.
const NUMBER: usize = 64;

/// What a request may say beside its tensors.
const HEAD: usize = 64 << 10;

/// The most bytes of a body for this signature.
///
/// Where every dimension is fixed, the body is as large as its tensors can be written. Where only the number of rows
/// is free, it is the limit in the settings, or more if a single row needs more. In no case is it beyond the cap.
pub(crate) fn body_limit(signature: &Signature, limits: BodyLimits) -> usize {
    let Some(row) =
        signature.inputs.iter().try_fold(0_usize, |sum, spec| Some(sum.saturating_add(row_elements(spec)?)))
    else {
        return limits.usual;
    };
    let text = row.saturating_mul(NUMBER);
    let limit = if signature.inputs.iter().all(is_fixed) { text.saturating_add(HEAD) } else { limits.usual.max(text) };
    limit.min(limits.cap.max(limits.usual))
}

/// The most bytes of a body of which `json` are JSON and the rest is tensors in binary.
pub(crate) fn binary_body_limit(signature: &Signature, limits: BodyLimits, json: usize) -> usize {
    let text = body_limit(signature, limits);
    if !signature.inputs.iter().all(is_fixed) {
        return text;
    }
    let bytes = |spec: &TensorSpec| row_elements(spec).unwrap_or(0).saturating_mul(spec.data_type.size().unwrap_or(0));
    let tensors = signature.inputs.iter().map(bytes).fold(0, usize::saturating_add);
    // Some tensors may still stand in the JSON.
    text.min(json.saturating_add(tensors))
}

/// The elements of one row, or of the whole tensor where the number of rows is fixed; `None` where another dimension
/// is free, or the elements have no size of their own.
fn row_elements(spec: &TensorSpec) -> Option<usize> {
    spec.data_type.size()?;
    spec.dims.as_ref()?.iter().enumerate().try_fold(1_usize, |product, (axis, dim)| match dim {
        Dim::Fixed(size) => Some(product.saturating_mul(*size)),
        Dim::Symbol(_) | Dim::Free if axis == 0 => Some(product),
        Dim::Symbol(_) | Dim::Free => None,
    })
}

fn is_fixed(spec: &TensorSpec) -> bool {
    spec.data_type.size().is_some() && spec.dims.as_ref().is_some_and(|dims| !dims.iter().any(Dim::is_free))
}

#[cfg(test)]
mod tests {
    use hedef_core::DataType;

    use super::*;

    const LIMITS: BodyLimits = BodyLimits { usual: 1 << 20, cap: 1 << 30 };

    fn signature(inputs: &[(DataType, &[i64])]) -> Signature {
        let dim = |size: &i64| usize::try_from(*size).map_or(Dim::Free, Dim::Fixed);
        let spec = |(data_type, dims): &(DataType, &[i64])| {
            TensorSpec::new("x", *data_type, Some(dims.iter().map(dim).collect()))
        };
        Signature { inputs: inputs.iter().map(spec).collect(), outputs: vec![], batch_axis: false }
    }

    #[test]
    fn a_fixed_signature_takes_what_its_tensors_can_be_written_in() {
        let two = signature(&[(DataType::Fp32, &[1, 4]), (DataType::Int64, &[2])]);
        assert_eq!(body_limit(&two, LIMITS), 6 * NUMBER + HEAD);
        assert_eq!(binary_body_limit(&two, LIMITS, 100), 100 + 16 + 16);
        assert_eq!(binary_body_limit(&two, LIMITS, 1 << 30), 6 * NUMBER + HEAD);
        assert_eq!(body_limit(&signature(&[(DataType::Fp32, &[1, 3, 512, 512])]), LIMITS), 786_432 * NUMBER + HEAD);
    }

    #[test]
    fn free_rows_have_the_limit_in_the_settings_unless_one_row_needs_more() {
        assert_eq!(body_limit(&signature(&[(DataType::Fp32, &[-1, 4])]), LIMITS), LIMITS.usual);
        assert_eq!(body_limit(&signature(&[(DataType::Fp32, &[-1, 100_000])]), LIMITS), 100_000 * NUMBER);
        assert_eq!(binary_body_limit(&signature(&[(DataType::Fp32, &[-1, 4])]), LIMITS, 10), LIMITS.usual);
    }

    #[test]
    fn what_has_no_size_of_its_own_has_the_limit_in_the_settings() {
        for open in [
            signature(&[(DataType::Fp32, &[1, -1])]),
            signature(&[(DataType::Bytes, &[1])]),
            signature(&[(DataType::Fp32, &[1, 4]), (DataType::Fp32, &[-1, -1])]),
        ] {
            assert_eq!(body_limit(&open, LIMITS), LIMITS.usual);
            assert_eq!(binary_body_limit(&open, LIMITS, 10), LIMITS.usual);
        }
    }

    #[test]
    fn no_signature_goes_beyond_the_cap() {
        for size in [1 << 30, i64::MAX] {
            assert_eq!(body_limit(&signature(&[(DataType::Fp32, &[1, size])]), LIMITS), LIMITS.cap);
            assert_eq!(body_limit(&signature(&[(DataType::Fp32, &[-1, size])]), LIMITS), LIMITS.cap);
        }
        let small_cap = BodyLimits { cap: 1, ..LIMITS };
        assert_eq!(body_limit(&signature(&[(DataType::Fp32, &[-1, 100_000])]), small_cap), LIMITS.usual);
    }
}
