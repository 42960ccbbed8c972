//! `hedef runtime`: ONNX Runtime's library, for images and for people who wonder.

use hedef_core::runtime::{Dirs, FetchProgress, fetch_for, host_target, locate};

use crate::arguments::Runtime;
use crate::logging::print;

/// Fetches or finds the library, and prints its path.
pub(crate) fn run(command: Runtime) -> anyhow::Result<()> {
    let dirs = Dirs::from_process();
    match command {
        Runtime::Fetch { target, to } => {
            let mut progress = FetchProgress::default();
            let target = target.as_deref().unwrap_or_else(|| host_target());
            let library = fetch_for(target, to.as_deref(), &dirs, |step| progress.show(step))?;
            print(&format!("{}\n", library.display()));
        }
        Runtime::Locate { onnxruntime } => match locate(onnxruntime.as_deref(), &dirs)? {
            Some(located) => print(&format!("{}\n", located.path.display())),
            None => anyhow::bail!("ONNX Runtime is not on this machine yet; `hedef runtime fetch` fetches it"),
        },
    }
    Ok(())
}
