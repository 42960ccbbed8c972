//! What a model found on an image.

use std::borrow::Cow;

use half::f16;
use hedef_core::image::{Answer, Boxes, Plan};
use hedef_core::{Response, Signature, Tensor};

use super::boxes::{Rectangle, common, place};
use super::grid;
use super::resample::Frame;
use crate::Error;

/// A class, and where it is on the image if the model says so.
#[derive(Clone, Debug, PartialEq)]
pub struct Finding {
    /// Its label, or its number where it has none.
    pub class: String,
    /// From 0 to 1.
    pub confidence: f32,
    /// Where; none for the image as a whole.
    pub place: Option<Place>,
}

/// A part of an image, in fractions of its width and height.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Place {
    /// From the left.
    pub left: f32,
    /// From the top.
    pub top: f32,
    /// The width.
    pub width: f32,
    /// The height.
    pub height: f32,
}

/// A class by its number, in an image that is the model's input.
#[derive(Clone, Copy, Debug)]
pub(super) struct Candidate {
    pub(super) class: i64,
    pub(super) confidence: f32,
    pub(super) place: Option<Rectangle>,
}

/// What is in the answer to an image that stands in `frame`, surest first; no more, and none less sure, than the plan wants.
///
/// Fails where an output is not what the plan takes it for.
pub fn findings(response: &Response, signature: &Signature, plan: &Plan, frame: Frame) -> Result<Vec<Finding>, Error> {
    let of = |at: usize| {
        let name = signature.outputs.get(at).map(|spec| &*spec.name).unwrap_or_default();
        let tensor = response.output(name).ok_or_else(|| unlike(name, "one in the answer", "none"))?;
        Ok::<_, Error>(Output { name, tensor })
    };
    let mut candidates = match &plan.answer {
        Answer::Classification { scores, softmax } => classes(&of(*scores)?, *softmax)?,
        Answer::Detection { boxes, scores, classes, form } => {
            detected(&of(*boxes)?, &of(*scores)?, &of(*classes)?, *form, plan)?
        }
        Answer::Yolo { candidates, form, .. } => proposed(&of(*candidates)?, *form, plan)?,
        Answer::YoloV2 { grid, anchors, .. } => grid::candidates(&of(*grid)?, anchors, plan)?,
    };
    candidates.retain(|candidate| candidate.confidence >= plan.threshold);
    candidates.sort_unstable_by(|a, b| b.confidence.total_cmp(&a.confidence).then(a.class.cmp(&b.class)));
    if let Answer::Yolo { max_overlap, .. } | Answer::YoloV2 { max_overlap, .. } = plan.answer {
        candidates = apart(&candidates, max_overlap, plan.top);
    }
    let mut findings = Vec::new();
    for Candidate { class, confidence, place: found } in candidates {
        let place = found.map(|found| place(found, frame));
        // What fills a list up has no size.
        if findings.len() < plan.top && place.is_none_or(|place| place.width > 0.0 && place.height > 0.0) {
            findings.push(Finding { class: plan.class(class), confidence, place });
        }
    }
    Ok(findings)
}

/// An output of an answer.
pub(super) struct Output<'r> {
    pub(super) name: &'r str,
    pub(super) tensor: &'r Tensor,
}

impl<'r> Output<'r> {
    /// Its elements, FP32 or FP16.
    pub(super) fn floats(&self) -> Result<Cow<'r, [f32]>, Error> {
        if let Some(halves) = self.tensor.elements::<f16>() {
            return Ok(halves.iter().map(|half| half.to_f32()).collect());
        }
        let floats = self.tensor.elements().map(Cow::Borrowed);
        floats.ok_or_else(|| unlike(self.name, "FP32 or FP16", &self.tensor.data_type().to_string()))
    }

    /// Fails for what is no probability. Some arithmetic makes it a little more than one.
    fn confidence(&self, value: f32) -> Result<f32, Error> {
        if (-0.001..=1.001).contains(&value) {
            return Ok(value.clamp(0.0, 1.0));
        }
        let reason = format!(
            "expected scores from 0 to 1, found {value}: a classification whose scores are none needs `softmax = true` under \
             [image] in model.toml"
        );
        Err(Error::Unsupported { place: format!("output `{}`", self.name), reason })
    }
}

