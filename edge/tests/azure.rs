//! Azure's own client of a module, on the same hub as this one: what both send has to be the same, byte for byte.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};

use crate::hub::Hub;
use crate::module::{ROW, start};
use crate::wait::until;

const NEEDED: &str = "the reference needs Python 3.11 or newer with venv and pip, and a package index";

/// The interpreter that has Azure's client.
fn python() -> PathBuf {
    let requirements = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/python/requirements.txt");
    let wanted = fs::read(&requirements).unwrap();
    let target = Path::new(env!("CARGO_BIN_EXE_hedef-edge")).parent().unwrap().parent().unwrap();
    let folder = target.join("python-edge");
    fs::create_dir_all(&folder).unwrap();
    // Another test process may be making it.
    let lock = File::create(folder.join("lock")).unwrap();
    lock.lock().unwrap();
    let (complete, interpreter) = (folder.join("complete"), folder.join("bin/python"));
    if fs::read(&complete).ok().as_ref() != Some(&wanted) {
        must(Command::new("python3").args(["-m", "venv"]).arg(&folder));
        let install = ["-m", "pip", "install", "--disable-pip-version-check", "--no-deps", "-r"];
        must(Command::new(&interpreter).args(install).arg(&requirements));
        fs::write(complete, wanted).unwrap();
    }
    interpreter
}

fn must(command: &mut Command) {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}; {NEEDED}"));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {}; {NEEDED}\n{said}", output.status);
}

/// Ends with the test.
struct Reference(Child);

impl Drop for Reference {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// What topics say beside the ids of requests and messages, which differ.
fn forms(topics: &[String]) -> BTreeSet<String> {
    let form = |topic: &String| match topic.split_once("$rid=") {
        Some((before, _)) => format!("{before}$rid="),
        None => topic.clone(),
    };
    topics.iter().map(form).collect()
}

#[test]
fn what_is_sent_is_what_azure_s_own_client_sends() {
    compare(&[]);
}

/// Which shows too that the emulator speaks WebSocket as others do.
#[test]
fn and_within_websocket_too() {
    compare(&["websocket"]);
}

fn compare(how: &[&str]) {
    let (_home, hub, _device) = start("");
    hub.input("in/1 ü", ROW);
    let own = until("the answer is sent", || hub.sent().first().cloned());
    assert_eq!(hub.call("ping", "").0, "200");

    let folder = tempfile::tempdir().unwrap();
    let other = Hub::start(folder.path());
    let message = json!({ "body": String::from_utf8(own.body.clone()).unwrap(), "properties": own.properties });
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/python/azure_module.py");
    let mut command = Command::new(python());
    command.arg(script).arg(other.port.to_string()).arg(message.to_string()).args(how);
    command.envs(Hub::variables(folder.path())).stdin(Stdio::null());
    let mut reference = Reference(command.spawn().unwrap());
    other.input("in/1 ü", ROW);
    let sent = until("the reference answers", || {
        assert!(reference.0.try_wait().unwrap().is_none_or(|status| status.success()), "the reference failed");
        other.sent().first().cloned()
    });
    assert_eq!(other.call("ping", ""), ("200".into(), json!({ "version": "reference" })));
    let status = until("the reference ends", || reference.0.try_wait().unwrap());
    assert!(status.success(), "{status}");

    assert_eq!(own.topic, sent.topic);
    assert_eq!(own.body, sent.body);
    assert_eq!(forms(&hub.topics()), forms(&other.topics()));
    let filters = |hub: &Hub| hub.filters().into_iter().map(|(filter, _)| filter).collect::<BTreeSet<_>>();
    assert_eq!(filters(&hub), filters(&other));
    // All but the signature and the time.
    let audience = |hub: &Hub| hub.tokens()[0].split('&').next().map(String::from);
    assert_eq!(audience(&hub), audience(&other));
    assert_eq!(
        (hub.reported()["ready"].clone(), other.reported()["ready"].clone()),
        (Value::Bool(true), Value::Bool(true))
    );
}
