use std::sync::Arc;

use hedef_core::settings::ImageSettings;
use hedef_core::{Dim, ModelId, ModelName, Response, TensorSpec};
use proptest::prelude::*;

use super::*;

fn spec(name: &str, data_type: DataType, dims: &[usize]) -> TensorSpec {
    let dim = |size: &usize| if *size == 0 { Dim::Free } else { Dim::Fixed(*size) };
    TensorSpec::new(name, data_type, Some(dims.iter().map(dim).collect()))
}

fn settings(text: &str) -> ImageSettings {
    toml::from_str(text).unwrap()
}

struct Model {
    signature: Signature,
    plan: Plan,
}

impl Model {
    fn new(input: TensorSpec, outputs: Vec<TensorSpec>, text: &str) -> Self {
        let signature = Signature { inputs: vec![input], outputs, batch_axis: false };
        let plan = Plan::new(&settings(text), &signature, &std::collections::BTreeMap::new(), None).unwrap();
        Self { signature, plan }
    }

    /// Of that input, with scores of three classes.
    fn classifier(data_type: DataType, dims: &[usize], text: &str) -> Self {
        Self::new(spec("x", data_type, dims), vec![spec("y", DataType::Fp32, &[1, 3])], text)
    }

    fn decode(&self, bytes: &[u8]) -> Result<(Tensor, Frame), String> {
        let decoded = decode_within(bytes, &self.plan, &self.signature, DecodeLimits::NONE);
        let (request, frame) = decoded.map_err(|error| error.to_string())?;
        Ok((request.inputs()[0].clone(), frame))
    }

    fn floats(&self, bytes: &[u8]) -> Vec<f32> {
        self.decode(bytes).unwrap().0.elements::<f32>().unwrap().to_vec()
    }

    fn findings(&self, outputs: &[(&str, Tensor)], frame: Frame) -> Result<Vec<Finding>, String> {
        let model = ModelId { name: ModelName::new("m").unwrap(), version: 1 };
        let outputs = outputs.iter().map(|(name, tensor)| (Arc::from(*name), tensor.clone())).collect();
        let response = Response { model, outputs, timings: hedef_core::Timings::default() };
        super::findings(&response, &self.signature, &self.plan, frame).map_err(|error| error.to_string())
    }
}

fn png(color: ::png::ColorType, depth: ::png::BitDepth, size: (u32, u32), data: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut encoder = ::png::Encoder::new(&mut out, size.0, size.1);
    encoder.set_color(color);
    encoder.set_depth(depth);
    if color == ::png::ColorType::Indexed {
        encoder.set_palette(vec![0, 0, 0, 10, 20, 30]);
    }
    encoder.write_header().unwrap().write_image_data(data).unwrap();
    out
}

fn rgb(size: (u32, u32), data: &[u8]) -> Vec<u8> {
    png(::png::ColorType::Rgb, ::png::BitDepth::Eight, size, data)
}

