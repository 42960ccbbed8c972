//! What is sent: made-up tensors, or those of a file.

use std::path::{Path, PathBuf};
use std::str::FromStr;

use fastrand::Rng;
use half::{bf16, f16};
use hedef_core::{Data, DataType, Dim, Signature, Tensor, TensorSpec};
use hedef_protocols::v2;
use serde_json::Value;

use crate::Error;

/// Made-up requests differ, so that no server gets away with remembering one, and are no more than this many…
const MOST_REQUESTS: usize = 32;
/// …or this many elements.
const MOST_ELEMENTS: usize = 4 << 20;

/// The shape that an input's free dimensions are given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FreeShape {
    name: String,
    dims: Vec<usize>,
}

impl FromStr for FreeShape {
    type Err = String;

    /// Reads `NAME:DIMS`, such as `input_ids:128` or `image:3,224,224`.
    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("expected NAME:DIMS such as input_ids:128 or image:3,224,224, got `{text}`");
        let (name, dims) = text.rsplit_once(':').ok_or_else(wrong)?;
        let dims: Result<Vec<usize>, _> = dims.split([',', 'x']).map(str::parse).collect();
        Ok(Self { name: name.to_owned(), dims: dims.map_err(|_| wrong())? })
    }
}

/// What to send.
#[derive(Clone, Debug, Default)]
pub struct Inputs {
    /// The rows of a made-up request.
    pub batch: usize,
    /// The shapes of inputs whose dimensions are free, with or without axis 0; a free dimension not named here is 1.
    pub shapes: Vec<FreeShape>,
    /// A file of requests to send instead: one body of Open Inference Protocol v2, an array of them, or one a line.
    pub file: Option<PathBuf>,
}

/// One request before it is put on a wire.
#[derive(Clone, Debug)]
pub(crate) struct Sample {
    /// In the signature's order.
    pub(crate) tensors: Vec<Tensor>,
    pub(crate) rows: usize,
    /// The body as its owner wrote it.
    pub(crate) body: Option<Value>,
}

impl Inputs {
    /// The requests to send in turn, at least one.
    pub(crate) fn samples(&self, signature: &Signature) -> Result<Vec<Sample>, Error> {
        match &self.file {
            Some(file) => of_file(file, signature),
            None => self.made_up(signature),
        }
    }

    fn made_up(&self, signature: &Signature) -> Result<Vec<Sample>, Error> {
        if let Some(shape) = self.shapes.iter().find(|shape| signature.input(&shape.name).is_none()) {
            return Err(Error::Settings(format!("--shape {}: the model has no such input", shape.name)));
        }
        let shapes = signature.inputs.iter().map(|spec| self.shape(spec)).collect::<Result<Vec<_>, _>>()?;
        let elements: usize = shapes.iter().map(|dims| dims.iter().product::<usize>()).sum();
        let count = (MOST_ELEMENTS / elements.max(1)).clamp(1, MOST_REQUESTS);
        let mut random = Rng::with_seed(20);
        let tensor = |(spec, dims): (&TensorSpec, &Vec<usize>), random: &mut Rng| {
            let data = data(spec.data_type, dims.iter().product(), random);
            let reason = |error: hedef_core::ShapeMismatch| Error::Settings(format!("input `{}`: {error}", spec.name));
            Tensor::new(dims.clone(), data).map_err(reason)
        };
        let sample = |random: &mut Rng| {
            let tensors = signature.inputs.iter().zip(&shapes).map(|pair| tensor(pair, random));
            Ok(Sample { tensors: tensors.collect::<Result<_, Error>>()?, rows: self.batch.max(1), body: None })
        };
        (0..count).map(|_| sample(&mut random)).collect()
    }

    fn shape(&self, spec: &TensorSpec) -> Result<Vec<usize>, Error> {
        let declared = spec.dims.as_deref().unwrap_or(&[Dim::Free]);
        let rows = self.batch.max(1);
        let size = |(axis, dim): (usize, &Dim)| match dim {
            Dim::Fixed(size) => *size,
            _ if axis == 0 => rows,
            _ => 1,
        };
        let mut dims: Vec<usize> = declared.iter().enumerate().map(size).collect();
        if let Some(given) = self.shapes.iter().find(|shape| *shape.name == *spec.name) {
            let whole = given.dims.len() == dims.len();
            let skip = usize::from(!whole);
            let slots = dims.get_mut(skip..).unwrap_or_default();
            if slots.len() != given.dims.len() {
                let found = given.dims.len();
                return Err(Error::Settings(format!(
                    "--shape {}: the model takes {spec}, got {found} dimensions",
                    given.name
                )));
            }
            slots.copy_from_slice(&given.dims);
        }
        if !spec.accepts(&dims.clone().into()) {
            return Err(Error::Settings(format!("input `{}`: the model takes {spec}, got {dims:?}", spec.name)));
        }
        if rows > 1 && dims.first() != Some(&rows) {
            return Err(Error::Settings(format!("--batch {rows}: input `{}` is {spec}, without free rows", spec.name)));
        }
        Ok(dims)
    }
}

