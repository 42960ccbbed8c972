//! A real broker, and its own clients.

use std::fs;
use std::io::Write;
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::config;
use crate::wait::until;

/// A broker with a folder of its own, in which it keeps each second what waits for those who are away.
pub(crate) struct Mosquitto {
    folder: TempDir,
    program: PathBuf,
    pub(crate) port: u16,
    child: Option<Child>,
}

impl Mosquitto {
    /// Starts one with these further settings. `None` where there is none on this machine, which CI does not allow.
    pub(crate) fn start(settings: &str) -> Option<Self> {
        let Some(program) = config::program("mosquitto") else {
            assert!(!config::ci(), "mosquitto is not here");
            eprintln!("skipped: mosquitto is not here");
            return None;
        };
        let folder = tempfile::tempdir().unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut broker = Self { folder, program, port, child: None };
        let usual = if settings.contains("allow_anonymous") { "" } else { "allow_anonymous true\n" };
        let text = format!(
            "listener {port} 127.0.0.1\n{settings}\n{usual}persistence true\npersistence_location {}/\nautosave_interval 1\n",
            broker.folder.path().display()
        );
        fs::write(broker.folder.path().join("mosquitto.conf"), text).unwrap();
        // As root it becomes another user, who has to write here.
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            fs::set_permissions(broker.folder.path(), fs::Permissions::from_mode(0o777)).unwrap();
        }
        broker.begin();
        Some(broker)
    }

    /// Starts it, on the port of before.
    pub(crate) fn begin(&mut self) {
        let file = self.folder.path().join("mosquitto.conf");
        let mut command = Command::new(&self.program);
        let mut child = command.arg("-c").arg(file).stdin(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        until("the broker listens", || {
            assert!(child.try_wait().unwrap().is_none(), "the broker ended at once");
            std::net::TcpStream::connect(("127.0.0.1", self.port)).ok()
        });
        self.child = Some(child);
    }

    /// Ends it at once, with every connection.
    pub(crate) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    pub(crate) fn is_running(&self) -> bool {
        self.child.is_some()
    }

    /// Has it read its password file again. Only one that answers knows the signal.
    pub(crate) fn reload(&self) {
        if let Some(child) = &self.child {
            kill_process(Pid::from_child(child), Signal::HUP).unwrap();
        }
    }

    fn client(&self, program: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new(config::program(program).unwrap());
        command.args(["-h", "127.0.0.1", "-p", &self.port.to_string(), "-q", "1"]).args(arguments);
        command
    }

    /// Publishes a message, and waits until the broker has it.
    pub(crate) fn publish(&self, topic: &str, body: &[u8]) {
        let mut child = self.client("mosquitto_pub", &["-t", topic, "-s"]).stdin(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(body).unwrap();
        assert!(child.wait().unwrap().success());
    }

    /// Publishes each line as a message.
    pub(crate) fn publish_lines(&self, topic: &str, lines: &str) {
        let mut child = self.client("mosquitto_pub", &["-t", topic, "-l"]).stdin(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(lines.as_bytes()).unwrap();
        assert!(child.wait().unwrap().success());
    }

    /// Follows topics as a client whose messages wait while it is away.
    pub(crate) fn follow(&self, filters: &[&str]) -> Follower {
        let mut arguments = vec!["-v", "-c", "-i", "follower"];
        arguments.extend(filters.iter().flat_map(|filter| ["-t", filter]));
        // The broker knows the subscription before anything is published.
        let subscribed = self.client("mosquitto_sub", &arguments).arg("-E").stdout(Stdio::null()).status().unwrap();
        assert!(subscribed.success());
        let mut child = self.client("mosquitto_sub", &arguments).stdout(Stdio::piped()).spawn().unwrap();
        Follower { lines: lines(child.stdout.take().unwrap()), child }
    }
}

impl Drop for Mosquitto {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A client that prints what comes.
pub(crate) struct Follower {
    child: Child,
    lines: Receiver<String>,
}

impl Follower {
    /// The next message: its topic and its text.
    pub(crate) fn message(&self) -> (String, String) {
        let line = self.lines.recv_timeout(Duration::from_secs(60)).expect("a message for mosquitto_sub");
        let (topic, text) = line.split_once(' ').unwrap();
        (topic.into(), text.into())
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

fn lines(pipe: ChildStdout) -> Receiver<String> {
    use std::io::BufRead;
    let (sender, receiver) = channel();
    thread::spawn(move || {
        for line in std::io::BufReader::new(pipe).lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                break;
            }
        }
    });
    receiver
}
