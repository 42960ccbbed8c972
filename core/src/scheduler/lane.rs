//! Which requests may share a run.

use std::sync::Arc;

use crate::Request;

/// Requests of one lane have rows of the same shapes and so may share a run.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Lane(Arc<[usize]>);

impl Lane {
    /// The only lane of a model whose requests never share a run.
    pub(crate) fn only() -> Self {
        Self([].into())
    }

    /// The lane of a request; `measure` says as how long each dimension of a row counts, by its axis.
    pub(crate) fn of(request: &Request, measure: impl Fn(usize, usize) -> usize) -> Self {
        // A request without rows shares no run with one that has some.
        let mut all = vec![usize::from(request.rows() == 0)];
        for tensor in request.inputs() {
            all.push(tensor.shape().rank());
            all.extend(tensor.shape().row().iter().enumerate().map(|(at, size)| measure(at + 1, *size)));
        }
        Self(all.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{DataType, Signature, Tensor, TensorSpec};

    fn lane(shapes: [&[usize]; 2]) -> Lane {
        let specs = ["a", "b"].map(|name| TensorSpec::new(name, DataType::Uint8, None));
        let signature = Signature { inputs: specs.to_vec(), outputs: vec![], batch_axis: true };
        let tensor =
            |shape: &[usize]| Tensor::from_elements(shape.to_vec(), vec![0_u8; shape.iter().product()]).unwrap();
        let tensors = ["a", "b"].map(String::from).into_iter().zip(shapes.map(tensor));
        Lane::of(&Request::new(&signature, tensors).unwrap(), |_, size| size)
    }

    #[test]
    fn rows_of_the_same_shapes_share_a_lane_however_many_they_are() {
        assert_eq!(lane([&[1, 2, 3], &[1]]), lane([&[4, 2, 3], &[4]]));
        for other in [[&[1, 3, 2][..], &[1]], [&[1, 2], &[1, 3]], [&[1, 2, 3], &[1, 1]], [&[0, 2, 3], &[0]]] {
            assert_ne!(lane([&[1, 2, 3], &[1]]), lane(other), "{other:?}");
        }
    }

    #[test]
    fn the_only_lane_is_no_requests_lane() {
        assert_ne!(Lane::only(), lane([&[1], &[1]]));
    }
}
