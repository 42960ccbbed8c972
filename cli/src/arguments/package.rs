//! Flags about bundles of models for devices.

use std::path::PathBuf;

use clap::Args;

/// Makes a pair of keys.
#[derive(Debug, Args)]
pub(crate) struct Keygen {
    /// Where to put them: the secret key into NAME.key, the public one into NAME.pub. Neither may be there.
    #[arg(long, value_name = "NAME")]
    pub(crate) out: PathBuf,
}

/// Packs a model.
#[derive(Debug, Args)]
// Its `--version` is the model's.
#[command(disable_version_flag = true)]
pub(crate) struct Package {
    /// A model's folder, and which of its versions, such as `models/iris:3`. Default: the highest.
    #[arg(value_name = "MODEL[:VERSION]")]
    pub(crate) model: String,
    /// The file of the secret key to sign with, see `hedef keygen`.
    #[arg(long, value_name = "KEY")]
    pub(crate) sign: PathBuf,
    /// Where to write the bundle. Default: `NAME-VERSION.bundle`.
    #[arg(long, value_name = "FILE")]
    pub(crate) out: Option<PathBuf>,
    /// The version that it is to have on devices. Default: that of the folder.
    #[arg(long = "version", value_name = "N")]
    pub(crate) as_version: Option<u64>,
    /// When devices no longer take it: a day, or a moment such as 2027-01-31T12:00:00Z.
    #[arg(long, value_name = "TIME")]
    pub(crate) expires: Option<String>,
    /// The oldest ONNX Runtime that is to run it, such as 1.22.
    #[arg(long, value_name = "VERSION")]
    pub(crate) min_runtime: Option<String>,
    /// Let it replace a higher version.
    #[arg(long)]
    pub(crate) allow_downgrade: bool,
    /// Pack it even if it has no golden requests: devices cannot tell then whether it works.
    #[arg(long)]
    pub(crate) no_golden: bool,
}

/// Verifies a bundle.
#[derive(Debug, Args)]
pub(crate) struct Verify {
    /// The bundle.
    pub(crate) bundle: PathBuf,
    /// The file of the public keys, one of which has to have signed it.
    #[arg(long, value_name = "FILE")]
    pub(crate) keys: PathBuf,
}
