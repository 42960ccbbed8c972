//! Loads of models in a process of their own, for a try: the command starts itself anew, with a command that is not for
//! people.
//!
//! It guards against models that crash ONNX Runtime, hang it or take all memory; it is no sandbox.

use std::ffi::{OsStr, OsString};
use std::io::Read;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use hedef_core::host::{memory_limit, memory_of, resident_bytes};
use hedef_core::repository::{self, Candidate, Load, Overrides, Refused, Trusted, Version};
use hedef_core::settings::Settings;
use hedef_core::{ModelId, ModelName};

use crate::arguments::{Engine, Quarantine, QuarantineArguments, TryLoad};
use crate::engine::loader;
use crate::logging::print;

/// How a process says that it has been told why a model cannot be loaded.
const REFUSED: i32 = 65;

/// How often a process is looked at.
const LOOK: Duration = Duration::from_millis(5);

/// The longest reason that is read.
const LONGEST: u64 = 16 << 10;

/// The least memory that a try gets.
const LEAST: u64 = 256 << 20;

/// Processes of our own, one at a time, so that they do not take one another's memory.
#[derive(Debug)]
pub(crate) struct Processes {
    /// What every process is started with.
    engine: Vec<OsString>,
    /// The bytes of memory that a process may take; `None` is what there is.
    memory: Option<u64>,
    time: Duration,
    turn: Mutex<()>,
    stopping: AtomicBool,
}

/// Which models are tried, and where; `None` for those who want none to be.
pub(crate) fn place(arguments: &QuarantineArguments, engine: &Engine) -> Option<(Box<Processes>, Trusted)> {
    let trusted = match arguments.quarantine {
        Quarantine::Auto => Trusted::AtStart,
        Quarantine::Always => Trusted::Never,
        Quarantine::Off => return None,
    };
    let processes = Processes {
        engine: flags(engine),
        memory: arguments.quarantine_memory_mib.map(|mib| u64::from(mib) << 20),
        time: Duration::from_secs(arguments.quarantine_timeout_s),
        turn: Mutex::default(),
        stopping: AtomicBool::new(false),
    };
    Some((Box::new(processes), trusted))
}

fn flags(engine: &Engine) -> Vec<OsString> {
    let mut flags: Vec<OsString> = vec!["--log".into(), "error".into()];
    flags.extend(["--graph-cache-mib".into(), engine.graph_cache_mib.to_string().into()]);
    for (flag, value) in [("--onnxruntime", &engine.onnxruntime), ("--graph-cache", &engine.graph_cache)] {
        if let Some(value) = value {
            flags.extend([flag.into(), value.into()]);
        }
    }
    flags
}

impl repository::Quarantine for Processes {
    fn try_out(&self, candidate: &Candidate<'_>) -> Result<(), Refused> {
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        if self.stopping.load(Ordering::Acquire) {
            return Err(stopped());
        }
        let memory = self.memory.unwrap_or_else(free_memory);
        let child = self.command(candidate).spawn();
        let child = child.map_err(|error| failed(format!("cannot be tried in a process of its own: {error}")))?;
        self.watch(&mut Running(child), memory)
    }

    fn stop(&self) {
        self.stopping.store(true, Ordering::Release);
    }
}

impl Processes {
    fn command(&self, candidate: &Candidate<'_>) -> Command {
        let mut command = Command::new(own_program());
        let version = candidate.version;
        command.arg("try-load").arg(version.id.name.as_str()).arg(version.id.version.to_string());
        let path = |command: &mut Command, flag: &str, path: &Path| {
            command.arg(flag).arg(path);
        };
        path(&mut command, "--file", version.file);
        path(&mut command, "--folder", version.folder);
        if let Some(settings) = candidate.settings {
            path(&mut command, "--settings", settings);
        }
        let Overrides { max_batch_rows, instances, .. } = candidate.overrides;
        if let Some(rows) = max_batch_rows {
            command.arg("--max-batch-rows").arg(rows.to_string());
        }
        if let Some(instances) = instances {
            command.arg("--instances").arg(instances.to_string());
        }
        command.args(&self.engine).stdin(Stdio::null()).stdout(Stdio::piped());
        command
    }

