//! The flags of `hedef bench`.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};
use hedef_bench::{Address, FreeShape, parse_duration};
use hedef_core::Device;

/// Measures a server, or the bare runtime.
#[derive(Debug, Args)]
pub(crate) struct Bench {
    /// The server, such as http://127.0.0.1:8080; any that speaks Open Inference Protocol v2.
    #[arg(value_name = "URL", required_unless_present = "in_process")]
    pub(crate) address: Option<Address>,
    /// The model's name on the server.
    #[arg(value_name = "MODEL", required_unless_present = "in_process")]
    pub(crate) model: Option<String>,
    /// The model's version. Default: the server's choice.
    #[arg(long, value_name = "VERSION")]
    pub(crate) model_version: Option<String>,
    /// Measures the bare runtime in this process instead: a model's folder or its .onnx file.
    #[arg(long, value_name = "PATH", conflicts_with_all = ["address", "model", "model_version"])]
    pub(crate) in_process: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) inputs: BenchInputs,
    #[command(flatten)]
    pub(crate) load: BenchLoad,
    #[command(flatten)]
    pub(crate) callers: BenchCallers,
    #[command(flatten)]
    pub(crate) layout: BenchLayout,
    /// Writes everything that was measured as JSON to a file, or to standard output for `-`.
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,
}

/// What is sent.
#[derive(Debug, Args)]
pub(crate) struct BenchInputs {
    /// The rows of a request; with --in-process the most rows of a run.
    #[arg(long, value_name = "ROWS", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) batch: u32,
    /// The shape of an input with free dimensions, with or without axis 0, such as `input_ids:128`; may be given again.
    /// Default: 1 for each free dimension.
    #[arg(long, value_name = "NAME:DIMS")]
    pub(crate) shape: Vec<FreeShape>,
    /// Sends these requests instead of made-up ones: a body of v2 as JSON, an array of them, or one a line.
    #[arg(long, value_name = "FILE")]
    pub(crate) input: Option<PathBuf>,
    /// How tensors are sent and asked for.
    #[arg(long, value_enum, default_value = "json")]
    pub(crate) format: BenchFormat,
    /// What answers are compared with: `first`, the first answer to the same request, or a file of answers.
    #[arg(long, value_name = "first|FILE")]
    pub(crate) expect: Option<PathBuf>,
}

/// How tensors are sent and asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum BenchFormat {
    /// As JSON.
    Json,
    /// With the binary tensor extension.
    Binary,
}

/// How requests come, and for how long.
#[derive(Debug, Args)]
pub(crate) struct BenchLoad {
    /// Callers who each wait for an answer before they ask again; of an open load, the most connections at once.
    /// Default: 8 callers, 1024 connections.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) connections: Option<u32>,
    /// An open load: so many requests a second at random moments, however long the answers take.
    #[arg(long, value_name = "PER_SECOND", value_parser = positive, conflicts_with = "find_max")]
    pub(crate) rate: Option<f64>,
    /// One of MLPerf's scenarios.
    #[arg(long, value_enum, conflicts_with = "find_max")]
    pub(crate) scenario: Option<BenchScenario>,
    /// Finds the highest rate at which 99 of 100 requests are answered within --p99.
    #[arg(long, requires = "p99")]
    pub(crate) find_max: bool,
    /// The time within which 99 of 100 requests have to be answered, such as 20ms.
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    pub(crate) p99: Option<Duration>,
    /// The time that is measured. Default: 10s, or what the search for a rate needs.
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    pub(crate) duration: Option<Duration>,
    /// Ends a measurement after so many requests.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) requests: Option<u64>,
    /// The time before, which is not measured.
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = parse_duration)]
    pub(crate) warm_up: Duration,
    /// Decides the moments of an open load.
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(crate) seed: u64,
}

/// MLPerf's scenarios.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum BenchScenario {
    /// One request at a time: p90 of its latency.
    SingleStream,
    /// Eight requests at a time: p99 of the last one's latency.
    MultiStream,
    /// Random moments: whether --p99 holds at --rate; without a rate, the highest at which it does.
    Server,
    /// As many as possible at once: rows a second.
    Offline,
}

/// How callers behave.
#[derive(Debug, Args)]
pub(crate) struct BenchCallers {
    /// The time that each request says it may take, as the v2 parameter `timeout`; a later answer is no good.
    #[arg(long, value_name = "MS", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) timeout_ms: Option<u64>,
    /// The share of callers who close their connection before the answer; the others are measured.
    #[arg(long, value_name = "SHARE", default_value_t = 0.0, value_parser = fraction)]
    pub(crate) leave: f64,
    /// Those who leave do so within this time, at random.
    #[arg(long, value_name = "TIME", default_value = "10ms", value_parser = parse_duration)]
    pub(crate) leave_within: Duration,
    /// A caller gives up after this time.
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = parse_duration)]
    pub(crate) give_up: Duration,
    /// Ask for answers without pause, which costs a processor and spares the server waking this program.
    #[arg(long)]
    pub(crate) busy_poll: bool,
}

/// How the bare runtime runs, with --in-process.
#[derive(Debug, Args)]
pub(crate) struct BenchLayout {
    /// Where it runs: `cpu`, `cuda:0` or `openvino`.
    #[arg(long, value_name = "DEVICE", requires = "in_process", default_value_t = Device::Cpu)]
    pub(crate) device: Device,
    /// Threads that each run the model. Default: one for each processor.
    #[arg(long, value_name = "N", requires = "in_process", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) instances: Option<u32>,
    /// Threads that one run uses.
    #[arg(long, value_name = "N", requires = "in_process", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) threads: u32,
    /// Keep memory between runs and plan it, as ONNX Runtime does by itself.
    #[arg(long, requires = "in_process")]
    pub(crate) arena: bool,
    /// Give each of these threads a session of its own, weights and all, instead of one for all.
    #[arg(long, requires = "in_process")]
    pub(crate) own_sessions: bool,
    /// Tries layouts and batches of 1, 2, 4, … 64 rows, and marks the best.
    #[arg(long, requires = "in_process", conflicts_with_all = ["instances", "rate", "scenario", "find_max"])]
    pub(crate) sweep: bool,
}

fn positive(text: &str) -> Result<f64, String> {
    let number = text.parse::<f64>().ok().filter(|number| *number > 0.0 && number.is_finite());
    number.ok_or_else(|| format!("expected a number above 0, got `{text}`"))
}

fn fraction(text: &str) -> Result<f64, String> {
    let number = text.parse::<f64>().ok().filter(|number| (0.0..=1.0).contains(number));
    number.ok_or_else(|| format!("expected a share from 0 to 1, got `{text}`"))
}
