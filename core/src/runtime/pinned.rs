//! What a pinned wheel is, and which one belongs to a target.

use super::error::RuntimeError;
use super::package::Package;
use super::wheels::WHEELS;

/// The version of ONNX Runtime that is fetched.
pub const VERSION: &str = "1.31.1";

/// The version of the small one, [`Package::Small`].
pub const SMALL_VERSION: &str = "1.28.2";

/// One wheel: which file pip fetches, how it is checked, and what is taken out of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PinnedWheel {
    /// What it is a wheel of.
    pub package: Package,
    /// The Rust target triple that the library is for.
    pub target: &'static str,
    /// Pip's platform tag.
    pub platform: &'static str,
    /// The wheel's SHA-256, in hexadecimal.
    pub sha256: &'static str,
    /// The wheel's size in bytes.
    pub bytes: u64,
    /// The wheel's member that is the library.
    pub library: &'static str,
    /// The other members to keep: what the library opens from its own folder, and the licences.
    pub others: &'static [&'static str],
}

impl PinnedWheel {
    /// The library's file name, which stays as the wheel has it.
    #[must_use]
    pub fn library_name(&self) -> &'static str {
        base_name(self.library)
    }

    /// The name of the cache folder for this wheel: version and start of the hash, so that another wheel, and
    /// another target's, goes elsewhere.
    #[must_use]
    pub fn folder_name(&self) -> String {
        let start = self.sha256.get(..8).unwrap_or(self.sha256);
        format!("{}{}-{start}", self.package.folder_prefix(), self.package.version())
    }

    /// The members to unpack with their file names, the library last: where it is, the others are.
    ///
    /// The licences are named after what they are for: they may come to lie beside the program's own.
    pub(super) fn members(&self) -> impl Iterator<Item = (&'static str, String)> {
        self.others.iter().copied().chain([self.library]).map(|member| {
            let name = base_name(member);
            let licence = name == "LICENSE" || name.ends_with(".txt");
            (member, if licence { format!("onnxruntime-{name}") } else { name.to_owned() })
        })
    }
}

fn base_name(member: &'static str) -> &'static str {
    member.rsplit_once('/').map_or(member, |(_, name)| name)
}

/// Finds the wheel of `package` for `target`, a Rust target triple.
///
/// # Errors
/// [`RuntimeError::UnsupportedTarget`] names the targets there are.
pub fn pinned(package: Package, target: &str) -> Result<&'static PinnedWheel, RuntimeError> {
    let of_package = || WHEELS.iter().filter(|wheel| wheel.package == package);
    of_package().find(|wheel| wheel.target == target).ok_or_else(|| RuntimeError::UnsupportedTarget {
        package,
        target: target.to_owned(),
        supported: of_package().map(|wheel| wheel.target).collect::<Vec<_>>().join(", "),
    })
}

/// The target triple of this build where a wheel may be pinned for it, else a plain name of it.
#[must_use]
pub const fn host_target() -> &'static str {
    let (x86, arm) = (cfg!(target_arch = "x86_64"), cfg!(target_arch = "aarch64"));
    if cfg!(all(target_os = "linux", target_env = "gnu")) && x86 {
        "x86_64-unknown-linux-gnu"
    } else if cfg!(all(target_os = "linux", target_env = "gnu")) && arm {
        "aarch64-unknown-linux-gnu"
    } else if cfg!(all(target_os = "linux", target_env = "gnu", target_arch = "arm", target_abi = "eabihf")) {
        "armv7-unknown-linux-gnueabihf"
    } else if cfg!(target_os = "macos") && arm {
        "aarch64-apple-darwin"
    } else if cfg!(target_os = "macos") && x86 {
        "x86_64-apple-darwin"
    } else if cfg!(target_os = "windows") && x86 {
        "x86_64-pc-windows-msvc"
    } else if cfg!(target_os = "windows") && arm {
        "aarch64-pc-windows-msvc"
    } else if cfg!(target_env = "musl") {
        "linux-musl"
    } else {
        "this platform"
    }
}

/// The file names under which a library may lie beside the executable: the pinned one first.
pub(super) const fn library_names() -> &'static [&'static str] {
    if cfg!(windows) {
        &["onnxruntime.dll"]
    } else if cfg!(target_os = "macos") {
        &["libonnxruntime.1.31.1.dylib", "libonnxruntime.dylib"]
    } else {
        &["libonnxruntime.so.1.31.1", "libonnxruntime.so"]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_wheel_carries_the_version_and_a_whole_hash() {
        for wheel in WHEELS {
            assert_eq!(wheel.sha256.len(), 64, "{}", wheel.target);
            let unversioned = matches!(wheel.package, Package::OpenVino | Package::Small);
            assert!(
                wheel.library.contains(VERSION) || wheel.library.ends_with(".dll") || unversioned,
                "{}",
                wheel.target
            );
        }
    }

    #[test]
    fn the_pinned_library_of_this_machine_is_found_beside_the_executable() {
        let wheel = pinned(Package::OnnxRuntime, host_target()).unwrap();
        assert_eq!(library_names().first(), Some(&wheel.library_name()));
        let small = pinned(Package::Small, host_target()).unwrap();
        assert_eq!(library_names().last(), Some(&small.library_name()));
    }

    #[test]
    fn where_there_is_no_other_it_is_the_small_one() {
        assert_eq!(Package::for_cpu("armv7-unknown-linux-gnueabihf"), Package::Small);
        for target in ["x86_64-unknown-linux-gnu", "aarch64-unknown-linux-gnu", "riscv64gc-unknown-linux-gnu"] {
            assert_eq!(Package::for_cpu(target), Package::OnnxRuntime, "{target}");
        }
    }

    #[test]
    fn an_unknown_target_is_told_the_known_ones() {
        let error = pinned(Package::OnnxRuntime, "riscv64gc-unknown-linux-gnu").unwrap_err().to_string();
        assert!(error.contains("`riscv64gc-unknown-linux-gnu`") && error.contains("aarch64-apple-darwin"), "{error}");
    }

    #[test]
    fn the_library_is_unpacked_last() {
        let wheel = pinned(Package::OnnxRuntime, "x86_64-unknown-linux-gnu").unwrap();
        assert_eq!(wheel.members().last().unwrap().1, "libonnxruntime.so.1.31.1");
        assert_eq!(wheel.folder_name(), "1.31.1-1f3dea47");
    }

    #[test]
    fn each_package_has_a_folder_of_its_own() {
        let folder = |package| pinned(package, "x86_64-unknown-linux-gnu").unwrap().folder_name();
        assert_eq!(folder(Package::Cuda), "cuda-1.31.1-05d54895");
        assert_eq!(folder(Package::OpenVino), "openvino-1.8.1-38326431");
        assert_eq!(folder(Package::Small), "small-2.0.1-f4ee0ab9");
    }

    #[test]
    fn a_package_that_a_target_lacks_is_named_with_the_targets_that_have_it() {
        let error = pinned(Package::OpenVino, "aarch64-apple-darwin").unwrap_err().to_string();
        assert!(error.contains("OpenVINO") && error.contains("x86_64-pc-windows-msvc"), "{error}");
    }
}
