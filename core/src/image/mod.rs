//! How an image becomes a model's input, and its outputs an answer: what `[image]` in `model.toml` says, checked against the
//! model at load. The pixels themselves are worked on elsewhere.

mod answer;
mod input;
mod summary;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;

pub use self::answer::{Answer, Boxes};
pub use self::input::{Input, Layout};
use crate::settings::{AnswerKind, ImageSettings};
use crate::{Signature, TensorSpec};

/// How a model takes images and what its answers mean.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// How an image becomes the only input.
    pub input: Input,
    /// How outputs become an answer.
    pub answer: Answer,
    /// The labels of the classes, if there are any.
    pub labels: Option<Arc<[String]>>,
    /// The number of the class that the first label is for.
    pub first_class: i64,
    /// The least score that is told.
    pub threshold: f32,
    /// How many classes or boxes are told at most.
    pub top: usize,
}

impl Plan {
    /// Makes the plan for a model of this signature with these notes of its own (`metadata_props`), of which ONNX defines some
    /// for images. `labels` are those of the file that the settings name.
    ///
    /// An error names the key of `[image]`, what it expects and what the model has.
    pub fn new(
        settings: &ImageSettings,
        signature: &Signature,
        notes: &BTreeMap<String, String>,
        labels: Option<Arc<[String]>>,
    ) -> Result<Self, String> {
        let answer = Answer::new(settings, signature)?;
        let input = Input::new(settings, signature, notes, answer.kind())?;
        let classes = signature.outputs.get(answer.classes());
        let labels = labels.or_else(|| classes?.labels.clone());
        if let Some((labels, classes)) = labels.as_ref().zip(answer.class_count(signature))
            && labels.len() != classes
        {
            return Err(format!("labels: expected one for each of {classes} classes, found {}", labels.len()));
        }
        let counts_from_one = classes.is_some_and(|spec| &*spec.name == "detection_classes");
        let first_class = settings.first_class.unwrap_or(i64::from(counts_from_one));
        let (threshold, top) = match answer.kind() {
            AnswerKind::Classification => (0.0, 5),
            AnswerKind::Detection | AnswerKind::Yolo | AnswerKind::YoloV2 => (0.25, 100),
        };
        let threshold = settings.threshold.unwrap_or(threshold);
        if !(0.0..=1.0).contains(&threshold) {
            return Err(format!("threshold: expected a number from 0 to 1, found {threshold}"));
        }
        let top = settings.top.map_or(top, |top| usize::from(top.get()));
        Ok(Self { input, answer, labels, first_class, threshold, top })
    }

    /// What a class is called: by its label, else by its number.
    #[must_use]
    pub fn class(&self, class: i64) -> String {
        let at = class.checked_sub(self.first_class).and_then(|at| usize::try_from(at).ok());
        let label = self.labels.as_ref().zip(at).and_then(|(labels, at)| labels.get(at));
        label.map_or_else(|| class.to_string(), Clone::clone)
    }
}

/// The tensors in one line, such as `x FP32 [1,3,8,8]`, for messages.
fn listed<'s>(specs: impl IntoIterator<Item = &'s TensorSpec>) -> String {
    specs.into_iter().map(|spec| format!("`{}` {spec}", spec.name)).collect::<Vec<_>>().join(", ")
}
