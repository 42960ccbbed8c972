//! The built command as a process: started, watched, and ended.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};

use rustix::process::{Pid, Signal, kill_process};
use ureq::tls::ClientCert;

use crate::certificates::Authority;
use crate::config;
use crate::http::{Client, Wire};
use crate::wait::until;

/// `hedef` with nothing of the caller's settings.
pub(crate) fn hedef(arguments: &[impl AsRef<OsStr>]) -> Command {
    let mut command = Command::new(config::command());
    command.args(arguments).current_dir(config::root()).stdin(Stdio::null());
    for name in [
        "HEDEF_LOG",
        "HEDEF_ROOTS",
        "HEDEF_LISTEN",
        "HEDEF_GRPC_LISTEN",
        "HEDEF_TRACES_ENDPOINT",
        "SERVICE_PATH_PREFIX",
        "AML_CORS_ORIGINS",
        "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
        "OTEL_EXPORTER_OTLP_ENDPOINT",
    ] {
        command.env_remove(name);
    }
    // Not the user's own.
    command.env("HEDEF_GRAPH_CACHE", config::target().join("tmp").join("graphs"));
    command
}

/// What a command that ended said.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// Runs `hedef` to its end, with `input` as its standard input.
pub(crate) fn run(arguments: &[impl AsRef<OsStr>], input: &[u8]) -> Said {
    let mut command = hedef(arguments);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    // One that does not read its input closes the pipe.
    let _ = child.stdin.take().unwrap().write_all(input);
    let output = child.wait_with_output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    let said = Said { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) };
    assert!(!said.stderr.contains("panicked"), "{}", said.stderr);
    said
}

/// A running `hedef serve`. Dropping it ends the process and fails the test if its log tells of a panic.
#[derive(Debug)]
pub(crate) struct Server {
    child: Child,
    pub(crate) address: SocketAddr,
    said: Arc<Mutex<String>>,
    log: Arc<Mutex<String>>,
    readers: Vec<JoinHandle<()>>,
}

/// How a server ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) status: ExitStatus,
    pub(crate) log: String,
}

impl Server {
    /// Serves the sample models.
    pub(crate) fn samples() -> Self {
        Self::start(&config::samples(), &[])
    }

    /// Serves `root` on a free port, and waits until it says that it listens: after the models were loaded.
    pub(crate) fn start(root: &Path, flags: &[&str]) -> Self {
        Self::start_in(root, flags, &[])
    }

    /// The same, with variables in its environment.
    pub(crate) fn start_in(root: &Path, flags: &[&str], variables: &[(&str, &str)]) -> Self {
        let mut command =
            hedef(&[OsStr::new("serve"), root.as_os_str(), OsStr::new("--listen"), OsStr::new("127.0.0.1:0")]);
        command.args(flags).envs(variables.iter().copied()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let log = Arc::new(Mutex::new(String::new()));
        let said = Arc::new(Mutex::new(String::new()));
        let readers = vec![
            keep(child.stdout.take().unwrap(), Arc::clone(&said)),
            keep(child.stderr.take().unwrap(), Arc::clone(&log)),
        ];
        let address = SocketAddr::from(([127, 0, 0, 1], 0));
        let mut server = Self { child, address, said: Arc::clone(&said), log, readers };
        server.address = until("the line with the server's address", || {
            if let Some(status) = server.child.try_wait().unwrap() {
                panic!("the server ended at once, {status}: {}", server.log());
            }
            let said = said.lock().unwrap();
            let (_, rest) = said.split_once("listens on http")?;
            let (_, rest) = rest.split_once("://")?;
            rest.split_once(" after ")?.0.parse().ok()
        });
        server
    }

    /// The address of the port for `purpose`, as the server says it.
    pub(crate) fn address_for(&self, purpose: &str) -> SocketAddr {
        let said = self.said.lock().unwrap();
        let line = said.lines().find_map(|line| line.strip_prefix("  and on http://")?.strip_suffix(purpose));
        line.unwrap().strip_suffix(" for ").unwrap().parse().unwrap()
    }

    pub(crate) fn client(&self) -> Client {
        Client::new(self.address)
    }

    /// A client within TLS that trusts these, and shows a certificate.
    pub(crate) fn secure_client(&self, trusted: &[&Authority], shown: Option<&ClientCert>) -> Client {
        let roots: Vec<_> = trusted.iter().map(|authority| authority.root()).collect();
        Client::secure(self.address, &roots, shown)
    }

    pub(crate) fn wire(&self) -> Wire {
        Wire::open(self.address)
    }

    /// The log so far.
    pub(crate) fn log(&self) -> String {
        self.log.lock().unwrap().clone()
    }

    /// The resident memory in kB.
    pub(crate) fn resident_kb(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().trim_end_matches(" kB").parse().unwrap()
    }

    /// The processes that it started and that have not ended.
    pub(crate) fn children(&self) -> Vec<Pid> {
        let own = format!("PPid:\t{}\n", self.child.id());
        let processes = std::fs::read_dir("/proc").unwrap().flatten();
        let numbers = processes.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        let is_own = |number: &i32| {
            let status = std::fs::read_to_string(format!("/proc/{number}/status")).unwrap_or_default();
            status.contains(&own) && !status.contains("State:\tZ")
        };
        numbers.filter(is_own).filter_map(Pid::from_raw).collect()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Waits for the end of the process, however it was asked for.
    pub(crate) fn ended(mut self) -> Ended {
        let status = until("the end of the server", || self.child.try_wait().unwrap());
        self.read_to_end();
        Ended { status, log: self.log() }
    }

    /// Asks for the end with SIGTERM and waits for it.
    pub(crate) fn stop(self) -> Ended {
        self.signal(Signal::TERM);
        self.ended()
    }

    fn read_to_end(&mut self) {
        for reader in self.readers.drain(..) {
            reader.join().unwrap();
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        self.read_to_end();
        if thread::panicking() {
            eprintln!("the server's log:\n{}", self.log());
        } else {
            assert!(!self.log().contains("panicked"), "the server's log tells of a panic:\n{}", self.log());
        }
    }
}

/// Reads lines on a thread, so that the process never waits for a reader.
fn keep(stream: impl Read + Send + 'static, text: Arc<Mutex<String>>) -> JoinHandle<()> {
    thread::spawn(move || {
        let mut lines = BufReader::new(stream);
        let mut line = Vec::new();
        while lines.read_until(b'\n', &mut line).is_ok_and(|read| read > 0) {
            text.lock().unwrap().push_str(&String::from_utf8_lossy(&line));
            line.clear();
        }
    })
}
