//! Every command, flag and environment variable.

mod bench;
mod caps;
mod package;
mod quarantine;
mod security;
mod traces;

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

pub(crate) use bench::{Bench, BenchFormat, BenchLoad, BenchScenario};
pub(crate) use caps::Caps;
pub(crate) use package::{Keygen, Package, Verify};
pub(crate) use quarantine::{Quarantine, QuarantineArguments, TryLoad};
pub(crate) use security::{Admin, ClientAuth, Keys, Permission, Security};
pub(crate) use traces::Traces;

/// Serves ONNX models on every compute target.
#[derive(Debug, Parser)]
#[command(name = "hedef", version, about, long_about = None, propagate_version = true)]
pub(crate) struct Arguments {
    #[command(flatten)]
    pub(crate) engine: Engine,
    #[command(flatten)]
    pub(crate) logging: Logging,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What every command that runs models needs.
#[derive(Debug, Args)]
pub(crate) struct Engine {
    /// ONNX Runtime's shared library, or its folder. Default: beside this program, then the user's cache, then fetched.
    #[arg(long, global = true, value_name = "PATH", env = "ORT_DYLIB_PATH")]
    pub(crate) onnxruntime: Option<PathBuf>,
    /// Where optimised graphs are kept between starts, or `off`. Default: `hedef/graphs` in the user's cache.
    #[arg(long, global = true, value_name = "FOLDER", env = "HEDEF_GRAPH_CACHE")]
    pub(crate) graph_cache: Option<PathBuf>,
    /// The most bytes of optimised graphs that are kept, in MiB; those not wanted for the longest time go first.
    #[arg(long, global = true, value_name = "MIB", default_value_t = 4096, value_parser = clap::value_parser!(u32).range(1..), env = "HEDEF_GRAPH_CACHE_MIB")]
    pub(crate) graph_cache_mib: u32,
}

/// What the program says while it works.
#[derive(Debug, Args)]
pub(crate) struct Logging {
    /// What to log: error, warn, info, debug or trace, or a filter such as `info,hedef_core=debug`.
    /// Default: info for `serve`, warn for the others.
    #[arg(long, global = true, value_name = "FILTER", env = "HEDEF_LOG")]
    pub(crate) log: Option<String>,
    /// How to log.
    #[arg(long, global = true, value_enum, default_value = "text", env = "HEDEF_LOG_FORMAT")]
    pub(crate) log_format: LogFormat,
}

/// The forms of a log line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Serves the models of one or more roots over HTTP and gRPC.
    Serve(Box<Serve>),
    /// Says whether a model can be served, why not, and what it takes and gives.
    Check(Check),
    /// Scores a file once, without a server.
    Score(Score),
    /// Measures a server, ours or another, or the bare runtime under the same load.
    Bench(Box<Bench>),
    /// Packs a model for devices into one signed file, after it was loaded and its golden requests were asked.
    Package(Package),
    /// Says what a bundle holds, if it is whole and signed with one of the keys.
    Verify(Verify),
    /// Makes a pair of keys: one to sign bundles with, and one to verify them with.
    Keygen(Keygen),
    /// Makes API keys.
    #[command(subcommand)]
    Keys(Keys),
    /// Finds or fetches ONNX Runtime.
    #[command(subcommand)]
    Runtime(Runtime),
    /// Asks a running server whether it is ready, and ends with 0 where it is: for the health checks of containers.
    Health(Health),
    /// Prints every flag with its variable and its default, as Markdown.
    Settings,
    /// Loads one version of a model and ends: what `serve` starts for models that come while it works.
    #[command(hide = true)]
    TryLoad(TryLoad),
    /// Prints a completion script for a shell.
    Completions {
        /// The shell.
        #[arg(value_enum)]
        shell: clap_complete::Shell,
    },
}

