//! The pinned wheels on PyPI, one for each package and target.

use super::package::Package;
use super::pinned::PinnedWheel;

const LINUX_OTHERS: &[&str] = &[
    "onnxruntime/capi/libonnxruntime_providers_shared.so",
    "onnxruntime/LICENSE",
    "onnxruntime/ThirdPartyNotices.txt",
];
const MACOS_OTHERS: &[&str] = &["onnxruntime/LICENSE", "onnxruntime/ThirdPartyNotices.txt"];
const WINDOWS_OTHERS: &[&str] =
    &["onnxruntime/capi/onnxruntime_providers_shared.dll", "onnxruntime/LICENSE", "onnxruntime/ThirdPartyNotices.txt"];
const LINUX_CUDA_OTHERS: &[&str] = &[
    "onnxruntime/capi/libonnxruntime_providers_shared.so",
    "onnxruntime/capi/libonnxruntime_providers_cuda.so",
    "onnxruntime/LICENSE",
    "onnxruntime/ThirdPartyNotices.txt",
];
const WINDOWS_CUDA_OTHERS: &[&str] = &[
    "onnxruntime/capi/onnxruntime_providers_shared.dll",
    "onnxruntime/capi/onnxruntime_providers_cuda.dll",
    "onnxruntime/LICENSE",
    "onnxruntime/ThirdPartyNotices.txt",
];
/// What runs models on the CPU; the wheel's other half is for graphics processors.
const LINUX_OPENVINO_OTHERS: &[&str] = &[
    "onnxruntime_ep_openvino/libopenvino.so.2641",
    "onnxruntime_ep_openvino/libopenvino_onnx_frontend.so.2641",
    "onnxruntime_ep_openvino/libopenvino_intel_cpu_plugin.so",
    "onnxruntime_ep_openvino/libtbb.so.12",
    "onnxruntime_ep_openvino/libtbbmalloc.so.2",
    "onnxruntime_ep_openvino/libtbbbind_2_5.so.3",
    "onnxruntime_ep_openvino/libhwloc.so.15",
    "onnxruntime_ep_openvino/third-party-programs.txt",
];
const WINDOWS_OPENVINO_OTHERS: &[&str] = &[
    "onnxruntime_ep_openvino/openvino.dll",
    "onnxruntime_ep_openvino/openvino_onnx_frontend.dll",
    "onnxruntime_ep_openvino/openvino_intel_cpu_plugin.dll",
    "onnxruntime_ep_openvino/tbb12.dll",
    "onnxruntime_ep_openvino/tbbmalloc.dll",
    "onnxruntime_ep_openvino/tbbbind_2_5.dll",
    "onnxruntime_ep_openvino/third-party-programs.txt",
];

