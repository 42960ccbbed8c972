//! Sessions on an optimised graph that was saved earlier, whose bytes are read where they lie.

use std::path::Path;
use std::sync::Arc;

use ort::logging::LogLevel;

use super::session::{builder, guarded};
use super::{ModelFacts, OnnxBackend, Runtime, SessionOptions};
use crate::Device;
use crate::cache::Map;

impl OnnxBackend {
    /// Opens the model at `path` on the CPU, and writes its optimised graph and its weights to `graph`, in ONNX
    /// Runtime's own format.
    pub(crate) fn open_saving(
        runtime: &Runtime,
        path: &Path,
        options: &SessionOptions,
        facts: &ModelFacts,
        graph: &Path,
    ) -> Result<Self, String> {
        let session = guarded(|| {
            builder(runtime, options, Device::Cpu)?
                // It warns that the file is for this kind of processor only; the key of the cache says as much.
                .with_log_level(LogLevel::Error)?
                .with_optimized_model_path(graph)?
                .with_config_entry("session.save_model_format", "ORT")?
                .commit_from_file(path)
        })?;
        Self::of(&session, None, options, facts)
    }

    /// Opens a graph that [`OnnxBackend::open_saving`] wrote. The session uses the bytes of `graph` in place, the
    /// weights among them, so that they are in memory once for all processes, and leave it when others need it more.
    pub(crate) fn open_saved(
        runtime: &Runtime,
        graph: &Arc<Map>,
        options: &SessionOptions,
        facts: &ModelFacts,
    ) -> Result<Self, String> {
        let session = guarded(|| builder(runtime, options, Device::Cpu)?.commit_from_memory_directly(graph.bytes()))?;
        // Some weights were copied into another order, and are not read again where they stand.
        graph.let_go();
        // The call keeps the session beyond what `ort` ties to the bytes; the backend keeps the bytes for longer.
        Ok(Self { graph: Some(Arc::clone(graph)), ..Self::of(&session, None, options, facts)? })
    }

    /// The bytes that are mapped from a file instead of being in memory of their own.
    pub(crate) fn mapped_bytes(&self) -> u64 {
        self.graph.as_ref().map_or(0, |graph| u64::try_from(graph.bytes().len()).unwrap_or(u64::MAX))
    }
}