/// Serves models.
#[derive(Debug, Args)]
pub(crate) struct Serve {
    /// Print every setting that is in force and where it came from, and end.
    #[arg(long)]
    pub(crate) print_config: bool,
    /// Folders of models, one model's folder, or .onnx files.
    #[arg(value_name = "ROOT", default_value = "models", env = "HEDEF_ROOTS", value_delimiter = ',')]
    pub(crate) roots: Vec<PathBuf>,
    /// Where to listen; port 0 takes a free one.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8080", env = "HEDEF_LISTEN")]
    pub(crate) listen: SocketAddr,
    /// Where to listen too, for clients that want a port of its own for gRPC, such as 127.0.0.1:8001. Every port answers
    /// HTTP and gRPC alike.
    #[arg(long, value_name = "ADDRESS", env = "HEDEF_GRPC_LISTEN")]
    pub(crate) grpc_listen: Option<SocketAddr>,
    /// Which models to load at the start.
    #[arg(long, value_enum, default_value = "all", env = "HEDEF_MODEL_CONTROL")]
    pub(crate) model_control: ModelControl,
    /// With `--model-control explicit`: a model to load at the start; may be given again.
    #[arg(long, value_name = "NAME", env = "HEDEF_LOAD_MODEL", value_delimiter = ',')]
    pub(crate) load_model: Vec<String>,
    /// Follow the roots: load, reload and unload models as their files change.
    #[arg(long, env = "HEDEF_WATCH")]
    pub(crate) watch: bool,
    /// The time between two looks at the roots, in milliseconds.
    #[arg(long, value_name = "MS", default_value_t = 1000, value_parser = clap::value_parser!(u64).range(10..), env = "HEDEF_WATCH_INTERVAL_MS")]
    pub(crate) watch_interval_ms: u64,
    /// The memory that loaded models may take, in MiB. Default: no limit.
    #[arg(long, value_name = "MIB", value_parser = clap::value_parser!(u32).range(1..), env = "HEDEF_MEMORY_BUDGET_MIB")]
    pub(crate) memory_budget: Option<u32>,
    /// What happens to a model that does not fit into the memory budget.
    #[arg(long, value_enum, default_value = "evict", env = "HEDEF_OVER_BUDGET")]
    pub(crate) over_budget: OverBudget,
    /// The model behind `/score`. Default: the only one there is.
    #[arg(long, value_name = "NAME", env = "HEDEF_SCORE_MODEL")]
    pub(crate) score_model: Option<String>,
    /// What stands before `/score` and `/swagger.json`, such as `/api/iris`.
    #[arg(long, value_name = "PATH", env = "SERVICE_PATH_PREFIX")]
    pub(crate) score_path_prefix: Option<String>,
    /// The most bytes in a request's body, decompressed, in MiB. A model whose signature is fixed takes what its
    /// tensors need instead, and one with larger rows at least one row.
    #[arg(long, value_name = "MIB", default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..), env = "HEDEF_BODY_LIMIT_MIB")]
    pub(crate) body_limit_mib: u32,
    /// The most that a model's signature can raise the body limit to, in MiB.
    #[arg(long, value_name = "MIB", default_value_t = 1024, value_parser = clap::value_parser!(u32).range(1..), env = "HEDEF_BODY_LIMIT_CAP_MIB")]
    pub(crate) body_limit_cap_mib: u32,
    /// The time a scoring request may take, in milliseconds.
    #[arg(long, value_name = "MS", default_value_t = 60_000, value_parser = clap::value_parser!(u64).range(1..), env = "HEDEF_REQUEST_TIMEOUT_MS")]
    pub(crate) request_timeout_ms: u64,
    /// How long requests are still accepted after SIGTERM, so that load balancers notice, in milliseconds.
    #[arg(long, value_name = "MS", default_value_t = 500, env = "HEDEF_LAME_DUCK_MS")]
    pub(crate) lame_duck_ms: u64,
    /// How long requests under way may take after that, in milliseconds.
    #[arg(long, value_name = "MS", default_value_t = 25_000, value_parser = clap::value_parser!(u64).range(1..), env = "HEDEF_GRACE_MS")]
    pub(crate) grace_ms: u64,
    /// The time after which a run that has not come back is taken to be stuck, in seconds: it is named in the log, and the
    /// server says that it is not live.
    #[arg(long, value_name = "S", default_value_t = 300, value_parser = clap::value_parser!(u64).range(1..), env = "HEDEF_STUCK_RUN_S")]
    pub(crate) stuck_run_s: u64,
    #[command(flatten)]
    pub(crate) quarantine: QuarantineArguments,
    /// Which part of the requests that succeed get a line in the log, from 0 to 1; those that fail have one anyway.
    #[arg(long, value_name = "PART", default_value_t = 0.0, env = "HEDEF_ACCESS_LOG")]
    pub(crate) access_log: f64,
    #[command(flatten)]
    pub(crate) caps: Caps,
    #[command(flatten)]
    pub(crate) security: Security,
    #[command(flatten)]
    pub(crate) traces: Traces,
}

