//! Runs pip, which knows the user's package index, proxy and certificates.

use std::ffi::OsString;
use std::io::{self, Read};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

use super::error::RuntimeError;
use super::package::Package;
use super::pinned::PinnedWheel;

/// How often progress is shown.
const TICK: Duration = Duration::from_millis(100);
/// How long nothing may come before pip is stopped: more than its own timeouts with their retries.
const STALL: Duration = Duration::from_secs(15 * 60);

/// The commands under which Python may be found.
#[derive(Clone, Debug)]
pub struct Python {
    commands: Vec<Vec<OsString>>,
}

impl Python {
    /// The usual commands: `python3`, `python` and, on Windows, `py -3`.
    #[must_use]
    pub fn search() -> Self {
        let mut commands = vec![vec!["python3".into()], vec!["python".into()]];
        if cfg!(windows) {
            commands.push(vec!["py".into(), "-3".into()]);
        }
        Self { commands }
    }

    /// The given commands, each a program and its first arguments, in this order.
    #[must_use]
    pub fn commands(commands: Vec<Vec<OsString>>) -> Self {
        Self { commands }
    }

    /// Downloads `wheel` into `folder` with the first command that has pip; `watch` is called while it runs and
    /// returns the bytes that have come.
    pub(super) fn download(
        &self,
        wheel: &PinnedWheel,
        folder: &Path,
        mut watch: impl FnMut() -> u64,
    ) -> Result<(), RuntimeError> {
        let requirements = folder.join("requirements.txt");
        let (package, library) = (wheel.package, wheel.library_name());
        let line = format!("{}=={} --hash=sha256:{}\n", package.name(), package.version(), wheel.sha256);
        std::fs::write(&requirements, line).map_err(RuntimeError::writing(&requirements))?;
        let mut without_pip = None;
        for command in &self.commands {
            match run(&mut pip(command, wheel, folder), &mut watch, package)? {
                Ran::Absent => {}
                Ran::Ended(status, _) if status.success() => return Ok(()),
                Ran::Ended(_, said) if said.contains("No module named pip") => {
                    without_pip.get_or_insert_with(|| words(command));
                }
                Ran::Ended(_, said) => return Err(failure(wheel, folder, &said)),
            }
        }
        Err(match without_pip {
            Some(python) => RuntimeError::NoPip { package, python, library },
            None => RuntimeError::NoPython { package, tried: self.tried(), library },
        })
    }

    fn tried(&self) -> String {
        self.commands.iter().map(|command| format!("`{}`", words(command))).collect::<Vec<_>>().join(", ")
    }
}

fn words(command: &[OsString]) -> String {
    command.iter().map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
}

/// The explicit tags make every Python, of whatever version and platform, fetch the one pinned file.
fn pip(command: &[OsString], wheel: &PinnedWheel, folder: &Path) -> Command {
    let mut words = command.iter();
    let mut pip = Command::new(words.next().map_or_else(OsString::new, Clone::clone));
    pip.args(words)
        .args([
            "-m",
            "pip",
            "download",
            "--quiet",
            "--no-input",
            "--disable-pip-version-check",
            "--progress-bar",
            "off",
        ])
        .args(["--no-deps", "--only-binary=:all:", "--require-hashes", "--implementation", "cp"])
        .args(["--python-version", "312", "--abi", "cp312", "--platform", wheel.platform])
        .arg("-d")
        .arg(folder)
        .arg("-r")
        .arg(folder.join("requirements.txt"));
    // Pip downloads into its temporary folder first: here its growth can be watched, and goes when this one goes.
    for name in ["TMPDIR", "TEMP", "TMP"] {
        pip.env(name, folder);
    }
    pip.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    pip
}

/// How a command ended.
enum Ran {
    /// There is no such command.
    Absent,
    /// It ended, and said this on standard error.
    Ended(ExitStatus, String),
}

/// The exit code by which Windows says that `python3` is only an offer of its shop.
const SHOP_OFFER: i32 = 9009;

fn run(command: &mut Command, watch: &mut impl FnMut() -> u64, package: Package) -> Result<Ran, RuntimeError> {
    let mut child = match command.spawn() {
        Ok(child) => child,
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied) => {
            return Ok(Ran::Absent);
        }
        Err(source) => return Err(RuntimeError::Write { path: command.get_program().into(), source }),
    };
    let said = listen(&mut child, watch, package)?;
    let status = child.wait().map_err(|source| RuntimeError::Write { path: command.get_program().into(), source })?;
    if status.code() == Some(SHOP_OFFER) { Ok(Ran::Absent) } else { Ok(Ran::Ended(status, said)) }
}

/// Reads what `child` says until it closes its standard error, and kills it when nothing comes any more.
fn listen(child: &mut Child, watch: &mut impl FnMut() -> u64, package: Package) -> Result<String, RuntimeError> {
    let Some(mut errors) = child.stderr.take() else { return Ok(String::new()) };
    let (sender, receiver) = mpsc::channel();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            let mut text = Vec::new();
            // What was said before a failed read is as good as there is, and the receiver waits for it.
            let _ = errors.read_to_end(&mut text);
            let _ = sender.send(String::from_utf8_lossy(&text).into_owned());
        });
        let (mut grown, mut seen) = (Instant::now(), 0);
        loop {
            match receiver.recv_timeout(TICK) {
                Ok(text) => return Ok(text),
                Err(RecvTimeoutError::Disconnected) => return Ok(String::new()),
                Err(RecvTimeoutError::Timeout) => {}
            }
            let bytes = watch();
            if bytes != seen {
                (grown, seen) = (Instant::now(), bytes);
            } else if grown.elapsed() > STALL {
                let _ = child.kill();
                return Err(RuntimeError::Stalled { package, seconds: STALL.as_secs() });
            }
        }
    })
}

/// Turns what pip said into what a person does about it.
fn failure(wheel: &PinnedWheel, folder: &Path, said: &str) -> RuntimeError {
    if said.contains("DO NOT MATCH THE HASHES") {
        let found = said.lines().find_map(|line| line.trim().strip_prefix("Got")).unwrap_or("another");
        let package = wheel.package;
        return RuntimeError::WrongHash { package, expected: wheel.sha256.to_owned(), found: found.trim().to_owned() };
    }
    if said.contains("No space left on device") {
        return RuntimeError::NoSpace { path: folder.parent().unwrap_or(folder).to_path_buf() };
    }
    let lines: Vec<&str> = said.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let last = lines.get(lines.len().saturating_sub(4)..).unwrap_or_default().join("; ");
    let said = if last.is_empty() { "nothing".to_owned() } else { last };
    RuntimeError::Pip { package: wheel.package, said, library: wheel.library_name() }
}
