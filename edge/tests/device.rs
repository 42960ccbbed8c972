//! The device's binary as a process.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::config;
use crate::wait::until;

/// The folder of a device: its settings and its data, which outlast its process.
pub(crate) struct Home {
    folder: TempDir,
    model: &'static str,
}

impl Home {
    /// One whose settings are these, beside a sample model and free ports.
    pub(crate) fn new(settings: &str) -> Self {
        Self::of("iris", settings)
    }

    /// The same beside that sample model.
    pub(crate) fn of(model: &'static str, settings: &str) -> Self {
        let home = Self { folder: tempfile::tempdir().unwrap(), model };
        home.write(settings);
        home
    }

    pub(crate) fn write(&self, settings: &str) {
        let (root, data) = (config::root().join("models").join(self.model), self.path().join("data"));
        let text = format!(
            "models = ['{}']\ndata = '{}'\n{settings}\n[http]\nlisten = '127.0.0.1:0'\nmetrics_listen = '127.0.0.1:0'\n",
            root.display(),
            data.display()
        );
        fs::write(self.path().join("edge.toml"), text).unwrap();
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn command(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_hedef-edge"));
        command.arg(self.path().join("edge.toml")).current_dir(self.path()).stdin(Stdio::null());
        for name in ["HEDEF_ROOTS", "HEDEF_LISTEN", "HEDEF_METRICS_LISTEN", "HEDEF_MODEL", "HEDEF_DATA", "HEDEF_LOG"] {
            command.env_remove(name);
        }
        command
    }

    /// Starts it and waits until it listens.
    pub(crate) fn start(&self) -> Device {
        self.start_with(&[])
    }

    /// The same, with variables in its environment.
    pub(crate) fn start_with(&self, variables: &[(&str, String)]) -> Device {
        let mut command = self.command();
        command.envs(variables.iter().map(|(name, value)| (name, value)));
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let (said, log) = (keep(child.stdout.take().unwrap()), keep(child.stderr.take().unwrap()));
        let mut device = Device { child, said, log, ended: false };
        until("the device listens", || {
            if let Some(status) = device.child.try_wait().unwrap() {
                panic!("the device ended at once, {status}: {}", device.log());
            }
            device.said().contains("for metrics").then_some(())
        });
        device
    }
}

/// A running device. Dropping it ends the process and fails the test if its log tells of a panic.
pub(crate) struct Device {
    child: Child,
    said: Arc<Mutex<String>>,
    log: Arc<Mutex<String>>,
    ended: bool,
}

impl Device {
    pub(crate) fn log(&self) -> String {
        self.log.lock().unwrap().clone()
    }

    fn said(&self) -> String {
        self.said.lock().unwrap().clone()
    }

    fn address(&self, metrics: bool) -> SocketAddr {
        let said = self.said();
        let mut lines = said.lines().filter(|line| line.ends_with(" for metrics") == metrics);
        let (_, rest) = lines.next().unwrap().split_once("http://").unwrap();
        rest.trim_end_matches(" for metrics").parse().unwrap()
    }

    /// Where HTTP is spoken.
    pub(crate) fn http(&self) -> SocketAddr {
        self.address(false)
    }

    /// Where metrics are told.
    pub(crate) fn metrics(&self) -> SocketAddr {
        self.address(true)
    }

    /// The bytes of memory that it has.
    pub(crate) fn resident(&self) -> usize {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.split_whitespace().next().unwrap().parse::<usize>().unwrap() << 10
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Whether it has ended, by itself or by a signal.
    pub(crate) fn has_ended(&mut self) -> bool {
        self.ended |= self.child.try_wait().unwrap().is_some();
        self.ended
    }

    /// Asks it to stop, and waits for its end.
    pub(crate) fn stop(mut self) -> (ExitStatus, String) {
        self.signal(Signal::TERM);
        let status = until("the device ends", || self.child.try_wait().unwrap());
        self.ended = true;
        (status, self.log())
    }

    /// Ends it at once.
    pub(crate) fn kill(mut self) {
        self.signal(Signal::KILL);
        self.child.wait().unwrap();
        self.ended = true;
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        if !self.ended {
            self.child.kill().unwrap();
            self.child.wait().unwrap();
        }
        if !thread::panicking() {
            assert!(!self.log().contains("panicked"), "{}", self.log());
        } else {
            eprintln!("the device's log:\n{}", self.log());
        }
    }
}

/// Keeps what comes out of a pipe.
fn keep(pipe: impl Read + Send + 'static) -> Arc<Mutex<String>> {
    let kept = Arc::new(Mutex::new(String::new()));
    let lines = Arc::clone(&kept);
    thread::spawn(move || {
        for line in BufReader::new(pipe).lines().map_while(Result::ok) {
            let mut lines = lines.lock().unwrap();
            lines.push_str(&line);
            lines.push('\n');
        }
    });
    kept
}
