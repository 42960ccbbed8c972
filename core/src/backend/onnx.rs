//! ONNX Runtime. The only file that names `ort`, whose interface changes between releases.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use half::{bf16, f16};
use ort::environment::Environment;
use ort::ep;
use ort::session::builder::{AutoDevicePolicy, GraphOptimizationLevel, SessionBuilder};
use ort::session::{HasSelectedOutputs, OutputSelector, RunOptions, Session, SessionInputValue};
use ort::value::{DynMap, DynValue, Outlet, PrimitiveTensorElementType, TensorElementType, TensorRef, ValueType};

use super::{Backend, RunError};
use crate::host::switch_off_telemetry;
use crate::preflight::explain;
use crate::tensor::Element;
use crate::{Data, DataType, Device, Dim, Error, Shape, Signature, Tensor, TensorSpec};

/// ONNX Runtime itself, loaded. There is one in a process, for ever: releasing its environment crashes some
/// execution providers, so it lives in a static, which never does.
static ENVIRONMENT: OnceLock<Environment> = OnceLock::new();

/// A loaded ONNX Runtime.
#[derive(Clone, Debug)]
pub struct Runtime {
    environment: Environment,
    library: PathBuf,
    minor_version: u32,
}

impl Runtime {
    /// Loads the library at `library`, an absolute path. Later calls return the runtime of the first.
    pub fn start(library: &Path) -> Result<Self, Error> {
        let failed = |reason: String| Error::Runtime(format!("{}: {reason}", library.display()));
        if ENVIRONMENT.get().is_none() {
            // Since 1.29 it writes a device id and reports home while the environment is made, before
            // `with_telemetry` can say no.
            switch_off_telemetry();
            let builder = ort::init_from(library).map_err(|error| failed(error.to_string()))?;
            let environment =
                builder.with_name("hedef").with_telemetry(false).build().map_err(|error| failed(error.to_string()))?;
            // Two first calls at once: the loser's environment is a handle to the same one.
            let _ = ENVIRONMENT.set(environment);
        }
        let environment = ENVIRONMENT.get().ok_or_else(|| failed("no environment".into()))?.clone();
        let minor_version = ort::util::probe(library).ok_or_else(|| failed("not an ONNX Runtime 1.x".into()))?;
        Ok(Self { environment, library: library.to_owned(), minor_version })
    }

    /// The 31 of version 1.31.1.
    #[must_use]
    pub const fn minor_version(&self) -> u32 {
        self.minor_version
    }

    /// Whether a library for CUDA lies beside ONNX Runtime's own.
    fn has_cuda(&self) -> bool {
        let names = ["libonnxruntime_providers_cuda.so", "onnxruntime_providers_cuda.dll"];
        names.iter().any(|name| self.library.with_file_name(name).exists())
    }
}

/// How to open a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionOptions {
    /// Where to run.
    pub device: Device,
    /// The threads one run uses.
    pub threads: usize,
    /// Whether memory is kept between runs.
    pub arena: bool,
    /// Whether one block of memory is planned for a whole run.
    pub memory_pattern: bool,
}

/// What the model file says that ONNX Runtime does not tell.
#[derive(Clone, Debug, Default)]
pub struct ModelFacts {
    /// The class labels of each `ZipMap` output.
    pub zipmap_labels: HashMap<String, Vec<String>>,
    /// The inputs and outputs whose number of dimensions the file leaves open; ONNX Runtime tells a scalar of them.
    pub unranked: HashSet<String>,
}

/// Where a session runs, and why there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placement {
    /// The device; never [`Device::Auto`].
    pub device: Device,
    /// The reason in plain words.
    pub reason: String,
}

/// A model in ONNX Runtime.
#[derive(Debug)]
pub struct OnnxBackend {
    session: Session,
    signature: Signature,
}

impl OnnxBackend {
    /// Opens the model at `path`.
    pub fn open(
        runtime: &Runtime,
        path: &Path,
        options: &SessionOptions,
        facts: &ModelFacts,
    ) -> Result<(Self, Placement), String> {
        let (session, placement) = place(runtime, path, options)?;
        let spec = |outlet: &Outlet| spec(outlet, facts);
        let inputs = session.inputs().iter().map(spec).collect::<Result<Vec<_>, _>>();
        let outputs = session.outputs().iter().map(spec).collect::<Result<Vec<_>, _>>();
        let signature = Signature {
            inputs: inputs.map_err(|reason| format!("input {reason}"))?,
            outputs: outputs.map_err(|reason| format!("output {reason}"))?,
            batch_axis: false,
        };
        if let Some(labelled) = signature.inputs.iter().find(|spec| spec.labels.is_some()) {
            return Err(format!("input `{}` is a sequence of maps, which Hedef does not take", labelled.name));
        }
        Ok((Self { session, signature }, placement))
    }
}

