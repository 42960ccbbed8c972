//! The security daemon of a device: it signs for modules, and tells them whom to trust.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use rustls::ServerConfig;
use serde_json::{Value, json};

/// An authority, and the certificate of a hub at `localhost` that it vouches for, in PEM.
pub(super) struct Authority {
    pub(super) root: String,
    pub(super) certificate: String,
    pub(super) key: String,
}

impl Authority {
    pub(super) fn new() -> Self {
        let authority = rcgen::KeyPair::generate().unwrap();
        let mut parameters = rcgen::CertificateParams::new(vec![]).unwrap();
        // As a device's own authority has one; OpenSSL takes certificates of the same name for the same.
        parameters.distinguished_name.push(rcgen::DnType::CommonName, "edge CA");
        parameters.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Constrained(0));
        let root = parameters.self_signed(&authority).unwrap();
        let issuer = rcgen::Issuer::from_params(&parameters, &authority);
        let key = rcgen::KeyPair::generate().unwrap();
        let own = rcgen::CertificateParams::new(vec!["localhost".into()]).unwrap().signed_by(&key, &issuer).unwrap();
        Self { root: root.pem(), certificate: own.pem(), key: key.serialize_pem() }
    }

    pub(super) fn server(&self) -> ServerConfig {
        use rustls::pki_types::pem::PemObject;
        use rustls::pki_types::{CertificateDer, PrivateKeyDer};
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let certificate = CertificateDer::from_pem_slice(self.certificate.as_bytes()).unwrap();
        let key = PrivateKeyDer::from_pem_slice(self.key.as_bytes()).unwrap();
        config.with_no_client_auth().with_single_cert(vec![certificate], key).unwrap()
    }
}

/// Starts the daemon in `folder`. `sign` makes the signature of a text; whoever asks for something else sets `violated`.
pub(super) fn start(
    folder: &Path,
    trusted: String,
    violated: Arc<AtomicBool>,
    mut sign: impl FnMut(&str) -> String + Send + 'static,
) {
    let listener = UnixListener::bind(folder.join("workload.sock")).unwrap();
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
                json!({ "certificate": trusted })
            } else {
                if !head.starts_with("POST /modules/mod1/genid/637/sign?api-version=2022-08-03 ") {
                    eprintln!("the daemon does not know {head}");
                    violated.store(true, Ordering::SeqCst);
                }
                let asked: Value = serde_json::from_slice(&body).unwrap();
                let data = base64::Engine::decode(&base64::prelude::BASE64_STANDARD, asked["data"].as_str().unwrap());
                json!({ "digest": sign(&String::from_utf8(data.unwrap()).unwrap()) })
            };
            let answer = answer.to_string();
            let _ = write!(stream, "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{answer}", answer.len());
        }
    });
}
