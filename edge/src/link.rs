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

/// How long TCP and TLS may take together.
const PATIENCE: Duration = Duration::from_secs(30);

/// Where Linux distributions keep the certificates that they trust.
const SYSTEM: [&str; 3] =
    ["/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem"];

/// Where a broker is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// Its name, or address.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// Whether TLS is spoken.
    pub tls: bool,
}

impl Address {
    /// Reads `mqtt://host:1883` or `mqtts://host:8883`; the port may be left out.
    #[must_use]
    pub fn parse(url: &str) -> Option<Self> {
        let (scheme, rest) = url.split_once("://")?;
        let (tls, usual) = match scheme {
            "mqtt" => (false, 1883),
            "mqtts" => (true, 8883),
            _ => return None,
        };
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        let (host, port) = match rest.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            Some((host, "")) => (host, usual),
            Some((host, port)) => (host, port.strip_prefix(':')?.parse().ok()?),
            None => match rest.rsplit_once(':') {
                Some((host, port)) => (host, port.parse().ok()?),
                None => (rest, usual),
            },
        };
        let plain = !host.is_empty() && !host.contains(['/', '@', ' ']);
        plain.then(|| Self { host: host.into(), port, tls })
    }
}

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_hosts_and_ports() {
        let parse = |url| Address::parse(url).map(|found| (found.host, found.port, found.tls));
        assert_eq!(parse("mqtt://h"), Some(("h".into(), 1883, false)));
        assert_eq!(parse("mqtts://[::1]:9/"), Some(("::1".into(), 9, true)));
        assert_eq!(parse("mqtts://1.2.3.4"), Some(("1.2.3.4".into(), 8883, true)));
        assert!(["h:1", "http://h", "mqtt://", "mqtt://h:x", "mqtt://u@h"].into_iter().all(|url| parse(url).is_none()));
    }
}
