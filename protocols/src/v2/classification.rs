use std::cmp::Ordering;

use hedef_core::{Data, Shape, Signature, Tensor};

use crate::Error;

/// Turns an output into its `count` best classes: BYTES of shape `[classes]`, or `[rows, classes]` for a tensor
/// with rows, whose elements are `value:index` or `value:index:label`, best first.
///
/// Source: Triton's classification extension. Fails for BYTES.
pub(super) fn classify(name: &str, tensor: &Tensor, count: usize, signature: &Signature) -> Result<Tensor, Error> {
    let (rows, width) = match tensor.shape().dims() {
        [] => (None, 1),
        [width] => (None, *width),
        [rows, ..] => (Some(*rows), tensor.data().len().checked_div(*rows).unwrap_or(0)),
    };
    let labels = signature.outputs.iter().find(|spec| &*spec.name == name).and_then(|spec| spec.labels.as_deref());
    let labels = labels.filter(|labels| labels.len() == width).unwrap_or_default();
    let best = count.min(width);
    let mut classes = Vec::with_capacity(rows.unwrap_or(1).saturating_mul(best));
    for row in 0..rows.unwrap_or(1) {
        let texts = best_of(tensor.data(), row * width..(row + 1) * width, best).ok_or_else(|| not_numbers(name))?;
        classes.extend(texts.into_iter().map(|(index, value)| match labels.get(index) {
            Some(label) => format!("{value}:{index}:{label}").into_bytes(),
            None => format!("{value}:{index}").into_bytes(),
        }));
    }
    let shape = rows.map_or_else(|| Shape::from([best]), |rows| Shape::from([rows, best]));
    Tensor::from_elements(shape, classes).map_err(|_| not_numbers(name))
}

fn not_numbers(name: &str) -> Error {
    Error::unexpected(format!("output `{name}`: `classification`"), "numbers to classify", "BYTES")
}

/// The positions in `range` of its `best` greatest elements, with their texts; `None` for BYTES.
fn best_of(data: &Data, range: std::ops::Range<usize>, best: usize) -> Option<Vec<(usize, String)>> {
    macro_rules! best {
        ($elements:ident, $order:expr, $text:expr) => {{
            let row = $elements.get(range)?;
            let order = |a, b| row.get(a).zip(row.get(b)).map_or(Ordering::Equal, |(a, b)| $order(a, b));
            let text = |index| row.get(index).map($text).unwrap_or_default();
            Some(first(best, row.len(), &order, &text))
        }};
    }
    macro_rules! float {
        ($elements:ident, $to:expr) => {
            best!($elements, |a, b| descending($to(a), $to(b)), |value| format!("{:.6}", $to(value)))
        };
    }
    macro_rules! integer {
        ($elements:ident) => {
            best!($elements, |a, b| Ord::cmp(b, a), ToString::to_string)
        };
    }
    match data {
        Data::Fp16(elements) => float!(elements, |value: &half::f16| value.to_f64()),
        Data::Bf16(elements) => float!(elements, |value: &half::bf16| value.to_f64()),
        Data::Fp32(elements) => float!(elements, |value: &f32| f64::from(*value)),
        Data::Fp64(elements) => float!(elements, |value: &f64| *value),
        Data::Bool(elements) => {
            best!(elements, |a: &bool, b: &bool| b.cmp(a), |value: &bool| u8::from(*value).to_string())
        }
        Data::Uint8(elements) => integer!(elements),
        Data::Uint16(elements) => integer!(elements),
        Data::Uint32(elements) => integer!(elements),
        Data::Uint64(elements) => integer!(elements),
        Data::Int8(elements) => integer!(elements),
        Data::Int16(elements) => integer!(elements),
        Data::Int32(elements) => integer!(elements),
        Data::Int64(elements) => integer!(elements),
        Data::Bytes(_) => None,
    }
}

/// The first positions of `count` in that order, with their texts. It is one function for all types: a sort of each by itself
/// would be a hundredth of a small program.
fn first(
    best: usize,
    count: usize,
    order: &dyn Fn(usize, usize) -> Ordering,
    text: &dyn Fn(usize) -> String,
) -> Vec<(usize, String)> {
    let mut positions: Vec<usize> = (0..count).collect();
    // The earlier one of equals comes first.
    positions.sort_unstable_by(|a, b| order(*a, *b).then(a.cmp(b)));
    positions.into_iter().take(best).map(|index| (index, text(index))).collect()
}

/// Greatest first, NaN last.
fn descending(a: f64, b: f64) -> Ordering {
    b.partial_cmp(&a).unwrap_or_else(|| a.is_nan().cmp(&b.is_nan()))
}
