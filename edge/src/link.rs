//! The way to a server: TCP, and TLS within it.

use std::fs;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustls::crypto::ring::default_provider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use crate::config::Address;

/// How long TCP and TLS may take together.
const PATIENCE: Duration = Duration::from_secs(30);

/// Where Linux distributions keep the certificates that they trust.
const SYSTEM: [&str; 3] =
    ["/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem"];

/// Bytes both ways.
pub trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

/// Connects to a server; with TLS, it has to show a certificate for its host that these vouch for.
pub async fn open(address: &Address, roots: Option<&RootCertStore>) -> io::Result<Box<dyn Stream>> {
    let connecting = async {
        let stream = TcpStream::connect((address.host.as_str(), address.port)).await?;
        stream.set_nodelay(true)?;
        let Some(roots) = roots else { return Ok(Box::new(stream) as Box<dyn Stream>) };
        let name = ServerName::try_from(address.host.clone()).map_err(io::Error::other)?;
        let builder = ClientConfig::builder_with_provider(Arc::new(default_provider()));
        let builder = builder.with_safe_default_protocol_versions().map_err(io::Error::other)?;
        let config = builder.with_root_certificates(roots.clone()).with_no_client_auth();
        let stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await?;
        Ok(Box::new(stream) as Box<dyn Stream>)
    };
    timeout(PATIENCE, connecting).await.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?
}

/// The certificates in a file, or those of the system.
pub fn roots(file: Option<&Path>) -> io::Result<RootCertStore> {
    let file = match file {
        Some(file) => file,
        None => SYSTEM
            .iter()
            .map(Path::new)
            .find(|file| file.is_file())
            .ok_or_else(|| io::Error::other("this system has no certificates to trust: name a file of them"))?,
    };
    roots_from(&fs::read(file)?)
}

/// The certificates in PEM text.
pub fn roots_from(pem: &[u8]) -> io::Result<RootCertStore> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem) {
        let certificate = certificate.map_err(|error| io::Error::other(format!("certificates: {error}")))?;
        // One of many that cannot be used is no reason to trust none.
        if let Err(error) = roots.add(certificate) {
            tracing::debug!("a certificate cannot be trusted: {error}");
        }
    }
    if roots.is_empty() { Err(io::Error::other("there is no certificate to trust")) } else { Ok(roots) }
}