/// The wheels are those for CPython 3.12; the library is the same in those of other versions.
pub(super) const WHEELS: &[PinnedWheel] = &[
    PinnedWheel {
        package: Package::OnnxRuntime,
        target: "x86_64-unknown-linux-gnu",
        platform: "manylinux_2_28_x86_64",
        sha256: "1f3dea47f2f0e5117c2404cea7d21fd253ae7836a3bf167a501cdfbb2600d536",
        bytes: 23_760_988,
        library: "onnxruntime/capi/libonnxruntime.so.1.31.1",
        others: LINUX_OTHERS,
    },
    PinnedWheel {
        package: Package::OnnxRuntime,
        target: "aarch64-unknown-linux-gnu",
        platform: "manylinux_2_28_aarch64",
        sha256: "0b9a492176886992e0e875f06bc0367e333f5fff11711a2d642e18b02f3009cc",
        bytes: 21_420_803,
        library: "onnxruntime/capi/libonnxruntime.so.1.31.1",
        others: LINUX_OTHERS,
    },
    PinnedWheel {
        package: Package::OnnxRuntime,
        target: "aarch64-apple-darwin",
        platform: "macosx_14_0_arm64",
        sha256: "96dd2564b10ea7153ad9c207e7cd8e5917cb3ba521e0e0a62ac03486fdc8d56c",
        bytes: 20_882_125,
        library: "onnxruntime/capi/libonnxruntime.1.31.1.dylib",
        others: MACOS_OTHERS,
    },
    PinnedWheel {
        package: Package::OnnxRuntime,
        target: "x86_64-pc-windows-msvc",
        platform: "win_amd64",
        sha256: "ae8a9a351efda685cc59a66226cdefaa37a126c1d66872ca23a2de9425326130",
        bytes: 14_888_466,
        library: "onnxruntime/capi/onnxruntime.dll",
        others: WINDOWS_OTHERS,
    },
    PinnedWheel {
        package: Package::OnnxRuntime,
        target: "aarch64-pc-windows-msvc",
        platform: "win_arm64",
        sha256: "fe8b9ac1ae8e894e12c47ee82e4f6dfc1835768133687257866469fda80d0bf1",
        bytes: 14_740_724,
        library: "onnxruntime/capi/onnxruntime.dll",
        others: WINDOWS_OTHERS,
    },
    PinnedWheel {
        package: Package::Small,
        target: "x86_64-unknown-linux-gnu",
        platform: "manylinux2014_x86_64",
        sha256: "f4ee0ab91c4ae596e0e49d7de32522a946295e038a652f1c1884d89014ee4ec2",
        bytes: 10_544_878,
        library: "sherpa_onnx/lib/libonnxruntime.so",
        others: &[],
    },
    PinnedWheel {
        package: Package::Small,
        target: "aarch64-unknown-linux-gnu",
        platform: "manylinux2014_aarch64",
        sha256: "4a855a5c89c89885111e4e9c570e5da1aed63373c031b757d8046792d95fe8fe",
        bytes: 13_257_723,
        library: "sherpa_onnx/lib/libonnxruntime.so",
        others: &[],
    },
    PinnedWheel {
        package: Package::Small,
        target: "armv7-unknown-linux-gnueabihf",
        platform: "manylinux_2_35_armv7l",
        sha256: "c6ee74dffb4acf81f5fb26e1d45560baa6fd5c34bc192546b50c744005eb9702",
        bytes: 10_064_996,
        library: "sherpa_onnx/lib/libonnxruntime.so",
        others: &[],
    },
    PinnedWheel {
        package: Package::Cuda,
        target: "x86_64-unknown-linux-gnu",
        platform: "manylinux_2_28_x86_64",
        sha256: "05d548956197b9d01f59b625de740e0d6be3593f874e241a12dc0362650ecdf7",
        bytes: 255_569_273,
        library: "onnxruntime/capi/libonnxruntime.so.1.31.1",
        others: LINUX_CUDA_OTHERS,
    },
    PinnedWheel {
        package: Package::Cuda,
        target: "aarch64-unknown-linux-gnu",
        platform: "manylinux_2_34_aarch64",
        sha256: "a0f1725c5a6d1ef82d63498b5ebc25e2c90c9560e91dc76db9be4a49162d4d33",
        bytes: 212_341_829,
        library: "onnxruntime/capi/libonnxruntime.so.1.31.1",
        others: LINUX_CUDA_OTHERS,
    },
    PinnedWheel {
        package: Package::Cuda,
        target: "x86_64-pc-windows-msvc",
        platform: "win_amd64",
        sha256: "2bb1e9373baba88f6415257f5b6a589d23e23c16004f7d89adf4344eada5749e",
        bytes: 168_098_228,
        library: "onnxruntime/capi/onnxruntime.dll",
        others: WINDOWS_CUDA_OTHERS,
    },
    PinnedWheel {
        package: Package::OpenVino,
        target: "x86_64-unknown-linux-gnu",
        platform: "manylinux_2_28_x86_64",
        sha256: "3832643158c8c187fcab6db661cde2a8c06a2b3559d95d0f2411ac0e51c5e924",
        bytes: 52_587_628,
        library: "onnxruntime_ep_openvino/libonnxruntime_providers_openvino_plugin.so",
        others: LINUX_OPENVINO_OTHERS,
    },
    PinnedWheel {
        package: Package::OpenVino,
        target: "x86_64-pc-windows-msvc",
        platform: "win_amd64",
        sha256: "1acd878be173b02bb8b953460f2f59b121e5f6e47ebc6aad490c0590cf6718fb",
        bytes: 75_824_318,
        library: "onnxruntime_ep_openvino/onnxruntime_providers_openvino_plugin.dll",
        others: WINDOWS_OPENVINO_OTHERS,
    },
];
