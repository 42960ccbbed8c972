//! ONNX Runtime and nothing else: its environment, one session on a model's file, one run. `benches/cold-start` holds
//! the server against it.
//!
//! `bare LIBRARY MODEL.onnx` prints one line of JSON after the run: the milliseconds that each part took, and the first
//! elements of the first output for inputs of ones. Then it waits for the end of its standard input.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "this is what it is for")]

use std::collections::BTreeMap;
use std::error::Error;
use std::io::{Read, stdin};
use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;

use hedef_core::backend::Backend;
use hedef_core::backend::onnx::{ModelFacts, OnnxBackend, Runtime, SessionOptions};
use hedef_core::host::{configure_malloc, release_free_memory};
use hedef_core::{Data, DataType, Device, Dim, Shape, Tensor, TensorSpec};

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bare: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), Box<dyn Error>> {
    let began = Instant::now();
    let mut arguments = std::env::args().skip(1);
    let (Some(library), Some(model)) = (arguments.next(), arguments.next()) else {
        return Err("expected: bare LIBRARY MODEL.onnx".into());
    };
    configure_malloc();
    let runtime = Runtime::start(Path::new(&library))?;
    let started = Instant::now();
    let options = SessionOptions::plain(Device::Cpu);
    let (backend, _) = OnnxBackend::open(&runtime, Path::new(&model), &options, &ModelFacts::default())?;
    let opened = Instant::now();
    let signature = backend.signature();
    let inputs = signature.inputs.iter().map(ones).collect::<Result<Vec<_>, _>>()?;
    let outputs = backend.run(&inputs.iter().collect::<Vec<_>>(), &[0], None).map_err(|error| error.to_string())?;
    let ran = Instant::now();
    let first = outputs.first().and_then(Tensor::elements::<f32>).unwrap_or_default();
    let first: Vec<_> = first.iter().take(8).map(ToString::to_string).collect();
    let ms = |from: Instant, to: Instant| format!("{:.2}", (to - from).as_secs_f64() * 1e3);
    let parts = BTreeMap::from([
        ("environment_ms", ms(began, started)),
        ("session_ms", ms(started, opened)),
        ("run_ms", ms(opened, ran)),
        ("output", format!("[{}]", first.join(","))),
    ]);
    let parts: Vec<_> = parts.iter().map(|(name, value)| format!("\"{name}\":{value}")).collect();
    release_free_memory();
    println!("{{{}}}", parts.join(","));
    let mut rest = Vec::new();
    stdin().read_to_end(&mut rest)?;
    Ok(())
}

/// A tensor of ones: one row, and one element along each other free axis.
fn ones(spec: &TensorSpec) -> Result<Tensor, String> {
    let size = |dim: &Dim| match dim {
        Dim::Fixed(size) => *size,
        Dim::Free | Dim::Symbol(_) => 1,
    };
    let shape = Shape::new(spec.dims.iter().flatten().map(size).collect::<Vec<_>>());
    let count = shape.elements().ok_or("the input is too large")?;
    let data = match spec.data_type {
        DataType::Fp32 => Data::Fp32(vec![1.0; count].into()),
        DataType::Int64 => Data::Int64(vec![1; count].into()),
        other => return Err(format!("input `{}` is of type {other}, expected FP32 or INT64", spec.name)),
    };
    Tensor::new(shape, data).map_err(|error| error.to_string())
}
