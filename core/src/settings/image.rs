//! `[image]` in `model.toml`: how an image becomes a model's input, and its outputs an answer.

use std::num::NonZeroU16;
use std::path::PathBuf;

use serde::Deserialize;

/// How an image becomes the model's input, and its outputs an answer. Without this, the model takes no images.
/// What is not said follows from the model: the layout and the size from its input, the outputs from their names.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ImageSettings {
    /// What the model does: `"classification"`, `"detection"`, or a detection whose candidates are not sorted out yet:
    /// `"yolo"`, in one output `[1,4 + classes,candidates]`, or `"yolov2"`, in one output
    /// `[1,anchors * (5 + classes),rows,columns]`, as Custom Vision's older compact models have it. Default: what its outputs
    /// look like.
    pub kind: Option<AnswerKind>,
    /// The width in pixels where the input leaves it free.
    pub width: Option<NonZeroU16>,
    /// The height in pixels where the input leaves it free.
    pub height: Option<NonZeroU16>,
    /// How an image of another size is made to fit: `"stretch"`, or `"letterbox"`, which keeps its proportions and fills the
    /// rest with grey (114). Default: `"letterbox"` for `"yolo"`, else `"stretch"`.
    pub resize: Option<Resize>,
    /// The order of the colours: `"rgb"` or `"bgr"`. Default: as the model's own notes say, else `"bgr"` for `"yolov2"` and
    /// `"rgb"` for others.
    pub color: Option<Color>,
    /// What the values of pixels, 0 to 255, are multiplied with. Default: 1 for UINT8, else as the model's own notes say, else
    /// 1 for `"yolov2"` and 1/255 for others.
    pub scale: Option<f32>,
    /// What is subtracted then, one number or one for each channel of the input. Default: 0.
    pub mean: Option<PerChannel>,
    /// What is divided by then, one number or one for each channel of the input. Default: 1.
    pub std: Option<PerChannel>,
    /// The output with the scores of the classes, or with the candidates. Default: the only one that can be.
    pub output: Option<String>,
    /// Whether the scores of a classification are made probabilities by a softmax.
    pub softmax: bool,
    /// The output with the boxes of a detection. Default: `detection_boxes`, `detected_boxes`, `bboxes` or `boxes`.
    pub boxes: Option<String>,
    /// The output with their scores. Default: `detection_scores`, `detected_scores` or `scores`.
    pub scores: Option<String>,
    /// The output with their classes. Default: `detection_classes`, `detected_classes`, `classes` or `labels`.
    pub classes: Option<String>,
    /// What the four numbers of a box are: `"xyxy"` (left, top, right, bottom), `"yxyx"` (top, left, bottom, right), `"xywh"`
    /// (left, top, width, height) or `"cxcywh"` (centre, width, height). Default: `"yxyx"` for `detection_boxes`, `"cxcywh"`
    /// for `"yolo"`, else `"xyxy"`.
    pub box_form: Option<BoxForm>,
    /// What they are told in: `"fraction"` of the input's width and height, or `"pixel"` of the input. Default: `"pixel"` for
    /// `boxes` and `"yolo"`, else `"fraction"`.
    pub box_unit: Option<BoxUnit>,
    /// The number of the class that the first label is for. Default: 1 for `detection_classes`, else 0.
    pub first_class: Option<i64>,
    /// The anchors of a `"yolov2"`: the width and the height of each, in columns and rows of the output. Default: those of Custom
    /// Vision, `[[0.573, 0.677], [1.87, 2.06], [3.34, 5.47], [7.88, 3.53], [9.77, 9.17]]`.
    pub anchors: Option<Vec<[f32; 2]>>,
    /// How much of the boxes of two candidates of one class may be common to both (intersection over union); of those that have
    /// more, the one with the higher score stays. Default: 0.45 for `"yolov2"`, 0.7 for `"yolo"`.
    pub max_overlap: Option<f32>,
    /// The file beside `model.toml` that holds the labels of the classes, one a line. Default: those of the output.
    pub labels: Option<PathBuf>,
    /// The least score that is told. Default: 0 for a classification, else 0.25.
    pub threshold: Option<f32>,
    /// How many classes or boxes are told at most. Default: 5 for a classification, else 100.
    pub top: Option<NonZeroU16>,
}

/// What a model that takes images does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AnswerKind {
    /// One output holds a score for each class.
    Classification,
    /// Three outputs hold boxes, their scores and their classes.
    Detection,
    /// One output holds, for each of many candidates, a box and a score for each class.
    Yolo,
    /// One output holds, for each place of a grid and each anchor, what makes a box and a score for each class.
    YoloV2,
}

/// How an image of another size is made to fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Resize {
    /// Width and height each by their own.
    Stretch,
    /// Both alike, in the middle of grey.
    Letterbox,
}

/// The order of the colours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Color {
    /// Red, green, blue.
    Rgb,
    /// Blue, green, red.
    Bgr,
}

/// What the four numbers of a box are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BoxForm {
    /// Left, top, right, bottom.
    Xyxy,
    /// Top, left, bottom, right.
    Yxyx,
    /// Left, top, width, height.
    Xywh,
    /// The centre's place from the left and from the top, width, height.
    Cxcywh,
}

/// What the numbers of a box are told in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BoxUnit {
    /// Parts of the input's width and height.
    Fraction,
    /// Pixels of the input.
    Pixel,
}

/// One number for all channels of the input, or one for each.
#[derive(Clone, Debug, PartialEq)]
pub struct PerChannel(pub Vec<f32>);

impl<'de> Deserialize<'de> for PerChannel {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = toml::Value::deserialize(deserializer)?;
        let values = value.as_array().map_or(std::slice::from_ref(&value), Vec::as_slice);
        #[expect(clippy::cast_possible_truncation, reason = "the values are computed with in this type")]
        let number = |value: &toml::Value| value.as_float().map(|number| number as f32);
        #[expect(clippy::cast_precision_loss, reason = "whole numbers here are small")]
        let whole = |value: &toml::Value| value.as_integer().map(|number| number as f32);
        let numbers = values.iter().map(|value| number(value).or_else(|| whole(value))).collect::<Option<Vec<_>>>();
        numbers
            .map(Self)
            .ok_or_else(|| serde::de::Error::custom("expected a number, or a list of one for each channel"))
    }
}