#[test]
fn colours_stand_in_the_order_and_the_layout_that_the_model_wants() {
    let image = rgb((2, 1), &[1, 2, 3, 4, 5, 6]);
    let planes = |text: &str| Model::classifier(DataType::Fp32, &[0, 3, 1, 2], text).floats(&image);
    assert_eq!(planes("scale = 1"), [1.0, 4.0, 2.0, 5.0, 3.0, 6.0]);
    assert_eq!(planes("scale = 1\ncolor = \"bgr\""), [3.0, 6.0, 2.0, 5.0, 1.0, 4.0]);
    assert_eq!(planes("scale = 1\nmean = [1, 2, 3]\nstd = [1, 2, 0.5]"), [0.0, 3.0, 0.0, 1.5, 0.0, 6.0]);
    let upright = rgb((1, 2), &[1, 2, 3, 4, 5, 6]);
    let pixels = Model::classifier(DataType::Fp32, &[1, 2, 1, 3], "scale = 1").floats(&upright);
    assert_eq!(pixels, [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
    let whole = Model::classifier(DataType::Uint8, &[2, 1, 3], "").decode(&upright).unwrap().0;
    assert_eq!((whole.shape().dims(), whole.elements::<u8>().unwrap()), (&[2, 1, 3][..], &[1, 2, 3, 4, 5, 6][..]));
    let half = Model::classifier(DataType::Fp16, &[2, 1, 3], "scale = 0.5").decode(&upright).unwrap().0;
    let half: Vec<f32> = half.elements::<f16>().unwrap().iter().map(|value| value.to_f32()).collect();
    assert_eq!(half, [0.5, 1.0, 1.5, 2.0, 2.5, 3.0]);
    let unit = Model::classifier(DataType::Fp32, &[0, 3, 1, 2], "").floats(&rgb((2, 1), &[255; 6]));
    assert!(unit.iter().all(|value| (value - 1.0).abs() < 1e-6), "{unit:?}");
    let flat = Model::classifier(DataType::Fp32, &[0, 2], "width = 2\nheight = 1\nscale = 1").floats(&image);
    assert_eq!(flat, [2.0, 5.0], "grey");
}

#[test]
fn every_kind_of_png_is_read() {
    use ::png::BitDepth::{Eight, One, Sixteen};
    use ::png::ColorType::{Grayscale, GrayscaleAlpha, Indexed, Rgba};
    let model = Model::classifier(DataType::Fp32, &[1, 3, 1, 2], "scale = 1");
    for (image, expected) in [
        (png(Grayscale, Eight, (2, 1), &[7, 9]), [7.0, 9.0, 7.0, 9.0, 7.0, 9.0]),
        (png(Grayscale, One, (2, 1), &[0b0100_0000]), [0.0, 255.0, 0.0, 255.0, 0.0, 255.0]),
        (png(Grayscale, Sixteen, (2, 1), &[7, 255, 9, 0]), [7.0, 9.0, 7.0, 9.0, 7.0, 9.0]),
        (png(GrayscaleAlpha, Eight, (2, 1), &[7, 0, 9, 1]), [7.0, 9.0, 7.0, 9.0, 7.0, 9.0]),
        (png(Rgba, Eight, (2, 1), &[1, 2, 3, 0, 4, 5, 6, 255]), [1.0, 4.0, 2.0, 5.0, 3.0, 6.0]),
        (png(Indexed, Eight, (2, 1), &[1, 0]), [10.0, 0.0, 20.0, 0.0, 30.0, 0.0]),
    ] {
        assert_eq!(model.floats(&image), expected);
    }
}

#[test]
fn an_image_of_another_size_is_stretched_or_stands_in_grey() {
    let image = png(::png::ColorType::Grayscale, ::png::BitDepth::Eight, (4, 2), &[0, 100, 200, 200, 0, 100, 200, 200]);
    let model =
        |resize: &str| Model::classifier(DataType::Fp32, &[1, 1, 2, 2], &format!("scale = 1\nresize = \"{resize}\""));
    let (tensor, frame) = model("stretch").decode(&image).unwrap();
    assert_eq!(frame, Frame { left: 0, top: 0, width: 2, height: 2 });
    // A triangle over four pixels, the last of which are beyond the edge: 3, 3 and 1 of 7 parts.
    let expected = [500.0 / 7.0, 1300.0 / 7.0];
    for (found, expected) in tensor.elements::<f32>().unwrap().iter().zip([expected, expected].concat()) {
        assert!((found - expected).abs() < 1e-3, "{found} {expected}");
    }
    let (tensor, frame) = model("letterbox").decode(&image).unwrap();
    assert_eq!(frame, Frame { left: 0, top: 0, width: 2, height: 1 });
    assert_eq!(tensor.elements::<f32>().unwrap()[2..], [114.0, 114.0]);
    let wide = Model::classifier(DataType::Fp32, &[1, 1, 12, 20], "resize = \"letterbox\"");
    for ((width, height), frame) in [
        ((20, 12), Frame { left: 0, top: 0, width: 20, height: 12 }),
        ((40, 12), Frame { left: 0, top: 3, width: 20, height: 6 }),
        ((4, 3), Frame { left: 2, top: 0, width: 16, height: 12 }),
        ((1, 50), Frame { left: 9, top: 0, width: 1, height: 12 }),
    ] {
        let data = vec![0; usize::try_from(width * height).unwrap()];
        let image = png(::png::ColorType::Grayscale, ::png::BitDepth::Eight, (width, height), &data);
        assert_eq!(wide.decode(&image).unwrap().1, frame, "{width} times {height}");
    }
}

#[test]
fn what_is_no_image_is_damaged_or_too_large_is_refused_in_one_sentence() {
    let model = Model::classifier(DataType::Fp32, &[1, 3, 1, 2], "");
    let whole = rgb((2, 1), &[1, 2, 3, 4, 5, 6]);
    let refusal = |bytes: &[u8]| model.decode(bytes).unwrap_err();
    assert_eq!(refusal(b"GIF89a"), "the image: expected JPEG or PNG, found something else");
    assert_eq!(refusal(b""), "the image: expected JPEG or PNG, found something else");
    for cut in [8, 20, 40, whole.len() - 20] {
        assert_eq!(refusal(&whole[..cut]), "the image: expected a whole PNG, found one that is cut off", "{cut}");
    }
    let mut damaged = whole.clone();
    damaged[18] ^= 1;
    assert_eq!(refusal(&damaged), "the image: expected a whole PNG, found one that is damaged");
    assert_eq!(refusal(b"\xFF\xD8\xFF\xE0\0\x10JFIF"), "the image: expected JPEG, found one that is damaged");
}

/// A PNG's head, of an image that never comes.
fn announced(width: u32, height: u32) -> Vec<u8> {
    let mut out = Vec::new();
    let encoder = ::png::Encoder::new(&mut out, width, height);
    let mut writer = encoder.write_header().unwrap();
    writer.write_chunk(::png::chunk::IDAT, &[0x78, 0x01]).unwrap();
    drop(writer);
    out
}

#[test]
fn an_image_that_would_be_huge_is_refused_before_memory_is_taken() {
    let model = Model::classifier(DataType::Fp32, &[1, 3, 1, 2], "");
    let bomb = announced(60_000, 60_000);
    let said = model.decode(&bomb).unwrap_err();
    assert_eq!(said, "the image: expected 1 to 67108864 pixels, found 60000 times 60000");
    let taken = std::cell::Cell::new(0);
    let room = |bytes: usize| {
        taken.set(taken.get() + bytes);
        taken.get() <= 2 << 20
    };
    let limits = DecodeLimits { room: &room, ..DecodeLimits::NONE };
    let refused = decode_within(&announced(4000, 4000), &model.plan, &model.signature, limits);
    assert_eq!(refused.unwrap_err(), Error::NoRoom);
}

proptest! {
    #[test]
    fn any_bytes_after_the_first_of_an_image_are_one_or_none(
        jpeg: bool,
        rest in prop::collection::vec(any::<u8>(), 0..200),
    ) {
        let start: &[u8] = if jpeg { b"\xFF\xD8\xFF" } else { b"\x89PNG\r\n\x1A\n" };
        let _ = Model::classifier(DataType::Fp32, &[1, 3, 4, 4], "").decode(&[start, &rest].concat());
    }

    #[test]
    fn a_flat_image_stays_flat_in_every_size(width in 1_u32..40, height in 1_u32..40, to in 1_usize..40, value: u8) {
        let data = vec![value; usize::try_from(width * height).unwrap()];
        let image = png(::png::ColorType::Grayscale, ::png::BitDepth::Eight, (width, height), &data);
        let model = Model::classifier(DataType::Fp32, &[1, 1, to, 7], "scale = 1");
        for found in model.floats(&image) {
            prop_assert!((found - f32::from(value)).abs() < 1e-3, "{found}");
        }
    }
}

fn tensor(dims: &[usize], values: &[f32]) -> Tensor {
    Tensor::from_elements(dims.to_vec(), values.to_vec()).unwrap()
}

const WHOLE: Frame = Frame { left: 0, top: 0, width: 10, height: 10 };
const WHOLE_WIDE: Frame = Frame { width: 20, ..WHOLE };

#[test]
fn classes_are_told_surest_first_by_their_labels() {
    let mut model = Model::classifier(DataType::Fp32, &[1, 3, 10, 10], "top = 2");
    model.plan.labels = Some(["a", "b", "c"].map(String::from).into());
    let found = model.findings(&[("y", tensor(&[1, 3], &[0.2, 0.7, 0.1]))], WHOLE).unwrap();
    let told: Vec<_> = found.iter().map(|finding| (&*finding.class, finding.confidence, finding.place)).collect();
    assert_eq!(told, [("b", 0.7, None), ("a", 0.2, None)]);
    assert_eq!(
        String::from_utf8(inferences(&found)).unwrap(),
        r#"{"inferences":[{"type":"classification","classification":{"tag":{"value":"b","confidence":0.7}}},{"type":"classification","classification":{"tag":{"value":"a","confidence":0.2}}}]}"#
    );
    let logits = model.findings(&[("y", tensor(&[1, 3], &[2.0, -3.0, 0.5]))], WHOLE).unwrap_err();
    assert!(
        logits.starts_with("output `y`: expected scores from 0 to 1, found 2") && logits.contains("softmax"),
        "{logits}"
    );
    assert!(model.findings(&[("y", tensor(&[1, 3], &[f32::NAN, 0.0, 0.0]))], WHOLE).is_err());
    let model = Model::classifier(DataType::Fp32, &[1, 3, 10, 10], "softmax = true\nthreshold = 0.5");
    let found = model.findings(&[("y", tensor(&[1, 3], &[0.0, 1.0_f32.ln() + 2.0, 0.0]))], WHOLE).unwrap();
    assert_eq!((found.len(), &*found[0].class), (1, "1"));
    assert!((found[0].confidence - 0.78699).abs() < 1e-4);
}

/// TensorFlow's outputs.
fn detector(text: &str) -> Model {
    let outputs = vec![
        spec("detection_boxes", DataType::Fp32, &[1, 0, 4]),
        spec("detection_scores", DataType::Fp32, &[1, 0]),
        spec("detection_classes", DataType::Fp32, &[1, 0]),
        spec("num_detections", DataType::Fp32, &[1]),
    ];
    Model::new(spec("x", DataType::Uint8, &[1, 10, 10, 3]), outputs, text)
}

#[test]
fn boxes_are_told_in_fractions_of_the_image() {
    let mut model = detector("");
    model.plan.labels = Some(["person".to_string()].into());
    let outputs = [
        ("detection_boxes", tensor(&[1, 3, 4], &[0.25, 0.5, 0.75, 2.0, 0.0, 0.0, 1.0, 1.0, 0.0, 0.0, 0.0, 0.0])),
        ("detection_scores", tensor(&[1, 3], &[0.5, 0.2, 0.9])),
        ("detection_classes", tensor(&[1, 3], &[1.0, 1.0, 1.0])),
    ];
    let found = model.findings(&outputs, WHOLE).unwrap();
    assert_eq!(
        String::from_utf8(inferences(&found)).unwrap(),
        r#"{"inferences":[{"type":"entity","entity":{"tag":{"value":"person","confidence":0.5},"box":{"l":0.5,"t":0.25,"w":0.5,"h":0.5}}}]}"#
    );
    let model_id = ModelId { name: ModelName::new("m").unwrap(), version: 3 };
    let told = predictions(&found, Scored { id: "7", model: &model_id, seconds: 0 });
    assert_eq!(
        String::from_utf8(told).unwrap(),
        r#"{"id":"7","project":"m","iteration":"3","created":"1970-01-01T00:00:00Z","predictions":[{"probability":0.5,"tagId":"","tagName":"person","boundingBox":{"left":0.5,"top":0.25,"width":0.5,"height":0.5}}]}"#
    );
    // The image takes the upper half of the input.
    let frame = Frame { height: 5, ..WHOLE };
    let place = model.findings(&outputs, frame).unwrap()[0].place.unwrap();
    assert_eq!((place.top, place.height), (0.5, 0.5));
    let wrong = [outputs[0].clone(), ("detection_scores", tensor(&[1, 2], &[0.5, 0.2])), outputs[2].clone()];
    assert!(model.findings(&wrong, WHOLE).unwrap_err().contains("12 numbers, 2 scores and 3 classes"));
}

#[test]
fn of_candidates_of_a_yolo_the_surest_of_each_place_and_class_stays() {
    let input = spec("images", DataType::Fp32, &[1, 3, 10, 10]);
    let model = Model::new(input, vec![spec("output0", DataType::Fp32, &[1, 6, 0])], "");
    assert_eq!(model.plan.input.resize, hedef_core::settings::Resize::Letterbox);
    // Four candidates, by columns: centre, size, scores of two classes.
    let columns = [
        [5.0, 5.0, 4.0, 4.0, 0.6, 0.1],
        [5.0, 5.0, 4.0, 4.2, 0.9, 0.1],
        [5.0, 5.0, 4.0, 4.0, 0.0, 0.8],
        [1.0, 1.0, 2.0, 2.0, 0.1, 0.2],
    ];
    let values: Vec<f32> = (0..6).flat_map(|row| columns.map(|column| column[row])).collect();
    let outputs = [("output0", tensor(&[1, 6, 4], &values))];
    let found = model.findings(&outputs, WHOLE).unwrap();
    let told: Vec<_> = found.iter().map(|finding| (&*finding.class, finding.confidence)).collect();
    assert_eq!(told, [("0", 0.9), ("1", 0.8)]);
    let place = found[1].place.unwrap();
    assert!((place.left - 0.3).abs() < 1e-6 && (place.width - 0.4).abs() < 1e-6, "{place:?}");
    let other = [("output0", tensor(&[1, 4, 6], &values))];
    assert!(model.findings(&other, WHOLE).unwrap_err().contains("[1,4 + classes,candidates]"));
}

#[test]
fn of_a_grid_each_place_and_anchor_is_a_candidate_of_each_class() {
    let input = spec("data", DataType::Fp32, &[1, 3, 10, 20]);
    let text = "anchors = [[1, 0.5], [2, 2]]\nthreshold = 0.1";
    let model = Model::new(input, vec![spec("grid", DataType::Fp32, &[1, 14, 1, 2])], text);
    // Logits of two places for each anchor: centre, size, whether there is anything, two classes.
    let nothing = -20.0;
    let first = [[0.0, nothing], [0.0, 0.0], [0.0, 0.0], [0.0, 0.0], [nothing, 20.0], [0.0, 0.0], [0.0, 3.0_f32.ln()]];
    let second = [[0.0, 0.0], [0.0, 0.0], [0.0, 0.0], [0.0, 0.0], [nothing; 2], [0.0, 0.0], [0.0, 0.0]];
    let values = [first, second].as_flattened().as_flattened().to_vec();
    let found = model.findings(&[("grid", tensor(&[1, 14, 1, 2], &values))], WHOLE_WIDE).unwrap();
    let told: Vec<_> = found.iter().map(|finding| (&*finding.class, (finding.confidence * 1e4).round())).collect();
    assert_eq!(told, [("1", 7500.0), ("0", 2500.0)]);
    // In the right place at its left edge, half as wide as the image, of which the left half lies in the other place.
    let place = found[0].place.unwrap();
    let near = |found: f32, expected: f32| assert!((found - expected).abs() < 1e-6, "{place:?}");
    near(place.left, 0.25);
    near(place.width, 0.5);
    near(place.top, 0.25);
    near(place.height, 0.5);
    let halves: Vec<_> = values.iter().copied().map(half::f16::from_f32).collect();
    let halves = Tensor::from_elements(vec![1, 14, 1, 2], halves).unwrap();
    assert_eq!(model.findings(&[("grid", halves)], WHOLE_WIDE).unwrap().len(), 2);
    let other = model.findings(&[("grid", tensor(&[1, 7, 2, 2], &values))], WHOLE_WIDE).unwrap_err();
    assert!(other.contains("expected [1,2 * (5 + classes),rows,columns], found [1,7,2,2]"), "{other}");
    let damaged = model.findings(&[("grid", tensor(&[1, 14, 1, 2], &[f32::NAN; 28]))], WHOLE_WIDE).unwrap();
    assert_eq!(damaged, []);
}

#[test]
fn the_outputs_that_an_answer_needs_are_asked_for_alone() {
    let model = detector("");
    let decoded = decode_within(&rgb((1, 1), &[1, 2, 3]), &model.plan, &model.signature, DecodeLimits::NONE).unwrap();
    assert_eq!(decoded.0.outputs(), [0, 1, 2]);
}

/// The seeds of the fuzz target: small images of every kind.
fn seeds() -> Vec<(String, Vec<u8>)> {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/seeds/image_decode");
    let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let name = |path: &std::path::Path| path.file_name().unwrap().to_string_lossy().into_owned();
    files.map(|path| (name(&path), std::fs::read(&path).unwrap())).collect()
}

#[test]
fn every_kind_of_image_is_read_whole_and_refused_when_it_is_cut_off() {
    let model = Model::classifier(DataType::Fp32, &[1, 3, 9, 17], "");
    let seeds = seeds();
    assert!(seeds.len() >= 14);
    for (name, image) in seeds {
        let (tensor, _) = model.decode(&image).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert!(tensor.elements::<f32>().unwrap().iter().all(|value| (-0.01..=1.01).contains(value)), "{name}");
        let said = model.decode(&image[..image.len() - image.len() / 4]).unwrap_err();
        assert!(said.contains("cut off") || said.contains("damaged"), "{name}: {said}");
    }
}

#[test]
fn a_damaged_image_is_refused_or_read_and_never_more() {
    let model = Model::classifier(DataType::Fp32, &[1, 3, 5, 4], "resize = \"letterbox\"");
    let mut dice = 7_u64;
    let mut roll = |below: usize| {
        dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(dice >> 33).unwrap() % below
    };
    for (_, image) in seeds() {
        for _ in 0..200 {
            let mut damaged = image.clone();
            for _ in 0..=roll(4) {
                let at = roll(damaged.len());
                damaged[at] = u8::try_from(roll(256)).unwrap();
            }
            let taken = std::cell::Cell::new(0);
            let room = |bytes: usize| {
                taken.set(taken.get() + bytes);
                taken.get() <= 8 << 20
            };
            let limits = DecodeLimits { room: &room, ..DecodeLimits::NONE };
            let _ = decode_within(&damaged, &model.plan, &model.signature, limits);
        }
    }
}
