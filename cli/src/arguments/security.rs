//! Flags about who may do what.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

/// Who may do what on a server.
#[derive(Debug, Args)]
#[command(next_help_heading = "Security")]
pub(crate) struct Security {
    /// The file of API keys, see `hedef keys new`; read again when it changes. With it, every request but those for health
    /// needs a key, in `Authorization: Bearer KEY`, `x-api-key` or `api-key`.
    #[arg(long, value_name = "FILE", env = "HEDEF_API_KEYS")]
    pub(crate) api_keys: Option<PathBuf>,
    /// Whether models can be loaded and unloaded over the network; with keys, by those with the permission alone.
    #[arg(long, value_enum, default_value = "auto", env = "HEDEF_ADMIN")]
    pub(crate) admin: Admin,
    /// Where to listen for administration, for which the other ports are closed then. All else is answered there too.
    #[arg(long, value_name = "ADDRESS", env = "HEDEF_ADMIN_LISTEN")]
    pub(crate) admin_listen: Option<SocketAddr>,
    /// The origins whose pages may score, or `*`.
    #[arg(long, value_name = "ORIGIN", env = "AML_CORS_ORIGINS", value_delimiter = ',')]
    pub(crate) cors_origin: Vec<String>,
    /// The time between two looks at the files of keys and certificates, in milliseconds. SIGHUP makes the server look at
    /// once.
    #[arg(long, value_name = "MS", default_value_t = 1000, value_parser = clap::value_parser!(u64).range(10..), env = "HEDEF_RELOAD_INTERVAL_MS")]
    pub(crate) reload_interval_ms: u64,
}

/// Whether models can be loaded and unloaded over the network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Admin {
    /// With keys, on a port of its own, or when listening on a loopback address.
    Auto,
    /// Always.
    On,
    /// Never.
    Off,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Keys {
    /// Makes a key: its entry for the file goes to standard output, the key itself, once, to standard error.
    New(NewKey),
}

/// A new key.
#[derive(Debug, Args)]
pub(crate) struct NewKey {
    /// The name in logs and metrics.
    pub(crate) name: String,
    /// What it may do.
    #[arg(long, value_enum, value_delimiter = ',', default_value = "score")]
    pub(crate) allow: Vec<Permission>,
    /// A model that it may use; may be given again. Default: all.
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    pub(crate) model: Vec<String>,
    /// How many requests a second it may send in the long run. Default: no limit.
    #[arg(long, value_name = "NUMBER")]
    pub(crate) requests_per_second: Option<f64>,
    /// How many of them may come at once. Default: those of one second.
    #[arg(long, value_name = "NUMBER", requires = "requests_per_second")]
    pub(crate) burst: Option<u32>,
}

/// What a key may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Permission {
    /// Score, and read what the models are and how they run.
    Score,
    /// Load and unload models.
    Admin,
    /// Read the metrics.
    Metrics,
}