impl Backend for OnnxBackend {
    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn run(&mut self, inputs: &[&Tensor], outputs: &[usize]) -> Result<Vec<Tensor>, RunError> {
        let values = inputs.iter().map(|tensor| value(tensor)).collect::<Result<Vec<_>, _>>().map_err(refusal)?;
        let specs: Vec<_> = outputs.iter().filter_map(|position| self.signature.outputs.get(*position)).collect();
        let options = selection(&self.signature, &specs).map_err(refusal)?;
        let found = match &options {
            Some(options) => self.session.run_with_options(values.as_slice(), options),
            None => self.session.run(values.as_slice()),
        }
        .map_err(refusal)?;
        let missing = |spec: &TensorSpec| RunError::Runtime(format!("output `{}` is missing", spec.name));
        specs.iter().map(|spec| tensor(found.get(&spec.name).ok_or_else(|| missing(spec))?, spec)).collect()
    }
}

/// Opens a session on the device asked for; `auto` tries CUDA where it may be there.
fn place(runtime: &Runtime, path: &Path, options: &SessionOptions) -> Result<(Session, Placement), String> {
    let on = |device| open(runtime, path, options, device);
    let placed = |device, reason: &str, session| (session, Placement { device, reason: reason.into() });
    match options.device {
        Device::Cpu => Ok(placed(Device::Cpu, "asked for", on(Device::Cpu)?)),
        Device::Cuda(number) => Ok(placed(Device::Cuda(number), "asked for", on(Device::Cuda(number))?)),
        Device::Auto if !runtime.has_cuda() => {
            Ok(placed(Device::Cpu, "this ONNX Runtime has no CUDA library beside it", on(Device::Cpu)?))
        }
        Device::Auto => match on(Device::Cuda(0)) {
            Ok(session) => Ok(placed(Device::Cuda(0), "CUDA is there", session)),
            Err(error) => Ok(placed(Device::Cpu, &format!("CUDA cannot be used: {error}"), on(Device::Cpu)?)),
        },
    }
}

fn open(runtime: &Runtime, path: &Path, options: &SessionOptions, device: Device) -> Result<Session, String> {
    // Element types it does not know make `ort` panic while it reads the model's inputs and outputs.
    let opened = catch_unwind(AssertUnwindSafe(|| builder(runtime, options, device)?.commit_from_file(path)));
    match opened {
        Ok(session) => session.map_err(|error| error.message().to_owned()),
        Err(_) => Err("an input or output is of a type that Hedef does not know".into()),
    }
}

fn builder(runtime: &Runtime, options: &SessionOptions, device: Device) -> ort::Result<SessionBuilder> {
    let builder = Session::builder(&runtime.environment)?
        .with_optimization_level(GraphOptimizationLevel::All)?
        .with_intra_threads(options.threads)?
        .with_intra_op_spinning(false)?
        .with_inter_threads(1)?
        .with_memory_pattern(options.memory_pattern)?;
    let cpu = ep::CPU::default().with_arena_allocator(options.arena).build();
    match device {
        Device::Cuda(number) => {
            let cuda = ep::CUDA::default()
                .with_device_id(number)
                .with_conv_algorithm_search(ep::cuda::ConvAlgorithmSearch::Heuristic)
                .build()
                .error_on_failure();
            Ok(builder.with_execution_providers([cuda, cpu])?)
        }
        Device::Auto | Device::Cpu => {
            Ok(builder.with_auto_device(AutoDevicePolicy::PreferCPU)?.with_execution_providers([cpu])?)
        }
    }
}

/// The declaration of one input or output.
fn spec(outlet: &Outlet, facts: &ModelFacts) -> Result<TensorSpec, String> {
    let name = outlet.name();
    let unknown = |what: &dyn std::fmt::Display| format!("`{name}` is of type {what}, which Hedef cannot carry");
    match outlet.dtype() {
        ValueType::Tensor { ty, shape, dimension_symbols } => {
            let data_type = data_type(*ty).ok_or_else(|| unknown(ty))?;
            let dims = shape.iter().zip(dimension_symbols.iter()).map(|(&size, symbol)| match usize::try_from(size) {
                Ok(size) => Dim::Fixed(size),
                Err(_) if symbol.is_empty() => Dim::Free,
                Err(_) => Dim::Symbol(symbol.clone()),
            });
            let dims = (!shape.is_empty() || !facts.unranked.contains(name)).then(|| dims.collect());
            Ok(TensorSpec::new(name, data_type, dims))
        }
        sequence @ ValueType::Sequence(_) => {
            let labels = facts.zipmap_labels.get(name).ok_or_else(|| unknown(sequence))?;
            let dims = vec![Dim::Free, Dim::Fixed(labels.len())];
            let labels = Some(Arc::from(labels.as_slice()));
            Ok(TensorSpec { labels, ..TensorSpec::new(name, DataType::Fp32, Some(dims)) })
        }
        other => Err(unknown(other)),
    }
}

