//! The tensor that an image becomes.

use std::collections::BTreeMap;
use std::num::NonZeroU16;

use super::listed;
use crate::settings::{AnswerKind, Color, ImageSettings, PerChannel, Resize};
use crate::{DataType, Dim, Shape, Signature};

/// How an image becomes a tensor: its element for a channel of a pixel is `value * scale + offset`, where `value` goes from 0
/// to 255.
#[derive(Clone, Debug, PartialEq)]
pub struct Input {
    /// FP32, FP16 or UINT8.
    pub data_type: DataType,
    /// All dimensions; a batch of one, if there is a batch.
    pub shape: Shape,
    /// In which order they are.
    pub layout: Layout,
    /// 1 or 3.
    pub channels: usize,
    /// In pixels.
    pub width: usize,
    /// In pixels.
    pub height: usize,
    /// How an image of another size is made to fit.
    pub resize: Resize,
    /// The order of three channels.
    pub color: Color,
    /// What the value of each channel is multiplied with.
    pub scale: [f32; 3],
    /// What is added to it then.
    pub offset: [f32; 3],
}

/// The order of an image's dimensions in a tensor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// Each channel by itself: `[3,height,width]`.
    Planes,
    /// Each pixel by itself: `[height,width,3]`.
    Pixels,
}

/// Notes that ONNX defines for models that take images.
const PIXEL_FORMAT: &str = "Image.BitmapPixelFormat";
const PIXEL_RANGE: &str = "Image.NominalPixelRange";

impl Input {
    /// The bytes of the tensor.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.shape.elements().and_then(|elements| elements.checked_mul(self.data_type.size()?)).unwrap_or(usize::MAX)
    }

    pub(super) fn new(
        settings: &ImageSettings,
        signature: &Signature,
        notes: &BTreeMap<String, String>,
        kind: AnswerKind,
    ) -> Result<Self, String> {
        let [spec] = signature.inputs.as_slice() else {
            let found = listed(&signature.inputs);
            return Err(format!("expected a model with one input, which takes the image; it takes {found}"));
        };
        let takes = |expected: &str| format!("input `{}`: expected {expected}, it is {spec}", spec.name);
        if !matches!(spec.data_type, DataType::Fp32 | DataType::Fp16 | DataType::Uint8) {
            return Err(takes("FP32, FP16 or UINT8"));
        }
        let dims = spec.dims.as_deref().unwrap_or_default();
        let (dims, batch) = match dims {
            [batch, image @ ..] if dims.len() % 2 == 0 && (batch.is_free() || *batch == Dim::Fixed(1)) => {
                (image, Some(1))
            }
            image => (image, None),
        };
        let (layout, channels, [height, width]) = arrangement(dims).ok_or_else(|| {
            takes("[1,channels,height,width] or [1,height,width,channels] of 1 or 3 channels, or [1,height * width]")
        })?;
        let width = size("width", width, settings.width)?;
        let height = size("height", height, settings.height)?;
        let size: &[usize] = match (layout, dims) {
            (_, [Dim::Fixed(all)]) if width * height != *all => {
                return Err(format!(
                    "width, height: expected {all} pixels, as the model's input has, found {width} times {height}"
                ));
            }
            (_, [_]) => &[width * height],
            (Layout::Planes, _) => &[channels, height, width],
            (Layout::Pixels, _) => &[height, width, channels],
        };
        let shape = batch.into_iter().chain(size.iter().copied()).collect();
        let (usual_color, usual_scale) = match kind {
            // As the sample that comes with an export has it.
            AnswerKind::YoloV2 => (Color::Bgr, 1.0),
            _ => (Color::Rgb, 1.0 / 255.0),
        };
        let (scale, offset) = match spec.data_type {
            DataType::Uint8 => unscaled(settings)?,
            _ => scaling(settings, channels, notes, usual_scale)?,
        };
        let resize = if kind == AnswerKind::Yolo { Resize::Letterbox } else { Resize::Stretch };
        let noted = match notes.get(PIXEL_FORMAT).map(String::as_str) {
            Some("Bgr8") => Color::Bgr,
            Some("Rgb8") => Color::Rgb,
            _ => usual_color,
        };
        Ok(Self {
            data_type: spec.data_type,
            shape,
            layout,
            channels,
            width,
            height,
            resize: settings.resize.unwrap_or(resize),
            color: settings.color.unwrap_or(noted),
            scale,
            offset,
        })
    }
}

