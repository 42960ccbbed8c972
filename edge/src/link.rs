//! The way to a server: TCP, TLS within it, and WebSocket within that.

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

use crate::websocket::WebSocket;

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
    /// The path by which MQTT is spoken within WebSocket; without it, it is not.
    pub path: Option<String>,
}

impl Address {
    /// Reads `mqtt://host:1883`, `mqtts://host:8883`, or for WebSocket `ws://host:80/path` or `wss://host:443/path`. The port
    /// may be left out, and the path, which is `/mqtt` then.
    #[must_use]
    pub fn parse(url: &str) -> Option<Self> {
        let (scheme, rest) = url.split_once("://")?;
        let (tls, usual, websocket) = match scheme {
            "mqtt" => (false, 1883, false),
            "mqtts" => (true, 8883, false),
            "ws" => (false, 80, true),
            "wss" => (true, 443, true),
            _ => return None,
        };
        let (rest, path) = rest.split_once('/').unwrap_or((rest, ""));
        let path = match (websocket, path) {
            (false, "") => None,
            (false, _) => return None,
            (true, "") => Some("/mqtt".into()),
            (true, path) => path.bytes().all(|byte| byte.is_ascii_graphic()).then(|| Some(format!("/{path}")))?,
        };
        let (host, port) = match rest.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            Some((host, "")) => (host, usual),
            Some((host, port)) => (host, port.strip_prefix(':')?.parse().ok()?),
            None => match rest.rsplit_once(':') {
                Some((host, port)) => (host, port.parse().ok()?),
                None => (rest, usual),
            },
        };
        let plain = !host.is_empty() && !host.contains(['@', ' ', '\r', '\n']);
        plain.then(|| Self { host: host.into(), port, tls, path })
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
        let Some(roots) = roots else { return within(Box::new(stream), address).await };
        let name = ServerName::try_from(address.host.clone()).map_err(io::Error::other)?;
        let builder = ClientConfig::builder_with_provider(Arc::new(default_provider()));
        let builder = builder.with_safe_default_protocol_versions().map_err(io::Error::other)?;
        let config = builder.with_root_certificates(roots.clone()).with_no_client_auth();
        let stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await?;
        within(Box::new(stream), address).await
    };
    timeout(PATIENCE, connecting).await.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?
}

/// What MQTT is spoken in.
async fn within(stream: Box<dyn Stream>, address: &Address) -> io::Result<Box<dyn Stream>> {
    match &address.path {
        None => Ok(stream),
        Some(path) => Ok(Box::new(WebSocket::open(stream, &address.host, path).await?)),
    }
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
        let path = |url| Address::parse(url).map(|found| (found.port, found.tls, found.path.unwrap()));
        assert_eq!(path("ws://h"), Some((80, false, "/mqtt".into())));
        assert_eq!(path("wss://h:9/$iothub/websocket"), Some((9, true, "/$iothub/websocket".into())));
        assert!(["mqtt://h/x", "ws://h/a b"].into_iter().all(|url| Address::parse(url).is_none()));
        assert!(["h:1", "http://h", "mqtt://", "mqtt://h:x", "mqtt://u@h"].into_iter().all(|url| parse(url).is_none()));
    }
}