/// Small and varied values: fractions from 0 up to 1; whole numbers of 0 and 1, which indices and masks take.
fn data(data_type: DataType, count: usize, random: &mut Rng) -> Data {
    let each = 0..count;
    match data_type {
        DataType::Bool => Data::Bool(each.map(|_| random.bool()).collect()),
        DataType::Uint8 => Data::Uint8(each.map(|_| random.u8(..2)).collect()),
        DataType::Uint16 => Data::Uint16(each.map(|_| random.u16(..2)).collect()),
        DataType::Uint32 => Data::Uint32(each.map(|_| random.u32(..2)).collect()),
        DataType::Uint64 => Data::Uint64(each.map(|_| random.u64(..2)).collect()),
        DataType::Int8 => Data::Int8(each.map(|_| random.i8(0..2)).collect()),
        DataType::Int16 => Data::Int16(each.map(|_| random.i16(0..2)).collect()),
        DataType::Int32 => Data::Int32(each.map(|_| random.i32(0..2)).collect()),
        DataType::Int64 => Data::Int64(each.map(|_| random.i64(0..2)).collect()),
        DataType::Fp16 => Data::Fp16(each.map(|_| f16::from_f32(random.f32())).collect()),
        DataType::Bf16 => Data::Bf16(each.map(|_| bf16::from_f32(random.f32())).collect()),
        DataType::Fp32 => Data::Fp32(each.map(|_| random.f32()).collect()),
        DataType::Fp64 => Data::Fp64(each.map(|_| random.f64()).collect()),
        DataType::Bytes => Data::Bytes(each.map(|_| word(random)).collect()),
    }
}

fn word(random: &mut Rng) -> Vec<u8> {
    (0..12).map(|_| random.u8(b'a'..=b'z')).collect()
}

fn of_file(file: &Path, signature: &Signature) -> Result<Vec<Sample>, Error> {
    let name = || file.display().to_string();
    let text = std::fs::read_to_string(file).map_err(|error| Error::File { file: name(), error })?;
    let bodies = bodies(&text).map_err(|error| Error::Inputs { place: name(), reason: error.to_string() })?;
    if bodies.is_empty() {
        return Err(Error::Inputs { place: name(), reason: "no request is in it".into() });
    }
    let sample = |(index, body): (usize, Value)| {
        let wrong = |reason: String| Error::Inputs { place: format!("{}, request {}", name(), index + 1), reason };
        let bytes = serde_json::to_vec(&body).map_err(|error| wrong(error.to_string()))?;
        let decoded = v2::decode(&bytes, None, signature).map_err(|error| wrong(error.to_string()))?;
        let tensors = decoded.request.inputs().to_vec();
        let free = signature.inputs.first().and_then(|spec| spec.dims.as_ref()?.first()).is_none_or(Dim::is_free);
        let rows = tensors.first().filter(|_| free).and_then(|tensor| tensor.shape().rows()).unwrap_or(1);
        Ok(Sample { tensors, rows, body: Some(body) })
    };
    bodies.into_iter().enumerate().map(sample).collect()
}

/// Reads one value, an array of them, or one a line.
pub(crate) fn bodies(text: &str) -> Result<Vec<Value>, serde_json::Error> {
    let all = serde_json::Deserializer::from_str(text).into_iter::<Value>().collect::<Result<Vec<_>, _>>()?;
    Ok(all.into_iter().flat_map(|value| if let Value::Array(many) = value { many } else { vec![value] }).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn signature(dims: &[Dim]) -> Signature {
        let inputs = DataType::ALL.map(|data_type| TensorSpec::new(data_type.name(), data_type, Some(dims.to_vec())));
        Signature { inputs: inputs.into(), outputs: vec![], batch_axis: false }
    }

    #[test]
    fn made_up_requests_fit_the_model_and_differ() {
        let inputs = Inputs { batch: 3, shapes: vec!["FP32:5".parse().unwrap()], file: None };
        let samples = inputs.samples(&signature(&[Dim::Free, Dim::Free])).unwrap();
        assert_eq!((samples.len(), samples[0].tensors.len(), samples[0].rows), (32, 14, 3));
        let shapes: Vec<_> = samples[0].tensors.iter().map(|tensor| tensor.shape().to_string()).collect();
        assert!(shapes.contains(&"[3,5]".to_owned()) && shapes.contains(&"[3,1]".to_owned()), "{shapes:?}");
        assert_ne!(samples[0].tensors, samples[1].tensors);
    }

    #[test]
    fn what_does_not_fit_is_said_before_anything_is_sent() {
        let fixed = signature(&[Dim::Fixed(1), Dim::Fixed(2)]);
        let refusal = |inputs: Inputs| inputs.samples(&fixed).unwrap_err().to_string();
        assert!(refusal(Inputs { batch: 2, ..Inputs::default() }).contains("without free rows"));
        let shaped = |text: &str| Inputs { shapes: vec![text.parse().unwrap()], ..Inputs::default() };
        assert!(refusal(shaped("nothing:1")).contains("no such input"));
        assert!(refusal(shaped("FP32:3")).contains("the model takes FP32 [1,2], got [1, 3]"));
        assert!(refusal(shaped("FP32:1,2,3")).contains("got 3 dimensions"));
        assert!("x".parse::<FreeShape>().is_err());
    }

    #[test]
    fn files_hold_one_body_or_many() {
        let body = r#"{"inputs":[{"name":"x","datatype":"FP32","shape":[2,1],"data":[1,2]}]}"#;
        for text in [body.to_owned(), format!("[{body}, {body}]"), format!("{body}\n{body}\n")] {
            let expected = if text == body { 1 } else { 2 };
            assert_eq!(bodies(&text).unwrap().len(), expected, "{text}");
        }
        let folder = std::env::temp_dir().join(format!("hedef-bench-inputs-{}", std::process::id()));
        std::fs::write(&folder, body).unwrap();
        let spec = TensorSpec::new("x", DataType::Fp32, Some(vec![Dim::Free, Dim::Fixed(1)]));
        let signature = Signature { inputs: vec![spec], outputs: vec![], batch_axis: false };
        let inputs = Inputs { file: Some(folder.clone()), ..Inputs::default() };
        assert_eq!(inputs.samples(&signature).unwrap()[0].rows, 2);
        std::fs::remove_file(folder).unwrap();
    }
}
