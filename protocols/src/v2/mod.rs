//! Open Inference Protocol v2 over HTTP, with the extensions that Triton made: binary tensor data, classification,
//! model repository, statistics, model configuration and logging.
//!
//! Source: <https://github.com/kserve/open-inference-protocol> and the `docs/protocol` folder of
//! <https://github.com/triton-inference-server/server>.

pub mod binary;
mod classification;
mod config;
mod decode;
mod encode;
mod example;
pub mod grpc;
mod header;
mod input;
mod load;
mod logging;
mod metadata;
mod output;
mod parameters;
mod place;
mod raw;
mod repository;
mod statistics;
mod status;
#[cfg(test)]
mod tests;

pub use config::{InstanceKind, ModelConfig, VersionPolicy, config};
pub use decode::{Decoded, decode, decode_within, timeout_us};
pub use encode::{Encoded, encode};
pub use example::example;
pub use header::json_length;
pub use load::{ConfigOverride, LoadRequest, decode_load};
pub use logging::{LogChange, LogSettings, decode_logging, logging};
pub use metadata::{error, live, metadata, model_ready, models, ready, server_metadata};
pub use output::{Reply, Wish};
pub use repository::{IndexEntry, IndexQuery, State, UnloadRequest, decode_index, decode_unload, index};
pub use statistics::statistics;
pub use status::status;

/// Prints a small document.
fn print(document: &impl serde::Serialize) -> Vec<u8> {
    // Fails only for maps whose keys are no strings; these documents have none.
    serde_json::to_vec(document).unwrap_or_default()
}
