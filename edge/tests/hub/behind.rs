//! The hub behind a real broker: a client of it, which answers what the module says there.
//!
//! The broker lets the module in only with the token that the daemon signed last: the daemon writes it into the broker's
//! password file. What the broker does not have: it keeps no inputs for a module that is away, so they are sent to one that is
//! there, and sent again by the test where they got lost.

use std::fs;
use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use hedef_edge::iotedge::topics::percent_encoded;
use hedef_edge::mqtt::packet::{Connect, Packet, Publish, decode, encode};

use super::daemon::{self, Authority};
use super::state::{State, input_topic};
use super::{DEVICE, Hub, KEY, sign, signature};
use crate::config;
use crate::mosquitto::Mosquitto;
use crate::wait::until;

/// The hub's own name and password at the broker.
const HUB: (&str, &str) = ("hub", "secret");

/// The module's name there.
const MODULE: &str = concat!(
    "testhub.azure-devices.net/edge1/mod1/?api-version=2021-04-12&DeviceClientType=hedef-edge%2F",
    env!("CARGO_PKG_VERSION")
);

pub(super) fn start(folder: &Path) -> Option<(Hub, Arc<Mutex<Mosquitto>>)> {
    // The broker reads them as another user.
    fs::set_permissions(folder, fs::Permissions::from_mode(0o755)).unwrap();
    let authority = Authority::new();
    let write = |name: &str, text: &str| {
        let path = folder.join(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        path
    };
    let (certificate, key) = (write("hub.pem", &authority.certificate), write("hub.key", &authority.key));
    let passwords = Passwords(folder.join("passwords"));
    passwords.write(&[HUB]);
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    // None of its own rules is to keep a message back.
    let settings = format!(
        "allow_anonymous false\npassword_file {}\nmax_inflight_messages 0\nmax_queued_messages 0\n\
         listener {port} 127.0.0.1\ncertfile {}\nkeyfile {}\n",
        passwords.0.display(),
        certificate.display(),
        key.display()
    );
    let broker = Mosquitto::start(&settings)?;
    let plain = broker.port;
    let broker = Arc::new(Mutex::new(broker));
    let hub = Hub::at(port, &authority);
    let here = Arc::new(AtomicBool::new(false));
    let (state, violated, is_here) = (Arc::clone(&hub.state), Arc::clone(&hub.violated), Arc::clone(&here));
    let served = thread::Builder::new().name("hub".into()).spawn(move || {
        // The broker may be away.
        loop {
            let _ = Side::serve(plain, &state, &is_here);
            is_here.store(false, Ordering::SeqCst);
            thread::sleep(Duration::from_millis(20));
        }
    });
    let violation = Arc::clone(&violated);
    thread::spawn(move || {
        if served.unwrap().join().is_err() {
            violation.store(true, Ordering::SeqCst);
        }
    });
    until("the hub is connected", || here.load(Ordering::SeqCst).then_some(()));
    let (state, wrong, rig) = (Arc::clone(&hub.state), Arc::clone(&hub.wrong_key), Arc::downgrade(&broker));
    daemon::start(folder, authority.root, violated, move |text| {
        let token = token(text);
        let module = (MODULE, token.as_str());
        passwords.write(&[HUB, module]);
        // A broker that is away reads them at its start. Whom it lets in finds the hub there.
        while let Some(broker) = rig.upgrade().filter(|broker| broker.lock().unwrap().is_running()) {
            match admits(plain, module) {
                Ok(true) if here.load(Ordering::SeqCst) => break,
                Ok(false) => broker.lock().unwrap().reload(),
                Ok(true) | Err(_) => (),
            }
            thread::sleep(Duration::from_millis(20));
        }
        let mut state = state.lock().unwrap();
        state.tokens.push(token);
        state.is_signed = true;
        drop(state);
        signature(&wrong, text)
    });
    Some((hub, broker))
}

/// The token over what is to be signed, as the module has to make it.
fn token(text: &str) -> String {
    let (audience, expires) = text.split_once('\n').unwrap();
    format!("SharedAccessSignature sr={audience}&sig={}&se={expires}", percent_encoded(&sign(KEY, text)))
}

/// The broker's password file.
struct Passwords(PathBuf);

impl Passwords {
    /// Writes it anew, whole at each moment.
    fn write(&self, logins: &[(&str, &str)]) {
        let new = self.0.with_extension("new");
        fs::write(&new, "").unwrap();
        for (name, password) in logins {
            let mut command = Command::new(config::program("mosquitto_passwd").unwrap());
            let output = command.arg("-b").arg(&new).args([name, password]).output().unwrap();
            assert!(output.status.success(), "{output:?}");
        }
        fs::set_permissions(&new, fs::Permissions::from_mode(0o644)).unwrap();
        fs::rename(new, &self.0).unwrap();
    }
}

/// Whether the broker lets somebody in.
fn admits(port: u16, login: (&str, &str)) -> io::Result<bool> {
    let mut stream = open(port, "probe", login)?;
    stream.set_read_timeout(Some(Duration::from_secs(1)))?;
    let mut answer = [0; 4];
    stream.read_exact(&mut answer)?;
    Ok(matches!(decode(&answer, 4), Ok(Some((Packet::ConnAck { code: 0, .. }, _)))))
}

fn open(port: u16, client_id: &str, (name, password): (&str, &str)) -> io::Result<TcpStream> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_nodelay(true)?;
    let connect = Connect {
        client_id: client_id.into(),
        clean_session: true,
        keep_alive: 0,
        username: Some(name.into()),
        password: Some(password.into()),
    };
    send(&mut stream, &Packet::Connect(connect))?;
    Ok(stream)
}

