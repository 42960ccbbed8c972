//! The pinned wheels of ONNX Runtime on PyPI, one for each target.

use super::error::RuntimeError;

/// The version of ONNX Runtime that is fetched.
pub const VERSION: &str = "1.31.1";

/// One wheel: which file pip fetches, how it is checked, and what is taken out of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PinnedWheel {
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

const LINUX_OTHERS: &[&str] = &[
    "onnxruntime/capi/libonnxruntime_providers_shared.so",
    "onnxruntime/LICENSE",
    "onnxruntime/ThirdPartyNotices.txt",
];
const MACOS_OTHERS: &[&str] = &["onnxruntime/LICENSE", "onnxruntime/ThirdPartyNotices.txt"];
const WINDOWS_OTHERS: &[&str] =
    &["onnxruntime/capi/onnxruntime_providers_shared.dll", "onnxruntime/LICENSE", "onnxruntime/ThirdPartyNotices.txt"];

/// The wheels are those for CPython 3.12; the library is the same in those of other versions.
const WHEELS: &[PinnedWheel] = &[
    PinnedWheel {
        target: "x86_64-unknown-linux-gnu",
        platform: "manylinux_2_28_x86_64",
        sha256: "1f3dea47f2f0e5117c2404cea7d21fd253ae7836a3bf167a501cdfbb2600d536",
        bytes: 23_760_988,
        library: "onnxruntime/capi/libonnxruntime.so.1.31.1",
        others: LINUX_OTHERS,
    },
    PinnedWheel {
        target: "aarch64-unknown-linux-gnu",
        platform: "manylinux_2_28_aarch64",
        sha256: "0b9a492176886992e0e875f06bc0367e333f5fff11711a2d642e18b02f3009cc",
        bytes: 21_420_803,
        library: "onnxruntime/capi/libonnxruntime.so.1.31.1",
        others: LINUX_OTHERS,
    },
    PinnedWheel {
        target: "aarch64-apple-darwin",
        platform: "macosx_14_0_arm64",
        sha256: "96dd2564b10ea7153ad9c207e7cd8e5917cb3ba521e0e0a62ac03486fdc8d56c",
        bytes: 20_882_125,
        library: "onnxruntime/capi/libonnxruntime.1.31.1.dylib",
        others: MACOS_OTHERS,
    },
    PinnedWheel {
        target: "x86_64-pc-windows-msvc",
        platform: "win_amd64",
        sha256: "ae8a9a351efda685cc59a66226cdefaa37a126c1d66872ca23a2de9425326130",
        bytes: 14_888_466,
        library: "onnxruntime/capi/onnxruntime.dll",
        others: WINDOWS_OTHERS,
    },
    PinnedWheel {
        target: "aarch64-pc-windows-msvc",
        platform: "win_arm64",
        sha256: "fe8b9ac1ae8e894e12c47ee82e4f6dfc1835768133687257866469fda80d0bf1",
        bytes: 14_740_724,
        library: "onnxruntime/capi/onnxruntime.dll",
        others: WINDOWS_OTHERS,
    },
];

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
        format!("{VERSION}-{}", self.sha256.get(..8).unwrap_or(self.sha256))
    }

    /// The members to unpack with their file names, the library last: where it is, the others are.
    ///
    /// The licences are named after what they are for: they may come to lie beside the program's own.
    pub(super) fn members(&self) -> impl Iterator<Item = (&'static str, String)> {
        self.others.iter().copied().chain([self.library]).map(|member| {
            let name = base_name(member);
            let library = member.contains("/capi/");
            (member, if library { name.to_owned() } else { format!("onnxruntime-{name}") })
        })
    }
}

fn base_name(member: &'static str) -> &'static str {
    member.rsplit_once('/').map_or(member, |(_, name)| name)
}

/// Finds the wheel for `target`, a Rust target triple.
///
/// # Errors
/// [`RuntimeError::UnsupportedTarget`] names the targets there are.
pub fn pinned(target: &str) -> Result<&'static PinnedWheel, RuntimeError> {
    WHEELS.iter().find(|wheel| wheel.target == target).ok_or_else(|| RuntimeError::UnsupportedTarget {
        target: target.to_owned(),
        supported: supported_targets().collect::<Vec<_>>().join(", "),
    })
}

/// The target triples that a wheel is pinned for.
pub fn supported_targets() -> impl Iterator<Item = &'static str> {
    WHEELS.iter().map(|wheel| wheel.target)
}

/// The target triple of this build where a wheel may be pinned for it, else a plain name of it.
#[must_use]
pub const fn host_target() -> &'static str {
    let (x86, arm) = (cfg!(target_arch = "x86_64"), cfg!(target_arch = "aarch64"));
    if cfg!(all(target_os = "linux", target_env = "gnu")) && x86 {
        "x86_64-unknown-linux-gnu"
    } else if cfg!(all(target_os = "linux", target_env = "gnu")) && arm {
        "aarch64-unknown-linux-gnu"
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
            assert!(wheel.library.contains(VERSION) || wheel.library.ends_with(".dll"), "{}", wheel.target);
        }
    }

    #[test]
    fn the_pinned_library_of_this_machine_is_found_beside_the_executable() {
        let wheel = pinned(host_target()).unwrap();
        assert_eq!(library_names().first(), Some(&wheel.library_name()));
    }

    #[test]
    fn an_unknown_target_is_told_the_known_ones() {
        let error = pinned("riscv64gc-unknown-linux-gnu").unwrap_err().to_string();
        assert!(error.contains("`riscv64gc-unknown-linux-gnu`") && error.contains("aarch64-apple-darwin"), "{error}");
    }

    #[test]
    fn the_library_is_unpacked_last() {
        let wheel = pinned("x86_64-unknown-linux-gnu").unwrap();
        assert_eq!(wheel.members().last().unwrap().1, "libonnxruntime.so.1.31.1");
        assert_eq!(wheel.folder_name(), "1.31.1-1f3dea47");
    }
}
