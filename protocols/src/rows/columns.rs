use hedef_core::{Dim, InvalidRequest, Signature};

use super::example::list;
use crate::Error;

/// How named columns become the inputs of a model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Assignment {
    /// For each input of the signature, the column of its name.
    ByName(Vec<usize>),
    /// All columns side by side are the only input.
    Stacked,
}

/// Finds out which columns make which inputs.
///
/// Columns named like the inputs are those inputs. Columns of other names are stacked in the order given, if the
/// model has one input only and wants rows of so many values.
pub(crate) fn assign<'c>(
    columns: impl ExactSizeIterator<Item = &'c str> + Clone,
    signature: &Signature,
) -> Result<Assignment, Error> {
    let Some(unknown) = columns.clone().find(|name| signature.input(name).is_none()) else {
        return by_name(columns, signature).map(Assignment::ByName);
    };
    let count = columns.len();
    match stacks(signature, count) {
        Some(true) => Ok(Assignment::Stacked),
        Some(false) => Err(Error::unexpected("the columns", wanted(signature), count.to_string())),
        None => {
            let name = unknown.chars().take(128).collect();
            Err(InvalidRequest::UnknownInput { name, expected: list(&signature.inputs) }.into())
        }
    }
}

/// Whether the model's only input is rows of `count` values; `None` when it has others, or other dimensions.
pub(crate) fn stacks(signature: &Signature, count: usize) -> Option<bool> {
    let [spec] = signature.inputs.as_slice() else { return None };
    let Some([_, column]) = spec.dims.as_deref() else { return None };
    Some(column.is_free() || *column == Dim::Fixed(count))
}

/// What [`stacks`] wants to hear.
pub(crate) fn wanted(signature: &Signature) -> String {
    let dims = signature.inputs.first().and_then(|spec| spec.dims.as_deref());
    match dims {
        Some([_, Dim::Fixed(columns)]) => columns.to_string(),
        _ => "one for each value of a row".to_string(),
    }
}

fn by_name<'c>(columns: impl Iterator<Item = &'c str>, signature: &Signature) -> Result<Vec<usize>, Error> {
    let mut slots = vec![None; signature.inputs.len()];
    for (column, name) in columns.enumerate() {
        let slot = signature.input(name).and_then(|position| slots.get_mut(position));
        if slot.is_some_and(|slot| slot.replace(column).is_some()) {
            return Err(InvalidRequest::DuplicateInput { name: name.to_string() }.into());
        }
    }
    let given = slots.into_iter().zip(&signature.inputs).map(|(slot, spec)| {
        let missing = || InvalidRequest::MissingInput { name: spec.name.to_string(), expected: spec.to_string() };
        slot.ok_or_else(|| missing().into())
    });
    given.collect()
}

#[cfg(test)]
mod tests {
    use hedef_core::{DataType, TensorSpec};

    use super::*;

    fn signature(inputs: &[(&str, &[Dim])]) -> Signature {
        let spec = |(name, dims): &(&str, &[Dim])| TensorSpec::new(name, DataType::Fp32, Some(dims.to_vec()));
        Signature { inputs: inputs.iter().map(spec).collect(), outputs: vec![], batch_axis: true }
    }

    fn assigned(columns: &[&str], signature: &Signature) -> Result<Assignment, String> {
        assign(columns.iter().copied(), signature).map_err(|error| error.to_string())
    }

    #[test]
    fn columns_named_like_the_inputs_are_the_inputs_in_any_order() {
        let two = signature(&[("a", &[Dim::Free, Dim::Fixed(1)]), ("b", &[Dim::Free, Dim::Fixed(1)])]);
        assert_eq!(assigned(&["b", "a"], &two), Ok(Assignment::ByName(vec![1, 0])));
        assert_eq!(assigned(&["b"], &two), Err("input `a` is missing: expected FP32 [-1,1]".into()));
        assert_eq!(assigned(&["a", "b", "a"], &two), Err("input `a` is given twice".into()));
        let unknown = "unknown input `c`: the model takes `a` FP32 [-1,1], `b` FP32 [-1,1]";
        assert_eq!(assigned(&["a", "c"], &two), Err(unknown.into()));
    }

    #[test]
    fn features_are_stacked_into_the_only_input_that_wants_so_many() {
        let fixed = signature(&[("x", &[Dim::Free, Dim::Fixed(2)])]);
        assert_eq!(assigned(&["petal", "sepal"], &fixed), Ok(Assignment::Stacked));
        assert_eq!(assigned(&["petal"], &fixed), Err("the columns: expected 2, found 1".into()));
        assert_eq!(assigned(&["x"], &fixed), Ok(Assignment::ByName(vec![0])));
        let free = signature(&[("x", &[Dim::Free, Dim::Free])]);
        assert_eq!(assigned(&["a", "b", "c"], &free), Ok(Assignment::Stacked));
        let image = signature(&[("x", &[Dim::Free, Dim::Fixed(3), Dim::Fixed(3)])]);
        assert!(assigned(&["a"], &image).is_err());
    }
}
