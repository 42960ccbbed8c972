//! What the outputs of a model that takes images mean.

use super::listed;
use crate::settings::{AnswerKind, BoxForm, BoxUnit, ImageSettings};
use crate::{DataType, Dim, Signature, TensorSpec};

/// What the outputs mean; they are told by their positions in the signature.
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    /// A score for each class, `[1,classes]` or `[classes]`.
    Classification {
        /// The output.
        scores: usize,
        /// Whether a softmax makes them probabilities.
        softmax: bool,
    },
    /// Boxes `[1,boxes,4]`, scores `[1,boxes]` and classes `[1,boxes]`, the first dimension left out or not.
    Detection {
        /// The output with the boxes.
        boxes: usize,
        /// The one with their scores.
        scores: usize,
        /// The one with their classes.
        classes: usize,
        /// What the boxes are told in.
        form: Boxes,
    },
    /// Candidates `[1,4 + classes,candidates]`.
    Yolo {
        /// The output.
        candidates: usize,
        /// How much of two boxes of one class may be common to both.
        max_overlap: f32,
        /// What the boxes are told in.
        form: Boxes,
    },
    /// A grid `[1,anchors * (5 + classes),rows,columns]`: for each anchor the centre of the box within its place, its width and
    /// height, whether there is anything, and the classes, all as logits (Redmon and Farhadi, YOLO9000, section 2).
    YoloV2 {
        /// The output.
        grid: usize,
        /// Width and height of each, in columns and rows.
        anchors: Vec<[f32; 2]>,
        /// How much of two boxes of one class may be common to both.
        max_overlap: f32,
    },
}

/// What boxes are told in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Boxes {
    /// What the four numbers are.
    pub form: BoxForm,
    /// Of what.
    pub unit: BoxUnit,
}

/// The names that exports give the outputs of a detection: boxes, scores, classes; TensorFlow's, Custom Vision's, those of
/// MLPerf's SSD and torchvision's.
const BOXES: [&str; 4] = ["detection_boxes", "detected_boxes", "bboxes", "boxes"];
const SCORES: [&str; 3] = ["detection_scores", "detected_scores", "scores"];
const CLASSES: [&str; 4] = ["detection_classes", "detected_classes", "classes", "labels"];

/// The anchors of Custom Vision's older compact models, all of which have the same. Source: the sample that comes with each export
/// (`object_detection.py`).
const ANCHORS: [[f32; 2]; 5] = [[0.573, 0.677], [1.87, 2.06], [3.34, 5.47], [7.88, 3.53], [9.77, 9.17]];

/// What a candidate of a grid has beside its classes.
const BESIDE_CLASSES: usize = 5;