/// The order, the number of channels, and the height and width of an image of those dimensions.
fn arrangement(dims: &[Dim]) -> Option<(Layout, usize, [&Dim; 2])> {
    let channels = |dim: &Dim| match dim {
        Dim::Fixed(channels @ (1 | 3)) => Some(*channels),
        _ => None,
    };
    match dims {
        [planes, height, width] if channels(planes).is_some() => {
            channels(planes).map(|channels| (Layout::Planes, channels, [height, width]))
        }
        [height, width, pixel] => channels(pixel).map(|channels| (Layout::Pixels, channels, [height, width])),
        // Row by row.
        [_] => Some((Layout::Pixels, 1, [&Dim::Free, &Dim::Free])),
        _ => None,
    }
}

/// A side of the image in pixels: the model's, else the settings'.
fn size(side: &str, dim: &Dim, given: Option<NonZeroU16>) -> Result<usize, String> {
    let given = given.map(|size| usize::from(size.get()));
    match (dim, given) {
        (Dim::Fixed(size), None) if (1..=usize::from(u16::MAX)).contains(size) => Ok(*size),
        (Dim::Fixed(size), Some(given)) if *size == given => Ok(given),
        (Dim::Fixed(size), _) => Err(format!("{side}: expected {size}, as the model's input has it")),
        (_, Some(given)) => Ok(given),
        (_, None) => Err(format!("{side}: expected a number of pixels, since the model's input leaves it free")),
    }
}

/// What a tensor of whole numbers takes.
fn unscaled(settings: &ImageSettings) -> Result<([f32; 3], [f32; 3]), String> {
    if settings.scale.is_some() || settings.mean.is_some() || settings.std.is_some() {
        return Err("scale, mean, std: expected none of them, since the model's input is UINT8".into());
    }
    Ok(([1.0; 3], [0.0; 3]))
}

/// What each channel's value is multiplied with, and what is added to it then.
fn scaling(
    settings: &ImageSettings,
    channels: usize,
    notes: &BTreeMap<String, String>,
    usual: f32,
) -> Result<([f32; 3], [f32; 3]), String> {
    let ImageSettings { scale, mean, std, .. } = settings;
    let (scale_noted, mean_noted) = match notes.get(PIXEL_RANGE).map(String::as_str) {
        Some("NominalRange_0_255") => (1.0, 0.0),
        Some("Normalized_1_1") => (1.0 / 127.5, 1.0),
        Some("Normalized_0_1") => (1.0 / 255.0, 0.0),
        _ => (usual, 0.0),
    };
    let factor = scale.unwrap_or(scale_noted);
    // Who says how values are scaled means all of it.
    let mean_noted = if scale.is_none() && mean.is_none() { mean_noted } else { 0.0 };
    let mean = each("mean", mean.as_ref(), mean_noted, channels)?;
    let std = each("std", std.as_ref(), 1.0, channels)?;
    let mut scales = [0.0; 3];
    let mut offsets = [0.0; 3];
    for (((scale, offset), mean), std) in scales.iter_mut().zip(&mut offsets).zip(mean).zip(std) {
        (*scale, *offset) = (factor / std, -mean / std);
        if !scale.is_finite() || !offset.is_finite() || *scale == 0.0 {
            return Err(
                "scale, mean, std: expected numbers other than 0, infinity and NaN to multiply with and divide by"
                    .into(),
            );
        }
    }
    Ok((scales, offsets))
}

fn each(key: &str, given: Option<&PerChannel>, default: f32, channels: usize) -> Result<[f32; 3], String> {
    match given.map(|PerChannel(given)| given.as_slice()) {
        None => Ok([default; 3]),
        Some([all]) => Ok([*all; 3]),
        Some([a, b, c]) if channels == 3 => Ok([*a, *b, *c]),
        Some(found) => {
            Err(format!("{key}: expected a number, or one for each of {channels} channels, found {}", found.len()))
        }
    }
}
