//! A Python environment under the target folder, made once from the pinned requirements.

use std::fs::{self, File};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

use crate::config;

const NEEDED: &str = "these tests compare Hedef with independent clients and need Python 3.11 or newer with venv and \
                      pip, and a package index (Debian: apt-get install python3 python3-venv)";

/// The interpreter of the environment.
pub(crate) fn interpreter() -> &'static Path {
    static MADE: OnceLock<PathBuf> = OnceLock::new();
    MADE.get_or_init(environment)
}

/// Runs a script of `tests/python`, which has to succeed; returns what it printed.
pub(crate) fn script(name: &str, arguments: &[&str]) -> String {
    let output = command(name).args(arguments).output().unwrap();
    succeeded(&format!("{name} {}", arguments.join(" ")), &output)
}

/// A script of `tests/python`, ready to be run.
pub(crate) fn command(name: &str) -> Command {
    let mut command = Command::new(interpreter());
    // Models of operator sets that were not released when ONNX Runtime was built are compared too.
    command.env("ALLOW_RELEASED_ONNX_OPSET_ONLY", "0");
    command.arg(folder().join(name)).current_dir(config::root());
    command
}

/// Runs an installed module with `python -m`, which has to succeed; returns what it printed.
pub(crate) fn module(name: &str, arguments: &[&str]) -> String {
    let output = Command::new(interpreter()).args(["-m", name]).args(arguments).output().unwrap();
    succeeded(&format!("python -m {name} {}", arguments.join(" ")), &output)
}

fn succeeded(what: &str, output: &Output) -> String {
    let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{what}: {}\n{stdout}\n{stderr}", output.status);
    stdout
}

fn folder() -> PathBuf {
    config::root().join("tests/python")
}

fn environment() -> PathBuf {
    let requirements = folder().join("requirements.txt");
    let mut hasher = DefaultHasher::new();
    fs::read(&requirements).unwrap().hash(&mut hasher);
    let folder = config::target().join(format!("python-{:016x}", hasher.finish()));
    fs::create_dir_all(&folder).unwrap();
    // Another test process may be making it.
    let lock = File::create(folder.join("lock")).unwrap();
    lock.lock().unwrap();
    let complete = folder.join("complete");
    let interpreter = folder.join("bin/python");
    if !complete.exists() {
        let folder = folder.to_str().unwrap();
        must(Command::new("python3").args(["-m", "venv"]).arg(folder), &[]);
        must(
            &mut Command::new(&interpreter),
            // The list is complete, but for what its packages ask for and these tests do not use.
            &["-m", "pip", "install", "--disable-pip-version-check", "--no-deps", "-r", requirements.to_str().unwrap()],
        );
        File::create(complete).unwrap();
    }
    interpreter
}

fn must(command: &mut Command, arguments: &[&str]) {
    let output = command.args(arguments).output().unwrap_or_else(|error| panic!("{command:?}: {error}; {NEEDED}"));
    let [stdout, stderr] = [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes));
    assert!(output.status.success(), "{command:?}: {}; {NEEDED}\n{stdout}\n{stderr}", output.status);
}
