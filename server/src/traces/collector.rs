//! The other end: what spans are posted to, over one connection that is kept open between posts.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use http::header::{CONTENT_TYPE, HOST, USER_AGENT};
use http::{HeaderValue, Request, StatusCode};
use http_body_util::{BodyExt, Limited};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_util::task::AbortOnDropHandle;

use crate::config;

/// How long one post may take, with connecting.
const PATIENCE: Duration = Duration::from_secs(10);

/// The most bytes of a reply that are read.
const LONGEST_REPLY: usize = 64 << 10;

/// A collector of traces.
pub(super) struct Collector {
    config: config::Collector,
    tls: Option<(TlsConnector, ServerName<'static>)>,
    open: Option<Open>,
}

/// An open connection; dropping it closes it.
struct Open {
    sender: SendRequest<Body>,
    _connection: AbortOnDropHandle<()>,
}

/// Why a collector has not taken what was posted.
#[derive(Debug, thiserror::Error)]
pub(super) enum Refused {
    #[error("it cannot be reached: {0}")]
    Unreachable(String),
    #[error("it did not answer within {} s", PATIENCE.as_secs())]
    Late,
    #[error("it answered {0}")]
    Status(StatusCode),
}

impl Refused {
    /// Whether it may take the same a little later; the protocol lists the statuses.
    pub(super) const fn may_pass(&self) -> bool {
        match self {
            Self::Unreachable(_) | Self::Late => true,
            Self::Status(status) => matches!(status.as_u16(), 429 | 502 | 503 | 504),
        }
    }
}

fn unreachable(error: &dyn std::fmt::Display) -> Refused {
    Refused::Unreachable(error.to_string())
}

impl Collector {
    /// Fails where it is to be reached within TLS and there is nobody to trust.
    pub(super) fn new(config: config::Collector) -> Result<Self, String> {
        let tls = config.secure.then(|| secure(&config.host)).transpose()?;
        Ok(Self { config, tls, open: None })
    }

    /// Posts one message and returns the reply to it.
    pub(super) async fn post(&mut self, message: Bytes) -> Result<Bytes, Refused> {
        let open = self.open.take();
        let mut open = match open.filter(|open| !open.sender.is_closed()) {
            Some(open) => open,
            None => timeout(PATIENCE, self.connect()).await.map_err(|_| Refused::Late)??,
        };
        let request = self.request(message)?;
        let reply = async {
            open.sender.ready().await.map_err(|error| unreachable(&error))?;
            let reply = open.sender.send_request(request).await.map_err(|error| unreachable(&error))?;
            let (head, body) = reply.into_parts();
            let body = Limited::new(body, LONGEST_REPLY).collect().await.map_err(|error| unreachable(&error))?;
            if head.status.is_success() { Ok(body.to_bytes()) } else { Err(Refused::Status(head.status)) }
        };
        let reply = timeout(PATIENCE, reply).await.map_err(|_| Refused::Late)?;
        if matches!(reply, Ok(_) | Err(Refused::Status(_))) {
            self.open = Some(open);
        }
        reply
    }

    fn request(&self, message: Bytes) -> Result<Request<Body>, Refused> {
        let mut request = Request::post(self.config.path.as_str())
            .header(HOST, &self.config.authority)
            .header(CONTENT_TYPE, HeaderValue::from_static("application/x-protobuf"))
            .header(USER_AGENT, concat!("hedef/", env!("CARGO_PKG_VERSION")))
            .body(Body::from(message))
            .map_err(|error| unreachable(&error))?;
        request.headers_mut().extend(self.config.headers.clone());
        Ok(request)
    }

    async fn connect(&self) -> Result<Open, Refused> {
        let address = (self.config.host.as_str(), self.config.port);
        let stream = TcpStream::connect(address).await.map_err(|error| unreachable(&error))?;
        match &self.tls {
            Some((connector, name)) => {
                let stream = connector.connect(name.clone(), stream).await;
                greet(stream.map_err(|error| unreachable(&error))?).await
            }
            None => greet(stream).await,
        }
    }
}

async fn greet(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) -> Result<Open, Refused> {
    let (sender, connection) = handshake(TokioIo::new(stream)).await.map_err(|error| unreachable(&error))?;
    // What goes wrong with it is told to who posts.
    let connection = tokio::spawn(async move { drop(connection.await) });
    Ok(Open { sender, _connection: AbortOnDropHandle::new(connection) })
}

/// TLS towards `host`, with the authorities that this machine trusts.
fn secure(host: &str) -> Result<(TlsConnector, ServerName<'static>), String> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(found.certs);
    if roots.is_empty() {
        return Err(
            "no certificate authorities were found on this machine: name a file of them in SSL_CERT_FILE".into()
        );
    }
    let name = ServerName::try_from(host.to_owned()).map_err(|error| format!("`{host}`: {error}"))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let config = config.map_err(|error| error.to_string())?.with_root_certificates(roots).with_no_client_auth();
    Ok((TlsConnector::from(Arc::new(config)), name))
}
