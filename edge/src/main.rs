//! `hedef-edge`: the device's binary.

use std::io::{IsTerminal, Read, Write, stderr, stdout};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use hedef_core::host::short_turns;
use hedef_edge::config::Settings;
use hedef_edge::device::{Device, StartError};
use hedef_server::probe;
use tokio::runtime::Runtime;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

const USAGE: &str = "usage: hedef-edge [FILE]
       hedef-edge check [MODELS...]
       hedef-edge health [FILE]

Scores messages of an MQTT broker and requests over HTTP with ONNX models, on a device.
FILE has the settings, in TOML; else HEDEF_EDGE_CONFIG names it, else hedef-edge.toml is read if it is there.

check    loads the models, those of the settings or MODELS, and asks them the golden requests of their packages
health   asks the device that runs with these settings whether it is ready
Both end with 0 where all is well.
";

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1).peekable();
    let word = arguments.peek().and_then(|word| word.to_str()).unwrap_or_default().to_owned();
    match word.as_str() {
        "--help" | "-h" => return say(USAGE),
        "--version" | "-V" => return say(concat!("hedef-edge ", env!("CARGO_PKG_VERSION"), "\n")),
        "check" | "health" => drop(arguments.next()),
        option if option.starts_with('-') => return fail(&format!("unknown option {option}\n{USAGE}")),
        _ => (),
    }
    let models: Vec<PathBuf> =
        if word == "check" { arguments.by_ref().map(PathBuf::from).collect() } else { Vec::new() };
    let file = arguments.next();
    if arguments.next().is_some() {
        return fail(&format!("one file at most\n{USAGE}"));
    }
    let mut settings = match Settings::read(file.as_deref().map(Path::new)) {
        Ok(settings) => settings,
        Err(error) => return fail(&error.to_string()),
    };
    if !models.is_empty() {
        settings.models = models;
    }
    log(&settings.log);
    let ended = match word.as_str() {
        "check" => check(&settings),
        "health" => return health(&settings),
        _ => run(settings),
    };
    match ended {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) if word == "check" => fail("some models do not answer as they should"),
        Ok(false) => fail("stopped with something unfinished: the time for it was over"),
        Err(error) => fail(&error.to_string()),
    }
}

fn network() -> std::io::Result<Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .thread_name("hedef-network")
        .on_thread_start(short_turns)
        .build()
}

fn run(settings: Settings) -> Result<bool, StartError> {
    let network = network()?;
    let ended = network.block_on(async {
        let device = Device::start(settings).await?;
        for (address, purpose) in device.addresses() {
            let purpose = purpose.map(|purpose| format!(" for {purpose}")).unwrap_or_default();
            say(&format!("hedef-edge {} listens on http://{address}{purpose}\n", env!("CARGO_PKG_VERSION")));
        }
        Ok(device.run(stop_signal()).await)
    });
    // A run that is stuck may hold a thread for ever.
    network.shutdown_timeout(Duration::from_secs(1));
    ended
}

fn check(settings: &Settings) -> Result<bool, StartError> {
    let (well, report) = network()?.block_on(hedef_edge::check::run(settings))?;
    say(&report);
    Ok(well)
}

fn health(settings: &Settings) -> ExitCode {
    let address = settings.http.metrics_listen;
    match probe::connect(address).and_then(|stream| probe::ask(address, stream)) {
        Ok(()) => {
            if tells(address, "hedef_edge_data_writable 0") {
                let _ = writeln!(
                    stderr(),
                    "ready, but the data folder cannot be written: no message is taken in, no model updated"
                );
            }
            ExitCode::SUCCESS
        }
        Err(unready) => fail(&unready.to_string()),
    }
}

/// Whether the metrics have that line.
fn tells(address: SocketAddr, line: &str) -> bool {
    let ask = || {
        let mut stream = probe::connect(address).ok()?;
        write!(stream, "GET /metrics HTTP/1.0\r\nhost: {address}\r\n\r\n").ok()?;
        let mut text = String::new();
        stream.read_to_string(&mut text).ok()?;
        Some(text)
    };
    ask().is_some_and(|text| text.lines().any(|found| found == line))
}

/// Sends log lines to standard error. ONNX Runtime's own chatter is of use to its developers only.
fn log(wanted: &str) {
    let (filter, complaint) = match wanted.parse::<Targets>() {
        Ok(filter) => (filter, None),
        Err(error) => (Targets::new().with_default(tracing::Level::INFO), Some(error)),
    };
    let filter = if wanted.contains("ort=") { filter } else { filter.with_target("ort", tracing::Level::ERROR) };
    let lines =
        tracing_subscriber::fmt::layer().with_writer(stderr).with_ansi(stderr().is_terminal()).with_target(false);
    tracing_subscriber::registry().with(filter).with(lines).init();
    if let Some(error) = complaint {
        tracing::warn!("log {wanted}: {error}; logging at info");
    }
}

/// Ready on SIGTERM or Ctrl-C.
async fn stop_signal() {
    use tokio::signal::unix::{SignalKind, signal};
    match signal(SignalKind::terminate()) {
        Ok(mut terminate) => {
            tokio::select! { _ = terminate.recv() => (), _ = tokio::signal::ctrl_c() => () }
        }
        Err(error) => {
            tracing::warn!("SIGTERM will not be noticed: {error}");
            let _ = tokio::signal::ctrl_c().await;
        }
    }
}

/// Prints to standard output. A reader who has gone is no error.
fn say(text: &str) -> ExitCode {
    let _ = stdout().lock().write_all(text.as_bytes());
    ExitCode::SUCCESS
}

fn fail(message: &str) -> ExitCode {
    let _ = writeln!(stderr().lock(), "hedef-edge: {message}");
    ExitCode::FAILURE
}
