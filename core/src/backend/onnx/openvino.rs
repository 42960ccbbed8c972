//! OpenVINO, through its plug-in for ONNX Runtime: registered once, when the first model asks for it.

use std::fmt::Write as _;
use std::sync::{Mutex, PoisonError};

use ort::device::Device;
use ort::environment::Environment;
use ort::memory::DeviceType;

use super::{Runtime, SessionOptions, introspection};
use crate::host::Denormals;
use crate::runtime::{Dirs, locate_openvino};
use crate::settings::{OpenVino, Precision};

/// The name under which the plug-in offers its devices.
pub(super) const PROVIDER: &str = "OpenVINOExecutionProvider";

/// Whether the plug-in is in ONNX Runtime's environment, which is one for the process, too.
static REGISTERED: Mutex<bool> = Mutex::new(false);

/// What OpenVINO computes in on this CPU when it may choose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Native {
    /// The CPU has instructions for bf16.
    Bf16,
    /// It has none.
    F32,
}

impl Native {
    /// What OpenVINO says of the CPU, as `FP32 BF16 INT8 …`.
    fn of(capabilities: &str) -> Self {
        if capabilities.split_whitespace().any(|word| word == "BF16") { Self::Bf16 } else { Self::F32 }
    }

    /// What a model is computed in, and why.
    pub(super) const fn in_words(self, settings: OpenVino) -> &'static str {
        match (settings.precision, self) {
            (Precision::F32, _) => "computes in f32, as model.toml says",
            (Precision::Auto, Self::F32) => "computes in f32, since this CPU has no instructions for bf16",
            (Precision::Auto, Self::Bf16) => {
                "computes in bf16, about three digits, for which this CPU has instructions; \
                 precision = \"f32\" under [openvino] in model.toml forbids it"
            }
        }
    }
}

/// Makes OpenVINO known to ONNX Runtime, once in a process. A plug-in that was not there may be there the next time.
pub(super) fn register(runtime: &Runtime) -> Result<Native, String> {
    let mut registered = REGISTERED.lock().unwrap_or_else(PoisonError::into_inner);
    if !*registered {
        let plugin = locate_openvino(&runtime.library, &Dirs::from_process())
            .ok_or("device = \"openvino\" needs ONNX Runtime's OpenVINO plug-in, which is not on this machine: `hedef runtime fetch --with openvino` fetches it")?;
        runtime
            .environment
            .register_ep_library("hedef-openvino", &plugin)
            .map_err(|error| format!("the OpenVINO plug-in cannot be loaded: {}", error.message()))?;
        tracing::info!(path = %plugin.display(), "the OpenVINO plug-in is loaded");
        *registered = true;
    }
    let device = devices(&runtime.environment).next().ok_or_else(|| not_taken(&runtime.environment))?;
    Ok(Native::of(&introspection::metadata(&device, c"OPTIMIZATION_CAPABILITIES").unwrap_or_default()))
}

/// Why there is no such device.
fn not_taken(environment: &Environment) -> String {
    let hardware = environment.devices().map(|device| device.hardware_device());
    let maker = hardware.filter(|hardware| hardware.ty() == DeviceType::CPU).find_map(|cpu| cpu.vendor().ok());
    format!(
        "the OpenVINO plug-in does not take this machine's processor, whose maker is {}: it is for Intel's. \
         Without device = \"openvino\" in model.toml the model runs on any",
        maker.unwrap_or("not known")
    )
}

/// The CPU, as OpenVINO offers it.
pub(super) fn devices(environment: &Environment) -> impl Iterator<Item = Device<'_>> {
    let cpu = |device: &Device<'_>| {
        device.ep().is_ok_and(|provider| provider == PROVIDER) && device.hardware_device().ty() == DeviceType::CPU
    };
    environment.devices().filter(cpu).take(1)
}

/// The plug-in's settings for a session. Of its own keys it heeds this one, which holds OpenVINO's.
///
/// Each run at once is a stream, and the threads are those of all streams. Pinned threads would share a processor with
/// those of other models while others idle.
pub(super) fn keys(options: &SessionOptions) -> Vec<(String, String)> {
    let (streams, threads) = (options.instances.max(1), options.threads.max(1));
    let denormals = options.denormals == Denormals::Flush;
    let mut config = format!(
        "\"NUM_STREAMS\":{streams},\"INFERENCE_NUM_THREADS\":{},\"ENABLE_CPU_PINNING\":false,\
         \"CPU_DENORMALS_OPTIMIZATION\":{denormals}",
        streams.saturating_mul(threads)
    );
    if options.openvino.precision == Precision::F32 {
        let _ = write!(config, ",\"INFERENCE_PRECISION_HINT\":\"f32\"");
    }
    vec![(format!("{PROVIDER}.load_config"), format!("{{\"CPU\":{{{config}}}}}"))]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::Cuda;

    fn options(instances: usize, threads: usize, precision: Precision) -> SessionOptions {
        SessionOptions {
            device: crate::Device::OpenVino,
            threads,
            spin: false,
            arena: false,
            memory_pattern: Some(false),
            denormals: Denormals::Keep,
            instances,
            cuda: Cuda::default(),
            openvino: OpenVino { precision },
        }
    }

    #[test]
    fn each_instance_is_a_stream_with_threads_of_its_own() {
        let keys = keys(&options(3, 2, Precision::Auto));
        assert_eq!(keys.len(), 1);
        assert_eq!(keys[0].0, "OpenVINOExecutionProvider.load_config");
        assert_eq!(
            keys[0].1,
            r#"{"CPU":{"NUM_STREAMS":3,"INFERENCE_NUM_THREADS":6,"ENABLE_CPU_PINNING":false,"CPU_DENORMALS_OPTIMIZATION":false}}"#
        );
    }

    #[test]
    fn f32_is_asked_for_by_name_and_the_rest_is_left_to_openvino() {
        assert!(keys(&options(1, 1, Precision::F32))[0].1.contains(r#""INFERENCE_PRECISION_HINT":"f32""#));
        assert!(!keys(&options(1, 1, Precision::Auto))[0].1.contains("PRECISION"));
    }

    #[test]
    fn what_a_model_is_computed_in_is_said_as_openvino_says_it() {
        let auto = OpenVino { precision: Precision::Auto };
        let f32 = OpenVino { precision: Precision::F32 };
        let words = |capabilities, settings| Native::of(capabilities).in_words(settings);
        assert!(words("WINOGRAD FP32 INT8 BIN EXPORT_IMPORT", auto).starts_with("computes in f32, since"));
        assert!(words("FP32 BF16 INT8", auto).starts_with("computes in bf16"));
        assert!(words("FP32 BF16 INT8", f32).contains("as model.toml says"));
    }
}
