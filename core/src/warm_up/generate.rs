//! Made-up inputs.

use half::{bf16, f16};
use serde::{Deserialize, Serialize};

use crate::{Data, DataType, Dim, Shape, ShapeMismatch, Signature, Tensor, TensorSpec};

/// The sizes tried for free dimensions other than the rows, until the model runs: sequences take the first,
/// images often want more.
const FREE_SIZES: [usize; 4] = [8, 1, 32, 224];

/// The smallest whole number of generated inputs, tried in this order. Zero comes last: as a step or a length it ends
/// the process in some of ONNX Runtime's kernels (STFT divides by it), but a table of two rows has no row 2.
const FLOORS: [u8; 2] = [1, 0];

/// What generated inputs are made with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Deserialize, Serialize)]
pub(crate) struct Guess {
    /// The size of free dimensions other than the rows.
    pub(super) free: usize,
    /// The smallest whole number.
    pub(super) floor: u8,
    /// Floats lie between this and its negative; 0: from 0 up to 1, which suits most models.
    pub(super) scale: f32,
}

/// The guesses that differ for this signature.
pub(super) fn guesses(signature: &Signature) -> Vec<Guess> {
    let inner = |spec: &TensorSpec| spec.dims.iter().flatten().skip(1).any(Dim::is_free);
    let whole = |spec: &TensorSpec| {
        !matches!(spec.data_type, DataType::Fp16 | DataType::Bf16 | DataType::Fp32 | DataType::Fp64)
    };
    let sizes = if signature.inputs.iter().any(inner) { &FREE_SIZES[..] } else { &FREE_SIZES[..1] };
    let floors = if signature.inputs.iter().any(whole) { &FLOORS[..] } else { &FLOORS[..1] };
    sizes.iter().flat_map(|&free| floors.iter().map(move |&floor| Guess { free, floor, scale: 0.0 })).collect()
}

impl Guess {
    /// The same, but for the size of free dimensions other than the rows.
    pub(crate) const fn with_length(self, free: usize) -> Self {
        Self { free, ..self }
    }

    /// Makes the inputs of one request.
    pub(crate) fn request(self, signature: &Signature, rows: usize, trial: u64) -> Result<Vec<Tensor>, String> {
        let tensors = (0..signature.inputs.len()).map(|index| self.generate(signature, index, rows, trial));
        tensors.collect::<Result<_, _>>().map_err(|error| error.to_string())
    }

    /// Makes a tensor for the input at `index`, with small and varied values.
    pub(super) fn generate(
        self,
        signature: &Signature,
        index: usize,
        rows: usize,
        trial: u64,
    ) -> Result<Tensor, ShapeMismatch> {
        let axis_0 = |spec: &TensorSpec| spec.dims.as_ref().and_then(|dims| dims.first().cloned());
        let rows_symbol = signature.inputs.first().and_then(axis_0);
        let Some(spec) = signature.inputs.get(index) else { return Tensor::from_elements([0], Vec::<u8>::new()) };
        let size = |(axis, dim): (usize, &Dim)| match dim {
            Dim::Fixed(size) => *size,
            Dim::Symbol(_) if Some(dim) == rows_symbol.as_ref() => rows,
            Dim::Symbol(_) | Dim::Free if axis == 0 => rows,
            Dim::Symbol(_) | Dim::Free => self.free,
        };
        let dims = spec.dims.as_deref().unwrap_or(&[Dim::Free]);
        let shape = Shape::new(dims.iter().enumerate().map(size).collect::<Vec<_>>());
        let elements = shape.elements().unwrap_or(usize::MAX);
        // A model that wants this much in one input is not warmed up with made-up data.
        if elements > 1 << 28 {
            return Err(ShapeMismatch { shape, elements: 0 });
        }
        let seed = (trial << 32) ^ u64::try_from(index).unwrap_or(0);
        let mut numbers = Numbers { seed, floor: self.floor, scale: self.scale };
        Tensor::new(shape, numbers.data(spec.data_type, elements))
    }
}

/// A fixed sequence of varied numbers (splitmix64), so that a warm-up is the same every time.
struct Numbers {
    seed: u64,
    floor: u8,
    scale: f32,
}

impl Numbers {
    fn next(&mut self) -> u64 {
        self.seed = self.seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.seed ^ (self.seed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn bit(&mut self) -> bool {
        self.next() & 1 == 1
    }

    /// Some letters.
    fn word(&mut self) -> Vec<u8> {
        (0..12).map(|_| b'a' + u8::try_from(self.next() % 26).unwrap_or(0)).collect()
    }

    /// One of two small numbers: an index, a length or a mask that most models take.
    fn whole(&mut self) -> u8 {
        self.floor + u8::from(self.bit())
    }

    fn fraction(&mut self) -> f32 {
        let part = f32::from(u16::try_from(self.next() >> 48).unwrap_or(0)) / 65536.0;
        if self.scale > 0.0 { (part * 2.0 - 1.0) * self.scale } else { part }
    }

    fn data(&mut self, data_type: DataType, count: usize) -> Data {
        let each = 0..count;
        match data_type {
            DataType::Bool => Data::Bool(each.map(|_| self.bit()).collect()),
            DataType::Uint8 => Data::Uint8(each.map(|_| self.whole()).collect()),
            DataType::Uint16 => Data::Uint16(each.map(|_| self.whole().into()).collect()),
            DataType::Uint32 => Data::Uint32(each.map(|_| self.whole().into()).collect()),
            DataType::Uint64 => Data::Uint64(each.map(|_| self.whole().into()).collect()),
            DataType::Int8 => Data::Int8(each.map(|_| i8::try_from(self.whole()).unwrap_or(1)).collect()),
            DataType::Int16 => Data::Int16(each.map(|_| self.whole().into()).collect()),
            DataType::Int32 => Data::Int32(each.map(|_| self.whole().into()).collect()),
            DataType::Int64 => Data::Int64(each.map(|_| self.whole().into()).collect()),
            DataType::Fp16 => Data::Fp16(each.map(|_| f16::from_f32(self.fraction())).collect()),
            DataType::Bf16 => Data::Bf16(each.map(|_| bf16::from_f32(self.fraction())).collect()),
            DataType::Fp32 => Data::Fp32(each.map(|_| self.fraction()).collect()),
            DataType::Fp64 => Data::Fp64(each.map(|_| self.fraction().into()).collect()),
            DataType::Bytes => Data::Bytes(each.map(|_| self.word()).collect()),
        }
    }
}
