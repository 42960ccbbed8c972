//! The inputs that `model.toml` gives under `[warm_up]`.

use half::{bf16, f16};

use crate::settings::{WarmUp, WarmUpValues};
use crate::{Data, DataType, Element, Elements, Shape, Tensor, TensorSpec};

/// Makes one element of an input's type.
pub(crate) fn element(spec: &TensorSpec, value: &toml::Value) -> Result<Tensor, String> {
    let given = WarmUp { shape: vec![1], values: WarmUpValues::One(value.clone()) };
    read(&given, &TensorSpec { dims: None, ..spec.clone() })
}

/// Makes a tensor of what `model.toml` says.
pub(super) fn read(given: &WarmUp, spec: &TensorSpec) -> Result<Tensor, String> {
    let shape = Shape::new(given.shape.clone());
    if !spec.accepts(&shape) {
        return Err(format!("expected {spec}, got shape {shape}"));
    }
    let count =
        shape.elements().filter(|count| *count <= 1 << 28).ok_or_else(|| format!("shape {shape} is too large"))?;
    let values = match &given.values {
        WarmUpValues::One(value) => vec![value; count],
        WarmUpValues::All(values) => values.iter().collect(),
    };
    let wrong = |value: &toml::Value| format!("expected {}, got {value:?}", spec.data_type);
    let float = |value: &&toml::Value| {
        let integer = || value.as_integer().and_then(|number| i32::try_from(number).ok()).map(f64::from);
        value.as_float().or_else(integer).ok_or_else(|| wrong(value))
    };
    let data = match spec.data_type {
        DataType::Bool => {
            Data::Bool(values.iter().map(|v| v.as_bool().ok_or_else(|| wrong(v))).collect::<Result<_, _>>()?)
        }
        DataType::Uint8 => Data::Uint8(integers(&values, wrong)?),
        DataType::Uint16 => Data::Uint16(integers(&values, wrong)?),
        DataType::Uint32 => Data::Uint32(integers(&values, wrong)?),
        DataType::Uint64 => Data::Uint64(integers(&values, wrong)?),
        DataType::Int8 => Data::Int8(integers(&values, wrong)?),
        DataType::Int16 => Data::Int16(integers(&values, wrong)?),
        DataType::Int32 => Data::Int32(integers(&values, wrong)?),
        DataType::Int64 => Data::Int64(integers(&values, wrong)?),
        DataType::Fp16 => Data::Fp16(values.iter().map(|v| float(v).map(f16::from_f64)).collect::<Result<_, _>>()?),
        DataType::Bf16 => Data::Bf16(values.iter().map(|v| float(v).map(bf16::from_f64)).collect::<Result<_, _>>()?),
        DataType::Fp32 => Data::Fp32(values.iter().map(|v| float(v).map(narrow)).collect::<Result<_, _>>()?),
        DataType::Fp64 => Data::Fp64(values.iter().map(float).collect::<Result<_, _>>()?),
        DataType::Bytes => {
            let text = |v: &&toml::Value| v.as_str().map(|text| text.as_bytes().to_vec()).ok_or_else(|| wrong(v));
            Data::Bytes(values.iter().map(text).collect::<Result<_, _>>()?)
        }
    };
    Tensor::new(shape, data).map_err(|error| error.to_string())
}

fn integers<T: Element + TryFrom<i64>>(
    values: &[&toml::Value],
    wrong: impl Fn(&toml::Value) -> String,
) -> Result<Elements<T>, String> {
    let integer = |value: &&toml::Value| value.as_integer().and_then(|number| T::try_from(number).ok());
    values.iter().map(|value| integer(value).ok_or_else(|| wrong(value))).collect()
}

#[expect(clippy::cast_possible_truncation, reason = "rounding to the nearest FP32 is what the model's input wants")]
const fn narrow(number: f64) -> f32 {
    number as f32
}