    /// Waits for the end of a process, and brings it about where it takes too much.
    fn watch(&self, child: &mut Running, memory: u64) -> Result<(), Refused> {
        let began = Instant::now();
        loop {
            match child.0.try_wait() {
                Ok(Some(status)) => return verdict(status, child.said()),
                Ok(None) => {}
                Err(error) => return Err(failed(format!("the process that tries it is lost: {error}"))),
            }
            let taken = memory_of(child.0.id()).unwrap_or(0);
            if taken > memory {
                let mib = memory >> 20;
                let reason = format!("loading it took more than {mib} MiB of memory (--quarantine-memory-mib)");
                return Err(Refused { reason, outcome: "too_large" });
            }
            if began.elapsed() > self.time {
                let seconds = self.time.as_secs();
                let reason = format!("loading it took more than {seconds} s (--quarantine-timeout-s)");
                return Err(Refused { reason, outcome: "too_slow" });
            }
            if self.stopping.load(Ordering::Acquire) {
                return Err(stopped());
            }
            thread::sleep(LOOK);
        }
    }
}

/// A process that does not outlive its trial.
struct Running(Child);

impl Running {
    /// What it has said, once it has ended.
    fn said(&mut self) -> String {
        let mut said = Vec::new();
        if let Some(stdout) = self.0.stdout.take() {
            // A reason that cannot be read is none; the caller has words for that.
            let _ = stdout.take(LONGEST).read_to_end(&mut said);
        }
        String::from_utf8_lossy(&said).trim().to_owned()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // One that has ended is not there any more.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn verdict(status: ExitStatus, said: String) -> Result<(), Refused> {
    if status.success() {
        return Ok(());
    }
    if status.code() == Some(REFUSED) && !said.is_empty() {
        return Err(Refused { reason: said, outcome: "refused" });
    }
    let reason = format!("loading it ended the process that tried it: {}", told(status));
    Err(Refused { reason, outcome: "crashed" })
}

/// How a process ended, in words.
fn told(status: ExitStatus) -> String {
    #[cfg(unix)]
    if let Some(signal) = std::os::unix::process::ExitStatusExt::signal(&status) {
        let name = match signal {
            4 => " (SIGILL)",
            6 => " (SIGABRT)",
            7 => " (SIGBUS)",
            8 => " (SIGFPE)",
            9 => " (SIGKILL): the system may have been out of memory",
            11 => " (SIGSEGV)",
            _ => "",
        };
        return format!("signal {signal}{name}");
    }
    status.to_string()
}

fn failed(reason: String) -> Refused {
    Refused { reason, outcome: "failed" }
}

fn stopped() -> Refused {
    failed("the server is being stopped".into())
}

/// Most of what this process may use and does not.
fn free_memory() -> u64 {
    let limit = memory_limit(Path::new("/")).unwrap_or(u64::MAX);
    let free = limit.saturating_sub(resident_bytes().unwrap_or(0));
    (free - free / 4).max(LEAST)
}

/// This very program, though its file may have been replaced.
fn own_program() -> OsString {
    let own = OsStr::new("/proc/self/exe");
    if Path::new(own).exists() {
        return own.to_owned();
    }
    std::env::current_exe().map_or_else(|_| "hedef".into(), Into::into)
}

/// The other side: loads one version, says why it cannot be, and ends.
pub(crate) fn run(wanted: &TryLoad, engine: &Engine) -> anyhow::Result<()> {
    guard();
    match load(wanted, engine) {
        Ok(()) => Ok(()),
        Err(reason) => {
            print(&reason);
            std::process::exit(REFUSED)
        }
    }
}

fn load(wanted: &TryLoad, engine: &Engine) -> Result<(), String> {
    let mut settings = wanted.settings.as_deref().map_or_else(|| Ok(Settings::default()), Settings::read)?;
    let overrides =
        Overrides { max_batch_rows: wanted.max_batch_rows, instances: wanted.instances, ..Overrides::default() };
    overrides.apply(&mut settings);
    let name = ModelName::new(&wanted.name).map_err(|error| error.to_string())?;
    let id = ModelId { name, version: wanted.number };
    let (loader, _) = loader(engine, false).map_err(|error| format!("{error:#}"))?;
    let version = Version { id, file: &wanted.file, folder: &wanted.folder, settings: &settings };
    loader.load(&version).map(drop)
}

/// Ends with whoever started this, writes no core, and is the first to go when memory runs out.
#[cfg(target_os = "linux")]
fn guard() {
    use rustix::process::{Resource, Rlimit, Signal, set_parent_process_death_signal, setrlimit};
    // Each is a help that some systems do not give; the parent watches all the same.
    let _ = set_parent_process_death_signal(Some(Signal::KILL));
    let _ = setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) });
    let _ = std::fs::write("/proc/self/oom_score_adj", "1000");
}

#[cfg(not(target_os = "linux"))]
fn guard() {}