/// Which models are loaded at the start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ModelControl {
    /// Every model of the roots.
    All,
    /// Those of `--load-model`; others when they are asked for over HTTP.
    Explicit,
}

/// What happens to a model that does not fit into the memory budget.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum OverBudget {
    /// Those not asked for the longest time make room, and are loaded again when they are asked.
    Evict,
    /// It is not loaded.
    Refuse,
}

/// Checks a model.
#[derive(Debug, Args)]
pub(crate) struct Check {
    /// A model's folder or its .onnx file.
    pub(crate) model: PathBuf,
}

/// Scores a file.
#[derive(Debug, Args)]
pub(crate) struct Score {
    /// A model's folder or its .onnx file.
    pub(crate) model: PathBuf,
    /// What to score: a file, or `-` for standard input.
    #[arg(long, short, value_name = "FILE")]
    pub(crate) input: PathBuf,
    /// The form of the input. Default: by the file's ending, else JSON.
    #[arg(long, value_enum)]
    pub(crate) format: Option<InputFormat>,
    /// Whether the first line of CSV names the columns. Default: looked at.
    #[arg(long, value_enum, default_value = "auto")]
    pub(crate) header: CsvHeader,
}

/// The forms of input.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum InputFormat {
    /// Rows or named tensors as JSON.
    Json,
    /// One row a line.
    Csv,
    /// NumPy's array file.
    Npy,
}

/// Whether CSV has a header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum CsvHeader {
    /// A first line without numbers, or with the names of inputs, is one.
    Auto,
    /// It has.
    Present,
    /// It has not.
    Absent,
}

/// Asks a running server whether it is ready.
#[derive(Debug, Args)]
pub(crate) struct Health {
    /// Where the server listens; where that is every address of the machine, the loopback address is asked.
    #[arg(value_name = "ADDRESS", default_value = "127.0.0.1:8080", env = "HEDEF_LISTEN")]
    pub(crate) listen: SocketAddr,
    /// Ask within TLS, as a server with a certificate wants it. The certificate is not verified.
    #[arg(long, value_name = "FILE", env = "HEDEF_TLS_CERT")]
    pub(crate) tls_cert: Option<PathBuf>,
    /// The certificate to show to a server that wants one of its clients, followed by those up to its authority, as PEM.
    #[arg(long, value_name = "FILE", env = "HEDEF_HEALTH_TLS_CERT", requires = "client_key")]
    pub(crate) client_cert: Option<PathBuf>,
    /// The key of that certificate, as PEM.
    #[arg(long, value_name = "FILE", env = "HEDEF_HEALTH_TLS_KEY", requires = "client_cert")]
    pub(crate) client_key: Option<PathBuf>,
}

/// What can be fetched besides ONNX Runtime.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum With {
    /// The plug-in that runs models in OpenVINO.
    Openvino,
    /// CUDA.
    Cuda,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Runtime {
    /// Fetches the pinned ONNX Runtime through pip, checked against its hash.
    Fetch {
        /// What to fetch besides: `openvino`, the plug-in for models with device = "openvino" (52 MB); `cuda`, the
        /// ONNX Runtime that has CUDA, in place of the other (256 MB). May be given again.
        #[arg(long, value_enum, value_delimiter = ',')]
        with: Vec<With>,
        /// Fetch the ONNX Runtime that `hedef-edge` is released with: smaller, for older systems, for the CPU alone. For
        /// ARMv7 it is the only one.
        #[arg(long, conflicts_with = "with")]
        small: bool,
        /// The machine to fetch for, as a Rust target. Default: this one.
        #[arg(long, value_name = "TRIPLE")]
        target: Option<String>,
        /// The folder to put it in. Default: the user's cache.
        #[arg(long, value_name = "FOLDER")]
        to: Option<PathBuf>,
    },
    /// Says which ONNX Runtime would be used, and where it was found.
    Locate {
        /// ONNX Runtime's shared library, or its folder.
        #[arg(value_name = "PATH", env = "ORT_DYLIB_PATH")]
        onnxruntime: Option<PathBuf>,
    },
}
