//! Which of a model's sessions runs which shapes.
//!
//! On CUDA a session keeps the plan of each convolution for the shape it ran last, and makes a new one whenever the
//! shape changes, back to an earlier one too: on an H200 a run of ResNet-50 then took 150 ms instead of 3 to 30, one of
//! MobileNetV2 up to 3 s. So such a model has several sessions, and each keeps to a shape as long as it can.

use std::sync::{Mutex, PoisonError};

use crate::Shape;

/// The shapes that each session ran last.
#[derive(Debug)]
pub(super) struct Shapes {
    last: Mutex<Vec<Last>>,
}

/// What one session ran last.
#[derive(Clone, Debug, Default)]
struct Last {
    /// The sizes of all inputs, one after another.
    sizes: Vec<usize>,
    /// Later runs have larger numbers.
    run: u64,
}

impl Shapes {
    /// Those of so many sessions that have run nothing yet.
    pub(super) fn new(sessions: usize) -> Self {
        Self { last: Mutex::new(vec![Last::default(); sessions]) }
    }

    /// The session for inputs of these shapes: the one that ran such shapes last, else the one that has not run for the
    /// longest time.
    pub(super) fn session_for<'s>(&self, inputs: impl Iterator<Item = &'s Shape> + Clone) -> usize {
        self.session(inputs.flat_map(|shape| shape.dims().iter().copied()))
    }

    fn session(&self, sizes: impl Iterator<Item = usize> + Clone) -> usize {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let run = last.iter().map(|last| last.run).max().unwrap_or(0) + 1;
        let same = last.iter().position(|last| last.sizes.iter().copied().eq(sizes.clone()));
        let oldest = || last.iter().enumerate().min_by_key(|(_, last)| last.run).map(|(at, _)| at);
        let at = same.or_else(oldest).unwrap_or(0);
        if let Some(last) = last.get_mut(at) {
            last.run = run;
            if same.is_none() {
                last.sizes = sizes.collect();
            }
        }
        at
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shape_stays_with_its_session_until_others_need_it_more() {
        let shapes = Shapes::new(3);
        let runs =
            |sizes: &[usize]| sizes.iter().map(|size| shapes.session([*size, 4].into_iter())).collect::<Vec<_>>();
        assert_eq!(runs(&[1, 8, 1, 64, 8, 64, 1]), [0, 1, 0, 2, 1, 2, 0]);
        // Nobody has asked for 8 rows for the longest time.
        assert_eq!(runs(&[3, 64, 1, 3, 8]), [1, 2, 0, 1, 2]);
    }
}
