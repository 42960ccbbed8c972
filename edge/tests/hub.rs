//! An emulator of Azure IoT Edge's hub, with what is odd about it, and of the security daemon beside it.
//!
//! Odd, as its source has it: every message that it sends has the packet id 1; it matches acknowledgements in their order,
//! whatever their id; one input message is under way at a time; one that is not acknowledged in time comes again; a topic
//! that it does not know is acknowledged and lost.

mod client;

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::os::unix::net::UnixListener;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread;

use hedef_edge::iotedge::identity::sign;
use rustls::ServerConfig;
use serde_json::{Map, Value, json};

use self::client::Client;
use crate::wait::until;

const KEY: &[u8] = b"the module's key";
const DEVICE: &str = "devices/edge1/modules/mod1";

/// An event that the module sent.
#[derive(Clone, Debug)]
pub(crate) struct Sent {
    pub(crate) topic: String,
    pub(crate) properties: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Sent {
    pub(crate) fn property(&self, name: &str) -> Option<&str> {
        self.properties.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str())
    }
}

/// An input message.
#[derive(Clone)]
struct Input {
    id: String,
    /// As it stands in a topic.
    content_type: String,
    body: Vec<u8>,
}

#[derive(Default)]
struct State {
    /// Input messages. Those in front were not acknowledged.
    inputs: VecDeque<Input>,
    sent: Vec<Sent>,
    desired: Map<String, Value>,
    version: u64,
    reported: Map<String, Value>,
    /// What is to be told to the module: topic and body.
    telling: VecDeque<(String, Vec<u8>)>,
    answers: Vec<(String, Value)>,
    filters: Vec<(String, u8)>,
    tokens: Vec<String>,
    /// Whether each client wanted a clean session.
    sessions: Vec<bool>,
    /// Whether answers are neither kept nor acknowledged.
    deaf: bool,
    /// Where the module sent something.
    topics: Vec<String>,
    connections: usize,
}

/// The hub and the daemon.
pub(crate) struct Hub {
    state: Arc<Mutex<State>>,
    pub(crate) port: u16,
    /// Whether tokens are signed with a wrong key.
    pub(crate) wrong_key: Arc<AtomicBool>,
    /// Counts up to end all connections of before.
    round: Arc<AtomicUsize>,
    /// Whether the module did what a hub does not bear, which is on standard error.
    violated: Arc<AtomicBool>,
    authority: String,
}

impl Drop for Hub {
    fn drop(&mut self) {
        assert!(thread::panicking() || !self.violated.load(Ordering::SeqCst), "the module broke a rule of the hub");
    }
}