impl Answer {
    pub(super) fn new(settings: &ImageSettings, signature: &Signature) -> Result<Self, String> {
        let kind = settings.kind.unwrap_or_else(|| guess(settings, signature));
        let wrong = unwanted(settings, kind);
        if !wrong.is_empty() {
            return Err(format!("{}: not for kind = \"{}\"", wrong.join(", "), name(kind)));
        }
        let find = |key: &str, given: Option<&String>, names: &[&str]| match given {
            Some(name) => {
                let none =
                    || format!("{key}: the model has no output `{name}`, it gives {}", listed(&signature.outputs));
                signature.output(name).ok_or_else(none)
            }
            None => {
                let found = names.iter().find_map(|name| signature.output(name));
                found.ok_or_else(|| format!("{key}: say which of {} it is", listed(&signature.outputs)))
            }
        };
        let of_type = |key: &str, at: usize, allowed: &[DataType]| match signature.outputs.get(at) {
            Some(spec) if !allowed.contains(&spec.data_type) => {
                let expected = allowed.iter().map(ToString::to_string).collect::<Vec<_>>().join(" or ");
                Err(format!("{key}: output `{}`: expected {expected}, it is {spec}", spec.name))
            }
            _ => Ok(at),
        };
        let floats = &[DataType::Fp32, DataType::Fp16];
        match kind {
            AnswerKind::Classification => {
                let only = only(signature, could_be_scores);
                let scores = find("output", settings.output.as_ref(), only.as_slice())?;
                of_type("output", scores, floats)?;
                Ok(Self::Classification { scores, softmax: settings.softmax })
            }
            AnswerKind::Yolo => {
                let only = only(signature, |spec| rank(spec) == Some(3));
                let candidates = find("output", settings.output.as_ref(), only.as_slice())?;
                of_type("output", candidates, floats)?;
                let spec = signature.outputs.get(candidates);
                let could_be = |dims: &[Dim]| match dims {
                    [Dim::Fixed(2..), ..] | [_, Dim::Fixed(..5), _] => false,
                    dims => dims.len() == 3,
                };
                if let Some(spec) = spec.filter(|spec| !spec.dims.as_deref().is_none_or(could_be)) {
                    return Err(format!("output: expected [1,4 + classes,candidates], it is {spec}"));
                }
                let max_overlap = max_overlap(settings, 0.7)?;
                let form = boxes(settings, BoxForm::Cxcywh, BoxUnit::Pixel);
                Ok(Self::Yolo { candidates, max_overlap, form })
            }
            AnswerKind::YoloV2 => {
                let only = only(signature, |spec| rank(spec) == Some(4));
                let grid = find("output", settings.output.as_ref(), only.as_slice())?;
                of_type("output", grid, floats)?;
                let anchors = settings.anchors.clone().unwrap_or_else(|| ANCHORS.into());
                if anchors.is_empty() || anchors.iter().flatten().any(|side| !(side.is_finite() && *side > 0.0)) {
                    return Err("anchors: expected pairs of numbers above 0".into());
                }
                if let Some(spec) = signature.outputs.get(grid).filter(|spec| !could_be_grid(spec, anchors.len())) {
                    let count = anchors.len();
                    return Err(format!("output: expected [1,{count} * (5 + classes),rows,columns], it is {spec}"));
                }
                Ok(Self::YoloV2 { grid, anchors, max_overlap: max_overlap(settings, 0.45)? })
            }
            AnswerKind::Detection => {
                let boxes_at = of_type("boxes", find("boxes", settings.boxes.as_ref(), &BOXES)?, floats)?;
                let scores = of_type("scores", find("scores", settings.scores.as_ref(), &SCORES)?, floats)?;
                let classes = find("classes", settings.classes.as_ref(), &CLASSES)?;
                of_type("classes", classes, &[DataType::Int64, DataType::Int32, DataType::Fp32])?;
                let spec = signature.outputs.get(boxes_at);
                if let Some(spec) = spec
                    && let Some(Dim::Fixed(size)) = spec.dims.as_ref().and_then(|dims| dims.last())
                    && *size != 4
                {
                    return Err(format!(
                        "boxes: output `{}`: expected four numbers for each box, it is {spec}",
                        spec.name
                    ));
                }
                let (form, unit) = match spec.map(|spec| &*spec.name) {
                    Some("detection_boxes") => (BoxForm::Yxyx, BoxUnit::Fraction),
                    Some("boxes") => (BoxForm::Xyxy, BoxUnit::Pixel),
                    _ => (BoxForm::Xyxy, BoxUnit::Fraction),
                };
                Ok(Self::Detection { boxes: boxes_at, scores, classes, form: boxes(settings, form, unit) })
            }
        }
    }

    pub(super) const fn kind(&self) -> AnswerKind {
        match self {
            Self::Classification { .. } => AnswerKind::Classification,
            Self::Detection { .. } => AnswerKind::Detection,
            Self::Yolo { .. } => AnswerKind::Yolo,
            Self::YoloV2 { .. } => AnswerKind::YoloV2,
        }
    }

    /// The output whose labels are those of the classes.
    pub(super) const fn classes(&self) -> usize {
        match self {
            Self::Classification { scores: at, .. }
            | Self::Detection { classes: at, .. }
            | Self::Yolo { candidates: at, .. }
            | Self::YoloV2 { grid: at, .. } => *at,
        }
    }

    /// How many classes there are, where the signature says so.
    pub(super) fn class_count(&self, signature: &Signature) -> Option<usize> {
        let fixed = |at: usize, axis: fn(&[Dim]) -> Option<&Dim>| match axis(signature.outputs.get(at)?.dims.as_ref()?)?
        {
            Dim::Fixed(size) => Some(*size),
            _ => None,
        };
        match self {
            Self::Classification { scores, .. } => fixed(*scores, <[Dim]>::last),
            Self::Yolo { candidates, .. } => fixed(*candidates, |dims| dims.get(1))?.checked_sub(4),
            Self::YoloV2 { grid, anchors, .. } => {
                (fixed(*grid, |dims| dims.get(1))? / anchors.len()).checked_sub(BESIDE_CLASSES)
            }
            Self::Detection { .. } => None,
        }
    }

