//! `hedef runtime`: ONNX Runtime's library, for images and for people who wonder.

use hedef_core::runtime::{Dirs, FetchProgress, Package, fetch_for, host_target, locate, pinned};

use crate::arguments::{Runtime, With};
use crate::logging::print;

/// Fetches or finds the library, and prints its path; that of a plug-in on a line of its own.
pub(crate) fn run(command: Runtime) -> anyhow::Result<()> {
    let dirs = Dirs::from_process();
    match command {
        Runtime::Fetch { with, small, target, to } => {
            let target = target.as_deref().unwrap_or_else(|| host_target());
            let library = match (small, with.contains(&With::Cuda)) {
                (true, _) => Package::Small,
                (false, true) => Package::Cuda,
                (false, false) => Package::for_cpu(target),
            };
            let plugin = with.contains(&With::Openvino).then_some(Package::OpenVino);
            let packages = [library].into_iter().chain(plugin);
            // What is not there for this target is said before anything is fetched.
            packages.clone().try_for_each(|package| pinned(package, target).map(drop))?;
            for package in packages {
                let mut progress = FetchProgress::default();
                let path = fetch_for(package, target, to.as_deref(), &dirs, |step| progress.show(step))?;
                print(&format!("{}\n", path.display()));
            }
        }
        Runtime::Locate { onnxruntime } => match locate(onnxruntime.as_deref(), &dirs)? {
            Some(located) => print(&format!("{}\n", located.path.display())),
            None => anyhow::bail!("ONNX Runtime is not on this machine yet; `hedef runtime fetch` fetches it"),
        },
    }
    Ok(())
}
