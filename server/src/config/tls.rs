//! The settings of TLS.

use std::path::PathBuf;

/// TLS on every port. All files hold PEM.
#[derive(Clone, Debug)]
pub struct TlsSettings {
    /// The server's certificate, followed by those between it and its authority.
    pub certificate: PathBuf,
    /// The key of the certificate.
    pub key: PathBuf,
    /// The authorities that sign the certificates of clients.
    pub client_ca: Option<PathBuf>,
    /// Whether a client needs a certificate, where there are such authorities.
    pub client_auth: ClientAuth,
}

/// Whether a client needs a certificate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ClientAuth {
    /// One without is not let in.
    #[default]
    Required,
    /// One that shows none is let in, one that shows a wrong one is not.
    Optional,
}