pub(super) fn unlike(name: &str, expected: &str, found: &str) -> Error {
    Error::Unsupported { place: format!("output `{name}`"), reason: format!("expected {expected}, found {found}") }
}

fn classes(output: &Output<'_>, softmax: bool) -> Result<Vec<Candidate>, Error> {
    let mut scores = output.floats()?.into_owned();
    if softmax {
        make_probabilities(&mut scores);
    }
    let candidate = |(class, score)| Ok(Candidate { class, confidence: output.confidence(score)?, place: None });
    (0..).zip(scores).map(candidate).collect()
}

/// A softmax.
pub(super) fn make_probabilities(scores: &mut [f32]) {
    let most = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    scores.iter_mut().for_each(|score| *score = (*score - most).exp());
    let sum: f32 = scores.iter().sum();
    scores.iter_mut().for_each(|score| *score /= sum);
}

fn detected(
    boxes: &Output<'_>,
    scores: &Output<'_>,
    classes: &Output<'_>,
    form: Boxes,
    plan: &Plan,
) -> Result<Vec<Candidate>, Error> {
    let numbers = classes.tensor;
    let classes_found: Vec<i64> = if let Some(whole) = numbers.elements::<i64>() {
        whole.to_vec()
    } else if let Some(whole) = numbers.elements::<i32>() {
        whole.iter().map(|class| i64::from(*class)).collect()
    } else {
        #[expect(clippy::cast_possible_truncation, reason = "such a cast holds to the range")]
        classes.floats()?.iter().map(|class| class.round() as i64).collect()
    };
    let (places, confidences) = (boxes.floats()?, scores.floats()?);
    let (places, left) = places.as_chunks::<4>();
    if !left.is_empty() || places.len() != confidences.len() || places.len() != classes_found.len() {
        let (numbers, classes) = (4 * places.len() + left.len(), classes_found.len());
        let found = format!("{numbers} numbers, {} scores and {classes} classes", confidences.len());
        return Err(unlike(boxes.name, "four numbers, a score and a class for each box", &found));
    }
    let mut candidates = Vec::new();
    for ((numbers, score), class) in places.iter().zip(confidences.iter()).zip(classes_found) {
        let confidence = scores.confidence(*score)?;
        candidates.push(Candidate { class, confidence, place: Some(Rectangle::new(*numbers, form, &plan.input)) });
    }
    Ok(candidates)
}

fn proposed(output: &Output<'_>, form: Boxes, plan: &Plan) -> Result<Vec<Candidate>, Error> {
    let values = output.floats()?;
    let (rows, count) = match *output.tensor.shape().dims() {
        [1, rows, count] if rows > 4 => (rows, count),
        _ => return Err(unlike(output.name, "[1,4 + classes,candidates]", &output.tensor.shape().to_string())),
    };
    let row = |row: usize| values.get(row * count..(row + 1) * count).unwrap_or_default();
    // The surest class of each candidate: the scores of a class stand one behind the other.
    let mut best = vec![(0_i64, f32::NEG_INFINITY); count];
    for class in 0..rows - 4 {
        let number = i64::try_from(class).unwrap_or(i64::MAX);
        for (best, score) in best.iter_mut().zip(row(4 + class)) {
            if *score > best.1 {
                *best = (number, *score);
            }
        }
    }
    let numbers = row(0).iter().zip(row(1)).zip(row(2)).zip(row(3)).map(|(((a, b), c), d)| [*a, *b, *c, *d]);
    let mut candidates = Vec::new();
    for (numbers, (class, score)) in numbers.zip(best) {
        if score >= plan.threshold {
            let place = Some(Rectangle::new(numbers, form, &plan.input));
            candidates.push(Candidate { class, confidence: output.confidence(score)?, place });
        }
    }
    Ok(candidates)
}

/// Of candidates, surest first, those that have no more than so much in common with a surer one of their class (non-maximum
/// suppression); at most `top`, which bounds the work.
fn apart(candidates: &[Candidate], max_overlap: f32, top: usize) -> Vec<Candidate> {
    let mut kept: Vec<Candidate> = Vec::new();
    for candidate in candidates {
        let same = |other: &&Candidate| other.class == candidate.class;
        let hidden = |other: &Candidate| common(other.place, candidate.place) > max_overlap;
        if kept.len() < top && !kept.iter().filter(same).any(hidden) {
            kept.push(*candidate);
        }
    }
    kept
}
