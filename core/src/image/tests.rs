use super::*;
use crate::settings::{BoxForm, BoxUnit, Color, Resize};
use crate::{DataType, Dim};

fn spec(name: &str, data_type: DataType, dims: &[i64]) -> TensorSpec {
    let dim = |size: &i64| usize::try_from(*size).map_or(Dim::Free, Dim::Fixed);
    TensorSpec::new(name, data_type, Some(dims.iter().map(dim).collect()))
}

fn fp32(name: &str, dims: &[i64]) -> TensorSpec {
    spec(name, DataType::Fp32, dims)
}

fn signature(input: TensorSpec, outputs: &[TensorSpec]) -> Signature {
    Signature { inputs: vec![input], outputs: outputs.to_vec(), batch_axis: false }
}

fn plan(text: &str, signature: &Signature) -> Result<Plan, String> {
    Plan::new(&toml::from_str(text).map_err(|error| error.to_string())?, signature, &BTreeMap::new(), None)
}

fn classifier() -> Signature {
    signature(fp32("x", &[-1, 3, 224, 200]), &[spec("label", DataType::Bytes, &[-1]), fp32("p", &[-1, 3])])
}

#[test]
fn an_empty_section_is_enough_for_a_usual_classifier() {
    let plan = plan("", &classifier()).unwrap();
    let Plan { input, answer, threshold, top, .. } = &plan;
    assert_eq!((input.shape.dims(), input.layout), (&[1, 3, 224, 200][..], Layout::Planes));
    assert_eq!((input.width, input.height, input.resize, input.color), (200, 224, Resize::Stretch, Color::Rgb));
    assert_eq!((input.scale, input.offset), ([1.0 / 255.0; 3], [0.0; 3]));
    assert_eq!((answer, *threshold, *top), (&Answer::Classification { scores: 1, softmax: false }, 0.0, 5));
    assert_eq!(plan.class(2), "2");
}

#[test]
fn what_exports_of_detectors_call_their_outputs_says_what_they_are() {
    let named = |names: [&str; 3]| {
        let [boxes, scores, classes] = names;
        let outputs = [fp32(classes, &[1, -1]), fp32(boxes, &[1, -1, 4]), fp32(scores, &[1, -1])];
        plan("", &signature(spec("x", DataType::Uint8, &[1, 300, 300, 3]), &outputs)).unwrap()
    };
    let form = |plan: &Plan| match plan.answer {
        Answer::Detection { boxes: 1, scores: 2, classes: 0, form } => (form.form, form.unit, plan.first_class),
        _ => panic!("{:?}", plan.answer),
    };
    let tensorflow = named(["detection_boxes", "detection_scores", "detection_classes"]);
    assert_eq!(form(&tensorflow), (BoxForm::Yxyx, BoxUnit::Fraction, 1));
    let custom_vision = named(["detected_boxes", "detected_scores", "detected_classes"]);
    assert_eq!(form(&custom_vision), (BoxForm::Xyxy, BoxUnit::Fraction, 0));
    assert_eq!(form(&named(["boxes", "scores", "labels"])), (BoxForm::Xyxy, BoxUnit::Pixel, 0));
    assert_eq!((tensorflow.input.scale, tensorflow.threshold, tensorflow.top), ([1.0; 3], 0.25, 100));
    let yolo =
        plan("height = 640\nwidth = 640", &signature(fp32("images", &[-1, 3, -1, -1]), &[fp32("o", &[-1, 84, -1])]));
    let yolo = yolo.unwrap();
    assert!(matches!(yolo.answer, Answer::Yolo { candidates: 0, .. }) && yolo.input.resize == Resize::Letterbox);
}

/// A model with a grid of so many channels.
fn grid(channels: i64) -> Signature {
    signature(fp32("data", &[-1, 3, 416, 416]), &[fp32("model_outputs0", &[-1, channels, 13, 13])])
}

