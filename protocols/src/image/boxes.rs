//! Boxes as models tell them, as rectangles on the input and as places on the image.

use hedef_core::image::{Boxes, Input};
use hedef_core::settings::{BoxForm, BoxUnit};

use super::findings::Place;
use super::resample::Frame;

/// A rectangle on the input, in pixels from its top left.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Rectangle {
    left: f32,
    top: f32,
    right: f32,
    bottom: f32,
}

impl Rectangle {
    pub(super) fn new([a, b, c, d]: [f32; 4], boxes: Boxes, input: &Input) -> Self {
        let (left, top, right, bottom) = match boxes.form {
            BoxForm::Xyxy => (a, b, c, d),
            BoxForm::Yxyx => (b, a, d, c),
            BoxForm::Xywh => (a, b, a + c, b + d),
            BoxForm::Cxcywh => (a - c / 2.0, b - d / 2.0, a + c / 2.0, b + d / 2.0),
        };
        let (x, y) = match boxes.unit {
            BoxUnit::Pixel => (1.0, 1.0),
            BoxUnit::Fraction => (float(input.width), float(input.height)),
        };
        Self { left: left * x, top: top * y, right: right * x, bottom: bottom * y }
    }

    fn area(self) -> f32 {
        (self.right - self.left).max(0.0) * (self.bottom - self.top).max(0.0)
    }
}

/// How much of two rectangles is common to both: intersection over union.
pub(super) fn common(one: Option<Rectangle>, other: Option<Rectangle>) -> f32 {
    let Some((one, other)) = one.zip(other) else { return 0.0 };
    let both = Rectangle {
        left: one.left.max(other.left),
        top: one.top.max(other.top),
        right: one.right.min(other.right),
        bottom: one.bottom.min(other.bottom),
    };
    let union = one.area() + other.area() - both.area();
    if union > 0.0 { both.area() / union } else { 0.0 }
}

/// Where on the image that stands in `frame` a rectangle is; what is beyond its edges is cut off.
pub(super) fn place(found: Rectangle, frame: Frame) -> Place {
    let across = |x: f32| ((x - float(frame.left)) / float(frame.width)).clamp(0.0, 1.0);
    let down = |y: f32| ((y - float(frame.top)) / float(frame.height)).clamp(0.0, 1.0);
    let (left, top) = (across(found.left), down(found.top));
    Place { left, top, width: across(found.right) - left, height: down(found.bottom) - top }
}

#[expect(clippy::cast_precision_loss, reason = "sides of inputs are small")]
const fn float(side: usize) -> f32 {
    side as f32
}