    /// The outputs that an answer is made of, each once.
    #[must_use]
    pub fn outputs(&self) -> Vec<usize> {
        match self {
            Self::Classification { scores: at, .. }
            | Self::Yolo { candidates: at, .. }
            | Self::YoloV2 { grid: at, .. } => vec![*at],
            Self::Detection { boxes, scores, classes, .. } => vec![*boxes, *scores, *classes],
        }
    }
}

/// The kind that the model's outputs look like.
fn guess(settings: &ImageSettings, signature: &Signature) -> AnswerKind {
    let named = |given: &Option<String>, names: &[&str]| {
        given.is_some() || names.iter().any(|name| signature.output(name).is_some())
    };
    if named(&settings.boxes, &BOXES) && named(&settings.scores, &SCORES) {
        AnswerKind::Detection
    } else if let [only] = signature.outputs.as_slice()
        && rank(only) == Some(3)
    {
        AnswerKind::Yolo
    } else if let [only] = signature.outputs.as_slice()
        && let Some([_, _, rows, columns]) = only.dims.as_deref()
        // Some classifications have their scores as a picture of one pixel.
        && [rows, columns] != [&Dim::Fixed(1); 2]
    {
        AnswerKind::YoloV2
    } else {
        AnswerKind::Classification
    }
}

/// The name in `model.toml`.
const fn name(kind: AnswerKind) -> &'static str {
    match kind {
        AnswerKind::Classification => "classification",
        AnswerKind::Detection => "detection",
        AnswerKind::Yolo => "yolo",
        AnswerKind::YoloV2 => "yolov2",
    }
}

/// The keys that are given and mean nothing for this kind.
fn unwanted(settings: &ImageSettings, kind: AnswerKind) -> Vec<&'static str> {
    use AnswerKind::{Classification, Detection, Yolo, YoloV2};
    let keys: [(&str, bool, &[AnswerKind]); 9] = [
        ("output", settings.output.is_some(), &[Classification, Yolo, YoloV2]),
        ("softmax", settings.softmax, &[Classification]),
        ("boxes", settings.boxes.is_some(), &[Detection]),
        ("scores", settings.scores.is_some(), &[Detection]),
        ("classes", settings.classes.is_some(), &[Detection]),
        ("box_form", settings.box_form.is_some(), &[Detection, Yolo]),
        ("box_unit", settings.box_unit.is_some(), &[Detection, Yolo]),
        ("anchors", settings.anchors.is_some(), &[YoloV2]),
        ("max_overlap", settings.max_overlap.is_some(), &[Yolo, YoloV2]),
    ];
    keys.iter().filter(|(_, given, kinds)| *given && !kinds.contains(&kind)).map(|(key, ..)| *key).collect()
}

fn rank(spec: &TensorSpec) -> Option<usize> {
    spec.dims.as_ref().map(Vec::len)
}

fn could_be_scores(spec: &TensorSpec) -> bool {
    matches!(spec.data_type, DataType::Fp32 | DataType::Fp16) && matches!(rank(spec), None | Some(1 | 2))
}

fn could_be_grid(spec: &TensorSpec, anchors: usize) -> bool {
    match spec.dims.as_deref() {
        None => true,
        Some([Dim::Fixed(1) | Dim::Free | Dim::Symbol(_), channels, _, _]) => match channels {
            Dim::Fixed(channels) => channels % anchors == 0 && channels / anchors > BESIDE_CLASSES,
            _ => true,
        },
        Some(_) => false,
    }
}

/// The name of the only output that is as wanted.
fn only(signature: &Signature, wanted: impl Fn(&TensorSpec) -> bool) -> Vec<&str> {
    let found: Vec<_> = signature.outputs.iter().filter(|spec| wanted(spec)).map(|spec| &*spec.name).collect();
    if found.len() == 1 { found } else { Vec::new() }
}

fn max_overlap(settings: &ImageSettings, default: f32) -> Result<f32, String> {
    let found = settings.max_overlap.unwrap_or(default);
    let range = 0.0..=1.0;
    if range.contains(&found) {
        Ok(found)
    } else {
        Err(format!("max_overlap: expected a number from 0 to 1, found {found}"))
    }
}

fn boxes(settings: &ImageSettings, form: BoxForm, unit: BoxUnit) -> Boxes {
    Boxes { form: settings.box_form.unwrap_or(form), unit: settings.box_unit.unwrap_or(unit) }
}