#[test]
fn a_grid_is_that_of_custom_vision_unless_the_settings_say_otherwise() {
    let made = plan("", &grid(40)).unwrap();
    let Answer::YoloV2 { grid: 0, anchors, max_overlap: 0.45 } = &made.answer else { panic!("{made:?}") };
    assert_eq!((anchors.len(), anchors[1]), (5, [1.87, 2.06]));
    assert_eq!((made.input.color, made.input.scale, made.input.resize), (Color::Bgr, [1.0; 3], Resize::Stretch));
    assert_eq!(made.answer.class_count(&grid(40)), Some(3));
    let own = plan("anchors = [[1, 2], [3, 4.5]]\ncolor = \"rgb\"\nscale = 0.5\nmax_overlap = 0.6", &grid(14)).unwrap();
    let expected = Answer::YoloV2 { grid: 0, anchors: vec![[1.0, 2.0], [3.0, 4.5]], max_overlap: 0.6 };
    assert_eq!((&own.answer, own.input.color, own.input.scale), (&expected, Color::Rgb, [0.5; 3]));
    let notes = [("Image.BitmapPixelFormat".into(), "Rgb8".into())].into();
    assert_eq!(Plan::new(&ImageSettings::default(), &grid(40), &notes, None).unwrap().input.color, Color::Rgb);
    let pixel = signature(fp32("x", &[1, 3, 8, 8]), &[fp32("y", &[1, 1000, 1, 1])]);
    assert!(matches!(plan("output = \"y\"", &pixel).unwrap().answer, Answer::Classification { .. }));
    let half = |name, dims: &[i64]| spec(name, DataType::Fp16, dims);
    let half = signature(half("data", &[1, 3, 416, 416]), &[half("model_outputs0", &[1, 40, 13, 13])]);
    let half = plan("", &half).unwrap();
    assert_eq!((half.input.data_type, half.input.scale), (DataType::Fp16, [1.0; 3]));
}

#[test]
fn the_notes_that_onnx_defines_for_images_are_followed_unless_the_settings_say_otherwise() {
    let notes = [("Image.BitmapPixelFormat", "Bgr8"), ("Image.NominalPixelRange", "NominalRange_0_255")];
    let notes = notes.map(|(key, value)| (key.to_string(), value.to_string())).into();
    let noted = |text: &str| Plan::new(&toml::from_str(text).unwrap(), &classifier(), &notes, None).unwrap().input;
    assert_eq!((noted("").color, noted("").scale), (Color::Bgr, [1.0; 3]));
    assert_eq!((noted("color = \"rgb\"\nscale = 2").color, noted("scale = 2").scale), (Color::Rgb, [2.0; 3]));
    let unit = [("Image.NominalPixelRange".to_owned(), "Normalized_0_1".to_owned())].into();
    let unit = Plan::new(&toml::from_str("").unwrap(), &grid(30), &unit, None).unwrap().input;
    assert_eq!((unit.scale, unit.offset), ([1.0 / 255.0; 3], [0.0; 3]));
    let imagenet = plan("mean = [0.5, 0.25, 0]\nstd = [0.5, 2, 1]", &classifier()).unwrap().input;
    assert_eq!(imagenet.offset, [-1.0, -0.125, 0.0]);
    assert_eq!(imagenet.scale, [2.0 / 255.0, 0.5 / 255.0, 1.0 / 255.0]);
}

#[test]
fn what_does_not_fit_the_model_is_said() {
    let logits = fp32("y", &[1, 3]);
    let sized = |dims: &[i64]| signature(fp32("x", dims), std::slice::from_ref(&logits));
    let mut two = classifier();
    two.inputs.push(fp32("more", &[1]));
    let mut detector = signature(fp32("x", &[1, 3, 8, 8]), &[fp32("boxes", &[1, 9, 5]), fp32("scores", &[1, 9])]);
    for (text, signature, reason) in [
        ("", &two, "expected a model with one input"),
        (
            "",
            &signature(spec("x", DataType::Int64, &[1, 3, 8, 8]), std::slice::from_ref(&logits)),
            "expected FP32, FP16 or UINT8",
        ),
        ("", &sized(&[2, 3, 8, 8]), "expected [1,channels,height,width]"),
        ("", &sized(&[1, 4, 8, 8]), "of 1 or 3 channels"),
        ("", &sized(&[1, 3, -1, 8]), "height: expected a number of pixels"),
        ("width = 9", &sized(&[1, 3, 8, 8]), "width: expected 8"),
        ("width = 9\nheight = 8", &sized(&[-1, 64]), "expected 64 pixels"),
        ("mean = [1, 2]", &classifier(), "mean: expected a number, or one for each of 3 channels, found 2"),
        ("std = 0", &classifier(), "expected numbers other than 0"),
        ("mean = \"x\"", &classifier(), "expected a number, or a list"),
        (
            "scale = 1",
            &signature(spec("x", DataType::Uint8, &[8, 8, 3]), std::slice::from_ref(&logits)),
            "since the model's input is UINT8",
        ),
        ("output = \"q\"", &classifier(), "output: the model has no output `q`, it gives `label`"),
        ("output = \"label\"", &classifier(), "output: output `label`: expected FP32"),
        ("softmax = true\nkind = \"detection\"", &classifier(), "softmax: not for kind = \"detection\""),
        ("kind = \"detection\"", &classifier(), "boxes: say which of"),
        ("", &detector, "classes: say which of"),
        ("classes = \"scores\"", &detector, "expected four numbers for each box"),
        (
            "kind = \"yolo\"\noutput = \"y\"",
            &sized(&[1, 3, 8, 8]),
            "output: expected [1,4 + classes,candidates], it is FP32 [1,3]",
        ),
        (
            "kind = \"yolov2\"\noutput = \"y\"",
            &sized(&[1, 3, 8, 8]),
            "output: expected [1,5 * (5 + classes),rows,columns], it is FP32 [1,3]",
        ),
        ("", &grid(41), "output: expected [1,5 * (5 + classes),rows,columns], it is FP32 [-1,41,13,13]"),
        ("anchors = [[1, 2]]", &grid(5), "output: expected [1,1 * (5 + classes)"),
        ("anchors = [[1, 0]]", &grid(6), "anchors: expected pairs of numbers above 0"),
        ("anchors = []", &grid(6), "anchors: expected pairs of numbers above 0"),
        ("max_overlap = -1", &grid(40), "max_overlap: expected a number from 0 to 1"),
        ("anchors = [[1, 2]]", &classifier(), "anchors: not for kind = \"classification\""),
        ("threshold = 2", &classifier(), "threshold: expected a number from 0 to 1"),
        ("kind = \"segmentation\"", &classifier(), "segmentation"),
        ("colour = \"rgb\"", &classifier(), "colour"),
    ] {
        let found = plan(text, signature).unwrap_err();
        assert!(found.contains(reason), "{text}: {found}");
    }
    detector.outputs.clear();
    assert!(plan("", &detector).unwrap_err().contains("output: say which"));
}

