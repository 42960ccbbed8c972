//! What can be fetched: ONNX Runtime as it is, a small one, the one with CUDA, and the plug-in that runs models in
//! OpenVINO.

use std::fmt;

use super::pinned::{SMALL_VERSION, VERSION, pinned};

/// A package on PyPI that is fetched by version and hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Package {
    /// ONNX Runtime for the CPU.
    OnnxRuntime,
    /// ONNX Runtime for the CPU as `hedef-edge` is released with: older, smaller, for older systems and for ARMv7 too.
    Small,
    /// ONNX Runtime with CUDA, in place of the other.
    Cuda,
    /// The plug-in for OpenVINO, beside either of them.
    OpenVino,
}

impl Package {
    /// ONNX Runtime for the CPU of `target`, a Rust target triple: the small one where there is no other.
    #[must_use]
    pub fn for_cpu(target: &str) -> Self {
        let is_for = |package: Self| pinned(package, target).is_ok();
        if is_for(Self::Small) && !is_for(Self::OnnxRuntime) { Self::Small } else { Self::OnnxRuntime }
    }

    /// Its name on PyPI.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::OnnxRuntime => "onnxruntime",
            Self::Small => "sherpa-onnx-core",
            Self::Cuda => "onnxruntime-gpu",
            Self::OpenVino => "onnxruntime-ep-openvino",
        }
    }

    /// Its version on PyPI.
    pub(super) const fn version(self) -> &'static str {
        match self {
            Self::OnnxRuntime | Self::Cuda => VERSION,
            Self::Small => "2.0.1",
            Self::OpenVino => "1.8.1",
        }
    }

    /// What the name of its folder in the cache begins with.
    pub(super) const fn folder_prefix(self) -> &'static str {
        match self {
            Self::OnnxRuntime => "",
            Self::Small => "small-",
            Self::Cuda => "cuda-",
            Self::OpenVino => "openvino-",
        }
    }

    /// How a person gets by without fetching it; `library` is its file's name.
    pub(super) fn way_out(self, library: &str) -> String {
        match self {
            Self::OnnxRuntime | Self::Small | Self::Cuda => {
                format!("put {library} beside the program, or pass --onnxruntime PATH")
            }
            Self::OpenVino => {
                format!(
                    "put {library} and what its wheel holds beside it into the folder `openvino` beside ONNX Runtime's library"
                )
            }
        }
    }
}

impl fmt::Display for Package {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let version = self.version();
        match self {
            Self::OnnxRuntime => write!(f, "ONNX Runtime {version}"),
            Self::Small => write!(f, "ONNX Runtime {SMALL_VERSION}, the small one"),
            Self::Cuda => write!(f, "ONNX Runtime {version} with CUDA"),
            Self::OpenVino => write!(f, "ONNX Runtime's OpenVINO plug-in {version}"),
        }
    }
}
