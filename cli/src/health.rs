//! `hedef health`: asks a running server whether it is ready.

use std::sync::Arc;

use anyhow::Context;
use hedef_server::probe::{ask, connect};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{ClientConfig, ClientConnection, DigitallySignedStruct, SignatureScheme, StreamOwned};

use crate::arguments::Health;

/// Fails unless the server is ready.
pub(crate) fn run(health: &Health) -> anyhow::Result<()> {
    let stream = connect(health.listen)?;
    if health.tls_cert.is_none() {
        return Ok(ask(health.listen, stream)?);
    }
    let provider = Arc::new(ring::default_provider());
    let config = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .context("TLS")?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anybody(provider)));
    let config = match (&health.client_cert, &health.client_key) {
        (Some(certificate), Some(key)) => {
            let chain = CertificateDer::pem_file_iter(certificate).and_then(Iterator::collect);
            let key = PrivateKeyDer::from_pem_file(key).context("the client's key")?;
            config
                .with_client_auth_cert(chain.context("the client's certificate")?, key)
                .context("the client's certificate")?
        }
        _ => config.with_no_client_auth(),
    };
    let name = ServerName::IpAddress(health.listen.ip().into());
    let connection = ClientConnection::new(Arc::new(config), name).context("TLS")?;
    Ok(ask(health.listen, StreamOwned::new(connection, stream))?)
}

/// Takes every certificate: nothing secret is told, and only whether there is an answer counts.
#[derive(Debug)]
struct Anybody(Arc<CryptoProvider>);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