const fn data_type(ty: TensorElementType) -> Option<DataType> {
    Some(match ty {
        TensorElementType::Bool => DataType::Bool,
        TensorElementType::Uint8 => DataType::Uint8,
        TensorElementType::Uint16 => DataType::Uint16,
        TensorElementType::Uint32 => DataType::Uint32,
        TensorElementType::Uint64 => DataType::Uint64,
        TensorElementType::Int8 => DataType::Int8,
        TensorElementType::Int16 => DataType::Int16,
        TensorElementType::Int32 => DataType::Int32,
        TensorElementType::Int64 => DataType::Int64,
        TensorElementType::Float16 => DataType::Fp16,
        TensorElementType::Bfloat16 => DataType::Bf16,
        TensorElementType::Float32 => DataType::Fp32,
        TensorElementType::Float64 => DataType::Fp64,
        TensorElementType::String => DataType::Bytes,
        _ => return None,
    })
}

/// Lends a tensor to ONNX Runtime; only strings are copied.
fn value(tensor: &Tensor) -> ort::Result<SessionInputValue<'_>> {
    fn view<'a, T>(tensor: &Tensor, elements: &'a [T]) -> ort::Result<SessionInputValue<'a>>
    where
        T: PrimitiveTensorElementType + std::fmt::Debug + Clone + 'static,
    {
        Ok(TensorRef::from_array_view((tensor.shape().dims().to_vec(), elements))?.into())
    }
    match tensor.data() {
        Data::Bool(elements) => view(tensor, elements),
        Data::Uint8(elements) => view(tensor, elements),
        Data::Uint16(elements) => view(tensor, elements),
        Data::Uint32(elements) => view(tensor, elements),
        Data::Uint64(elements) => view(tensor, elements),
        Data::Int8(elements) => view(tensor, elements),
        Data::Int16(elements) => view(tensor, elements),
        Data::Int32(elements) => view(tensor, elements),
        Data::Int64(elements) => view(tensor, elements),
        Data::Fp16(elements) => view(tensor, elements),
        Data::Bf16(elements) => view(tensor, elements),
        Data::Fp32(elements) => view(tensor, elements),
        Data::Fp64(elements) => view(tensor, elements),
        Data::Bytes(elements) => Ok(strings::value(tensor.shape(), elements)?.into()),
    }
}

/// Run options for these outputs only; none when they are all there are.
fn selection(signature: &Signature, wanted: &[&TensorSpec]) -> ort::Result<Option<RunOptions<HasSelectedOutputs>>> {
    if wanted.len() == signature.outputs.len() {
        return Ok(None);
    }
    let selector = wanted.iter().fold(OutputSelector::no_default(), |all, spec| all.with(&*spec.name));
    Ok(Some(RunOptions::new()?.with_outputs(selector)))
}

/// Copies one output out of ONNX Runtime.
fn tensor(value: &DynValue, spec: &TensorSpec) -> Result<Tensor, RunError> {
    if let Some(labels) = &spec.labels
        && value.dtype().is_sequence()
    {
        return probabilities(value, labels);
    }
    match spec.data_type {
        DataType::Bool => copy::<bool>(value),
        DataType::Uint8 => copy::<u8>(value),
        DataType::Uint16 => copy::<u16>(value),
        DataType::Uint32 => copy::<u32>(value),
        DataType::Uint64 => copy::<u64>(value),
        DataType::Int8 => copy::<i8>(value),
        DataType::Int16 => copy::<i16>(value),
        DataType::Int32 => copy::<i32>(value),
        DataType::Int64 => copy::<i64>(value),
        DataType::Fp16 => copy::<f16>(value),
        DataType::Bf16 => copy::<bf16>(value),
        DataType::Fp32 => copy::<f32>(value),
        DataType::Fp64 => copy::<f64>(value),
        DataType::Bytes => {
            let shape = shape(value.dtype().tensor_shape().map_or(&[][..], |shape| shape))?;
            let elements = strings::elements(value, shape.elements().unwrap_or(0)).map_err(refusal)?;
            whole(shape, elements)
        }
    }
}

fn copy<T: Element + PrimitiveTensorElementType>(value: &DynValue) -> Result<Tensor, RunError> {
    let (dims, elements) = value.try_extract_tensor::<T>().map_err(refusal)?;
    whole(shape(dims)?, elements.to_vec())
}

