//! An emulator of Azure IoT Edge's hub, with what is odd about it, and of the security daemon beside it.
//!
//! Odd, as its source has it: every message that it sends has the packet id 1; it matches acknowledgements in their order,
//! whatever their id; one input message is under way at a time; one that is not acknowledged in time comes again; a topic
//! that it does not know is acknowledged and lost.

mod behind;
mod client;
mod daemon;
mod state;

use std::net::TcpListener;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread;

use hedef_edge::iotedge::identity::sign;
use serde_json::{Value, json};

use self::client::Client;
use self::daemon::Authority;
pub(crate) use self::state::Sent;
use self::state::{Input, State};
use crate::mosquitto::Mosquitto;
use crate::wait::until;

const KEY: &[u8] = b"the module's key";
const DEVICE: &str = "devices/edge1/modules/mod1";

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
    /// Who vouches for it, in PEM.
    pub(crate) authority: String,
}

impl Drop for Hub {
    fn drop(&mut self) {
        assert!(thread::panicking() || !self.violated.load(Ordering::SeqCst), "the module broke a rule of the hub");
    }
}

impl Hub {
    /// Starts both. The daemon listens in `folder`.
    pub(crate) fn start(folder: &Path) -> Self {
        let authority = Authority::new();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let hub = Self::at(listener.local_addr().unwrap().port(), &authority);
        let config = authority.server();
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
        let wrong = Arc::clone(&hub.wrong_key);
        daemon::start(folder, authority.root, Arc::clone(&hub.violated), move |text| signature(&wrong, text));
        hub
    }

    /// The same behind a real broker, which lets the module in only with the token that the daemon signed last. `None` where
    /// there is no broker on this machine.
    pub(crate) fn start_behind_broker(folder: &Path) -> Option<(Self, Arc<Mutex<Mosquitto>>)> {
        behind::start(folder)
    }

    fn at(port: u16, authority: &Authority) -> Self {
        Self {
            state: Arc::default(),
            port,
            wrong_key: Arc::default(),
            round: Arc::default(),
            violated: Arc::default(),
            authority: authority.root.clone(),
        }
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

    /// The environment of a module for development, whose authority's certificate is in `file`.
    pub(crate) fn variables_for_development(file: &Path) -> [(&'static str, String); 2] {
        let key = base64::Engine::encode(&base64::prelude::BASE64_STANDARD, KEY);
        let text = format!(
            "HostName=testhub.azure-devices.net;GatewayHostName=localhost;DeviceId=edge1;ModuleId=mod1;SharedAccessKey={key}"
        );
        [("EdgeHubConnectionString", text), ("EdgeModuleCACertificateFile", file.display().to_string())]
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

    /// The same, which are not kept any more.
    pub(crate) fn take_sent(&self) -> Vec<Sent> {
        std::mem::take(&mut self.state().sent)
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

/// What the daemon signs a text with.
fn signature(wrong_key: &AtomicBool, text: &str) -> String {
    sign(if wrong_key.load(Ordering::SeqCst) { b"another" } else { KEY }, text)
}
