//! The size of a constant tensor, from its declaration alone.

use super::proto::{EXTERNAL, TensorProto};

/// The elements of `tensor`: the product of its dimensions.
///
/// A file from outside may declare anything: what cannot be is an error, in words that follow the tensor's name.
pub(super) fn elements(tensor: &TensorProto) -> Result<u64, &'static str> {
    let dims = tensor.dims.iter().map(|&dim| u64::try_from(dim).map_err(|_| "declares a negative dimension"));
    let dims = dims.collect::<Result<Vec<_>, _>>()?;
    if dims.contains(&0) {
        return Ok(0);
    }
    dims.iter()
        .try_fold(1u64, |product, &dim| product.checked_mul(dim))
        .ok_or("declares more elements than can be counted")
}

/// The bytes of `tensor`, as ONNX Runtime holds them; `None` for strings and unknown data types.
pub(super) fn bytes(tensor: &TensorProto) -> Result<Option<u64>, &'static str> {
    let elements = elements(tensor)?;
    let Some(bits) = bits(tensor.data_type) else { return Ok(None) };
    elements.checked_mul(bits).map(|bits| Some(bits.div_ceil(8))).ok_or("declares more bytes than can be counted")
}

/// Whether the data of `tensor` is in another file.
pub(super) fn is_external(tensor: &TensorProto) -> bool {
    tensor.data_location == EXTERNAL
}

/// The bits of one element of a `TensorProto.DataType`.
fn bits(data_type: i32) -> Option<u64> {
    Some(match data_type {
        15 => 128,
        7 | 11 | 13 | 14 => 64,
        1 | 6 | 12 => 32,
        4 | 5 | 10 | 16 => 16,
        2 | 3 | 9 | 17..=20 | 24 => 8,
        21..=23 => 4,
        25 | 26 => 2,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tensor(data_type: i32, dims: &[i64]) -> TensorProto {
        TensorProto { data_type, dims: dims.to_vec(), ..TensorProto::default() }
    }

    #[test]
    fn sizes_follow_dimensions_and_data_type() {
        assert_eq!(bytes(&tensor(1, &[2, 3])), Ok(Some(24)));
        assert_eq!(bytes(&tensor(1, &[])), Ok(Some(4)));
        assert_eq!(bytes(&tensor(22, &[3])), Ok(Some(2)));
        assert_eq!(bytes(&tensor(8, &[3])), Ok(None));
        assert_eq!(bytes(&tensor(1, &[i64::MAX, i64::MAX, 0])), Ok(Some(0)));
    }

    #[test]
    fn impossible_dimensions_are_errors() {
        assert!(bytes(&tensor(1, &[-1])).unwrap_err().contains("negative"));
        assert!(bytes(&tensor(1, &[i64::MAX, i64::MAX])).unwrap_err().contains("elements"));
        assert!(bytes(&tensor(1, &[1 << 61])).unwrap_err().contains("bytes"));
    }
}
