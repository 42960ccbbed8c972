//! The grid of a YOLOv2: for each of its places, and each anchor, a candidate.

use std::array::from_fn;

use hedef_core::image::{Boxes, Plan};
use hedef_core::settings::{BoxForm, BoxUnit};

use super::boxes::Rectangle;
use super::findings::{Candidate, Output, make_probabilities, unlike};
use crate::Error;

/// The candidates of a grid `[1,anchors * (5 + classes),rows,columns]`, as often as there are classes that are sure enough.
///
/// A box's centre is `sigmoid` of two numbers from the top left of its place, its sides are `exp` of two more times the anchor's,
/// all in columns and rows; a class is as sure as `softmax` makes it, times `sigmoid` of what says whether there is anything.
///
/// Source: Redmon and Farhadi, YOLO9000, section 2; the sample that comes with exports of Custom Vision.
pub(super) fn candidates(output: &Output<'_>, anchors: &[[f32; 2]], plan: &Plan) -> Result<Vec<Candidate>, Error> {
    let values = output.floats()?;
    let (each, rows, columns) = match *output.tensor.shape().dims() {
        [1, channels, rows, columns] if channels % anchors.len() == 0 && channels / anchors.len() > 5 => {
            (channels / anchors.len(), rows, columns)
        }
        _ => {
            let expected = format!("[1,{} * (5 + classes),rows,columns]", anchors.len());
            return Err(unlike(output.name, &expected, &output.tensor.shape().to_string()));
        }
    };
    let places = rows * columns;
    let form = Boxes { form: BoxForm::Cxcywh, unit: BoxUnit::Fraction };
    let mut candidates = Vec::new();
    let mut classes = Vec::with_capacity(each);
    // What belongs to an anchor stands together, and of it each number for all places.
    for (numbers, [wide, high]) in values.chunks_exact((each * places).max(1)).zip(anchors) {
        for place in 0..places {
            let mut numbers = numbers.iter().skip(place).step_by(places).copied();
            let [x, y, width, height, anything] = from_fn(|_| numbers.next().unwrap_or_default());
            let anything = sigmoid(anything);
            // No class is surer.
            if anything < plan.threshold {
                continue;
            }
            let (row, column) = (float(place / columns), float(place % columns));
            let (rows, columns) = (float(rows), float(columns));
            let centre = [(column + sigmoid(x)) / columns, (row + sigmoid(y)) / rows];
            let sides = [width.exp() * wide / columns, height.exp() * high / rows];
            let found = Rectangle::new([centre[0], centre[1], sides[0], sides[1]], form, &plan.input);
            classes.clear();
            classes.extend(numbers);
            make_probabilities(&mut classes);
            for (class, score) in (0..).zip(&classes) {
                let confidence = score * anything;
                if confidence >= plan.threshold {
                    candidates.push(Candidate { class, confidence, place: Some(found) });
                }
            }
        }
    }
    Ok(candidates)
}

fn sigmoid(value: f32) -> f32 {
    1.0 / (1.0 + (-value).exp())
}

#[expect(clippy::cast_precision_loss, reason = "grids are small")]
const fn float(count: usize) -> f32 {
    count as f32
}