impl Hub {
    /// Starts both. The daemon listens in `folder`.
    pub(crate) fn start(folder: &Path) -> Self {
        let authority = rcgen::KeyPair::generate().unwrap();
        let mut parameters = rcgen::CertificateParams::new(vec![]).unwrap();
        // As a device's own authority has one; OpenSSL takes certificates of the same name for the same.
        parameters.distinguished_name.push(rcgen::DnType::CommonName, "edge CA");
        parameters.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Constrained(0));
        let root = parameters.self_signed(&authority).unwrap();
        let issuer = rcgen::Issuer::from_params(&parameters, &authority);
        let key = rcgen::KeyPair::generate().unwrap();
        let own = rcgen::CertificateParams::new(vec!["localhost".into()]).unwrap().signed_by(&key, &issuer).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let secret = rustls::pki_types::PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        let config = config.with_no_client_auth().with_single_cert(vec![own.der().clone()], secret).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let hub = Self {
            state: Arc::default(),
            port: listener.local_addr().unwrap().port(),
            wrong_key: Arc::default(),
            round: Arc::default(),
            violated: Arc::default(),
            authority: root.pem(),
        };
        let config = Arc::new(config);
        let (state, round, violated) = (Arc::clone(&hub.state), Arc::clone(&hub.round), Arc::clone(&hub.violated));
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let (state, config, round) = (Arc::clone(&state), Arc::clone(&config), Arc::clone(&round));
                let violated = Arc::clone(&violated);
                thread::spawn(move || {
                    // A connection that ends in any way is just over, but for what the hub would not forgive.
                    let served = catch_unwind(AssertUnwindSafe(|| {
                        Client::serve(stream, config, &state, &round).map_or((), drop)
                    }));
                    if served.is_err() {
                        violated.store(true, Ordering::SeqCst);
                    }
                });
            }
        });
        hub.start_daemon(folder);
        hub
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// The environment of a module on this device.
    pub(crate) fn variables(folder: &Path) -> Vec<(&'static str, String)> {
        vec![
            ("IOTEDGE_WORKLOADURI", format!("unix://{}", folder.join("workload.sock").display())),
            ("IOTEDGE_DEVICEID", "edge1".into()),
            ("IOTEDGE_MODULEID", "mod1".into()),
            ("IOTEDGE_MODULEGENERATIONID", "637".into()),
            ("IOTEDGE_IOTHUBHOSTNAME", "testhub.azure-devices.net".into()),
            ("IOTEDGE_GATEWAYHOSTNAME", "localhost".into()),
            ("IOTEDGE_APIVERSION", "2022-08-03".into()),
            ("IOTEDGE_AUTHSCHEME", "sasToken".into()),
        ]
    }

    fn start_daemon(&self, folder: &Path) {
        let listener = UnixListener::bind(folder.join("workload.sock")).unwrap();
        let (wrong, bundle) = (Arc::clone(&self.wrong_key), self.authority.clone());
        let violated = Arc::clone(&self.violated);
        thread::spawn(move || {
            for mut stream in listener.incoming().map_while(Result::ok) {
                let mut reader = BufReader::new(stream.try_clone().unwrap());
                let (mut head, mut length) = (String::new(), 0);
                while reader.read_line(&mut head).unwrap_or(0) > 2 {
                    let line = head.lines().last().unwrap().to_lowercase();
                    if let Some(value) = line.strip_prefix("content-length:") {
                        length = value.trim().parse().unwrap();
                    }
                }
                let mut body = vec![0; length];
                // A process that ends may go away in the middle.
                if reader.read_exact(&mut body).is_err() || !head.ends_with("\r\n\r\n") {
                    continue;
                }
                let answer = if head.starts_with("GET /trust-bundle?api-version=2022-08-03 ") {
                    json!({ "certificate": bundle })
                } else {
                    if !head.starts_with("POST /modules/mod1/genid/637/sign?api-version=2022-08-03 ") {
                        eprintln!("the daemon does not know {head}");
                        violated.store(true, Ordering::SeqCst);
                    }
                    let asked: Value = serde_json::from_slice(&body).unwrap();
                    let data =
                        base64::Engine::decode(&base64::prelude::BASE64_STANDARD, asked["data"].as_str().unwrap());
                    let text = String::from_utf8(data.unwrap()).unwrap();
                    let key: &[u8] = if wrong.load(Ordering::SeqCst) { b"another" } else { KEY };
                    json!({ "digest": sign(key, &text) })
                };
                let answer = answer.to_string();
                let _ = write!(stream, "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{answer}", answer.len());
            }
        });
    }

    /// Has an input message delivered.
    pub(crate) fn input(&self, id: &str, body: impl Into<Vec<u8>>) {
        self.input_of(id, "application/json", body);
    }

    /// The same, of that content type.
    pub(crate) fn input_of(&self, id: &str, content_type: &str, body: impl Into<Vec<u8>>) {
        let content_type = content_type.replace('/', "%2F");
        self.state().inputs.push_back(Input { id: id.into(), content_type, body: body.into() });
    }

    /// Input messages that were not acknowledged.
    pub(crate) fn waiting(&self) -> usize {
        self.state().inputs.len()
    }

    /// The events that the module sent.
    pub(crate) fn sent(&self) -> Vec<Sent> {
        self.state().sent.clone()
    }

    /// Changes desired properties.
    pub(crate) fn desire(&self, name: &str, value: Value, tell: bool) {
        let mut state = self.state();
        state.version += 1;
        state.desired.insert(name.into(), value.clone());
        if tell {
            let version = state.version;
            let topic = format!("$iothub/twin/PATCH/properties/desired/?$version={version}");
            let body = json!({ name: value, "$version": version }).to_string();
            state.telling.push_back((topic, body.into()));
        }
    }

    pub(crate) fn reported(&self) -> Value {
        Value::Object(self.state().reported.clone())
    }

    /// Calls a method whose answer may never come.
    pub(crate) fn tell_method(&self, name: &str, payload: &str) {
        self.state().telling.push_back((format!("$iothub/methods/POST/{name}/?$rid=r-x"), payload.into()));
    }

    /// Calls a method and waits for its answer.
    pub(crate) fn call(&self, name: &str, payload: &str) -> (String, Value) {
        let mut state = self.state();
        let before = state.answers.len();
        state.telling.push_back((format!("$iothub/methods/POST/{name}/?$rid=r-{before}"), payload.into()));
        drop(state);
        until("the method is answered", || self.state().answers.get(before).cloned())
    }

    pub(crate) fn tokens(&self) -> Vec<String> {
        self.state().tokens.clone()
    }

    /// From now on, or not any more, answers are neither kept nor acknowledged.
    pub(crate) fn take_no_answers(&self, deaf: bool) {
        self.state().deaf = deaf;
    }

    pub(crate) fn sessions(&self) -> Vec<bool> {
        self.state().sessions.clone()
    }

    pub(crate) fn topics(&self) -> Vec<String> {
        self.state().topics.clone()
    }

    pub(crate) fn filters(&self) -> Vec<(String, u8)> {
        self.state().filters.clone()
    }

    pub(crate) fn connections(&self) -> usize {
        self.state().connections
    }

    /// Ends all connections.
    pub(crate) fn cut(&self) {
        self.round.fetch_add(1, Ordering::SeqCst);
    }
}