#[test]
fn labels_are_those_of_the_file_else_the_output_s_own_and_as_many_as_classes() {
    let labels = |text: &str| Some(Arc::from(text.split(' ').map(String::from).collect::<Vec<_>>()));
    let make = |signature: &Signature, text: &str, file| {
        Plan::new(&toml::from_str(text).unwrap(), signature, &BTreeMap::new(), file)
    };
    let mut own = classifier();
    own.outputs[1].labels = labels("a b c");
    assert_eq!(make(&own, "", None).unwrap().class(1), "b");
    assert_eq!(make(&own, "", labels("x y z")).unwrap().class(1), "y");
    assert_eq!(make(&own, "first_class = 1", None).unwrap().class(1), "a");
    assert_eq!(make(&own, "first_class = 1", None).unwrap().class(0), "0");
    assert_eq!(make(&own, "", labels("x y")).unwrap_err(), "labels: expected one for each of 3 classes, found 2");
}

#[test]
fn a_plan_says_in_two_lines_how_images_are_read_and_what_answers_are_made_of() {
    let told = |text: &str, signature: &Signature| plan(text, signature).unwrap().summary(signature);
    let [images, answers] = told("mean = [0.5, 0.25, 0]\nstd = 0.5\nsoftmax = true", &classifier());
    assert_eq!(
        images,
        "stretched to 200 times 224, RGB, channel by channel, as FP32 [1,3,224,200]: value * 0.007843138 + [-1, -0.5, 0]"
    );
    assert_eq!(
        answers,
        "classes, by their scores in `p`, made probabilities by a softmax; no labels; at most 5, with scores from 0"
    );
    let outputs = ["detection_boxes", "detection_scores", "detection_classes"].map(|name| fp32(name, &[]));
    let detector = signature(spec("x", DataType::Uint8, &[1, 30, 20, 1]), &outputs);
    let [images, answers] = told("resize = \"letterbox\"", &detector);
    assert_eq!(images, "letterboxed to 20 times 30, grey, row by row, as UINT8 [1,30,20,1]");
    assert_eq!(
        answers,
        "boxes, by their scores in `detection_scores`, from `detection_boxes` (yxyx, fraction) with classes in \
         `detection_classes`; no labels; at most 100, with scores from 0.25"
    );
    let yolo = signature(fp32("x", &[1, 8, 8, 3]), &[fp32("o", &[1, 84, -1])]);
    let [images, answers] = told("color = \"bgr\"\nscale = 1", &yolo);
    assert_eq!(images, "letterboxed to 8 times 8, BGR, pixel by pixel, as FP32 [1,8,8,3]: value * 1");
    assert_eq!(
        answers,
        "boxes, from the candidates in `o` (cxcywh, pixel), of which those of one class overlap by 0.7 at most; no labels; \
         at most 100, with scores from 0.25"
    );
    let [images, answers] = told("", &grid(40));
    assert_eq!(images, "stretched to 416 times 416, BGR, channel by channel, as FP32 [1,3,416,416]: value * 1");
    assert_eq!(
        answers,
        "boxes, from the grid of 5 anchors in `model_outputs0`, of which those of one class overlap by 0.45 at most; no \
         labels; at most 100, with scores from 0.25"
    );
}
