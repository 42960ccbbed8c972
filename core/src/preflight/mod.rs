//! Reads an ONNX file without ONNX Runtime, and says in plain words whether it can be served and if not, why.

mod error;
mod explain;
mod external;
mod inspection;
mod limits;
mod outline;
mod proto;
mod recognise;
mod walk;
mod weights;
mod window;

#[cfg(test)]
mod fixture;

use std::path::Path;

pub use error::PreflightError;
pub use explain::{explain, is_out_of_memory};
pub use inspection::{
    Declared, DeclaredDim, DeclaredType, ElementType, ExternalFile, Inspection, Labels, ZipMapLabels,
};
pub use limits::Limits;

/// Reads the model file at `path`: what it declares, what it needs, and whether its own parts are all there.
///
/// Weights are skipped, so that this takes milliseconds and little memory whatever the file's size.
///
/// # Errors
/// [`PreflightError`] where the file is no whole ONNX model, or its external data is missing or out of bounds.
/// The texts name files relative to the model's folder only.
pub fn inspect(path: &Path) -> Result<Inspection, PreflightError> {
    let file = path.file_name().map_or_else(|| "model".into(), |name| name.to_string_lossy().into_owned());
    let model = outline::read(path, &file)?;
    let mut inspection = inspection::of_model(&model.proto, model.bytes, file)?;
    inspection.external_files = external::check(path, &inspection.file, &model.proto)?;
    Ok(inspection)
}

/// Reads the model file at `path` and holds it against what this runtime and this machine allow.
///
/// # Errors
/// [`PreflightError`], one sentence that says what is wrong and what helps.
pub fn check(path: &Path, limits: &Limits) -> Result<Inspection, PreflightError> {
    let inspection = inspect(path)?;
    limits.admit(&inspection)?;
    Ok(inspection)
}
