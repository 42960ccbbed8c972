//! Flags about who may do what.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

/// Who may do what on a server.
#[derive(Debug, Args)]
#[command(next_help_heading = "Security")]
pub(crate) struct Security {
    /// The server's certificate, followed by those between it and its authority, as PEM: every port speaks TLS 1.2 and 1.3.
    /// Read again when it changes.
    #[arg(long, value_name = "FILE", requires = "tls_key", env = "HEDEF_TLS_CERT")]
    pub(crate) tls_cert: Option<PathBuf>,
    /// The key of the certificate, as PEM.
    #[arg(long, value_name = "FILE", requires = "tls_cert", env = "HEDEF_TLS_KEY")]
    pub(crate) tls_key: Option<PathBuf>,
    /// The authorities that sign the certificates of clients, as PEM.
    #[arg(long, value_name = "FILE", requires = "tls_cert", env = "HEDEF_TLS_CLIENT_CA")]
    pub(crate) tls_client_ca: Option<PathBuf>,
    /// Whether a client needs a certificate, with `--tls-client-ca`.
    #[arg(long, value_enum, default_value = "required", env = "HEDEF_TLS_CLIENT_AUTH")]
    pub(crate) tls_client_auth: ClientAuth,
    /// The file of API keys, see `hedef keys new`; read again when it changes. With it, every request but those for health
    /// needs a key, in `Authorization: Bearer KEY`, `x-api-key` or `api-key`.
    #[arg(long, value_name = "FILE", env = "HEDEF_API_KEYS")]
    pub(crate) api_keys: Option<PathBuf>,
    /// The JSON Web Key Set whose tokens are taken in place of keys; read again when it changes.
    #[arg(long, value_name = "FILE", requires_all = ["jwt_issuer", "jwt_audience"], env = "HEDEF_JWT_KEYS")]
    pub(crate) jwt_keys: Option<PathBuf>,
    /// Whose tokens are taken: their `iss`.
    #[arg(long, value_name = "ISSUER", requires = "jwt_keys", env = "HEDEF_JWT_ISSUER")]
    pub(crate) jwt_issuer: Option<String>,
    /// Whom tokens have to be for: their `aud`; may be given again.
    #[arg(long, value_name = "AUDIENCE", requires = "jwt_keys", env = "HEDEF_JWT_AUDIENCE", value_delimiter = ',')]
    pub(crate) jwt_audience: Vec<String>,
    /// What stands before `score`, `admin` and `metrics` in the scopes of a token (`scope`, `scp` or `roles`).
    #[arg(long, value_name = "PREFIX", default_value = "hedef:", env = "HEDEF_JWT_SCOPE_PREFIX")]
    pub(crate) jwt_scope_prefix: String,
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

/// Whether a client needs a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ClientAuth {
    /// One without is not let in.
    Required,
    /// One that shows none is let in, one that shows a wrong one is not.
    Optional,
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
