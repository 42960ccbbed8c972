//! Connections within TLS.

use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls::pki_types::CertificateDer;
use rustls::{ClientConfig, RootCertStore};
use tempfile::TempDir;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::*;
use crate::config::{ClientAuth, TlsSettings};

const REQUEST: &str = "POST /v2/models/gated/infer HTTP/1.1\r\nhost: x\r\ncontent-length: 70\r\n\r\n\
    {\"inputs\":[{\"name\":\"x\",\"datatype\":\"FP32\",\"shape\":[1,2],\"data\":[1,2]}]}";

struct Secure {
    running: Running,
    certificate: CertificateDer<'static>,
    _folder: TempDir,
}

async fn start_secure() -> Secure {
    let CertifiedKey { cert, signing_key } = generate_simple_self_signed(["localhost".to_string()]).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let (certificate, key) = (folder.path().join("cert.pem"), folder.path().join("key.pem"));
    std::fs::write(&certificate, cert.pem()).unwrap();
    std::fs::write(&key, signing_key.serialize_pem()).unwrap();
    let tls = TlsSettings { certificate, key, client_ca: None, client_auth: ClientAuth::Required };
    let running = start_with(|settings| settings.tls = Some(tls)).await;
    Secure { running, certificate: cert.der().clone(), _folder: folder }
}

impl Secure {
    async fn connect(&self) -> TlsStream<TcpStream> {
        let mut roots = RootCertStore::empty();
        roots.add(self.certificate.clone()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let config = config.with_root_certificates(roots).with_no_client_auth();
        let stream = TcpStream::connect(self.running.address).await.unwrap();
        TlsConnector::from(Arc::new(config)).connect("localhost".try_into().unwrap(), stream).await.unwrap()
    }

    fn refused(&self) -> u64 {
        self.running.house.app.metrics.refused_handshakes.get()
    }
}

#[tokio::test]
async fn answers_come_whole_and_the_end_is_said() {
    let secure = start_secure().await;
    let mut stream = secure.connect().await;
    stream.write_all(LIVE).await.unwrap();
    stream.write_all(b"GET /metrics HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await.unwrap();
    let mut answers = String::new();
    // Without the record that says so, the end would be an error: somebody could have cut the answer.
    stream.read_to_string(&mut answers).await.unwrap();
    assert_eq!(answers.matches("HTTP/1.1 200 OK\r\n").count(), 2, "{answers}");
    assert!(answers.ends_with('\n') && answers.contains("hedef_uptime_seconds"), "{answers}");
    secure.running.drain();
    assert_eq!(secure.running.serving.await.unwrap(), 0);
}

#[tokio::test]
async fn one_who_never_greets_does_not_hold_up_the_stop() {
    let secure = start_secure().await;
    let mut silent = TcpStream::connect(secure.running.address).await.unwrap();
    let mut idle = secure.connect().await;
    idle.write_all(LIVE).await.unwrap();
    assert!(idle.read(&mut [0; 1024]).await.unwrap() > 0);
    secure.running.drain();
    assert_eq!(secure.running.serving.await.unwrap(), 0);
    assert_eq!(silent.read(&mut [0; 16]).await.unwrap_or(0), 0);
}

#[tokio::test(start_paused = true)]
async fn greeting_has_its_time() {
    let secure = start_secure().await;
    let mut silent = TcpStream::connect(secure.running.address).await.unwrap();
    // Time goes on by itself while everybody waits.
    assert_eq!(silent.read(&mut [0; 16]).await.unwrap_or(0), 0);
    assert_eq!(secure.refused(), 1);
    let mut stranger = TcpStream::connect(secure.running.address).await.unwrap();
    stranger.write_all(LIVE).await.unwrap();
    while stranger.read(&mut [0; 16]).await.is_ok_and(|read| read > 0) {}
    assert_eq!(secure.refused(), 2);
    secure.running.drain();
    assert_eq!(secure.running.serving.await.unwrap(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_leaves_ends_its_request() {
    let secure = start_secure().await;
    let house = &secure.running.house;
    let mut stream = secure.connect().await;
    stream.write_all(REQUEST.as_bytes()).await.unwrap();
    house.gate.wait_until_reached();
    stream.shutdown().await.unwrap();
    drop(stream);
    let gone = async {
        while house.app.metrics.in_flight.get() > 0 {
            tokio::task::yield_now().await;
        }
    };
    assert!(timeout(Duration::from_secs(20), gone).await.is_ok(), "the request goes on");
    house.gate.open();
    secure.running.drain();
    assert_eq!(secure.running.serving.await.unwrap(), 0);
}