fn shape(dims: &[i64]) -> Result<Shape, RunError> {
    let dims: Result<Vec<_>, _> = dims.iter().map(|dim| usize::try_from(*dim)).collect();
    dims.map(Shape::new).map_err(|error| RunError::Runtime(error.to_string()))
}

fn whole<T: Element>(shape: Shape, elements: Vec<T>) -> Result<Tensor, RunError> {
    Tensor::from_elements(shape, elements).map_err(|error| RunError::Runtime(error.to_string()))
}

/// Makes a `[rows, classes]` tensor of a `ZipMap` output: a sequence of one map for each row.
fn probabilities(value: &DynValue, labels: &[String]) -> Result<Tensor, RunError> {
    let maps: Vec<DynMap> = value.try_extract_sequence().map_err(refusal)?;
    let column: HashMap<&str, usize> = labels.iter().enumerate().map(|(at, label)| (label.as_str(), at)).collect();
    let mut elements = vec![0_f32; maps.len() * labels.len()];
    for (row, map) in elements.chunks_exact_mut(labels.len().max(1)).zip(&maps) {
        for (label, probability) in entries(map).map_err(refusal)? {
            if let Some(element) = column.get(&*label).and_then(|at| row.get_mut(*at)) {
                *element = probability;
            }
        }
    }
    whole(Shape::from([maps.len(), labels.len()]), elements)
}

fn entries(map: &DynMap) -> ort::Result<Vec<(Cow<'static, str>, f32)>> {
    if matches!(map.dtype(), ValueType::Map { key: TensorElementType::Int64, .. }) {
        let entries = map.try_extract_key_values::<i64, f32>()?;
        return Ok(entries.into_iter().map(|(label, value)| (label.to_string().into(), value)).collect());
    }
    let entries = map.try_extract_key_values::<String, f32>()?;
    Ok(entries.into_iter().map(|(label, value)| (label.into(), value)).collect())
}

/// ONNX Runtime blames the caller with one code only.
fn refusal(error: ort::Error) -> RunError {
    match error.code() {
        // The text goes to the caller, so it must not tell paths.
        ort::ErrorCode::InvalidArgument => RunError::Inputs(explain(error.message())),
        _ => RunError::Runtime(error.message().to_owned()),
    }
}

/// Strings with NUL bytes or without valid UTF-8, which `ort` itself refuses.
#[expect(unsafe_code, reason = "ONNX Runtime's C functions carry such strings, `ort`'s safe ones do not")]
mod strings {
    use std::ptr;

    use ort::AsPointer;
    use ort::memory::Allocator;
    use ort::value::{DynTensor, DynValue, TensorElementType};

    use crate::Shape;

    /// Copies byte strings into a new value.
    pub(super) fn value(shape: &Shape, elements: &[Vec<u8>]) -> ort::Result<DynTensor> {
        let mut value = DynTensor::new(&Allocator::default(), TensorElementType::String, shape.dims().to_vec())?;
        for (index, element) in elements.iter().enumerate() {
            let mut buffer = ptr::null_mut();
            // SAFETY: `value` is a live string tensor of `elements.len()` elements, so `index` is inside it, and on
            // success `buffer` points to `element.len()` writable bytes that belong to it.
            unsafe {
                let resize = ort::api().GetResizedStringTensorElementBuffer;
                ort::Error::result_from_status(resize(value.ptr_mut(), index, element.len(), &raw mut buffer))?;
                ptr::copy_nonoverlapping(element.as_ptr(), buffer.cast(), element.len());
            }
        }
        Ok(value)
    }

    /// Copies the `count` byte strings of a value.
    pub(super) fn elements(value: &DynValue, count: usize) -> ort::Result<Vec<Vec<u8>>> {
        let mut length = 0;
        // SAFETY: `value` lives; ONNX Runtime answers with an error if it holds no strings.
        unsafe {
            let measure = ort::api().GetStringTensorDataLength;
            ort::Error::result_from_status(measure(value.ptr(), &raw mut length))?;
        }
        let (mut bytes, mut offsets) = (vec![0_u8; length], vec![0_usize; count]);
        // SAFETY: both buffers have the lengths passed beside them.
        unsafe {
            let read = ort::api().GetStringTensorContent;
            let (content, starts) = (bytes.as_mut_ptr().cast(), offsets.as_mut_ptr());
            ort::Error::result_from_status(read(value.ptr(), content, length, starts, count))?;
        }
        let ends = offsets.iter().copied().skip(1).chain([length]);
        Ok(offsets.iter().zip(ends).map(|(&from, to)| bytes.get(from..to).unwrap_or_default().to_vec()).collect())
    }
}
