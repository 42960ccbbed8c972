//! TLS: the server's certificate and the authorities of its clients, as files that are read again when they change.

use std::path::PathBuf;
use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::crypto::ring::{Ticketer, default_provider};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{NoClientAuth, WebPkiClientVerifier};
use rustls::version::{TLS12, TLS13};
use rustls::{RootCertStore, ServerConfig};

use crate::config::{ClientAuth, TlsSettings};
use crate::live::{FileError, Live};

/// The protocols that are spoken within, the preferred one first.
const ALPN: [&[u8]; 2] = [b"h2", b"http/1.1"];

/// What new connections are greeted with; those that are open go on with what they were greeted with.
pub(crate) type Identity = Live<ServerConfig>;

/// Reads the files. Fails where one cannot be used, or they do not belong together.
pub(crate) fn open(settings: &TlsSettings) -> Result<Identity, FileError> {
    let files: Vec<PathBuf> =
        [&settings.certificate, &settings.key].into_iter().chain(&settings.client_ca).cloned().collect();
    let auth = settings.client_auth;
    Live::open("the TLS certificate", files, move |held, _| make(held, auth))
}

/// What is to be found in a server's TLS: the certificate, its key and perhaps the authorities, each as PEM.
fn make(held: &[Vec<u8>], auth: ClientAuth) -> Result<ServerConfig, String> {
    let [certificate, key, ..] = held else { return Err("expected a certificate and a key".into()) };
    let provider = Arc::new(default_provider());
    let chain = certificates(certificate).map_err(|error| format!("the certificate's file: {error}"))?;
    let key = PrivateKeyDer::from_pem_slice(key).map_err(|error| format!("the key's file: {error}"))?;
    let clients = match held.get(2) {
        Some(authorities) => {
            clients(authorities, auth, &provider).map_err(|error| format!("the clients' file: {error}"))?
        }
        None => Arc::new(NoClientAuth),
    };
    let builder = ServerConfig::builder_with_provider(provider).with_protocol_versions(&[&TLS13, &TLS12]);
    let builder = builder.map_err(|error| error.to_string())?.with_client_cert_verifier(clients);
    let mut config = builder.with_single_cert(chain, key).map_err(|error| error.to_string())?;
    config.alpn_protocols = ALPN.map(Vec::from).into();
    // A client may come back without a new handshake, whatever became of the server's memory of it.
    config.ticketer = Ticketer::new().map_err(|error| error.to_string())?;
    Ok(config)
}

fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let found = CertificateDer::pem_slice_iter(pem).collect::<Result<Vec<_>, _>>();
    let found = found.map_err(|error| error.to_string())?;
    if found.is_empty() { Err("expected a certificate in PEM, found none".into()) } else { Ok(found) }
}

/// What the certificates of clients are held against.
fn clients(
    authorities: &[u8],
    auth: ClientAuth,
    provider: &Arc<CryptoProvider>,
) -> Result<Arc<dyn ClientCertVerifier>, String> {
    let mut roots = RootCertStore::empty();
    for authority in certificates(authorities)? {
        roots.add(authority).map_err(|error| error.to_string())?;
    }
    let builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider));
    let builder = match auth {
        ClientAuth::Required => builder,
        ClientAuth::Optional => builder.allow_unauthenticated(),
    };
    builder.build().map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use rcgen::{CertifiedKey, generate_simple_self_signed};

    use super::*;

    fn pair() -> [Vec<u8>; 2] {
        let CertifiedKey { cert, signing_key } = generate_simple_self_signed(["localhost".to_string()]).unwrap();
        [cert.pem().into(), signing_key.serialize_pem().into()]
    }

    #[test]
    fn a_pair_is_taken_and_what_does_not_belong_together_is_told() {
        let ([certificate, key], [other, other_key]) = (pair(), pair());
        let made = |held: &[&[u8]]| {
            let held: Vec<_> = held.iter().map(|bytes| bytes.to_vec()).collect();
            make(&held, ClientAuth::Required).map(|config| config.alpn_protocols.len())
        };
        assert_eq!(made(&[&certificate, &key]), Ok(2));
        assert_eq!(made(&[&certificate, &key, &other]), Ok(2));
        let cases: [(&[&[u8]], &str); 6] = [
            (&[&certificate, &other_key], "keys may not be consistent"),
            (&[&key, &key], "the certificate's file: expected a certificate in PEM, found none"),
            (&[&certificate, &certificate], "the key's file: "),
            (&[&certificate[..certificate.len() / 2], &key], "the certificate's file: "),
            (&[&certificate, &key, b""], "the clients' file: expected a certificate"),
            (&[&certificate, &key, &other_key], "the clients' file: expected a certificate"),
        ];
        for (held, expected) in cases {
            let error = made(held).unwrap_err();
            assert!(error.contains(expected) && !error.contains("PRIVATE"), "{expected}: {error}");
        }
    }
}
