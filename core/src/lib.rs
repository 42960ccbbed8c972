//! Given tensors for a named model, returns tensors.
//!
//! The core of Hedef: tensors, models and their signatures, the repository that holds the models, the scheduler
//! that forms batches, and the backend that runs them through ONNX Runtime. It knows nothing of HTTP, gRPC, MQTT
//! or JSON.

pub mod backend;
pub mod cache;
mod data_type;
mod device;
mod elements;
pub mod error;
pub mod host;
pub mod image;
pub mod metrics;
pub mod model;
mod name;
mod padding;
pub mod preflight;
pub mod repository;
mod request;
pub mod runtime;
mod scheduler;
pub mod settings;
mod signature;
pub mod statistics;
pub mod story;
mod tensor;
mod verdict;
mod warm_up;

pub use data_type::DataType;
pub use device::Device;
pub use elements::Elements;
pub use error::{Error, InvalidRequest, Kind};
pub use model::Model;
pub use name::{InvalidModelName, ModelId, ModelName, ModelVersion};
pub use request::{Request, Response, Timings};
pub use signature::{Dim, Signature, TensorSpec};
pub use tensor::{Data, Element, Shape, ShapeMismatch, Tensor};