fn send(stream: &mut TcpStream, packet: &Packet) -> io::Result<()> {
    let mut bytes = Vec::new();
    encode(packet, &mut bytes).map_err(io::Error::other)?;
    stream.write_all(&bytes)
}

/// The hub as a client.
struct Side<'s> {
    stream: TcpStream,
    state: &'s Mutex<State>,
    /// Whether the module was heard on this connection, so that it hears too.
    heard: bool,
    last_id: u16,
}

impl Side<'_> {
    /// Answers until the connection ends. `here` is set while the module would be heard.
    fn serve(port: u16, state: &Mutex<State>, here: &AtomicBool) -> io::Result<()> {
        let mut stream = open(port, "hub", HUB)?;
        stream.set_read_timeout(Some(Duration::from_millis(5)))?;
        // What the module says comes as it is said: nothing of it waits for an acknowledgement.
        let filters = ["$iothub/twin/GET/#", "$iothub/twin/PATCH/properties/reported/#", "$iothub/methods/res/#"];
        let mut filters: Vec<_> = filters.map(|filter| (filter.to_owned(), 0)).into();
        filters.push((format!("{DEVICE}/messages/events/#"), 0));
        send(&mut stream, &Packet::Subscribe { id: 1, filters })?;
        let mut side = Side { stream, state, heard: false, last_id: 0 };
        let mut input = Vec::new();
        loop {
            side.tell()?;
            let mut bytes = [0; 4096];
            match side.stream.read(&mut bytes) {
                Ok(0) => return Ok(()),
                Ok(read) => input.extend_from_slice(&bytes[..read]),
                Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => (),
                Err(error) => return Err(error),
            }
            while let Some((packet, length)) = decode(&input, 1 << 20).map_err(io::Error::other)? {
                input.drain(..length);
                match packet {
                    Packet::Publish(publish) => side.hear(publish)?,
                    Packet::SubAck { .. } => here.store(true, Ordering::SeqCst),
                    _ => (),
                }
            }
        }
    }

    fn hear(&mut self, publish: Publish) -> io::Result<()> {
        let mut state = self.state.lock().unwrap();
        if publish.topic.starts_with("$iothub/twin/GET/") {
            self.heard = true;
            state.connections += usize::from(std::mem::take(&mut state.is_signed));
        }
        let answer = state.said(publish);
        drop(state);
        answer.map_or(Ok(()), |(topic, body)| self.publish(topic, body, 0))
    }

    /// Sends what is there for the module.
    fn tell(&mut self) -> io::Result<()> {
        if !self.heard {
            return Ok(());
        }
        let mut state = self.state.lock().unwrap();
        let told: Vec<_> = state.telling.drain(..).collect();
        let inputs: Vec<_> = state.inputs.drain(..).collect();
        drop(state);
        for (topic, body) in told {
            self.publish(topic, body, 0)?;
        }
        for input in inputs {
            self.publish(input_topic(&input), input.body, 1)?;
        }
        Ok(())
    }

    fn publish(&mut self, topic: String, body: Vec<u8>, qos: u8) -> io::Result<()> {
        self.last_id = self.last_id.checked_add(1).unwrap_or(1);
        let id = (qos > 0).then_some(self.last_id);
        send(&mut self.stream, &Packet::Publish(Publish { topic, id, duplicate: false, retain: false, body }))
    }
}
