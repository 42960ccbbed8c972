//! CUDA: the provider's settings, its libraries, and the memory that inputs and outputs go through.

use std::path::{Path, PathBuf};
use std::sync::Once;

use ort::ep::{self, ArbitrarilyConfigurableExecutionProvider};
use ort::memory::{AllocationDevice, AllocatorType, MemoryInfo, MemoryType};
use ort::session::Session;

use super::pinned::Pinned;
use crate::settings::Cuda;

/// The provider's name in ONNX Runtime.
pub(super) const PROVIDER: &str = "CUDAExecutionProvider";

/// The provider of the device of that number.
pub(super) fn provider(number: i32, settings: Cuda) -> ep::CUDA {
    keys(number, settings)
        .into_iter()
        .fold(ep::CUDA::default(), |provider, (key, value)| provider.with_arbitrary_config(key, value))
}

/// The provider's settings. Memory is taken as it is needed, not doubled, so that models can share a device; cuDNN says
/// which algorithm suits a convolution instead of trying all, which takes seconds for each new shape; and FP32 is
/// computed in FP32, as on the CPU, where ONNX Runtime by itself would take TF32.
fn keys(number: i32, settings: Cuda) -> Vec<(&'static str, String)> {
    let mut keys = vec![
        ("device_id", number.to_string()),
        ("arena_extend_strategy", "kSameAsRequested".to_owned()),
        ("cudnn_conv_algo_search", "HEURISTIC".to_owned()),
        ("use_tf32", u8::from(settings.tf32).to_string()),
    ];
    if let Some(mib) = settings.memory_limit_mib {
        keys.push(("gpu_mem_limit", (u64::from(mib.get()) << 20).to_string()));
    }
    keys
}

/// Loads CUDA's libraries and cuDNN's where the wheels that carry them lie beside ONNX Runtime's library: the system
/// would not look there.
pub(super) fn preload(library: &Path) {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let (cuda, cudnn) = folders(library);
        let preloaded = ep::cuda::preload_dylibs(cuda.as_deref(), cudnn.as_deref());
        if let Err(error) = preloaded {
            // One that is needed is missed by name when a session is opened.
            tracing::warn!("of CUDA's libraries beside ONNX Runtime not all load: {}", error.message());
        }
    });
}

/// The folders of CUDA's libraries and of cuDNN's, as `nvidia` beside ONNX Runtime's library holds them, or the
/// `site-packages` that the library lies in (`onnxruntime/capi`).
fn folders(library: &Path) -> (Option<PathBuf>, Option<PathBuf>) {
    let roots = library.ancestors().skip(1).take(3).map(|folder| folder.join("nvidia"));
    let roots: Vec<_> = roots.filter(|folder| folder.is_dir()).collect();
    let leaf = if cfg!(windows) { "bin" } else { "lib" };
    let find = |name: &str| roots.iter().map(|root| root.join(name).join(leaf)).find(|folder| folder.is_dir());
    (find("cu13"), find("cudnn"))
}

/// Pinned memory for a session on the device of that number. Without it, runs are right and a little slower.
pub(super) fn pinned(session: &Session, number: i32) -> Option<Pinned> {
    let memory = MemoryInfo::new(AllocationDevice::CUDA_PINNED, number, AllocatorType::Device, MemoryType::CPUOutput);
    match memory.and_then(|memory| Pinned::new(session, memory)) {
        Ok(pinned) => Some(pinned),
        Err(error) => {
            tracing::warn!("no pinned memory for inputs and outputs: {}", error.message());
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::num::NonZeroU32;

    use super::*;

    #[test]
    fn a_memory_limit_is_given_in_bytes_and_only_where_it_is_set() {
        let keys = |mib| keys(1, Cuda { memory_limit_mib: NonZeroU32::new(mib), ..Cuda::default() });
        assert!(keys(6144).contains(&("gpu_mem_limit", "6442450944".to_owned())));
        assert!(keys(0).iter().all(|(key, _)| *key != "gpu_mem_limit"));
        for expected in [("device_id", "1"), ("arena_extend_strategy", "kSameAsRequested")] {
            assert!(keys(0).contains(&(expected.0, expected.1.to_owned())));
        }
    }

    #[test]
    fn the_wheels_of_cuda_are_found_beside_the_library_and_in_its_site_packages() {
        let root = tempfile::tempdir().unwrap();
        let packages = root.path().join("site-packages");
        let library = packages.join("onnxruntime/capi/libonnxruntime.so");
        assert_eq!(folders(&library), (None, None));
        let leaf = if cfg!(windows) { "bin" } else { "lib" };
        let (cuda, cudnn) = (packages.join("nvidia/cu13").join(leaf), packages.join("nvidia/cudnn").join(leaf));
        fs::create_dir_all(&cuda).unwrap();
        fs::create_dir_all(&cudnn).unwrap();
        assert_eq!(folders(&library), (Some(cuda), Some(cudnn.clone())));
        let beside = packages.join("onnxruntime/capi/nvidia/cu13").join(leaf);
        fs::create_dir_all(&beside).unwrap();
        assert_eq!(folders(&library), (Some(beside), Some(cudnn)));
    }
}
