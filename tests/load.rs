//! Callers that ask without a pause until they are told to stop or the server is gone. They behave as real clients do:
//! they leave a connection that the server asks them to leave, and send again what it did not take.

mod http1;
pub(crate) mod http2;

use std::io;
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, Scope, ScopedJoinHandle};

use rustls::crypto::ring::default_provider;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};

use crate::certificates::Authority;
use crate::wait::until;

/// One row for `iris`, which is a setosa.
pub(crate) const IRIS: &str =
    r#"{"inputs":[{"name":"features","shape":[1,4],"datatype":"FP32","data":[5.1,3.5,1.4,0.2]}]}"#;

/// How requests are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protocol {
    Http1,
    Http2,
    Grpc,
    /// Messages of one `ModelStreamInfer`, each sent when the last is answered.
    GrpcStream,
}

/// Who is asked, and with what.
#[derive(Clone, Debug)]
pub(crate) struct Peer {
    pub(crate) address: SocketAddr,
    tls: Option<Arc<ClientConfig>>,
    key: Option<String>,
}

impl Peer {
    pub(crate) const fn new(address: SocketAddr) -> Self {
        Self { address, tls: None, key: None }
    }

    /// Within TLS, where any of these is trusted. Not for HTTP/1.1.
    pub(crate) fn trusting(mut self, authorities: &[Authority]) -> Self {
        let mut roots = RootCertStore::empty();
        for authority in authorities {
            roots.add(CertificateDer::from_pem_slice(authority.pem.as_bytes()).unwrap()).unwrap();
        }
        let builder = ClientConfig::builder_with_provider(Arc::new(default_provider()));
        let builder = builder.with_safe_default_protocol_versions().unwrap();
        let mut config = builder.with_root_certificates(roots).with_no_client_auth();
        config.alpn_protocols = vec![b"h2".to_vec()];
        self.tls = Some(Arc::new(config));
        self
    }

    /// With an API key.
    pub(crate) fn showing(mut self, key: &str) -> Self {
        self.key = Some(format!("Bearer {key}"));
        self
    }
}

/// What came of one request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Answered,
    /// Answered, and the server wants no other on this connection.
    Last,
    /// The server said that it did not take it; the caller has to send it again elsewhere.
    Untaken,
    Wrong(String),
}

/// Has callers ask over these protocols, and in ways of their `own`, while `change` goes on. Fails unless every request
/// was answered.
pub(crate) fn while_asking(
    peer: &Peer,
    callers: &[(Protocol, usize, usize)],
    own: &[&(dyn Fn(&Load) + Sync)],
    change: impl FnOnce(&Load),
) {
    let load = Load::default();
    thread::scope(|scope| {
        for &(protocol, callers, each) in callers {
            load.start(scope, peer, (protocol, callers), each);
        }
        for own in own {
            scope.spawn(|| own(&load));
        }
        // Whatever comes, the callers are told that it is over.
        let changed = catch_unwind(AssertUnwindSafe(|| change(&load)));
        load.finish();
        changed.unwrap_or_else(|panic| resume_unwind(panic));
    });
    let (answered, wrong) = (load.answered(), load.wrong());
    println!("{answered} answered on {} connections", load.connections());
    assert!(wrong.is_empty(), "{} of {answered} went wrong, for example {}", wrong.len(), wrong[0]);
}

/// What came of all requests.
#[derive(Debug, Default)]
pub(crate) struct Load {
    answered: AtomicUsize,
    connections: AtomicUsize,
    wrong: Mutex<Vec<String>>,
    done: AtomicBool,
}

impl Load {
    /// Starts a client of `callers` on one connection at a time, which it replaces after so many requests of each caller.
    /// It goes on until [`Load::finish`], or until no new connection can be had.
    pub(crate) fn start<'scope>(
        &'scope self,
        scope: &'scope Scope<'scope, '_>,
        peer: &'scope Peer,
        (protocol, callers): (Protocol, usize),
        each: usize,
    ) -> ScopedJoinHandle<'scope, ()> {
        scope.spawn(move || match protocol {
            Protocol::Http1 => http1::ask(self, peer, each),
            Protocol::Http2 | Protocol::Grpc | Protocol::GrpcStream => {
                http2::ask(self, peer, (protocol, callers), each)
            }
        })
    }

    pub(crate) fn answered(&self) -> usize {
        self.answered.load(Ordering::Relaxed)
    }

    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }

    /// Waits until so many more requests are answered that every caller had its turn.
    pub(crate) fn goes_on(&self) {
        let before = self.answered();
        until("some requests", || (self.answered() > before + 150).then_some(()));
    }

    /// Takes note of a request of somebody else: what was wrong with it.
    pub(crate) fn note(&self, wrong: Option<String>) {
        self.count(wrong.map_or(Outcome::Answered, Outcome::Wrong));
    }

    /// What was wrong so far with requests that were not answered as they have to be.
    pub(crate) fn wrong(&self) -> Vec<String> {
        self.wrong.lock().unwrap().clone()
    }

    pub(crate) fn finish(&self) {
        self.done.store(true, Ordering::Relaxed);
    }

    /// Whether callers are to end.
    pub(crate) fn is_done(&self) -> bool {
        self.done.load(Ordering::Relaxed)
    }

    /// Whether there is a connection; being refused one is no fault, anything else is.
    fn connected<T>(&self, connection: io::Result<T>) -> Option<T> {
        match connection {
            Ok(connection) => {
                self.connections.fetch_add(1, Ordering::Relaxed);
                Some(connection)
            }
            Err(error) => {
                if error.kind() != io::ErrorKind::ConnectionRefused {
                    self.wrong.lock().unwrap().push(format!("no connection: {error}"));
                }
                None
            }
        }
    }

    /// Counts, and says whether the connection is good for another.
    fn count(&self, outcome: Outcome) -> bool {
        match outcome {
            Outcome::Answered | Outcome::Last => {
                self.answered.fetch_add(1, Ordering::Relaxed);
            }
            Outcome::Untaken => {}
            Outcome::Wrong(ref what) => self.wrong.lock().unwrap().push(what.clone()),
        }
        matches!(outcome, Outcome::Answered)
    }
}
