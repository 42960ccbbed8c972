//! Whether a packed model works: it is loaded, and its golden requests are asked.

use std::fs;
use std::path::Path;

use anyhow::Context;
use hedef_protocols::bundle::{BundleError, Manifest};
use hedef_protocols::golden::Golden;
use hedef_protocols::v2;

use crate::arguments::Engine;
use crate::engine::one_model;

/// Loads the package in `folder` and asks its golden requests. Fails with the first answer that differs.
pub(super) fn ask(engine: &Engine, folder: &Path, manifest: &Manifest) -> anyhow::Result<()> {
    let one = one_model(engine, folder, false)?;
    let model = one.repository.model(&one.name, Some(&manifest.version.to_string()))?;
    let waiting = tokio::runtime::Builder::new_current_thread().build()?;
    for path in &manifest.golden {
        let bytes = fs::read(folder.join(path)).with_context(|| path.clone())?;
        let golden = Golden::parse(path, &bytes)?;
        let decoded = v2::decode(golden.request(), None, model.signature()).with_context(|| path.clone())?;
        let response = waiting.block_on(model.infer(decoded.request)).with_context(|| path.clone())?;
        // All in JSON, whatever is asked for.
        let outputs = decoded.reply.outputs.into_iter().map(|wish| v2::Wish { binary: None, ..wish }).collect();
        let reply = v2::Reply { binary: false, outputs, ..decoded.reply };
        let answer = v2::encode(&response, model.signature(), &reply).with_context(|| path.clone())?;
        golden.compare(&answer.body).map_err(|difference| BundleError::Unexpected {
            place: format!("golden request `{path}`"),
            expected: "the answer in it".into(),
            found: format!("another: {difference}"),
        })?;
    }
    Ok(())
}
