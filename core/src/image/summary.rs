//! A plan in words.

use std::fmt::Write;

use super::{Answer, Boxes, Input, Layout, Plan};
use crate::settings::{BoxForm, BoxUnit, Color, Resize};
use crate::{DataType, Signature};

impl Plan {
    /// How images become the only input and what answers are made of, each in a line for people: of a model with this
    /// signature.
    #[must_use]
    pub fn summary(&self, signature: &Signature) -> [String; 2] {
        [self.input.summary(), self.answers(signature)]
    }

    fn answers(&self, signature: &Signature) -> String {
        let name = |at: &usize| signature.outputs.get(*at).map(|spec| &*spec.name).unwrap_or_default();
        let mut text = match &self.answer {
            Answer::Classification { scores, softmax } => {
                let made = if *softmax { ", made probabilities by a softmax" } else { "" };
                format!("classes, by their scores in `{}`{made}", name(scores))
            }
            Answer::Detection { boxes, scores, classes, form } => format!(
                "boxes, by their scores in `{}`, from `{}` ({}) with classes in `{}`",
                name(scores),
                name(boxes),
                form.summary(),
                name(classes)
            ),
            Answer::Yolo { candidates, max_overlap, form } => format!(
                "boxes, from the candidates in `{}` ({}), of which those of one class overlap by {max_overlap} at most",
                name(candidates),
                form.summary()
            ),
            Answer::YoloV2 { grid, anchors, max_overlap } => format!(
                "boxes, from the grid of {} anchors in `{}`, of which those of one class overlap by {max_overlap} at most",
                anchors.len(),
                name(grid)
            ),
        };
        let labels = match &self.labels {
            Some(labels) => format!("{} labels", labels.len()),
            None => "no labels".into(),
        };
        let _ = write!(text, "; {labels}; at most {}, with scores from {}", self.top, self.threshold);
        text
    }
}

impl Input {
    fn summary(&self) -> String {
        let colors = match (self.channels, self.color) {
            (1, _) => "grey",
            (_, Color::Rgb) => "RGB",
            (_, Color::Bgr) => "BGR",
        };
        let resize = match self.resize {
            Resize::Stretch => "stretched",
            Resize::Letterbox => "letterboxed",
        };
        let layout = match self.layout {
            _ if self.channels == 1 => "row by row",
            Layout::Planes => "channel by channel",
            Layout::Pixels => "pixel by pixel",
        };
        let Self { data_type, shape, width, height, .. } = self;
        let mut text = format!("{resize} to {width} times {height}, {colors}, {layout}, as {data_type} {shape}");
        if *data_type != DataType::Uint8 {
            let _ = write!(text, ": value * {}", each(self.scale));
            if self.offset != [0.0; 3] {
                let _ = write!(text, " + {}", each(self.offset));
            }
        }
        text
    }
}

impl Boxes {
    fn summary(self) -> String {
        let form = match self.form {
            BoxForm::Xyxy => "xyxy",
            BoxForm::Yxyx => "yxyx",
            BoxForm::Xywh => "xywh",
            BoxForm::Cxcywh => "cxcywh",
        };
        let unit = match self.unit {
            BoxUnit::Fraction => "fraction",
            BoxUnit::Pixel => "pixel",
        };
        format!("{form}, {unit}")
    }
}

/// One number where all channels have the same.
fn each(numbers: [f32; 3]) -> String {
    // Without the sign of zero.
    let [first, second, third] = numbers.map(|number| number + 0.0);
    if first == second && second == third { first.to_string() } else { format!("[{first}, {second}, {third}]") }
}
