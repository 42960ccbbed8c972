//! Opens sessions: on which device, and with which settings.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use ort::ep;
use ort::session::Session;
use ort::session::builder::{AutoDevicePolicy, GraphOptimizationLevel, SessionBuilder};

use super::{Placement, Runtime, SessionOptions, cuda, introspection, openvino};
use crate::Device;
use crate::host::Denormals;
use crate::preflight::explain;

/// Opens a session on the device asked for; `auto` tries CUDA where it may be there. OpenVINO is opt-in.
pub(super) fn place(runtime: &Runtime, path: &Path, options: &SessionOptions) -> Result<(Session, Placement), String> {
    let on = |device| open(runtime, path, options, device);
    let placed = |device, reason: &str, session| (session, Placement { device, reason: reason.into() });
    if let Some(placement) = surely_cpu(runtime, options.device) {
        return Ok((on(Device::Cpu)?, placement));
    }
    match options.device {
        Device::Cuda(number) => {
            let session = on(Device::Cuda(number))?;
            let elsewhere = introspection::elsewhere(&session, cuda::PROVIDER);
            Ok(placed(Device::Cuda(number), &format!("asked for{elsewhere}"), session))
        }
        Device::OpenVino => {
            let precision = openvino::register(runtime)?.in_words(options.openvino);
            let session = on(Device::OpenVino)?;
            let elsewhere = introspection::elsewhere(&session, openvino::PROVIDER);
            Ok(placed(Device::OpenVino, &format!("asked for; {precision}{elsewhere}"), session))
        }
        Device::Cpu | Device::Auto => match on(Device::Cuda(0)) {
            Ok(session) if introspection::takes_none(&session, cuda::PROVIDER) => {
                Ok(placed(Device::Cpu, "none of its nodes can run on CUDA", on(Device::Cpu)?))
            }
            Ok(session) => {
                let elsewhere = introspection::elsewhere(&session, cuda::PROVIDER);
                Ok(placed(Device::Cuda(0), &format!("CUDA is there{elsewhere}"), session))
            }
            Err(error) => {
                Ok(placed(Device::Cpu, &format!("CUDA cannot be used: {}", explain(&error)), on(Device::Cpu)?))
            }
        },
    }
}

/// The CPU, where that is certain before anything is tried, and why.
pub(super) fn surely_cpu(runtime: &Runtime, device: Device) -> Option<Placement> {
    let reason = match device {
        Device::Cpu => "asked for",
        Device::Auto if !runtime.has_cuda() => "this ONNX Runtime has no CUDA library beside it",
        Device::Auto | Device::Cuda(_) | Device::OpenVino => return None,
    };
    Some(Placement { device: Device::Cpu, reason: reason.into() })
}

fn open(runtime: &Runtime, path: &Path, options: &SessionOptions, device: Device) -> Result<Session, String> {
    guarded(|| builder(runtime, options, device)?.commit_from_file(path))
}

/// Makes a session. Element types it does not know make `ort` panic while it reads the model's inputs and outputs.
pub(super) fn guarded<T>(make: impl FnOnce() -> ort::Result<T>) -> Result<T, String> {
    match catch_unwind(AssertUnwindSafe(make)) {
        Ok(session) => session.map_err(|error| error.message().to_owned()),
        Err(_) => Err("an input or output is of a type that Hedef does not know".into()),
    }
}

/// How the threads of one run wait for one another: asleep, or spinning for a short while. Spinning for long burns a
/// core while there is little to do: 84 to 100 % of it with one request each 5 ms, 4 % with 50 µs.
fn spinning(builder: SessionBuilder, options: &SessionOptions, minor_version: u32) -> ort::Result<SessionBuilder> {
    if !options.spin || options.threads == 1 {
        return Ok(builder.with_intra_op_spinning(false)?);
    }
    let builder = builder.with_intra_op_spinning(true)?;
    // Older versions leave aside what they do not know, and would spin for long.
    Ok(if minor_version >= 31 {
        builder.with_config_entry("session.intra_op.spin_duration_us", "50")?
    } else {
        builder.with_config_entry("session.force_spinning_stop", "1")?
    })
}

pub(super) fn builder(runtime: &Runtime, options: &SessionOptions, device: Device) -> ort::Result<SessionBuilder> {
    let builder = Session::builder(&runtime.environment)?
        .with_optimization_level(GraphOptimizationLevel::All)?
        .with_intra_threads(options.threads)?
        .with_inter_threads(1)?
        .with_memory_pattern(options.memory_pattern.unwrap_or(!matches!(device, Device::Cuda(_))))?;
    let builder = spinning(builder, options, runtime.minor_version)?;
    // The calling thread flushes by itself; this is for the others of a run.
    let builder = match options.denormals {
        Denormals::Flush if options.threads > 1 => builder.with_flush_to_zero()?,
        Denormals::Flush | Denormals::Keep => builder,
    };
    let builder = if options.arena { builder.with_env_allocators()? } else { builder };
    let cpu = ep::CPU::default().with_arena_allocator(options.arena).build();
    match device {
        Device::Cuda(number) => {
            cuda::preload(&runtime.library);
            let cuda = cuda::provider(number, options.cuda).build().error_on_failure();
            Ok(introspection::recording(builder)?.with_execution_providers([cuda, cpu])?)
        }
        Device::OpenVino => {
            let builder = introspection::recording(builder)?;
            let devices = openvino::devices(&runtime.environment);
            Ok(builder.with_devices(devices, Some(&openvino::keys(options)))?.with_execution_providers([cpu])?)
        }
        Device::Auto | Device::Cpu => {
            Ok(builder.with_auto_device(AutoDevicePolicy::PreferCPU)?.with_execution_providers([cpu])?)
        }
    }
}
