use std::path::PathBuf;

use clap::{Args, ValueEnum};

/// Models that are tried before they are loaded.
#[derive(Debug, Args)]
pub(crate) struct QuarantineArguments {
    /// Which models are loaded in a process of their own first, so that one that crashes, hangs or takes all memory
    /// harms nobody. It is no sandbox.
    #[arg(long, value_enum, default_value = "auto", env = "HEDEF_QUARANTINE")]
    pub(crate) quarantine: Quarantine,
    /// The memory that such a process may take, in MiB. Default: three quarters of what the server may use and does not.
    #[arg(long, value_name = "MIB", value_parser = clap::value_parser!(u32).range(16..), env = "HEDEF_QUARANTINE_MEMORY_MIB")]
    pub(crate) quarantine_memory_mib: Option<u32>,
    /// The time that it may take, in seconds.
    #[arg(long, value_name = "S", default_value_t = 120, value_parser = clap::value_parser!(u64).range(1..), env = "HEDEF_QUARANTINE_TIMEOUT_S")]
    pub(crate) quarantine_timeout_s: u64,
}

/// Which models are loaded in a process of their own first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Quarantine {
    /// Those that come or change while the server works; what is there at the start is trusted.
    Auto,
    /// All.
    Always,
    /// None.
    Off,
}

/// Loads one version and ends, saying why if it cannot be loaded.
#[derive(Debug, Args)]
pub(crate) struct TryLoad {
    /// The model's name.
    pub(crate) name: String,
    /// Its version.
    pub(crate) number: u64,
    /// Its file.
    #[arg(long)]
    pub(crate) file: PathBuf,
    /// The folder that paths in its settings start from.
    #[arg(long)]
    pub(crate) folder: PathBuf,
    /// Its `model.toml`.
    #[arg(long)]
    pub(crate) settings: Option<PathBuf>,
    /// Replaces `batching.max_rows`.
    #[arg(long)]
    pub(crate) max_batch_rows: Option<u32>,
    /// Replaces `instances`.
    #[arg(long)]
    pub(crate) instances: Option<u16>,
}
