use hedef_core::{Dim, Shape, TensorSpec};

/// The shape that `dims` mean for an input, where that takes no guess: a list of N values is `[N,1]` for an input that
/// wants one value for each row, and an empty list has no rows of the declared size. All else stays as it is.
pub(crate) fn fit(spec: &TensorSpec, dims: Vec<usize>) -> Shape {
    let declared = spec.dims.as_deref().unwrap_or_default();
    match (dims.as_slice(), declared) {
        ([0], [_, row @ ..]) if !row.is_empty() => fixed(row).map_or(Shape::new(dims), |row| {
            let dims: Vec<usize> = std::iter::once(0).chain(row).collect();
            Shape::new(dims)
        }),
        ([rows], [_, column]) if one_value(column) => Shape::from([*rows, 1]),
        _ => Shape::new(dims),
    }
}

/// Whether a row of this input can be told as one bare value.
pub(crate) fn bare_row(spec: &TensorSpec) -> bool {
    match spec.dims.as_deref() {
        Some([_]) | None => true,
        Some([_, column]) => *column == Dim::Fixed(1),
        Some(_) => false,
    }
}

fn one_value(column: &Dim) -> bool {
    column.is_free() || *column == Dim::Fixed(1)
}

fn fixed(dims: &[Dim]) -> Option<Vec<usize>> {
    dims.iter().map(|dim| if let Dim::Fixed(size) = dim { Some(*size) } else { None }).collect()
}

#[cfg(test)]
mod tests {
    use hedef_core::DataType;

    use super::*;

    fn fitted(declared: Vec<Dim>, dims: &[usize]) -> Shape {
        fit(&TensorSpec::new("x", DataType::Fp32, Some(declared)), dims.to_vec())
    }

    #[test]
    fn only_one_value_for_each_row_gets_another_dimension() {
        let cases = [
            (vec![Dim::Free, Dim::Fixed(1)], &[3][..], &[3, 1][..]),
            (vec![Dim::Free, Dim::Free], &[3], &[3, 1]),
            (vec![Dim::Free, Dim::Fixed(4)], &[4], &[4]),
            (vec![Dim::Free], &[3], &[3]),
            (vec![Dim::Free, Dim::Fixed(3), Dim::Fixed(2)], &[3, 2], &[3, 2]),
            (vec![Dim::Free, Dim::Fixed(1)], &[], &[]),
        ];
        for (declared, dims, expected) in cases {
            assert_eq!(fitted(declared, dims).dims(), expected);
        }
    }

    #[test]
    fn no_rows_have_the_declared_size() {
        assert_eq!(fitted(vec![Dim::Free, Dim::Fixed(4)], &[0]).dims(), [0, 4]);
        assert_eq!(fitted(vec![Dim::Free, Dim::Fixed(3), Dim::Free], &[0]).dims(), [0]);
        assert_eq!(fitted(vec![Dim::Free, Dim::Free], &[0]).dims(), [0]);
    }
}
