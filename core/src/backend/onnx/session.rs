//! Opens sessions: on which device, and with which settings.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use ort::ep;
use ort::session::Session;
use ort::session::builder::{AutoDevicePolicy, GraphOptimizationLevel, SessionBuilder};

use super::{Placement, Runtime, SessionOptions};
use crate::Device;
use crate::host::Denormals;

/// Opens a session on the device asked for; `auto` tries CUDA where it may be there.
pub(super) fn place(runtime: &Runtime, path: &Path, options: &SessionOptions) -> Result<(Session, Placement), String> {
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

fn builder(runtime: &Runtime, options: &SessionOptions, device: Device) -> ort::Result<SessionBuilder> {
    let builder = Session::builder(&runtime.environment)?
        .with_optimization_level(GraphOptimizationLevel::All)?
        .with_intra_threads(options.threads)?
        .with_inter_threads(1)?
        .with_memory_pattern(options.memory_pattern)?;
    let builder = spinning(builder, options, runtime.minor_version)?;
    // The calling thread flushes by itself; this is for the others of a run.
    let builder = match options.denormals {
        Denormals::Flush if options.threads > 1 => builder.with_flush_to_zero()?,
        Denormals::Flush | Denormals::Keep => builder,
    };
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
